/* SPDX-License-Identifier: Apache-2.0 */
/* namespaces: tries each way to a new namespace, and what is near. One line each: the call, then 0 or its
 * errno. */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/sched.h>

static void say(const char *what, long result)
{
	dprintf(STDOUT_FILENO, "%s %ld\n", what, result < 0 ? -result : 0);
}

/* The result as the kernel has it. In a child: what works changes only that. */
static void try(const char *what, long number, long first, long second)
{
	int status;

	if (fork() == 0) {
		long result = syscall(number, first, second, 0, 0, 0);

		if (result == 0 && (number == SYS_clone || number == SYS_clone3))
			_exit(0); /* its own child */
		say(what, result < 0 ? -errno : 0);
		_exit(0);
	}
	wait(&status);
}

#ifdef __x86_64__
/* By the entry for 32-bit programs. */
static void try_i386(const char *what, long number, long first, long second)
{
	int status;

	if (fork() == 0) {
		int result;

		__asm__ volatile("int $0x80"
				 : "=a"(result)
				 : "a"(number), "b"(first), "c"(second), "d"(0), "S"(0), "D"(0)
				 : "memory", "r8", "r9", "r10", "r11");
		if (result == 0 && number == 120)
			_exit(0);
		say(what, result);
		_exit(0);
	}
	wait(&status);
}
#endif

int main(void)
{
	struct clone_args args = {.flags = CLONE_NEWUSER, .exit_signal = SIGCHLD};

	try("unshare-user", SYS_unshare, CLONE_NEWUSER, 0);
	try("unshare-mount", SYS_unshare, CLONE_NEWNS, 0);
	try("unshare-files", SYS_unshare, CLONE_FILES, 0);
	try("setns", SYS_setns, -1, 0);
	try("clone-user", SYS_clone, CLONE_NEWUSER | SIGCHLD, 0);
	try("clone-parent", SYS_clone, CLONE_PARENT | SIGCHLD, 0);
	try("clone", SYS_clone, SIGCHLD, 0);
	try("clone3", SYS_clone3, (long)&args, sizeof(args));
#ifdef __x86_64__
	try_i386("i386-unshare", 310, CLONE_NEWUSER, 0);
	try_i386("i386-setns", 346, -1, 0);
	try_i386("i386-clone", 120, CLONE_NEWUSER | SIGCHLD, 0);
	try_i386("i386-clone3", 435, 0, 0);
	try_i386("i386-getpgid", 132, 0, 0);
	try("x32-unshare", 0x40000000 | SYS_unshare, CLONE_NEWUSER, 0);
	try("x32-getpid", 0x40000000 | SYS_getpid, 0, 0);
#endif
	return 0;
}
