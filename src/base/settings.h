/* SPDX-License-Identifier: Apache-2.0 */
/* What boot, or the command line, decides for the life of the agent. */
#ifndef SETTINGS_H
#define SETTINGS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/resource.h>

struct settings {
	/* Each port is a character device, or a listening socket whose connections are the host. */
	int control_fd, tty_fd;
	bool listening;
	uint32_t peer_cid;      /* who may connect, by vsock; 0: anyone who can */
	bool ready_again;       /* READY is each host's, not only the first one's */
	const char *run_dir;    /* an empty directory of the agent's own */
	const char *share_dir;  /* bound in place of the share; NULL: 9p or virtiofs, by its tag */
	const char *cgroup_dir; /* cgroup v2 directory that is ours; NULL: no cgroups */
	uint32_t api;           /* GETVERSION's answer */
	uint32_t deadline_ms;   /* for a child that sets something up */
	uint32_t devices_ms;    /* for a disk or network interface that is not there yet */
	struct rlimit nofile;   /* what processes get */
	uint32_t watch_ms;      /* a container that holds the agent for so long is killed */
	bool docker_caps;       /* for containers that name no capabilities: Docker's, not all */
	int64_t last_command;   /* the last command's code, reported with a fault; -1: none */
	/* NULL, or called once: right after READY was written, or queued because it has to wait. */
	void (*after_ready)(struct settings *settings);
};

#endif
