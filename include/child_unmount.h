/* SPDX-License-Identifier: Apache-2.0 */
/* The end of containers' mounts. Whoever lets go of a disk last waits until all is written to it: that
 * is never the daemon. */
#ifndef CHILD_UNMOUNT_H
#define CHILD_UNMOUNT_H

#include <stddef.h>

/* Worker: takes everything off in that mount namespace, report_done(). When it is gone, no disk is in
 * use any more but those that are mounted elsewhere, too. The argument is an int: the fd. */
_Noreturn void child_unmount_main(const void *mount_ns);

/* In a worker: the same in many at a time, so that a disk that does not answer holds up no other.
 * Returns how many failed. */
size_t child_unmount_all(const int *mount_ns, size_t count);

#endif
