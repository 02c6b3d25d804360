/* SPDX-License-Identifier: Apache-2.0 */
/* JSON into structs by tables, in three passes over the text:
 *
 *     scan     Is it JSON, neither too deep nor too long? jsmn alone also takes {"a" "b"}, [1 2]
 *              and 1-2. How many tokens does it have?
 *     jsmn     Text into tokens.
 *     decode   Tokens into structs. What the scan vouches for is not checked again.
 *
 * The scan knows where it is ("containers[1].process"). So the decoder keeps no path: when it
 * refuses a value, it has the text scanned again, up to that value. */
#include "json.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define JSMN_STATIC
#define JSMN_STRICT
#define JSMN_PARENT_LINKS
#include <jsmn.h>

#include "format.h"
#include "invariant.h"
#include "json_scan.h"

#define SPACE " \t\n\r"

struct decoder {
	const char *text;
	size_t length;
	const jsmntok_t *tokens_end;
	struct arena *arena;
	struct error *err;
};

static int decode_value(
	const struct decoder *d, const struct json_field *field, const jsmntok_t *value, void *out);

/* `value`, or the member of it that is missing, and why. */
static int refuse(
	const struct decoder *d, const jsmntok_t *value, const char *member, const char *why)
{
	const char *at = d->text + value->start - (value->type == JSMN_STRING);

	return json_refuse(d->text, d->length, at, member, why, d->err);
}

static int refuse_memory(const struct decoder *d)
{
	return error_set(d->err, ENOMEM, "decoding JSON: out of memory");
}

/* The token behind `value` and all that is in it. */
static const jsmntok_t *token_next(const struct decoder *d, const jsmntok_t *value)
{
	const jsmntok_t *next = value + 1;

	while (next < d->tokens_end && next->start < value->end)
		next++;
	return next;
}

static bool token_is(const struct decoder *d, const jsmntok_t *value, const char *word)
{
	size_t length = (size_t)(value->end - value->start);

	return value->type == JSMN_PRIMITIVE && length == strlen(word) &&
		memcmp(d->text + value->start, word, length) == 0;
}

static bool token_is_empty(const jsmntok_t *value)
{
	return (value->type == JSMN_STRING && value->start == value->end) ||
		(value->type == JSMN_ARRAY && value->size == 0);
}

static bool name_is(const struct decoder *d, const jsmntok_t *name, const char *wanted)
{
	const char *at = d->text + name->start, *end = d->text + name->end;

	while (at < end) {
		char character[4];
		size_t length = json_character(&at, character);

		if (strncmp(wanted, character, length) != 0)
			return false;
		wanted += length;
	}
	return *wanted == '\0';
}

static int decode_string(const struct decoder *d, const jsmntok_t *value, const char **out)
{
	const char *at = d->text + value->start, *end = d->text + value->end;
	char *to;

	if (value->type != JSMN_STRING)
		return refuse(d, value, NULL, "expected string");
	/* No escape is shorter than what it stands for. */
	to = arena_strndup(d->arena, at, (size_t)(end - at));
	if (!to)
		return refuse_memory(d);
	*out = to;
	if (!memchr(at, '\\', (size_t)(end - at)))
		return 0;
	while (at < end) {
		char character[4];
		size_t length = json_character(&at, character);

		memcpy(to, character, length);
		to += length;
	}
	*to = '\0';
	return 0;
}

static int decode_strings(const struct decoder *d, const jsmntok_t *list, const char ***out)
{
	const jsmntok_t *value = list + 1;
	const char **strings;

	if (list->type != JSMN_ARRAY)
		return refuse(d, list, NULL, "expected array");
	strings = arena_calloc(d->arena, (size_t)list->size + 1, sizeof(*strings));
	if (!strings)
		return refuse_memory(d);
	for (int i = 0; i < list->size; i++) {
		if (decode_string(d, value, &strings[i]) < 0)
			return -1;
		value = token_next(d, value);
	}
	*out = strings;
	return 0;
}

/* A number that is in the field's range, as sign and magnitude. */
static int decode_integer(const struct decoder *d, const struct json_field *field,
	const jsmntok_t *value, bool *negative, uint64_t *magnitude)
{
	const char *at = d->text + value->start, *end = d->text + value->end;
	bool may_be_text = field->kind == JSON_U32_TEXT && value->type == JSMN_STRING;
	char why[64];
	uint64_t limit, max;
	int64_t min;

	*negative = *at == '-';
	if (*negative)
		at++;
	if ((value->type != JSMN_PRIMITIVE && !may_be_text) || *at < '0' || *at > '9')
		return refuse(d, value, NULL, "expected integer");
	max = field->kind == JSON_U64 ? UINT64_MAX : field->max;
	min = field->kind == JSON_U64 ? 0 : field->min;
	limit = *negative ? (uint64_t)-min : max;
	*magnitude = 0;
	for (; at < end; at++) {
		uint64_t digit = (uint64_t)(*at - '0');

		if (digit > 9) /* 1.5 or 1e3 */
			return refuse(d, value, NULL, "expected integer");
		if (digit > limit || *magnitude > (limit - digit) / 10) {
			format(why, sizeof(why), "out of range %lld to %llu", (long long)min,
				(unsigned long long)max);
			return refuse(d, value, NULL, why);
		}
		*magnitude = *magnitude * 10 + digit;
	}
	return 0;
}

static int decode_bool(const struct decoder *d, const jsmntok_t *value, bool *out)
{
	*out = token_is(d, value, "true") || token_is(d, value, "1");
	if (!*out && !token_is(d, value, "false") && !token_is(d, value, "0"))
		return refuse(d, value, NULL, "expected true or false");
	return 0;
}

/* `out` is all 0. */
static int decode_object(const struct decoder *d, const struct json_schema *schema,
	const jsmntok_t *object, void *out)
{
	const jsmntok_t *values[JSON_FIELDS_MAX] = {NULL}; /* the last one of each field */
	const jsmntok_t *name = object + 1;

	assert(schema->fields_count <= JSON_FIELDS_MAX);
	if (object->type != JSMN_OBJECT)
		return refuse(d, object, NULL, "expected object");
	for (int i = 0; i < object->size; i++) {
		for (size_t f = 0; f < schema->fields_count; f++) {
			if (name_is(d, name, schema->fields[f].name)) {
				values[f] = name + 1;
				break;
			}
		}
		name = token_next(d, name + 1);
	}
	for (size_t f = 0; f < schema->fields_count; f++) {
		const struct json_field *field = &schema->fields[f];

		if (values[f] && !token_is(d, values[f], "null")) {
			if (decode_value(d, field, values[f], out) < 0)
				return -1;
		} else if (field->required == REQ) {
			return refuse(d, object, field->name, "missing");
		}
	}
	return 0;
}

static int decode_list(const struct decoder *d, const struct json_schema *schema,
	const jsmntok_t *list, void **out, size_t *count)
{
	const jsmntok_t *value = list + 1;
	char *objects;

	if (list->type != JSMN_ARRAY)
		return refuse(d, list, NULL, "expected array");
	objects = arena_calloc(d->arena, (size_t)list->size, schema->size);
	if (!objects)
		return refuse_memory(d);
	for (int i = 0; i < list->size; i++) {
		if (decode_object(d, schema, value, objects + (size_t)i * schema->size) < 0)
			return -1;
		value = token_next(d, value);
	}
	*out = objects;
	*count = (size_t)list->size;
	return 0;
}

static int decode_map(const struct decoder *d, const jsmntok_t *object, void **out, size_t *count)
{
	const jsmntok_t *name = object + 1;
	struct json_member *members;

	if (object->type != JSMN_OBJECT)
		return refuse(d, object, NULL, "expected object");
	members = arena_calloc(d->arena, (size_t)object->size, sizeof(*members));
	if (!members)
		return refuse_memory(d);
	*out = members;
	*count = 0;
	for (int i = 0; i < object->size; i++) {
		const jsmntok_t *value = name + 1;

		if (!token_is(d, value, "null")) {
			if (decode_string(d, name, &members->name) < 0 ||
				decode_string(d, value, &members->value) < 0)
				return -1;
			members++;
			(*count)++;
		}
		name = token_next(d, value);
	}
	return 0;
}

static int decode_pointer(const struct decoder *d, const struct json_schema *schema,
	const jsmntok_t *object, void **out)
{
	*out = arena_alloc(d->arena, schema->size);
	return *out ? decode_object(d, schema, object, *out) : refuse_memory(d);
}

/* Into the member of `out` that the field says. Calls itself as deep as the tables nest. */
static int decode_value(
	const struct decoder *d, const struct json_field *field, const jsmntok_t *value, void *out)
{
	char *member = (char *)out + field->offset;
	const char *string = "";
	uint64_t magnitude = 0;
	bool negative = false;
	size_t *count = (size_t *)((char *)out + field->count_offset); /* of a list or a map */
	void *objects = NULL; /* copied as bytes: the member is a pointer to some struct */
	int rc = -1;

	switch (field->kind) {
	case JSON_STRING:
		rc = decode_string(d, value, &string);
		if (rc == 0 && (*string || field->required == EMPTY))
			*(const char **)member = string;
		break;
	case JSON_STRINGS:
		rc = decode_strings(d, value, (const char ***)member);
		break;
	case JSON_U64:
		rc = decode_integer(d, field, value, &negative, (uint64_t *)member);
		break;
	case JSON_U32:
	case JSON_U32_TEXT:
		if (field->kind == JSON_U32_TEXT && value->type == JSMN_STRING &&
			token_is_empty(value))
			return 0;
		rc = decode_integer(d, field, value, &negative, &magnitude);
		if (rc == 0)
			*(uint32_t *)member = (uint32_t)magnitude;
		break;
	case JSON_INT:
		rc = decode_integer(d, field, value, &negative, &magnitude);
		if (rc == 0)
			*(int *)member = negative ? (int)-(int64_t)magnitude : (int)magnitude;
		break;
	case JSON_BOOL:
		rc = decode_bool(d, value, (bool *)member);
		break;
	case JSON_OBJECT:
		return decode_object(d, field->schema, value, member);
	case JSON_OBJECT_POINTER:
		rc = decode_pointer(d, field->schema, value, &objects);
		break;
	case JSON_LIST:
		rc = decode_list(d, field->schema, value, &objects, count);
		break;
	case JSON_MAP:
		rc = decode_map(d, value, &objects, count);
		break;
	}
	if (rc == 0 && objects)
		memcpy(member, &objects, sizeof(objects));
	if (rc == 0 && field->required == REQ && token_is_empty(value))
		return refuse(d, value, NULL, "must not be empty");
	return rc;
}

int json_decode(const struct json_schema *schema, const char *text, size_t length,
	struct arena *arena, void *out, struct error *err)
{
	struct decoder d = {.text = text, .length = length, .arena = arena, .err = err};
	size_t tokens_count;
	ssize_t end = json_scan(text, length, &tokens_count, err);
	jsmn_parser parser;
	jsmntok_t *tokens;
	int rc;

	if (end < 0)
		return -1;
	for (size_t i = (size_t)end; i < length; i++) {
		if (!memchr(SPACE, text[i], strlen(SPACE)))
			return error_set(
				err, EINVAL, "malformed JSON at byte %zu: more than one value", i);
	}
	if (text[strspn(text, SPACE)] != '{')
		return error_set(err, EINVAL, "expected object");
	tokens = malloc(tokens_count * sizeof(*tokens));
	if (!tokens)
		return refuse_memory(&d);
	jsmn_init(&parser);
	rc = jsmn_parse(&parser, text, length, tokens, (unsigned int)tokens_count);
	assert(rc == (int)tokens_count);
	d.tokens_end = tokens + tokens_count;
	memset(out, 0, schema->size);
	rc = decode_object(&d, schema, tokens, out);
	free(tokens);
	return rc;
}
