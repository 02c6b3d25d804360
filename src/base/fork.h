/* SPDX-License-Identifier: Apache-2.0 */
/* The one fork: the system call alone. */
#ifndef FORK_H
#define FORK_H

#include <sys/types.h>

/* fork(2). musl's _Fork() also blocks all signals for a while and stores the child's thread id, in two pages
 * that the child must copy for it: 12 k instructions. Only raise() and abort() would read that id, and hit
 * the parent: the product is linked without them (Makefile). */
pid_t fork_raw(void);

#endif
