/* SPDX-License-Identifier: Apache-2.0 */
/* File systems as fds. musl 1.2.3 knows none of these system calls. */
#include "child/mount.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "child/child.h"
#include "child/path.h"

int child_mount_clone(int directory, const char *path, bool with_submounts)
{
	unsigned flags = AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC;

	return (int)syscall(
		SYS_open_tree, directory, path, flags | (with_submounts ? AT_RECURSIVE : 0));
}

void child_mount_setattr(int mount, uint64_t set, uint64_t clear, bool with_submounts)
{
	const struct mount_attr attr = {.attr_set = set, .attr_clr = clear};
	unsigned flags = AT_EMPTY_PATH | (with_submounts ? AT_RECURSIVE : 0);

	if (syscall(SYS_mount_setattr, mount, "", flags, &attr, sizeof(attr)) < 0)
		die_errno("set mount attributes");
}

int child_mount_attach(int mount, int at, const char *name)
{
	return (int)syscall(SYS_move_mount, mount, "", at, name,
		MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH);
}

void child_mount_attach_below(int mount, int parent, const char *name)
{
	int at;

	if (child_mount_attach(mount, parent, name) == 0)
		return;
	if (mkdirat(parent, name, 0755) < 0 && errno != EEXIST)
		die_errno("create mount point '%s'", name);
	at = child_path_open(parent, name, O_PATH | O_DIRECTORY | O_NOFOLLOW);
	if (at < 0)
		die_errno("mount point '%s'", name);
	if (child_mount_attach(mount, at, "") < 0)
		die_errno("mount on '%s'", name);
	close(at);
}

int child_mount_enter(int mount_ns)
{
	int root;

	if (mount_ns >= 0 && setns(mount_ns, CLONE_NEWNS) < 0)
		die_errno("enter the container's mounts");
	root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (root < 0)
		die_errno("open the container's root");
	return root;
}
