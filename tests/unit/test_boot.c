/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "../../src/boot.c"

#include <cmocka.h> /* with a fail() of its own */

int __wrap_reboot(int how);

int __wrap_reboot(int how)
{
	_exit(how == RB_POWER_OFF ? 99 : 98);
}

/* In PID 1 it is a matter for the VM: tests/scenarios/test_stay.py. */
static void a_fault_in_a_child_is_the_end_of_that_child(void **state)
{
	const volatile char *nothing = mmap(NULL, 1, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int status;
	pid_t pid;

	(void)state;
	pid = fork();
	if (pid == 0) {
		alarm(10);
		faults_catch();
		(void)*nothing;
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGSEGV);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_fault_in_a_child_is_the_end_of_that_child),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
