/* SPDX-License-Identifier: Apache-2.0 */
/* The pod: its namespaces, its containers by id, how it begins and how it ends.
 *
 *     NONE ─▶ PREPARING ─▶ STARTING ─▶ FILLING ─▶ RUNNING ─▶ TERMINATING ─▶ KILLING ─▶ RELEASING ─▶ NONE
 *                 └───────────┴───────────┴──── a failed start ───────────────▲
 */
#include "pod.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cgroup.h"
#include "child_pod.h"
#include "log.h"

#define TERM_MS    2000 /* from SIGTERM to SIGKILL (protocol.md, 8) */
#define TELL_MS    1000 /* for ends that nobody reads */
#define RELEASE_MS 2000 /* for unmount and sync; the power goes off all the same */

static void patience_over(struct timer *timer)
{
	struct pod *pod = list_entry(timer, struct pod, patience);

	log_warn("pod: processes are left after %s",
		pod->state == POD_TERMINATING ? "SIGTERM" : "SIGKILL, or nobody reads their ends");
	pod->is_impatient = true;
}

static int begin_container(struct pod *pod, const struct container_spec *spec, struct error *err);

static void removal_over(struct pod *pod, const struct error *err)
{
	const struct container_spec *spec = pod->replacement;
	struct error failure;

	pod->removing = NULL;
	pod->replacement = NULL;
	timer_cancel(&pod->removal);
	if (err || !spec)
		pod->on_done(pod, err);
	else if (begin_container(pod, spec, &failure) < 0)
		pod->on_done(pod, &failure);
}

static void removal_overdue(struct timer *timer)
{
	struct pod *pod = list_entry(timer, struct pod, removal);
	struct error err;

	error_set(&err, EBUSY, "container '%s' has processes or unread output left",
		pod->removing->id);
	removal_over(pod, &err);
}

void pod_init(struct pod *pod, const struct pod_options *options)
{
	*pod = (struct pod){
		.setting =
			{
				.table = options->table,
				.run_dir = options->run_dir,
				.pid_ns = -1,
				.uts_ns = -1,
				.ipc_ns = -1,
				.cgroup = -1,
				.nofile = options->nofile,
			},
		.worker = options->worker,
		.share_dir = options->share_dir,
		.cgroup_parent = options->cgroup_parent,
		.on_done = options->on_done,
	};
	list_init(&pod->containers);
	timer_init(&pod->patience, patience_over);
	timer_init(&pod->removal, removal_overdue);
	portmap_init(&pod->portmap, options->worker->spawner, options->table->deadline_ms);
}

static void forget_before(struct pod *pod)
{
	free(pod->before);
	pod->before = NULL;
}

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

/* All that the daemon itself holds of a pod. */
static void pod_clear(struct pod *pod)
{
	struct error err;

	close_fd(&pod->setting.pid_ns);
	close_fd(&pod->setting.uts_ns);
	close_fd(&pod->setting.ipc_ns);
	if (pod->setting.cgroup >= 0 &&
		(cgroup_remove(pod->setting.cgroup, "init", &err) < 0 ||
			cgroup_remove(pod->cgroup_parent, "pod", &err) < 0))
		log_warn("pod: %s", err.text);
	close_fd(&pod->setting.cgroup);
	forget_before(pod);
	arena_free(&pod->arena);
	pod->setting.hostname = NULL;
	pod->spec = NULL;
	pod->mapped = NULL;
	pod->state = POD_NONE;
}

static struct child_pod describe(const struct pod *pod)
{
	return (struct child_pod){
		.spec = pod->spec,
		.run_dir = pod->setting.run_dir,
		.share_dir = pod->share_dir,
		.cgroup_procs = -1,
		.deadline_ms = pod->setting.table->deadline_ms,
		.before = pod->before,
	};
}

/* --- end ------------------------------------------------------------------------------------- */

static bool init_is_alive(const struct pod *pod)
{
	return pod->init.pid > 0 && !pod->init.reaped;
}

static void be_patient(struct pod *pod, enum pod_state state, uint64_t ms)
{
	pod->state = state;
	pod->is_impatient = false;
	timer_set(pod->setting.table->loop, &pod->patience, ms);
}

static void kill_all(struct pod *pod)
{
	/* Before the worker that releases the pod puts the rules back. */
	portmap_close(&pod->portmap);
	list_for_each (it, after, &pod->containers)
		container_kill(list_entry(it, struct container, node));
	/* Takes everything in its PID namespace along. */
	if (init_is_alive(pod))
		spawn_signal(&pod->init, SIGKILL);
	be_patient(pod, POD_KILLING, TELL_MS);
}

/* A start that failed ends as a pod does; then the host is told why. */
static void start_failed(struct pod *pod, const struct error *err)
{
	pod->failed = true;
	pod->failure = *err;
	kill_all(pod);
}

static void released(void *context, const struct error *err)
{
	struct pod *pod = context;
	bool failed = pod->failed;

	if (err)
		log_error("pod: release: %s", err->text);
	pod_clear(pod);
	log_info("pod: %s", failed ? "not started" : "destroyed");
	pod->on_done(pod, failed ? &pod->failure : NULL);
}

static void release(struct pod *pod)
{
	const struct child_pod child = describe(pod);
	const struct worker_plan plan = {
		.main = child_pod_release,
		.argument = &child,
		.deadline_ms = RELEASE_MS,
		.on_done = released,
		.context = pod,
	};
	struct error err;

	timer_cancel(&pod->patience);
	list_for_each (it, after, &pod->containers) {
		struct container *container = list_entry(it, struct container, node);

		if (container_is_empty(container))
			container_free(container);
	}
	pod->state = POD_RELEASING;
	if (worker_start(pod->worker, &plan, &err) < 0)
		released(pod, &err);
}

void pod_destroy(struct pod *pod)
{
	if (pod->state != POD_RUNNING) {
		pod->on_done(pod, NULL);
		return;
	}
	list_for_each (it, after, &pod->containers)
		container_signal(list_entry(it, struct container, node), SIGTERM, true);
	be_patient(pod, POD_TERMINATING, TERM_MS);
}

static bool all_containers(const struct pod *pod, bool (*are)(const struct container *))
{
	list_for_each (it, after, &pod->containers)
		if (!are(list_entry(it, struct container, node)))
			return false;
	return true;
}

void pod_pump(struct pod *pod)
{
	if (pod->state == POD_TERMINATING &&
		(pod->is_impatient || all_containers(pod, container_is_quiet)))
		kill_all(pod);
	if (pod->state == POD_KILLING &&
		(pod->is_impatient ||
			(!init_is_alive(pod) && all_containers(pod, container_is_empty))))
		release(pod);
}

/* --- begin ----------------------------------------------------------------------------------- */

static int open_namespace(struct pod *pod, const char *name, struct error *err)
{
	char path[64];
	int fd;

	snprintf(path, sizeof path, "/proc/%d/ns/%s", (int)pod->init.pid, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	return fd < 0 ? error_errno(err, errno, "open '%s'", path) : fd;
}

static int open_namespaces(struct pod *pod, struct error *err)
{
	struct container_setting *setting = &pod->setting;

	if ((setting->pid_ns = open_namespace(pod, "pid", err)) < 0 ||
		(setting->uts_ns = open_namespace(pod, "uts", err)) < 0 ||
		(setting->ipc_ns = open_namespace(pod, "ipc", err)) < 0)
		return -1;
	return 0;
}

/* The old form of STARTPOD brings containers along: one after the other. */
static void start_next(struct pod *pod)
{
	const struct pod_spec *spec = pod->spec;
	struct error err;

	if (pod->filled < spec->containers_count) {
		pod->state = POD_FILLING;
		if (begin_container(pod, &spec->containers[pod->filled++], &err) < 0)
			start_failed(pod, &err);
		return;
	}
	pod->state = POD_RUNNING;
	pod->spec = NULL;
	forget_before(pod);
	log_info("pod: started");
	pod->on_done(pod, NULL);
}

static void init_changed(struct spawn *spawn)
{
	struct pod *pod = list_entry(spawn, struct pod, init);
	bool succeeded = !spawn->reaped && spawn_succeeded(spawn);
	struct error err;

	if (succeeded && pod->state == POD_STARTING) {
		spawn_forget_report(spawn);
		if (open_namespaces(pod, &err) < 0)
			start_failed(pod, &err);
		else
			start_next(pod);
	} else if (spawn->reaped && spawn_is_reported(spawn)) {
		if (pod->state == POD_STARTING) {
			spawn_error(spawn, &err);
			start_failed(pod, &err);
		} else if (pod->state != POD_KILLING) {
			log_error("pod: its init is gone, by signal %d", spawn->status & 0x7f);
		}
		spawn_forget_report(spawn);
	}
}

static int fork_init(struct pod *pod, struct error *err)
{
	struct child_pod child = describe(pod);
	const struct spawn_plan plan = {
		.pid_ns = -1,
		.new_pid_ns = true,
		.main = child_pod_init,
		.argument = &child,
		.keep = &child.cgroup_procs,
		.keep_count = 1,
		.deadline_ms = pod->setting.table->deadline_ms,
		.changed = init_changed,
	};
	int leaf = -1, rc = -1;

	if (pod->setting.cgroup >= 0) {
		leaf = cgroup_create(pod->setting.cgroup, "init", err);
		if (leaf >= 0)
			child.cgroup_procs = cgroup_open_procs(leaf, err);
		if (child.cgroup_procs < 0)
			goto out;
	}
	rc = spawn_fork(pod->worker->spawner, &pod->init, &plan, err);
out:
	close_fd(&leaf);
	close_fd(&child.cgroup_procs);
	return rc;
}

static void prepared(void *context, const struct error *err)
{
	struct pod *pod = context;
	const struct white_lists_spec *lists = pod->spec->white_lists;
	struct error failure;
	size_t length;

	pod->before = worker_take_result(pod->worker, &length);
	pod->state = POD_STARTING;
	if (err)
		start_failed(pod, err);
	else if (lists && portmap_open(&pod->portmap, lists, &pod->arena, &failure) < 0)
		start_failed(pod, &failure);
	else if (fork_init(pod, &failure) < 0)
		start_failed(pod, &failure);
}

static int prepare(struct pod *pod, struct error *err)
{
	const struct child_pod child = describe(pod);
	const struct worker_plan plan = {
		.main = child_pod_prepare,
		.argument = &child,
		.deadline_ms = pod->setting.table->deadline_ms,
		.on_done = prepared,
		.context = pod,
	};

	return worker_start(pod->worker, &plan, err);
}

int pod_start(struct pod *pod, const struct pod_spec *spec, struct error *err)
{
	const char *hostname = spec->hostname ? spec->hostname : "";

	if (pod->state != POD_NONE)
		return error_set(err, EEXIST, "there is a pod already");
	pod->spec = spec;
	pod->failed = false;
	pod->filled = 0;
	pod->init.pid = 0;
	arena_init(&pod->arena, MESSAGE_MAX);
	pod->setting.hostname = arena_strndup(&pod->arena, hostname, strlen(hostname));
	if (!pod->setting.hostname) {
		error_set(err, ENOMEM, "out of memory");
		goto fail;
	}
	if (pod->cgroup_parent >= 0) {
		pod->setting.cgroup = cgroup_create(pod->cgroup_parent, "pod", err);
		if (pod->setting.cgroup < 0)
			goto fail;
	}
	if (prepare(pod, err) < 0)
		goto fail;
	pod->state = POD_PREPARING;
	return 0;

fail:
	pod_clear(pod);
	return -1;
}

void pod_cancel(struct pod *pod, const char *reason)
{
	struct error err;

	if (pod->state == POD_PREPARING)
		worker_cancel(pod->worker, reason);
	else if (pod->state == POD_STARTING)
		spawn_cancel(&pod->init, reason);
	portmap_cancel(&pod->portmap, reason);
	list_for_each (it, after, &pod->containers)
		container_cancel(list_entry(it, struct container, node), reason);
	if (pod->removing) {
		error_set(&err, ECANCELED, "%s", reason);
		removal_over(pod, &err);
	}
}

/* --- containers ------------------------------------------------------------------------------ */

/* runV takes a container for gone when its process is told to have finished; then its orphans may
 * still be dying. */
static bool is_gone(const struct container *container)
{
	return container->init_id && process_is(&container->init, PROCESS_REPORTED);
}

static struct container *find_container(struct pod *pod, const char *id, bool gone)
{
	list_for_each (it, after, &pod->containers) {
		struct container *container = list_entry(it, struct container, node);

		if (strcmp(container->id, id) == 0 && is_gone(container) == gone)
			return container;
	}
	return NULL;
}

struct container *pod_find_container(struct pod *pod, const char *id, struct error *err)
{
	struct container *container = find_container(pod, id, false);

	if (!container)
		error_set(err, ENOENT, "no such container '%s'", id);
	return container;
}

static void container_answered(struct pod *pod, const struct error *err)
{
	pod->mapped = NULL;
	if (pod->state != POD_FILLING)
		pod->on_done(pod, err);
	else if (err)
		start_failed(pod, err);
	else
		start_next(pod);
}

static void ports_closed(void *context, const struct error *err)
{
	struct pod *pod = context;

	(void)err;
	container_answered(pod, &pod->failure);
}

static void container_started(void *context, const struct error *err)
{
	struct pod *pod = context;

	if (err && pod->mapped) {
		pod->failure = *err;
		if (portmap_remove(&pod->portmap, pod->mapped->id, ports_closed, pod))
			return;
	}
	container_answered(pod, err);
}

static void container_removed(void *context, const struct error *err)
{
	(void)err;
	removal_over(context, NULL);
}

static void container_emptied(struct container *container)
{
	struct pod *pod = container->context;
	bool removed = pod->removing == container, is_waited_for;

	/* A cc host removes its containers itself; runv's are gone with their process. */
	if (!removed && !container->init_id)
		return;
	is_waited_for = portmap_remove(
		&pod->portmap, container->id, removed ? container_removed : NULL, pod);
	container_free(container);
	if (!removed)
		return;
	pod->removing = NULL;
	timer_cancel(&pod->removal);
	if (!is_waited_for)
		removal_over(pod, NULL);
}

static int start_container(struct pod *pod, const struct container_spec *spec, struct error *err)
{
	struct container *container = container_start(
		&pod->setting, spec, container_started, container_emptied, pod, err);

	if (!container)
		return -1;
	list_push_back(&pod->containers, &container->node);
	return 0;
}

static void ports_opened(void *context, const struct error *err)
{
	struct pod *pod = context;
	struct error failure;

	if (err) {
		failure = *err;
		error_wrap(&failure, "container '%s'", pod->mapped->id);
		container_answered(pod, &failure);
	} else if (start_container(pod, pod->mapped, &failure) < 0) {
		container_started(pod, &failure);
	}
}

static int begin_container(struct pod *pod, const struct container_spec *spec, struct error *err)
{
	struct error missing;
	size_t count = 0;

	if (strcmp(spec->id, CONTAINER_AGENT) == 0)
		return error_set(err, EEXIST, "container '%s' is the agent itself", spec->id);
	if (pod_find_container(pod, spec->id, &missing))
		return error_set(err, EEXIST, "container '%s' exists already", spec->id);
	list_for_each (it, after, &pod->containers)
		count++;
	if (count >= CONTAINERS_MAX)
		return error_set(
			err, EAGAIN, "container '%s': there are %zu already", spec->id, count);
	if (!portmap_concerns(&pod->portmap, spec))
		return start_container(pod, spec, err);
	if (portmap_add(&pod->portmap, spec, ports_opened, pod, err) < 0)
		return error_wrap(err, "container '%s'", spec->id);
	pod->mapped = spec;
	return 0;
}

static int check_running(const struct pod *pod, struct error *err)
{
	return pod->state == POD_RUNNING ? 0 : error_set(err, ESRCH, "there is no pod");
}

static void await_removal(struct pod *pod, struct container *container)
{
	pod->removing = container;
	timer_set(pod->setting.table->loop, &pod->removal, pod->setting.table->deadline_ms);
}

int pod_start_container(struct pod *pod, const struct container_spec *spec, struct error *err)
{
	struct container *gone = find_container(pod, spec->id, true);

	if (check_running(pod, err) < 0)
		return -1;
	if (gone) {
		pod->replacement = spec;
		await_removal(pod, gone);
		return 0;
	}
	return begin_container(pod, spec, err);
}

/* The agent's own place among the containers; made when it is first asked for. */
static int open_agent(struct pod *pod, struct error *err)
{
	struct container *container;
	struct error missing;

	if (pod_find_container(pod, CONTAINER_AGENT, &missing))
		return 0;
	pod->agent = pod->setting;
	pod->agent.pid_ns = pod->agent.uts_ns = pod->agent.ipc_ns = -1;
	container =
		container_open_agent(&pod->agent, container_started, container_emptied, pod, err);
	if (!container)
		return -1;
	list_push_back(&pod->containers, &container->node);
	return 0;
}

int pod_exec(struct pod *pod, const struct exec_spec *spec, struct error *err)
{
	struct container *container;

	if (check_running(pod, err) < 0)
		return -1;
	if (strcmp(spec->container, CONTAINER_AGENT) == 0 && open_agent(pod, err) < 0)
		return -1;
	container = pod_find_container(pod, spec->container, err);
	return container ? container_exec(container, &spec->process, err) : -1;
}

int pod_remove_container(struct pod *pod, const char *id, struct error *err)
{
	struct container *container = pod_find_container(pod, id, err);

	if (!container)
		return -1;
	if (container_is_running(container))
		return error_set(err, EBUSY, "container '%s' is running", id);
	/* Its orphans may still be dying when the host has its exit code. */
	await_removal(pod, container);
	if (container_is_empty(container))
		container_emptied(container);
	return 0;
}
