/* SPDX-License-Identifier: Apache-2.0 */
/* A container's root: its image, base mounts and /dev, and nothing of the guest in sight. */
#ifndef CHILD_ROOTFS_H
#define CHILD_ROOTFS_H

#include "spec.h"

/* Both work on the calling process's mount namespace, a fresh copy of the agent's: what they build
 * becomes "/" and the current directory, and all else is gone from the namespace. They may die. */

/* The caller is in the pod's PID and IPC namespaces. `devpts` is a detached mount, attached on
 * /dev/pts; `console`, a pty slave or -1, is bound on /dev/console. */
void child_rootfs_build(
	const struct container_spec *container, const char *run_dir, int devpts, int console);

/* Below `root`, the container's "/": what tells of the guest as a whole, or works on it, is covered or
 * made read-only. For a container that may not mount: another takes that off again. */
void child_rootfs_guard(int root);

/* A root with nothing in it, which takes nothing. */
void child_rootfs_empty(const char *run_dir);

#endif
