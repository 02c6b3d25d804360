/* SPDX-License-Identifier: Apache-2.0 */
/* The end of containers' mounts. Closing the last reference to a disk waits until all is written to it:
 * the daemon never does that. */
#ifndef CHILD_UNMOUNT_H
#define CHILD_UNMOUNT_H

#include <stddef.h>
#include <stdint.h>

struct child_unmount {
	int mount_ns;      /* -1: none yet */
	unsigned chain;    /* see child/portmap.h; 0: none … */
	uint32_t limit_ms; /* … and how long that may take for each table */
};

/* Worker: closes the container's ports and unmounts everything in its mount namespace, report_done() with
 * why its ports could not be closed, if so. When the worker has exited, no disk is in use any more, except those
 * that are mounted elsewhere, too. The argument is a struct child_unmount. */
_Noreturn void child_unmount_main(const void *child_unmount);

/* In a worker: the same in many at a time, so that a disk that does not answer holds up no other.
 * Returns how many failed. */
size_t child_unmount_all(const int *mount_ns, size_t count);

#endif
