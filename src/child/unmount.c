/* SPDX-License-Identifier: Apache-2.0 */
/* The end of containers' mounts. */
#include "child/unmount.h"

#include <errno.h>
#include <sched.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fork.h"
#include "child/child.h"
#include "child/portmap.h"

/* All roots: a container that may mount may have put one over another. EINVAL: only the first one is left,
 * which is locked. */
static int all_detach(int mount_ns)
{
	do {
		if (setns(mount_ns, CLONE_NEWNS) < 0)
			return -1;
	} while (umount2("/", MNT_DETACH) == 0);
	return errno == EINVAL ? 0 : -1;
}

void child_unmount_main(const void *child_unmount)
{
	const struct child_unmount *unmount = child_unmount;
	struct error err = {.text = ""};

	if (unmount->chain)
		portmap_close_ports(unmount->chain, unmount->limit_ms, &err);
	/* The root is released when this process enters another namespace, or ends. */
	if (unmount->mount_ns >= 0 && all_detach(unmount->mount_ns) < 0)
		die_errno("unmount");
	report_done(err.text, strlen(err.text));
}

size_t child_unmount_all(const int *mount_ns, size_t count)
{
	size_t failed = 0;
	int status;

	for (size_t i = 0; i < count; i++) {
		pid_t pid = fork_raw();

		if (pid == 0) {
			/* Without the worker's report pipe: the worker may be killed while this process
			 * waits for a disk. */
			dup2(mount_ns[i], STDIN_FILENO);
			syscall(SYS_close_range, STDERR_FILENO + 1, ~0U, 0);
			_exit(all_detach(STDIN_FILENO) < 0);
		}
		failed += pid < 0;
	}
	while (wait(&status) > 0)
		failed += status != 0;
	return failed;
}
