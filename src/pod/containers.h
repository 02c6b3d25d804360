/* SPDX-License-Identifier: Apache-2.0 */
/* The containers of a pod by id: started, found, replaced, removed. */
#ifndef CONTAINERS_H
#define CONTAINERS_H

#include "pod/container.h"

struct containers {
	struct list list;
	const struct container_setting *setting; /* borrowed from the pod */
	bool are_open;                           /* they may come and go */
	struct container *removing;              /* a command waits until it is gone, or NULL … */
	const struct container_spec *replacement; /* … to start this one then; borrowed, or NULL */
};

/* Closed: until the pod has its namespaces, none comes. */
void containers_init(struct containers *containers, const struct container_setting *setting);

/* These begin something. 0: the request will be done; or -1 with err, and nothing has changed. The spec
 * must stay until then. */
int containers_start(
	struct containers *containers, const struct container_spec *spec, struct error *err);
int containers_exec(struct containers *containers, const struct exec_spec *spec, struct error *err);
/* A stopped one: done when every trace of it is gone. */
int containers_remove(struct containers *containers, const char *id, struct error *err);

/* Or NULL with err. */
struct container *containers_find(struct containers *containers, const char *id, struct error *err);

/* The end of the pod: from here on none begins, and none is removed before containers_settle(). SIGTERM
 * to every process, unless they are signalled already; SIGKILL. */
void containers_terminate(struct containers *containers, bool is_signalled);
void containers_kill(struct containers *containers);

/* How far the last of them is. */
enum container_state containers_state(const struct containers *containers);

/* Those that are not at rest are of no pod any more; each goes when it comes to rest. Returns how many
 * mount namespaces the others have. */
size_t containers_settle(struct containers *containers, int mount_ns[CONTAINERS_MAX]);
/* All of them; see container_free(). */
void containers_forget(struct containers *containers, bool are_unmounted);

#endif
