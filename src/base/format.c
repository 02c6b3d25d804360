/* SPDX-License-Identifier: Apache-2.0 */
/* Text from a format: the part of printf(3) that the agent uses. */
#include "base/format.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct text {
	char *to;
	size_t size, length; /* length: also of what did not fit */
};

static void put(struct text *text, const char *bytes, size_t length)
{
	size_t room = text->length < text->size ? text->size - text->length : 0;

	if (room > 0)
		memcpy(text->to + text->length, bytes, length < room ? length : room);
	text->length += length;
}

static void put_number(struct text *text, uint64_t number, unsigned base, size_t width)
{
	char digits[20]; /* of 2^64 */
	size_t at = sizeof(digits);

	do {
		digits[--at] = "0123456789abcdef"[number % base];
		number /= base;
	} while (number > 0 || sizeof(digits) - at < width);
	put(text, digits + at, sizeof(digits) - at);
}

int vformat(char *to, size_t size, const char *fmt, va_list args)
{
	struct text text = {to, size, 0};

	for (;;) {
		const char *plain = fmt, *string;
		size_t width = 0, most = SIZE_MAX;
		bool is_wide = false;
		int64_t number;

		fmt = strchrnul(fmt, '%');
		put(&text, plain, (size_t)(fmt - plain));
		if (*fmt++ == '\0')
			break;
		if (*fmt == '0') {
			width = (size_t)(fmt[1] - '0');
			fmt += 2;
		} else if (fmt[0] == '.' && fmt[1] == '*') {
			most = (size_t)va_arg(args, int);
			fmt += 2;
		} else if (*fmt == '.') {
			for (most = 0; *++fmt >= '0' && *fmt <= '9';)
				most = most * 10 + (size_t)(*fmt - '0');
		}
		for (; *fmt == 'l' || *fmt == 'z'; fmt++)
			is_wide = true;
		switch (*fmt++) {
		case 's':
			string = va_arg(args, const char *);
			if (!string) /* a mistake, but no reason to die */
				string = "(null)";
			put(&text, string, strnlen(string, most));
			break;
		case 'd':
			number = is_wide ? va_arg(args, int64_t) : va_arg(args, int);
			if (number < 0)
				put(&text, "-", 1);
			put_number(&text, number < 0 ? 0 - (uint64_t)number : (uint64_t)number, 10,
				width);
			break;
		case 'u':
		case 'x':
			put_number(&text,
				is_wide ? va_arg(args, uint64_t) : va_arg(args, unsigned int),
				fmt[-1] == 'x' ? 16 : 10, width);
			break;
		default: /* %% */
			put(&text, "%", 1);
		}
	}
	if (size > 0)
		to[text.length < size ? text.length : size - 1] = '\0';
	return (int)text.length;
}

int format(char *to, size_t size, const char *fmt, ...)
{
	va_list args;
	int length;

	va_start(args, fmt);
	length = vformat(to, size, fmt, args);
	va_end(args);
	return length;
}

int vdformat(int fd, const char *fmt, va_list args)
{
	va_list again;
	size_t length;
	ssize_t written;
	char *text;

	va_copy(again, args);
	length = (size_t)vformat(NULL, 0, fmt, again);
	va_end(again);
	text = malloc(length + 1);
	if (!text)
		return -1;
	vformat(text, length + 1, fmt, args);
	written = write(fd, text, length);
	free(text);
	return written == (ssize_t)length ? (int)length : -1;
}

int dformat(int fd, const char *fmt, ...)
{
	va_list args;
	int length;

	va_start(args, fmt);
	length = vdformat(fd, fmt, args);
	va_end(args);
	return length;
}
