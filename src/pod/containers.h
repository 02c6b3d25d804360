/* SPDX-License-Identifier: Apache-2.0 */
/* The containers of a pod by id: started, found, replaced, removed. */
#ifndef CONTAINERS_H
#define CONTAINERS_H

#include "pod/container.h"

struct containers {
	struct list list;
	const struct pod_context *pod; /* borrowed from the pod */
	bool are_open;                 /* commands may start and remove some */
	/* The next container, which waits for the removal of one with the same id; borrowed … */
	const struct container_spec *replacement;
	void (*next)(
		void *context, const struct error *err); /* … and what request.next was before */
	void *context;
};

/* Closed: none can start before the pod has its namespaces. */
void containers_init(struct containers *containers, const struct pod_context *pod);

/* These begin something. 0: the request will be done, and the spec must stay until then; or -1 with err,
 * and nothing has changed. */
int containers_start(
	struct containers *containers, const struct container_spec *spec, struct error *err);
int containers_exec(struct containers *containers, const struct exec_spec *spec, struct error *err);
/* Only a stopped one; the request is done when nothing of it is left. */
int containers_remove(struct containers *containers, const char *id, struct error *err);

/* Or NULL with err. */
struct container *containers_find(struct containers *containers, const char *id, struct error *err);

/* The end of the pod: no container starts any more, and none is removed before containers_settle(). The first
 * sends SIGTERM to every process, unless a worker does (is_signalled); the second SIGKILL. */
void containers_terminate(struct containers *containers, bool is_signalled);
void containers_kill(struct containers *containers);

/* The first state that one of them is in; FINISHED without any. */
enum container_state containers_state(const struct containers *containers);

/* Takes those that are not FINISHED off the list; each is removed when it is. Returns how many mount
 * namespaces the others have. */
size_t containers_settle(struct containers *containers, int mount_ns[CONTAINERS_MAX]);
/* Frees all of them: see container_free(). */
void containers_forget(struct containers *containers, bool are_unmounted);

#endif
