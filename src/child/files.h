/* SPDX-License-Identifier: Apache-2.0 */
/* READFILE and WRITEFILE: one file inside a container's mounts. */
#ifndef CHILD_FILES_H
#define CHILD_FILES_H

#include <stddef.h>
#include <stdint.h>

struct child_files {
	int mount_ns;        /* the container's; it outlives its processes */
	const char *file;    /* links in it stay within the container's root */
	const uint8_t *data; /* to be written */
	size_t length;
};

/* Worker: report_done() with the file's bytes, at most RESULT_MAX. Only of a regular file: no fifo
 * that waits, no device that never ends. The argument is a struct child_files. */
_Noreturn void child_files_read(const void *child_files);

/* Worker: replaces the file's content by `data`; a missing file is created, 0644. No file of procfs or sysfs:
 * a container's link would lead there. */
_Noreturn void child_files_write(const void *child_files);

#endif
