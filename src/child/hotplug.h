/* SPDX-License-Identifier: Apache-2.0 */
/* Hardware that comes while the guest runs. */
#ifndef CHILD_HOTPLUG_H
#define CHILD_HOTPLUG_H

/* Workers of READY and ONLINECPUMEM. A guest without such a bus has nothing to be
 * found, and that is no error. */

/* Rescans the PCI bus and all SCSI hosts, and sets the clock. */
_Noreturn void child_hotplug_rescan(const void *unused);

/* Brings every offline CPU and memory block online; the memory becomes the pod's. What cannot be
 * brought online is an error that names its file. The argument is an int: the pod's cgroup, or -1. */
_Noreturn void child_hotplug_online(const void *pod_cgroup);

/* Sets CLOCK_REALTIME, which stood still while the VM was paused, from the RTC, which keeps UTC. Where
 * there is none, or it cannot be read, the clock is left as it is: no container should fail for that. */
void child_clock_set(void);

#endif
