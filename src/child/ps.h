/* SPDX-License-Identifier: Apache-2.0 */
/* PSCONTAINER: what runs in a container, as ps shows it. */
#ifndef CHILD_PS_H
#define CHILD_PS_H

#include <stdbool.h>

struct child_ps {
	int cgroup; /* the container's; its cgroup.procs lists the processes, by the agent's pids */
	int mount_ns;              /* the container's; user names come from its passwd */
	bool json;                 /* an array of pids */
	const char *const *psargs; /* NULL-terminated or NULL: what ps(1) would be given */
};

/* Worker: report_done() with the text. die() names a psarg that is not understood. The argument is
 * a struct child_ps. */
_Noreturn void child_ps_main(const void *child_ps);

#endif
