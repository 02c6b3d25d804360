/* SPDX-License-Identifier: Apache-2.0 */
/* One short function per command, and the table that finds it.
 *
 * A function decodes its payload, calls the domain, and says what is to be answered: an ACK NOW,
 * something LATER when the pod tells that it is done, nothing because it ANSWERED itself, or an ERROR
 * with err because it FAILED. The command's name comes in front of every error here, once.
 */
#include "commands.h"

#include <errno.h>
#include <string.h>

#include "bytes.h"
#include "spec.h"

enum outcome { NOW, LATER, ANSWERED, FAILED };

struct command {
	const char *name;
	size_t payload_max;
	enum outcome (*run)(struct commands *commands, struct message *message, struct error *err);
};

static enum outcome later(int rc)
{
	return rc < 0 ? FAILED : LATER;
}

/* Decoding takes the payload as text, and what it makes goes into the message's arena. */
#define DECODE(spec_of, message, out, err) \
	spec_of((const char *)(message)->payload, (message)->length, &(message)->arena, out, err)

static void *message_alloc(struct message *message, size_t size, struct error *err)
{
	void *p = arena_alloc(&message->arena, size);

	if (!p)
		error_set(err, ENOMEM, "out of memory");
	return p;
}

static enum outcome command_getversion(
	struct commands *commands, struct message *message, struct error *err)
{
	uint8_t version[4];

	(void)message;
	(void)err;
	store_be32(version, commands->api);
	control_ack(commands->control, version, sizeof version);
	return ANSWERED;
}

static enum outcome command_ping(
	struct commands *commands, struct message *message, struct error *err)
{
	(void)commands;
	(void)message;
	(void)err;
	return NOW;
}

static enum outcome command_startpod(
	struct commands *commands, struct message *message, struct error *err)
{
	struct pod_spec *spec = message_alloc(message, sizeof *spec, err);

	if (!spec || DECODE(spec_pod, message, spec, err) < 0)
		return FAILED;
	return later(pod_start(commands->pod, spec, err));
}

static enum outcome command_destroypod(
	struct commands *commands, struct message *message, struct error *err)
{
	(void)message;
	(void)err;
	if (commands->destroyed)
		return NOW;
	pod_destroy(commands->pod);
	return LATER;
}

static enum outcome command_newcontainer(
	struct commands *commands, struct message *message, struct error *err)
{
	struct container_spec *spec = message_alloc(message, sizeof *spec, err);

	if (!spec || DECODE(spec_container, message, spec, err) < 0)
		return FAILED;
	return later(pod_start_container(commands->pod, spec, err));
}

static enum outcome command_execcmd(
	struct commands *commands, struct message *message, struct error *err)
{
	struct exec_spec *spec = message_alloc(message, sizeof *spec, err);

	if (!spec || DECODE(spec_exec, message, spec, err) < 0)
		return FAILED;
	return later(pod_exec(commands->pod, spec, err));
}

static enum outcome command_killcontainer(
	struct commands *commands, struct message *message, struct error *err)
{
	struct container *container;
	struct kill_spec spec;

	if (DECODE(spec_kill, message, &spec, err) < 0 ||
		pod_find_container(commands->pod, spec.container, &container, err) < 0)
		return FAILED;
	if (!container_is_running(container) && spec.signal == 0) {
		error_set(err, ESRCH, "container '%s' is not running", spec.container);
		return FAILED;
	}
	container_signal(container, spec.signal, spec.all_processes);
	return NOW;
}

static enum outcome command_winsize(
	struct commands *commands, struct message *message, struct error *err)
{
	struct container *container;
	struct process *process;
	struct winsize_spec spec;
	struct error ignored;
	struct input *input;

	if (DECODE(spec_winsize, message, &spec, err) < 0)
		return FAILED;
	if (spec.seq) {
		/* It races with the exit: an unknown seq is none of the host's faults. */
		input = mux_find_input(commands->mux, spec.seq);
		if (input)
			process_resize(list_entry(input, struct process, in), spec.row, spec.column,
				&ignored);
		return NOW;
	}
	if (pod_find_container(commands->pod, spec.container, &container, err) < 0)
		return FAILED;
	process = container_find_process(container, spec.process);
	if (!process) {
		error_set(err, ENOENT, "container '%s' has no process '%s'", spec.container,
			spec.process);
		return FAILED;
	}
	return process_resize(process, spec.row, spec.column, err) < 0 ? FAILED : NOW;
}

/* clang-format off */
static const struct command command_table[] = {
	[GETVERSION]    = { "getversion",    MESSAGE_MAX, command_getversion },
	[STARTPOD]      = { "startpod",      MESSAGE_MAX, command_startpod },
	[DESTROYPOD]    = { "destroypod",    MESSAGE_MAX, command_destroypod },
	[EXECCMD]       = { "execcmd",       MESSAGE_MAX, command_execcmd },
	[WINSIZE]       = { "winsize",       MESSAGE_MAX, command_winsize },
	[PING]          = { "ping",          MESSAGE_MAX, command_ping },
	[NEWCONTAINER]  = { "newcontainer",  MESSAGE_MAX, command_newcontainer },
	[KILLCONTAINER] = { "killcontainer", MESSAGE_MAX, command_killcontainer },
};
/* clang-format on */

static const struct command *command_find(uint32_t code)
{
	if (code >= sizeof command_table / sizeof *command_table || !command_table[code].run)
		return NULL;
	return &command_table[code];
}

size_t commands_payload_max(uint32_t code)
{
	const struct command *command = command_find(code);

	return command ? command->payload_max : MESSAGE_MAX;
}

/* The payload of a command without arguments is not looked at: hosts send nothing, null, "" or {}. */
void commands_run(struct commands *commands, struct message *message)
{
	const struct command *command = command_find(message->code);
	enum outcome outcome = FAILED;
	struct error err;

	if (!command) {
		error_set(&err, ENOSYS, "unknown command %u", message->code);
		control_error(commands->control, &err);
		return;
	}
	commands->pending = command;
	if (commands->destroyed && message->code != DESTROYPOD)
		error_set(&err, ESHUTDOWN, "the pod is destroyed, the power goes off");
	else
		outcome = command->run(commands, message, &err);
	if (outcome == NOW || outcome == FAILED)
		commands_done(commands, outcome == NOW ? NULL : &err);
}

void commands_done(struct commands *commands, const struct error *err)
{
	const struct command *command = commands->pending;
	struct error named;

	commands->pending = NULL;
	if (command->run == command_destroypod)
		commands->destroyed = true;
	if (!err) {
		control_ack(commands->control, NULL, 0);
		return;
	}
	named = *err;
	error_wrap(&named, "%s", command->name);
	control_error(commands->control, &named);
}

void commands_cut(struct commands *commands)
{
	if (commands->pending)
		pod_cancel(commands->pod, "cut short by a destroypod");
}
