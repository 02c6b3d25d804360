/* SPDX-License-Identifier: Apache-2.0 */
/* The mapped ports of the pod's containers, and the packet filter that follows them. */
#ifndef PORTMAP_H
#define PORTMAP_H

#include "child_portmap.h"
#include "worker.h"

struct portmap {
	struct worker worker; /* its own slot: a container may end while a command runs */
	uint32_t deadline_ms;
	struct white_lists_spec lists; /* borrowed from the pod's arena */
	bool is_on;                    /* the pod has white lists */
	bool is_stale;                 /* a change came while the worker was busy with another */
	struct list entries;
	/* Who waits for the change that he asked for; NULL: nobody. */
	void (*on_done)(void *context, const struct error *err);
	void *context;
	bool waits_for_next;         /* not for what the worker does now */
	struct portmap_entry *added; /* what he asked for; goes again when it fails … */
	bool failed;                 /* … which it did: what he waits for is that it is gone */
	struct error failure;
	const char *cut; /* why no rules are written any more, or NULL */
};

void portmap_init(struct portmap *portmap, struct spawner *spawner, uint32_t deadline_ms);

/* From now on ports are mapped; the rules for none are there. The lists are copied to `arena`. 0, or
 * -1 with err. */
int portmap_open(struct portmap *portmap, const struct white_lists_spec *lists, struct arena *arena,
	struct error *err);
/* Forgets all ports; the rules are left to whoever ends the pod. Nobody is told. */
void portmap_close(struct portmap *portmap);

/* Does the container have ports to be mapped? */
bool portmap_concerns(const struct portmap *portmap, const struct container_spec *container);

/* Opens its ports. 0: on_done tells when they are, or why not, nothing having changed; one at a time.
 * Or -1 with err. */
int portmap_add(struct portmap *portmap, const struct container_spec *container,
	void (*on_done)(void *context, const struct error *err), void *context, struct error *err);

/* Closes them. True: on_done, unless NULL, will tell when they are; false: nothing is to be done.
 * What the packet filter refuses is logged, and is no error. */
bool portmap_remove(struct portmap *portmap, const char *id,
	void (*on_done)(void *context, const struct error *err), void *context);

/* The change that is being made fails for this reason (static text), and all that would follow: the pod
 * is about to end. */
void portmap_cancel(struct portmap *portmap, const char *reason);
/* The end for which it was cancelled did not come: rules are written again. */
void portmap_resume(struct portmap *portmap);

#endif
