/* SPDX-License-Identifier: Apache-2.0 */
/* The initrd's kernel modules. */
#include "module.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "format.h"

int module_load(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC), result = -1, why;

	if (fd < 0)
		return -1;
	/* EEXIST: it is there, loaded or built in. */
	if (syscall(SYS_finit_module, fd, "", 0) == 0 || errno == EEXIST)
		result = 0;
	why = errno;
	close(fd);
	errno = why;
	return result;
}

void module_load_for(const char *name)
{
	char text[4096], *rest = text, *path;
	ssize_t length;
	int fd;

	format(text, sizeof(text), "/modules/%s.order", name);
	fd = open(text, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	length = read(fd, text, sizeof(text) - 1);
	close(fd);
	text[length > 0 ? length : 0] = '\0';
	while ((path = strsep(&rest, "\n")) != NULL)
		if (path[0] != '\0')
			(void)module_load(path);
}
