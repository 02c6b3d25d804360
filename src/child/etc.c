/* SPDX-License-Identifier: Apache-2.0 */
/* The files of /etc that a container has from its pod. */
#include "child/etc.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/count.h"
#include "base/file.h"
#include "child/child.h"
#include "child/mount.h"
#include "child/path.h"

/* What STARTPOD wrote into run_dir. */
static const struct etc_file {
	const char *name, *path;
	bool replace; /* the image's own, too; else only one that is missing or empty */
} etc_files[] = {
	/* Written only when the host gave name servers: then they are meant. */
	{"resolv.conf", "etc/resolv.conf", true},
	/* cc's runtime has put Docker's own, with its links, into the image. */
	{"hosts", "etc/hosts", false},
	{"hostname", "etc/hostname", false},
};

static void file_bind(int root, int run, const struct etc_file *file)
{
	struct stat st;
	int source, target;

	source = child_mount_clone(run, file->name, false);
	if (source < 0 && errno == ENOENT)
		return;
	if (source < 0)
		die_errno("pod's %s", file->name);
	/* An image's own may be a link to what a service would have made, as systemd's resolved does: then
	 * that is made. */
	target = child_path_file(root, file->path);
	/* A read-only image without the file: then the container has none. Nor, of what the host did
	 * not ask for, has any other that cannot. */
	if (target < 0 && errno != EROFS && file->replace)
		die_errno("bind /%s", file->path);
	if (target >= 0 && fstat(target, &st) < 0)
		die_errno("/%s", file->path);
	if (target >= 0 && (file->replace || st.st_size == 0)) {
		/* Shared by the whole pod: no container rewrites it for the others. */
		child_mount_limit(source, MOUNT_NOTHING_SPECIAL | MOUNT_ATTR_RDONLY, false);
		if (child_mount_attach(source, target) < 0)
			die_errno("bind /%s", file->path);
	}
	fd_close(&target);
	close(source);
}

void child_etc_bind(int root, int run)
{
	for (size_t i = 0; i < COUNT(etc_files); i++)
		file_bind(root, run, &etc_files[i]);
}

void child_etc_make(int root)
{
	int etc = child_path_directory(root, "etc"), fd;

	if (etc < 0)
		return;
	for (size_t i = 0; i < COUNT(etc_files); i++) {
		fd = child_path_file(root, etc_files[i].path);
		fd_close(&fd);
	}
	(void)!symlinkat("/proc/mounts", etc, "mtab");
	close(etc);
}
