/* SPDX-License-Identifier: Apache-2.0 */
/* Small text files, as the kernel and an initrd have them. */
#include "file.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

ssize_t file_read(const char *path, char *text, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t length = 0;
	ssize_t n = -1;

	if (fd < 0)
		return -1;
	while (length < size && (n = read(fd, text + length, size - length)) > 0)
		length += (size_t)n;
	close(fd);
	if (n > 0)
		errno = EFBIG;
	if (n != 0)
		return -1;
	text[length] = '\0';
	return (ssize_t)length;
}
