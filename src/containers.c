/* SPDX-License-Identifier: Apache-2.0 */
/* The containers of a pod by id: started with their ports, found, replaced, removed.
 *
 * A start opens the container's ports first, so that they are there with its first process, and
 * closes them again when it fails. A removal waits until the container is empty, one at a time; a
 * start with the id of a container that is gone for its host, but not quite, waits for it.
 */
#include "containers.h"

#include <errno.h>
#include <signal.h>
#include <string.h>

/* runV takes a container for gone when its process is told to have finished; then its orphans may
 * still be dying, and its mounts be taken off. */
static bool is_gone(const struct container *container)
{
	return container->init_id && process_is(&container->init, PROCESS_REPORTED);
}

static struct container *find(struct containers *containers, const char *id, bool gone)
{
	list_for_each (it, after, &containers->list) {
		struct container *container = list_entry(it, struct container, node);

		if (strcmp(container->id, id) == 0 && is_gone(container) == gone)
			return container;
	}
	return NULL;
}

struct container *containers_find(struct containers *containers, const char *id, struct error *err)
{
	struct container *container = find(containers, id, false);

	if (!container)
		error_set(err, ENOENT, "no such container '%s'", id);
	return container;
}

static int check_open(const struct containers *containers, struct error *err)
{
	return containers->are_open ? 0 : error_set(err, ESRCH, "there is no pod");
}

/* --- Removed ---------------------------------------------------------------------------------- */

static int begin(
	struct containers *containers, const struct container_spec *spec, struct error *err);

static void removal_over(struct containers *containers, const struct error *err)
{
	const struct container_spec *spec = containers->replacement;
	struct error failure;

	containers->removing = NULL;
	containers->replacement = NULL;
	timer_cancel(&containers->removal);
	if (err || !spec)
		containers->on_done(containers, err);
	else if (begin(containers, spec, &failure) < 0)
		containers->on_done(containers, &failure);
}

static void removal_overdue(struct timer *timer)
{
	struct containers *containers = list_entry(timer, struct containers, removal);
	struct error err;

	error_set(&err, EBUSY, "container '%s' has processes or unread output left",
		containers->removing->id);
	removal_over(containers, &err);
}

/* What the packet filter refuses was logged. */
static void removed_ports_closed(void *context, const struct error *err)
{
	(void)err;
	removal_over(context, NULL);
}

static void container_emptied(struct container *container)
{
	struct containers *containers = container->events.context;

	/* A cc host removes its containers itself; runv's are gone with their process. What is left
	 * when a pod ends is unmounted all at once. */
	if (containers->removing == container)
		timer_cancel(&containers->removal);
	else if (!container->init_id || !containers->are_open)
		return;
	container_remove(container);
}

static void container_removed(struct container *container, const struct error *err)
{
	struct containers *containers = container->events.context;
	bool is_asked_for = containers->removing == container, has_ports;

	if (err) {
		if (is_asked_for)
			removal_over(containers, err);
		return;
	}
	has_ports = portmap_remove(&containers->portmap, container->id,
		is_asked_for ? removed_ports_closed : NULL, containers);
	if (is_asked_for && has_ports)
		containers->removing = NULL;
	else if (is_asked_for)
		removal_over(containers, NULL);
}

/* As soon as it is empty; then it takes no longer than its worker may. */
static void remove_container(struct containers *containers, struct container *container)
{
	const struct process_table *table = containers->setting->table;

	containers->removing = container;
	timer_set(table->loop, &containers->removal, table->deadline_ms);
	if (container_is_empty(container))
		container_emptied(container);
}

/* Whatever a cut was for, the host goes on: a DESTROYPOD may have been refused. */
static void resume(struct containers *containers)
{
	containers->cut = NULL;
	portmap_resume(&containers->portmap);
}

int containers_remove(struct containers *containers, const char *id, struct error *err)
{
	struct container *container = containers_find(containers, id, err);

	if (!container)
		return -1;
	if (container_is_running(container))
		return error_set(err, EBUSY, "container '%s' is running", id);
	resume(containers);
	/* Its orphans may still be dying when the host has its exit code. */
	remove_container(containers, container);
	return 0;
}

/* --- Started ---------------------------------------------------------------------------------- */

static void answer(struct containers *containers, const struct error *err)
{
	containers->mapped = NULL;
	containers->on_done(containers, err);
}

static void ports_closed(void *context, const struct error *err)
{
	struct containers *containers = context;

	(void)err;
	answer(containers, &containers->failure);
}

static void container_started(void *context, const struct error *err)
{
	struct containers *containers = context;

	if (err && containers->mapped) {
		containers->failure = *err;
		if (portmap_remove(
			    &containers->portmap, containers->mapped->id, ports_closed, containers))
			return;
	}
	answer(containers, err);
}

static struct container_events events_of(struct containers *containers)
{
	return (struct container_events){
		.on_started = container_started,
		.on_empty = container_emptied,
		.on_removed = container_removed,
		.context = containers,
	};
}

static int start_container(
	struct containers *containers, const struct container_spec *spec, struct error *err)
{
	const struct container_events events = events_of(containers);
	struct container *container;

	if (containers->cut)
		return error_set(err, ECANCELED, "container '%s': %s", spec->id, containers->cut);
	container = container_start(containers->setting, spec, &events, err);
	if (!container)
		return -1;
	list_push_back(&containers->list, &container->node);
	return 0;
}

static void ports_opened(void *context, const struct error *err)
{
	struct containers *containers = context;
	struct error failure;

	if (err) {
		failure = *err;
		error_wrap(&failure, "container '%s'", containers->mapped->id);
		answer(containers, &failure);
	} else if (start_container(containers, containers->mapped, &failure) < 0) {
		container_started(containers, &failure);
	}
}

static int begin(
	struct containers *containers, const struct container_spec *spec, struct error *err)
{
	const size_t count = list_length(&containers->list);

	if (strcmp(spec->id, CONTAINER_AGENT) == 0)
		return error_set(err, EEXIST, "container '%s' is the agent itself", spec->id);
	if (find(containers, spec->id, false))
		return error_set(err, EEXIST, "container '%s' exists already", spec->id);
	if (count >= CONTAINERS_MAX)
		return error_set(
			err, EAGAIN, "container '%s': there are %zu already", spec->id, count);
	if (!portmap_concerns(&containers->portmap, spec))
		return start_container(containers, spec, err);
	if (portmap_add(&containers->portmap, spec, ports_opened, containers, err) < 0)
		return error_wrap(err, "container '%s'", spec->id);
	containers->mapped = spec;
	return 0;
}

int containers_start(
	struct containers *containers, const struct container_spec *spec, struct error *err)
{
	struct container *gone = find(containers, spec->id, true);

	if (check_open(containers, err) < 0)
		return -1;
	resume(containers);
	if (gone) {
		containers->replacement = spec;
		remove_container(containers, gone);
		return 0;
	}
	return begin(containers, spec, err);
}

/* The agent's own place among them; made when it is first asked for. */
static int open_agent(struct containers *containers, struct error *err)
{
	const struct container_events events = events_of(containers);
	struct container *container;

	if (find(containers, CONTAINER_AGENT, false))
		return 0;
	containers->agent = *containers->setting;
	containers->agent.pid_ns = containers->agent.uts_ns = containers->agent.ipc_ns = -1;
	container = container_open_agent(&containers->agent, &events, err);
	if (!container)
		return -1;
	list_push_back(&containers->list, &container->node);
	return 0;
}

int containers_exec(struct containers *containers, const struct exec_spec *spec, struct error *err)
{
	struct container *container;

	if (check_open(containers, err) < 0)
		return -1;
	if (strcmp(spec->container, CONTAINER_AGENT) == 0 && open_agent(containers, err) < 0)
		return -1;
	container = containers_find(containers, spec->container, err);
	return container ? container_exec(container, &spec->process, err) : -1;
}

void containers_cancel(struct containers *containers, const char *reason)
{
	struct error err;

	containers->cut = reason;
	portmap_cancel(&containers->portmap, reason);
	list_for_each (it, after, &containers->list)
		container_cancel(list_entry(it, struct container, node), reason);
	if (containers->removing) {
		error_set(&err, ECANCELED, "%s", reason);
		removal_over(containers, &err);
	}
}

/* --- The end of the pod ----------------------------------------------------------------------- */

void containers_terminate(struct containers *containers, bool are_told)
{
	containers->are_open = false;
	if (are_told)
		return;
	list_for_each (it, after, &containers->list)
		container_signal(list_entry(it, struct container, node), SIGTERM, true);
}

void containers_kill(struct containers *containers)
{
	containers->are_open = false;
	portmap_close(&containers->portmap);
	list_for_each (it, after, &containers->list)
		container_kill(list_entry(it, struct container, node));
}

static bool is_at_rest(const struct container *container)
{
	return container_is_empty(container) && !container_is_leaving(container);
}

static bool all(const struct containers *containers, bool (*are)(const struct container *))
{
	list_for_each (it, after, &containers->list)
		if (!are(list_entry(it, struct container, node)))
			return false;
	return true;
}

bool containers_are_quiet(const struct containers *containers)
{
	return all(containers, container_is_quiet);
}

bool containers_are_dead(const struct containers *containers)
{
	return all(containers, container_is_dead);
}

bool containers_are_at_rest(const struct containers *containers)
{
	return all(containers, is_at_rest);
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

static void stray(struct container *container)
{
	list_remove(&container->node);
	container->events = (struct container_events){
		.on_started = stray_started,
		.on_empty = stray_emptied,
		.on_removed = stray_removed,
	};
}

size_t containers_settle(struct containers *containers, int mount_ns[CONTAINERS_MAX])
{
	size_t count = 0;

	list_for_each (it, after, &containers->list) {
		struct container *container = list_entry(it, struct container, node);

		if (!is_at_rest(container))
			stray(container);
		else if (container->mount_ns >= 0)
			mount_ns[count++] = container->mount_ns;
	}
	return count;
}

void containers_forget(struct containers *containers, bool are_unmounted)
{
	list_for_each (it, after, &containers->list)
		container_free(list_entry(it, struct container, node), are_unmounted);
}

/* --- The beginning ---------------------------------------------------------------------------- */

void containers_init(struct containers *containers, const struct container_setting *setting,
	void (*on_done)(struct containers *containers, const struct error *err))
{
	*containers = (struct containers){.setting = setting, .on_done = on_done};
	list_init(&containers->list);
	timer_init(&containers->removal, removal_overdue);
	portmap_init(&containers->portmap, setting->table->spawner, setting->table->deadline_ms);
}

int containers_open(struct containers *containers, const struct white_lists_spec *lists,
	struct arena *arena, struct error *err)
{
	containers->are_open = true;
	return lists ? portmap_open(&containers->portmap, lists, arena, err) : 0;
}
