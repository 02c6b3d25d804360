/* SPDX-License-Identifier: Apache-2.0 */
/* The containers of a pod by id: started with their ports, found, replaced, removed. */
#ifndef CONTAINERS_H
#define CONTAINERS_H

#include "container.h"
#include "portmap.h"

struct containers {
	struct list list;
	const struct container_setting *setting; /* borrowed from the pod */
	struct container_setting agent;          /* of CONTAINER_AGENT: no namespaces */
	bool are_open;                           /* they may come and go */
	struct portmap portmap;
	const struct container_spec *mapped; /* borrowed: it is being started, its ports are open */
	struct error failure;                /* why it was not, while they are closed again */
	struct container *removing; /* REMOVECONTAINER waits until it is empty, or NULL … */
	struct timer removal;       /* … until then; or a NEWCONTAINER of its id waits: */
	const struct container_spec *replacement; /* borrowed from the message */
	const char *cut;                          /* why nothing more is to be started, or NULL */
	/* What was asked for last is over: err NULL, or why it failed. */
	void (*on_done)(struct containers *containers, const struct error *err);
};

/* Closed. */
void containers_init(struct containers *containers, const struct container_setting *setting,
	void (*on_done)(struct containers *containers, const struct error *err));

/* The pod has its namespaces. `lists` may be NULL: no ports are mapped; they are copied to `arena`. 0,
 * or -1 with err. */
int containers_open(struct containers *containers, const struct white_lists_spec *lists,
	struct arena *arena, struct error *err);

/* These begin something; one at a time. 0: on_done will tell; or -1 with err, and nothing has
 * changed. The spec must stay until then. */
int containers_start(
	struct containers *containers, const struct container_spec *spec, struct error *err);
int containers_exec(struct containers *containers, const struct exec_spec *spec, struct error *err);
/* A stopped one: done when every trace of it is gone. */
int containers_remove(struct containers *containers, const char *id, struct error *err);

/* What is begun is killed; on_done tells the reason (static text). */
void containers_cancel(struct containers *containers, const char *reason);

/* Or NULL with err. */
struct container *containers_find(struct containers *containers, const char *id, struct error *err);

/* The end of the pod. From here on they are closed: none comes, and none goes before it is forgotten.
 * SIGTERM to every process, unless they are told already; SIGKILL, and no port is mapped any more. */
void containers_terminate(struct containers *containers, bool are_told);
void containers_kill(struct containers *containers);

/* No process that was started runs. */
bool containers_are_quiet(const struct containers *containers);
/* No process is left. */
bool containers_are_dead(const struct containers *containers);
/* Nor has any one of which the end is to be told, or a child at work to remove it. */
bool containers_are_at_rest(const struct containers *containers);

/* Those that are not at rest are of no pod any more; each goes when it comes to rest. Returns how many
 * mount namespaces the others have. */
size_t containers_settle(struct containers *containers, int mount_ns[CONTAINERS_MAX]);
/* All of them; see container_free(). */
void containers_forget(struct containers *containers, bool are_unmounted);

#endif
