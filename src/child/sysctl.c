/* SPDX-License-Identifier: Apache-2.0 */
/* The sysctls that a container asks for. */
#include "child/sysctl.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/count.h"
#include "child/child.h"

/* Those of the container's namespaces, and those of the whole guest, which is the pod's. Not those that affect
 * the agent: programs that the kernel starts outside of all containers (core_pattern, modprobe), panics,
 * modules. A slash at the end stands for everything below. */
static const char *const allowed[] = {
	"fs/aio-max-nr",
	"fs/file-max",
	"fs/inotify/",
	"fs/mqueue/",
	"fs/nr_open",
	"kernel/auto_msgmni",
	"kernel/domainname",
	"kernel/hostname",
	"kernel/keys/",
	"kernel/msgmax",
	"kernel/msgmnb",
	"kernel/msgmni",
	"kernel/pid_max",
	"kernel/sem",
	"kernel/shm_rmid_forced",
	"kernel/shmall",
	"kernel/shmmax",
	"kernel/shmmni",
	"kernel/threads-max",
	"net/",
	"vm/",
};

static const char *const refused[] = {
	"vm/panic_on_oom",
};

static bool is_listed(const char *const *list, size_t count, const char *path)
{
	for (size_t i = 0; i < count; i++) {
		size_t length = strlen(list[i]);
		bool below = list[i][length - 1] == '/';

		if (strncmp(path, list[i], length) == 0 && (below || path[length] == '\0'))
			return true;
	}
	return false;
}

bool child_sysctl_path(const char *name, char path[SYSCTL_PATH_MAX])
{
	size_t length = strlen(name);
	bool dots = name[strcspn(name, "./")] == '.';

	if (length >= SYSCTL_PATH_MAX)
		return false;
	for (size_t i = 0; i <= length; i++)
		path[i] = !dots ? name[i] : name[i] == '.' ? '/' : name[i] == '/' ? '.' : name[i];
	/* Another spelling of a refused name would not be found in `refused`. */
	for (const char *at = path; (at = strchr(at, '/')) != NULL; at++)
		if (at[1] == '/' || at[1] == '.')
			return false;
	return is_listed(allowed, COUNT(allowed), path) &&
		!is_listed(refused, COUNT(refused), path);
}

void child_sysctl_set(int proc, const char *name, const char *value)
{
	const struct open_how how = {
		.flags = O_WRONLY | O_CLOEXEC,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV,
	};
	char path[sizeof("sys/") + SYSCTL_PATH_MAX] = "sys/";
	struct statfs fs;
	int fd;

	if (!child_sysctl_path(name, path + strlen(path)))
		die("sysctl '%s': a container may not set it", name);
	fd = (int)syscall(SYS_openat2, proc, path, &how, sizeof(how));
	if (fd < 0 && errno == ENOENT)
		die("sysctl '%s': there is no such sysctl", name);
	if (fd < 0 || fstatfs(fd, &fs) < 0)
		die_errno("sysctl '%s'", name);
	if (fs.f_type != PROC_SUPER_MAGIC)
		die("sysctl '%s': not a file of procfs", name);
	/* A write of 0 bytes changes nothing; a newline empties a sysctl that may be empty. */
	if (value[0] == '\0')
		value = "\n";
	if (write(fd, value, strlen(value)) < 0)
		die_errno("sysctl '%s' = '%s'", name, value);
	close(fd);
}
