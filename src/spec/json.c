/* SPDX-License-Identifier: Apache-2.0 */
/* JSON into structs by tables: jsmn makes tokens, one walk over them fills the structs.
 *
 * jsmn is lenient about punctuation, and what no table names is skipped as jsmn accepts it. Where a value
 * is used, it is checked: that a name has one value, types, ranges, UTF-8, NUL. The walk is as deep as the
 * tables nest, whatever the text is; how deep the text may nest is bounded before jsmn sees it. */
#include "spec/json.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define JSMN_STATIC
#define JSMN_STRICT
#define JSMN_PARENT_LINKS
#include <jsmn.h>

#include "base/format.h"
#include "base/invariant.h"
#include "base/number.h"
#include "limits.h"

#define SPACE " \t\r\n"

struct decoder {
	const char *text;
	const jsmntok_t *end;
	struct arena *arena;
	struct error *err;
};

/* A longer name, in an object with arbitrary names, is "..." in errors. */
#define NAME_SHOWN_MAX 64u

static int decode_value(
	const struct decoder *d, const struct json_field *field, const jsmntok_t *value, void *out);

/* The path of the value is prepended on the way up: "containers[1].process.args: expected array". */
static int refuse(const struct decoder *d, const char *why)
{
	return error_set(d->err, EINVAL, ": %s", why);
}

static int refuse_in(const struct decoder *d, const char *name)
{
	const struct error err = *d->err;
	bool is_member = err.text[0] != ':' && err.text[0] != '[';

	return error_set(d->err, err.code, "%s%s%s", strlen(name) > NAME_SHOWN_MAX ? "..." : name,
		is_member ? "." : "", err.text);
}

static int refuse_memory(const struct decoder *d)
{
	return error_set(d->err, ENOMEM, ": out of memory");
}

/* --- Strings ---------------------------------------------------------------------------------- */

size_t utf8_length(const char *at, const char *end)
{
	const unsigned char *c = (const unsigned char *)at;
	size_t length = c[0] < 0x80 ? 1 : c[0] < 0xc2 ? 0 : c[0] < 0xe0 ? 2 : c[0] < 0xf0 ? 3 : 4;

	if (length == 0 || (size_t)(end - at) < length)
		return 0;
	for (size_t i = 1; i < length; i++)
		if ((c[i] & 0xc0) != 0x80)
			return 0;
	if ((c[0] == 0xe0 && c[1] < 0xa0) || (c[0] == 0xed && c[1] > 0x9f) ||
		(c[0] == 0xf0 && c[1] < 0x90) || (c[0] == 0xf4 && c[1] > 0x8f) || c[0] > 0xf4)
		return 0;
	return length;
}

/* How many bytes from `at` on, in words of eight, are plain ASCII: no control, quote or backslash. */
static size_t plain_length(const char *at, const char *end)
{
	const uint64_t ones = 0x0101010101010101u, high = 0x80 * ones;
	const char *start = at;
	uint64_t word, quote, backslash;

	for (; end - at >= 8; at += 8) {
		memcpy(&word, at, sizeof(word));
		quote = word ^ '"' * ones;
		backslash = word ^ '\\' * ones;
		/* Bit 7 of a byte that is not plain, and maybe of bytes above it. */
		if ((word | (word - ' ' * ones) | (quote - ones) | (backslash - ones)) & high)
			break;
	}
	return (size_t)(at - start);
}

/* The XXXX of a \uXXXX, whose digits jsmn has checked; -1: there is none. */
static int utf16_unit(const char *at, const char *end)
{
	int unit = 0;

	if (end - at < 6 || at[0] != '\\' || at[1] != 'u')
		return -1;
	for (int i = 2; i < 6; i++)
		unit = unit << 4 | (at[i] <= '9' ? at[i] - '0' : (at[i] | 0x20) - 'a' + 10);
	return unit;
}

/* Takes the character at *at, as UTF-8. Returns how many bytes that is, or 0 and why there is none. */
static size_t character_take(const char **at, const char *end, char to[4], const char **why)
{
	static const char letters[] = "\"\\/bfnrt", meanings[] = "\"\\/\b\f\n\r\t";
	const bool is_control = (unsigned char)**at < ' ';
	size_t length;
	int unit, low;

	if (**at != '\\') {
		*why = is_control ? "control character in a string" : "bad UTF-8 in a string";
		length = is_control ? 0 : utf8_length(*at, end);
		memcpy(to, *at, length);
		*at += length;
		return length;
	}
	unit = utf16_unit(*at, end);
	if (unit < 0) {
		to[0] = meanings[strchr(letters, (*at)[1]) - letters];
		*at += 2;
		return 1;
	}
	*why = unit ? "half a surrogate pair in a string" : "\\u0000 in a string";
	*at += 6;
	if (unit >= 0xd800 && unit <= 0xdfff) {
		low = unit <= 0xdbff ? utf16_unit(*at, end) : -1;
		if (low < 0xdc00 || low > 0xdfff)
			return 0;
		*at += 6;
		unit = 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
	}
	if (unit == 0)
		return 0;
	length = unit < 0x80 ? 1 : unit < 0x800 ? 2 : unit < 0x10000 ? 3 : 4;
	for (size_t i = length - 1; i > 0; i--, unit >>= 6)
		to[i] = (char)(0x80 | (unit & 0x3f));
	to[0] = (char)(length == 1 ? unit : 0xf00 >> length | unit);
	return length;
}

/* --- Tokens ----------------------------------------------------------------------------------- */

/* The token after `value` and all that is in it. */
static const jsmntok_t *token_next(const struct decoder *d, const jsmntok_t *value)
{
	const jsmntok_t *next = value + 1;

	while (next < d->end && next->start < value->end)
		next++;
	return next;
}

static bool token_is(const struct decoder *d, const jsmntok_t *value, const char *word)
{
	size_t length = (size_t)(value->end - value->start);

	return value->type == JSMN_PRIMITIVE && length == strlen(word) &&
		memcmp(d->text + value->start, word, length) == 0;
}

/* It is not a name, with a value after a colon. */
static bool is_whole(const jsmntok_t *value)
{
	return value->size == 0 || value->type == JSMN_ARRAY || value->type == JSMN_OBJECT;
}

static bool name_is(const struct decoder *d, const jsmntok_t *name, const char *wanted)
{
	const char *at = d->text + name->start, *end = d->text + name->end, *why;

	while (at < end) {
		char character[4];
		size_t length = character_take(&at, end, character, &why);

		if (length == 0 || strncmp(wanted, character, length) != 0)
			return false;
		wanted += length;
	}
	return *wanted == '\0';
}

/* --- Values ----------------------------------------------------------------------------------- */

/* Checked as the field is; NULL: it has none. */
static int decode_string(const struct decoder *d, const struct json_field *field,
	const jsmntok_t *value, const char **out)
{
	const char *at = d->text + value->start, *end = d->text + value->end, *why;
	struct error error;
	char *to;

	if (value->type != JSMN_STRING)
		return refuse(d, "expected string");
	/* No escape is shorter than what it stands for. */
	*out = to = arena_strndup(d->arena, at, (size_t)(end - at));
	if (!to)
		return refuse_memory(d);
	/* Plain ASCII, nearly all of every text, is there already. */
	to += plain_length(at, end);
	at += to - *out;
	while (at < end) {
		char character[4];
		size_t length;

		while (at < end && (signed char)*at >= ' ' && *at != '\\')
			*to++ = *at++;
		if (at == end)
			break;
		length = character_take(&at, end, character, &why);
		if (length == 0)
			return refuse(d, why);
		memcpy(to, character, length);
		to += length;
	}
	*to = '\0';
	return field && field->check && field->check(*out, &error) < 0 ? refuse(d, error.text) : 0;
}

/* A number in the field's range; a negative one is its two's complement. */
static int decode_integer(const struct decoder *d, const struct json_field *field,
	const jsmntok_t *value, uint64_t *number)
{
	const char *at = d->text + value->start, *end = d->text + value->end;
	bool may_be_text = field->kind == JSON_U32_TEXT && value->type == JSMN_STRING;
	uint64_t max = field->kind == JSON_U64 ? UINT64_MAX : field->max;
	int64_t min = field->kind == JSON_U64 ? 0 : field->min;
	bool negative = *at == '-';
	char why[64];

	at += negative;
	if ((value->type != JSMN_PRIMITIVE && !may_be_text) || *at < '0' || *at > '9')
		return refuse(d, "expected integer");
	/* number_take() stops at the end of the token: the byte there is no digit, and within the text. */
	if (!number_take(&at, negative ? (uint64_t)-min : max, number)) {
		format(why, sizeof(why), "out of range %lld to %llu", (long long)min,
			(unsigned long long)max);
		return refuse(d, why);
	}
	if (at < end) /* 1.5 or 1e3 */
		return refuse(d, "expected integer");
	if (negative)
		*number = 0 - *number;
	return 0;
}

/* jsmn takes {"a" "b"}, {"a":"b":"c"} and ["a":"b"]. */
static int check_name(const struct decoder *d, const jsmntok_t *name)
{
	if (name + 1 < d->end && name->type == JSMN_STRING && name->size == 1 && is_whole(name + 1))
		return 0;
	return refuse(d, "malformed JSON: expected a name and its value");
}

/* `out` is all 0. */
static int decode_object(const struct decoder *d, const struct json_schema *schema,
	const jsmntok_t *object, void *out)
{
	const jsmntok_t *values[JSON_FIELDS_MAX] = {NULL}; /* the last one of each field */
	const jsmntok_t *name = object + 1;

	assert(schema->fields_count <= JSON_FIELDS_MAX);
	if (object->type != JSMN_OBJECT)
		return refuse(d, "expected object");
	for (int i = 0; i < object->size; i++, name = token_next(d, name + 1)) {
		if (check_name(d, name) < 0)
			return -1;
		for (size_t f = 0; f < schema->fields_count; f++)
			if (name_is(d, name, schema->fields[f].name))
				values[f] = name + 1;
	}
	for (size_t f = 0; f < schema->fields_count; f++) {
		const struct json_field *field = &schema->fields[f];
		bool is_given = values[f] && !token_is(d, values[f], "null");

		if (!is_given && field->required != REQ)
			continue;
		if ((is_given ? decode_value(d, field, values[f], out) : refuse(d, "missing")) < 0)
			return refuse_in(d, field->name);
	}
	return schema->check ? schema->check(out, d->err) : 0;
}

/* A list of strings, with a NULL at its end, or of objects. */
static int decode_list(
	const struct decoder *d, const struct json_field *field, const jsmntok_t *list, void **out)
{
	const bool is_strings = field->kind == JSON_STRINGS;
	const size_t size = is_strings ? sizeof(char *) : field->schema->size;
	const jsmntok_t *value = list + 1;
	char *item, index[32];
	int rc;

	if (list->type != JSMN_ARRAY)
		return refuse(d, "expected array");
	*out = item = arena_calloc(d->arena, (size_t)list->size + is_strings, size);
	if (!item)
		return refuse_memory(d);
	for (int i = 0; i < list->size; i++, item += size, value = token_next(d, value)) {
		if (!is_strings)
			rc = decode_object(d, field->schema, value, item);
		else if (!is_whole(value))
			rc = refuse(d, "expected string");
		else
			rc = decode_string(d, field, value, (const char **)item);
		if (rc < 0) {
			format(index, sizeof(index), "[%d]", i);
			return refuse_in(d, index);
		}
	}
	return 0;
}

static int decode_map(const struct decoder *d, const jsmntok_t *object, void **out, size_t *count)
{
	const jsmntok_t *name = object + 1;
	struct json_member *members;

	if (object->type != JSMN_OBJECT)
		return refuse(d, "expected object");
	*out = members = arena_calloc(d->arena, (size_t)object->size, sizeof(*members));
	if (!members)
		return refuse_memory(d);
	for (int i = 0; i < object->size; i++, name = token_next(d, name + 1)) {
		struct json_member *member = &members[*count];

		if (check_name(d, name) < 0)
			return -1;
		if (token_is(d, name + 1, "null"))
			continue;
		if (decode_string(d, NULL, name, &member->name) < 0)
			return -1;
		if (decode_string(d, NULL, name + 1, &member->value) < 0)
			return refuse_in(d, member->name);
		(*count)++;
	}
	return 0;
}

/* Into the field's member of `out`. */
static int decode_value(
	const struct decoder *d, const struct json_field *field, const jsmntok_t *value, void *out)
{
	void *member = (char *)out + field->offset;
	size_t *count = (size_t *)((char *)out + field->count_offset);
	const bool is_empty_string = value->type == JSMN_STRING && value->start == value->end;
	const bool is_empty_list = value->type == JSMN_ARRAY && value->size == 0;
	uint64_t number = 0;
	int rc = -1;

	switch (field->kind) {
	case JSON_STRING:
		if (is_empty_string && field->required == OPT)
			return 0;
		rc = decode_string(d, field, value, member);
		break;
	case JSON_LIST:
		*count = (size_t)value->size;
		__attribute__((fallthrough));
	case JSON_STRINGS:
		rc = decode_list(d, field, value, member);
		break;
	case JSON_MAP:
		rc = decode_map(d, value, member, count);
		break;
	case JSON_U64:
		rc = decode_integer(d, field, value, member);
		break;
	case JSON_U32_TEXT:
		if (is_empty_string)
			return 0;
		__attribute__((fallthrough));
	case JSON_U32:
	case JSON_INT:
		rc = decode_integer(d, field, value, &number);
		if (rc == 0)
			*(uint32_t *)member = (uint32_t)number;
		break;
	case JSON_BOOL:
		*(bool *)member = token_is(d, value, "true") || token_is(d, value, "1");
		if (*(bool *)member || token_is(d, value, "false") || token_is(d, value, "0"))
			return 0;
		return refuse(d, "expected true or false");
	case JSON_OBJECT:
		return decode_object(d, field->schema, value, member);
	case JSON_OBJECT_POINTER:
		*(void **)member = arena_alloc(d->arena, field->schema->size);
		return *(void **)member ? decode_object(d, field->schema, value, *(void **)member)
					: refuse_memory(d);
	}
	if (rc == 0 && field->required == REQ && (is_empty_string || is_empty_list))
		return refuse(d, "must not be empty");
	return rc;
}

ssize_t json_span(const char *text, size_t length, struct error *err)
{
	unsigned int depth = 0;
	size_t i;

	for (i = 0; i < length; i++) {
		const char c = text[i];

		if (depth == 0 && c != '{' && c != '[') {
			if (!c || !strchr(SPACE, c))
				break;
		} else if (c == '"') {
			i += 1 + plain_length(text + i + 1, text + length);
			for (; i < length && text[i] != '"'; i++)
				i += text[i] == '\\';
		} else if (c == '{' || c == '[') {
			if (++depth > JSON_DEPTH_MAX)
				return error_set(err, EINVAL, "JSON nested deeper than %u levels",
					JSON_DEPTH_MAX);
		} else if (c == '}' || c == ']') {
			if (--depth == 0)
				return (ssize_t)i + 1;
		} else if (c > ',' && c != ':') {
			/* A number or a word: to where jsmn ends it. */
			while (i + 1 < length && text[i + 1] > ' ' && text[i + 1] != ',' &&
				text[i + 1] != ']' && text[i + 1] != '}')
				i++;
		}
	}
	return error_set(err, EINVAL, "malformed JSON at byte %zu", i < length ? i : length);
}

int json_decode(const struct json_schema *schema, const char *text, size_t length,
	struct arena *arena, void *out, struct error *err)
{
	struct decoder d = {.text = text, .arena = arena, .err = err};
	ssize_t span = json_span(text, length, err);
	jsmntok_t *tokens;
	jsmn_parser parser;
	size_t most;
	int rc;

	memset(out, 0, schema->size);
	/* jsmn takes time quadratic in the depth, which json_span() bounds. */
	if (span < 0)
		return -1;
	for (size_t i = (size_t)span; i < length; i++)
		if (!text[i] || !strchr(SPACE, text[i]))
			return error_set(err, EINVAL, "malformed JSON at byte %zu", i);
	/* No JSON text has more tokens. Memory of those that it does not have is never touched. */
	most = (size_t)span / 2 < JSON_TOKENS_MAX ? (size_t)span / 2 + 1 : JSON_TOKENS_MAX;
	tokens = malloc(most * sizeof(*tokens));
	if (!tokens)
		return error_memory(err);
	jsmn_init(&parser);
	rc = jsmn_parse(&parser, text, (size_t)span, tokens, (unsigned int)most);
	d.end = tokens + rc;
	if (rc == JSMN_ERROR_NOMEM && most == JSON_TOKENS_MAX)
		rc = error_set(err, EINVAL, "more than %u names and values", JSON_TOKENS_MAX);
	else if (rc <= 0 || token_next(&d, tokens) != d.end)
		rc = error_set(err, EINVAL, "malformed JSON at byte %u", parser.pos);
	else if ((rc = decode_object(&d, schema, tokens, out)) < 0 && err->text[0] == ':')
		memmove(err->text, err->text + 2, strlen(err->text) - 1);
	free(tokens);
	return rc;
}
