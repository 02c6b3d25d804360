/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "child/child.h"
#include "pod/spawn.h"
#include "turns.h"

static struct spawner spawner;
static struct spawn worker;
static int done;
static char text[ERROR_TEXT_MAX];

static void on_done(struct spawn *spawn, const struct error *err)
{
	assert_ptr_equal(spawn, &worker);
	done++;
	strcpy(text, err ? err->text : "");
	loop_stop(&loop);
}

static int start(void (*entry)(const void *), uint32_t deadline_ms, struct error *err)
{
	const struct spawn_plan plan = {
		.pid_ns = -1,
		.entry = entry,
		.argument = "argument",
		.deadline_ms = deadline_ms,
		.done = on_done,
	};

	done = 0;
	return spawn_fork(&spawner, &worker, &plan, err);
}

static void await_end(void)
{
	loop.stopped = false;
	alarm(20);
	loop_run(&loop, turn_pump_all, NULL);
	alarm(0);
	assert_int_equal(done, 1);
}

/* What on_done is told of it. */
static const char *end_of(void (*entry)(const void *), uint32_t deadline_ms)
{
	struct error err;

	assert_int_equal(start(entry, deadline_ms, &err), 0);
	await_end();
	return text;
}

static int setup(void **state)
{
	struct error err;

	(void)state;
	turns_open(NULL);
	assert_int_equal(spawner_open(&spawner, &loop, &err), 0);
	worker = (struct spawn){0};
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	loop_remove(&loop, &spawner.signals);
	close(spawner.signals.fd);
	close(spawner.pid_ns);
	close(spawner.mount_ns);
	turns_close();
	return 0;
}

static void succeed(const void *argument)
{
	report_done(argument, strlen(argument));
}

static void fail_with_a_word(const void *argument)
{
	die("no %s", (const char *)argument);
}

static void kill_itself(const void *argument)
{
	(void)argument;
	raise(SIGTERM);
}

static void leave(const void *argument)
{
	(void)argument;
	_exit(3);
}

static void hang(const void *argument)
{
	(void)argument;
	for (;;)
		pause();
}

/* As one does whose last fd is a disk's that does not answer. */
static _Noreturn void stay(void)
{
	waitpid(-1, NULL, 0);
	syscall(SYS_close_range, STDERR_FILENO + 1, ~0U, 0);
	hang(NULL);
	_exit(1);
}

static void fail_and_stay(const void *argument)
{
	if (fork() == 0)
		fail_with_a_word(argument);
	stay();
}

static void succeed_and_stay(const void *argument)
{
	if (fork() == 0)
		succeed(argument);
	stay();
}

static void stop_itself(const void *argument)
{
	for (int i = 0; i < 3; i++)
		raise(SIGSTOP);
	succeed(argument);
}

static void stop_itself_for_ever(const void *argument)
{
	(void)argument;
	for (;;)
		raise(SIGSTOP);
}

static void trace_itself(const void *argument)
{
	signal(SIGUSR1, SIG_IGN);
	ptrace(PTRACE_TRACEME, 0, NULL, NULL);
	raise(SIGUSR1);
	succeed(argument);
}

/* A child of the child keeps the report pipe, and is nobody's to wait for. */
static void die_and_leave_the_pipe(const void *argument)
{
	if (fork() == 0) {
		alarm(5);
		hang(argument);
	}
	_exit(0);
}

static void a_report_pipe_that_somebody_keeps_ends_at_the_deadline(void **state)
{
	(void)state;
	assert_string_equal(end_of(die_and_leave_the_pipe, 200), "not done before the deadline");
	assert_false(spawn_is_busy(&worker));
}

static bool cancels;

static void cancel_when_reaped(void)
{
	if (cancels && spawn_is_busy(&worker) && worker.reaped)
		spawn_cancel(&worker, "cut");
}

static void a_cancel_ends_a_reaped_worker_whose_pipe_somebody_keeps(void **state)
{
	(void)state;
	cancels = true;
	turn_pump = cancel_when_reaped;
	assert_string_equal(end_of(die_and_leave_the_pipe, 0), "cut");
	cancels = false;
}

static void a_result_of_a_reaped_worker_needs_no_epoll(void **state)
{
	struct error err;

	(void)state;
	assert_int_equal(start(succeed, 0, &err), 0);
	loop_remove(&loop, &worker.source); /* as if epoll_ctl failed for ever */
	await_end();
	assert_string_equal(text, "");
}

static void a_worker_that_is_stopped_is_continued(void **state)
{
	struct error err;

	(void)state;
	assert_int_equal(start(stop_itself, 0, &err), 0);
	await_end();
	assert_string_equal(text, "");
}

static void a_worker_that_is_stopped_again_and_again_is_killed(void **state)
{
	(void)state;
	assert_string_equal(
		end_of(stop_itself_for_ever, 0), "stopped by another process while being set up");
}

static void a_worker_that_makes_us_its_tracer_goes_on(void **state)
{
	(void)state;
	assert_string_equal(end_of(trace_itself, 0), "");
}

static void a_worker_that_is_done_succeeds(void **state)
{
	(void)state;
	assert_string_equal(end_of(succeed, 0), "");
	assert_false(spawn_is_busy(&worker));
}

static void a_worker_tells_why_it_gave_up(void **state)
{
	(void)state;
	assert_string_equal(end_of(fail_with_a_word, 0), "no argument");
}

static void a_worker_that_dies_without_a_word_is_an_error(void **state)
{
	(void)state;
	assert_string_equal(end_of(kill_itself, 0), "worker killed by signal 15");
	assert_string_equal(end_of(leave, 0), "worker exited with 3");
}

static void a_worker_that_hangs_is_killed_at_its_deadline(void **state)
{
	(void)state;
	assert_string_equal(end_of(hang, 20), "not done before the deadline");
}

static void a_worker_that_is_cancelled_tells_the_reason(void **state)
{
	struct error err;

	(void)state;
	spawn_cancel(&worker, "nothing runs");
	assert_int_equal(start(hang, 0, &err), 0);
	spawn_cancel(&worker, "not wanted");
	await_end();
	assert_string_equal(text, "not wanted");
}

static void cancel_once_told(void (*entry)(const void *))
{
	struct error err;

	assert_int_equal(start(entry, 0, &err), 0);
	while (!spawn_is_reported(&worker))
		turn();
	spawn_cancel(&worker, "not wanted");
	await_end();
}

static void a_worker_that_has_told_its_end_and_stays_can_be_cancelled(void **state)
{
	(void)state;
	cancel_once_told(fail_and_stay);
	assert_string_equal(text, "not wanted");
	cancel_once_told(succeed_and_stay);
	assert_string_equal(text, "not wanted");
}

static void a_worker_that_has_told_its_end_and_stays_is_over_at_its_deadline(void **state)
{
	(void)state;
	assert_string_equal(end_of(fail_and_stay, 200), "no argument");
	assert_string_equal(end_of(succeed_and_stay, 200), "");
}

static void there_is_one_worker_at_a_time(void **state)
{
	struct error err;

	(void)state;
	assert_int_equal(start(hang, 0, &err), 0);
	assert_int_equal(start(succeed, 0, &err), -1);
	assert_string_equal(err.text, "an earlier command still hangs in the kernel");
	spawn_cancel(&worker, "not wanted");
	await_end();
}

#define test_of_worker(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test_of_worker(a_worker_that_is_done_succeeds),
		test_of_worker(a_worker_tells_why_it_gave_up),
		test_of_worker(a_worker_that_dies_without_a_word_is_an_error),
		test_of_worker(a_worker_that_hangs_is_killed_at_its_deadline),
		test_of_worker(a_worker_that_is_cancelled_tells_the_reason),
		test_of_worker(a_worker_that_has_told_its_end_and_stays_can_be_cancelled),
		test_of_worker(a_worker_that_has_told_its_end_and_stays_is_over_at_its_deadline),
		test_of_worker(a_report_pipe_that_somebody_keeps_ends_at_the_deadline),
		test_of_worker(a_cancel_ends_a_reaped_worker_whose_pipe_somebody_keeps),
		test_of_worker(a_result_of_a_reaped_worker_needs_no_epoll),
		test_of_worker(a_worker_that_is_stopped_is_continued),
		test_of_worker(a_worker_that_is_stopped_again_and_again_is_killed),
		test_of_worker(a_worker_that_makes_us_its_tracer_goes_on),
		test_of_worker(there_is_one_worker_at_a_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
