/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "child/sysctl.h"

static void assert_path(const char *name, const char *expected)
{
	char path[SYSCTL_PATH_MAX];

	assert_true(child_sysctl_path(name, path));
	assert_string_equal(path, expected);
}

static void assert_refused(const char *name)
{
	char path[SYSCTL_PATH_MAX];

	assert_false(child_sysctl_path(name, path));
}

static void whichever_stands_first_separates(void **state)
{
	(void)state;
	assert_path("vm.overcommit_memory", "vm/overcommit_memory");
	assert_path("vm/overcommit_memory", "vm/overcommit_memory");
	assert_path("net.ipv4.conf.eth0/1.rp_filter", "net/ipv4/conf/eth0.1/rp_filter");
	assert_path("net/ipv4/conf/eth0.1/rp_filter", "net/ipv4/conf/eth0.1/rp_filter");
	assert_path("kernel.sem", "kernel/sem");
	assert_path("fs.mqueue.msg_max", "fs/mqueue/msg_max");
}

static void what_decides_over_the_guest_is_refused(void **state)
{
	(void)state;
	assert_refused("kernel.core_pattern");
	assert_refused("kernel/core_pattern");
	assert_refused("kernel.modprobe");
	assert_refused("kernel.sysrq");
	assert_refused("vm.panic_on_oom");
	assert_refused("fs.suid_dumpable");
	assert_refused("user.max_user_namespaces");
	assert_refused("kernel.semaphore"); /* not kernel.sem */
	assert_refused("kernel.sem.x");
	assert_refused("net");
	assert_refused("");
	assert_refused(".");
}

static void a_name_has_one_path(void **state)
{
	(void)state;
	assert_refused("vm//panic_on_oom");
	assert_refused("vm/./panic_on_oom");
	assert_refused("vm/../kernel/core_pattern");
	assert_refused("/vm/panic_on_oom");
	assert_refused("vm..panic_on_oom");
	assert_refused("net././x");
}

static void a_name_that_is_too_long_is_refused(void **state)
{
	char name[SYSCTL_PATH_MAX + 1];

	(void)state;
	memset(name, 'x', sizeof(name));
	memcpy(name, "net.", 4);
	name[SYSCTL_PATH_MAX] = '\0';
	assert_refused(name);
	name[SYSCTL_PATH_MAX - 1] = '\0';
	assert_true(strlen(name) == SYSCTL_PATH_MAX - 1);
	name[3] = '/';
	assert_path(name, name);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(whichever_stands_first_separates),
		cmocka_unit_test(what_decides_over_the_guest_is_refused),
		cmocka_unit_test(a_name_has_one_path),
		cmocka_unit_test(a_name_that_is_too_long_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
