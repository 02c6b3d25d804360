/* SPDX-License-Identifier: Apache-2.0 */
/* One container: its mount namespace, terminals and cgroup, and the processes in it.
 *
 * It is being set up until its first process has started, and runs until that exits: then all others are
 * killed. It keeps id, mounts and envs until it is removed: by a command, or by itself if its first process
 * has an id. The steps of its end, each as soon as the one before is done:
 *
 *     remove_cgroup()     the kernel removes the cgroup, when no process is left in it
 *     on_finished()       the end of each process is reported
 *     container_settle()  to be removed: a child closes its ports and unmounts it
 *     unmounted()         it is freed, and the request that waits for that is done
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
#include "base/format.h"
#include "base/invariant.h"
#include "base/log.h"
#include "child/cgroup.h"
#include "child/cgroup_limits.h"
#include "child/portmap.h"
#include "child/unmount.h"
#include "spec/privilege.h"

/* Delay between two attempts to remove a cgroup: doubles up to this; between two to fork: always this. */
#define RETRY_MS_MAX 1000u
#define TREE_MS      2000u /* for the child that removes the cgroups that a container made */
#define CANCELLED_MS 2000u /* for the unmounting when the request was cancelled */

bool container_is_running(const struct container *container)
{
	return container->is_agent || process_is_running(&container->init);
}

struct process *container_find_process(struct container *container, const char *id)
{
	list_for_each (it, after, &container->processes) {
		struct process *process = list_entry(it, struct process, node);

		if (process->id && strcmp(process->id, id) == 0)
			return process;
	}
	return NULL;
}

enum container_state container_state(const struct container *container)
{
	list_for_each (it, after, &container->processes)
		if (process_is_running(list_entry(it, struct process, node)))
			return CONTAINER_RUNNING;
	if (container->cgroup >= 0) /* removed once no process is left in it */
		return CONTAINER_STOPPING;
	if (!list_is_empty(&container->processes))
		return CONTAINER_REPORTING;
	return spawn_is_busy(&container->worker) ? CONTAINER_UNMOUNTING : CONTAINER_FINISHED;
}

void container_signal(struct container *container, int signal, bool all)
{
	struct error err;

	list_for_each (it, after, &container->processes)
		if (all || it == &container->init.node)
			process_signal(list_entry(it, struct process, node), signal);
	/* SIGKILL to the first process kills all: traced by a child of its own, it would stay a zombie
	 * until that child ends. */
	if (signal == SIGKILL && (all || process_is_running(&container->init)) &&
		container->cgroup >= 0 && cgroup_kill(container->cgroup, &err) < 0)
		log_error("container %s: %s", container->id, err.text);
}

/* --- Its end ---------------------------------------------------------------------------------- */

/* A child that does something for the container as a whole. `keep`: an fd for it, or -1. */
static int container_work(struct container *container, void (*entry)(const void *),
	const void *argument, int keep, uint32_t deadline_ms,
	void (*done)(struct spawn *, const struct error *), struct error *err)
{
	const struct spawn_plan plan = {
		.pid_ns = -1,
		.entry = entry,
		.argument = argument,
		.keep = &keep,
		.keep_count = 1,
		.deadline_ms = deadline_ms,
		.done = done,
	};

	return spawn_fork(container->pod->shared->spawner, &container->worker, &plan, err);
}

/* Closing the last reference to a mount namespace may block on the container's disks; when it was not
 * unmounted the fd is therefore leaked on purpose. There is a cgroup only if no process ever was in it. */
void container_free(struct container *container, bool is_unmounted)
{
	struct error err;

	assert(list_is_empty(&container->processes) && !spawn_is_busy(&container->worker));
	timer_cancel(&container->retry);
	if (container->cgroup >= 0 &&
		cgroup_remove(container->pod->cgroup, container->cgroup_name, &err) < 0)
		log_warn("container %s: %s", container->id, err.text);
	fd_close(&container->cgroup);
	if (is_unmounted)
		fd_close(&container->mount_ns);
	fd_close(&container->devpts);
	list_remove(&container->node);
	container->pod->shared->kept -= container->arena.used;
	free(container->known);
	arena_free(&container->arena);
	free(container);
}

/* The removal has failed: it is kept, and the request is done. */
static void removal_failed(struct container *container, const struct error *err)
{
	container->is_requested = false;
	container->remove_when_empty = container->init.id;
	request_done(&container->pod->shared->request, err);
}

/* Called when nothing is mounted in it any more (err NULL), or with the reason why something still is. */
static void unmounted(struct container *container, const struct error *err)
{
	struct request *request = &container->pod->shared->request;
	const bool has_failed = container->has_failed, is_requested = container->is_requested;
	struct error failure;

	if (err) {
		failure = *err;
		error_wrap(&failure, "container '%s'", container->id);
		log_error("%s", failure.text);
	}
	if (!err || has_failed) {
		container_free(container, !err);
		if (is_requested)
			request_done(request, has_failed ? &request->failure : NULL);
	} else if (is_requested) {
		removal_failed(container, &failure);
	}
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

/* The next step of its removal, if it is time. */
static void container_settle(struct container *container)
{
	struct shared *shared = container->pod->shared;
	const bool is_cancelled = container->is_requested && shared->request.cancel_reason;
	const uint32_t deadline_ms = is_cancelled ? CANCELLED_MS : shared->settings->deadline_ms;
	const struct child_unmount child = {
		.mount_ns = container->mount_ns,
		.chain = container->chain,
		.limit_ms = deadline_ms / 8,
	};
	struct error err;
	int rc;

	if (!container->remove_when_empty || container_state(container) < CONTAINER_UNMOUNTING)
		return;
	if (container->is_requested)
		request_await(&shared->request, &container->worker);
	if (spawn_is_busy(&container->worker))
		return;
	if (container->mount_ns < 0 && container->chain == 0) {
		unmounted(container, NULL);
		return;
	}
	/* Another child would find nothing mounted, while the first one still waits for a disk. */
	if (spawn_hangs(&container->worker))
		rc = error_set(&err, EBUSY, "an earlier unmount still hangs in the kernel");
	else
		rc = container_work(container, child_unmount_main, &child, container->mount_ns,
			deadline_ms, unmount_done, &err);
	container->is_unmounting |= rc == 0;
	if (rc == 0)
		return;
	/* Reported at once: a command may wait. Tried again if no command ever asks for it. */
	if (container->init.id && !container->has_failed)
		timer_set(shared->loop, &container->retry, RETRY_MS_MAX);
	unmounted(container, &err);
}

static void removal_overdue(struct timer *timer)
{
	const struct request *request = list_entry(timer, struct request, timer);
	struct container *container = request->waiter;
	struct error err;

	if (request->cancel_reason)
		error_set(&err, ECANCELED, "%s", request->cancel_reason);
	else
		error_set(&err, EBUSY, "container '%s' has processes or unread output left",
			container->id);
	removal_failed(container, &err);
}

void container_remove(struct container *container, bool is_requested)
{
	struct shared *shared = container->pod->shared;

	container->remove_when_empty = true;
	container->is_requested = is_requested;
	if (is_requested) /* until it is empty; the child that unmounts has its own deadline */
		request_await_until(&shared->request, shared->settings->deadline_ms,
			removal_overdue, container);
	container_settle(container);
}

static void tree_removed(struct spawn *worker, const struct error *err)
{
	struct container *container = list_entry(worker, struct container, worker);

	(void)err;
	timer_set(container->pod->shared->loop, &container->retry, container->retry_ms);
}

/* A child removes the cgroups that the container made: they may be many. 0: it runs; -1: no child was needed
 * or could be started. */
static int remove_tree(struct container *container)
{
	const struct child_cgroup_remove tree = {container->pod->cgroup, container->cgroup_name};
	uint64_t below = 0;
	struct error err;

	cgroup_get_number(container->cgroup, "cgroup.stat", "nr_descendants ", &below, &err);
	if (below == 0)
		return -1;
	return container_work(
		container, child_cgroup_remove, &tree, tree.parent, TREE_MS, tree_removed, &err);
}

/* A cgroup can be removed when no process is left in it. Orphans killed by cgroup.kill die a little later than
 * the first process, and cgroup.events shows the cgroup empty a little before rmdir() succeeds (Linux 6.18).
 * So rmdir() is repeated, at growing intervals. After a failed start this ends after 2 s: the command waits, and
 * all others behind it, and a child that hangs in the kernel may never leave the cgroup. */
static void remove_cgroup(struct container *container)
{
	struct error err;

	if (spawn_is_busy(&container->worker))
		return;
	if (container->cgroup >= 0 &&
		cgroup_remove(container->pod->cgroup, container->cgroup_name, &err) < 0 &&
		err.code == EBUSY) {
		if (!container->has_failed || container->retry_ms < RETRY_MS_MAX) {
			if (container->retry_ms < RETRY_MS_MAX)
				container->retry_ms = 2 * container->retry_ms + 1;
			if (remove_tree(container) < 0)
				timer_set(container->pod->shared->loop, &container->retry,
					container->retry_ms);
			return;
		}
		log_error("container %s: a process is left: %s", container->id, err.text);
	}
	fd_close(&container->cgroup);
	container_settle(container);
}

static void retry_due(struct timer *timer)
{
	remove_cgroup(list_entry(timer, struct container, retry));
}

/* cgroup.kill does not reach a child that has yet to join; and without cgroups the agent knows only its own
 * children. */
void container_kill(struct container *container)
{
	list_for_each (it, after, &container->processes)
		spawn_cancel(
			&list_entry(it, struct process, node)->spawn, "the container is stopped");
	container_signal(container, SIGKILL, true);
	remove_cgroup(container);
}

/* The request is done when nothing of it is left. */
static void container_failed(struct container *container, const struct error *err)
{
	struct error *failure = &container->pod->shared->request.failure;

	*failure = *err;
	error_wrap(failure, "container '%s'", container->id);
	container->has_failed = container->remove_when_empty = container->is_requested = true;
	remove_cgroup(container);
}

/* --- Its processes ---------------------------------------------------------------------------- */

static void on_failed(struct process *process, const struct error *err)
{
	struct container *container = process->owner;
	struct error named = *err;

	list_remove(&process->node);
	if (process == &container->init) {
		container_failed(container, err);
		return;
	}
	free(process);
	error_wrap(&named, "container '%s'", container->id);
	request_done(&container->pod->shared->request, &named);
	container_settle(container);
}

/* The exit code 137 does not show that it was the OOM killer. */
static void log_oom(struct container *container, const char *id)
{
	uint64_t kills = container->oom_kills, peak = 0;
	struct error err;

	cgroup_get_number(container->cgroup, "memory.events", "oom_kill ", &kills, &err);
	if (kills == container->oom_kills)
		return;
	container->oom_kills = kills;
	cgroup_get_number(container->cgroup, "memory.peak", "", &peak, &err); /* since 5.19 */
	log_error("process %s/%s: killed by the OOM killer; its container used up to %llu KiB",
		container->id, id, (unsigned long long)peak / KIB);
}

static void on_reaped(struct process *process)
{
	struct container *container = process->owner;
	const char *id = process->id ? process->id : "-";
	int code = spawn_exit_code(&process->spawn);

	if (code == 128 + SIGKILL && container->cgroup >= 0)
		log_oom(container, id);
	if (process == &container->init) {
		log_info("container %s: exited with %d", container->id, code);
		container_kill(container);
	} else {
		/* Not info: on a serial console the line costs more than 5 % of a whole exec. */
		log_debug("process %s/%s: exited with %d", container->id, id, code);
	}
}

static void on_finished(struct process *process)
{
	struct container *container = process->owner;

	list_remove(&process->node);
	if (process != &container->init)
		free(process);
	container_settle(container);
}

static int start_process(struct container *container, struct process *process,
	struct process_plan *plan, struct error *err)
{
	const struct pod_context *pod = container->pod;

	process->owner = container;
	process->container = container->id;
	process->on_failed = on_failed;
	process->on_reaped = on_reaped;
	process->on_finished = on_finished;
	process->known = &container->known;
	plan->devpts = container->devpts;
	plan->pid_ns = plan->child.namespaces = container->is_agent ? -1 : pod->namespaces;
	plan->child.hostname = pod->hostname;
	plan->child.settings = pod->shared->settings;
	plan->child.cgroup = container->cgroup;
	if (process_start(process, pod->shared, plan, err) < 0)
		return -1;
	list_push_front(&container->processes, &process->node);
	return 0;
}

int container_exec(struct container *container, const struct process_spec *spec, struct error *err)
{
	const size_t id_size = spec->id ? strlen(spec->id) + 1 : 0;
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
	};
	struct process *process;

	if (!container->is_agent && !capabilities_are_named(spec->capabilities))
		described.capabilities = container->capabilities;
	if (!container_is_running(container))
		return error_set(err, ESRCH, "container '%s' is not running", container->id);
	if (spec->id && container_find_process(container, spec->id))
		return error_set(err, EEXIST, "container '%s' has a process '%s' already",
			container->id, spec->id);
	process = calloc(1, sizeof(*process) + id_size); /* the id is behind it */
	if (!process)
		return error_memory(err);
	if (spec->id)
		process->id = memcpy(process + 1, spec->id, id_size);
	if (start_process(container, process, &plan, err) == 0)
		return 0;
	free(process);
	return error_wrap(err, "container '%s'", container->id);
}

/* --- Its beginning ---------------------------------------------------------------------------- */

/* Copies what is needed for the life of the container from the message that it came in. */
static int keep_spec(
	struct container *container, const struct container_spec *spec, struct error *err)
{
	struct shared *shared = container->pod->shared;
	const struct process_spec *process = &spec->process;
	const struct capabilities_spec *capabilities = process->capabilities;
	struct arena *arena = &container->arena;
	bool complete;

	arena_init(arena, KEPT_ARENAS_MAX - shared->kept);
	container->id = arena_strdup(arena, spec->id);
	container->init.id = process->id ? arena_strdup(arena, process->id) : NULL;
	container->envs = arena_calloc(arena, process->envs_count, sizeof(*container->envs));
	complete = container->id && container->envs && (!process->id || container->init.id);
	for (size_t i = 0; complete && i < process->envs_count; i++) {
		struct env_spec *env = &container->envs[i];

		env->env = arena_strdup(arena, process->envs[i].env);
		env->value = arena_strdup(arena, process->envs[i].value);
		complete = env->env && env->value;
	}
	container->envs_count = process->envs_count;
	if (!capabilities && shared->settings->docker_caps)
		capabilities = &capabilities_docker;
	if (capabilities) {
		/* The names belong to the message. */
		memcpy(container->described.sets, capabilities->sets, sizeof(capabilities->sets));
		container->capabilities = &container->described;
	}
	shared->kept += arena->used;
	return complete ? 0
			: error_set(err, ENOMEM,
				  "the environments of all containers take more than %u bytes",
				  KEPT_ARENAS_MAX);
}

/* 0, also where there are no cgroups; or -1 with err. `constraints` may be NULL. */
static int open_cgroup(
	struct container *container, const struct constraints_spec *constraints, struct error *err)
{
	if (container->pod->cgroup < 0)
		return 0;
	/* With the prefix no id is the name of a file of the kernel. */
	format(container->cgroup_name, sizeof(container->cgroup_name), "c-%s", container->id);
	container->cgroup = cgroup_create(container->pod->cgroup, container->cgroup_name, err);
	if (container->cgroup < 0)
		return -1;
	return constraints ? cgroup_limits_container(container->cgroup, constraints, err) : 0;
}

static struct container *container_new(const struct pod_context *pod, struct error *err)
{
	struct container *container = calloc(1, sizeof(*container));

	if (!container) {
		error_memory(err);
		return NULL;
	}
	container->pod = pod;
	container->mount_ns = container->devpts = container->cgroup = -1;
	timer_init(&container->retry, retry_due);
	list_init(&container->node);
	list_init(&container->processes);
	return container;
}

static int start_init(struct container *container, struct error *err)
{
	const struct pod_context *pod = container->pod;
	const struct settings *settings = pod->shared->settings;
	const struct container_spec *spec = container->spec;
	/* Less than the deadline, so that the ERROR names the disk that did not come. */
	const uint32_t deadline_ms = settings->deadline_ms - settings->deadline_ms / 8;
	struct process_spec described = spec->process;
	int *filter = pod->device_filter;
	char path[PATH_MAX];
	struct process_plan plan = {
		.spec = &described,
		.mount_ns = &container->mount_ns,
		.child =
			{
				.container = spec,
				.mount_ns = -1,
				.devpts = container->devpts,
				.device_filter = -1,
				.until_ms = clock_now() +
					(settings->devices_ms < deadline_ms ? settings->devices_ms
									    : deadline_ms),
			},
	};

	described.capabilities = container->capabilities;
	if (container->cgroup >= 0) {
		format(path, sizeof(path), "%s/pod/%s", settings->cgroup_dir,
			container->cgroup_name);
		plan.child.cgroup_path = path;
		if (!spec->system_mounts.bind_mount_dev &&
			!(capabilities_any(container->capabilities) &
				CAPABILITY_BIT(CAP_SYS_ADMIN))) {
			/* Loaded for the first container that needs it. */
			if (*filter == DEVICE_FILTER_UNTRIED &&
				(*filter = device_filter_load(NULL, 0)) < 0)
				log_warn("kernel lacks CONFIG_CGROUP_BPF: with CAP_MKNOD a "
					 "container can open any device (errno %d)",
					errno);
			plan.child.device_filter = *filter;
		}
	}
	return start_process(container, &container->init, &plan, err);
}

static void ports_opened(struct spawn *worker, const struct error *err)
{
	struct container *container = list_entry(worker, struct container, worker);
	struct error failure;

	if (err || start_init(container, &failure) < 0)
		container_failed(container, err ? err : &failure);
}

struct container *container_start(
	const struct pod_context *pod, const struct container_spec *spec, struct error *err)
{
	struct container *container = container_new(pod, err);
	struct shared *shared = pod->shared;
	struct child_ports ports = {.lists = pod->lists, .container = spec};
	int rc;

	if (!container)
		return NULL;
	if (keep_spec(container, spec, err) < 0 ||
		open_cgroup(container, &spec->constraints, err) < 0 ||
		(container->devpts = process_devpts(err)) < 0)
		goto fail;
	container->spec = spec;
	/* runV never removes a container; a cc host, which gives the process no id, does. */
	container->remove_when_empty = container->init.id;
	if (pod->lists && spec->ports_count > 0) {
		/* Before its first process, and not by it: containers can see what is in the pod's
		 * PID namespace, and must not see the program iptables. */
		container->chain = ports.chain = ++shared->chains;
		request_await(&shared->request, &container->worker);
		rc = container_work(container, child_portmap_open, &ports, -1,
			shared->settings->deadline_ms, ports_opened, err);
	} else {
		rc = start_init(container, err);
	}
	if (rc == 0)
		return container;

fail:
	error_wrap(err, "container '%s'", spec->id);
	container_free(container, true);
	return NULL;
}

struct container *container_open_agent(const struct pod_context *pod, struct error *err)
{
	struct container *container = container_new(pod, err);

	if (!container)
		return NULL;
	container->id = CONTAINER_AGENT;
	container->is_agent = true;
	container->devpts = open("/dev/pts", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (open_cgroup(container, NULL, err) == 0)
		return container;
	container_free(container, true);
	return NULL;
}
