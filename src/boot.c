/* SPDX-License-Identifier: Apache-2.0 */
/* What only the agent of a whole VM does: from its start, by the kernel or by the init whose service
 * it is, to the open channels; and power off. */
#include "boot.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <ucontext.h>
#include <unistd.h>

#include <linux/landlock.h>
#include <linux/limits.h>
#include <linux/magic.h>
#include <linux/seccomp.h>

#include "base/clock.h"
#include "base/count.h"
#include "base/error.h"
#include "base/file.h"
#include "base/format.h"
#include "base/log.h"
#include "base/module.h"
#include "base/number.h"
#include "base/writeback.h"
#include "limits.h"
#include "protocol.h"
#include "transport.h"
#include "version.h"

#define RUN_DIR        "/run/hyperstart"
#define CGROUP_DIR     "/sys/fs/cgroup"
#define DEADLINE_MAX_S (24 * 3600u)

#define NOTHING_SPECIAL (MS_NOSUID | MS_NODEV | MS_NOEXEC)

/* For the handler of faults, and for the boot times in the log. */
static const struct settings *running;
static uint64_t entered_ms, ports_ms;
static pid_t agent;

/* --- The end ---------------------------------------------------------------------------------- */

void boot_power_off(void)
{
	writeback_finish();
	reboot(RB_POWER_OFF);
	for (;;)
		pause();
}

static _Noreturn void fail(const char *what)
{
	log_error("boot: %s: %s", what, ERROR_REASON(errno));
	boot_power_off();
}

/* The agent's own fault: if PID 1 died the kernel would panic, which a host sees as a reset. Nothing
 * here takes a lock. */
static void fault(int sig, siginfo_t *info, void *context)
{
	const mcontext_t *machine = &((const ucontext_t *)context)->uc_mcontext;
#if defined(__x86_64__)
	unsigned long pc = (unsigned long)machine->gregs[REG_RIP];
#elif defined(__aarch64__)
	unsigned long pc = (unsigned long)machine->pc;
#endif
	char line[256], id[BUILD_ID_SIZE];

	/* A child before child_begin(): it returns to the instruction, faults again, now without a
	 * handler, and dies alone. (The pod's init has the pid 1, too: its reboot() ends only itself.) */
	if (getpid() != agent)
		return;
	version_build_id(id);
	format(line, sizeof(line),
		"hyperstart: error: fatal signal %d (%d) at pc 0x%lx, address 0x%lx, last command "
		"%lld, build %s: powering off\n",
		sig, info->si_code, pc, (unsigned long)info->si_addr,
		(long long)running->last_command, id);
	(void)!write(STDERR_FILENO, line, strlen(line));
	boot_power_off();
}

static void faults_catch(void)
{
	static const int faults[] = {SIGABRT, SIGSEGV, SIGBUS, SIGILL, SIGFPE};
	/* A stack that has overflown cannot carry the handler. */
	static char stack[16 * KIB];
	const stack_t other = {.ss_sp = stack, .ss_size = sizeof(stack)};
	/* Once: a fault in the handler itself ends the process. */
	const struct sigaction action = {
		.sa_sigaction = fault,
		.sa_flags = SA_RESETHAND | SA_SIGINFO | SA_ONSTACK,
	};

	sigaltstack(&other, NULL);
	for (size_t i = 0; i < COUNT(faults); i++)
		sigaction(faults[i], &action, NULL);
}

/* --- Mounts ----------------------------------------------------------------------------------- */

/* Of the file system there; 0: nothing is there. */
static unsigned long magic_at(const char *path)
{
	struct statfs fs;

	return statfs(path, &fs) == 0 ? (unsigned long)fs.f_type : 0;
}

static bool is_in_memory(const char *path)
{
	unsigned long magic = magic_at(path);

	return magic == RAMFS_MAGIC || magic == TMPFS_MAGIC;
}

/* Mounts, unless it is mounted there already: a service's init has done it. */
static int mount_at(const char *type, const char *at, unsigned long magic, unsigned long flags,
	const char *options)
{
	unsigned long found = magic_at(at);

	if (found == magic)
		return 0;
	if (found == 0 && mkdir(at, 0755) < 0)
		return -1;
	return mount(type, at, type, flags, options);
}

/* The initramfs is the one root that pivot_root cannot leave: a bind mount of it, moved over it,
 * is a root like any other. */
static void root_make_pivotable(void)
{
	if (!is_in_memory("/"))
		return;
	if (mkdir("/run", 0755) < 0 && errno != EEXIST)
		fail("create /run");
	/* The mount that stays below is the one that we were executed from. It becomes read-only: a
	 * process that reaches our file through /proc/…/exe must not write to it. */
	if (mount("/", "/run", NULL, MS_BIND, NULL) < 0 ||
		mount(NULL, "/", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL) < 0 ||
		chdir("/run") < 0 || mount(".", "/", NULL, MS_MOVE, NULL) < 0 || chroot(".") < 0 ||
		chdir("/") < 0)
		fail("make the root pivotable");
}

/* --- The kernel ------------------------------------------------------------------------------- */

static void kernel_check(void)
{
	static const struct {
		int type;
		const char *option;
	} needed[] = {
		{CLONE_NEWPID, "CONFIG_PID_NS"},
		{CLONE_NEWUTS, "CONFIG_UTS_NS"},
		{CLONE_NEWIPC, "CONFIG_IPC_NS"},
	};
	int self = (int)syscall(SYS_pidfd_open, agent, 0);
	struct utsname name;
	const char *at = name.release;
	uint64_t major, minor;

	if (uname(&name) == 0 &&
		(!number_take(&at, UINT32_MAX, &major) || *at++ != '.' ||
			!number_take(&at, UINT32_MAX, &minor) || major < 5 ||
			(major == 5 && minor < 15)))
		log_error("boot: Linux %s: 5.15 or newer is needed", name.release);
	/* mount_setattr came with 5.12; cgroup.kill, which shows only in a cgroup, with 5.14. */
	if (syscall(SYS_mount_setattr, -1, "", 0, NULL, 0) < 0 && errno == ENOSYS)
		log_error("boot: kernel lacks mount_setattr: containers will not start");
	/* Into its own, where it is. Of a type that the kernel lacks it has none. */
	for (size_t i = 0; i < COUNT(needed); i++)
		if (setns(self, needed[i].type) < 0)
			log_error("boot: kernel lacks %s", needed[i].option);
	fd_close(&self);
	if (syscall(SYS_mq_unlink, "") < 0 && errno == ENOSYS)
		log_error("boot: kernel lacks CONFIG_POSIX_MQUEUE");
	if (access("/dev/ptmx", F_OK) < 0)
		log_error("boot: kernel lacks CONFIG_UNIX98_PTYS");
	if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, NULL) < 0 && errno != EFAULT)
		log_warn("boot: kernel lacks CONFIG_SECCOMP_FILTER: containers can make user "
			 "namespaces, and take what no limit covers");
	if (syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION) < 2)
		log_warn("boot: kernel lacks CONFIG_SECURITY_LANDLOCK as of 5.19: containers that "
			 "may do the same can read each other's files");
}

bool boot_option(struct settings *settings, const char *key, const char *value)
{
	enum log_level level;
	uint64_t number;

	if (strcmp(key, "api") == 0 && number_parse(value, UINT32_MAX, &number) && number > 0)
		settings->api = (uint32_t)number;
	else if (strcmp(key, "deadline") == 0 && number_parse(value, DEADLINE_MAX_S, &number) &&
		number > 0)
		settings->deadline_ms = (uint32_t)number * 1000;
	else if (strcmp(key, "devices") == 0 && number_parse(value, DEADLINE_MAX_S, &number))
		settings->devices_ms = (uint32_t)number * 1000;
	else if (strcmp(key, "watch") == 0 && number_parse(value, DEADLINE_MAX_S, &number) &&
		number > 0)
		settings->watch_ms = (uint32_t)number * 1000;
	else if (strcmp(key, "caps") == 0 && strcmp(value, "default") == 0)
		settings->docker_caps = true;
	else if (strcmp(key, "log") == 0 && log_level_parse(value, &level) == 0)
		log_threshold = level;
	else
		return false;
	return true;
}

static bool word_apply(
	struct settings *settings, struct transport *transport, const char *key, const char *value)
{
	uint64_t cid;

	if (strcmp(key, "vsock") != 0)
		return boot_option(settings, key, value);
	if (!number_parse(value, UINT32_MAX - 1, &cid) || cid == 0)
		return false;
	transport->vsock_cid = (uint32_t)cid;
	return true;
}

static void command_line_apply(struct settings *settings, struct transport *transport)
{
	static const char prefix[] = "hyperstart.";
	char text[4096], *rest = text, *word;

	if (file_read("/proc/cmdline", text, sizeof(text)) < 0)
		return;
	while ((word = strsep(&rest, " \t\n")) != NULL) {
		char *value = strchr(word, '=');

		/* An option of older agents, with or without a value. */
		if (strncmp(word, "hyper_use_serial", strlen("hyper_use_serial")) == 0)
			transport->isa_serial = true;
		if (strncmp(word, prefix, sizeof(prefix) - 1) != 0)
			continue;
		if (value)
			*value++ = '\0';
		if (!value || !word_apply(settings, transport, word + sizeof(prefix) - 1, value))
			log_warn("boot: kernel command line: %s is not understood", word);
	}
}

/* The modules that the ports need come before the empty line, all others after it. */
static void modules_load(bool for_ports)
{
	char text[8192], *rest = text, *path;
	bool behind = false;

	if (file_read("/modules/order", text, sizeof(text)) < 0) {
		if (errno != ENOENT)
			log_error("boot: /modules/order: %s", ERROR_REASON(errno));
		return;
	}
	while ((path = strsep(&rest, "\n")) != NULL)
		if (path[0] == '\0')
			behind = true;
		else if (behind != for_ports && module_load(path) < 0)
			log_error("boot: module %s: %s", path, ERROR_REASON(errno));
}

void boot_raise_nofile(struct settings *settings)
{
	struct rlimit own, raised;
	char text[32];
	const char *at = text;
	uint64_t most;

	if (prlimit(0, RLIMIT_NOFILE, NULL, &own) < 0)
		fail("limit of open files");
	raised.rlim_max = own.rlim_max > NOFILE_HARD ? own.rlim_max : NOFILE_HARD;
	if (file_read("/proc/sys/fs/nr_open", text, sizeof(text)) > 0 &&
		number_take(&at, UINT64_MAX, &most) && raised.rlim_max > most)
		raised.rlim_max = most;
	/* Raising the hard limit needs CAP_SYS_RESOURCE; without it only the soft one is raised. */
	raised.rlim_cur = NOFILE_NEEDED < raised.rlim_max ? NOFILE_NEEDED : raised.rlim_max;
	if (prlimit(0, RLIMIT_NOFILE, &raised, NULL) < 0) {
		raised.rlim_max = own.rlim_max;
		raised.rlim_cur = NOFILE_NEEDED < own.rlim_max ? NOFILE_NEEDED : own.rlim_max;
		if (prlimit(0, RLIMIT_NOFILE, &raised, NULL) < 0 || raised.rlim_cur < NOFILE_NEEDED)
			log_warn("boot: limit of open files: no more than %llu",
				(unsigned long long)raised.rlim_cur);
	}
	settings->nofile.rlim_max = raised.rlim_max < NOFILE_HARD ? raised.rlim_max : NOFILE_HARD;
	settings->nofile.rlim_cur =
		NOFILE_SOFT < settings->nofile.rlim_max ? NOFILE_SOFT : settings->nofile.rlim_max;
}

/* --- As a service ----------------------------------------------------------------------------- */

/* The cgroup that is ours, by its path; NULL with errno. In a VM of our own that is all of the tree,
 * as a service the part that we were started in. One that gives controllers to those below it may
 * hold no process, so there we move to a leaf. */
static const char *cgroup_take(void)
{
	static char path[PATH_MAX];
	char text[PATH_MAX];
	const char *own;
	int length;

	/* v2 is the hierarchy 0, of no named controllers. */
	if (file_read("/proc/self/cgroup", text, sizeof(text)) < 0 ||
		!(own = file_line(text, strlen(text), "0::/")))
		return NULL;
	length = (int)strcspn(own, "\n");
	if (length == 0)
		return CGROUP_DIR;
	format(path, sizeof(path), CGROUP_DIR "/%.*s/agent", length < 3000 ? length : 3000, own);
	if (mkdir(path, 0755) < 0 && errno != EEXIST)
		return NULL;
	format(text, sizeof(text), "%.4000s/cgroup.procs", path);
	if (file_write(text, "0") < 0)
		return NULL;
	*strrchr(path, '/') = '\0';
	return path;
}

/* --- Before and after READY ------------------------------------------------------------------- */

void boot_start(struct settings *settings)
{
	const bool is_init = getpid() == 1;
	struct transport transport = {0};
	int fd;

	agent = getpid();
	entered_ms = clock_now();
	running = settings;
	faults_catch();
	umask(022);
	if (is_init)
		root_make_pivotable();
	/* It has the magic number of a tmpfs, as the initramfs may have. EBUSY: the kernel has done it. */
	if (is_init && mount_at("devtmpfs", "/dev", ~0UL, MS_NOSUID | MS_NOEXEC, "mode=755") < 0 &&
		errno != EBUSY)
		fail("mount /dev");
	/* Children inherit stdio until they have their own: it must not be one of the agent's fds. */
	do
		fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	while (fd >= 0 && fd <= STDERR_FILENO);
	fd_close(&fd);
	/* Lines go to the console, not to /dev/kmsg: with "quiet" the kernel would show only errors. It
	 * does not block: a host that does not read its console must not stop the agent. A service's go
	 * to the journal. */
	fd = is_init ? open("/dev/console", O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC)
		     : STDERR_FILENO;
	if (fd >= 0)
		log_open(fd, false, LOG_LEVEL_INFO);
	else
		log_open(open("/dev/kmsg", O_WRONLY | O_CLOEXEC), true, LOG_LEVEL_INFO);
	if (mount_at("proc", "/proc", PROC_SUPER_MAGIC, NOTHING_SPECIAL, NULL) < 0)
		fail("mount /proc");
	if (mount_at("sysfs", "/sys", SYSFS_MAGIC, NOTHING_SPECIAL, NULL) < 0)
		fail("mount /sys");
	settings->run_dir = RUN_DIR;
	settings->after_ready = boot_finish;
	command_line_apply(settings, &transport);
	boot_raise_nofile(settings);
	modules_load(true);
	if (transport_await(&transport, settings) < 0)
		fail("find the host");
	ports_ms = clock_now();
}

static void limits_set(void)
{
	static const struct {
		const char *path, *value;
	} limits[] = {
		/* The OOM killer must not choose the agent. */
		{"/proc/self/oom_score_adj", "-1000"},
		/* The limits below are per user, not per container, and root in a container is
		 * the same user as the agent. */
		/* LONG_MAX: the memory of watches is charged to the container. */
		{"/proc/sys/fs/epoll/max_user_watches", "9223372036854775807"},
		/* That of keys is not, and they outlive it. The kernel refuses 0. */
		{"/proc/sys/kernel/keys/maxkeys", "1"},
		{"/proc/sys/kernel/keys/maxbytes", "200"},
		{"/proc/sys/kernel/keys/root_maxkeys", "1000"},
		{"/proc/sys/kernel/keys/root_maxbytes", "100000"},
		/* As many as there can be: each devpts has a limit of its own. */
		{"/proc/sys/kernel/pty/max", "1048576"},
	};

	for (size_t i = 0; i < COUNT(limits); i++)
		if (file_write(limits[i].path, limits[i].value) < 0 && errno != ENOENT)
			log_error("boot: write '%s' to %s: %s", limits[i].value, limits[i].path,
				ERROR_REASON(errno));
}

void boot_finish(struct settings *settings)
{
	uint64_t ready_ms = clock_now();

	modules_load(false);
	/* In the initramfs it needs no file system of its own. */
	if ((!is_in_memory("/run") &&
		    mount_at("tmpfs", "/run", TMPFS_MAGIC, MS_NOSUID | MS_NODEV, "mode=755") < 0) ||
		(mkdir(RUN_DIR, 0700) < 0 && errno != EEXIST))
		fail("make " RUN_DIR);
	/* Before any container could make something else there (bindMountDev). */
	if (mount_at("devpts", "/dev/pts", DEVPTS_SUPER_MAGIC, MS_NOSUID | MS_NOEXEC,
		    "mode=0620,gid=5") < 0)
		log_error("boot: mount /dev/pts: %s", ERROR_REASON(errno));
	/* favordynmods, of 6.0: without it, joining a cgroup waits for RCU, 10 to 20 ms. nsdelegate:
	 * a container that mounts cgroup2 gets its own part of it without the limits at its top. */
	if (magic_at(CGROUP_DIR) != SYSFS_MAGIC || /* a service's init has mounted some */
		mount("cgroup2", CGROUP_DIR, "cgroup2", NOTHING_SPECIAL,
			"nsdelegate,favordynmods") == 0 ||
		(errno == EINVAL &&
			mount("cgroup2", CGROUP_DIR, "cgroup2", NOTHING_SPECIAL, "nsdelegate") ==
				0))
		settings->cgroup_dir = cgroup_take();
	if (!settings->cgroup_dir)
		log_error("boot: take cgroup2: %s: containers cannot be killed as a whole",
			ERROR_REASON(errno));
	kernel_check();
	limits_set();
	/* MCL_ONFAULT: locks only the pages that are used. */
	if (mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) < 0)
		log_error("boot: lock memory: %s", ERROR_REASON(errno));
	log_info("boot: ms since the kernel began: init %llu, ports %llu, READY %llu",
		(unsigned long long)entered_ms, (unsigned long long)ports_ms,
		(unsigned long long)ready_ms);
}
