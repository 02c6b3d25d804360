/* SPDX-License-Identifier: Apache-2.0 */
/* From fork to execve: the first process of a container, or one more in it. */
#ifndef CHILD_EXEC_H
#define CHILD_EXEC_H

#include <sys/types.h>

#include "base/settings.h"
#include "child/user.h"
#include "spec/spec.h"

/* Made before the fork; the child has a copy, and all these fds. */
struct child_exec {
	const struct process_spec *process;
	const struct container_spec *container; /* the first process: build this root; else NULL */
	const struct env_spec *container_envs;  /* an exec inherits them */
	size_t container_envs_count;
	const char *hostname;    /* "": the pod has none */
	const char *cgroup_path; /* see child/rootfs.h */
	const struct settings *settings;
	/* See child/user.h; what an exec learns is EXECUTING's result. Most containers see no exec. */
	const struct user_known *known;
	uint64_t until_ms; /* until when to wait for disks: clock_now() */

	int namespaces; /* a pidfd of the pod's init; -1: stays in the agent's */
	int mount_ns; /* exec: the container's; -1: the caller is in a fresh copy of the agent's */
	int cgroup;   /* the container's; -1: none */
	pid_t first;  /* exec: the container's first process; 0: in the agent's own container */
	int device_filter; /* first process: what devices may be opened in it; -1: any */
	int devpts;        /* detached devpts mount, for the first process to attach; exec: -1 */
	int terminal;      /* the slave, or -1 */
	int stdio[3];      /* child's ends; -1 where the terminal takes their place */
};

/* In the pod's PID namespace: joins UTS, IPC, the cgroup and, for an exec, the container's mount namespace;
 * makes or enters the root; sets user, groups, cwd, environment, stdio and session; then execve. The argument
 * is a struct child_exec. */
_Noreturn void child_exec_main(const void *child_exec);

/* As execvp() looks up `name`, but by the PATH that the program will have; an empty element of it is the current
 * directory. The result may lie in found[size]. NULL with errno: ENOENT, or EACCES if no file with that name
 * can be executed. */
const char *program_find(const char *name, const char *path, char *found, size_t size);

#endif
