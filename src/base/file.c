/* SPDX-License-Identifier: Apache-2.0 */
/* Small text files of the kernel and the initrd; closing an fd. */
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

void fd_close(int *fd)
{
	int why = errno;

	if (*fd >= 0)
		close(*fd);
	*fd = -1;
	errno = why;
}

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

int file_write(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC), rc = 0;

	if (fd < 0)
		return -1;
	if (write(fd, text, strlen(text)) < 0)
		rc = -1;
	close(fd);
	return rc;
}

const char *file_line(const char *text, size_t length, const char *key)
{
	const char *end = text + length;
	size_t key_length = strlen(key);

	for (const char *line = text; (size_t)(end - line) >= key_length; line++) {
		if (memcmp(line, key, key_length) == 0)
			return line + key_length;
		line = memchr(line, '\n', (size_t)(end - line));
		if (!line)
			break;
	}
	return NULL;
}
