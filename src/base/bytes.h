/* SPDX-License-Identifier: Apache-2.0 */
/* Big-endian load and store: the byte order of everything on the wire. */
#ifndef BYTES_H
#define BYTES_H

#include <stdint.h>

static inline uint32_t load_be32(const void *from)
{
	const uint8_t *b = from;

	return (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
}

static inline uint64_t load_be64(const void *from)
{
	const uint8_t *b = from;

	return (uint64_t)load_be32(b) << 32 | load_be32(b + 4);
}

static inline void store_be32(void *to, uint32_t v)
{
	uint8_t *b = to;

	b[0] = (uint8_t)(v >> 24);
	b[1] = (uint8_t)(v >> 16);
	b[2] = (uint8_t)(v >> 8);
	b[3] = (uint8_t)v;
}

static inline void store_be64(void *to, uint64_t v)
{
	uint8_t *b = to;

	store_be32(b, (uint32_t)(v >> 32));
	store_be32(b + 4, (uint32_t)v);
}

#endif
