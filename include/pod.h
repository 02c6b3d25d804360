/* SPDX-License-Identifier: Apache-2.0 */
/* The pod: its namespaces, how it begins and how it ends. */
#ifndef POD_H
#define POD_H

#include "containers.h"
#include "worker.h"

enum pod_state {
	POD_NONE,        /* no namespace, no container */
	POD_PREPARING,   /* a worker mounts the share and writes the pod's files */
	POD_STARTING,    /* its init is being set up */
	POD_FILLING,     /* the containers that STARTPOD brought are started in order */
	POD_RUNNING,     /* containers may come and go */
	POD_TERMINATING, /* SIGTERM was sent to every process */
	POD_KILLING,     /* SIGKILL was */
	POD_TELLING,     /* no process is left; ends are told */
	POD_RELEASING,   /* a worker unmounts and syncs */
};

struct pod {
	enum pod_state state;
	struct container_setting setting; /* the namespace fds are owned */
	struct worker *worker;            /* borrowed */
	const char *share_dir;            /* borrowed */
	int cgroup_parent;                /* borrowed; -1: none */
	const char *cgroup_dir;           /* borrowed: where that is */
	struct arena arena;               /* owned: hostname, cgroup_path */
	struct containers containers;
	int device_filter; /* owned: see container.c */
	struct spawn init;
	struct timer patience;     /* of TERMINATING and what follows … */
	bool is_impatient;         /* … and that it is over */
	uint64_t written;          /* RELEASING: writeback_count() so far … */
	uint64_t release_until_ms; /* … and how long at most it may grow */
	bool failed;               /* it ends because its start failed, for this reason: */
	struct error failure;
	uint8_t *before;             /* owned: how the network was, until RUNNING; or NULL */
	const struct pod_spec *spec; /* borrowed from the message until RUNNING */
	uint64_t begun_ms; /* clock_now() of its STARTPOD; 0 once its first container was told */
	size_t filled;     /* how many of its containers were begun */
	const char *cut;   /* why the start is not to go on, or NULL */
	/* What was asked for last is over: err NULL, or why it failed. */
	void (*on_done)(struct pod *pod, const struct error *err);
};

struct pod_options {
	struct process_table *table;
	struct worker *worker;
	const char *run_dir;
	const char *share_dir;  /* instead of what has its tag, or NULL */
	int cgroup_parent;      /* -1: no cgroups */
	const char *cgroup_dir; /* where it is */
	struct rlimit nofile;
	const struct capabilities_spec *capabilities; /* see container.h */
	void (*on_done)(struct pod *pod, const struct error *err);
};

void pod_init(struct pod *pod, const struct pod_options *options);

/* 0: on_done will tell; or -1 with err, and nothing has changed. The spec must stay until then. */
int pod_start(struct pod *pod, const struct pod_spec *spec, struct error *err);
/* SIGTERM, up to 2 s, SIGKILL, ends told, unmount, sync: on_done within 9 s, never with err; later, but
 * within a minute, while the kernel still writes what containers left. Also when there is no pod. */
void pod_destroy(struct pod *pod);

/* What is being set up is killed; on_done tells the reason (static text). */
void pod_cancel(struct pod *pod, const char *reason);

/* Takes the next step of an end, when it is time. Before every sleep. */
void pod_pump(struct pod *pod);

#endif
