/* SPDX-License-Identifier: Apache-2.0 */
/* Linked around the daemon (ld --wrap): the call number $FAULT of those below fails, counted from
 * the first sleep of the loop on; with $FAULT=0 none does; with $FAULT=NAME each call of that name
 * fails while $FAULT_WHILE is there; with $FAULT=epoll no pipe can be waited for, ever. In the daemon
 * alone: a child is another matter. It says which one it was. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static unsigned long due, count;
static bool armed, in_child;

static bool fails_for_now(const char *call)
{
	const char *fault = getenv("FAULT"), *flag = getenv("FAULT_WHILE");

	return !in_child && fault && flag && strcmp(fault, call) == 0 && access(flag, F_OK) == 0;
}

static bool fails(const char *call, int code)
{
	if (fails_for_now(call)) {
		errno = code;
		return true;
	}
	if (!armed || ++count != due)
		return false;
	armed = false;
	dprintf(STDERR_FILENO, "fault: %s: %s\n", call, strerror(code));
	errno = code;
	return true;
}

#define WRAP(type, call, failure, code, parameters, arguments) \
	type __real_##call parameters;                         \
	type __wrap_##call parameters;                         \
	type __wrap_##call parameters                          \
	{                                                      \
		if (fails(#call, code))                        \
			return failure;                        \
		return __real_##call arguments;                \
	}

WRAP(void *, malloc, NULL, ENOMEM, (size_t size), (size))
WRAP(void *, calloc, NULL, ENOMEM, (size_t n, size_t size), (n, size))
WRAP(char *, strdup, NULL, ENOMEM, (const char *text), (text))
WRAP(void *, mmap, MAP_FAILED, ENOMEM,
	(void *at, size_t size, int access, int flags, int fd, off_t from),
	(at, size, access, flags, fd, from))
WRAP(int, pipe2, -1, EMFILE, (int fds[2], int flags), (fds, flags))
WRAP(ssize_t, read, -1, EIO, (int fd, void *to, size_t size), (fd, to, size))
WRAP(ssize_t, readv, -1, EIO, (int fd, const struct iovec *v, int n), (fd, v, n))
WRAP(ssize_t, write, -1, EIO, (int fd, const void *from, size_t size), (fd, from, size))
WRAP(ssize_t, writev, -1, EIO, (int fd, const struct iovec *v, int n), (fd, v, n))

int __real_epoll_ctl(int fd, int op, int which, struct epoll_event *event);
int __wrap_epoll_ctl(int fd, int op, int which, struct epoll_event *event);
int __wrap_epoll_ctl(int fd, int op, int which, struct epoll_event *event)
{
	const char *fault = getenv("FAULT");
	struct stat status;

	/* EPOLL_CTL_MOD and EPOLL_CTL_DEL allocate nothing and do not fail (ep_modify in the kernel's
	 * fs/eventpoll.c returns 0). "epoll": for ever, of every pipe: somebody has taken all watches. */
	if (op == EPOLL_CTL_ADD &&
		((fault && strcmp(fault, "epoll") == 0 && fstat(which, &status) == 0 &&
			 S_ISFIFO(status.st_mode)) ||
			fails("epoll_ctl", ENOSPC))) {
		errno = ENOSPC;
		return -1;
	}
	return __real_epoll_ctl(fd, op, which, event);
}

WRAP(int, accept4, -1, EMFILE, (int fd, struct sockaddr *at, socklen_t *length, int flags),
	(fd, at, length, flags))
WRAP(int, setns, -1, ENOMEM, (int fd, int type), (fd, type))
WRAP(int, unshare, -1, ENOSPC, (int flags), (flags))
WRAP(int, mkdirat, -1, ENOSPC, (int fd, const char *path, mode_t mode), (fd, path, mode))
WRAP(int, unlinkat, -1, EBUSY, (int fd, const char *path, int flags), (fd, path, flags))

pid_t __real_fork_raw(void);
pid_t __wrap_fork_raw(void);
pid_t __wrap_fork_raw(void)
{
	pid_t pid = fails("fork", EAGAIN) ? -1 : __real_fork_raw();

	if (pid == 0) {
		armed = false;
		in_child = true;
	}
	return pid;
}

int __real_epoll_wait(int fd, struct epoll_event *events, int most, int timeout);
int __wrap_epoll_wait(int fd, struct epoll_event *events, int most, int timeout);
int __wrap_epoll_wait(int fd, struct epoll_event *events, int most, int timeout)
{
	if (due == 0 && getenv("FAULT") != NULL) {
		due = strtoul(getenv("FAULT"), NULL, 10);
		armed = due != 0;
	}
	return __real_epoll_wait(fd, events, most, timeout);
}

int __real_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...)
{
	va_list arguments;
	mode_t mode;

	va_start(arguments, flags);
	mode = flags & O_CREAT ? va_arg(arguments, mode_t) : 0;
	va_end(arguments);
	return fails("open", EMFILE) ? -1 : __real_open(path, flags, mode);
}

int __real_openat(int directory, const char *path, int flags, ...);
int __wrap_openat(int directory, const char *path, int flags, ...);
int __wrap_openat(int directory, const char *path, int flags, ...)
{
	va_list arguments;
	mode_t mode;

	va_start(arguments, flags);
	mode = flags & O_CREAT ? va_arg(arguments, mode_t) : 0;
	va_end(arguments);
	return fails("openat", ENFILE) ? -1 : __real_openat(directory, path, flags, mode);
}

int __real_ioctl(int fd, unsigned long request, ...);
int __wrap_ioctl(int fd, unsigned long request, ...);
int __wrap_ioctl(int fd, unsigned long request, ...)
{
	va_list arguments;
	void *argument;

	va_start(arguments, request);
	argument = va_arg(arguments, void *);
	va_end(arguments);
	return fails("ioctl", EIO) ? -1 : __real_ioctl(fd, request, argument);
}

/* fsopen, fsmount and their like: no libc has them. */
long __real_syscall(long number, ...);
long __wrap_syscall(long number, ...);
__attribute__((no_sanitize_address)) /* it takes more arguments than there are */
long __wrap_syscall(long number, ...)
{
	va_list arguments;
	long a[6];

	va_start(arguments, number);
	for (int i = 0; i < 6; i++)
		a[i] = va_arg(arguments, long);
	va_end(arguments);
	if (fails("syscall", ENOMEM))
		return -1;
	return __real_syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}
