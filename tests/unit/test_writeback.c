/* SPDX-License-Identifier: Apache-2.0 */
#include "base/writeback.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

static int forks, failing;

pid_t __real_fork_raw(void);
pid_t __wrap_fork_raw(void);

pid_t __wrap_fork_raw(void)
{
	forks++;
	if (forks > failing)
		return __real_fork_raw();
	errno = ENOMEM;
	return -1;
}

static double seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* By how much is the file system's matter. */
static void what_is_written_does_not_make_it_less(void **state)
{
	char path[] = "build/writeback-XXXXXX";
	uint64_t before = writeback_count();
	int fd = mkstemp(path);

	(void)state;
	assert_true(before > 0);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, path, sizeof path), sizeof path);
	fsync(fd);
	close(fd);
	unlink(path);
	assert_true(writeback_count() >= before);
}

static void a_sync_that_is_done_is_not_waited_for_any_longer(void **state)
{
	double began = seconds();

	(void)state;
	forks = failing = 0;
	writeback_finish();
	assert_int_equal(forks, 1);
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
	assert_true(seconds() - began < WRITEBACK_MS_MAX / 1000.0);
}

static void a_fork_that_fails_is_tried_again(void **state)
{
	(void)state;
	forks = 0;
	failing = 3;
	writeback_finish();
	assert_int_equal(forks, 4);
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
}

static void a_fork_that_always_fails_does_not_hold_up_the_end(void **state)
{
	double began = seconds();

	(void)state;
	forks = 0;
	failing = 1 << 20;
	writeback_finish();
	assert_true(forks > 1);
	assert_true(seconds() - began < 5);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_written_does_not_make_it_less),
		cmocka_unit_test(a_sync_that_is_done_is_not_waited_for_any_longer),
		cmocka_unit_test(a_fork_that_fails_is_tried_again),
		cmocka_unit_test(a_fork_that_always_fails_does_not_hold_up_the_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
