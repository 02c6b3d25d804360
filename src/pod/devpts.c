/* SPDX-License-Identifier: Apache-2.0 */
/* A devpts of a container's own, attached nowhere. */
#include "pod/devpts.h"

#include <errno.h>
#include <linux/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/count.h"

/* Terminals of a container: with kernel.pty.max as boot sets it all containers may have as many. */
#define DEVPTS_MAX "1024"

int devpts_open(struct error *err)
{
	static const char *const options[][2] = {
		{"ptmxmode", "0666"},
		{"mode", "0620"},
		{"gid", "5"},
		{"max", DEVPTS_MAX},
	};
	int fs = (int)syscall(SYS_fsopen, "devpts", FSOPEN_CLOEXEC), devpts = -1;

	if (fs < 0)
		return error_errno(err, "devpts");
	syscall(SYS_fsconfig, fs, FSCONFIG_SET_FLAG, "newinstance", NULL, 0);
	for (size_t i = 0; i < COUNT(options); i++)
		syscall(SYS_fsconfig, fs, FSCONFIG_SET_STRING, options[i][0], options[i][1], 0);
	if (syscall(SYS_fsconfig, fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) == 0)
		devpts = (int)syscall(
			SYS_fsmount, fs, FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC);
	if (devpts < 0)
		error_errno(err, "devpts");
	close(fs);
	return devpts;
}
