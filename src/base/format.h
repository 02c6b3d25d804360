/* SPDX-License-Identifier: Apache-2.0 */
/* Text from a format: the part of printf(3) that the agent uses, in a thousand bytes. musl's, with floating
 * point, streams and wide characters, would add 15 KB.
 *
 * %s %.9s %.*s, %d %u %x with l, ll or z, %02d (a width of one digit, no negative number), %%. */
#ifndef FORMAT_H
#define FORMAT_H

#include <stdarg.h>
#include <stddef.h>

/* As snprintf: writes at most `size` bytes with the NUL, returns the length without that limit. Takes no
 * lock, allocates nothing. */
int format(char *to, size_t size, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
int vformat(char *to, size_t size, const char *fmt, va_list args)
	__attribute__((format(printf, 3, 0)));

/* As dprintf, in one write. -1 with errno. */
int dformat(int fd, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
int vdformat(int fd, const char *fmt, va_list args) __attribute__((format(printf, 2, 0)));

#endif
