/* SPDX-License-Identifier: Apache-2.0 */
/* One short function per command, and the table that finds it.
 *
 * A function decodes its payload and has the command done: it returns 0, and the request is done there or
 * later; or -1 with err, which is the answer.
 */
#include "commands.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "bytes.h"
#include "child_cgroup.h"
#include "child_files.h"
#include "child_hotplug.h"
#include "child_network.h"
#include "child_ps.h"
#include "count.h"
#include "spec.h"

struct command {
	const char *name;
	size_t payload_max; /* NO_ARGUMENTS: it has none */
	int (*run)(struct commands *commands, struct error *err);
};

/* Some hosts send null, "" or {} all the same. */
#define NO_ARGUMENTS 4

static bool is_nothing(const struct message *message)
{
	static const char *const forms[] = {"null", "\"\"", "{}"};

	for (size_t i = 0; i < COUNT(forms); i++)
		if (message->length == strlen(forms[i]) &&
			memcmp(message->payload, forms[i], message->length) == 0)
			return true;
	return message->length == 0;
}

static struct request *request_of(const struct commands *commands)
{
	return &commands->table->request;
}

static int done(const struct commands *commands)
{
	request_done(request_of(commands), NULL);
	return 0;
}

/* Decoding takes the payload as text, and what it makes goes into the message's arena. */
#define DECODE(spec_of, commands, out, err)                                              \
	spec_of((const char *)(commands)->message->payload, (commands)->message->length, \
		&(commands)->message->arena, out, err)

static void *message_alloc(struct commands *commands, size_t size, struct error *err)
{
	void *p = arena_alloc(&commands->message->arena, size);

	if (!p)
		error_memory(err);
	return p;
}

static int command_getversion(struct commands *commands, struct error *err)
{
	uint8_t *version = malloc(4);

	if (!version)
		return error_memory(err);
	store_be32(version, commands->table->settings->api);
	request_done_with(request_of(commands), version, 4);
	return 0;
}

/* For what the host only wants to be acknowledged: PING, GETPOD. */
static int command_nothing(struct commands *commands, struct error *err)
{
	(void)err;
	return done(commands);
}

static int command_startpod(struct commands *commands, struct error *err)
{
	struct pod_spec *spec = message_alloc(commands, sizeof(*spec), err);

	if (!spec || DECODE(spec_pod, commands, spec, err) < 0)
		return -1;
	return pod_start(commands->pod, spec, err);
}

static int command_destroypod(struct commands *commands, struct error *err)
{
	(void)err;
	pod_destroy(commands->pod);
	return 0;
}

static int command_newcontainer(struct commands *commands, struct error *err)
{
	struct container_spec *spec = message_alloc(commands, sizeof(*spec), err);

	if (!spec || DECODE(spec_container, commands, spec, err) < 0)
		return -1;
	return containers_start(&commands->pod->containers, spec, err);
}

static int command_execcmd(struct commands *commands, struct error *err)
{
	struct exec_spec *spec = message_alloc(commands, sizeof(*spec), err);

	if (!spec || DECODE(spec_exec, commands, spec, err) < 0)
		return -1;
	return containers_exec(&commands->pod->containers, spec, err);
}

static void work_done(struct spawn *worker, const struct error *err)
{
	struct request *request = request_of(list_entry(worker, struct commands, worker));
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
static int work(struct commands *commands, void (*entry)(const void *), const void *argument,
	int fd, int other, struct error *err)
{
	struct process_table *table = commands->table;
	const int keep[] = {fd, other};
	const struct spawn_plan plan = {
		.pid_ns = -1,
		.entry = entry,
		.argument = argument,
		.keep = keep,
		.keep_count = 2,
		.deadline_ms = table->settings->deadline_ms,
		.done = work_done,
	};

	request_await(&table->request, &commands->worker);
	return spawn_fork(table->spawner, &commands->worker, &plan, err);
}

static int command_killcontainer(struct commands *commands, struct error *err)
{
	struct child_cgroup_signal signal;
	struct container *container;
	struct kill_spec spec;

	if (DECODE(spec_kill, commands, &spec, err) < 0)
		return -1;
	container = containers_find(&commands->pod->containers, spec.container, err);
	if (!container)
		return -1;
	if (!container_is_running(container) && spec.signal == 0) {
		return error_set(err, ESRCH, "container '%s' is not running", spec.container);
	}
	/* One signal is the kernel's to give to all. */
	if (spec.all_processes && spec.signal != SIGKILL && container->cgroup.fd >= 0) {
		signal = (struct child_cgroup_signal){container->cgroup.fd, spec.signal};
		return work(commands, child_cgroup_signal, &signal, signal.cgroup, -1, err);
	}
	container_signal(container, spec.signal, spec.all_processes);
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

static int command_winsize(struct commands *commands, struct error *err)
{
	struct process *process;
	struct winsize_spec spec;
	struct error ignored;
	struct input *input;

	if (DECODE(spec_winsize, commands, &spec, err) < 0)
		return -1;
	if (spec.seq) {
		/* It races with the exit: an unknown seq is none of the host's faults. */
		input = mux_find_input(commands->table->mux, spec.seq);
		if (input)
			process_resize(list_entry(input, struct process, in), spec.row, spec.column,
				&ignored);
		return done(commands);
	}
	process = find_process(commands, spec.container, spec.process, err);
	if (!process)
		return -1;
	return process_resize(process, spec.row, spec.column, err) < 0 ? -1 : done(commands);
}

static int command_signalprocess(struct commands *commands, struct error *err)
{
	struct process *process;
	struct signal_spec spec;

	if (DECODE(spec_signal, commands, &spec, err) < 0)
		return -1;
	process = find_process(commands, spec.container, spec.process, err);
	if (!process)
		return -1;
	if (!process_is_running(process)) {
		return error_set(err, ESRCH, "process '%s' of container '%s' is gone", spec.process,
			spec.container);
	}
	process_signal_group(process, spec.signal);
	return done(commands);
}

static int command_removecontainer(struct commands *commands, struct error *err)
{
	struct remove_spec spec;

	if (DECODE(spec_remove, commands, &spec, err) < 0)
		return -1;
	return containers_remove(&commands->pod->containers, spec.container, err);
}

/* --- Commands that a worker does -------------------------------------------------------------- */

static int command_ready(struct commands *commands, struct error *err)
{
	return work(commands, child_hotplug_rescan, NULL, -1, -1, err);
}

static int command_onlinecpumem(struct commands *commands, struct error *err)
{
	return work(commands, child_hotplug_online, &commands->pod->setting.cgroup,
		commands->pod->setting.cgroup, -1, err);
}

static int network_work(struct commands *commands, struct child_network *network, struct error *err)
{
	network->deadline_ms = commands->table->settings->deadline_ms;
	return work(commands, child_network_set_up, network, -1, -1, err);
}

static int command_setupinterface(struct commands *commands, struct error *err)
{
	struct interface_spec spec;
	struct child_network network = {.interfaces = &spec, .interfaces_count = 1};

	if (DECODE(spec_interface, commands, &spec, err) < 0)
		return -1;
	return network_work(commands, &network, err);
}

static int command_setuproute(struct commands *commands, struct error *err)
{
	struct routes_spec spec;
	struct child_network network;

	if (DECODE(spec_routes, commands, &spec, err) < 0)
		return -1;
	network = (struct child_network){
		.routes = spec.routes,
		.routes_count = spec.routes_count,
	};
	return network_work(commands, &network, err);
}

static int command_deleteinterface(struct commands *commands, struct error *err)
{
	struct device_spec spec;

	if (DECODE(spec_device, commands, &spec, err) < 0)
		return -1;
	return work(commands, child_network_remove, &spec, -1, -1, err);
}

static int file_work(struct commands *commands, void (*entry)(const void *), struct error *err)
{
	struct message *message = commands->message;
	struct container *container;
	struct child_files files;
	struct file_spec spec;
	size_t end;

	if (spec_file((const char *)message->payload, message->length, &message->arena, &spec, &end,
		    err) < 0)
		return -1;
	container = containers_find(&commands->pod->containers, spec.container, err);
	if (!container)
		return -1;
	if (container->mount_ns < 0) {
		return error_set(
			err, EINVAL, "container '%s' has no root of its own", spec.container);
	}
	if (message->length - end > RESULT_MAX) {
		return error_set(err, EFBIG, "'%s': larger than %u bytes", spec.file, RESULT_MAX);
	}
	files = (struct child_files){
		.mount_ns = container->mount_ns,
		.file = spec.file,
		.data = message->payload + end,
		.length = message->length - end,
	};
	return work(commands, entry, &files, container->mount_ns, -1, err);
}

static int command_readfile(struct commands *commands, struct error *err)
{
	return file_work(commands, child_files_read, err);
}

static int command_writefile(struct commands *commands, struct error *err)
{
	return file_work(commands, child_files_write, err);
}

static int command_pscontainer(struct commands *commands, struct error *err)
{
	struct container *container;
	struct child_ps ps;
	struct ps_spec spec;

	if (DECODE(spec_ps, commands, &spec, err) < 0)
		return -1;
	container = containers_find(&commands->pod->containers, spec.container, err);
	if (!container)
		return -1;
	if (!container_is_running(container)) {
		return error_set(err, ESRCH, "container '%s' is not running", spec.container);
	}
	ps = (struct child_ps){
		.cgroup = container->cgroup.fd,
		.mount_ns = container->mount_ns,
		.json = spec.format && strcmp(spec.format, "json") == 0,
		.psargs = spec.psargs,
	};
	return work(commands, child_ps_main, &ps, container->cgroup.fd, container->mount_ns, err);
}

/* clang-format off */
static const struct command command_table[] = {
	[GETVERSION]      = { "getversion",      NO_ARGUMENTS,  command_getversion },
	[STARTPOD]        = { "startpod",        MESSAGE_MAX,   command_startpod },
	[GETPOD]          = { "getpod",          NO_ARGUMENTS,  command_nothing },
	[DESTROYPOD]      = { "destroypod",      MESSAGE_MAX,   command_destroypod },
	[EXECCMD]         = { "execcmd",         MESSAGE_MAX,   command_execcmd },
	[READY]           = { "ready",           NO_ARGUMENTS,  command_ready },
	[WINSIZE]         = { "winsize",         MESSAGE_MAX,   command_winsize },
	[PING]            = { "ping",            NO_ARGUMENTS,  command_nothing },
	[WRITEFILE]       = { "writefile",       WRITEFILE_MAX, command_writefile },
	[READFILE]        = { "readfile",        MESSAGE_MAX,   command_readfile },
	[NEWCONTAINER]    = { "newcontainer",    MESSAGE_MAX,   command_newcontainer },
	[KILLCONTAINER]   = { "killcontainer",   MESSAGE_MAX,   command_killcontainer },
	[ONLINECPUMEM]    = { "onlinecpumem",    NO_ARGUMENTS,  command_onlinecpumem },
	[SETUPINTERFACE]  = { "setupinterface",  MESSAGE_MAX,   command_setupinterface },
	[SETUPROUTE]      = { "setuproute",      MESSAGE_MAX,   command_setuproute },
	[REMOVECONTAINER] = { "removecontainer", MESSAGE_MAX,   command_removecontainer },
	[PSCONTAINER]     = { "pscontainer",     MESSAGE_MAX,   command_pscontainer },
	[SIGNALPROCESS]   = { "signalprocess",   MESSAGE_MAX,   command_signalprocess },
	[DELETEINTERFACE] = { "deleteinterface", MESSAGE_MAX,   command_deleteinterface },
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

void commands_run(struct commands *commands, struct message *message)
{
	const struct command *command = command_find(message->code);
	struct request *request = request_of(commands);
	struct error err;
	int rc;

	if (!command) {
		error_set(&err, ENOSYS, "unknown command %u", message->code);
		control_error(commands->table->control, &err);
		return;
	}
	request_begin(request, command->name);
	commands->message = message;
	if (commands->pod->state == POD_DESTROYED && message->code != DESTROYPOD)
		rc = error_set(&err, ESHUTDOWN, "the pod is destroyed, the power goes off");
	else if (command->payload_max == NO_ARGUMENTS && !is_nothing(message))
		rc = error_set(&err, EINVAL, "it takes no arguments");
	else
		rc = command->run(commands, &err);
	if (rc < 0)
		request_done(request, &err);
}
