/* SPDX-License-Identifier: Apache-2.0 */
/* quotas watches|keys|ptys: takes as much as there is of what the kernel counts by user; says how much,
 * and the errno of what it did not get; and stays. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* More than a guest of 256 MiB gives to one user by default. */
#define WATCHED 400
#define KEYS    100

static int watches(void)
{
	int fds[WATCHED], taken = 0;

	for (int i = 0; i < WATCHED; i++)
		fds[i] = eventfd(0, 0);
	for (int i = 0; i < WATCHED; i++) {
		int epoll = epoll_create1(0);

		for (int j = 0; j < WATCHED; j++, taken++) {
			struct epoll_event event = {.events = EPOLLIN};

			if (epoll_ctl(epoll, EPOLL_CTL_ADD, fds[j], &event) < 0)
				return taken;
		}
	}
	errno = 0;
	return taken;
}

/* As one user after the other: each has a quota of its own. */
static int keys(void)
{
	static char payload[19000];
	int taken = 0, status, why = 0;

	for (unsigned uid = 1000; uid < 1000 + KEYS; uid++) {
		if (fork() == 0)
			_exit(syscall(SYS_setresuid, uid, uid, uid) < 0 ||
						syscall(SYS_add_key, "user", "x", payload,
							sizeof(payload), -4) < 0
					? errno
					: 0);
		wait(&status);
		if (status == 0)
			taken++;
		else
			why = WEXITSTATUS(status);
	}
	errno = why;
	return taken;
}

/* Until a new process, with no fd yet, gets none. */
static int ptys(void)
{
	int taken = 0, result[2], pipes[2];

	do {
		if (pipe(pipes) < 0)
			return taken;
		if (fork() == 0) {
			result[0] = 0;
			while (open("/dev/ptmx", O_RDWR | O_NOCTTY) >= 0)
				result[0]++;
			result[1] = errno;
			(void)!write(pipes[1], result, sizeof(result));
			for (;;)
				pause();
		}
		(void)!read(pipes[0], result, sizeof(result));
		close(pipes[0]);
		close(pipes[1]);
		taken += result[0];
	} while (result[0] > 0);
	errno = result[1];
	return taken;
}

int main(int argc, char **argv)
{
	const char *what = argc == 2 ? argv[1] : "";
	int taken;

	if (strcmp(what, "watches") == 0)
		taken = watches();
	else if (strcmp(what, "keys") == 0)
		taken = keys();
	else if (strcmp(what, "ptys") == 0)
		taken = ptys();
	else
		return 2;
	dprintf(STDOUT_FILENO, "taken %d errno %d\n", taken, errno);
	for (;;)
		pause();
}
