/* SPDX-License-Identifier: Apache-2.0 */
/* One container: its mount namespace, terminals and cgroup, and the processes in it.
 *
 * It is being set up until its first process has started, RUNNING until that exits, STOPPED from
 * then on; a stopped container holds no process (what is left is killed at once) but keeps its id,
 * its mounts and its envs until it is removed.
 */
#include "pod/container.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "base/cgroup.h"
#include "base/clock.h"
#include "base/device_filter.h"
#include "base/file.h"
#include "base/invariant.h"
#include "base/log.h"
#include "child/exec.h"
#include "child/portmap.h"
#include "child/unmount.h"
#include "spec/privilege.h"

/* For the unmounting of a start that failed and was cut short: somebody waits for it. */
#define CUT_MS 2000
/* To the next try to fork the child that unmounts. */
#define LEAVE_MS 1000

struct exec {
	struct list node; /* in container->execs */
	struct container *container;
	char *id; /* owned, or NULL */
	struct process process;
};

static struct container *of_init(struct process *process)
{
	return list_entry(process, struct container, init);
}

static struct exec *of_exec(struct process *process)
{
	return list_entry(process, struct exec, process);
}

bool container_is_running(const struct container *container)
{
	return container->is_agent || process_is_running(&container->init);
}

struct process *container_find_process(struct container *container, const char *id)
{
	if (container->init.id && strcmp(container->init.id, id) == 0)
		return &container->init;
	list_for_each (it, after, &container->execs) {
		struct exec *exec = list_entry(it, struct exec, node);

		if (exec->id && strcmp(exec->id, id) == 0)
			return &exec->process;
	}
	return NULL;
}

static void signal_process(struct process *process, int signal)
{
	if (process_is_running(process))
		process_signal(process, signal);
}

/* cgroup.kill does not reach a child that has yet to join, and where there are no cgroups our own
 * children are all there is. */
static void kill_process(struct process *process)
{
	if (process_is(process, PROCESS_STARTED))
		process_signal(process, SIGKILL);
	else
		process_cancel(process, "the container is stopped");
}

enum container_state container_state(const struct container *container)
{
	const struct process *init = &container->init;

	if (process_is_running(init))
		return CONTAINER_RUNS;
	list_for_each (it, after, &container->execs)
		if (process_is_running(&list_entry(it, struct exec, node)->process))
			return CONTAINER_RUNS;
	if (container->cgroup.fd >= 0) /* it goes with the last process */
		return CONTAINER_QUIET;
	if (!list_is_empty(&container->execs) ||
		(!container->is_agent && !process_is(init, PROCESS_REPORTED)))
		return CONTAINER_DEAD;
	return spawn_is_busy(&container->worker) ? CONTAINER_LEAVES : CONTAINER_AT_REST;
}

static void kill_group(const struct container *container)
{
	struct error err;

	if (container->cgroup.fd >= 0 && cgroup_kill(container->cgroup.fd, &err) < 0)
		log_error("container %s: %s", container->id, err.text);
}

void container_signal(struct container *container, int signal, bool all)
{
	if (all)
		list_for_each (it, after, &container->execs)
			signal_process(&list_entry(it, struct exec, node)->process, signal);
	signal_process(&container->init, signal);
	/* A first process that a child of its own traces stays a zombie that only the tracer sees. */
	if (signal == SIGKILL && (all || process_is_running(&container->init)))
		kill_group(container);
}

/* The mount namespace goes when nobody is in it, and with it what a child may have left. One that is not
 * unmounted stays for ever: whoever closes it last would have to wait for its disks, and that is not to
 * be the daemon. */
static void release(struct container *container, bool is_unmounted)
{
	assert(!spawn_is_busy(&container->worker));
	timer_cancel(&container->leaving);
	container_cgroup_close(&container->cgroup);
	if (is_unmounted)
		fd_close(&container->mount_ns);
	fd_close(&container->devpts);
	list_remove(&container->node);
	container->setting->table->kept -= container->arena.used;
	arena_free(&container->arena);
	free(container);
}

void container_free(struct container *container, bool is_unmounted)
{
	assert(container_state(container) == CONTAINER_AT_REST);
	release(container, is_unmounted);
}

/* Nothing is mounted there any more (err NULL), or why it still is. */
static void unmounted(struct container *container, const struct error *err)
{
	struct request *request = &container->setting->table->request;
	struct error failure;

	if (err) {
		failure = *err;
		error_wrap(&failure, "container '%s'", container->id);
		log_error("%s", failure.text);
	} else {
		fd_close(&container->mount_ns);
		list_remove(&container->node);
	}
	if (container->has_failed) {
		release(container, !err);
		request_done(request, &request->failure);
		return;
	}
	if (container->on_removed)
		container->on_removed(container->context, err ? &failure : NULL);
	if (!err)
		release(container, true);
}

static void unmount_done(struct spawn *worker, const struct error *err)
{
	struct container *container = list_entry(worker, struct container, worker);
	size_t length = 0;
	uint8_t *complaint = spawn_take_result(worker, &length);

	if (complaint && !container->has_failed)
		log_error("container %s: close its ports: %.*s", container->id, (int)length,
			(const char *)complaint);
	free(complaint);
	unmounted(container, err);
}

static int unmount(struct container *container, struct error *err)
{
	struct process_table *table = container->setting->table;
	const bool is_cut = container->has_failed && table->request.cut;
	const uint32_t deadline_ms = is_cut ? CUT_MS : table->settings->deadline_ms;
	const struct child_unmount child = {
		.mount_ns = container->mount_ns,
		.chain = container->chain,
		.limit_ms = deadline_ms / 8,
	};
	const struct spawn_plan plan = {
		.pid_ns = -1,
		.entry = child_unmount_main,
		.argument = &child,
		.keep = &container->mount_ns,
		.keep_count = 1,
		.deadline_ms = deadline_ms,
		.done = unmount_done,
	};

	if (spawn_is_busy(&container->worker))
		return 0;
	if (container->mount_ns >= 0 || container->chain > 0)
		return spawn_fork(table->spawner, &container->worker, &plan, err);
	unmounted(container, NULL);
	return 0;
}

static void leaving_due(struct timer *timer)
{
	struct container *container = list_entry(timer, struct container, leaving);
	struct error err;

	/* At the end of the pod it is unmounted with all others. */
	if (container->is_removed && unmount(container, &err) < 0)
		timer_set(container->setting->table->loop, timer, LEAVE_MS);
}

/* That no child can be forked is told at once: a command may wait. Nobody may ever ask again for the
 * removal of a container with an id. */
static void container_leave(struct container *container)
{
	const bool goes_by_itself = container->init_id && !container->has_failed;
	struct error err;

	if (container->has_failed || container->on_removed)
		request_await(&container->setting->table->request, &container->worker);
	if (unmount(container, &err) == 0)
		return;
	if (goes_by_itself)
		timer_set(container->setting->table->loop, &container->leaving, LEAVE_MS);
	unmounted(container, &err);
}

/* A start that failed is told when nothing of it is left. */
static void container_settle(struct container *container)
{
	if (container->cgroup.fd < 0 &&
		(container->has_failed ||
			(container->is_removed && container_state(container) >= CONTAINER_LEAVES)))
		container_leave(container);
}

void container_remove(struct container *container,
	void (*on_removed)(void *context, const struct error *err), void *context)
{
	container->is_removed = true;
	container->on_removed = on_removed;
	container->context = context;
	container_settle(container);
}

static void cgroup_removed(struct container_cgroup *cgroup)
{
	container_settle(list_entry(cgroup, struct container, cgroup));
}

void container_kill(struct container *container)
{
	list_for_each (it, after, &container->execs)
		kill_process(&list_entry(it, struct exec, node)->process);
	kill_process(&container->init);
	kill_group(container);
	container_cgroup_remove(&container->cgroup);
}

/* --- The first process ------------------------------------------------------------------------ */

static void container_failed(struct container *container, const struct error *err)
{
	struct error *failure = &container->setting->table->request.failure;

	*failure = *err;
	error_wrap(failure, "container '%s'", container->id);
	container->has_failed = true;
	container->cgroup.is_urgent = true;
	container_cgroup_remove(&container->cgroup);
}

static void init_failed(struct process *process, const struct error *err)
{
	container_failed(of_init(process), err);
}

/* That the kernel took it, for want of memory, does not show in the exit code 137. */
static void tell_oom(struct container *container, const struct process *process)
{
	if (spawn_exit_code(&process->spawn) == 128 + SIGKILL)
		container_cgroup_tell_oom(&container->cgroup, process->id ? process->id : "-");
}

static void init_reaped(struct process *process)
{
	struct container *container = of_init(process);

	tell_oom(container, process);
	log_info("container %s: exited with %d", container->id, spawn_exit_code(&process->spawn));
	container_kill(container);
}

static void init_finished(struct process *process)
{
	container_settle(of_init(process));
}

/* --- More processes --------------------------------------------------------------------------- */

static void exec_free(struct exec *exec)
{
	list_remove(&exec->node);
	free(exec->id);
	free(exec);
}

static void exec_failed(struct process *process, const struct error *err)
{
	struct exec *exec = of_exec(process);
	struct container *container = exec->container;
	struct error named = *err;

	error_wrap(&named, "container '%s'", container->id);
	exec_free(exec);
	request_done(&container->setting->table->request, &named);
	container_settle(container);
}

static void exec_reaped(struct process *process)
{
	tell_oom(of_exec(process)->container, process);
	/* Not info: on a serial console the line costs more than 5 % of a whole exec. */
	log_debug("process %s/%s: exited with %d", process->container,
		process->id ? process->id : "-", spawn_exit_code(&process->spawn));
}

static void exec_finished(struct process *process)
{
	struct exec *exec = of_exec(process);
	struct container *container = exec->container;

	exec_free(exec);
	container_settle(container);
}

static int start_process(struct container *container, struct process *process,
	struct process_plan *plan, struct error *err)
{
	const struct container_setting *setting = container->setting;

	plan->container = container->id;
	plan->pid_ns = setting->pid_ns;
	plan->devpts = container->devpts;
	plan->child.hostname = setting->hostname;
	plan->child.settings = setting->table->settings;
	plan->child.uts_ns = setting->uts_ns;
	plan->child.ipc_ns = setting->ipc_ns;
	plan->child.cgroup = container->cgroup.fd;
	return process_start(process, setting->table, plan, err);
}

/* cc-runtime 3.0 sends five nulls with each exec. An empty list is none. */
static bool says_nothing(const struct capabilities_spec *capabilities)
{
	for (size_t i = 0; capabilities && i < CAPABILITY_SETS; i++)
		if (capabilities->names[i])
			return false;
	return true;
}

int container_exec(struct container *container, const struct process_spec *spec, struct error *err)
{
	struct process_spec described = *spec;
	struct process_plan plan = {
		.spec = &described,
		.child =
			{
				.container_envs = container->envs,
				.container_envs_count = container->envs_count,
				.mount_ns = container->mount_ns,
				.first = container->init.spawn.pid,
				.devpts = -1,
				.device_filter = -1,
			},
		.on_failed = exec_failed,
		.on_reaped = exec_reaped,
		.on_finished = exec_finished,
	};
	struct exec *exec;

	if (!container->is_agent && says_nothing(spec->capabilities))
		described.capabilities = container->capabilities;
	if (!container_is_running(container))
		return error_set(err, ESRCH, "container '%s' is not running", container->id);
	if (spec->id && container_find_process(container, spec->id))
		return error_set(err, EEXIST, "container '%s' has a process '%s' already",
			container->id, spec->id);
	exec = calloc(1, sizeof(*exec));
	if (!exec || (spec->id && !(exec->id = strdup(spec->id)))) {
		free(exec);
		return error_memory(err);
	}
	exec->container = container;
	plan.id = exec->id;
	list_push_back(&container->execs, &exec->node);
	if (start_process(container, &exec->process, &plan, err) < 0) {
		exec_free(exec);
		return error_wrap(err, "container '%s'", container->id);
	}
	return 0;
}

/* What is needed for as long as the container exists, out of the message it came in. */
static int keep_spec(
	struct container *container, const struct container_spec *spec, struct error *err)
{
	struct process_table *table = container->setting->table;
	const struct process_spec *process = &spec->process;
	const struct capabilities_spec *capabilities = process->capabilities;
	struct arena *arena = &container->arena;
	bool complete;

	if (!capabilities && table->settings->docker_caps)
		capabilities = &capabilities_docker;
	arena_init(arena, KEPT_ARENAS_MAX - table->kept);
	container->id = arena_strdup(arena, spec->id);
	container->init_id = process->id ? arena_strdup(arena, process->id) : NULL;
	container->envs = arena_calloc(arena, process->envs_count, sizeof(*container->envs));
	complete = container->id && container->envs && (!process->id || container->init_id);
	for (size_t i = 0; complete && i < process->envs_count; i++) {
		const struct env_spec *from = &process->envs[i];
		struct env_spec *to = &container->envs[i];

		to->env = arena_strdup(arena, from->env);
		to->value = arena_strdup(arena, from->value);
		complete = to->env && to->value;
	}
	container->envs_count = process->envs_count;
	if (complete && capabilities) {
		container->capabilities = arena_alloc(arena, sizeof(*container->capabilities));
		complete = container->capabilities != NULL;
		if (complete) {
			*container->capabilities = *capabilities;
			/* The message's: the sets say the same. */
			memset(container->capabilities->names, 0,
				sizeof(container->capabilities->names));
		}
	}
	table->kept += arena->used;
	if (complete)
		return 0;
	return error_set(err, ENOMEM, "the environments of all containers take more than %u bytes",
		KEPT_ARENAS_MAX);
}

/* What every container begins with; it holds nothing yet. */
static struct container *container_new(const struct container_setting *setting, struct error *err)
{
	struct container *container = calloc(1, sizeof(*container));

	if (!container) {
		error_memory(err);
		return NULL;
	}
	container->setting = setting;
	container->mount_ns = container->devpts = -1;
	timer_init(&container->leaving, leaving_due);
	container_cgroup_init(
		&container->cgroup, setting->table->spawner, &setting->cgroup, cgroup_removed);
	list_init(&container->node);
	list_init(&container->execs);
	return container;
}

/* Made for the first container that needs it, and kept for all others. */
static int device_filter(const struct container_setting *setting)
{
	int *filter = setting->device_filter;

	if (*filter == DEVICE_FILTER_UNTRIED && (*filter = device_filter_load(NULL, 0)) < 0)
		log_warn("kernel lacks CONFIG_CGROUP_BPF: with CAP_MKNOD a container can open any "
			 "device (errno %d)",
			errno);
	return *filter;
}

static int start_init(
	struct container *container, const struct container_spec *spec, struct error *err)
{
	const struct container_setting *setting = container->setting;
	const struct settings *settings = setting->table->settings;
	/* A disk that does not come is reported as such, before the deadline is. */
	const uint32_t deadline_ms = settings->deadline_ms - settings->deadline_ms / 8;
	struct process_spec described = spec->process;
	char path[PATH_MAX];
	struct process_plan plan = {
		.spec = &described,
		.id = container->init_id,
		.mount_ns = &container->mount_ns,
		.child =
			{
				.container = spec,
				.mount_ns = -1,
				.devpts = container->devpts,
				.device_filter = -1,
				.cgroup_path = container_cgroup_path(
					&container->cgroup, settings->cgroup_dir, path),
				.until_ms = clock_now() +
					(settings->devices_ms < deadline_ms ? settings->devices_ms
									    : deadline_ms),
			},
		.on_failed = init_failed,
		.on_reaped = init_reaped,
		.on_finished = init_finished,
	};

	described.capabilities = container->capabilities;
	if (container->cgroup.fd >= 0 && !spec->system_mounts.bind_mount_dev &&
		!(capabilities_any(container->capabilities) & CAPABILITY_BIT(CAP_SYS_ADMIN)))
		plan.child.device_filter = device_filter(setting);
	return start_process(container, &container->init, &plan, err);
}

static void ports_opened(struct spawn *worker, const struct error *err)
{
	struct container *container = list_entry(worker, struct container, worker);
	struct error failure;

	if (err)
		container_failed(container, err);
	else if (start_init(container, container->spec, &failure) < 0)
		container_failed(container, &failure);
}

/* Before its first process, and not by it: a program that iptables is must not be where containers can see
 * it, in the pod's PID namespace. */
static int open_ports(struct container *container, struct error *err)
{
	struct process_table *table = container->setting->table;
	const struct child_ports child = {
		.chain = ++table->chains,
		.lists = container->setting->lists,
		.container = container->spec,
	};
	const struct spawn_plan plan = {
		.pid_ns = -1,
		.entry = child_portmap_open,
		.argument = &child,
		.deadline_ms = table->settings->deadline_ms,
		.done = ports_opened,
	};

	container->chain = child.chain;
	request_await(&table->request, &container->worker);
	return spawn_fork(table->spawner, &container->worker, &plan, err);
}

struct container *container_start(const struct container_setting *setting,
	const struct container_spec *spec, struct error *err)
{
	struct container *container = container_new(setting, err);
	int rc;

	if (!container)
		return NULL;
	if (keep_spec(container, spec, err) < 0 ||
		container_cgroup_open(&container->cgroup, container->id, &spec->constraints, err) <
			0 ||
		(container->devpts = process_devpts(err)) < 0)
		goto fail;
	container->spec = spec;
	/* runV's goes with its process; a cc host removes its containers itself. */
	container->is_removed = container->init_id;
	if (setting->lists && spec->ports_count > 0)
		rc = open_ports(container, err);
	else
		rc = start_init(container, spec, err);
	if (rc == 0)
		return container;

fail:
	error_wrap(err, "container '%s'", spec->id);
	release(container, true);
	return NULL;
}

struct container *container_open_agent(const struct container_setting *setting, struct error *err)
{
	struct container *container = container_new(setting, err);

	if (!container)
		return NULL;
	container->id = CONTAINER_AGENT;
	container->is_agent = true;
	container->devpts = open("/dev/pts", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (container_cgroup_open(&container->cgroup, container->id, NULL, err) < 0) {
		release(container, true);
		return NULL;
	}
	return container;
}
