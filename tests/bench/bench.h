/* SPDX-License-Identifier: Apache-2.0 */
/* What the benchmark's programs share. */
#ifndef BENCH_H
#define BENCH_H

#include <dirent.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The start of a file as a string; empty where it cannot be read. */
static inline void text_read(const char *path, char *text, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? 0 : read(fd, text, size - 1);

	text[n < 0 ? 0 : n] = '\0';
	if (fd >= 0)
		close(fd);
}

/* The initrd's modules, if it has any, up to and with `last`, or all. */
static inline void modules_load(const char *last)
{
	char order[8192], *rest = order, *path;

	text_read("/modules/order", order, sizeof(order));
	while ((path = strsep(&rest, "\n"))) {
		int fd = open(path, O_RDONLY | O_CLOEXEC);

		if (fd < 0)
			continue; /* the empty line in between, and the last */
		syscall(SYS_finit_module, fd, "", 0);
		close(fd);
		if (*last && strstr(path, last))
			return;
	}
}

/* The virtio port of that name, or -1 while there is none. */
static inline int port_open(const char *name, int flags)
{
	DIR *ports = opendir("/sys/class/virtio-ports");
	char path[300], text[64];
	struct dirent *entry;
	int fd = -1;

	while (fd < 0 && ports && (entry = readdir(ports))) {
		snprintf(path, sizeof(path), "/sys/class/virtio-ports/%s/name", entry->d_name);
		text_read(path, text, sizeof(text));
		text[strcspn(text, "\n")] = '\0';
		snprintf(path, sizeof(path), "/dev/%s", entry->d_name);
		if (strcmp(text, name) == 0)
			fd = open(path, O_RDWR | O_CLOEXEC | flags);
	}
	if (ports)
		closedir(ports);
	return fd;
}

#endif
