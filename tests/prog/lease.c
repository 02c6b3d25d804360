/* SPDX-License-Identifier: Apache-2.0 */
/* lease FILE: holds a write lease on FILE. Who opens it, if only to execute it, stops there; then it
 * looks at every other process in /proc that it can see, says what it could open of each, and lets
 * go. One line a process: comm, then errno for exe, mem and environ. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int try(const char *pid, const char *name, int flags)
{
	char path[300];
	int fd;

	snprintf(path, sizeof(path), "/proc/%s/%s", pid, name);
	fd = open(path, flags);
	if (fd < 0)
		return errno;
	close(fd);
	return 0;
}

static void look(const char *pid)
{
	char path[300], comm[64] = "";
	int fd;

	snprintf(path, sizeof(path), "/proc/%s/comm", pid);
	fd = open(path, O_RDONLY);
	if (fd < 0 || read(fd, comm, sizeof(comm) - 1) <= 0)
		return;
	comm[strcspn(comm, "\n")] = '\0';
	dprintf(STDOUT_FILENO, "%s %d %d %d\n", comm, try(pid, "exe", O_RDONLY),
		try(pid, "mem", O_RDWR), try(pid, "environ", O_RDONLY));
}

int main(int argc, char **argv)
{
	int fd = argc == 2 ? open(argv[1], O_RDONLY) : -1, sig;
	struct dirent *entry;
	sigset_t set;
	DIR *proc;

	sigemptyset(&set);
	sigaddset(&set, SIGIO);
	sigprocmask(SIG_BLOCK, &set, NULL);
	if (fd < 0 || fcntl(fd, F_SETLEASE, F_WRLCK) < 0) {
		perror("lease");
		return 1;
	}
	dprintf(STDOUT_FILENO, "held\n");
	sigwait(&set, &sig);
	proc = opendir("/proc");
	while (proc != NULL && (entry = readdir(proc)) != NULL)
		if (strspn(entry->d_name, "0123456789") == strlen(entry->d_name) &&
			atoi(entry->d_name) != getpid())
			look(entry->d_name);
	dprintf(STDOUT_FILENO, "done\n");
	fcntl(fd, F_SETLEASE, F_UNLCK);
	return 0;
}
