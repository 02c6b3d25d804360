/* SPDX-License-Identifier: Apache-2.0 */
/* The pod: its namespaces, its containers by id, how it begins and how it ends.
 *
 *     NONE ─▶ PREPARING ─▶ STARTING ─▶ RUNNING ─▶ TERMINATING ─▶ KILLING ─▶ RELEASING ─▶ NONE
 *                 └───────────┴─────▶ UNDOING ─▶ NONE
 */
#include "pod.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cgroup.h"
#include "child_pod.h"
#include "log.h"

#define TERM_MS    2000 /* from SIGTERM to SIGKILL (protocol.md, 8) */
#define TELL_MS    1000 /* for ends that nobody reads */
#define RELEASE_MS 2000 /* for unmount and sync; the power goes off all the same */

static void worker_changed(struct spawn *spawn);
static void init_changed(struct spawn *spawn);
static void patience_over(struct timer *timer);

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
		.spawner = options->spawner,
		.share_dir = options->share_dir,
		.cgroup_parent = options->cgroup_parent,
		.on_done = options->on_done,
	};
	list_init(&pod->containers);
	timer_init(&pod->patience, patience_over);
}

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

/* One of the pod's own children: `main` gets the pod's description. */
static int fork_child(struct pod *pod, struct spawn *spawn, void (*main)(const void *),
	struct spawn_plan plan, int cgroup_procs, struct error *err)
{
	const struct child_pod child = {
		.spec = pod->spec,
		.run_dir = pod->setting.run_dir,
		.share_dir = pod->share_dir,
		.cgroup_procs = cgroup_procs,
	};

	plan.pid_ns = -1;
	plan.main = main;
	plan.argument = &child;
	plan.keep = &cgroup_procs;
	plan.keep_count = 1;
	return spawn_fork(pod->spawner, spawn, &plan, err);
}

static int fork_worker(
	struct pod *pod, void (*main)(const void *), uint32_t deadline_ms, struct error *err)
{
	const struct spawn_plan plan = {.deadline_ms = deadline_ms, .changed = worker_changed};

	return fork_child(pod, &pod->worker, main, plan, -1, err);
}

/* --- begin --- */

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
	arena_free(&pod->arena);
	pod->setting.hostname = NULL;
	pod->spec = NULL;
	pod->state = POD_NONE;
}

static void start_failed(struct pod *pod)
{
	struct error failure = pod->failure;

	pod_clear(pod);
	pod->on_done(pod, &failure);
}

/* Takes back what `prepare` did; then start_failed(). */
static void undo(struct pod *pod)
{
	struct error err;

	pod->state = POD_UNDOING;
	if (fork_worker(pod, child_pod_release, RELEASE_MS, &err) < 0) {
		log_error("pod: %s", err.text);
		start_failed(pod);
	}
}

int pod_start(struct pod *pod, const struct pod_spec *spec, struct error *err)
{
	const char *hostname = spec->hostname ? spec->hostname : "";

	if (pod->state != POD_NONE)
		return error_set(err, EEXIST, "there is a pod already");
	arena_init(&pod->arena, 1024);
	pod->setting.hostname = arena_strndup(&pod->arena, hostname, strlen(hostname));
	pod->spec = spec;
	if (!pod->setting.hostname) {
		error_set(err, ENOMEM, "out of memory");
		goto fail;
	}
	if (pod->cgroup_parent >= 0) {
		pod->setting.cgroup = cgroup_create(pod->cgroup_parent, "pod", err);
		if (pod->setting.cgroup < 0)
			goto fail;
	}
	if (fork_worker(pod, child_pod_prepare, pod->setting.table->deadline_ms, err) < 0)
		goto fail;
	pod->state = POD_PREPARING;
	return 0;

fail:
	pod_clear(pod);
	return -1;
}

static int fork_init(struct pod *pod, struct error *err)
{
	const struct spawn_plan plan = {
		.new_pid_ns = true,
		.deadline_ms = pod->setting.table->deadline_ms,
		.changed = init_changed,
	};
	int leaf = -1, procs = -1, rc = -1;

	if (pod->setting.cgroup >= 0) {
		leaf = cgroup_create(pod->setting.cgroup, "init", err);
		if (leaf >= 0)
			procs = cgroup_open_procs(leaf, err);
		if (procs < 0)
			goto out;
	}
	rc = fork_child(pod, &pod->init, child_pod_init, plan, procs, err);
out:
	close_fd(&leaf);
	close_fd(&procs);
	return rc;
}

static int open_namespace(struct pod *pod, const char *name, struct error *err)
{
	char path[64];
	int fd;

	snprintf(path, sizeof path, "/proc/%d/ns/%s", (int)pod->init.pid, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	return fd < 0 ? error_errno(err, errno, "pod: open '%s'", path) : fd;
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

static void init_changed(struct spawn *spawn)
{
	struct pod *pod = list_entry(spawn, struct pod, init);

	if (pod->state == POD_STARTING && spawn_succeeded(spawn) && !spawn->reaped) {
		if (open_namespaces(pod, &pod->failure) < 0) {
			/* Its end, reaped, goes on below. */
			spawn_signal(spawn, SIGKILL);
			pod->state = POD_UNDOING;
			return;
		}
		pod->state = POD_RUNNING;
		pod->spec = NULL;
		log_info("pod: started");
		pod->on_done(pod, NULL);
	} else if (spawn->reaped && spawn_is_reported(spawn)) {
		if (pod->state == POD_STARTING)
			spawn_error(spawn, &pod->failure);
		spawn_forget_report(spawn);
		if (pod->state == POD_STARTING || pod->state == POD_UNDOING)
			undo(pod);
		else if (pod->state == POD_RUNNING || pod->state == POD_TERMINATING)
			log_error("pod: its init is gone, killed by signal %d",
				spawn_exit_code(spawn) - 128);
	}
}

static void worker_changed(struct spawn *spawn)
{
	struct pod *pod = list_entry(spawn, struct pod, worker);
	struct error err;
	bool succeeded = spawn_succeeded(spawn);

	if (!spawn_is_reported(spawn) || !spawn->reaped)
		return;
	if (!succeeded)
		spawn_error(spawn, &err);
	spawn_forget_report(spawn);
	switch (pod->state) {
	case POD_PREPARING:
		pod->state = POD_STARTING;
		if (succeeded && fork_init(pod, &err) == 0)
			return;
		pod->failure = err;
		undo(pod);
		return;
	case POD_UNDOING:
		start_failed(pod);
		return;
	default: /* POD_RELEASING */
		if (!succeeded)
			log_error("pod: release: %s", err.text);
		pod_clear(pod);
		log_info("pod: destroyed");
		pod->on_done(pod, NULL);
	}
}

/* --- containers --- */

int pod_find_container(
	struct pod *pod, const char *id, struct container **container, struct error *err)
{
	list_for_each (it, after, &pod->containers) {
		*container = list_entry(it, struct container, node);
		if (strcmp((*container)->id, id) == 0)
			return 0;
	}
	return error_set(err, ENOENT, "no such container '%s'", id);
}

static void container_started(void *context, const struct error *err)
{
	struct pod *pod = context;

	pod->on_done(pod, err);
}

static void container_emptied(struct container *container)
{
	/* A cc host removes its containers itself; runv's are gone with their process. */
	if (container->init_id)
		container_free(container);
}

static int check_running(const struct pod *pod, struct error *err)
{
	return pod->state == POD_RUNNING ? 0 : error_set(err, ESRCH, "there is no pod");
}

int pod_start_container(struct pod *pod, const struct container_spec *spec, struct error *err)
{
	struct container *container;
	struct error missing;
	size_t count = 0;

	if (check_running(pod, err) < 0)
		return -1;
	if (pod_find_container(pod, spec->id, &container, &missing) == 0)
		return error_set(err, EEXIST, "container '%s' exists already", spec->id);
	list_for_each (it, after, &pod->containers)
		count++;
	if (count >= CONTAINERS_MAX)
		return error_set(err, EAGAIN, "too many containers: %zu", count);
	container = container_start(
		&pod->setting, spec, container_started, container_emptied, pod, err);
	if (!container)
		return -1;
	list_push_back(&pod->containers, &container->node);
	return 0;
}

int pod_exec(struct pod *pod, const struct exec_spec *spec, struct error *err)
{
	struct container *container = NULL;

	if (check_running(pod, err) < 0 ||
		pod_find_container(pod, spec->container, &container, err) < 0)
		return -1;
	return container_exec(container, &spec->process, err);
}

void pod_cancel(struct pod *pod, const char *reason)
{
	if (pod->state == POD_PREPARING)
		spawn_cancel(&pod->worker, reason);
	else if (pod->state == POD_STARTING)
		spawn_cancel(&pod->init, reason);
	list_for_each (it, after, &pod->containers)
		container_cancel(list_entry(it, struct container, node), reason);
}

/* --- end --- */

static void patience_over(struct timer *timer)
{
	struct pod *pod = list_entry(timer, struct pod, patience);

	log_warn("pod: processes are left after %s",
		pod->state == POD_TERMINATING ? "SIGTERM" : "SIGKILL, or nobody reads their ends");
	pod->is_impatient = true;
}

static void be_patient(struct pod *pod, enum pod_state state, uint64_t ms)
{
	pod->state = state;
	pod->is_impatient = false;
	timer_set(pod->setting.table->loop, &pod->patience, ms);
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

static bool is_stopped(const struct container *container)
{
	return !container_is_running(container);
}

static void release(struct pod *pod)
{
	struct error err;

	timer_cancel(&pod->patience);
	list_for_each (it, after, &pod->containers) {
		struct container *container = list_entry(it, struct container, node);

		if (container_is_empty(container))
			container_free(container);
	}
	pod->state = POD_RELEASING;
	if (fork_worker(pod, child_pod_release, RELEASE_MS, &err) < 0) {
		log_error("pod: release: %s", err.text);
		pod_clear(pod);
		pod->on_done(pod, NULL);
	}
}

void pod_pump(struct pod *pod)
{
	if (pod->state == POD_TERMINATING &&
		(pod->is_impatient || all_containers(pod, is_stopped))) {
		list_for_each (it, after, &pod->containers)
			container_kill(list_entry(it, struct container, node));
		/* Takes everything in its PID namespace along. */
		spawn_signal(&pod->init, SIGKILL);
		be_patient(pod, POD_KILLING, TELL_MS);
	}
	if (pod->state == POD_KILLING &&
		(pod->is_impatient ||
			(pod->init.reaped && all_containers(pod, container_is_empty))))
		release(pod);
}
