/* SPDX-License-Identifier: Apache-2.0 */
/* How much of the guest a pod and its containers may take. */
#include "child/cgroup_limits.h"

#include <fcntl.h>
#include <inttypes.h>

#include "base/cgroup.h"
#include "base/format.h"
#include "limits.h"

#define SHARES_MIN     2u
#define SHARES_MAX     262144u
#define PERIOD_DEFAULT 100000u

/* All but the reserve, or half of what is less than twice that. */
static uint64_t leave(uint64_t all, uint64_t reserve)
{
	return all > 2 * reserve ? all - reserve : all / 2;
}

int cgroup_limits_pod(int parent, int pod, struct error *err)
{
	static const char *const controllers[] = {"cpu", "memory", "pids"};
	uint64_t kib, pids, threads;

	/* `parent`: cpu without a limit, or each process of the pod would weigh as much as the agent. `pod`:
	 * cpu for the containers' shares, memory to know in which of them the kernel killed a process. */
	if (cgroup_enable(parent, controllers, 3, err) < 0 ||
		cgroup_enable(pod, controllers, 2, err) < 0)
		return -1;
	/* Procfs is read like a cgroup. Not MemTotal: it includes what the kernel itself has taken. */
	if (cgroup_has(pod, "memory.max") &&
		(cgroup_get_number(AT_FDCWD, "/proc/meminfo", "MemAvailable:", &kib, err) < 0 ||
			cgroup_set_number(
				pod, "memory.max", leave(kib * KIB, RESERVED_MEMORY), err) < 0))
		return -1;
	if (!cgroup_has(pod, "pids.max"))
		return 0;
	if (cgroup_get_number(AT_FDCWD, "/proc/sys/kernel/pid_max", "", &pids, err) < 0 ||
		cgroup_get_number(AT_FDCWD, "/proc/sys/kernel/threads-max", "", &threads, err) < 0)
		return -1;
	return cgroup_set_number(
		pod, "pids.max", leave(pids < threads ? pids : threads, RESERVED_PIDS), err);
}

int cgroup_limits_grow(int pod, uint64_t bytes, struct error *err)
{
	uint64_t before;

	if (bytes == 0 || !cgroup_has(pod, "memory.max"))
		return 0;
	if (cgroup_get_number(pod, "memory.max", "", &before, err) < 0)
		return -1;
	return cgroup_set_number(pod, "memory.max", before + bytes, err);
}

uint64_t cgroup_weight(uint64_t shares)
{
	/* cgroup v1 does the same. */
	if (shares < SHARES_MIN)
		shares = SHARES_MIN;
	if (shares > SHARES_MAX)
		shares = SHARES_MAX;
	return 1 + (shares - SHARES_MIN) * 9999 / (SHARES_MAX - SHARES_MIN);
}

int cgroup_limits_container(
	int cgroup, const struct constraints_spec *constraints, struct error *err)
{
	uint32_t period = constraints->cpu_period ? constraints->cpu_period : PERIOD_DEFAULT;
	char value[64];

	if (cgroup_set_number(cgroup, "cgroup.max.descendants", CGROUPS_BELOW_MAX, err) < 0 ||
		cgroup_set_number(cgroup, "cgroup.max.depth", CGROUP_DEPTH_MAX, err) < 0)
		return -1;
	if (constraints->cpu_shares != 0 &&
		cgroup_set_number(
			cgroup, "cpu.weight", cgroup_weight(constraints->cpu_shares), err) < 0)
		return -1;
	/* A negative quota is none. */
	if (constraints->cpu_quota > 0)
		format(value, sizeof(value), "%d %" PRIu32, constraints->cpu_quota, period);
	else if (constraints->cpu_period != 0)
		format(value, sizeof(value), "max %" PRIu32, period);
	else
		return 0;
	return cgroup_set(cgroup, "cpu.max", value, err);
}
