/* SPDX-License-Identifier: Apache-2.0 */
/* New file systems as fds. musl 1.2.3 knows none of these system calls. */
#include "base/mount.h"

#include <sys/syscall.h>
#include <unistd.h>

#include "base/count.h"
#include "base/file.h"

static int option_set(int fs, const char *key, const char *value)
{
	return (int)syscall(
		SYS_fsconfig, fs, value ? FSCONFIG_SET_STRING : FSCONFIG_SET_FLAG, key, value, 0);
}

int mount_open(const char *type)
{
	return (int)syscall(SYS_fsopen, type, FSOPEN_CLOEXEC);
}

int mount_make(const struct mount_plan *plan)
{
	int fs = mount_open(plan->type), fd = -1, rc;

	if (fs < 0)
		return -1;
	rc = option_set(fs, "source", plan->source ? plan->source : plan->type);
	if (rc == 0 && plan->superblock_is_read_only)
		rc = option_set(fs, "ro", NULL);
	for (size_t i = 0; rc == 0 && i < COUNT(plan->options) && plan->options[i][0]; i++)
		rc = option_set(fs, plan->options[i][0], plan->options[i][1]);
	if (rc == 0 && syscall(SYS_fsconfig, fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) == 0)
		fd = (int)syscall(SYS_fsmount, fs, FSMOUNT_CLOEXEC, plan->attributes);
	fd_close(&fs);
	return fd;
}
