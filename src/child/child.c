/* SPDX-License-Identifier: Apache-2.0 */
/* First and last moments of every child: its fds and signals, its report, its execve. */
#include "child/child.h"

#include <errno.h>
#include <limits.h>
#include <linux/close_range.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/count.h"
#include "child/report.h"

/* Where die() reports. */
static int report_pipe = -1;

/* All signals that the agent ever catches (boot); it ignores none. 64 system calls instead of 5 would
 * show in the cost of an exec. */
static const int caught[] = {SIGABRT, SIGSEGV, SIGBUS, SIGILL, SIGFPE};

void child_begin(int report_fd, const int *keep, size_t count)
{
	unsigned from = STDERR_FILENO + 1, kept;
	sigset_t none;

	/* First of all: a child may live for seconds, and the other end of a pipe that it holds open would see no
	 * EOF. `kept` is the next fd that stays; -1, as unsigned, is none. */
	report_pipe = report_fd;
	do {
		kept = (unsigned)report_fd >= from ? (unsigned)report_fd : UINT_MAX;
		for (size_t i = 0; i < count; i++)
			if ((unsigned)keep[i] >= from && (unsigned)keep[i] < kept)
				kept = (unsigned)keep[i];
		if (from < kept)
			syscall(SYS_close_range, from, kept - 1, 0);
		from = kept + 1;
	} while (kept != UINT_MAX);

	for (size_t i = 0; i < COUNT(caught); i++)
		signal(caught[i], SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

void die_error(const struct error *err)
{
	report_write(
		report_pipe, REPORT_ERROR, err, offsetof(struct error, text) + strlen(err->text));
	_exit(1);
}

void die(const char *fmt, ...)
{
	struct error err;
	va_list args;

	va_start(args, fmt);
	error_vset(&err, errno, fmt, args);
	va_end(args);
	die_error(&err);
}

void die_errno(const char *fmt, ...)
{
	struct error err;
	va_list args;

	va_start(args, fmt);
	error_verrno(&err, fmt, args);
	va_end(args);
	die_error(&err);
}

void report_result(const void *result, size_t length)
{
	report_write(report_pipe, REPORT_DONE, result, length);
}

void report_done(const void *result, size_t length)
{
	report_result(result, length);
	_exit(0);
}

void report_alive(void)
{
	close(report_pipe);
	report_pipe = -1;
}

void child_execve(
	const char *path, char *const argv[], char *const envp[], const void *result, size_t length)
{
	/* Every fd is opened close-on-exec; this is a second line of defence. */
	syscall(SYS_close_range, STDERR_FILENO + 1, ~0U, CLOSE_RANGE_CLOEXEC);
	report_write(report_pipe, REPORT_EXECUTING, result, length);
	execve(path, argv, envp);
	/* ENOENT is also for a script whose interpreter is missing; access() on a missing file leaves the
	 * same errno. */
	if (errno == ENOENT && access(path, F_OK) == 0)
		die("exec '%s': the interpreter or loader that it needs is missing", path);
	die_errno("exec '%s'", path);
}
