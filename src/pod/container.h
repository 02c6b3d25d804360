/* SPDX-License-Identifier: Apache-2.0 */
/* One container: its mount namespace, terminals and cgroup, and the processes in it. */
#ifndef CONTAINER_H
#define CONTAINER_H

#include "pod/process.h"

#define CONTAINER_AGENT "hyperstart"

/* What a pod gives each of its containers. */
struct pod_context {
	struct shared *shared;
	const char *hostname; /* all borrowed from the pod */
	int namespaces;       /* a pidfd of the pod's init, which holds them */
	int cgroup;           /* the pod's; -1: no cgroups */
	int *device_filter;   /* for containers that may not mount; see container.c */
	const struct white_lists_spec *lists; /* who may reach mapped ports; NULL: none is mapped */
};

/* No container has needed it yet; -1: the kernel has none. */
#define DEVICE_FILTER_UNTRIED (-2)

/* How far a container is on its way to its end. */
enum container_state {
	CONTAINER_RUNNING,    /* a process that was started in it runs */
	CONTAINER_STOPPING,   /* none does; the kernel has yet to say that its cgroup is empty */
	CONTAINER_REPORTING,  /* no process is left in it; the end of some is not reported yet */
	CONTAINER_UNMOUNTING, /* a child unmounts it */
	CONTAINER_FINISHED,   /* it waits for nothing */
};

struct container {
	struct list node; /* in containers->list */
	const struct pod_context *pod;
	struct arena arena; /* owned: ids and envs */
	const char *id;
	struct env_spec *envs;
	size_t envs_count;
	struct capabilities_spec *capabilities; /* of a process that names none; NULL: all … */
	struct capabilities_spec described;     /* … or these, which NEWCONTAINER named */
	int mount_ns;                           /* owned; -1: none yet, or unmounted */
	int devpts;                             /* owned */
	int cgroup;                             /* owned; -1: none, or removed */
	char cgroup_name[sizeof("c-") + ID_MAX];
	struct user_known *known;          /* owned: see child/user.h; NULL: nothing yet */
	uint64_t oom_kills;                /* in it, logged so far */
	unsigned chain;                    /* of the packet filter, for its ports; 0: none */
	const struct container_spec *spec; /* borrowed from the message until it has started */
	struct spawn worker;    /* opens its ports; removes cgroups; closes ports and unmounts */
	struct timer retry;     /* the next try of a step of its removal … */
	uint32_t retry_ms;      /* … and the last delay between two tries to remove the cgroup */
	bool is_agent;          /* the agent's own place: there is no first process */
	bool has_failed;        /* to start: request.failure is why */
	bool remove_when_empty; /* to be removed as soon as it is empty … */
	bool is_requested;      /* … and then the request is done */
	bool is_unmounting;     /* a child has begun to: its root must not be used any more */
	struct process init;    /* the first one; with an id, the container is removed after it */
	struct list processes; /* struct process, the youngest first; until their end is reported */
};

/* Returns a container whose first process is being set up: the request is done when its program runs, or
 * when it has failed and nothing of it is left. Or NULL with err. */
struct container *container_start(
	const struct pod_context *pod, const struct container_spec *spec, struct error *err);

/* The container CONTAINER_AGENT: processes in the agent's own namespaces and root, a cgroup of their
 * own. NULL with err. */
struct container *container_open_agent(const struct pod_context *pod, struct error *err);

/* Another process in it. 0: the request is done when its program runs or has failed; or -1 with err. */
int container_exec(struct container *container, const struct process_spec *spec, struct error *err);

/* Its first process runs, whatever others do (see CONTAINER_RUNNING); `hyperstart` always runs. */
bool container_is_running(const struct container *container);
/* Derived from its processes, its cgroup and its worker. */
enum container_state container_state(const struct container *container);

/* Its process with that id, or NULL. */
struct process *container_find_process(struct container *container, const char *id);

/* To the first process; with all, to each that was started in it. SIGKILL ends everything in it. */
void container_signal(struct container *container, int signal, bool all);

/* SIGKILL to everything in it, fork bombs included. */
void container_kill(struct container *container);

/* As soon as it is empty, a child unmounts what is mounted in it, and it is freed. When it is requested, the
 * request is done then; if it cannot be removed in time it stays, and the request fails. */
void container_remove(struct container *container, bool is_requested);

/* Removes it from its list and frees it. Only when it has no process and no child. What is mounted in it
 * was unmounted by a child, or stays mounted: the agent itself does not wait for disks. */
void container_free(struct container *container, bool is_unmounted);

#endif
