/* SPDX-License-Identifier: Apache-2.0 */
/* The end of containers' mounts. */
#include "child_unmount.h"

#include <errno.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "child.h"

/* EINVAL: there is nothing any more; the report of the one who did it was lost. */
static int root_detach(void)
{
	return umount2("/", MNT_DETACH) < 0 && errno != EINVAL ? -1 : 0;
}

void child_unmount_main(const void *child_unmount)
{
	const struct child_unmount *plan = child_unmount;

	/* The root itself goes with this process, which has it as its own. */
	if (setns(plan->mount_ns, CLONE_NEWNS) < 0 || root_detach() < 0)
		die_errno("unmount");
	report_done(NULL, 0);
}

static _Noreturn void unmount_apart(int mount_ns)
{
	if (setns(mount_ns, CLONE_NEWNS) < 0)
		_exit(1);
	/* The report pipe is the worker's alone: it may be killed while this one waits for a disk. */
	syscall(SYS_close_range, STDERR_FILENO + 1, ~0U, 0);
	_exit(root_detach() < 0);
}

size_t child_unmount_all(const int *mount_ns, size_t count)
{
	size_t failed = 0;
	int status;

	for (size_t i = 0; i < count; i++) {
		pid_t pid = fork();

		if (pid == 0)
			unmount_apart(mount_ns[i]);
		failed += pid < 0;
	}
	while (wait(&status) > 0)
		failed += status != 0;
	return failed;
}
