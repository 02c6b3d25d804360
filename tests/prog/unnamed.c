/* SPDX-License-Identifier: Apache-2.0 */
/* unnamed DIRECTORY PATH: writes a file that has no name, then names it, as databases do. */
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	int fd = argc == 3 ? open(argv[1], O_TMPFILE | O_WRONLY, 0600) : -1;
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (fd < 0 || write(fd, "unnamed\n", 8) != 8 ||
		linkat(AT_FDCWD, path, AT_FDCWD, argv[2], AT_SYMLINK_FOLLOW) < 0) {
		perror("unnamed");
		return 1;
	}
	return 0;
}
