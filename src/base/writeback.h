/* SPDX-License-Identifier: Apache-2.0 */
/* What containers wrote, on its way to disks and servers: how to tell a sync or an unmount that takes
 * long from one that hangs. */
#ifndef WRITEBACK_H
#define WRITEBACK_H

#include <stdbool.h>
#include <stdint.h>

/* What may take as long as anything is written … */
#define WRITEBACK_STEP_MS 2000u
/* … but not for ever: some disk may write its last page once a step. */
#define WRITEBACK_MS_MAX 60000u

/* A number that grows with all that is written, to disks and to servers; 0 where it cannot be had. It
 * asks no disk, and takes no memory. */
uint64_t writeback_count(void);

/* Syncs, in a child, and only as long as it gets on: a file system whose server or disk does not answer
 * holds up sync for ever, but not the power. For PID 1 at its end: SIGCHLD stays blocked. */
void writeback_finish(void);

#endif
