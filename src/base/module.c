/* SPDX-License-Identifier: Apache-2.0 */
/* The initrd's kernel modules. */
#include "base/module.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/file.h"
#include "base/format.h"

int module_load(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC), rc = -1;

	if (fd < 0)
		return -1;
	/* EEXIST: it is there, loaded or built in. */
	if (syscall(SYS_finit_module, fd, "", 0) == 0 || errno == EEXIST)
		rc = 0;
	fd_close(&fd);
	return rc;
}

void module_load_for(const char *name)
{
	char order[64], text[4096], *rest = text, *path;

	format(order, sizeof(order), "/modules/%s.order", name);
	if (file_read(order, text, sizeof(text)) < 0)
		return;
	while ((path = strsep(&rest, "\n")) != NULL)
		if (path[0] != '\0')
			(void)module_load(path);
}
