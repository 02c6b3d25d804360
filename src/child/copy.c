/* SPDX-License-Identifier: Apache-2.0 */
/* A directory tree, copied as it is. Each step is taken by one name below an fd, and follows no
 * symlink: an image decides what is copied, but not where it lands. */
#include "child/copy.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <search.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/file.h"
#include "base/format.h"
#include "child/path.h"
#include "limits.h"

#define BLOCK        4096
#define BUFFER_BYTES (32 * BLOCK)
#define FD_PATH_MAX  32

/* A file with more than one name, and where its first copy is. */
struct linked {
	dev_t device;
	ino_t inode;
	char path[];
};

struct copy {
	int to;         /* root of the copy */
	dev_t device;   /* the one file system that is copied */
	void *linked;   /* tsearch's tree of struct linked */
	char *path;     /* of what is being copied, below the root */
	size_t length;  /* of it */
	unsigned depth; /* of it */
};

/* For the bytes of a file, and for the value of an attribute. */
static char buffer[BUFFER_BYTES], value[XATTR_SIZE_MAX];

/* A source, opened once (O_PATH) so that a rename cannot exchange it, and its destination. */
struct item {
	int from;
	struct stat status;
	int parent; /* of the copy */
	const char *name;
};

static int directory_copy(struct copy *copy, int from, int to);

static int linked_compare(const void *a, const void *b)
{
	const struct linked *left = a, *right = b;

	if (left->inode != right->inode)
		return left->inode < right->inode ? -1 : 1;
	if (left->device != right->device)
		return left->device < right->device ? -1 : 1;
	return 0;
}

static int close_with(int fd, int rc)
{
	fd_close(&fd);
	return rc;
}

/* 1: another name of a file that was copied, and now a link to it; 0: its first name; or -1. */
static int link_copy(struct copy *copy, const struct item *item)
{
	struct linked *linked, **found;
	int first;

	if (item->status.st_nlink < 2)
		return 0;
	linked = malloc(sizeof(*linked) + copy->length + 1);
	if (!linked)
		return -1;
	linked->device = item->status.st_dev;
	linked->inode = item->status.st_ino;
	memcpy(linked->path, copy->path, copy->length + 1);
	found = tsearch(linked, &copy->linked, linked_compare);
	if (found && *found == linked)
		return 0;
	free(linked);
	if (!found)
		return -1;
	first = child_path_open(copy->to, (*found)->path, O_PATH | O_NOFOLLOW);
	if (first < 0)
		return -1;
	return close_with(first, linkat(first, "", item->parent, item->name, AT_EMPTY_PATH)) < 0
		? -1
		: 1;
}

static int xattrs_copy(const char *from, const char *to)
{
	char names[XATTR_LIST_MAX];
	ssize_t length = listxattr(from, names, sizeof(names));

	if (length < 0)
		return errno == ENOTSUP ? 0 : -1;
	for (const char *name = names; name < names + length; name += strlen(name) + 1) {
		ssize_t size = getxattr(from, name, value, XATTR_SIZE_MAX);

		/* Removed meanwhile; or listed but not readable, as 9p does with a server's ACLs. */
		if (size < 0 && (errno == ENODATA || errno == ENOTSUP))
			continue;
		/* If the volume's file system has no such attributes, the copy has none. */
		if (size < 0 ||
			(setxattr(to, name, value, (size_t)size, 0) < 0 && errno != ENOTSUP))
			return -1;
	}
	return 0;
}

/* "/proc/self/fd/N": the file of the fd, also for calls that take no O_PATH fd, or no symlink. */
static const char *fd_path(int fd, char path[FD_PATH_MAX])
{
	format(path, FD_PATH_MAX, "/proc/self/fd/%d", fd);
	return path;
}

/* From one O_PATH fd to another. The order matters: a change of owner removes setuid bits and capabilities,
 * and every change sets the time. */
static int status_set(int from, int to, const struct stat *st)
{
	const struct timespec times[] = {st->st_atim, st->st_mtim};
	char from_path[FD_PATH_MAX], to_path[FD_PATH_MAX];

	fd_path(from, from_path);
	fd_path(to, to_path);
	if (fchownat(to, "", st->st_uid, st->st_gid, AT_EMPTY_PATH) < 0)
		return -1;
	if (!S_ISLNK(st->st_mode) && chmod(to_path, st->st_mode & 07777) < 0)
		return -1;
	if (xattrs_copy(from_path, to_path) < 0)
		return -1;
	return (int)syscall(SYS_utimensat, to, "", times, AT_EMPTY_PATH);
}

/* Blocks of zeros of a sparse file become holes. */
static int block_write(int to, const char *bytes, size_t length, off_t at, bool sparse)
{
	while (length > 0) {
		size_t block = length < BLOCK ? length : BLOCK;
		ssize_t n = (ssize_t)block;

		if (!sparse || bytes[0] != 0 || memcmp(bytes, bytes + 1, block - 1) != 0)
			n = pwrite(to, bytes, sparse ? block : length, at);
		if (n < 0)
			return -1;
		bytes += n;
		length -= (size_t)n;
		at += n;
	}
	return 0;
}

static int bytes_copy(int from, int to, const struct stat *st)
{
	bool sparse = st->st_blocks * 512 < st->st_size;
	off_t at = 0, data;
	ssize_t n = 1;

	while (n > 0 && at < st->st_size) {
		/* A file system without SEEK_DATA fails or returns `at`. ENXIO: only a hole is left. */
		data = sparse ? lseek(from, at, SEEK_DATA) : at;
		if (data < 0 && errno == ENXIO)
			break;
		if (data > at)
			at = data;
		n = pread(from, buffer, BUFFER_BYTES, at);
		if (n < 0 || block_write(to, buffer, (size_t)n, at, sparse) < 0)
			return -1;
		at += n;
	}
	return sparse ? ftruncate(to, st->st_size) : 0;
}

static int file_copy(const struct item *item)
{
	char path[FD_PATH_MAX];
	int from = open(fd_path(item->from, path), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	int to = openat(item->parent, item->name, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
	int rc = from >= 0 && to >= 0 ? bytes_copy(from, to, &item->status) : -1;

	fd_close(&from);
	/* Some file systems report a full disk only on close. */
	if (rc == 0)
		return close(to);
	return close_with(to, rc);
}

static int subdirectory_copy(struct copy *copy, const struct item *item)
{
	int to, rc;

	if (copy->depth >= COPY_DEPTH_MAX) {
		errno = ELOOP;
		return -1;
	}
	if (mkdirat(item->parent, item->name, 0700) < 0)
		return -1;
	to = openat(item->parent, item->name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (to < 0)
		return -1;
	copy->depth++;
	/* A mount point is copied, what is mounted there is not. */
	rc = item->status.st_dev == copy->device ? directory_copy(copy, item->from, to) : 0;
	copy->depth--;
	return close_with(to, rc);
}

static int contents_copy(struct copy *copy, const struct item *item)
{
	const mode_t mode = item->status.st_mode;
	char target[PATH_MAX];
	ssize_t length;

	if (S_ISDIR(mode))
		return subdirectory_copy(copy, item);
	if (S_ISREG(mode))
		return file_copy(item);
	if (!S_ISLNK(mode))
		return mknodat(item->parent, item->name, mode & S_IFMT, item->status.st_rdev);
	length = readlinkat(item->from, "", target, sizeof(target) - 1);
	if (length < 0)
		return -1;
	target[length] = '\0';
	return symlinkat(target, item->parent, item->name);
}

static int item_copy(struct copy *copy, int from, int parent, const char *name)
{
	struct item item = {
		.from = openat(from, name, O_PATH | O_NOFOLLOW | O_CLOEXEC),
		.parent = parent,
		.name = name,
	};
	int rc = item.from < 0 ? -1 : fstat(item.from, &item.status), to = -1;

	if (rc == 0 && !S_ISDIR(item.status.st_mode))
		rc = link_copy(copy, &item);
	if (rc == 0) {
		rc = contents_copy(copy, &item);
		if (rc == 0)
			to = openat(parent, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
		rc = to < 0 ? -1 : status_set(item.from, to, &item.status);
	}
	fd_close(&to);
	return close_with(item.from, rc < 0 ? -1 : 0);
}

/* A name behind the path; false: it would be too long. */
static bool path_append(struct copy *copy, const char *name)
{
	int length = format(copy->path + copy->length, PATH_MAX - copy->length, "%s%s",
		copy->length > 0 ? "/" : "", name);

	if (length >= (int)(PATH_MAX - copy->length)) {
		copy->path[copy->length] = '\0';
		errno = ENAMETOOLONG;
		return false;
	}
	copy->length += (size_t)length;
	return true;
}

/* The next entry but "." and ".."; NULL with errno, 0 at the end. */
static const char *name_next(DIR *entries)
{
	struct dirent *entry;

	do {
		errno = 0;
		entry = readdir(entries);
	} while (entry && (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0));
	return entry ? entry->d_name : NULL;
}

static DIR *directory_read(int directory)
{
	int fd = openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *entries = fd >= 0 ? fdopendir(fd) : NULL;

	if (!entries && fd >= 0)
		close(fd);
	return entries;
}

/* On failure copy->path is the path that could not be copied. */
static int directory_copy(struct copy *copy, int from, int to)
{
	size_t length = copy->length;
	DIR *entries = directory_read(from);
	const char *name;
	int why;

	if (!entries)
		return -1;
	while ((name = name_next(entries)) != NULL) {
		if (!path_append(copy, name) || item_copy(copy, from, to, name) < 0)
			break;
		copy->length = length;
		copy->path[length] = '\0';
	}
	why = errno;
	closedir(entries);
	errno = why;
	return why == 0 ? 0 : -1;
}

int child_copy_tree(int from, int to, char failed[PATH_MAX])
{
	struct copy copy = {.to = to, .path = failed};
	struct stat st;
	int rc, why;

	failed[0] = '\0';
	if (fstat(from, &st) < 0)
		return -1;
	copy.device = st.st_dev;
	rc = directory_copy(&copy, from, to);
	if (rc == 0)
		rc = status_set(from, to, &st);
	why = errno;
	tdestroy(copy.linked, free);
	errno = why;
	return rc;
}

int child_copy_move(int from, int to)
{
	DIR *entries = directory_read(from);
	const char *name;
	struct stat st;
	int why;

	if (entries == NULL)
		return -1;
	if (fstat(from, &st) == 0)
		while ((name = name_next(entries)) != NULL)
			if (renameat(from, name, to, name) < 0)
				break;
	why = errno;
	closedir(entries);
	errno = why;
	return why == 0 ? status_set(from, to, &st) : -1;
}

static int remove_entries(int directory, unsigned depth);

static int remove_entry(int parent, const char *name, unsigned depth)
{
	int fd, rc;

	if (unlinkat(parent, name, 0) == 0 || errno == ENOENT)
		return 0;
	if (errno != EISDIR || depth > COPY_DEPTH_MAX)
		return -1;
	fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return -1;
	rc = remove_entries(fd, depth);
	close(fd);
	return rc < 0 ? -1 : unlinkat(parent, name, AT_REMOVEDIR);
}

static int remove_entries(int directory, unsigned depth)
{
	DIR *entries = directory_read(directory);
	const char *name;
	int rc = entries ? 0 : -1;

	while (rc == 0 && (name = name_next(entries)) != NULL)
		rc = remove_entry(directory, name, depth + 1);
	if (entries)
		closedir(entries);
	return rc;
}

int child_copy_remove(int parent, const char *name)
{
	return remove_entry(parent, name, 0);
}
