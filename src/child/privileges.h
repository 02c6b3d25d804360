/* SPDX-License-Identifier: Apache-2.0 */
/* What a process may do: its limits, its system calls, its identity and its capabilities. */
#ifndef CHILD_PRIVILEGES_H
#define CHILD_PRIVILEGES_H

#include <sys/resource.h>

#include "child/user.h"
#include "spec/spec.h"

/* Irreversible, so last before execve: the limits (of open files `nofile`, unless the process has its own),
 * no_new_privs, the system calls that a process without CAP_SYS_ADMIN must not make, user and groups, the
 * five sets. `root` is the container's, an fd. May die. */
void child_privileges_take(const struct process_spec *process, const struct child_user *user,
	const struct rlimit *nofile, int root);

#endif
