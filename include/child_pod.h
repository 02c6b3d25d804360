/* SPDX-License-Identifier: Apache-2.0 */
/* The two children of STARTPOD: the worker that prepares what all containers share, and the pod
 * init that holds the pod's namespaces. */
#ifndef CHILD_POD_H
#define CHILD_POD_H

#include "spec.h"

struct child_pod {
	const struct pod_spec *spec;
	const char
		*run_dir; /* the agent's own tmpfs: share/, root/, resolv.conf, hosts, hostname */
	const char *share_dir; /* stands in for the 9p share where the kernel has no 9p, or NULL */
	int cgroup_procs;      /* pod init: its leaf's cgroup.procs, -1: none */
	uint32_t deadline_ms;  /* prepare: that it has */
	/* release, of a pod that could not be started: what prepare reported; or NULL */
	void *before;
};

/* Worker, in the agent's own namespaces: mounts the share (9p over virtio, tag spec->share_dir)
 * on run_dir/share, writes run_dir/{resolv.conf,hosts,hostname}, makes run_dir/root, sets up the
 * network and its port mapping, then report_done() with what they were before. The argument is a
 * struct child_pod. */
_Noreturn void child_pod_prepare(const void *child_pod);

/* Worker: undoes it. Restores the network, syncs, unmounts the share, report_done(). */
_Noreturn void child_pod_release(const void *child_pod);

/* First process of a new PID namespace: takes new UTS, IPC and mount namespaces, sets the host
 * name, moves into an empty read-only root, becomes non-dumpable, writes the record DONE, and
 * reaps for ever. */
_Noreturn void child_pod_init(const void *child_pod);

#endif
