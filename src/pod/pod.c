/* SPDX-License-Identifier: Apache-2.0 */
/* The pod: its namespaces, how it begins and how it ends.
 *
 *     NONE ─▶ STARTING ─▶ FILLING ─▶ RUNNING ─▶ TERMINATING ─▶ KILLING ─▶ REPORTING ─▶ RELEASING ─▶ DESTROYED
 *       ▲         └───────────┴──── a failed start ───────────────▲                         │
 *       └───────────────────────────────────────────────────────────────────────────────────┘
 */
#include "pod/pod.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cgroup.h"
#include "base/clock.h"
#include "base/count.h"
#include "base/file.h"
#include "base/log.h"
#include "base/writeback.h"
#include "child/cgroup.h"
#include "child/pod.h"

#define TERM_MS   2000 /* from SIGTERM to SIGKILL */
#define KILL_MS   4000 /* from SIGKILL until no process is left; runV waits 10 s for all of it */
#define REPORT_MS 1000 /* then, for ends that nobody reads */

static void state_overdue(struct timer *timer)
{
	struct pod *pod = list_entry(timer, struct pod, overdue);

	pod->is_overdue = true;
}

void pod_init(struct pod *pod, struct shared *shared)
{
	const char *path = shared->settings->cgroup_dir;

	*pod = (struct pod){
		.context = {.shared = shared, .namespaces = -1, .cgroup = -1},
		.cgroup_parent = path ? open(path, O_PATH | O_DIRECTORY | O_CLOEXEC) : -1,
		.device_filter = DEVICE_FILTER_UNTRIED,
	};
	if (path && pod->cgroup_parent < 0)
		log_warn("pod: no cgroups: cannot open '%s'", path);
	pod->context.device_filter = &pod->device_filter;
	timer_init(&pod->overdue, state_overdue);
	containers_init(&pod->containers, &pod->context);
}

/* Releases all that the agent itself holds of a pod. */
static void pod_clear(struct pod *pod)
{
	struct error err;

	fd_close(&pod->context.namespaces);
	if (pod->context.cgroup >= 0 && cgroup_remove(pod->cgroup_parent, "pod", &err) < 0)
		log_warn("pod: %s", err.text);
	fd_close(&pod->context.cgroup);
	free(pod->network_undo);
	pod->network_undo = NULL;
	arena_free(&pod->arena);
	pod->context.hostname = NULL;
	pod->context.lists = NULL;
	pod->spec = NULL;
	pod->state = POD_NONE;
}

static struct child_pod describe(const struct pod *pod)
{
	return (struct child_pod){
		.spec = pod->spec,
		.settings = pod->context.shared->settings,
		.cgroup_parent = pod->cgroup_parent,
		.cgroup = pod->context.cgroup,
		.network_undo = pod->network_undo,
	};
}

/* --- End -------------------------------------------------------------------------------------- */

static bool init_is_alive(const struct pod *pod)
{
	return pod->init.pid > 0 && !pod->init.reaped;
}

static void pod_enter(struct pod *pod, enum pod_state state, uint64_t ms)
{
	pod->state = state;
	pod->is_overdue = false;
	timer_set(pod->context.shared->loop, &pod->overdue, ms);
}

static void kill_all(struct pod *pod)
{
	containers_kill(&pod->containers);
	/* With it the kernel kills everything in its PID namespace. */
	if (init_is_alive(pod))
		spawn_signal(&pod->init, SIGKILL);
	spawn_cancel(&pod->worker, "the pod ends");
	pod_enter(pod, POD_KILLING, KILL_MS);
}

/* A start that failed ends as a pod does; then the reply says why. */
static void start_failed(struct pod *pod, const struct error *err)
{
	struct request *request = &pod->context.shared->request;

	request->next = NULL;
	request->child = NULL; /* a cancellation must not kill the worker that releases */
	request->failure = *err;
	pod->has_failed = true;
	kill_all(pod);
}

static void released(struct pod *pod, const struct error *err)
{
	struct request *request = &pod->context.shared->request;

	timer_cancel(&pod->overdue);
	if (err)
		log_error("pod: release: %s", err->text);
	containers_forget(&pod->containers, !err);
	pod_clear(pod);
	log_info("pod: %s", pod->has_failed ? "not started" : "destroyed");
	if (!pod->has_failed)
		pod->state = POD_DESTROYED;
	request_done(request, pod->has_failed ? &request->failure : NULL);
}

/* The worker that sends SIGTERM, or the one that releases, has ended. In another state its outcome is
 * ignored: all processes ended before SIGTERM was sent, or the release took too long. */
static void end_done(struct spawn *worker, const struct error *err)
{
	struct pod *pod = list_entry(worker, struct pod, worker);

	if (pod->state == POD_RELEASING)
		released(pod, err);
	else if (pod->state == POD_TERMINATING && err)
		log_warn("pod: SIGTERM: %s", err->text);
}

static void release(struct pod *pod)
{
	int mount_ns[CONTAINERS_MAX];
	size_t count = containers_settle(&pod->containers, mount_ns);
	struct child_pod child = describe(pod);
	const struct spawn_plan plan = {
		.pid_ns = -1,
		.entry = child_pod_release,
		.argument = &child,
		.keep = mount_ns,
		.keep_count = count,
		.done = end_done,
	};
	struct error err;

	child.mount_ns = mount_ns;
	child.mount_ns_count = count;
	pod->written = writeback_count();
	pod->release_until_ms = clock_now() + WRITEBACK_MS_MAX;
	pod_enter(pod, POD_RELEASING, WRITEBACK_STEP_MS);
	if (spawn_fork(pod->context.shared->spawner, &pod->worker, &plan, &err) < 0)
		released(pod, &err);
}

void pod_destroy(struct pod *pod)
{
	const struct child_cgroup_signal signal = {pod->context.cgroup, SIGTERM};
	const struct spawn_plan plan = {
		.pid_ns = -1,
		.entry = child_cgroup_signal,
		.argument = &signal,
		.keep = &signal.cgroup,
		.keep_count = 1,
		.done = end_done,
	};
	bool is_signalled = signal.cgroup >= 0;
	struct error err;

	if (pod->state != POD_RUNNING) {
		pod->state = POD_DESTROYED;
		request_done(&pod->context.shared->request, NULL);
		return;
	}
	/* A worker sends it to all processes in the cgroup; without one the agent sends it to its own
	 * children. */
	if (is_signalled && containers_state(&pod->containers) == CONTAINER_RUNNING &&
		spawn_fork(pod->context.shared->spawner, &pod->worker, &plan, &err) < 0) {
		log_warn("pod: SIGTERM: %s", err.text);
		is_signalled = false;
	}
	containers_terminate(&pod->containers, is_signalled);
	pod_enter(pod, POD_TERMINATING, TERM_MS);
}

void pod_pump(struct pod *pod)
{
	struct error err;
	uint64_t written;

	if (pod->state == POD_TERMINATING &&
		(pod->is_overdue || containers_state(&pod->containers) > CONTAINER_RUNNING))
		kill_all(pod);
	if (pod->state == POD_KILLING &&
		(pod->is_overdue ||
			(!init_is_alive(pod) && !spawn_is_busy(&pod->worker) &&
				containers_state(&pod->containers) >= CONTAINER_REPORTING))) {
		if (pod->is_overdue)
			log_warn("pod: processes are left after SIGKILL");
		pod_enter(pod, POD_REPORTING, REPORT_MS);
	}
	if (pod->state == POD_REPORTING &&
		(pod->is_overdue || containers_state(&pod->containers) == CONTAINER_FINISHED)) {
		if (pod->is_overdue)
			log_warn("pod: nobody reads how its processes ended");
		release(pod);
	}
	if (pod->state == POD_RELEASING && pod->is_overdue) {
		/* After the ACK cc's host stops QEMU, so all data must be on disk by then: the wait ends only
		 * when the kernel has written nothing for one step. */
		written = pod->written;
		pod->written = writeback_count();
		if (pod->written != written && clock_now() < pod->release_until_ms) {
			pod_enter(pod, POD_RELEASING, WRITEBACK_STEP_MS);
		} else {
			error_set(&err, ETIMEDOUT, "not done in time");
			released(pod, &err);
		}
	}
}

/* --- Begin ------------------------------------------------------------------------------------ */

/* Called when the pod's init or one more container runs (err NULL), or with the reason why that container does
 * not. The old form of STARTPOD describes containers, too: they are started one after the other. */
static void start_next(void *context, const struct error *err)
{
	struct pod *pod = context;
	struct request *request = &pod->context.shared->request;
	const struct pod_spec *spec = pod->spec;
	struct error failure;

	if (err) {
		start_failed(pod, err);
	} else if (request->cancel_reason) {
		error_set(&failure, ECANCELED, "%s", request->cancel_reason);
		start_failed(pod, &failure);
	} else if (pod->filled < spec->containers_count) {
		pod->state = POD_FILLING;
		request->next = start_next;
		request->context = pod;
		if (containers_start(&pod->containers, &spec->containers[pod->filled++], &failure) <
			0)
			start_failed(pod, &failure);
	} else {
		pod->state = POD_RUNNING;
		pod->spec = NULL;
		free(pod->network_undo);
		pod->network_undo = NULL;
		log_info("pod: started");
		request->next = NULL;
		request_done(request, NULL);
	}
}

static void init_changed(struct spawn *spawn)
{
	struct pod *pod = list_entry(spawn, struct pod, init);
	bool succeeded = !spawn->reaped && spawn_succeeded(spawn);
	struct error err;
	size_t length;

	if (succeeded && pod->state == POD_STARTING) {
		pod->network_undo = spawn_take_result(spawn, &length);
		spawn_forget_report(spawn);
		pod->containers.are_open = true;
		pod->context.namespaces = (int)syscall(SYS_pidfd_open, spawn->pid, 0);
		if (pod->context.namespaces < 0)
			error_errno(&err, "open the pod's init");
		start_next(pod, pod->context.namespaces < 0 ? &err : NULL);
	} else if (spawn->reaped && spawn_is_reported(spawn)) {
		if (pod->state == POD_STARTING) {
			pod->network_undo = spawn_take_result(spawn, &length);
			spawn_error(spawn, &err);
			start_failed(pod, &err);
		} else if (pod->state > POD_STARTING && pod->state < POD_KILLING) {
			/* From KILLING on the agent itself has killed it. */
			log_error("pod: its init was killed by signal %d", spawn->status & 0x7f);
		}
		spawn_forget_report(spawn);
	}
}

static const char **copy_list(const char **list, struct arena *arena)
{
	const char **copy;
	size_t count = 0;

	while (list && list[count])
		count++;
	copy = arena_calloc(arena, count + 1, sizeof(*copy));
	for (size_t i = 0; copy && i < count; i++) {
		copy[i] = arena_strdup(arena, list[i]);
		if (!copy[i])
			return NULL;
	}
	return copy;
}

/* Copies what is needed for the life of the pod from the message that it came in. */
static int keep_spec(struct pod *pod, const struct pod_spec *spec, struct error *err)
{
	const char *hostname = spec->hostname ? spec->hostname : "";
	struct arena *arena = &pod->arena;

	arena_init(arena, MESSAGE_MAX);
	pod->context.hostname = arena_strdup(arena, hostname);
	if (!pod->context.hostname)
		return error_memory(err);
	if (!spec->white_lists)
		return 0;
	pod->lists.internal = copy_list(spec->white_lists->internal, arena);
	pod->lists.external = copy_list(spec->white_lists->external, arena);
	pod->context.lists = &pod->lists;
	return pod->lists.internal && pod->lists.external ? 0 : error_memory(err);
}

int pod_start(struct pod *pod, const struct pod_spec *spec, struct error *err)
{
	struct shared *shared = pod->context.shared;
	struct child_pod child;
	int keep[2];
	const struct spawn_plan plan = {
		.pid_ns = -1,
		.new_pid_ns = true,
		.entry = child_pod_init,
		.argument = &child,
		.keep = keep,
		.keep_count = COUNT(keep),
		.deadline_ms = shared->settings->deadline_ms,
		.changed = init_changed,
	};

	if (pod->state != POD_NONE)
		return error_set(err, EEXIST, "there is a pod already");
	if (init_is_alive(pod)) /* its spawn is in use */
		return error_set(err, EBUSY, "an earlier pod still hangs in the kernel");
	pod->spec = spec;
	pod->has_failed = false;
	shared->begun_ms = clock_now();
	pod->filled = 0;
	pod->init.pid = 0;
	if (keep_spec(pod, spec, err) < 0)
		goto fail;
	if (pod->cgroup_parent >= 0) {
		pod->context.cgroup = cgroup_create(pod->cgroup_parent, "pod", err);
		if (pod->context.cgroup < 0)
			goto fail;
	}
	child = describe(pod);
	keep[0] = child.cgroup_parent;
	keep[1] = child.cgroup;
	request_await(&shared->request, &pod->init);
	if (spawn_fork(shared->spawner, &pod->init, &plan, err) < 0)
		goto fail;
	pod->state = POD_STARTING;
	return 0;

fail:
	pod_clear(pod);
	return -1;
}
