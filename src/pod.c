/* SPDX-License-Identifier: Apache-2.0 */
/* The pod: its namespaces, its containers by id, how it begins and how it ends.
 *
 *     NONE ─▶ PREPARING ─▶ STARTING ─▶ FILLING ─▶ RUNNING ─▶ TERMINATING ─▶ KILLING ─▶ RELEASING ─▶ NONE
 *                 └───────────┴───────────┴──── a failed start ───────────────▲
 */
#include "pod.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cgroup.h"
#include "child_pod.h"
#include "format.h"
#include "log.h"

#define TERM_MS    2000 /* from SIGTERM to SIGKILL (protocol.md, 8) */
#define TELL_MS    1000 /* for ends that nobody reads */
#define RELEASE_MS 2000 /* for unmount and sync; the power goes off all the same */

static void patience_over(struct timer *timer)
{
	struct pod *pod = list_entry(timer, struct pod, patience);

	if (pod->state != POD_RELEASING)
		log_warn("pod: processes are left after %s",
			pod->state == POD_TERMINATING ? "SIGTERM"
						      : "SIGKILL, or nobody reads their ends");
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
				.docker_caps = options->docker_caps,
			},
		.worker = options->worker,
		.share_dir = options->share_dir,
		.cgroup_parent = options->cgroup_parent,
		.cgroup_dir = options->cgroup_dir,
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
	pod->setting.hostname = pod->setting.cgroup_path = NULL;
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
		.cgroup_parent = pod->cgroup_parent,
		.cgroup = pod->setting.cgroup,
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

static bool container_is_at_rest(const struct container *container)
{
	return container_is_empty(container) && !container_is_leaving(container);
}

static void released(void *context, const struct error *err)
{
	struct pod *pod = context;
	bool failed = pod->failed;

	if (pod->state != POD_RELEASING)
		return; /* a worker that was not waited for */
	timer_cancel(&pod->patience);
	if (err)
		log_error("pod: release: %s", err->text);
	list_for_each (it, after, &pod->containers)
		container_free(list_entry(it, struct container, node));
	pod_clear(pod);
	log_info("pod: %s", failed ? "not started" : "destroyed");
	pod->on_done(pod, failed ? &pod->failure : NULL);
}

static void stray_started(void *context, const struct error *err)
{
	(void)context;
	(void)err;
}

static void stray_emptied(struct container *container)
{
	container_remove(container);
}

static void stray_removed(struct container *container, const struct error *err)
{
	(void)container;
	(void)err;
}

/* It goes when it comes to rest, and is of no pod any more. */
static void container_stray(struct container *container)
{
	list_remove(&container->node);
	container->events = (struct container_events){
		.on_started = stray_started,
		.on_empty = stray_emptied,
		.on_removed = stray_removed,
	};
}

/* The mount namespaces of the containers at rest, malloc; out of memory is none, and NULL. The others
 * stray. */
static int *mount_namespaces(struct pod *pod, size_t *count)
{
	int *mount_ns;

	*count = 0;
	list_for_each (it, after, &pod->containers)
		++*count;
	mount_ns = calloc(*count + 1, sizeof *mount_ns);
	*count = 0;
	list_for_each (it, after, &pod->containers) {
		struct container *container = list_entry(it, struct container, node);

		if (!container_is_at_rest(container))
			container_stray(container);
		else if (mount_ns && container->mount_ns >= 0)
			mount_ns[(*count)++] = container->mount_ns;
	}
	return mount_ns;
}

static void release(struct pod *pod)
{
	size_t count;
	int *mount_ns = mount_namespaces(pod, &count);
	struct child_pod child = describe(pod);
	const struct worker_plan plan = {
		.main = child_pod_release,
		.argument = &child,
		.keep = mount_ns,
		.keep_count = count,
		.on_done = released,
		.context = pod,
	};
	struct error err;

	child.mount_ns = mount_ns;
	child.mount_ns_count = count;
	be_patient(pod, POD_RELEASING, RELEASE_MS);
	if (worker_start(pod->worker, &plan, &err) < 0)
		released(pod, &err);
	free(mount_ns);
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
	struct error err;

	if (pod->state == POD_TERMINATING &&
		(pod->is_impatient || all_containers(pod, container_is_quiet)))
		kill_all(pod);
	if (pod->state == POD_KILLING &&
		(pod->is_impatient ||
			(!init_is_alive(pod) && all_containers(pod, container_is_at_rest))))
		release(pod);
	if (pod->state == POD_RELEASING && pod->is_impatient) {
		error_set(&err, ETIMEDOUT, "not done in time");
		released(pod, &err);
	}
}

/* --- begin ----------------------------------------------------------------------------------- */

static int open_namespace(struct pod *pod, const char *name, struct error *err)
{
	char path[64];
	int fd;

	format(path, sizeof path, "/proc/%d/ns/%s", (int)pod->init.pid, name);
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

	if (pod->cut) {
		error_set(&err, ECANCELED, "%s", pod->cut);
		start_failed(pod, &err);
		return;
	}
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
	const int keep[] = {child.cgroup_parent, child.cgroup};
	const struct worker_plan plan = {
		.main = child_pod_prepare,
		.argument = &child,
		.keep = keep,
		.keep_count = sizeof keep / sizeof *keep,
		.deadline_ms = pod->setting.table->deadline_ms,
		.on_done = prepared,
		.context = pod,
	};

	return worker_start(pod->worker, &plan, err);
}

/* Where the containers' cgroups are; if there are any. NULL: out of memory. */
static const char *cgroup_path(struct pod *pod)
{
	char path[PATH_MAX];

	format(path, sizeof path, "%s/pod", pod->cgroup_dir ? pod->cgroup_dir : "");
	return arena_strndup(&pod->arena, path, strlen(path));
}

int pod_start(struct pod *pod, const struct pod_spec *spec, struct error *err)
{
	const char *hostname = spec->hostname ? spec->hostname : "";

	if (pod->state != POD_NONE)
		return error_set(err, EEXIST, "there is a pod already");
	pod->spec = spec;
	pod->failed = false;
	pod->cut = NULL;
	pod->begun_ms = loop_now();
	pod->filled = 0;
	pod->init.pid = 0;
	arena_init(&pod->arena, MESSAGE_MAX + PATH_MAX);
	pod->setting.hostname = arena_strndup(&pod->arena, hostname, strlen(hostname));
	pod->setting.cgroup_path = cgroup_path(pod);
	if (!pod->setting.hostname || !pod->setting.cgroup_path) {
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

	pod->cut = reason;
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
 * still be dying, and its mounts be taken off. */
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
	if (!err && pod->begun_ms) {
		log_info("pod: ms since the kernel began: STARTPOD %llu, first execve %llu",
			(unsigned long long)pod->begun_ms, (unsigned long long)loop_now());
		pod->begun_ms = 0;
	}
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

/* What the packet filter refuses was logged. */
static void removed_ports_closed(void *context, const struct error *err)
{
	(void)err;
	removal_over(context, NULL);
}

static void container_emptied(struct container *container)
{
	struct pod *pod = container->events.context;

	/* A cc host removes its containers itself; runv's are gone with their process. What is left
	 * when a pod ends is unmounted all at once. */
	if (pod->removing == container)
		timer_cancel(&pod->removal);
	else if (!container->init_id || pod->state >= POD_TERMINATING)
		return;
	container_remove(container);
}

static void container_removed(struct container *container, const struct error *err)
{
	struct pod *pod = container->events.context;
	bool is_asked_for = pod->removing == container, has_ports;

	if (err) {
		if (is_asked_for)
			removal_over(pod, err);
		return;
	}
	has_ports = portmap_remove(
		&pod->portmap, container->id, is_asked_for ? removed_ports_closed : NULL, pod);
	if (is_asked_for && has_ports)
		pod->removing = NULL;
	else if (is_asked_for)
		removal_over(pod, NULL);
}

static struct container_events events_of(struct pod *pod)
{
	return (struct container_events){
		.on_started = container_started,
		.on_empty = container_emptied,
		.on_removed = container_removed,
		.context = pod,
	};
}

static int start_container(struct pod *pod, const struct container_spec *spec, struct error *err)
{
	const struct container_events events = events_of(pod);
	struct container *container = container_start(&pod->setting, spec, &events, err);

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
	size_t count = 0;

	if (strcmp(spec->id, CONTAINER_AGENT) == 0)
		return error_set(err, EEXIST, "container '%s' is the agent itself", spec->id);
	if (find_container(pod, spec->id, false))
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

/* As soon as it is empty; then it takes no longer than its worker may. */
static void remove_container(struct pod *pod, struct container *container)
{
	pod->removing = container;
	timer_set(pod->setting.table->loop, &pod->removal, pod->setting.table->deadline_ms);
	if (container_is_empty(container))
		container_emptied(container);
}

int pod_start_container(struct pod *pod, const struct container_spec *spec, struct error *err)
{
	struct container *gone = find_container(pod, spec->id, true);

	if (check_running(pod, err) < 0)
		return -1;
	if (gone) {
		pod->replacement = spec;
		remove_container(pod, gone);
		return 0;
	}
	return begin_container(pod, spec, err);
}

/* The agent's own place among the containers; made when it is first asked for. */
static int open_agent(struct pod *pod, struct error *err)
{
	const struct container_events events = events_of(pod);
	struct container *container;

	if (find_container(pod, CONTAINER_AGENT, false))
		return 0;
	pod->agent = pod->setting;
	pod->agent.pid_ns = pod->agent.uts_ns = pod->agent.ipc_ns = -1;
	pod->agent.docker_caps = false;
	container = container_open_agent(&pod->agent, &events, err);
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
	remove_container(pod, container);
	return 0;
}
