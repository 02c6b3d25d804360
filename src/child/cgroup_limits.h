/* SPDX-License-Identifier: Apache-2.0 */
/* How much of the guest a pod and its containers may take. A controller that the kernel lacks is skipped,
 * except where a host asks for its limit. The agent itself limits containers: nothing here dies. */
#ifndef CGROUP_LIMITS_H
#define CGROUP_LIMITS_H

#include "base/error.h"
#include "spec/spec.h"

/* Leaves the agent and the kernel what limits.h reserves for them. `pod` is below `parent`; neither has
 * processes of its own (but a machine's root cgroup may). 0, or -1 with err. */
int cgroup_limits_pod(int parent, int pod, struct error *err);

/* Gives memory that was added to the machine to the pod. 0, or -1 with err. */
int cgroup_limits_grow(int pod, uint64_t bytes, struct error *err);

/* cpu.max and cpu.weight of a container, as crun and runc derive them from Docker's quota, period and
 * shares; 0 leaves each as it is. 0, or -1 with err. */
int cgroup_limits_container(
	int cgroup, const struct constraints_spec *constraints, struct error *err);

/* cgroup v1's shares (2 to 262144, default 1024) as v2's weight (1 to 10000; 39 for the default). */
uint64_t cgroup_weight(uint64_t shares);

#endif
