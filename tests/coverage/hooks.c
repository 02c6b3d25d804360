/* SPDX-License-Identifier: Apache-2.0 */
/* Linked around the daemon (ld --wrap): its counts are written where it and its children end. None
 * of them comes to exit(), and a child has another root and another user then: it keeps the
 * directory as an fd. */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <unistd.h>

#include "child/child.h"
#include "daemon.h"

void __gcov_dump(void);
void __gcov_reset(void);

static int directory = -1;

static void counts_write(void)
{
	int here = open(".", O_PATH | O_CLOEXEC);
	mode_t mask = umask(0); /* whoever is next writes to them, too */

	if (directory < 0 || fchdir(directory) < 0)
		return;
	__gcov_dump();
	__gcov_reset();
	umask(mask);
	(void)!fchdir(here);
	close(here);
}

/* The rig's word for the end of a daemon that has no pod's end. */
static void stop(int sig)
{
	(void)sig;
	counts_write();
	kill(getpid(), SIGKILL);
	_exit(1);
}

int __real_daemon_run(struct settings *settings, struct error *err);
int __wrap_daemon_run(struct settings *settings, struct error *err);
int __wrap_daemon_run(struct settings *settings, struct error *err)
{
	const struct sigaction action = {.sa_handler = stop};
	const char *path = getenv("COVERAGE");
	int low = path != NULL ? open(path, O_PATH | O_DIRECTORY | O_CLOEXEC) : -1;
	char depth[12];
	int slashes = 0;

	/* Out of the way of the fds that a test counts on. */
	directory = fcntl(low, F_DUPFD_CLOEXEC, 500);
	close(low);
	/* The names of the counts begin with that path; what is behind it are folders below. */
	for (const char *at = path; at != NULL && *at != '\0'; at++)
		slashes += *at == '/';
	snprintf(depth, sizeof(depth), "%d", slashes);
	setenv("GCOV_PREFIX", ".", 1);
	setenv("GCOV_PREFIX_STRIP", depth, 1);
	setenv("GCOV_ERROR_FILE", "/dev/null", 1);
	sigaction(SIGRTMAX - 1, &action, NULL);
	return __real_daemon_run(settings, err);
}

void __real_child_begin(int report_fd, const int *keep, size_t count);
void __wrap_child_begin(int report_fd, const int *keep, size_t count);
void __wrap_child_begin(int report_fd, const int *keep, size_t count)
{
	int more[64];

	__gcov_reset(); /* the parent counts its own */
	memcpy(more, keep, count * sizeof(*keep));
	more[count] = directory;
	__real_child_begin(report_fd, more, count + 1);
}

void __real_report_alive(void);
void __wrap_report_alive(void);
void __wrap_report_alive(void)
{
	__real_report_alive();
	counts_write();
	close(directory); /* a container may look at its pod's init */
	directory = -1;
}

int __real_execve(const char *path, char *const argv[], char *const envp[]);
int __wrap_execve(const char *path, char *const argv[], char *const envp[]);
int __wrap_execve(const char *path, char *const argv[], char *const envp[])
{
	counts_write();
	return __real_execve(path, argv, envp);
}

_Noreturn void __real__exit(int code);
_Noreturn void __wrap__exit(int code);
_Noreturn void __wrap__exit(int code)
{
	counts_write();
	__real__exit(code);
}

int __real_reboot(int how);
int __wrap_reboot(int how);
int __wrap_reboot(int how)
{
	counts_write();
	return __real_reboot(how);
}
