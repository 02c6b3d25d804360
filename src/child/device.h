/* SPDX-License-Identifier: Apache-2.0 */
/* Block devices: waited for, found, mounted. In the agent's own mounts: /dev and /sys are the guest's. */
#ifndef CHILD_DEVICE_H
#define CHILD_DEVICE_H

#include <stdbool.h>
#include <stdint.h>

/* A disk as a host names it. */
struct child_device {
	const char *name;      /* "vda" or "/dev/vda"; ignored if there is a … */
	const char *scsi_addr; /* "<id>:<lun>" */
	uint64_t until_ms;     /* until when to wait for it: clock_now() */
};

#define DEVICE_PATH_MAX 64

/* Its node below /dev; waits for the device to come, and dies when it does not. */
void child_device_find(const struct child_device *device, char path[DEVICE_PATH_MAX]);

/* The file system on it, as a mount that is not attached. */
int child_device_mount(const struct child_device *device, const char *fstype, bool read_only);

#endif
