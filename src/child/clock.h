/* SPDX-License-Identifier: Apache-2.0 */
/* The guest's clock, which stood still while the VM was paused. */
#ifndef CHILD_CLOCK_H
#define CHILD_CLOCK_H

/* Sets CLOCK_REALTIME from the RTC, which keeps UTC. Where there is none, or it cannot be read,
 * the clock is left as it is: no container should fail for that. */
void child_clock_set(void);

#endif
