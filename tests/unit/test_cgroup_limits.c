/* SPDX-License-Identifier: Apache-2.0 */
/* On an ordinary directory with a cgroup's files: what is written is there to be read. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cgroup.h"
#include "child/cgroup_limits.h"
#include "limits.h"

static char directory[] = "/tmp/test-cgroup-limits-XXXXXX";
static int cgroup, parent;
static struct error err;

static void put(int at, const char *name, const char *text)
{
	int fd = openat(at, name, O_CREAT | O_TRUNC | O_WRONLY, 0644);

	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
}

/* Empty afterwards: a cgroup's file takes a value as a whole. */
static const char *take(const char *name)
{
	static char text[256];
	int fd = openat(cgroup, name, O_RDONLY);
	ssize_t n = read(fd, text, sizeof(text) - 1);

	text[n < 0 ? 0 : n] = '\0';
	close(fd);
	put(cgroup, name, "");
	return text;
}

static int make(void **state)
{
	static const char *const files[] = {"cgroup.max.descendants", "cgroup.max.depth", "cpu.max",
		"cpu.weight", "memory.max", "pids.max", "cgroup.subtree_control"};

	(void)state;
	strcpy(strrchr(directory, '-'), "-XXXXXX");
	parent = open(mkdtemp(directory), O_PATH | O_DIRECTORY);
	mkdirat(parent, "pod", 0755);
	cgroup = openat(parent, "pod", O_PATH | O_DIRECTORY);
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++)
		put(cgroup, files[i], "");
	put(parent, "cgroup.subtree_control", "");
	put(parent, "cgroup.controllers", "cpuset cpu memory pids\n");
	put(cgroup, "cgroup.controllers", "cpu memory pids\n");
	return 0;
}

static int unmake(void **state)
{
	char command[64];

	(void)state;
	close(cgroup);
	close(parent);
	snprintf(command, sizeof(command), "rm -r %s", directory);
	return system(command);
}

/* crun's and runc's figures: 1 + (shares - 2) * 9999 / 262142. */
static void shares_become_a_weight_as_crun_and_runc_have_it(void **state)
{
	static const struct {
		uint64_t shares, weight;
	} cases[] = {
		{1, 1},
		{2, 1},
		{28, 1},
		{29, 2},
		{100, 4},
		{512, 20},
		{1000, 39},
		{1024, 39},
		{2048, 79},
		{3072, 118},
		{10240, 391},
		{262143, 9999},
		{262144, 10000},
		{262145, 10000},
		{UINT64_MAX, 10000},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_int_equal(cgroup_weight(cases[i].shares), cases[i].weight);
}

static void quota_and_period_become_cpu_max(void **state)
{
	static const struct {
		struct constraints_spec constraints;
		const char *max, *weight;
	} cases[] = {
		{{0, 0, 0}, "", ""},
		{{50000, 0, 0}, "50000 100000", ""},
		{{50000, 200000, 0}, "50000 200000", ""},
		{{0, 50000, 0}, "max 50000", ""},
		{{-1, 50000, 0}, "max 50000", ""},
		{{-1, 0, 0}, "", ""},
		{{1000, 1000, 2}, "1000 1000", "1"},
		{{0, 0, 1024}, "", "39"},
		{{INT32_MAX, 1000000, 262144}, "2147483647 1000000", "10000"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_int_equal(cgroup_limits_container(cgroup, &cases[i].constraints, &err), 0);
		assert_string_equal(take("cpu.max"), cases[i].max);
		assert_string_equal(take("cpu.weight"), cases[i].weight);
		assert_string_equal(take("cgroup.max.descendants"), "512");
		assert_string_equal(take("cgroup.max.depth"), "16");
	}
}

static void a_constraint_without_its_controller_is_an_error(void **state)
{
	const struct constraints_spec none = {0}, some = {.cpu_shares = 5};

	(void)state;
	unlinkat(cgroup, "cpu.weight", 0);
	assert_int_equal(cgroup_limits_container(cgroup, &none, &err), 0);
	assert_int_equal(cgroup_limits_container(cgroup, &some, &err), -1);
	assert_string_equal(err.text, "open cpu.weight: no such file or directory");
}

static void a_pod_leaves_the_agent_its_reserve(void **state)
{
	uint64_t available, memory, pids, pid_max;

	(void)state;
	assert_int_equal(
		cgroup_get_number(AT_FDCWD, "/proc/meminfo", "MemAvailable:", &available, &err), 0);
	assert_int_equal(
		cgroup_get_number(AT_FDCWD, "/proc/sys/kernel/pid_max", "", &pid_max, &err), 0);
	assert_int_equal(cgroup_limits_pod(parent, cgroup, &err), 0);
	assert_int_equal(cgroup_get_number(cgroup, "memory.max", "", &memory, &err), 0);
	assert_int_equal(cgroup_get_number(cgroup, "pids.max", "", &pids, &err), 0);
	/* What is available changes all the time. */
	assert_in_range(memory, available / 4 * KIB, (available - RESERVED_MEMORY / KIB / 2) * KIB);
	assert_in_range(pids, 1, pid_max - RESERVED_PIDS);
}

static void a_controller_that_is_missing_limits_nothing(void **state)
{
	(void)state;
	put(parent, "cgroup.controllers", "cpuset\n");
	put(cgroup, "cgroup.controllers", "\n");
	unlinkat(cgroup, "memory.max", 0);
	unlinkat(cgroup, "pids.max", 0);
	unlinkat(parent, "cgroup.subtree_control", 0);
	assert_int_equal(cgroup_limits_pod(parent, cgroup, &err), 0);
	assert_int_equal(cgroup_limits_grow(cgroup, 4096, &err), 0);
	assert_int_equal(faccessat(cgroup, "memory.max", F_OK, 0), -1);
}

static void memory_that_is_added_is_the_pods(void **state)
{
	(void)state;
	put(cgroup, "memory.max", "1000000000\n");
	assert_int_equal(cgroup_limits_grow(cgroup, 5000, &err), 0);
	assert_string_equal(take("memory.max"), "1000005000\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(shares_become_a_weight_as_crun_and_runc_have_it),
		cmocka_unit_test_setup_teardown(quota_and_period_become_cpu_max, make, unmake),
		cmocka_unit_test_setup_teardown(
			a_constraint_without_its_controller_is_an_error, make, unmake),
		cmocka_unit_test_setup_teardown(a_pod_leaves_the_agent_its_reserve, make, unmake),
		cmocka_unit_test_setup_teardown(
			a_controller_that_is_missing_limits_nothing, make, unmake),
		cmocka_unit_test_setup_teardown(memory_that_is_added_is_the_pods, make, unmake),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
