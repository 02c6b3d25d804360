/* SPDX-License-Identifier: Apache-2.0 */
/* What only PID 1 of a VM does: from the kernel's hand-over to the two ports, and power off. */
#include "boot.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#include <linux/magic.h>

#include "format.h"
#include "limits.h"
#include "log.h"
#include "module.h"
#include "number.h"
#include "protocol.h"
#include "uevent.h"

#define RUN_DIR        "/run/hyperstart"
#define CGROUP_DIR     "/sys/fs/cgroup"
#define DEADLINE_S     60u
#define DEADLINE_MAX_S (24 * 3600u)
#define SAY_MS         10000
#define SYNC_MS        2000

#define NOTHING_SPECIAL (MS_NOSUID | MS_NODEV | MS_NOEXEC)

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))

/* What the rest is for, and when it came how far: there is one machine. */
static const struct daemon_config *running;
static int64_t entered_ms, ports_ms;

extern const ElfW(Ehdr) __ehdr_start; /* the linker's: our own file in memory */

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* --- The end ------------------------------------------------------------------------------------ */

/* In a child, and not for long: a file system whose server or disk does not answer holds up sync for
 * ever, but not the power. */
static void sync_bounded(void)
{
	pid_t pid = fork();
	struct pollfd child = {.events = POLLIN};

	if (pid == 0) {
		sync();
		_exit(0);
	}
	child.fd = pid > 0 ? (int)syscall(SYS_pidfd_open, pid, 0) : -1;
	if (child.fd >= 0)
		poll(&child, 1, SYNC_MS);
}

void boot_power_off(void)
{
	sync_bounded();
	reboot(RB_POWER_OFF);
	for (;;)
		pause();
}

static _Noreturn void fail(const char *what)
{
	log_error("boot: %s: %s", what, strerror(errno));
	boot_power_off();
}

/* In hexadecimal, what the linker has made of all that is in the file: readelf -n shows it. */
static void build_id_read(char *hex, size_t size)
{
	const ElfW(Phdr) *phdr = (const void *)((const char *)&__ehdr_start + __ehdr_start.e_phoff);

	hex[0] = '\0';
	for (size_t i = 0; i < __ehdr_start.e_phnum; i++) {
		const char *at = (const char *)phdr[i].p_vaddr, *end = at + phdr[i].p_memsz;

		while (phdr[i].p_type == PT_NOTE && at < end) {
			const ElfW(Nhdr) *note = (const void *)at;
			const unsigned char *id =
				(const void *)(at + sizeof(*note) + note->n_namesz);

			for (size_t b = 0; note->n_type == NT_GNU_BUILD_ID && b < note->n_descsz;
				b++)
				format(hex + 2 * b, size - 2 * b, "%02x", id[b]);
			at += sizeof(*note) + note->n_namesz + (note->n_descsz + 3) / 4 * 4;
		}
	}
}

/* A mistake of ours: PID 1 that dies is a kernel panic, which a host sees as a reset. Nothing here
 * takes a lock. */
static void fault(int sig, siginfo_t *info, void *context)
{
	const mcontext_t *machine = &((const ucontext_t *)context)->uc_mcontext;
#if defined(__x86_64__)
	unsigned long pc = (unsigned long)machine->gregs[REG_RIP];
#elif defined(__aarch64__)
	unsigned long pc = (unsigned long)machine->pc;
#endif
	char line[256], id[2 * 20 + 1];

	build_id_read(id, sizeof(id));
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
	/* Once: a fault in the handler has nothing left to say. */
	const struct sigaction action = {
		.sa_sigaction = fault,
		.sa_flags = SA_RESETHAND | SA_SIGINFO | SA_ONSTACK,
	};

	sigaltstack(&other, NULL);
	for (size_t i = 0; i < COUNT(faults); i++)
		sigaction(faults[i], &action, NULL);
}

/* --- Mounts ------------------------------------------------------------------------------------- */

static int mount_at(const char *type, const char *at, unsigned long flags, const char *options)
{
	if (mkdir(at, 0755) < 0 && errno != EEXIST)
		return -1;
	/* EBUSY: it is mounted already. */
	if (mount(type, at, type, flags, options) < 0 && errno != EBUSY)
		return -1;
	return 0;
}

/* The initramfs is the one root that pivot_root cannot leave: a bind mount of it, moved over it,
 * is a root like any other. */
static void root_make_pivotable(void)
{
	struct statfs fs;

	if (statfs("/", &fs) < 0 || (fs.f_type != RAMFS_MAGIC && fs.f_type != TMPFS_MAGIC))
		return;
	if (mkdir("/run", 0755) < 0 && errno != EEXIST)
		fail("create /run");
	/* The mount that stays below is the one that we were executed from: nobody who comes by our
	 * file through /proc/…/exe is to write to it. */
	if (mount("/", "/run", NULL, MS_BIND, NULL) < 0 ||
		mount(NULL, "/", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL) < 0 ||
		chdir("/run") < 0 || mount(".", "/", NULL, MS_MOVE, NULL) < 0 || chroot(".") < 0 ||
		chdir("/") < 0)
		fail("make the root pivotable");
}

/* Lines go to the console, not to /dev/kmsg: with "quiet" the kernel would show only errors. It is
 * not waited for: a host that does not read its console must not stop the agent. */
static void console_open(void)
{
	int fd = open("/dev/console", O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
	bool is_kmsg = fd < 0;

	if (is_kmsg)
		fd = open("/dev/kmsg", O_WRONLY | O_CLOEXEC);
	log_open(fd, is_kmsg, LOG_LEVEL_INFO);
}

/* Children inherit stdio until they have their own: it must not be one of our fds. */
static void stdio_open(void)
{
	int fd;

	do {
		fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	} while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd > STDERR_FILENO)
		close(fd);
}

/* --- The kernel --------------------------------------------------------------------------------- */

static void kernel_check_version(void)
{
	struct utsname name;
	uint64_t major, minor;
	const char *at = name.release;

	/* mount_setattr came with 5.12; cgroup.kill, which shows only in a cgroup, with 5.14. */
	if (syscall(SYS_mount_setattr, -1, "", 0, NULL, 0) < 0 && errno == ENOSYS)
		log_error("boot: kernel lacks mount_setattr: containers will not start");
	if (uname(&name) < 0)
		return;
	if (!number_take(&at, UINT32_MAX, &major) || *at++ != '.' ||
		!number_take(&at, UINT32_MAX, &minor) || major < 5 || (major == 5 && minor < 15))
		log_error("boot: Linux %s: 5.15 or newer is needed", name.release);
}

static void kernel_check_options(void)
{
	static const struct {
		const char *path, *option;
	} needed[] = {
		{"/proc/self/ns/pid", "CONFIG_PID_NS"},
		{"/proc/self/ns/uts", "CONFIG_UTS_NS"},
		{"/proc/self/ns/ipc", "CONFIG_IPC_NS"},
		{"/proc/sys/fs/mqueue", "CONFIG_POSIX_MQUEUE"},
		{"/dev/ptmx", "CONFIG_UNIX98_PTYS"},
	};

	for (size_t i = 0; i < COUNT(needed); i++)
		if (access(needed[i].path, F_OK) < 0)
			log_error("boot: kernel lacks %s", needed[i].option);
}

/* A small file as a string. Its length, or -1 with errno. */
static ssize_t file_read(const char *path, char *text, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t length = 0;
	ssize_t n = -1;

	if (fd < 0)
		return -1;
	while (length < size - 1 && (n = read(fd, text + length, size - 1 - length)) > 0)
		length += (size_t)n;
	close(fd);
	if (n > 0)
		errno = EFBIG;
	if (n != 0)
		return -1;
	text[length] = '\0';
	return (ssize_t)length;
}

bool boot_option(struct daemon_config *config, const char *key, const char *value)
{
	enum log_level level;
	uint64_t number;

	if (strcmp(key, "api") == 0 && number_parse(value, UINT32_MAX, &number) && number > 0)
		config->api = (uint32_t)number;
	else if (strcmp(key, "deadline") == 0 && number_parse(value, DEADLINE_MAX_S, &number) &&
		number > 0)
		config->deadline_ms = (uint32_t)number * 1000;
	else if (strcmp(key, "caps") == 0 && strcmp(value, "default") == 0)
		config->docker_caps = true;
	else if (strcmp(key, "log") == 0 && log_level_parse(value, &level) == 0)
		log_threshold = level;
	else
		return false;
	return true;
}

static void command_line_apply(struct daemon_config *config)
{
	static const char prefix[] = "hyperstart.";
	char text[4096], *rest = text, *word;

	if (file_read("/proc/cmdline", text, sizeof(text)) < 0)
		return;
	while ((word = strsep(&rest, " \t\n")) != NULL) {
		char *value = strchr(word, '=');

		if (strncmp(word, prefix, sizeof(prefix) - 1) != 0)
			continue;
		if (value != NULL)
			*value++ = '\0';
		if (value == NULL || !boot_option(config, word + sizeof(prefix) - 1, value))
			log_warn("boot: kernel command line: %s is not understood", word);
	}
}

/* Those that the ports need stand in front of the empty line, all others behind it. */
static void modules_load(bool for_ports)
{
	char text[8192], *rest = text, *path;
	bool behind = false;

	if (file_read("/modules/order", text, sizeof(text)) < 0) {
		if (errno != ENOENT)
			log_error("boot: /modules/order: %s", strerror(errno));
		return;
	}
	while ((path = strsep(&rest, "\n")) != NULL)
		if (path[0] == '\0')
			behind = true;
		else if (behind != for_ports && module_load(path) < 0)
			log_error("boot: module %s: %s", path, strerror(errno));
}

void boot_raise_nofile(struct daemon_config *config)
{
	struct rlimit raised = {NOFILE_NEEDED, NOFILE_NEEDED};
	char text[32];
	const char *at = text;
	uint64_t most;

	if (getrlimit(RLIMIT_NOFILE, &config->nofile) < 0)
		fail("getrlimit");
	if (config->nofile.rlim_cur >= NOFILE_NEEDED)
		return;
	if (config->nofile.rlim_max > raised.rlim_max)
		raised.rlim_max = config->nofile.rlim_max;
	if (file_read("/proc/sys/fs/nr_open", text, sizeof(text)) > 0 &&
		number_take(&at, UINT64_MAX, &most) && raised.rlim_max > most)
		raised.rlim_cur = raised.rlim_max = most;
	if (prlimit(0, RLIMIT_NOFILE, &raised, NULL) < 0)
		log_warn("boot: limit of open files: %s", strerror(errno));
}

/* --- The ports ---------------------------------------------------------------------------------- */

static const char control_name[] = "sh.hyper.channel.0";
static const char tty_name[] = "sh.hyper.channel.1";

/* The device node of the directory below /sys/class/virtio-ports, if that is the port `name`. The
 * fd, or -1 when it is another or not ready: then there will be an event. */
static int port_open_if(const char *directory, const char *name)
{
	char path[128], text[64];
	int fd;

	format(path, sizeof(path), "/sys/class/virtio-ports/%s/name", directory);
	if (file_read(path, text, sizeof(text)) < 0)
		return -1;
	text[strcspn(text, "\n")] = '\0';
	if (strcmp(text, name) != 0)
		return -1;
	format(path, sizeof(path), "/dev/%s", directory);
	fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0 && errno != ENOENT)
		log_error("boot: port %s: open %s: %s", name, path, strerror(errno));
	return fd;
}

static void ports_look(struct daemon_config *config)
{
	DIR *ports = opendir("/sys/class/virtio-ports");
	struct dirent *entry;

	if (ports == NULL)
		return;
	while ((entry = readdir(ports)) != NULL) {
		if (entry->d_name[0] == '.')
			continue;
		if (config->control_fd < 0)
			config->control_fd = port_open_if(entry->d_name, control_name);
		if (config->tty_fd < 0)
			config->tty_fd = port_open_if(entry->d_name, tty_name);
	}
	closedir(ports);
}

static void ports_await(struct daemon_config *config)
{
	int64_t start = now_ms(), say = start + SAY_MS;
	int uevents = uevent_open();

	if (uevents < 0)
		fail("listen to uevents");
	/* Subscribed first, so that nothing can come between a look and the wait. */
	ports_look(config);
	while (config->control_fd < 0 || config->tty_fd < 0) {
		int64_t now = now_ms();

		if (now >= say) {
			say += SAY_MS;
			log_warn("boot: port %s is not there, waiting since %d s",
				config->control_fd < 0 ? control_name : tty_name,
				(int)((now - start) / 1000));
			continue;
		}
		/* Whatever happens to one: it is there with `add`, but named only with `change`. */
		if (uevent_wait(uevents, "virtio-ports", (int)(say - now)))
			ports_look(config);
	}
	close(uevents);
}

/* --- Before and after READY --------------------------------------------------------------------- */

void boot_start(struct daemon_config *config)
{
	entered_ms = now_ms();
	running = config;
	faults_catch();
	umask(022);
	root_make_pivotable();
	if (mount_at("devtmpfs", "/dev", MS_NOSUID | MS_NOEXEC, "mode=755") < 0)
		fail("mount /dev");
	stdio_open();
	console_open();
	if (mount_at("proc", "/proc", NOTHING_SPECIAL, NULL) < 0)
		fail("mount /proc");
	if (mount_at("sysfs", "/sys", NOTHING_SPECIAL, NULL) < 0)
		fail("mount /sys");
	*config = (struct daemon_config){
		.control_fd = -1,
		.tty_fd = -1,
		.run_dir = RUN_DIR,
		.api = PROTOCOL_API,
		.deadline_ms = DEADLINE_S * 1000,
		.last_command = -1,
		.after_ready = boot_finish,
	};
	command_line_apply(config);
	kernel_check_version();
	boot_raise_nofile(config);
	modules_load(true);
	ports_await(config);
	ports_ms = now_ms();
}

/* Whatever the containers take: our pages stay, and another is killed. */
static void stay(void)
{
	static const char path[] = "/proc/self/oom_score_adj", never[] = "-1000";
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, never, sizeof(never) - 1) < 0)
		log_error("boot: write %s: %s", path, strerror(errno));
	if (fd >= 0)
		close(fd);
	/* On fault: what is not used need not be there. */
	if (mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) < 0)
		log_error("boot: lock memory: %s", strerror(errno));
}

void boot_finish(struct daemon_config *config)
{
	int64_t ready_ms = now_ms();

	modules_load(false);
	if (mount_at("tmpfs", "/run", MS_NOSUID | MS_NODEV, "mode=755") < 0 ||
		(mkdir(RUN_DIR, 0700) < 0 && errno != EEXIST))
		fail("make " RUN_DIR);
	if (mount_at("devpts", "/dev/pts", MS_NOSUID | MS_NOEXEC, "mode=0620,gid=5") < 0)
		log_error("boot: mount /dev/pts: %s", strerror(errno));
	/* favordynmods, of 6.0: without it, joining a cgroup waits for RCU, 10 to 20 ms. */
	if (mount_at("cgroup2", CGROUP_DIR, NOTHING_SPECIAL, "favordynmods") == 0 ||
		(errno == EINVAL && mount_at("cgroup2", CGROUP_DIR, NOTHING_SPECIAL, NULL) == 0))
		config->cgroup_dir = CGROUP_DIR;
	else
		log_error("boot: mount cgroup2: %s: containers cannot be killed as a whole",
			strerror(errno));
	kernel_check_options();
	stay();
	log_info("boot: ms since the kernel began: init %lld, ports %lld, READY %lld",
		(long long)entered_ms, (long long)ports_ms, (long long)ready_ms);
}
