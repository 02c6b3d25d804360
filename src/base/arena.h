/* SPDX-License-Identifier: Apache-2.0 */
/* A bump allocator with a cap: everything decoded from one message lives and dies together. */
#ifndef ARENA_H
#define ARENA_H

#include <stddef.h>

struct arena_block;

struct arena {
	struct arena_block *blocks; /* owned */
	size_t used;                /* bytes held, headers of blocks included */
	size_t cap;
};

/* Allocates nothing yet. */
void arena_init(struct arena *arena, size_t cap);

/* Zeroed, aligned for any type, freed only with the whole arena. NULL when the cap or the memory
 * is exhausted. */
void *arena_alloc(struct arena *arena, size_t size);

/* As arena_alloc(count * size), NULL also when that overflows. */
void *arena_calloc(struct arena *arena, size_t count, size_t size);

/* `length` bytes and a NUL. */
char *arena_strndup(struct arena *arena, const char *text, size_t length);
/* A whole string. */
char *arena_strdup(struct arena *arena, const char *text);

/* Frees all of it; the arena is empty and usable again. */
void arena_free(struct arena *arena);

#endif
