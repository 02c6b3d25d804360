/* SPDX-License-Identifier: Apache-2.0 */
/* Every path inside a container's root, resolved by the kernel as if that were "/". */
#include "child_path.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/limits.h>
#include <linux/openat2.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The kernel gives up with EAGAIN when something on the machine is renamed or mounted while it
 * walks through a "..": try again, but not at the mercy of who renames. */
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

/* The directory of path[0 .. length), made when missing, in the directory `parent` that
 * everything before the last component led to. */
static int directory_step(int root, int parent, char *path, size_t length, size_t last, mode_t mode)
{
	char behind = path[length];
	int fd;

	path[length] = '\0';
	fd = child_path_open(root, path, O_PATH | O_DIRECTORY);
	/* A dangling symlink is EEXIST for mkdirat: nothing is made where it points. */
	if (fd < 0 && errno == ENOENT &&
		(mkdirat(parent, path + last, mode) == 0 || errno == EEXIST))
		fd = child_path_open(root, path, O_PATH | O_DIRECTORY);
	path[length] = behind;
	return fd;
}

int child_path_directory(int root, const char *path, mode_t mode)
{
	char walked[PATH_MAX];
	size_t length = strlen(path), end = 0;
	int fd;

	if (length >= sizeof(walked)) {
		errno = ENAMETOOLONG;
		return -1;
	}
	memcpy(walked, path, length + 1);

	fd = child_path_open(root, "/", O_PATH | O_DIRECTORY);
	while (fd >= 0 && end < length) {
		size_t start = end + strspn(walked + end, "/");
		int next;

		end = start + strcspn(walked + start, "/");
		if (start == end)
			break;
		next = directory_step(root, fd, walked, end, start, mode);
		close(fd);
		fd = next;
	}
	return fd;
}

int child_path_file(int root, const char *path)
{
	const char *slash = strrchr(path, '/');
	char parent[PATH_MAX];
	int fd = child_path_open(root, path, O_PATH);

	if (fd >= 0 || errno != ENOENT)
		return fd;
	if (slash) {
		if ((size_t)(slash - path) >= sizeof(parent)) {
			errno = ENAMETOOLONG;
			return -1;
		}
		memcpy(parent, path, (size_t)(slash - path));
		parent[slash - path] = '\0';
		fd = child_path_directory(root, parent, 0755);
		if (fd < 0)
			return -1;
		close(fd);
	}
	/* It may be there by now, and be anything: O_NONBLOCK for a fifo. */
	return child_path_open(root, path, O_CREAT | O_RDONLY | O_NONBLOCK | O_NOCTTY);
}
