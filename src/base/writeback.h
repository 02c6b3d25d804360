/* SPDX-License-Identifier: Apache-2.0 */
/* What containers wrote, on its way to disks and servers: distinguishes a sync or an unmount that takes long
 * from one that hangs. */
#ifndef WRITEBACK_H
#define WRITEBACK_H

#include <stdbool.h>
#include <stdint.h>

/* A sync or an unmount may take as long as something is written in each step … */
#define WRITEBACK_STEP_MS 2000u
/* … but not for ever: a disk may write one page per step. */
#define WRITEBACK_MS_MAX 60000u

/* A number that grows with all that is written, to disks and to servers; 0 where it cannot be read. It
 * asks no disk, and allocates nothing. */
uint64_t writeback_count(void);

/* Syncs, in a child, and waits only as long as something is written: a file system whose server or disk does
 * not answer must not keep the power on. For PID 1 at its end: SIGCHLD stays blocked. */
void writeback_finish(void);

#endif
