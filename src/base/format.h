/* SPDX-License-Identifier: Apache-2.0 */
/* Text from a format: as much of printf(3) as there is use for, in a thousand bytes. musl's, which knows
 * floating point, streams and wide characters, takes 15 KB of a program that has none.
 *
 * %s %.9s %.*s, %d %u %x with l, ll or z, %02d (one digit, and a number that is not negative), %%. */
#ifndef FORMAT_H
#define FORMAT_H

#include <stdarg.h>
#include <stddef.h>

/* As snprintf: at most `size` bytes with the NUL, and returns what the length would be without that
 * limit. Takes no lock and no memory. */
int format(char *to, size_t size, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
int vformat(char *to, size_t size, const char *fmt, va_list args)
	__attribute__((format(printf, 3, 0)));

/* As dprintf, in one write. -1 with errno. */
int dformat(int fd, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
int vdformat(int fd, const char *fmt, va_list args) __attribute__((format(printf, 2, 0)));

#endif
