/* SPDX-License-Identifier: Apache-2.0 */
/* From fork to execve: the first process of a container, or one more in it. */
#include "child/exec.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/limits.h>

#include "base/device_filter.h"
#include "base/file.h"
#include "base/format.h"
#include "child/cgroup.h"
#include "child/child.h"
#include "child/mount.h"
#include "child/path.h"
#include "child/privileges.h"
#include "child/rootfs.h"
#include "child/user.h"
#include "spec/privilege.h"

#define DEFAULT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

/* Not on the stack or the heap: each page that a child touches costs it a fault, and all that most of them need
 * is in one page here. */
static struct {
	size_t used;
	char space[3072]; /* for the environment */
	struct child_user user;
	struct user_known learned;
	char path[PATH_MAX];
} memory __attribute__((aligned(4096)));

static void *allocate(size_t size)
{
	char *start = memory.space + memory.used;

	size = (size + sizeof(char *) - 1) & ~(sizeof(char *) - 1);
	if (size > sizeof(memory.space) - memory.used)
		start = malloc(size);
	else
		memory.used += size;
	if (!start)
		die_errno("environment");
	return start;
}

/* Adds a variable, or replaces its value. */
static void environment_set(char **variables, const char *name, const char *value)
{
	size_t length = strlen(name), size = length + strlen(value) + 2;
	char *variable = allocate(size);

	format(variable, size, "%s=%s", name, value);
	while (*variables && strncmp(*variables, variable, length + 1) != 0)
		variables++;
	*variables = variable;
}

/* NULL-terminated "name=value"; the first is PATH. */
static char **environment_make(const struct child_exec *exec, const struct child_user *user)
{
	const struct process_spec *process = exec->process;
	size_t defaults = 5, most = defaults + exec->container_envs_count + process->envs_count;
	char **variables = memset(
		allocate((most + 1) * sizeof(*variables)), 0, (most + 1) * sizeof(*variables));

	environment_set(variables, "PATH", DEFAULT_PATH);
	environment_set(variables, "HOME", user->home);
	if (user->name[0] != '\0')
		environment_set(variables, "USER", user->name);
	if (exec->hostname[0] != '\0')
		environment_set(variables, "HOSTNAME", exec->hostname);
	if (exec->terminal >= 0)
		environment_set(variables, "TERM", "xterm");
	for (size_t i = 0; i < exec->container_envs_count; i++)
		environment_set(
			variables, exec->container_envs[i].env, exec->container_envs[i].value);
	for (size_t i = 0; i < process->envs_count; i++)
		environment_set(variables, process->envs[i].env, process->envs[i].value);
	return variables;
}

/* A session, its terminal if it has one, and fds 0 to 2. */
static void stdio_set(const struct child_exec *exec, const struct child_user *user)
{
	int slave = exec->terminal;

	if (setsid() < 0)
		die_errno("make a session");
	if (slave >= 0 && ioctl(slave, TIOCSCTTY, 0) < 0)
		die_errno("make the terminal the controlling one");
	/* The group stays devpts's gid=5, which may write to it. */
	if (slave >= 0 && fchown(slave, user->uid, (gid_t)-1) < 0)
		die_errno("give the terminal to uid %u", user->uid);
	for (int i = 0; i < 3; i++) {
		/* A process that opens /dev/stdout opens the pipe again: it must own it. */
		if (exec->stdio[i] >= 0 && fchown(exec->stdio[i], user->uid, user->gid) < 0)
			die_errno("give stdio to uid %u", user->uid);
		if (dup2(exec->stdio[i] >= 0 ? exec->stdio[i] : slave, i) < 0)
			die_errno("set stdio");
	}
}

static void workdir_enter(int root, const char *path)
{
	int fd = child_path_open(root, path, O_PATH | O_DIRECTORY);

	if (fd < 0 && errno == ENOENT)
		die("workdir '%s': no such directory", path);
	if (fd < 0 || fchdir(fd) < 0)
		die_errno("workdir '%s'", path);
	close(fd);
	/* The system call itself, which returns "(unreachable)/…" for a place outside the root. */
	if (syscall(SYS_getcwd, memory.path, sizeof(memory.path)) < 0)
		die_errno("workdir '%s'", path);
	if (memory.path[0] != '/')
		die("workdir '%s': outside the container", path);
}

const char *program_find(const char *name, const char *path, char *found, size_t size)
{
	int why = ENOENT, length;
	struct stat st;

	if (strchr(name, '/'))
		return name;
	for (const char *at = path; at; at = at[length] == ':' ? at + length + 1 : NULL) {
		length = (int)strcspn(at, ":");
		if (format(found, size, "%.*s%s%s", length, at, length > 0 ? "/" : "", name) >=
			(int)size)
			continue;
		if (stat(found, &st) < 0 || !S_ISREG(st.st_mode))
			continue;
		if (access(found, X_OK) == 0)
			return found;
		why = EACCES;
	}
	errno = why;
	return NULL;
}

static void root_build(const struct child_exec *exec)
{
	struct device_list devices = {0};
	const struct child_rootfs rootfs = {
		.container = exec->container,
		.run_dir = exec->settings->run_dir,
		.cgroup_path = exec->cgroup_path,
		.devpts = exec->devpts,
		.console = exec->terminal,
		.until_ms = exec->until_ms,
		.devices = exec->device_filter >= 0 ? &devices : NULL,
	};
	int filter = exec->device_filter;

	child_rootfs_build(&rootfs);
	if (filter < 0)
		return;
	/* After the mounts: in a cgroup with a filter no disk can be opened, not even to mount it. */
	if (devices.count > 0)
		filter = device_filter_load(devices.devices, devices.count);
	if (filter < 0 || device_filter_attach(filter, exec->cgroup) < 0)
		die_errno("limit the devices of the container");
}

void child_exec_main(const void *child_exec)
{
	const struct child_exec *exec = child_exec;
	const struct process_spec *process = exec->process;
	struct child_user *user = &memory.user;
	const char *path, *program;
	char **environment;
	bool has_learned;
	int root;

	/* The agent's own is -1000, and is inherited. Written through the agent's procfs, before the
	 * container's files are in sight. */
	if (file_write("/proc/self/oom_score_adj", "0") < 0)
		die_errno("write /proc/self/oom_score_adj");
	/* In a cgroup namespace that begins at its own cgroup a container sees no other, and cannot lift its
	 * limits by mounting cgroup2 (nsdelegate, see boot). An exec makes its own,
	 * too: that of the first process is not there to join once its first thread has ended. */
	if (exec->cgroup >= 0 && child_cgroup_join(exec->cgroup, exec->first) &&
		(exec->container || exec->first > 0) && unshare(CLONE_NEWCGROUP) < 0)
		die_errno("make a cgroup namespace");
	if (exec->namespaces >= 0 && setns(exec->namespaces, CLONE_NEWUTS | CLONE_NEWIPC) < 0)
		die_errno("join the pod's namespaces");
	if (exec->container)
		root_build(exec);

	root = child_mount_enter(exec->mount_ns);
	/* A process that may mount could unmount it. */
	if (exec->container &&
		!(capabilities_any(process->capabilities) & CAPABILITY_BIT(CAP_SYS_ADMIN)))
		child_rootfs_mask(root);
	has_learned = child_user_find(root, process, exec->known, user, &memory.learned);
	environment = environment_make(exec, user);
	workdir_enter(root, process->workdir ? process->workdir : "/");
	stdio_set(exec, user);
	umask(022);
	/* Last: under a low limit the steps above could fail to get an fd or memory. */
	child_privileges_take(process, user, &exec->settings->nofile, root);

	path = environment[0] + strlen("PATH=");
	program = program_find(process->args[0], path, memory.path, sizeof(memory.path));
	if (!program && errno == ENOENT)
		die("exec '%s': not found in PATH '%s'", process->args[0], path);
	if (!program)
		die_errno("exec '%s'", process->args[0]);
	child_execve(program, (char *const *)process->args, environment, &memory.learned,
		has_learned && !exec->container ? sizeof(memory.learned) : 0);
}
