/* SPDX-License-Identifier: Apache-2.0 */
/* JSON against every schema: the first byte says which. What is taken must keep its promises, and
 * what is refused must say why, in UTF-8. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "limits.h"
#include "spec/json.h"
#include "spec/spec.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_process(const struct process_spec *process)
{
	assert(process->args[0][0] != '\0');
	assert(process->stdio_seq != 0);
	assert(process->stderr_seq != 0 || process->terminal);
	assert(process->rows <= UINT16_MAX && process->columns <= UINT16_MAX);
	for (size_t i = 0; i < process->envs_count; i++)
		assert(process->envs[i].env[0] != '\0' && process->envs[i].value);
}

static const struct json_schema *const schemas[] = {&pod_spec_schema, &container_spec_schema,
	&exec_spec_schema, &kill_spec_schema, &remove_spec_schema, &signal_spec_schema,
	&ps_spec_schema, &file_spec_schema, &winsize_spec_schema, &interface_spec_schema,
	&routes_spec_schema, &device_spec_schema};

static void check_spec(const struct json_schema *schema, const void *spec)
{
	const struct pod_spec *pod = spec;

	if (schema == &pod_spec_schema) {
		for (size_t i = 0; i < pod->containers_count; i++)
			check_process(&pod->containers[i].process);
	} else if (schema == &container_spec_schema) {
		const struct container_spec *container = spec;

		assert(container->id[0] != '\0' && !strchr(container->id, '/'));
		check_process(&container->process);
	} else if (schema == &exec_spec_schema) {
		check_process(&((const struct exec_spec *)spec)->process);
	} else if (schema == &kill_spec_schema) {
		int signal = ((const struct kill_spec *)spec)->signal;

		assert(signal >= 0 && signal <= 64);
	} else if (schema == &device_spec_schema) {
		assert(((const struct device_spec *)spec)->device[0] != '\0');
	}
}

/* A text that is cut is cut at a character. */
static void check_text(const char *text)
{
	for (const char *end = text + strlen(text); text < end; text += utf8_length(text, end))
		assert(utf8_length(text, end) > 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct error err = {.text = ""};
	const struct json_schema *schema;
	struct arena arena;
	struct error ignored;
	ssize_t span;
	void *spec;
	char *text;

	if (size == 0)
		return 0;
	/* A copy of just this size: a read behind it is seen. */
	text = malloc(size);
	memcpy(text, data + 1, size - 1);
	arena_init(&arena, MESSAGE_ARENA_MAX);
	schema = schemas[data[0] % COUNT(schemas)];
	spec = malloc(schema->size);
	span = json_span(text, size - 1, &ignored);
	assert(span < 0 || (size_t)span <= size - 1);
	if (json_decode(schema, text, size - 1, &arena, spec, &err) < 0) {
		assert(err.code != 0 && err.text[0] != '\0');
		check_text(err.text);
	} else {
		assert(err.text[0] == '\0' && span > 0);
		check_spec(schema, spec);
	}
	free(spec);
	assert(arena.used <= arena.cap);
	arena_free(&arena);
	free(text);
	return 0;
}
