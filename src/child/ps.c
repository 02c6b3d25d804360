/* SPDX-License-Identifier: Apache-2.0 */
/* PSCONTAINER: what runs in a container, as ps shows it. */
#include "child/ps.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/auxv.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <time.h>
#include <unistd.h>

#include "base/format.h"
#include "base/queue.h"
#include "child/cgroup.h"
#include "child/child.h"
#include "child/mount.h"
#include "child/path.h"
#include "child/ps_table.h"
#include "child/user.h"
#include "limits.h"

/* Each of so many still gets a line of 127 bytes. */
#define PIDS_MAX   32768u
#define PID_LIMIT  (1 << 22) /* the kernel's, for any machine with 64 bits */
#define PASSWD_MAX (256 * KIB)

struct pids {
	pid_t pid[PIDS_MAX];
	size_t count;
};

/* The names of the container's users. */
struct names {
	char *passwd; /* NULL: none */
	size_t length;
	struct child_user last; /* the one asked for last */
};

static void *allocate(size_t size)
{
	void *p = malloc(size);

	if (!p)
		die("list processes: out of memory");
	return p;
}

/* As many bytes as there are and fit; those before an error count. */
static size_t read_all(int fd, char *to, size_t size)
{
	size_t length = 0;
	ssize_t n = 1;

	while (n > 0 && length < size) {
		n = io_read(fd, to + length, size - length);
		if (n > 0)
			length += (size_t)n;
	}
	return length;
}

/* A bit for each pid there may be: the kernel may list one twice that comes and goes. */
struct listed {
	uint8_t bits[PID_LIMIT / 8];
	pid_t last;
};

static void pid_list(void *context, pid_t pid)
{
	struct listed *listed = context;

	pid %= PID_LIMIT;
	listed->bits[pid / 8] |= (uint8_t)(1u << pid % 8);
	if (pid > listed->last)
		listed->last = pid;
}

static void pids_read(int cgroup, struct pids *pids)
{
	static struct listed listed;

	child_cgroup_visit(cgroup, pid_list, &listed);
	pids->count = 0;
	for (pid_t pid = 1; pid <= listed.last; pid++) {
		if (!(listed.bits[pid / 8] & 1u << pid % 8))
			continue;
		if (pids->count == PIDS_MAX)
			die("list processes: more than %u", PIDS_MAX);
		pids->pid[pids->count++] = pid;
	}
}

static _Noreturn void report_json(const struct pids *pids)
{
	size_t size = pids->count * sizeof("-2147483648,") + sizeof("[]"), length = 1;
	char *text = allocate(size);

	text[0] = '[';
	for (size_t i = 0; i < pids->count; i++)
		length += (size_t)format(
			text + length, size - length, "%s%d", i > 0 ? "," : "", pids->pid[i]);
	text[length++] = ']';
	report_done(text, length);
}

/* From here on "/" is the container's: passwd may be anything, and ps does not fail for it. */
static void names_read(struct names *names, int mount_ns)
{
	int root = child_mount_enter(mount_ns);
	int fd = child_path_open(root, "etc/passwd", O_RDONLY | O_NONBLOCK | O_NOCTTY);
	struct stat st;

	*names = (struct names){.last.uid = (uid_t)-1}; /* nobody has that one */
	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return;
	names->passwd = allocate(PASSWD_MAX);
	names->length = read_all(fd, names->passwd, PASSWD_MAX);
}

/* NULL where there is none. */
static const char *names_find(struct names *names, uid_t uid)
{
	struct child_user *user = &names->last;

	if (user->uid != uid) {
		user->uid = uid;
		user->name[0] = '\0';
		if (names->passwd)
			passwd_find(names->passwd, names->length, NULL, user);
	}
	return user->name[0] ? user->name : NULL;
}

static size_t procfs_read(int directory, const char *name, char *to, size_t size)
{
	int fd = openat(directory, name, O_RDONLY | O_CLOEXEC);
	size_t length;

	if (fd < 0)
		return 0;
	length = read_all(fd, to, size);
	close(fd);
	return length;
}

/* One process's line; 0 when it is gone. */
static size_t process_line(int proc, pid_t pid, struct names *names,
	const struct ps_format *columns, const struct ps_machine *machine, char *line, size_t size)
{
	char name[16], stat[1024], status[8192], args[PS_LINE_MAX];
	struct ps_process process = {.machine = machine, .args = args};
	bool is_there;
	int directory;

	/* By one fd: no other process that has got the pid meanwhile. */
	format(name, sizeof(name), "%d", pid);
	directory = openat(proc, name, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (directory < 0)
		return 0;
	is_there =
		ps_stat_parse(stat, procfs_read(directory, "stat", stat, sizeof(stat)), &process) &&
		ps_status_parse(
			status, procfs_read(directory, "status", status, sizeof(status)), &process);
	process.args_length =
		procfs_read(directory, "cmdline", args, size < sizeof(args) ? size : sizeof(args));
	close(directory);
	if (!is_there)
		return 0;
	process.user = names_find(names, (uid_t)process.uid);
	return ps_format_line(columns, &process, line, size);
}

static void machine_read(struct ps_machine *machine)
{
	struct timespec uptime;
	struct sysinfo info;

	if (clock_gettime(CLOCK_BOOTTIME, &uptime) < 0 || sysinfo(&info) < 0)
		die_errno("read the clock and the memory's size");
	*machine = (struct ps_machine){
		.now = time(NULL),
		.uptime = uptime.tv_sec,
		.ticks = (int64_t)getauxval(AT_CLKTCK),
		.page_kib = (int64_t)getauxval(AT_PAGESZ) / KIB,
		.memory_kib = (int64_t)(info.totalram / KIB * info.mem_unit),
	};
}

static _Noreturn void report_table(
	const struct child_ps *ps, const struct ps_format *format, const struct pids *pids)
{
	int proc = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
	/* However many there are, none is left out: their lines are cut instead. */
	size_t line_max = RESULT_MAX / (pids->count + 1), length;
	char *text = allocate(RESULT_MAX);
	struct ps_machine machine;
	struct names names;

	if (proc < 0)
		die_errno("open '/proc'");
	if (line_max > PS_LINE_MAX)
		line_max = PS_LINE_MAX;
	machine_read(&machine);
	names_read(&names, ps->mount_ns);
	length = ps_format_heading(format, text, line_max);
	for (size_t i = 0; i < pids->count; i++)
		length += process_line(
			proc, pids->pid[i], &names, format, &machine, text + length, line_max);
	report_done(text, length);
}

void child_ps_main(const void *child_ps)
{
	const struct child_ps *ps = child_ps;
	struct pids *pids = allocate(sizeof(*pids));
	struct ps_format format;
	struct error err;

	if (!ps->json && ps_format_parse(&format, ps->psargs, &err) < 0)
		die_error(&err);
	if (ps->cgroup < 0)
		die("list processes: the container has no cgroup");
	/* The container must not look into it: its memory is the agent's. */
	if (prctl(PR_SET_DUMPABLE, 0) < 0)
		die_errno("list processes");
	pids_read(ps->cgroup, pids);
	if (ps->json)
		report_json(pids);
	report_table(ps, &format, pids);
}
