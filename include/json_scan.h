/* SPDX-License-Identifier: Apache-2.0 */
/* Is a text JSON, RFC 8259 to the letter, neither nested too deep nor too long? And where in it is
 * the value that somebody does not like? */
#ifndef JSON_SCAN_H
#define JSON_SCAN_H

#include <stddef.h>
#include <sys/types.h>

#include "error.h"

/* Scans the one value that `text` begins with; anything may stand behind it. Returns where it
 * ends, or -1 with err. `*tokens` becomes how many tokens jsmn will make of it: one for each value
 * and one for each name.
 *
 * A text that passes holds valid UTF-8 and no escaped NUL or lone surrogate. */
ssize_t json_scan(const char *text, size_t length, size_t *tokens, struct error *err);

/* The error "<path of the value at `value`>.<member>: <why>", member NULL: the value itself. The
 * text must have passed json_scan and have a value there. Returns -1. */
int json_refuse(const char *text, size_t length, const char *value, const char *member,
	const char *why, struct error *err);

/* The next character of a string in a text that has passed, as UTF-8 and with its escape undone.
 * Returns how many bytes it became: never more than it was. */
size_t json_character(const char **at, char to[4]);

/* Length of the UTF-8 character at `at` (< end), 1 to 4, or 0 where there is none: no overlong forms,
 * no surrogates, nothing above U+10FFFF. */
size_t utf8_length(const char *at, const char *end);

#endif
