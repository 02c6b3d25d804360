/* SPDX-License-Identifier: Apache-2.0 */
/* Cgroups in which a container may have made some of its own: joined, read, signalled, removed.
 *
 * Their number is the container's choice, up to CGROUPS_BELOW_MAX; so only children of the daemon go
 * through them. */
#ifndef CHILD_CGROUP_H
#define CHILD_CGROUP_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* The caller becomes a member. The kernel lets nobody in where the container has handed a controller
 * on to its own cgroups (EBUSY); then it goes to where the process `beside` is, a pid in the agent's
 * procfs, 0 for none, and into the cgroup namespace of that one. Returns whether it is in `cgroup`
 * itself, and in the namespace that it was in. */
bool child_cgroup_join(int cgroup, pid_t beside);

/* Lists every process in it and below by its pid in our PID namespace, in static memory; one that
 * starts, ends or is moved meanwhile perhaps twice or not. Ends however fast others fork. */
const pid_t *child_cgroup_pids(int cgroup, size_t *count);

struct child_cgroup_signal {
	int cgroup;
	int signal;
};

/* The signal to every process in it and below, those that joined first last: when the first process of
 * a container ends the others are killed. One that is forked meanwhile may be missed. */
_Noreturn void child_cgroup_signal(const void *child_cgroup_signal);

struct child_cgroup_remove {
	int parent;
	const char *name;
};

/* What can be removed of it and of those below it is. */
_Noreturn void child_cgroup_remove(const void *child_cgroup_remove);

#endif
