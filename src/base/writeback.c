/* SPDX-License-Identifier: Apache-2.0 */
/* What containers wrote, on its way to disks and servers. */
#include "base/writeback.h"

#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/fork.h"
#include "base/number.h"

/* The number behind `key`, which begins a line; 0: there is none. */
static uint64_t number_find(const char *text, const char *key)
{
	const char *at = file_line(text, strlen(text), key);
	uint64_t number = 0;

	if (at)
		number_take(&at, UINT64_MAX, &number);
	return number;
}

uint64_t writeback_count(void)
{
	/* Not on the stack: that of the handler of faults is small. */
	static char text[8192];

	if (file_read("/proc/vmstat", text, sizeof(text)) < 0)
		return 0;
	/* Pages of files that have been written, and what went to disks, including a journal's blocks. */
	return number_find(text, "nr_written ") + number_find(text, "pgpgout ");
}

void writeback_finish(void)
{
	const struct timespec moment = {.tv_nsec = 100000000};
	const struct timespec step = {.tv_sec = WRITEBACK_STEP_MS / 1000};
	uint64_t until = clock_now() + WRITEBACK_MS_MAX;
	uint64_t written = writeback_count(), now;
	sigset_t set;
	pid_t pid;

	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_BLOCK, &set, NULL);
	/* Memory may be short for a moment. */
	for (int tries = 20; (pid = fork_raw()) < 0 && tries > 0; tries--)
		nanosleep(&moment, NULL);
	if (pid == 0) {
		sync();
		_exit(0);
	}
	while (pid > 0 && waitpid(pid, NULL, WNOHANG) == 0 && clock_now() < until) {
		/* SIGCHLD: perhaps another child's. */
		if (sigtimedwait(&set, NULL, &step) >= 0)
			continue;
		now = writeback_count();
		if (now == written)
			break;
		written = now;
	}
}
