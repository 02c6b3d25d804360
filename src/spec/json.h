/* SPDX-License-Identifier: Apache-2.0 */
/* JSON into structs by tables: the only place that walks a JSON text.
 *
 *     JSON_TABLE(process_spec,
 *             F_STR(process_spec, id, "id", OPT),
 *             F_STRV(process_spec, args, "args", REQ),
 *             F_LIST(process_spec, envs, envs_count, "envs", OPT, env_spec));
 *
 * What the tables name is checked; the value of any other key is skipped. Keys come in
 * any order; of a key that is given twice the last one counts, as in Go's decoder. null is the same as not
 * given. */
#ifndef JSON_H
#define JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/arena.h"
#include "base/count.h"
#include "base/error.h"

/* A REQ field must be given, and not be an empty string or list. An OPT string that is "" is the same as not
 * given; an EMPTY one, also optional, is not. */
enum { OPT, REQ, EMPTY };

#define JSON_FIELDS_MAX 32u

/* One member of an object with arbitrary names. */
struct json_member {
	const char *name, *value;
};

struct json_schema {
	const struct json_field *fields;
	uint16_t fields_count;
	uint16_t size; /* of the struct */
	/* NULL, or checks more than types and ranges, and may complete the struct: 0, or -1 with an err that
	 * begins with the name of a member ("args[0]: must not be empty"). */
	int (*check)(void *object, struct error *err);
};

/* Small: there are more than a hundred. What does not fit does not compile. */
struct json_field {
	const char *name;
	enum {
		JSON_STRING,
		JSON_STRINGS,
		JSON_U64,
		JSON_U32,
		JSON_U32_TEXT,
		JSON_INT,
		JSON_BOOL,
		JSON_OBJECT,
		JSON_OBJECT_POINTER,
		JSON_LIST,
		JSON_MAP,
	} kind : 8;
	uint8_t required;
	uint16_t offset;
	uint16_t count_offset; /* JSON_LIST, JSON_MAP */
	union {
		struct {
			int32_t min; /* of a number that is not a JSON_U64: 0 or less */
			uint32_t max;
		};
		const struct json_schema *schema; /* JSON_OBJECT, JSON_OBJECT_POINTER, JSON_LIST */
		/* JSON_STRING, JSON_STRINGS: NULL, or checks each string: 0, or -1 with err. */
		int (*check)(const char *string, struct error *err);
	};
};

/* offsetof that compiles only where the member's type is the one that the kind stores. */
#define JSON_MEMBER(tag, member, type) \
	(offsetof(struct tag, member) + 0 * sizeof(_Generic(((struct tag *)0)->member, type : 0)))

#define JSON_FIELD(tag, member, type, name_, kind_, required_, ...)        \
	{                                                                  \
		.name = (name_), .kind = (kind_), .required = (required_), \
		.offset = JSON_MEMBER(tag, member, type), __VA_ARGS__      \
	}

/* const char *. An OPT one that is "" is NULL. */
#define F_STR(tag, member, name, required) F_STR_CHECKED(tag, member, name, required, NULL)
#define F_STR_CHECKED(tag, member, name, required, check_) \
	JSON_FIELD(tag, member, const char *, name, JSON_STRING, required, .check = (check_))

/* const char **, NULL-terminated; NULL where the list is not given. */
#define F_STRV(tag, member, name, required) F_STRV_CHECKED(tag, member, name, required, NULL)
#define F_STRV_CHECKED(tag, member, name, required, check_) \
	JSON_FIELD(tag, member, const char **, name, JSON_STRINGS, required, .check = (check_))

#define F_U64(tag, member, name, required) \
	JSON_FIELD(tag, member, uint64_t, name, JSON_U64, required, )

#define F_U32(tag, member, name, required, max_) \
	JSON_FIELD(tag, member, uint32_t, name, JSON_U32, required, .max = (max_))

/* The same, or its digits as a string; "" is the same as not given. */
#define F_U32_TEXT(tag, member, name, required, max_) \
	JSON_FIELD(tag, member, uint32_t, name, JSON_U32_TEXT, required, .max = (max_))

#define F_INT(tag, member, name, required, min_, max_) \
	JSON_FIELD(tag, member, int, name, JSON_INT, required, .min = (min_), .max = (max_))

/* true and false; also 1 and 0. */
#define F_BOOL(tag, member, name, required) \
	JSON_FIELD(tag, member, bool, name, JSON_BOOL, required, )

/* An object as a struct inside this one, all 0 where it is not given … */
#define F_OBJ(tag, member, name, required, object)                          \
	JSON_FIELD(tag, member, struct object, name, JSON_OBJECT, required, \
		.schema = &object##_schema)

/* … and as a pointer to one, NULL where it is not given. */
#define F_OBJP(tag, member, name, required, object)                                   \
	JSON_FIELD(tag, member, struct object *, name, JSON_OBJECT_POINTER, required, \
		.schema = &object##_schema)

/* A list of objects: an array of structs, and their number in a size_t. */
#define F_LIST(tag, member, count, name, required, object)                  \
	JSON_FIELD(tag, member, struct object *, name, JSON_LIST, required, \
		.count_offset = JSON_MEMBER(tag, count, size_t), .schema = &object##_schema)

/* An object of strings with arbitrary names: an array of struct json_member, and their number in a
 * size_t. Members that are null are left out; a name that is given twice is there twice. */
#define F_MAP(tag, member, count, name, required)                               \
	JSON_FIELD(tag, member, struct json_member *, name, JSON_MAP, required, \
		.count_offset = JSON_MEMBER(tag, count, size_t))

/* The fields of struct `tag`, and its schema, tag_schema. */
#define JSON_TABLE_CHECKED(tag, check_, ...)                           \
	static const struct json_field tag##_fields[] = {__VA_ARGS__}; \
	const struct json_schema tag##_schema = {                      \
		.fields = tag##_fields,                                \
		.fields_count = COUNT(tag##_fields),                   \
		.size = sizeof(struct tag),                            \
		.check = (check_),                                     \
	}
#define JSON_TABLE(tag, ...) JSON_TABLE_CHECKED(tag, NULL, __VA_ARGS__)

/* Decodes `text`, one object, into `out`, the schema's struct; what that points to is in the arena. 0, or
 * -1 with an err that names the field ("containers[1].process.args: expected array"); `out` is then of no
 * use. Takes time linear in `length`. */
int json_decode(const struct json_schema *schema, const char *text, size_t length,
	struct arena *arena, void *out, struct error *err);

/* The length of the object or array that `text` begins with; anything may follow it. Or -1 with err: it
 * begins with none, it does not end, or it is nested too deep. */
ssize_t json_span(const char *text, size_t length, struct error *err);

/* Length of the UTF-8 character at `at` (< end), 1 to 4; 0 when it is none, overlong, a surrogate, or above
 * U+10FFFF. */
size_t utf8_length(const char *at, const char *end);

#endif
