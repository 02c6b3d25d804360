/* SPDX-License-Identifier: Apache-2.0 */
/* Cgroups in which a container may have made some of its own: joined, read, signalled, removed.
 *
 * Their number is the container's choice, up to CGROUPS_BELOW_MAX: only children of the agent walk them. */
#ifndef CHILD_CGROUP_H
#define CHILD_CGROUP_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* The caller becomes a member. Where the container has enabled a controller for its own cgroups the kernel
 * refuses that (EBUSY); then the caller joins the cgroup and the cgroup namespace of the process `beside`, a
 * pid in the agent's procfs, 0: none. Returns whether it is in `cgroup` itself, its namespace unchanged. */
bool child_cgroup_join(int cgroup, pid_t beside);

/* All processes in it and below, by their pids in our PID namespace, in static memory. One that starts, ends
 * or moves meanwhile may be listed twice or not. It ends, however fast others fork. */
const pid_t *child_cgroup_pids(int cgroup, size_t *count);

struct child_cgroup_signal {
	int cgroup;
	int signal;
};

/* Worker: the signal to every process in it and below. Those that joined first get it last: when the first
 * process of a container ends the others are killed. One that is forked meanwhile may be missed. */
_Noreturn void child_cgroup_signal(const void *child_cgroup_signal);

struct child_cgroup_remove {
	int parent;
	const char *name;
};

/* Worker: removes it and those below it, as far as they are empty. */
_Noreturn void child_cgroup_remove(const void *child_cgroup_remove);

#endif
