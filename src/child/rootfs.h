/* SPDX-License-Identifier: Apache-2.0 */
/* A container's root: its image, base mounts, volumes and /dev, and nothing of the guest in sight. */
#ifndef CHILD_ROOTFS_H
#define CHILD_ROOTFS_H

#include "base/device_filter.h"
#include "spec/spec.h"

struct child_rootfs {
	const struct container_spec *container;
	const char *run_dir;         /* share/, shm/; root/ and volume/, mount points for anyone */
	const char *cgroup_path;     /* the container's, in the agent's mounts; NULL: none */
	int devpts;                  /* detached mount, attached on /dev/pts */
	int console;                 /* a pty slave, bound on /dev/console; -1: none */
	uint64_t until_ms;           /* how long disks are awaited: clock_now() */
	struct device_list *devices; /* gets those that are given by name; or NULL */
};

/* Both work on the calling process's mount namespace, a fresh copy of the agent's: what they build
 * becomes "/" and the current directory, and all else is gone from the namespace. They may die. */

/* The caller is in the pod's PID, IPC and UTS namespaces. */
void child_rootfs_build(const struct child_rootfs *rootfs);

/* Below `root`, the container's "/": what tells of the guest as a whole, or works on it, is covered or
 * made read-only. For a container that may not mount: another takes that off again. */
void child_rootfs_mask(int root);

/* A root with nothing in it, which takes nothing. */
void child_rootfs_empty(const char *run_dir);

#endif
