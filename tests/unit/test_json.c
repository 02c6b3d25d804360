/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "limits.h"
#include "spec/json.h"

/* --- A schema with a field of every kind ------------------------------------------------------ */

struct leaf {
	const char *name, *text;
	uint64_t number;
};

struct tree {
	const char *string;
	const char **strings;
	uint64_t u64;
	uint32_t u32;
	int number;
	bool flag;
	struct leaf inside;
	struct leaf *pointed;
	struct leaf *leaves;
	size_t leaves_count;
	struct json_member *map;
	size_t map_count;
};

JSON_TABLE(leaf,
	F_STR(leaf, name, "name", REQ),
	F_STR(leaf, text, "text", OPT),
	F_U64(leaf, number, "number", OPT));

JSON_TABLE(tree,
	F_STR(tree, string, "string", OPT),
	F_STRV(tree, strings, "strings", OPT),
	F_U64(tree, u64, "u64", OPT),
	F_U32(tree, u32, "u32", OPT, 65535),
	F_INT(tree, number, "int", OPT, -5, 64),
	F_BOOL(tree, flag, "flag", OPT),
	F_OBJ(tree, inside, "inside", OPT, leaf),
	F_OBJP(tree, pointed, "pointed", OPT, leaf),
	F_LIST(tree, leaves, leaves_count, "leaves", OPT, leaf),
	F_MAP(tree, map, map_count, "map", OPT));

struct strict {
	const char *string;
	const char **strings;
	struct leaf *leaves;
	size_t leaves_count;
	int number;
};

JSON_TABLE(strict,
	F_STR(strict, string, "string", REQ),
	F_STRV(strict, strings, "strings", REQ),
	F_LIST(strict, leaves, leaves_count, "leaves", REQ, leaf),
	F_INT(strict, number, "int", REQ, 0, 9));

/* --- Allocations that fail in turn ------------------------------------------------------------ */

static long allocations_left = -1; /* -1: no end of them */

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);

static bool allocation_fails(void)
{
	return allocations_left >= 0 && allocations_left-- == 0;
}

void *__wrap_malloc(size_t size)
{
	return allocation_fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
	return allocation_fails() ? NULL : __real_calloc(count, size);
}

/* --- Helpers ---------------------------------------------------------------------------------- */

static struct arena arena;
static struct error err;

static int arena_setup(void **state)
{
	(void)state;
	arena_init(&arena, MESSAGE_ARENA_MAX);
	return 0;
}

static int arena_teardown(void **state)
{
	(void)state;
	arena_free(&arena);
	return 0;
}

/* From a copy that ends where the text ends: the sanitizer sees a byte read too far. */
static int decode_bytes(
	const struct json_schema *schema, const char *text, size_t length, void *out)
{
	char *copy = malloc(length ? length : 1);
	int result;

	memcpy(copy, text, length);
	err = (struct error){.text = "untouched"};
	result = json_decode(schema, copy, length, &arena, out, &err);
	free(copy);
	if (result == 0)
		assert_string_equal(err.text, "untouched");
	return result;
}

static void decode(const char *text, struct tree *out)
{
	if (decode_bytes(&tree_schema, text, strlen(text), out) < 0)
		fail_msg("%s: %s", text, err.text);
}

static void assert_refused(const char *text, const char *error)
{
	struct tree out;

	assert_int_equal(decode_bytes(&tree_schema, text, strlen(text), &out), -1);
	assert_string_equal(err.text, error);
	assert_int_equal(err.code, EINVAL);
}

/* --- Values ----------------------------------------------------------------------------------- */

static void every_kind_of_field_is_stored(void **state)
{
	struct tree t;

	(void)state;
	decode("{\"string\":\"s\",\"strings\":[\"a\",\"\",\"c\"],\"u64\":5,\"u32\":6,\"int\":-5,"
	       "\"flag\":true,\"inside\":{\"name\":\"n\",\"number\":7},"
	       "\"pointed\":{\"name\":\"p\"},\"leaves\":[{\"name\":\"x\"},{\"name\":\"y\"}]}",
		&t);
	assert_string_equal(t.string, "s");
	assert_string_equal(t.strings[0], "a");
	assert_string_equal(t.strings[1], "");
	assert_string_equal(t.strings[2], "c");
	assert_null(t.strings[3]);
	assert_true(t.u64 == 5 && t.u32 == 6 && t.number == -5 && t.flag);
	assert_string_equal(t.inside.name, "n");
	assert_true(t.inside.number == 7);
	assert_string_equal(t.pointed->name, "p");
	assert_int_equal(t.leaves_count, 2);
	assert_string_equal(t.leaves[0].name, "x");
	assert_string_equal(t.leaves[1].name, "y");
}

static void an_absent_key_leaves_zero(void **state)
{
	static const struct tree zero;
	struct tree t;

	(void)state;
	memset(&t, 0xff, sizeof(t));
	decode("{}", &t);
	assert_memory_equal(&t, &zero, sizeof(t));
}

static void null_is_the_same_as_absent(void **state)
{
	static const struct tree zero;
	struct tree t;

	(void)state;
	decode("{\"string\":null,\"strings\":null,\"u64\":null,\"u32\":null,\"int\":null,"
	       "\"flag\":null,\"inside\":null,\"pointed\":null,\"leaves\":null}",
		&t);
	assert_memory_equal(&t, &zero, sizeof(t));
}

static void an_empty_optional_string_is_the_same_as_absent(void **state)
{
	struct tree t;

	(void)state;
	decode("{\"string\":\"\"}", &t);
	assert_null(t.string);
}

static void an_empty_list_is_present_and_empty(void **state)
{
	struct tree t;

	(void)state;
	decode("{\"strings\":[],\"leaves\":[]}", &t);
	assert_non_null(t.strings);
	assert_null(t.strings[0]);
	assert_int_equal(t.leaves_count, 0);
}

static void an_object_by_pointer_tells_presence(void **state)
{
	struct tree t;

	(void)state;
	decode("{\"pointed\":{\"name\":\"x\"}}", &t);
	assert_non_null(t.pointed);
	assert_null(t.pointed->text);
	decode("{}", &t);
	assert_null(t.pointed);
}

static void an_object_with_any_names_is_a_list_of_its_members(void **state)
{
	struct tree t;

	(void)state;
	decode("{\"map\":{\"b.c\":\"1\",\"\\u00e4\\n\":\"\\u20ac\",\"none\":null,\"\":\"\"}}", &t);
	assert_int_equal(t.map_count, 3);
	assert_string_equal(t.map[0].name, "b.c");
	assert_string_equal(t.map[0].value, "1");
	assert_string_equal(t.map[1].name, "\u00e4\n");
	assert_string_equal(t.map[1].value, "\u20ac");
	assert_string_equal(t.map[2].name, "");
	assert_string_equal(t.map[2].value, "");
	decode("{\"map\":{}}", &t);
	assert_int_equal(t.map_count, 0);
	decode("{\"map\":null}", &t);
	assert_int_equal(t.map_count, 0);
	assert_refused("{\"map\":{\"a\":\"1\",\"b\":{}}}", "map.b: expected string");
	assert_refused("{\"map\":{\"a\":1}}", "map.a: expected string");
	assert_refused("{\"map\":[]}", "map: expected object");
}

static void unknown_keys_are_ignored_at_every_depth(void **state)
{
	struct tree t;

	(void)state;
	decode("{\"x\":{\"string\":\"no\",\"y\":[1,{\"z\":[[],{}]}]},\"string\":\"yes\",\"\":0,"
	       "\"leaves\":[{\"x\":[{\"name\":\"no\"}],\"name\":\"a\",\"y\":null},"
	       "{\"name\":\"b\",\"x\":{\"name\":3}}],\"stringy\":1,\"strin\":2,\"u64\":9}",
		&t);
	assert_string_equal(t.string, "yes");
	assert_int_equal(t.leaves_count, 2);
	assert_string_equal(t.leaves[0].name, "a");
	assert_string_equal(t.leaves[1].name, "b");
	assert_true(t.u64 == 9);
}

static void the_last_of_duplicate_keys_counts(void **state)
{
	struct tree t;

	(void)state;
	decode("{\"u64\":1,\"string\":\"a\",\"u64\":2,\"string\":null,"
	       "\"inside\":{\"name\":\"a\",\"number\":1},\"inside\":{\"name\":\"b\"},\"int\":\"x\","
	       "\"int\":3}",
		&t);
	assert_true(t.u64 == 2);
	assert_null(t.string);
	assert_string_equal(t.inside.name, "b");
	assert_true(t.inside.number == 0);
	assert_int_equal(t.number, 3);
}

static void keys_may_be_escaped(void **state)
{
	struct tree t;

	(void)state;
	decode("{\"\\u0073tr\\u0069ng\":\"a\",\"u\\u00364\":1,\"int\\u0020\":1,\"\\ud83d\\udc33\":"
	       "2}",
		&t);
	assert_string_equal(t.string, "a");
	assert_true(t.u64 == 1);
	assert_int_equal(t.number, 0);
}

static void space_is_allowed_between_all_tokens(void **state)
{
	struct tree t;

	(void)state;
	decode(" \t\r\n{ \"u64\" : 1 , \"strings\" : [ \"a\" , \"b\" ] , \"leaves\" : [ ] } \n",
		&t);
	assert_true(t.u64 == 1);
	assert_string_equal(t.strings[1], "b");
}

static void u64_is_exact(void **state)
{
	struct tree t;

	(void)state;
	decode("{\"u64\":18446744073709551615}", &t);
	assert_true(t.u64 == UINT64_MAX);
	decode("{\"u64\":9007199254740993}", &t);
	assert_true(t.u64 == 9007199254740993);
	assert_refused(
		"{\"u64\":18446744073709551616}", "u64: out of range 0 to 18446744073709551615");
	assert_refused("{\"u64\":99999999999999999999999999}",
		"u64: out of range 0 to 18446744073709551615");
	assert_refused("{\"u64\":-1}", "u64: out of range 0 to 18446744073709551615");
}

static void numbers_keep_to_their_range(void **state)
{
	struct tree t;

	(void)state;
	decode("{\"u32\":65535,\"int\":64}", &t);
	assert_true(t.u32 == 65535 && t.number == 64);
	decode("{\"u32\":0,\"int\":-5}", &t);
	assert_true(t.u32 == 0 && t.number == -5);
	decode("{\"int\":-0}", &t);
	assert_int_equal(t.number, 0);
	assert_refused("{\"u32\":65536}", "u32: out of range 0 to 65535");
	assert_refused("{\"u32\":-1}", "u32: out of range 0 to 65535");
	assert_refused("{\"int\":65}", "int: out of range -5 to 64");
	assert_refused("{\"int\":-6}", "int: out of range -5 to 64");
}

static void only_integers_are_numbers(void **state)
{
	(void)state;
	assert_refused("{\"u64\":1.0}", "u64: expected integer");
	assert_refused("{\"u64\":1e3}", "u64: expected integer");
	assert_refused("{\"u64\":\"1\"}", "u64: expected integer");
	assert_refused("{\"u64\":true}", "u64: expected integer");
	assert_refused("{\"int\":[]}", "int: expected integer");
	assert_refused("{\"int\":{}}", "int: expected integer");
}

static void booleans_may_be_numbers(void **state)
{
	struct tree t;

	(void)state;
	decode("{\"flag\":1}", &t);
	assert_true(t.flag);
	decode("{\"flag\":0}", &t);
	assert_false(t.flag);
	decode("{\"flag\":false}", &t);
	assert_false(t.flag);
	assert_refused("{\"flag\":2}", "flag: expected true or false");
	assert_refused("{\"flag\":\"true\"}", "flag: expected true or false");
	assert_refused("{\"flag\":\"1\"}", "flag: expected true or false");
	assert_refused("{\"flag\":10}", "flag: expected true or false");
}

static void escapes_are_undone(void **state)
{
	struct tree t;

	(void)state;
	decode("{\"string\":\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u0041\\u00e4\\u20AC\\ud83d\\udc33.\"}",
		&t);
	assert_string_equal(t.string, "\"\\/\b\f\n\r\tA\xc3\xa4\xe2\x82\xac\xf0\x9f\x90\xb3.");
	decode("{\"string\":"
	       "\"\\u0001\\u007f\\u0080\\u07ff\\u0800\\uffff\\ud800\\udc00\\udbff\\udfff\"}",
		&t);
	assert_string_equal(t.string,
		"\x01\x7f\xc2\x80\xdf\xbf\xe0\xa0\x80\xef\xbf\xbf"
		"\xf0\x90\x80\x80\xf4\x8f\xbf\xbf");
}

static void utf8_passes_unchanged(void **state)
{
	static const char text[] = "\x7f\xc2\x80\xdf\xbf\xe0\xa0\x80\xed\x9f\xbf\xee\x80\x80"
				   "\xef\xbf\xbf\xf0\x90\x80\x80\xf4\x8f\xbf\xbf";
	char json[100];
	struct tree t;

	(void)state;
	snprintf(json, sizeof(json), "{\"string\":\"%s\"}", text);
	decode(json, &t);
	assert_string_equal(t.string, text);
}

static void no_byte_is_taken_for_a_plain_one_at_any_place(void **state)
{
	char json[100], text[32];
	struct tree t;

	(void)state;
	for (int length = 1; length <= 26; length++) {
		for (int place = 0; place < length; place++) {
			for (int byte = 1; byte < 0x80; byte++) {
				const char *slash = byte == '"' || byte == '\\' ? "\\" : "";
				int rc;

				memset(text, 0x7f - byte % 2, sizeof(text));
				text[place] = (char)byte;
				text[length] = '\0';
				rc = snprintf(json, sizeof(json), "{\"string\":\"%.*s%s%s\"}",
					place, text, slash, text + place);
				assert_int_equal(json_span(json, sizeof(json), &err), rc);
				rc = json_decode(
					&tree_schema, json, strlen(json), &arena, &t, &err);
				assert_int_equal(rc, byte < ' ' ? -1 : 0);
				if (rc == 0)
					assert_string_equal(t.string, text);
				arena_free(&arena);
			}
		}
	}
}

static void bad_utf8_is_refused(void **state)
{
	static const char *const texts[] = {"\x80", "\xbf", "\xc0\x80", "\xc1\xbf", "\xc2",
		"\xc2\x41", "\xe0\x9f\xbf", "\xe2\x82", "\xed\xa0\x80", "\xed\xbf\xbf",
		"\xf0\x8f\xbf\xbf", "\xf0\x90\x80", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xff",
		"\xe2\x28\xa1"};

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		char json[100];

		snprintf(json, sizeof(json), "{\"strings\":[\"a\",\"%s\"]}", texts[i]);
		assert_refused(json, "strings[1]: bad UTF-8 in a string");
		snprintf(json, sizeof(json), "{\"map\":{\"%s\":\"\"}}", texts[i]);
		assert_refused(json, "map: bad UTF-8 in a string");
	}
}

static void nul_and_half_surrogates_are_refused(void **state)
{
	(void)state;
	assert_refused("{\"string\":\"a\\u0000\"}", "string: \\u0000 in a string");
	assert_refused("{\"string\":\"\\ud83d\"}", "string: half a surrogate pair in a string");
	assert_refused(
		"{\"string\":\"\\ud83d.\\udc33\"}", "string: half a surrogate pair in a string");
	assert_refused("{\"string\":\"\\udc00\"}", "string: half a surrogate pair in a string");
	assert_refused("{\"string\":\"\\udfff\"}", "string: half a surrogate pair in a string");
	assert_refused(
		"{\"string\":\"\\ud83d\\ud83d\"}", "string: half a surrogate pair in a string");
	assert_refused(
		"{\"string\":\"\\ud83d\\u0041\"}", "string: half a surrogate pair in a string");
}

/* --- Refusals name the field ------------------------------------------------------------------ */

static void a_wrong_type_is_refused_by_path(void **state)
{
	(void)state;
	assert_refused("{\"string\":1}", "string: expected string");
	assert_refused("{\"strings\":\"a\"}", "strings: expected array");
	assert_refused("{\"strings\":\"\"}", "strings: expected array");
	assert_refused("{\"strings\":[\"a\",null]}", "strings[1]: expected string");
	assert_refused("{\"strings\":[[\"a\"]]}", "strings[0]: expected string");
	assert_refused("{\"inside\":[]}", "inside: expected object");
	assert_refused("{\"inside\":{\"name\":{}}}", "inside.name: expected string");
	assert_refused("{\"pointed\":\"\"}", "pointed: expected object");
	assert_refused(
		"{\"pointed\":{\"name\":\"a\",\"number\":[]}}", "pointed.number: expected integer");
	assert_refused("{\"leaves\":{}}", "leaves: expected array");
	assert_refused("{\"leaves\":[{\"name\":\"a\"},7]}", "leaves[1]: expected object");
	assert_refused("{\"leaves\":[null]}", "leaves[0]: expected object");
	assert_refused("{\"leaves\":[{\"name\":\"a\"},{\"name\":\"b\",\"text\":0}]}",
		"leaves[1].text: expected string");
}

static void what_must_be_given_is_missed_by_path(void **state)
{
	(void)state;
	assert_refused("{\"inside\":{}}", "inside.name: missing");
	assert_refused("{\"inside\":{\"name\":null}}", "inside.name: missing");
	assert_refused("{\"inside\":{\"name\":\"\"}}", "inside.name: must not be empty");
	assert_refused("{\"leaves\":[{\"name\":\"a\"},{}]}", "leaves[1].name: missing");
}

static void a_required_field_must_not_be_empty(void **state)
{
	static const struct {
		const char *text, *error;
	} rows[] = {
		{"{}", "string: missing"},
		{"{\"string\":\"\"}", "string: must not be empty"},
		{"{\"string\":\"a\"}", "strings: missing"},
		{"{\"string\":\"a\",\"strings\":[]}", "strings: must not be empty"},
		{"{\"string\":\"a\",\"strings\":[\"\"],\"leaves\":[]}",
			"leaves: must not be empty"},
		{"{\"string\":\"a\",\"strings\":[\"\"],\"leaves\":[{\"name\":\"n\"}]}",
			"int: missing"},
	};
	static const char enough[] = "{\"string\":\"a\",\"strings\":[\"\"],"
				     "\"leaves\":[{\"name\":\"n\"}],\"int\":0}";
	struct strict out;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		assert_int_equal(
			decode_bytes(&strict_schema, rows[i].text, strlen(rows[i].text), &out), -1);
		assert_string_equal(err.text, rows[i].error);
	}
	assert_int_equal(decode_bytes(&strict_schema, enough, strlen(enough), &out), 0);
}

static void only_an_object_is_decoded(void **state)
{
	(void)state;
	assert_refused("", "malformed JSON at byte 0");
	assert_refused("  ", "malformed JSON at byte 2");
	assert_refused("null", "malformed JSON at byte 0");
	assert_refused("\"\"", "malformed JSON at byte 0");
	assert_refused("42", "malformed JSON at byte 0");
	assert_refused(" [{}] ", "expected object");
	assert_refused("{} {}", "malformed JSON at byte 3");
	assert_refused("{}]", "malformed JSON at byte 2");
}

/* As jsmn takes it; what stands behind would be lost, or taken for the next value. */
static void a_colon_stands_behind_names_only(void **state)
{
	static const char why[] = "malformed JSON: expected a name and its value";
	char inside[100];

	(void)state;
	assert_refused("{\"strings\":[\"a\":\"b\"]}", "strings[0]: expected string");
	assert_refused("{\"strings\":[\"a\":\"b\",\"c\"]}", "strings[0]: expected string");
	assert_refused("{\"string\":\"a\":\"b\"}", why);
	assert_refused("{\"x\":\"string\":\"b\"}", why);
	snprintf(inside, sizeof(inside), "map: %s", why);
	assert_refused("{\"map\":{\"a\":\"b\":\"c\"}}", inside);
	snprintf(inside, sizeof(inside), "leaves[0]: %s", why);
	assert_refused("{\"leaves\":[{\"name\":\"x\"}:{\"name\":\"y\"}]}", inside);
}

static void no_bytes_at_all_may_be_a_null_pointer(void **state)
{
	struct tree out;

	(void)state;
	assert_int_equal(json_decode(&tree_schema, NULL, 0, &arena, &out, &err), -1);
	assert_string_equal(err.text, "malformed JSON at byte 0");
}

static void a_nul_byte_is_not_the_end(void **state)
{
	struct tree out;

	(void)state;
	assert_int_equal(decode_bytes(&tree_schema, "{}\0", 3, &out), -1);
	assert_int_equal(decode_bytes(&tree_schema, "{\0}", 3, &out), -1);
	assert_int_equal(decode_bytes(&tree_schema, "{\"a\0\":1}", 8, &out), -1);
}

static void a_long_name_is_not_shown(void **state)
{
	char text[1000] = "{\"map\":{\"";

	(void)state;
	for (int i = 0; i < 200; i++)
		strcat(text, "\xc3\xa4");
	strcat(text, "\":1}}");
	assert_refused(text, "map....: expected string");
}

/* --- What jsmn takes, and nothing may be harmed by -------------------------------------------- */

/* Wrong in whole, or where it is read. */
static void what_is_no_json_is_refused(void **state)
{
	static const char *const texts[] = {"", "{", "}", "[", "]", "{]", "[}", "{\"u64\":1",
		"{\"u64\":1]", "{\"u64\"}", "{\"u64\":}", "{\"u64\" \"int\"}",
		"{\"u64\":1 \"int\":2}", "{u64:1}", "{1:2}", "{\"strings\":[\"a\":\"b\"}",
		"{\"string\":\"a}", "{\"u64\":01x}", "{\"u64\":1-2}", "{\"u64\":--1}",
		"{\"u64\":+1}", "{\"u64\":0x10}", "{\"u64\":1.}", "{\"u64\":Infinity}",
		"{\"flag\":tru}", "{\"flag\":nullx}", "{\"string\":\"\\x\"}",
		"{\"string\":\"\\u12\"}", "{\"string\":\"\\u12G4\"}", "{\"string\":\"\t\"}",
		"{\"string\":\"\x1f\"}", "\xef\xbb\xbf{}", "/**/{}", "{}//", "{\"a\":1}}", "[[[",
		"{\"string\":\"a\":\"b\",\"u64\":1}", "{\"leaves\":[{\"name\" \"number\"}]}"};

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		struct tree out;

		if (decode_bytes(&tree_schema, texts[i], strlen(texts[i]), &out) == 0)
			fail_msg("taken: %s", texts[i]);
	}
}

static void what_is_json_is_taken(void **state)
{
	static const char *const texts[] = {"{}", "[]", "[[],{},[{}]]", "0", "-0", "-1", "10",
		"123456789012345678901234567890", "0.5", "-0.0", "1.5e300", "1E+2", "1e-2", "0e0",
		"true", "false", "null", "\"\"", "\"\\u0020\"", "\"\x7f\"", "[1,2]", "[1 , 2]",
		"{\"\":0}", "{\"a\":{\"a\":{\"a\":[]}}}", "[\"]\",\"}\"]", "{\"{\":\"[\"}",
		"[null,true,false]", "[\n]", "{\t}", "{\"a\":\"b\",\"a\":\"c\"}", "\"/\"", "\"'\"",
		"[[1],2,[3]]", "{\"a\":[1],\"b\":{\"c\":2},\"d\":3}"};

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		char in_object[100];
		struct tree t;

		snprintf(in_object, sizeof(in_object), "{\"x\":%s,\"u64\":5}", texts[i]);
		decode(in_object, &t);
		assert_true(t.u64 == 5);
	}
}

static void every_text_cut_short_is_refused(void **state)
{
	static const char text[] =
		"{\"string\":\"\\ud83d\\udc33\xe2\x82\xac\",\"u64\":12,\"x\":[1.5e3,"
		"true,null],\"leaves\":[{\"name\":\"a\"}],\"flag\":false}";
	struct tree out;

	(void)state;
	for (size_t length = 0; length < sizeof(text) - 1; length++)
		assert_int_equal(decode_bytes(&tree_schema, text, length, &out), -1);
	assert_int_equal(decode_bytes(&tree_schema, text, sizeof(text) - 1, &out), 0);
}

/* --- Bounds ----------------------------------------------------------------------------------- */

static char *repeat(const char *head, const char *body, size_t count, const char *tail)
{
	size_t size = strlen(body);
	char *text = malloc(strlen(head) + count * size + strlen(tail) + 1), *to = text;

	to = stpcpy(to, head);
	for (size_t i = 0; i < count; i++)
		to = stpcpy(to, body);
	strcpy(to, tail);
	return text;
}

static void nesting_is_bounded(void **state)
{
	/* jsmn takes the first quote for a part of a number: it hides no brackets. */
	static const char *const heads[] = {"{\"x\":", "{\"x\":[1\" ", "{\"x\":[\"\\\"\", "};
	struct tree out;

	(void)state;
	for (size_t i = 0; i < sizeof(heads) / sizeof(heads[0]); i++) {
		char *deep = repeat(heads[i], "[", JSON_DEPTH_MAX, "");

		assert_int_equal(decode_bytes(&tree_schema, deep, strlen(deep), &out), -1);
		assert_string_equal(err.text, "JSON nested deeper than 32 levels");
		free(deep);
	}
	char *most = repeat("{\"x\":", "[", JSON_DEPTH_MAX - 1, "");
	char *text = repeat(most, "]", JSON_DEPTH_MAX - 1, "}");

	assert_int_equal(decode_bytes(&tree_schema, text, strlen(text), &out), 0);
	free(most);
	free(text);
}

static void a_million_brackets_are_refused(void **state)
{
	char *lists = repeat("{\"x\":", "[", 1000000, ""),
	     *objects = repeat("", "{\"a\":", 200000, "");
	struct tree out;

	(void)state;
	assert_int_equal(decode_bytes(&tree_schema, lists, strlen(lists), &out), -1);
	assert_int_equal(decode_bytes(&tree_schema, objects, strlen(objects), &out), -1);
	free(lists);
	free(objects);
}

static void tokens_are_bounded(void **state)
{
	/* Four tokens beside the zeros: the object, the name, the list and the last zero. */
	char *most = repeat("{\"x\":[", "0,", JSON_TOKENS_MAX - 4, "0]}");
	char *more = repeat("{\"x\":[", "0,", JSON_TOKENS_MAX - 3, "0]}");
	struct tree out;

	(void)state;
	assert_int_equal(decode_bytes(&tree_schema, most, strlen(most), &out), 0);
	assert_int_equal(decode_bytes(&tree_schema, more, strlen(more), &out), -1);
	assert_string_equal(err.text, "more than 32768 names and values");
	free(most);
	free(more);
}

/* Milliseconds each, in the sanitized build; what is not linear takes minutes. */
static void the_largest_messages_take_no_time(void **state)
{
	char *keys = repeat("{", "\"string\":\"\",", JSON_TOKENS_MAX / 2 - 2, "\"u64\":1}");
	char *leaves = repeat("{\"leaves\":[", "{\"name\":\"x\"},", JSON_TOKENS_MAX / 3 - 3,
		"{\"name\":\"y\",\"number\":-1}]}");
	char *text = repeat("{\"string\":\"", "\\u20ac", 500000, "\"}");
	clock_t start = clock();
	struct tree out;

	(void)state;
	assert_int_equal(decode_bytes(&tree_schema, keys, strlen(keys), &out), 0);
	assert_int_equal(decode_bytes(&tree_schema, leaves, strlen(leaves), &out), -1);
	assert_string_equal(
		err.text, "leaves[10919].number: out of range 0 to 18446744073709551615");
	assert_int_equal(decode_bytes(&tree_schema, text, strlen(text), &out), 0);
	assert_int_equal(strlen(out.string), 1500000);
	assert_true(clock() - start < 5 * CLOCKS_PER_SEC);
	free(keys);
	free(leaves);
	free(text);
}

static void every_allocation_may_fail(void **state)
{
	static const char text[] =
		"{\"string\":\"s\",\"strings\":[\"a\",\"b\"],\"pointed\":"
		"{\"name\":\"p\"},\"leaves\":[{\"name\":\"x\"},{\"name\":\"y\"}]}";
	struct tree out;
	int failures = 0;

	(void)state;
	for (long nth = 0;; nth++) {
		int result;

		allocations_left = nth;
		err = (struct error){0};
		result = json_decode(&tree_schema, text, strlen(text), &arena, &out, &err);
		allocations_left = -1;
		arena_free(&arena);
		if (result == 0)
			break;
		assert_int_equal(err.code, ENOMEM);
		failures++;
	}
	assert_true(failures >= 2); /* the tokens, the arena's first block */
}

static void every_cap_of_the_arena_is_kept(void **state)
{
	static const char text[] =
		"{\"string\":\"s\",\"strings\":[\"a\",\"b\"],\"pointed\":"
		"{\"name\":\"p\"},\"leaves\":[{\"name\":\"x\"},{\"name\":\"y\"}]}";
	struct tree out;
	size_t cap = 0;
	int result;

	(void)state;
	do {
		struct arena small;

		arena_init(&small, cap++);
		result = json_decode(&tree_schema, text, strlen(text), &small, &out, &err);
		if (result < 0)
			assert_int_equal(err.code, ENOMEM);
		assert_true(small.used <= small.cap);
		arena_free(&small);
	} while (result < 0);
	assert_true(cap > 100);
}

/* --- Where a value ends ----------------------------------------------------------------------- */

static void a_leading_value_ends_before_the_bytes_behind_it(void **state)
{
	static const struct {
		const char *text;
		ssize_t end;
	} rows[] = {
		{"{\"container\":\"c\",\"file\":\"a}b\"}raw}", 30},
		{"{}", 2},
		{" {} {}", 3},
		{"{\"a\":\"\\\"}\"}\xff\xfe", 11},
		{"[[],[]]x", 7},
		{"\"a\"", -1},
		{"{\"a\":1", -1},
		{"", -1},
		{"raw", -1},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		assert_int_equal(json_span(rows[i].text, strlen(rows[i].text), &err), rows[i].end);
}

/* --- For tests/scripts/test_json.py ----------------------------------------------------------- */

static void print_string(const char *string)
{
	printf(string ? "'" : "null");
	for (; string && *string; string++)
		printf("%02x", (unsigned char)*string);
	printf(" ");
}

static void print_leaf(const struct leaf *leaf)
{
	print_string(leaf->name);
	print_string(leaf->text);
	printf("%llu ", (unsigned long long)leaf->number);
}

static void print_tree(const struct tree *t)
{
	size_t strings_count = 0;

	print_string(t->string);
	while (t->strings && t->strings[strings_count])
		strings_count++;
	printf("%d %zu ", t->strings != NULL, strings_count);
	for (size_t i = 0; i < strings_count; i++)
		print_string(t->strings[i]);
	printf("%llu %u %d %d ", (unsigned long long)t->u64, t->u32, t->number, t->flag);
	print_leaf(&t->inside);
	printf("%d ", t->pointed != NULL);
	print_leaf(t->pointed ? t->pointed : &(struct leaf){0});
	printf("%zu ", t->leaves_count);
	for (size_t i = 0; i < t->leaves_count; i++)
		print_leaf(&t->leaves[i]);
	printf("%zu ", t->map_count);
	for (size_t i = 0; i < t->map_count; i++) {
		print_string(t->map[i].name);
		print_string(t->map[i].value);
	}
	printf("\n");
}

/* A line for each text of stdin, a length and a newline before each: what is decoded, or "error". */
static int answer(void)
{
	size_t length;

	while (scanf("%zu%*c", &length) == 1) {
		char *text = malloc(length);
		struct tree out;

		if (fread(text, 1, length, stdin) != length)
			return 1;
		arena_init(&arena, MESSAGE_ARENA_MAX);
		if (decode_bytes(&tree_schema, text, length, &out) < 0)
			printf("error\n");
		else
			print_tree(&out);
		arena_free(&arena);
		free(text);
	}
	return 0;
}

#define test_with_arena(test) cmocka_unit_test_setup_teardown(test, arena_setup, arena_teardown)

int main(int argc, char *argv[])
{
	const struct CMUnitTest tests[] = {
		test_with_arena(every_kind_of_field_is_stored),
		test_with_arena(an_absent_key_leaves_zero),
		test_with_arena(null_is_the_same_as_absent),
		test_with_arena(an_empty_optional_string_is_the_same_as_absent),
		test_with_arena(an_empty_list_is_present_and_empty),
		test_with_arena(an_object_by_pointer_tells_presence),
		test_with_arena(an_object_with_any_names_is_a_list_of_its_members),
		test_with_arena(unknown_keys_are_ignored_at_every_depth),
		test_with_arena(the_last_of_duplicate_keys_counts),
		test_with_arena(keys_may_be_escaped),
		test_with_arena(space_is_allowed_between_all_tokens),
		test_with_arena(u64_is_exact),
		test_with_arena(numbers_keep_to_their_range),
		test_with_arena(only_integers_are_numbers),
		test_with_arena(booleans_may_be_numbers),
		test_with_arena(escapes_are_undone),
		test_with_arena(utf8_passes_unchanged),
		test_with_arena(no_byte_is_taken_for_a_plain_one_at_any_place),
		test_with_arena(bad_utf8_is_refused),
		test_with_arena(nul_and_half_surrogates_are_refused),
		test_with_arena(a_wrong_type_is_refused_by_path),
		test_with_arena(what_must_be_given_is_missed_by_path),
		test_with_arena(a_required_field_must_not_be_empty),
		test_with_arena(only_an_object_is_decoded),
		test_with_arena(a_colon_stands_behind_names_only),
		test_with_arena(no_bytes_at_all_may_be_a_null_pointer),
		test_with_arena(a_nul_byte_is_not_the_end),
		test_with_arena(a_long_name_is_not_shown),
		test_with_arena(what_is_no_json_is_refused),
		test_with_arena(what_is_json_is_taken),
		test_with_arena(every_text_cut_short_is_refused),
		test_with_arena(nesting_is_bounded),
		test_with_arena(a_million_brackets_are_refused),
		test_with_arena(tokens_are_bounded),
		test_with_arena(the_largest_messages_take_no_time),
		test_with_arena(every_allocation_may_fail),
		test_with_arena(every_cap_of_the_arena_is_kept),
		cmocka_unit_test(a_leading_value_ends_before_the_bytes_behind_it),
	};

	(void)argv;
	if (argc > 1)
		return answer();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
