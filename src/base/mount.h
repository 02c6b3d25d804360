/* SPDX-License-Identifier: Apache-2.0 */
/* New file systems as fds, attached nowhere. */
#ifndef MOUNT_H
#define MOUNT_H

#include <linux/mount.h>
#include <stdbool.h>

#define MOUNT_NOTHING_SPECIAL (MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC)

struct mount_plan {
	const char *type;
	const char *source;           /* NULL: the type, as mount(8) and df show it */
	const char *options[5][2];    /* key, and value or NULL; one without a key ends them */
	unsigned attributes;          /* MOUNT_ATTR_ */
	bool superblock_is_read_only; /* a write-protected device takes no other */
};

/* The type's context for fsconfig(2): an fd, or -1 with errno. ENODEV: the kernel has no such type. */
int mount_open(const char *type);

/* A new file system, not attached: an fd that serves as its root directory; or -1 with errno. */
int mount_make(const struct mount_plan *plan);

#endif
