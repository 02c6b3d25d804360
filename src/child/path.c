/* SPDX-License-Identifier: Apache-2.0 */
/* Every path inside a container's root, resolved by the kernel as if that were "/". */
#include "child/path.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/limits.h>
#include <linux/openat2.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The kernel gives up with EAGAIN when anything on the machine is renamed or mounted while it walks through
 * a "..". It is tried again, but not for as long as somebody renames. */
#define TRIES 128

int child_path_open(int root, const char *path, int flags)
{
	struct open_how how = {
		.flags = (uint64_t)(unsigned)flags | O_CLOEXEC,
		.mode = flags & O_CREAT ? 0644 : 0,
		.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS,
	};
	long fd;

	for (int i = 0; i < TRIES; i++) {
		fd = syscall(SYS_openat2, root, path, &how, sizeof(how));
		if (fd >= 0 || (errno != EAGAIN && errno != EINTR))
			break;
	}
	return (int)fd;
}

/* How many symlinks to something missing are followed here: as many as the kernel follows in one path. */
#define LINKS_MAX 40

/* Makes the last part, `name`, of a path; what stands before it leads to `parent`. */
static int part_make(int root, const char *path, int parent, const char *name, bool is_file)
{
	/* It may exist by now, as anything: O_NONBLOCK for a fifo. */
	if (is_file)
		return child_path_open(root, path, O_CREAT | O_RDONLY | O_NONBLOCK | O_NOCTTY);
	/* A dangling symlink is EEXIST for mkdirat, and opens no better than before. */
	if (mkdirat(parent, name, 0755) < 0 && errno != EEXIST)
		return -1;
	return child_path_open(root, path, O_PATH | O_DIRECTORY);
}

/* Replaces path[start .. end), a symlink, by its target. 0, or -1 with errno. */
static int link_expand(char *path, size_t start, size_t end, const char *target, size_t length)
{
	if (target[0] == '/')
		start = 0;
	if (start + length + strlen(path + end) >= PATH_MAX) {
		errno = ENAMETOOLONG;
		return -1;
	}
	memmove(path + start + length, path + end, strlen(path + end) + 1);
	memcpy(path + start, target, length);
	return 0;
}

/* Part by part; the kernel resolves each in the root. If a part is a symlink to something missing, its target
 * replaces it in the path and the walk starts again: so the missing file is made where the link leads, in the
 * root. With only_behind_links nothing is made before the first such link. */
static int path_make(int root, const char *path, bool to_file, bool only_behind_links)
{
	char walked[PATH_MAX], target[PATH_MAX], behind;
	size_t start, end = 0;
	unsigned links = 0;
	int fd, next;

	/* Most are there. */
	fd = child_path_open(root, path, to_file ? O_PATH : O_PATH | O_DIRECTORY);
	if (fd >= 0)
		return fd;
	if (strlen(path) >= sizeof(walked)) {
		errno = ENAMETOOLONG;
		return -1;
	}
	memcpy(walked, path, strlen(path) + 1);
	fd = child_path_open(root, "/", O_PATH | O_DIRECTORY);
	while (fd >= 0 && (start = end + strspn(walked + end, "/"), walked[start] != '\0')) {
		ssize_t length = -1;
		bool is_file;

		end = start + strcspn(walked + start, "/");
		is_file = to_file && walked[end + strspn(walked + end, "/")] == '\0';
		behind = walked[end];
		walked[end] = '\0';
		next = child_path_open(root, walked, is_file ? O_PATH : O_PATH | O_DIRECTORY);
		if (next < 0 && errno == ENOENT && (links > 0 || !only_behind_links))
			next = part_make(root, walked, fd, walked + start, is_file);
		if (next < 0 && errno == ENOENT) {
			length = readlinkat(fd, walked + start, target, sizeof(target));
			errno = length < 0 ? ENOENT : ELOOP;
		}
		walked[end] = behind;
		if (length >= 0 && ++links <= LINKS_MAX &&
			link_expand(walked, start, end, target, (size_t)length) == 0) {
			next = child_path_open(root, "/", O_PATH | O_DIRECTORY);
			end = 0;
		}
		close(fd);
		fd = next;
	}
	return fd;
}

int child_path_directory(int root, const char *path)
{
	return path_make(root, path, false, false);
}

int child_path_file(int root, const char *path)
{
	return path_make(root, path, true, false);
}

int child_path_file_behind_links(int root, const char *path)
{
	return path_make(root, path, true, true);
}
