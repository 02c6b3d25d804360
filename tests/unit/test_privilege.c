/* SPDX-License-Identifier: Apache-2.0 */
#include <linux/capability.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "spec/privilege.h"

static void a_capability_is_found_with_and_without_its_prefix(void **state)
{
	(void)state;
	assert_int_equal(capability_find("CAP_CHOWN"), 0);
	assert_int_equal(capability_find("CHOWN"), 0);
	assert_int_equal(capability_find("CAP_SYS_ADMIN"), CAP_SYS_ADMIN);
	assert_int_equal(capability_find("CHECKPOINT_RESTORE"), CAP_LAST_CAP);
}

static void every_capability_has_the_name_it_is_found_by(void **state)
{
	(void)state;
	for (int i = 0; i <= CAP_LAST_CAP; i++)
		assert_int_equal(capability_find(capability_name(i)), i);
}

static void what_no_kernel_ever_had_is_not_found(void **state)
{
	static const char *const names[] = {"", "CAP_", "CAP", "CAP_NOPE", "chown", "CAP_CAP_CHOWN",
		"CHOWN ", "_CHOWN", "CAP_CHOWNS"};

	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		assert_int_equal(capability_find(names[i]), -1);
}

static void our_own_are_those_that_we_still_have(void **state)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2] = {{.permitted = 1 << CAP_KILL}};
	pid_t pid = fork();
	int status;

	(void)state;
	if (pid == 0) {
		syscall(SYS_capset, &header, data);
		_exit(capability_own() == CAPABILITY_BIT(CAP_KILL));
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(WEXITSTATUS(status), 1);
}

static void every_limit_is_found_by_its_name(void **state)
{
	static const char *const names[] = {[RLIMIT_CPU] = "CPU",
		[RLIMIT_FSIZE] = "FSIZE",
		[RLIMIT_DATA] = "DATA",
		[RLIMIT_STACK] = "STACK",
		[RLIMIT_CORE] = "CORE",
		[RLIMIT_RSS] = "RSS",
		[RLIMIT_NPROC] = "NPROC",
		[RLIMIT_NOFILE] = "NOFILE",
		[RLIMIT_MEMLOCK] = "MEMLOCK",
		[RLIMIT_AS] = "AS",
		[RLIMIT_LOCKS] = "LOCKS",
		[RLIMIT_SIGPENDING] = "SIGPENDING",
		[RLIMIT_MSGQUEUE] = "MSGQUEUE",
		[RLIMIT_NICE] = "NICE",
		[RLIMIT_RTPRIO] = "RTPRIO",
		[RLIMIT_RTTIME] = "RTTIME"};
	char name[32];

	(void)state;
	for (int i = 0; i < (int)(sizeof(names) / sizeof(names[0])); i++) {
		snprintf(name, sizeof(name), "RLIMIT_%s", names[i]);
		assert_int_equal(rlimit_find(name), i);
		assert_int_equal(rlimit_find(names[i]), -1);
	}
	assert_int_equal(rlimit_find("RLIMIT_NOPE"), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_capability_is_found_with_and_without_its_prefix),
		cmocka_unit_test(every_capability_has_the_name_it_is_found_by),
		cmocka_unit_test(what_no_kernel_ever_had_is_not_found),
		cmocka_unit_test(our_own_are_those_that_we_still_have),
		cmocka_unit_test(every_limit_is_found_by_its_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
