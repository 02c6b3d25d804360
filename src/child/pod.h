/* SPDX-License-Identifier: Apache-2.0 */
/* The children of STARTPOD and DESTROYPOD: the pod's init, which makes what all containers share and holds
 * the namespaces, and a worker that releases all of it. */
#ifndef CHILD_POD_H
#define CHILD_POD_H

#include "base/settings.h"
#include "spec/spec.h"

struct child_pod {
	const struct pod_spec *spec;
	const struct settings *settings;
	int cgroup_parent, cgroup; /* the pod's, to be limited; -1: none */
	const int *mount_ns;       /* release: of the containers that are left */
	size_t mount_ns_count;
	void *network_undo; /* release, of a pod whose start failed: what its init reported; or NULL */
};

/* First process of a new PID namespace, otherwise in the agent's own: mounts the share (9p over virtio, else
 * virtiofs, of the tag spec->share_dir) on run_dir/share, a tmpfs on run_dir/shm and its procfs on
 * run_dir/proc, writes run_dir/{resolv.conf,hosts,hostname}, makes run_dir/root, limits the pod's
 * cgroup, sets up the network and the port mapping, and reports what undoes these two. Then it makes new UTS,
 * IPC and mount namespaces, sets the host name, moves into an empty read-only root, ends its report, and reaps until it is
 * killed. The argument is a struct child_pod, as for the one below. */
_Noreturn void child_pod_init(const void *child_pod);

/* Worker: undoes that. Unmounts all that the containers have and the share, syncs, then restores the network
 * from network_undo. */
_Noreturn void child_pod_release(const void *child_pod);

#endif
