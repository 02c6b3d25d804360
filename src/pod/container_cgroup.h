/* SPDX-License-Identifier: Apache-2.0 */
/* A container's cgroup: made with its limits, and removed when the kernel says that it is empty. */
#ifndef CONTAINER_CGROUP_H
#define CONTAINER_CGROUP_H

#include <linux/limits.h>

#include "pod/spawn.h"
#include "spec/spec.h"

struct container_cgroup {
	struct spawner *spawner; /* these three: borrowed */
	const int *parent;       /* the pod's cgroup; -1: there are none */
	const char *id;          /* the container's */
	struct spawn remover;    /* removes those that the container made below it */
	int fd;                  /* owned; -1: none, or removed */
	struct timer removal;
	uint32_t removal_ms;
	bool is_urgent;     /* somebody waits for the removal: not for long */
	uint64_t oom_kills; /* that were told */
	void (*on_removed)(struct container_cgroup *cgroup);
};

/* Holds nothing yet. */
void container_cgroup_init(struct container_cgroup *cgroup, struct spawner *spawner,
	const int *parent, void (*on_removed)(struct container_cgroup *cgroup));

/* `constraints` may be NULL. 0, also where there are no cgroups; or -1 with err. */
int container_cgroup_open(struct container_cgroup *cgroup, const char *id,
	const struct constraints_spec *constraints, struct error *err);

/* Where it is, if the agent's is at `parent`; NULL: nowhere. */
const char *container_cgroup_path(
	const struct container_cgroup *cgroup, const char *parent, char path[PATH_MAX]);

/* on_removed as soon as no process is left in it, at once if there is none; or, when it is urgent and
 * one does not go, all the same. */
void container_cgroup_remove(struct container_cgroup *cgroup);

/* Of a process that ended with 137: that the kernel took it for want of memory, if that is so. */
void container_cgroup_tell_oom(struct container_cgroup *cgroup, const char *process);

/* Nobody will be told. With one in which no process ever was, nothing is left. */
void container_cgroup_close(struct container_cgroup *cgroup);

#endif
