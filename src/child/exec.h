/* SPDX-License-Identifier: Apache-2.0 */
/* From fork to execve: the first process of a container, or one more in it. */
#ifndef CHILD_EXEC_H
#define CHILD_EXEC_H

#include <sys/types.h>

#include "base/settings.h"
#include "spec/spec.h"

/* Made by the daemon before the fork; the child reads its copy. All fds are the child's to use. */
struct child_exec {
	const struct process_spec *process;
	const struct container_spec *container; /* the first process: build this root; else NULL */
	const struct env_spec *container_envs;  /* an exec inherits them */
	size_t container_envs_count;
	const char *hostname;    /* "": the pod has none */
	const char *cgroup_path; /* see child/rootfs.h */
	const struct settings *settings;
	uint64_t until_ms; /* how long disks are awaited: clock_now() */

	int uts_ns, ipc_ns;
	int mount_ns; /* exec: the container's; -1: the caller is in a fresh copy of the agent's */
	int cgroup;   /* the container's; -1: none */
	pid_t first;  /* exec: the container's first process; 0: the agent is the container */
	int device_filter; /* first process: what devices may be opened in it; -1: any */
	int devpts;        /* detached devpts mount, for the first process to attach; exec: -1 */
	int terminal;      /* the slave, or -1 */
	int stdio[3];      /* child's ends; -1 where the terminal takes their place */
};

/* In the pod's PID namespace. Joins UTS and IPC (and for an exec the container's mount
 * namespace), its cgroup, makes or enters the root, user, groups, cwd, environment, stdio and
 * session, then execve. Never returns; on trouble die(). The argument is a struct child_exec. */
_Noreturn void child_exec_main(const void *child_exec);

/* As execvp, but by the PATH that the program will have: the path of `name`, which may lie in found[size];
 * an empty element of PATH is the current directory. NULL with errno: ENOENT, or EACCES if none of those
 * that there are can be executed. */
const char *program_find(const char *name, const char *path, char *found, size_t size);

#endif
