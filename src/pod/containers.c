/* SPDX-License-Identifier: Apache-2.0 */
/* The containers of a pod by id: started, found, replaced, removed.
 *
 * A removal waits until the container is empty. A start waits for the removal of a container that has the
 * same id and is gone for the host, but still here.
 */
#include "pod/containers.h"

#include <errno.h>
#include <signal.h>
#include <string.h>

void containers_init(struct containers *containers, const struct pod_context *pod)
{
	*containers = (struct containers){.pod = pod};
	list_init(&containers->list);
}

/* For runV a container is gone when the end of its process was reported; then its orphans may still be dying,
 * and its mounts still exist. */
static struct container *find(struct containers *containers, const char *id, bool gone)
{
	list_for_each (it, after, &containers->list) {
		struct container *container = list_entry(it, struct container, node);

		if (strcmp(container->id, id) == 0 &&
			gone ==
				(container->init.id &&
					process_is(&container->init, PROCESS_REPORTED)))
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

static int begin(
	struct containers *containers, const struct container_spec *spec, struct error *err)
{
	const size_t count = list_length(&containers->list);
	const char *reason = containers->pod->shared->request.cancel_reason;
	struct container *container;

	if (strcmp(spec->id, CONTAINER_AGENT) == 0)
		return error_set(err, EEXIST, "container '%s' is the agent itself", spec->id);
	if (find(containers, spec->id, false))
		return error_set(err, EEXIST, "container '%s' exists already", spec->id);
	if (count >= CONTAINERS_MAX)
		return error_set(
			err, EAGAIN, "container '%s': there are %zu already", spec->id, count);
	if (reason)
		return error_set(err, ECANCELED, "container '%s': %s", spec->id, reason);
	container = container_start(containers->pod, spec, err);
	if (!container)
		return -1;
	list_push_back(&containers->list, &container->node);
	return 0;
}

/* Called when the container with the same id is removed (err NULL), or with the reason why it is not. */
static void start_replacement(void *context, const struct error *err)
{
	struct containers *containers = context;
	struct request *request = &containers->pod->shared->request;
	struct error failure;

	request->next = containers->next;
	request->context = containers->context;
	if (err)
		request_done(request, err);
	else if (begin(containers, containers->replacement, &failure) < 0)
		request_done(request, &failure);
}

int containers_start(
	struct containers *containers, const struct container_spec *spec, struct error *err)
{
	struct request *request = &containers->pod->shared->request;
	struct container *gone = find(containers, spec->id, true);

	if (!containers->are_open)
		return error_set(err, ESRCH, "there is no pod");
	if (!gone)
		return begin(containers, spec, err);
	containers->replacement = spec;
	containers->next = request->next;
	containers->context = request->context;
	request->next = start_replacement;
	request->context = containers;
	container_remove(gone, true);
	return 0;
}

int containers_remove(struct containers *containers, const char *id, struct error *err)
{
	struct container *container = containers_find(containers, id, err);

	if (!container)
		return -1;
	if (container_is_running(container))
		return error_set(err, EBUSY, "container '%s' is running", id);
	/* Its orphans may still be dying when the host has its exit code. */
	container_remove(container, true);
	return 0;
}

int containers_exec(struct containers *containers, const struct exec_spec *spec, struct error *err)
{
	struct container *container;

	if (!containers->are_open)
		return error_set(err, ESRCH, "there is no pod");
	/* The container `hyperstart` is made on first use. */
	if (strcmp(spec->container, CONTAINER_AGENT) == 0 &&
		!find(containers, CONTAINER_AGENT, false)) {
		container = container_open_agent(containers->pod, err);
		if (!container)
			return -1;
		list_push_back(&containers->list, &container->node);
	}
	container = containers_find(containers, spec->container, err);
	return container ? container_exec(container, &spec->process, err) : -1;
}

/* --- The end of the pod ----------------------------------------------------------------------- */

void containers_terminate(struct containers *containers, bool is_signalled)
{
	containers->are_open = false;
	list_for_each (it, after, &containers->list) {
		struct container *container = list_entry(it, struct container, node);

		container->remove_when_empty = false; /* what is left is unmounted at once */
		if (!is_signalled)
			container_signal(container, SIGTERM, true);
	}
}

void containers_kill(struct containers *containers)
{
	containers_terminate(containers, true); /* closes them, when a start of the pod failed */
	list_for_each (it, after, &containers->list)
		container_kill(list_entry(it, struct container, node));
}

enum container_state containers_state(const struct containers *containers)
{
	enum container_state least = CONTAINER_FINISHED, state;

	list_for_each (it, after, &containers->list) {
		state = container_state(list_entry(it, struct container, node));
		least = state < least ? state : least;
	}
	return least;
}

size_t containers_settle(struct containers *containers, int mount_ns[CONTAINERS_MAX])
{
	size_t count = 0;

	list_for_each (it, after, &containers->list) {
		struct container *container = list_entry(it, struct container, node);

		if (container_state(container) < CONTAINER_FINISHED) {
			list_remove(&container->node);
			container_remove(container, false);
		} else if (container->mount_ns >= 0) {
			mount_ns[count++] = container->mount_ns;
		}
	}
	return count;
}

void containers_forget(struct containers *containers, bool are_unmounted)
{
	list_for_each (it, after, &containers->list)
		container_free(list_entry(it, struct container, node), are_unmounted);
}
