/* SPDX-License-Identifier: Apache-2.0 */
/* READFILE and WRITEFILE: one file inside a container's mounts. */
#include "child/files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <linux/magic.h>

#include "base/queue.h"
#include "child/child.h"
#include "child/mount.h"
#include "child/path.h"
#include "limits.h"

/* A read of 4 MiB from a sysctl fails with ENOMEM. */
#define READ_SIZE (128 * KIB)

/* Opens the file, which must be a regular one, from inside the container. */
static int open_file(const struct child_files *files, int flags)
{
	struct stat st;
	int root = child_mount_enter(files->mount_ns);
	int fd = child_path_open(root, files->file, flags | O_NONBLOCK | O_NOCTTY), made;

	if (fd < 0 && errno == ENOENT && flags & O_CREAT &&
		(made = child_path_file_behind_links(root, files->file)) >= 0) {
		close(made);
		fd = child_path_open(root, files->file, flags | O_NONBLOCK | O_NOCTTY);
	}
	if (fd < 0 && errno == ELOOP)
		die("'%s': too many symlinks, or a magic one of /proc", files->file);
	/* ENXIO: a fifo that nobody reads. */
	if (fd < 0 && errno != ENXIO)
		die_errno("'%s'", files->file);
	if (fd < 0 || fstat(fd, &st) < 0 || S_ISDIR(st.st_mode) || !S_ISREG(st.st_mode))
		die("'%s': not a regular file", files->file);
	return fd;
}

void child_files_read(const void *child_files)
{
	const struct child_files *files = child_files;
	int fd = open_file(files, O_RDONLY);
	uint8_t *bytes = malloc(RESULT_MAX + 1);
	size_t length = 0;
	ssize_t n = 1;

	if (!bytes)
		die("'%s': out of memory", files->file);
	/* Not by st_size: procfs has files of size 0, and others shrink and grow. */
	while (n > 0 && length <= RESULT_MAX) {
		size_t left = RESULT_MAX + 1 - length;

		n = io_read(fd, bytes + length, left < READ_SIZE ? left : READ_SIZE);
		if (n > 0)
			length += (size_t)n;
	}
	if (n == IO_ERROR)
		die_errno("read '%s'", files->file);
	if (length > RESULT_MAX)
		die("'%s': larger than %u bytes", files->file, RESULT_MAX);
	report_done(bytes, length);
}

void child_files_write(const void *child_files)
{
	const struct child_files *files = child_files;
	int fd = open_file(files, O_WRONLY | O_CREAT);
	struct statfs fs;
	size_t written = 0;
	ssize_t n;

	/* A container's symlink may lead to core_pattern or sysrq-trigger, which this child may write and
	 * the container may not. */
	if (fstatfs(fd, &fs) < 0)
		die_errno("'%s'", files->file);
	if (fs.f_type == PROC_SUPER_MAGIC || fs.f_type == SYSFS_MAGIC)
		die("'%s': files of procfs and sysfs are not written", files->file);
	/* Not O_TRUNC in open(): what is not a regular file stays as it is. */
	if (ftruncate(fd, 0) < 0)
		die_errno("truncate '%s'", files->file);
	while (written < files->length) {
		n = io_write(fd, files->data + written, files->length - written);
		if (n <= 0)
			die_errno("write '%s'", files->file);
		written += (size_t)n;
	}
	/* 9p and quotas report some errors only on close. */
	if (close(fd) < 0)
		die_errno("write '%s'", files->file);
	report_done(NULL, 0);
}
