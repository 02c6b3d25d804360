/* SPDX-License-Identifier: Apache-2.0 */
/* What a process may do: its limits, its identity and its capabilities. */
#ifndef CHILD_PRIVILEGES_H
#define CHILD_PRIVILEGES_H

#include <sys/resource.h>

#include "child/user.h"
#include "spec/spec.h"

struct child_privileges {
	const struct process_spec *process;
	const struct child_user *user;
	struct rlimit nofile; /* unless the process has one of its own */
	int root;             /* of the container: an fd */
};

/* For good, so last before execve: the limits, no_new_privs, user and groups, the five sets. May
 * die. */
void child_privileges_take(const struct child_privileges *privileges);

#endif
