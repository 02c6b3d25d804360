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
	uint64_t until_ms;           /* until when to wait for disks: clock_now() */
	struct device_list *devices; /* gets those that are given by name; or NULL */
};

/* build and empty work on the calling process's mount namespace, a fresh copy of the agent's: what they
 * make becomes "/" and the current directory; nothing else stays mounted. All three may die. */

/* The caller is in the pod's PID, IPC and UTS namespaces. */
void child_rootfs_build(const struct child_rootfs *rootfs);

/* Below `root`, the container's "/": covers or makes read-only what shows the whole guest, or works on
 * it. Only for a container that may not mount: another could unmount the covers. */
void child_rootfs_mask(int root);

/* An empty, read-only root. */
void child_rootfs_empty(const char *run_dir);

#endif
