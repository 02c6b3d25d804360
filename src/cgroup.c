/* SPDX-License-Identifier: Apache-2.0 */
/* The pod's and containers' cgroups (v2). */
#include "cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

int cgroup_create(int parent, const char *name, struct error *err)
{
	int fd;

	if (mkdirat(parent, name, 0755) < 0 && errno != EEXIST)
		return error_errno(err, errno, "create cgroup '%s'", name);
	fd = openat(parent, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return error_errno(err, errno, "open cgroup '%s'", name);
	return fd;
}

int cgroup_open_procs(int cgroup, struct error *err)
{
	int fd = openat(cgroup, "cgroup.procs", O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return error_errno(err, errno, "open cgroup.procs");
	return fd;
}

int cgroup_kill(int cgroup, struct error *err)
{
	int fd = openat(cgroup, "cgroup.kill", O_WRONLY | O_CLOEXEC), result = 0;

	if (fd < 0)
		return error_errno(err, errno, "open cgroup.kill");
	if (write(fd, "1", 1) < 0)
		result = error_errno(err, errno, "write cgroup.kill");
	close(fd);
	return result;
}

int cgroup_signal(int cgroup, int signal, pid_t except, struct error *err)
{
	int fd = openat(cgroup, "cgroup.procs", O_RDONLY | O_CLOEXEC);
	char text[4096];
	ssize_t n;
	pid_t pid = 0;

	if (fd < 0)
		return error_errno(err, errno, "open cgroup.procs");
	/* One pid a line, in our PID namespace; 0 is one that lives in none below it. */
	while ((n = read(fd, text, sizeof(text))) > 0) {
		for (ssize_t i = 0; i < n; i++) {
			if (text[i] != '\n') {
				pid = 10 * pid + (text[i] - '0');
				continue;
			}
			if (pid > 0 && pid != except)
				kill(pid, signal);
			pid = 0;
		}
	}
	close(fd);
	return n < 0 ? error_errno(err, errno, "read cgroup.procs") : 0;
}

int cgroup_remove(int parent, const char *name, struct error *err)
{
	if (unlinkat(parent, name, AT_REMOVEDIR) < 0 && errno != ENOENT)
		return error_errno(err, errno, "remove cgroup '%s'", name);
	return 0;
}
