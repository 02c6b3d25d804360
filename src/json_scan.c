/* SPDX-License-Identifier: Apache-2.0 */
/* Is a text JSON, and where in it is the value that somebody does not like? */
#include "json_scan.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "format.h"
#include "limits.h"

/* What an error text shows of a path and of one name in it. */
#define PATH_BYTES 256u
#define NAME_BYTES 64u

/* --- Characters ------------------------------------------------------------------------------- */

size_t utf8_length(const char *at, const char *end)
{
	const unsigned char *c = (const unsigned char *)at;
	size_t length = c[0] < 0x80 ? 1 : c[0] < 0xc2 ? 0 : c[0] < 0xe0 ? 2 : c[0] < 0xf0 ? 3 : 4;

	if (length == 0 || (size_t)(end - at) < length)
		return 0;
	for (size_t i = 1; i < length; i++) {
		if ((c[i] & 0xc0) != 0x80)
			return 0;
	}
	if ((c[0] == 0xe0 && c[1] < 0xa0) || (c[0] == 0xed && c[1] > 0x9f) ||
		(c[0] == 0xf0 && c[1] < 0x90) || (c[0] == 0xf4 && c[1] > 0x8f) || c[0] > 0xf4)
		return 0;
	return length;
}

static size_t utf8_put(char *to, unsigned int c)
{
	if (c < 0x80) {
		to[0] = (char)c;
		return 1;
	}
	if (c < 0x800) {
		to[0] = (char)(0xc0 | c >> 6);
		to[1] = (char)(0x80 | (c & 0x3f));
		return 2;
	}
	if (c < 0x10000) {
		to[0] = (char)(0xe0 | c >> 12);
		to[1] = (char)(0x80 | (c >> 6 & 0x3f));
		to[2] = (char)(0x80 | (c & 0x3f));
		return 3;
	}
	to[0] = (char)(0xf0 | c >> 18);
	to[1] = (char)(0x80 | (c >> 12 & 0x3f));
	to[2] = (char)(0x80 | (c >> 6 & 0x3f));
	to[3] = (char)(0x80 | (c & 0x3f));
	return 4;
}

/* The XXXX of the \uXXXX at `at`, or -1 where there is none. */
static int utf16_unit(const char *at, const char *end)
{
	int unit = 0;

	if (end - at < 6 || at[0] != '\\' || at[1] != 'u')
		return -1;
	for (int i = 2; i < 6; i++) {
		int c = (unsigned char)at[i], digit;

		if (c >= '0' && c <= '9')
			digit = c - '0';
		else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
			digit = (c | 0x20) - 'a' + 10;
		else
			return -1;
		unit = unit << 4 | digit;
	}
	return unit;
}

static bool unit_is_high_surrogate(int unit)
{
	return unit >= 0xd800 && unit <= 0xdbff;
}

static bool unit_is_low_surrogate(int unit)
{
	return unit >= 0xdc00 && unit <= 0xdfff;
}

size_t json_character(const char **at, char to[4])
{
	static const char letters[] = "bfnrt", meanings[] = "\b\f\n\r\t";
	const char *letter;
	unsigned int c;

	if (**at != '\\') {
		to[0] = *(*at)++;
		return 1;
	}
	if ((*at)[1] != 'u') {
		letter = strchr(letters, (*at)[1]);
		to[0] = letter ? meanings[letter - letters] : (*at)[1];
		*at += 2;
		return 1;
	}
	c = (unsigned int)utf16_unit(*at, *at + 6);
	*at += 6;
	if (unit_is_high_surrogate((int)c)) {
		c = 0x10000 + ((c - 0xd800) << 10) + (unsigned int)utf16_unit(*at, *at + 6) -
			0xdc00;
		*at += 6;
	}
	return utf8_put(to, c);
}

/* --- Scan ------------------------------------------------------------------------------------- */

struct scan {
	const char *text, *end;
	const char *at;
	size_t tokens; /* as jsmn counts them: values and names */

	/* The way down to `at`. */
	struct step {
		const char *name; /* NULL in an array; "" before an object's first */
		size_t n;         /* length of the name, as in the text; or the index */
	} path[JSON_DEPTH_MAX];
	size_t depth;

	/* For the decoder: the value that it refuses, the member of it that is meant, and why. */
	const char *refused, *member, *why;
	struct error *err;
};

/* "containers[1].process", or "" at the top. Too long a way ends in "...". */
static void path_print(const struct scan *s, char path[PATH_BYTES])
{
	size_t used = 0;

	path[0] = '\0';
	for (size_t i = 0; i < s->depth; i++) {
		const struct step *step = &s->path[i];
		size_t room = PATH_BYTES - sizeof("...") - used;
		size_t length = step->n;
		int printed;

		if (!step->name) {
			printed = format(path + used, room, "[%zu]", step->n);
		} else {
			if (length > NAME_BYTES)
				length = NAME_BYTES;
			while (length > 0 && ((unsigned char)step->name[length] & 0xc0) == 0x80)
				length--;
			printed = format(path + used, room, "%s%.*s", used && length ? "." : "",
				(int)length, step->name);
		}
		if ((size_t)printed >= room) {
			memcpy(path + used, "...", sizeof("..."));
			return;
		}
		used += (size_t)printed;
	}
}

static int scan_fail(struct scan *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static int scan_fail(struct scan *s, const char *fmt, ...)
{
	char path[PATH_BYTES];
	va_list args;

	va_start(args, fmt);
	vformat(s->err->text, sizeof(s->err->text), fmt, args);
	va_end(args);
	s->err->code = EINVAL;
	path_print(s, path);
	if (s->member)
		return error_wrap(s->err, "%s%s%s", path, *path ? "." : "", s->member);
	return *path ? error_wrap(s->err, "%s", path) : -1;
}

static int scan_malformed(struct scan *s, const char *why)
{
	return scan_fail(s, "malformed JSON at byte %zu: %s", (size_t)(s->at - s->text), why);
}

static void scan_space(struct scan *s)
{
	while (s->at < s->end &&
		(*s->at == ' ' || *s->at == '\t' || *s->at == '\n' || *s->at == '\r'))
		s->at++;
}

/* Steps over `c` where it is what comes next. */
static bool scan_take(struct scan *s, char c)
{
	if (s->at == s->end || *s->at != c)
		return false;
	s->at++;
	return true;
}

static bool scan_take_space(struct scan *s, char c)
{
	scan_space(s);
	return scan_take(s, c);
}

static int scan_token(struct scan *s)
{
	if (++s->tokens > JSON_TOKENS_MAX)
		return scan_fail(s, "more than %u names and values", JSON_TOKENS_MAX);
	return 0;
}

static int scan_enter(struct scan *s, struct step step)
{
	if (s->depth == JSON_DEPTH_MAX)
		return scan_fail(s, "nested deeper than %u levels", JSON_DEPTH_MAX);
	s->path[s->depth++] = step;
	return 0;
}

static int scan_escape(struct scan *s)
{
	int unit = utf16_unit(s->at, s->end);

	if (s->end - s->at >= 2 && memchr("\"\\/bfnrt", s->at[1], 8)) {
		s->at += 2;
		return 0;
	}
	if (unit < 0)
		return scan_malformed(s, "bad escape in a string");
	if (unit == 0)
		return scan_fail(s, "\\u0000 in a string");
	s->at += 6;
	if (unit_is_high_surrogate(unit)) {
		unit = utf16_unit(s->at, s->end);
		if (!unit_is_low_surrogate(unit))
			return scan_fail(s, "half a surrogate pair in a string");
		s->at += 6;
	} else if (unit_is_low_surrogate(unit)) {
		return scan_fail(s, "half a surrogate pair in a string");
	}
	return 0;
}

/* Neither a quote nor a backslash, and one byte of ASCII that may stand in a string as it is. */
static bool is_plain(unsigned char c)
{
	return (unsigned char)(c - ' ') < 0x80 - ' ' && c != '"' && c != '\\';
}

/* From the opening quote to behind the closing one. */
static int scan_string(struct scan *s)
{
	size_t length;

	if (!scan_take(s, '"'))
		return scan_malformed(s, "expected a name");
	if (scan_token(s) < 0)
		return -1;
	for (;;) {
		const char *at = s->at;

		/* Nearly all of every text is this: in a register. */
		while (at < s->end && is_plain((unsigned char)*at))
			at++;
		s->at = at;
		if (s->at == s->end)
			return scan_malformed(s, "the string has no end");
		if (scan_take(s, '"'))
			return 0;
		if ((unsigned char)*s->at < ' ')
			return scan_malformed(s, "control character in a string");
		if (*s->at == '\\') {
			if (scan_escape(s) < 0)
				return -1;
			continue;
		}
		length = utf8_length(s->at, s->end);
		if (length == 0)
			return scan_fail(s, "bad UTF-8 in a string");
		s->at += length;
	}
}

static bool scan_digits(struct scan *s)
{
	const char *start = s->at;

	while (s->at < s->end && *s->at >= '0' && *s->at <= '9')
		s->at++;
	return s->at > start;
}

static int scan_number(struct scan *s)
{
	scan_take(s, '-');
	if (!scan_take(s, '0') && !scan_digits(s))
		return scan_malformed(s, "expected a value");
	if (scan_take(s, '.') && !scan_digits(s))
		return scan_malformed(s, "expected a digit");
	if (scan_take(s, 'e') || scan_take(s, 'E')) {
		if (!scan_take(s, '+'))
			scan_take(s, '-');
		if (!scan_digits(s))
			return scan_malformed(s, "expected a digit");
	}
	return scan_token(s);
}

static int scan_word(struct scan *s, const char *word)
{
	size_t length = strlen(word);

	if ((size_t)(s->end - s->at) < length || memcmp(s->at, word, length) != 0)
		return scan_malformed(s, "expected a value");
	s->at += length;
	return scan_token(s);
}

static int scan_value(struct scan *s);

static int scan_object(struct scan *s)
{
	struct step *step = &s->path[s->depth];

	if (scan_token(s) < 0 || scan_enter(s, (struct step){.name = ""}) < 0)
		return -1;
	s->at++;
	if (!scan_take_space(s, '}')) {
		do {
			const char *quote;

			*step = (struct step){.name = ""};
			scan_space(s);
			quote = s->at;
			if (scan_string(s) < 0)
				return -1;
			step->name = quote + 1;
			step->n = (size_t)(s->at - quote - 2);
			if (!scan_take_space(s, ':'))
				return scan_malformed(s, "expected ':'");
			if (scan_value(s) < 0)
				return -1;
		} while (scan_take_space(s, ','));
		if (!scan_take(s, '}'))
			return scan_malformed(s, "expected ',' or '}'");
	}
	s->depth--;
	return 0;
}

static int scan_array(struct scan *s)
{
	struct step *step = &s->path[s->depth];

	if (scan_token(s) < 0 || scan_enter(s, (struct step){.name = NULL}) < 0)
		return -1;
	s->at++;
	if (!scan_take_space(s, ']')) {
		do {
			if (scan_value(s) < 0)
				return -1;
			step->n++;
		} while (scan_take_space(s, ','));
		if (!scan_take(s, ']'))
			return scan_malformed(s, "expected ',' or ']'");
	}
	s->depth--;
	return 0;
}

/* One value, with the space before it. Calls itself at most JSON_DEPTH_MAX deep. */
static int scan_value(struct scan *s)
{
	scan_space(s);
	if (s->at == s->end)
		return scan_malformed(s, "expected a value");
	if (s->at == s->refused)
		return scan_fail(s, "%s", s->why);
	switch (*s->at) {
	case '{':
		return scan_object(s);
	case '[':
		return scan_array(s);
	case '"':
		return scan_string(s);
	case 't':
		return scan_word(s, "true");
	case 'f':
		return scan_word(s, "false");
	case 'n':
		return scan_word(s, "null");
	default:
		return scan_number(s);
	}
}

ssize_t json_scan(const char *text, size_t length, size_t *tokens, struct error *err)
{
	struct scan s = {.err = err};

	/* NULL may be what the caller has no bytes of. */
	s.text = s.at = length ? text : "";
	s.end = s.text + length;
	if (scan_value(&s) < 0)
		return -1;
	*tokens = s.tokens;
	return s.at - text;
}

int json_refuse(const char *text, size_t length, const char *value, const char *member,
	const char *why, struct error *err)
{
	struct scan s = {
		.text = text,
		.at = text,
		.end = text + length,
		.refused = value,
		.member = member,
		.why = why,
		.err = err,
	};

	return scan_value(&s);
}
