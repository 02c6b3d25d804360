/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/queue.h"
#include "child/child.h"
#include "child/report.h"

/* Runs `main` as the daemon runs a child; what it reported, and how it ended. */
static struct report run(void (*child_main)(void), const int *keep, size_t count, int *status)
{
	struct report report = {0};
	int report_pipe[2];
	pid_t pid;

	assert_int_equal(pipe2(report_pipe, O_CLOEXEC), 0);
	pid = fork();
	if (pid == 0) {
		child_begin(report_pipe[1], keep, count);
		child_main();
		_exit(99);
	}
	close(report_pipe[1]);
	while (report_read(&report, report_pipe[0]) > 0)
		;
	close(report_pipe[0]);
	assert_int_equal(waitpid(pid, status, 0), pid);
	return report;
}

static int kept[3], closed[3];

static void check_fds(void)
{
	for (size_t i = 0; i < 3; i++) {
		if (fcntl(kept[i], F_GETFD) < 0)
			die("fd %d is gone", kept[i]);
		if (fcntl(closed[i], F_GETFD) >= 0)
			die("fd %d is left", closed[i]);
	}
	report_done(NULL, 0);
}

static void all_fds_are_closed_but_those_that_are_kept(void **state)
{
	struct report report;
	int keep[4], status;

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		closed[i] = open("/dev/null", O_RDONLY | O_CLOEXEC);
		kept[2 - i] = open("/dev/null", O_RDONLY | O_CLOEXEC);
	}
	closed[2] = dup2(closed[2], 1000);
	memcpy(keep, kept, sizeof(kept));
	keep[3] = -1; /* a caller that has none */
	report = run(check_fds, keep, 4, &status);
	assert_string_equal(report.error.text, "");
	assert_true(report.done);
	for (size_t i = 0; i < 3; i++) {
		close(kept[i]);
		close(closed[i]);
	}
}

static void check_signals(void)
{
	struct sigaction action;
	sigset_t blocked;

	sigprocmask(SIG_SETMASK, NULL, &blocked);
	for (int sig = 1; sig < SIGRTMAX; sig++) {
		if (sigismember(&blocked, sig) == 1)
			die("signal %d is blocked", sig);
		if (sigaction(sig, NULL, &action) == 0 && action.sa_handler != SIG_DFL)
			die("signal %d has a handler", sig);
	}
	report_done(NULL, 0);
}

static void catch_signal(int sig)
{
	(void)sig;
}

static void all_signals_are_as_a_program_expects_them(void **state)
{
	struct report report;
	sigset_t all;
	int status;

	(void)state;
	for (int sig = 1; sig < SIGRTMIN; sig++)
		signal(sig, SIG_DFL);  /* as main does; cmocka has some, and nohup ignores one */
	signal(SIGABRT, catch_signal); /* as boot does */
	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, NULL);
	report = run(check_signals, NULL, 0, &status);
	sigemptyset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	signal(SIGABRT, SIG_DFL);
	assert_string_equal(report.error.text, "");
	assert_true(report.done);
}

static void die_of_own_words(void)
{
	errno = EXDEV;
	die("image '%s': no such directory below the share", "web");
}

static void die_of_errno(void)
{
	errno = EROFS;
	die_errno("create '%s'", "/dev");
}

static void a_death_tells_what_and_why(void **state)
{
	struct report report;
	int status;

	(void)state;
	report = run(die_of_own_words, NULL, 0, &status);
	assert_true(report.failed && !report.done && !report.executing);
	assert_int_equal(report.error.code, EXDEV);
	assert_string_equal(report.error.text, "image 'web': no such directory below the share");
	assert_int_equal(WEXITSTATUS(status), 1);
	report = run(die_of_errno, NULL, 0, &status);
	assert_int_equal(report.error.code, EROFS);
	assert_string_equal(report.error.text, "create '/dev': read-only file system");
}

static void live_on(void)
{
	report_result(NULL, 0);
	report_alive();
	_exit(42);
}

static void who_lives_on_closes_the_report(void **state)
{
	struct report report;
	int status;

	(void)state;
	report = run(live_on, NULL, 0, &status);
	assert_true(report.done && !report.failed);
	assert_int_equal(WEXITSTATUS(status), 42);
}

static void execute(const char *path)
{
	char *argv[] = {"program", "-c", "test ! -e /proc/self/fd/50 && exit 7", NULL};
	char *envp[] = {NULL};

	child_execve(path, argv, envp, "found", 6);
}

static void execute_shell(void)
{
	dup2(0, 50); /* without close-on-exec, as a mistake would leave it */
	execute("/bin/sh");
}

static void execute_nothing(void)
{
	execute("/no/such/program");
}

static char script[] = "/tmp/test_child.XXXXXX";

static void execute_script(void)
{
	execute(script);
}

static void a_program_that_runs_leaves_a_bare_end_behind_executing(void **state)
{
	struct report report;
	int status;

	(void)state;
	report = run(execute_shell, NULL, 0, &status);
	assert_true(report.executing && !report.failed && !report.done);
	assert_int_equal(report.result_length, 6);
	assert_memory_equal(report.result, "found", 6);
	report_close(&report);
	assert_int_equal(WEXITSTATUS(status), 7);
}

static void a_program_that_does_not_run_says_why(void **state)
{
	struct report report;
	int status, fd;

	(void)state;
	report = run(execute_nothing, NULL, 0, &status);
	assert_true(report.executing && report.failed);
	assert_string_equal(
		report.error.text, "exec '/no/such/program': no such file or directory");
	report_close(&report);

	fd = mkstemp(script);
	assert_int_equal(write(fd, "#!/no/such/shell\n", 17), 17);
	assert_int_equal(fchmod(fd, 0755), 0);
	close(fd);
	report = run(execute_script, NULL, 0, &status);
	unlink(script);
	assert_true(report.failed);
	assert_int_equal(report.error.code, ENOENT);
	assert_non_null(
		strstr(report.error.text, "the interpreter or loader that it needs is missing"));
	report_close(&report);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_fds_are_closed_but_those_that_are_kept),
		cmocka_unit_test(all_signals_are_as_a_program_expects_them),
		cmocka_unit_test(a_death_tells_what_and_why),
		cmocka_unit_test(who_lives_on_closes_the_report),
		cmocka_unit_test(a_program_that_runs_leaves_a_bare_end_behind_executing),
		cmocka_unit_test(a_program_that_does_not_run_says_why),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
