/* SPDX-License-Identifier: Apache-2.0 */
/* One short function per command, and the table that finds it.
 *
 * The row's schema has decoded the payload. A function returns 0, and the request is done there or later;
 * or -1 with err, which becomes the ERROR.
 */
#include "commands.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/count.h"
#include "child/cgroup.h"
#include "child/files.h"
#include "child/hotplug.h"
#include "child/network.h"
#include "child/ps.h"
#include "spec/spec.h"

struct command {
	const char *name;
	size_t payload_max;               /* EMPTY_MAX: it has none */
	const struct json_schema *schema; /* NULL: the payload is ignored */
	/* `spec`: the schema's struct, in the message's arena. */
	int (*run)(struct commands *commands, const void *spec, struct error *err);
};

/* For a command without arguments some hosts send null, "" or {}; null is the longest. */
#define EMPTY_MAX 4

static bool is_nothing(const struct message *message)
{
	static const char *const forms[] = {"null", "\"\"", "{}"};

	for (size_t i = 0; i < COUNT(forms); i++)
		if (message->length == strlen(forms[i]) &&
			memcmp(message->payload, forms[i], message->length) == 0)
			return true;
	return message->length == 0;
}

static int done(const struct commands *commands)
{
	request_done(&commands->shared->request, NULL);
	return 0;
}

static int command_getversion(struct commands *commands, const void *spec, struct error *err)
{
	uint8_t *version = malloc(4);

	(void)spec;
	if (!version)
		return error_memory(err);
	store_be32(version, commands->shared->settings->api);
	request_done_with(&commands->shared->request, version, 4);
	return 0;
}

/* For commands that need only an ACK: PING, GETPOD. */
static int command_nothing(struct commands *commands, const void *spec, struct error *err)
{
	(void)spec;
	(void)err;
	return done(commands);
}

static int command_startpod(struct commands *commands, const void *spec, struct error *err)
{
	return pod_start(commands->pod, spec, err);
}

static int command_destroypod(struct commands *commands, const void *spec, struct error *err)
{
	(void)spec;
	(void)err;
	pod_destroy(commands->pod);
	return 0;
}

static int command_newcontainer(struct commands *commands, const void *spec, struct error *err)
{
	return containers_start(&commands->pod->containers, spec, err);
}

static int command_execcmd(struct commands *commands, const void *spec, struct error *err)
{
	return containers_exec(&commands->pod->containers, spec, err);
}

static int command_removecontainer(struct commands *commands, const void *spec, struct error *err)
{
	const struct remove_spec *remove = spec;

	return containers_remove(&commands->pod->containers, remove->container, err);
}

static void work_done(struct spawn *worker, const struct error *err)
{
	struct request *request = &list_entry(worker, struct commands, worker)->shared->request;
	uint8_t *result;
	size_t length;

	if (err) {
		request_done(request, err);
		return;
	}
	result = spawn_take_result(worker, &length);
	request_done_with(request, result, length);
}

/* The worker keeps `fd` and, if it is not -1, `other`. */
static int command_work(struct commands *commands, void (*entry)(const void *),
	const void *argument, int fd, int other, struct error *err)
{
	struct shared *shared = commands->shared;
	const int keep[] = {fd, other};
	const struct spawn_plan plan = {
		.pid_ns = -1,
		.entry = entry,
		.argument = argument,
		.keep = keep,
		.keep_count = 2,
		.deadline_ms = shared->settings->deadline_ms,
		.done = work_done,
	};

	request_await(&shared->request, &commands->worker);
	return spawn_fork(shared->spawner, &commands->worker, &plan, err);
}

static int command_killcontainer(struct commands *commands, const void *spec, struct error *err)
{
	const struct kill_spec *kill = spec;
	struct container *container =
		containers_find(&commands->pod->containers, kill->container, err);
	struct child_cgroup_signal signal;

	if (!container)
		return -1;
	if (!container_is_running(container) && kill->signal == 0)
		return error_set(err, ESRCH, "container '%s' is not running", kill->container);
	/* SIGKILL goes to all by cgroup.kill; for another signal a worker walks the cgroup. */
	if (kill->all_processes && kill->signal != SIGKILL && container->cgroup >= 0) {
		signal = (struct child_cgroup_signal){container->cgroup, kill->signal};
		return command_work(commands, child_cgroup_signal, &signal, signal.cgroup, -1, err);
	}
	container_signal(container, kill->signal, kill->all_processes);
	return done(commands);
}

static struct process *find_process(
	struct commands *commands, const char *container_id, const char *id, struct error *err)
{
	struct container *container =
		containers_find(&commands->pod->containers, container_id, err);
	struct process *process;

	if (!container)
		return NULL;
	process = container_find_process(container, id);
	if (!process)
		error_set(err, ENOENT, "container '%s' has no process '%s'", container_id, id);
	return process;
}

static int command_winsize(struct commands *commands, const void *spec, struct error *err)
{
	const struct winsize_spec *size = spec;
	struct process *process;
	struct error ignored;
	struct input *input;

	if (size->seq) {
		/* It races with the exit: an unknown seq is not an error. */
		input = mux_find_input(commands->shared->mux, size->seq);
		if (input)
			process_resize(list_entry(input, struct process, in), size->row,
				size->column, &ignored);
		return done(commands);
	}
	process = find_process(commands, size->container, size->process, err);
	if (!process)
		return -1;
	return process_resize(process, size->row, size->column, err) < 0 ? -1 : done(commands);
}

static int command_signalprocess(struct commands *commands, const void *spec, struct error *err)
{
	const struct signal_spec *signal = spec;
	struct process *process = find_process(commands, signal->container, signal->process, err);

	if (!process)
		return -1;
	if (!process_is_running(process))
		return error_set(err, ESRCH, "process '%s' of container '%s' has ended",
			signal->process, signal->container);
	process_signal_group(process, signal->signal);
	return done(commands);
}

/* --- Commands that a worker does -------------------------------------------------------------- */

static int command_ready(struct commands *commands, const void *spec, struct error *err)
{
	(void)spec;
	return command_work(commands, child_hotplug_rescan, NULL, -1, -1, err);
}

static int command_onlinecpumem(struct commands *commands, const void *spec, struct error *err)
{
	const int *cgroup = &commands->pod->context.cgroup;

	(void)spec;
	return command_work(commands, child_hotplug_online, cgroup, *cgroup, -1, err);
}

static int command_setupinterface(struct commands *commands, const void *spec, struct error *err)
{
	const struct child_network network = {
		.interfaces = spec,
		.interfaces_count = 1,
		.settings = commands->shared->settings,
	};

	return command_work(commands, child_network_set_up, &network, -1, -1, err);
}

static int command_setuproute(struct commands *commands, const void *spec, struct error *err)
{
	const struct routes_spec *routes = spec;
	const struct child_network network = {
		.routes = routes->routes,
		.routes_count = routes->routes_count,
		.settings = commands->shared->settings,
	};

	return command_work(commands, child_network_set_up, &network, -1, -1, err);
}

static int command_deleteinterface(struct commands *commands, const void *spec, struct error *err)
{
	return command_work(commands, child_network_remove, spec, -1, -1, err);
}

static int file_work(struct commands *commands, void (*entry)(const void *),
	const struct file_spec *spec, struct error *err)
{
	struct container *container =
		containers_find(&commands->pod->containers, spec->container, err);
	struct child_files files;

	if (!container)
		return -1;
	if (container->mount_ns < 0 || container->is_unmounting)
		return error_set(
			err, EINVAL, "container '%s' has no root of its own", spec->container);
	if (commands->data_length > RESULT_MAX)
		return error_set(err, EFBIG, "'%s': larger than %u bytes", spec->file, RESULT_MAX);
	files = (struct child_files){
		.mount_ns = container->mount_ns,
		.file = spec->file,
		.data = commands->data,
		.length = commands->data_length,
	};
	return command_work(commands, entry, &files, container->mount_ns, -1, err);
}

static int command_readfile(struct commands *commands, const void *spec, struct error *err)
{
	return file_work(commands, child_files_read, spec, err);
}

static int command_writefile(struct commands *commands, const void *spec, struct error *err)
{
	return file_work(commands, child_files_write, spec, err);
}

static int command_pscontainer(struct commands *commands, const void *spec, struct error *err)
{
	const struct ps_spec *asked = spec;
	struct container *container =
		containers_find(&commands->pod->containers, asked->container, err);
	struct child_ps ps;

	if (!container)
		return -1;
	if (!container_is_running(container))
		return error_set(err, ESRCH, "container '%s' is not running", asked->container);
	ps = (struct child_ps){
		.cgroup = container->cgroup,
		.mount_ns = container->mount_ns,
		.json = asked->format && strcmp(asked->format, "json") == 0,
		.psargs = asked->psargs,
	};
	return command_work(
		commands, child_ps_main, &ps, container->cgroup, container->mount_ns, err);
}

/* clang-format off */
static const struct command command_table[] = {
	[GETVERSION]      = { "getversion",      EMPTY_MAX,     NULL,                   command_getversion },
	[STARTPOD]        = { "startpod",        MESSAGE_MAX,   &pod_spec_schema,       command_startpod },
	[GETPOD]          = { "getpod",          EMPTY_MAX,     NULL,                   command_nothing },
	[DESTROYPOD]      = { "destroypod",      MESSAGE_MAX,   NULL,                   command_destroypod },
	[EXECCMD]         = { "execcmd",         MESSAGE_MAX,   &exec_spec_schema,      command_execcmd },
	[READY]           = { "ready",           EMPTY_MAX,     NULL,                   command_ready },
	[WINSIZE]         = { "winsize",         MESSAGE_MAX,   &winsize_spec_schema,   command_winsize },
	[PING]            = { "ping",            EMPTY_MAX,     NULL,                   command_nothing },
	[WRITEFILE]       = { "writefile",       WRITEFILE_MAX, &file_spec_schema,      command_writefile },
	[READFILE]        = { "readfile",        MESSAGE_MAX,   &file_spec_schema,      command_readfile },
	[NEWCONTAINER]    = { "newcontainer",    MESSAGE_MAX,   &container_spec_schema, command_newcontainer },
	[KILLCONTAINER]   = { "killcontainer",   MESSAGE_MAX,   &kill_spec_schema,      command_killcontainer },
	[ONLINECPUMEM]    = { "onlinecpumem",    EMPTY_MAX,     NULL,                   command_onlinecpumem },
	[SETUPINTERFACE]  = { "setupinterface",  MESSAGE_MAX,   &interface_spec_schema, command_setupinterface },
	[SETUPROUTE]      = { "setuproute",      MESSAGE_MAX,   &routes_spec_schema,    command_setuproute },
	[REMOVECONTAINER] = { "removecontainer", MESSAGE_MAX,   &remove_spec_schema,    command_removecontainer },
	[PSCONTAINER]     = { "pscontainer",     MESSAGE_MAX,   &ps_spec_schema,        command_pscontainer },
	[SIGNALPROCESS]   = { "signalprocess",   MESSAGE_MAX,   &signal_spec_schema,    command_signalprocess },
	[DELETEINTERFACE] = { "deleteinterface", MESSAGE_MAX,   &device_spec_schema,    command_deleteinterface },
};
/* clang-format on */

static const struct command *command_find(uint32_t code)
{
	if (code >= COUNT(command_table) || !command_table[code].run)
		return NULL;
	return &command_table[code];
}

size_t commands_payload_max(uint32_t code)
{
	const struct command *command = command_find(code);

	return command ? command->payload_max : MESSAGE_MAX;
}

/* NULL with err. */
static void *decode(struct commands *commands, const struct command *command,
	struct message *message, struct error *err)
{
	const struct json_schema *schema = command->schema;
	const char *text = (const char *)message->payload;
	size_t length = message->length;
	ssize_t span;
	void *spec = arena_alloc(&message->arena, schema->size);

	if (!spec) {
		error_memory(err);
		return NULL;
	}
	if (schema == &file_spec_schema) {
		if ((span = json_span(text, length, err)) < 0)
			return NULL;
		length = (size_t)span;
		if (length > FILE_JSON_MAX) {
			error_set(err, E2BIG, "%zu bytes of JSON are more than %u", length,
				FILE_JSON_MAX);
			return NULL;
		}
		commands->data = message->payload + length;
		commands->data_length = message->length - length;
	}
	return json_decode(schema, text, length, &message->arena, spec, err) < 0 ? NULL : spec;
}

void commands_run(struct commands *commands, struct message *message)
{
	const struct command *command = command_find(message->code);
	struct request *request = &commands->shared->request;
	const void *spec = NULL;
	struct error err;
	int rc;

	if (!command) {
		error_set(&err, ENOSYS, "unknown command %u", message->code);
		control_error(commands->shared->control, &err);
		return;
	}
	request_begin(request, command->name);
	if (commands->pod->state == POD_DESTROYED && message->code != DESTROYPOD)
		rc = error_set(&err, ESHUTDOWN, "the pod is destroyed, the power goes off");
	else if (command->payload_max == EMPTY_MAX && !is_nothing(message))
		rc = error_set(&err, EINVAL, "it takes no arguments");
	else if (command->schema && !(spec = decode(commands, command, message, &err)))
		rc = -1;
	else
		rc = command->run(commands, spec, &err);
	if (rc < 0)
		request_done(request, &err);
}
