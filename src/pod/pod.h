/* SPDX-License-Identifier: Apache-2.0 */
/* The pod: its namespaces, how it begins and how it ends. */
#ifndef POD_H
#define POD_H

#include "pod/containers.h"

enum pod_state {
	POD_NONE,        /* no namespace, no container */
	POD_STARTING,    /* its init makes what all containers share */
	POD_FILLING,     /* the containers that STARTPOD brought are started in order */
	POD_RUNNING,     /* containers may come and go */
	POD_TERMINATING, /* SIGTERM was sent to every process */
	POD_KILLING,     /* SIGKILL was */
	POD_REPORTING,   /* no process is left; the ends of some are not reported yet */
	POD_RELEASING,   /* a worker unmounts and syncs */
	POD_DESTROYED,   /* nothing is left, and no pod follows */
};

struct pod {
	enum pod_state state;
	struct pod_context context;    /* its fds are owned */
	struct spawn worker;           /* sends SIGTERM to all, releases */
	int cgroup_parent;             /* owned: the agent's; -1: no cgroups */
	struct arena arena;            /* owned: hostname, white lists */
	struct white_lists_spec lists; /* in the arena */
	struct containers containers;
	int device_filter; /* owned: see container.c */
	struct spawn init;
	struct timer overdue;      /* limits the present state, from TERMINATING on … */
	bool is_overdue;           /* … and has fired */
	uint64_t written;          /* RELEASING: writeback_count() so far … */
	uint64_t release_until_ms; /* … and how long at most it may grow */
	bool has_failed;           /* it ends because its start failed: request.failure */
	uint8_t *network_undo;     /* owned: undoes the changes of the network; NULL once RUNNING */
	const struct pod_spec *spec; /* borrowed from the message until RUNNING */
	size_t filled;               /* how many of its containers were started */
};

void pod_init(struct pod *pod, struct shared *shared);

/* 0: the request will be done; or -1 with err, and nothing has changed. The spec must stay until then. */
int pod_start(struct pod *pod, const struct pod_spec *spec, struct error *err);
/* SIGTERM, up to 2 s, SIGKILL, ends reported, unmount, sync: the request is done within 9 s, never with an
 * error; later, but within a minute, while the kernel still writes what containers left. Also when there
 * is no pod. */
void pod_destroy(struct pod *pod);

/* Takes the next step of its end, if it is time. Before every sleep. */
void pod_pump(struct pod *pod);

#endif
