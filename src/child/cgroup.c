/* SPDX-License-Identifier: Apache-2.0 */
/* Cgroups in which a container may have made some of its own: joined, read, signalled, removed. */
#include "child/cgroup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/limits.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "base/cgroup.h"
#include "base/file.h"
#include "base/format.h"
#include "child/child.h"
#include "limits.h"

/* Cgroups and processes of one walk: there are never so many at once. */
#define STEPS_MAX (1u << 17)

struct walk {
	unsigned steps; /* so far */
	pid_t *pids;    /* gets all processes; NULL: the cgroups are removed */
	size_t count;
};

static void processes_read(struct walk *walk, int cgroup)
{
	int fd = openat(cgroup, "cgroup.procs", O_RDONLY | O_CLOEXEC);
	char text[4096];
	ssize_t n = fd < 0 ? -1 : 0;
	pid_t pid = 0;

	while (fd >= 0 && walk->steps < STEPS_MAX && (n = read(fd, text, sizeof(text))) > 0)
		for (ssize_t i = 0; i < n; i++) {
			if (text[i] != '\n') {
				pid = 10 * pid + (text[i] - '0');
				continue;
			}
			/* 0 is a process of a PID namespace that is not below ours. */
			if (pid > 0 && walk->steps++ < STEPS_MAX)
				walk->pids[walk->count++] = pid;
			pid = 0;
		}
	/* A threaded cgroup cannot be read (the one above lists its processes), nor one that was removed. */
	if (n < 0 && errno != EOPNOTSUPP && errno != ENODEV && errno != ENOENT)
		die_errno("read cgroup.procs");
	fd_close(&fd);
}

/* The cgroup `name` of `parent`, after all below it. */
static void cgroup_walk(struct walk *walk, int parent, const char *name, unsigned depth)
{
	int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	DIR *entries = fd >= 0 ? fdopendir(fd) : NULL;
	struct dirent *entry;

	if (!entries) {
		fd_close(&fd);
		return;
	}
	while (depth > 0 && (entry = readdir(entries)) != NULL)
		if (entry->d_type == DT_DIR && strcmp(entry->d_name, ".") != 0 &&
			strcmp(entry->d_name, "..") != 0 && walk->steps++ < STEPS_MAX)
			cgroup_walk(walk, fd, entry->d_name, depth - 1);
	if (walk->pids)
		processes_read(walk, fd);
	else
		unlinkat(parent, name, AT_REMOVEDIR);
	closedir(entries);
}

const pid_t *child_cgroup_pids(int cgroup, size_t *count)
{
	static pid_t pids[STEPS_MAX];
	struct walk walk = {.pids = pids};

	cgroup_walk(&walk, cgroup, ".", CGROUP_DEPTH_MAX);
	*count = walk.count;
	return pids;
}

void child_cgroup_signal(const void *child_cgroup_signal)
{
	const struct child_cgroup_signal *plan = child_cgroup_signal;
	size_t count;
	const pid_t *pids = child_cgroup_pids(plan->cgroup, &count);

	while (count > 0)
		kill(pids[--count], plan->signal);
	report_done(NULL, 0);
}

void child_cgroup_remove(const void *child_cgroup_remove)
{
	const struct child_cgroup_remove *plan = child_cgroup_remove;
	struct walk walk = {0};

	cgroup_walk(&walk, plan->parent, plan->name, CGROUP_DEPTH_MAX);
	report_done(NULL, 0);
}

static void namespace_enter(int fd)
{
	if (setns(fd, CLONE_NEWCGROUP) < 0)
		die_errno("join the cgroup namespace");
}

/* The path of a process is read in its own cgroup namespace, where it begins at its container's cgroup; it is
 * joined from ours, because no process outside a namespace can be moved from within it. */
static int join_beside(int cgroup, pid_t pid, struct error *err)
{
	char file[PATH_MAX], text[PATH_MAX];
	int ours = open("/proc/self/ns/cgroup", O_RDONLY | O_CLOEXEC), its, rc;
	const char *path;
	ssize_t length;

	format(file, sizeof(file), "/proc/%d/ns/cgroup", (int)pid);
	its = open(file, O_RDONLY | O_CLOEXEC);
	if (ours < 0 || its < 0)
		die_errno("open '%s'", file);
	namespace_enter(its);
	format(file, sizeof(file), "/proc/%d/cgroup", (int)pid);
	length = file_read(file, text, sizeof(text));
	if (length < 0)
		die_errno("read '%s'", file);
	path = file_line(text, (size_t)length, "0::/");
	if (!path || path[0] == '.')
		die("%s: not in its container's cgroup", file);
	format(file, sizeof(file), "%.*s/cgroup.procs", (int)strcspn(path, "\n"), path);
	namespace_enter(ours);
	rc = cgroup_set(cgroup, file, "0", err);
	namespace_enter(its);
	close(its);
	close(ours);
	return rc;
}

bool child_cgroup_join(int cgroup, pid_t beside)
{
	struct error err;

	if (cgroup_set(cgroup, "cgroup.procs", "0", &err) == 0)
		return true;
	if (beside > 0 && (err.code == EBUSY || err.code == EOPNOTSUPP) &&
		join_beside(cgroup, beside, &err) == 0)
		return false;
	error_wrap(&err, "join the container's cgroup");
	die_error(&err);
}
