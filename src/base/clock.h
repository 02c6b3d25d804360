/* SPDX-License-Identifier: Apache-2.0 */
/* The clock of all deadlines. */
#ifndef CLOCK_H
#define CLOCK_H

#include <stdint.h>

/* Milliseconds of CLOCK_MONOTONIC: time in which the guest was suspended does not count. */
uint64_t clock_now(void);

#endif
