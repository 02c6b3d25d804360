/* SPDX-License-Identifier: Apache-2.0 */
/* Which devices may be opened in a cgroup: a BPF program, as container engines have it. */
#ifndef DEVICE_FILTER_H
#define DEVICE_FILTER_H

#include <stddef.h>
#include <sys/types.h>

#include "limits.h"

struct device_id {
	mode_t type; /* S_IFCHR or S_IFBLK */
	dev_t number;
};

struct device_list {
	size_t count;
	struct device_id devices[DEVICES_MAX];
};

/* A program that lets processes open what is in every container's /dev, and up to DEVICES_MAX devices
 * more; mknod may make any. Its fd, or -1 with errno. */
int device_filter_load(const struct device_id *more, size_t count);

/* Applies it to the cgroup and all below it; the fds may be closed. 0, or -1 with errno. */
int device_filter_attach(int program, int cgroup);

#endif
