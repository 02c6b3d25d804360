/* SPDX-License-Identifier: Apache-2.0 */
/* JSON against every schema: the first byte says which. What is taken must keep its promises, and
 * what is refused must say why, in UTF-8. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "json_scan.h"
#include "limits.h"
#include "spec.h"

#define SCHEMAS 12

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

static int decode(
	int schema, const char *text, size_t length, struct arena *arena, struct error *err)
{
	union {
		struct pod_spec pod;
		struct container_spec container;
		struct exec_spec exec;
		struct kill_spec kill;
		struct winsize_spec winsize;
		struct file_spec file;
		struct remove_spec remove;
		struct signal_spec signal;
		struct ps_spec ps;
		struct interface_spec interface;
		struct routes_spec routes;
		struct device_spec device;
	} out;
	size_t end;
	int result;

	switch (schema) {
	case 0:
		result = spec_pod(text, length, arena, &out.pod, err);
		for (size_t i = 0; result == 0 && i < out.pod.containers_count; i++)
			check_process(&out.pod.containers[i].process);
		return result;
	case 1:
		result = spec_container(text, length, arena, &out.container, err);
		if (result == 0) {
			assert(out.container.id[0] != '\0' && !strchr(out.container.id, '/'));
			check_process(&out.container.process);
		}
		return result;
	case 2:
		result = spec_exec(text, length, arena, &out.exec, err);
		if (result == 0)
			check_process(&out.exec.process);
		return result;
	case 3:
		result = spec_kill(text, length, arena, &out.kill, err);
		assert(result < 0 || (out.kill.signal >= 0 && out.kill.signal <= 64));
		return result;
	case 4:
		return spec_remove(text, length, arena, &out.remove, err);
	case 5:
		return spec_signal(text, length, arena, &out.signal, err);
	case 6:
		return spec_ps(text, length, arena, &out.ps, err);
	case 7:
		result = spec_file(text, length, arena, &out.file, &end, err);
		assert(result < 0 || (end > 0 && end <= length && text[end - 1] == '}'));
		return result;
	case 9:
		return spec_interface(text, length, arena, &out.interface, err);
	case 10:
		return spec_routes(text, length, arena, &out.routes, err);
	case 11:
		result = spec_device(text, length, arena, &out.device, err);
		assert(result < 0 || out.device.device[0] != '\0');
		return result;
	default:
		return spec_winsize(text, length, arena, &out.winsize, err);
	}
}

/* A text that is cut is cut at a character; as a JSON string it must pass our own scan. */
static void check_text(const char *text)
{
	char json[ERROR_TEXT_MAX + 2];
	size_t length = 0, tokens;
	struct error err;

	json[length++] = '"';
	for (; *text; text++)
		json[length++] =
			*text == '"' || *text == '\\' || (unsigned char)*text < ' ' ? '?' : *text;
	json[length++] = '"';
	assert(json_scan(json, length, &tokens, &err) == (ssize_t)length);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct error err = {.text = ""};
	struct arena arena;
	char *text;

	if (size == 0)
		return 0;
	/* A copy of just this size: a read behind it is seen. */
	text = malloc(size);
	memcpy(text, data + 1, size - 1);
	arena_init(&arena, MESSAGE_ARENA_MAX);
	if (decode(data[0] % SCHEMAS, text, size - 1, &arena, &err) < 0) {
		assert(err.code != 0 && err.text[0] != '\0');
		check_text(err.text);
	} else {
		size_t tokens;

		assert(err.text[0] == '\0');
		assert(json_scan(text, size - 1, &tokens, &err) > 0);
	}
	assert(arena.used <= arena.cap);
	arena_free(&arena);
	free(text);
	return 0;
}
