/* SPDX-License-Identifier: Apache-2.0 */
/* PSCONTAINER: what runs in a container, as ps(1) shows it, or its pids as JSON. */
#include "child/ps.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/file.h"
#include "base/format.h"
#include "base/number.h"
#include "base/queue.h"
#include "child/cgroup.h"
#include "child/child.h"
#include "child/mount.h"
#include "child/path.h"
#include "child/user.h"
#include "limits.h"
#include "spec/json.h"

#define PID_LIMIT  (1 << 22) /* the kernel's, for any machine with 64 bits */
#define CELL_MAX   128u
#define HEADER_MAX 255u
#define NUMBER_MAX (1L << 48) /* larger ones become this, so that products do not overflow */
#define MONTHS     "JanFebMarAprMayJunJulAugSepOctNovDec"
#define TICKS      100 /* a second, whatever the kernel's HZ is: USER_HZ */

/* What a column shows: a number, first the fields of stat after its letter, see proc(5); */
enum { PPID, PGID, SID, TTY, TTY_PGID, UTIME = 10, STIME, NICE = 15, THREADS, START = 18, VSZ };
enum { RSS = VSZ + 1, PID, UID, TIME, ELAPSED, PCPU, PMEM, C, NUMBERS };
/* or a text. */
enum { BSDTIME = NUMBERS, USER, STAT, COMM, ARGS };

/* The columns of -f and u. */
#define FORMAT_FULL "user=UID,pid,ppid,c,stime,tty=TTY,time,cmd"
#define FORMAT_USER "user,pid,%cpu,%mem,vsz,rss,tty=TTY,stat,stime=START,bsdtime,command"

static const struct ps_column {
	const char *name, *header;
	int8_t width; /* at least; negative: to the left */
	uint8_t value;
} columns[] = {{"pid", "PID", 5, PID}, {"ppid", "PPID", 5, PPID}, {"uid", "UID", 5, UID},
	{"user", "USER", -8, USER}, {"tty", "TT", -8, TTY}, {"stat", "STAT", -4, STAT},
	{"stime", "STIME", -5, START}, {"time", "TIME", 8, TIME}, {"bsdtime", "TIME", 6, BSDTIME},
	{"c", "C", 2, C}, {"pcpu", "%CPU", 4, PCPU}, {"%cpu", "%CPU", 4, PCPU},
	{"pmem", "%MEM", 4, PMEM}, {"%mem", "%MEM", 4, PMEM}, {"rss", "RSS", 5, RSS},
	{"vsz", "VSZ", 6, VSZ}, {"nlwp", "NLWP", 4, THREADS}, {"comm", "COMMAND", -15, COMM},
	{"args", "COMMAND", -27, ARGS}, {"command", "COMMAND", -27, ARGS},
	{"cmd", "CMD", -27, ARGS}, {0}};

/* A list of "column" and "column=header". */
static int format_add(struct ps_format *format, const char *list, struct error *err)
{
	while (*(list += strspn(list, ", ")) != '\0') {
		const struct ps_column *column = columns;
		size_t length = strcspn(list, "=, ");

		while (column->name &&
			(strncmp(column->name, list, length) != 0 || column->name[length] != '\0'))
			column++;
		if (!column->name || format->count == PS_COLUMNS_MAX)
			return error_set(err, EINVAL, "ps: %s column '%.*s'",
				column->name ? "surplus" : "unknown", (int)length, list);
		format->fields[format->count++] = (struct ps_field){
			column, list[length] == '=' ? &list[length + 1] : column->header};
		list += strcspn(list, ", ");
	}
	return 0;
}

int ps_format_parse(struct ps_format *format, const char *const *psargs, struct error *err)
{
	const char *implied = FORMAT_FULL;

	format->count = 0;
	for (; psargs && *psargs; psargs++) {
		const char *option = *psargs, *letters = option + (*option == '-');
		/* ps itself takes -aux for aux; its other -u selects a user. */
		bool is_unix = letters > option && strncmp(letters, "aux", 3) != 0;
		size_t known = strspn(letters, is_unix ? "eAafxw" : "auxw");
		const char *list = letters + known;

		if (memchr(letters, is_unix ? 'f' : 'u', known))
			implied = is_unix ? FORMAT_FULL : FORMAT_USER;
		if ((*list != '\0' && *list != 'o') || strcmp(option, "-") == 0)
			return error_set(err, EINVAL, "ps: unknown option '%s'", option);
		if (*list == '\0')
			continue;
		if (*++list == '\0' && psargs[1])
			list = *++psargs;
		if (list[strspn(list, ", ")] == '\0')
			return error_set(
				err, EINVAL, "ps: option '%s' without a list of columns", option);
		if (format_add(format, list, err) < 0)
			return -1;
	}
	return format->count > 0 ? 0 : format_add(format, implied, err);
}

static bool numbers_read(const struct ps_process *p, long n[NUMBERS])
{
	/* "pid (comm) state number…": only comm may contain more parentheses. In status the kernel escapes a
	 * newline in the name. */
	const char *open = strchr(p->stat, '('), *at = strrchr(p->stat, ')');
	const char *uid = file_line(p->status, strlen(p->status), "Uid:\t");
	uint64_t number;

	if (!open || !at || at < open || strlen(at) < 4 || !uid ||
		!number_take(&uid, UINT32_MAX, &number) || *uid++ != '\t' ||
		!number_take(&uid, UINT32_MAX, &number))
		return false;
	n[UID] = (long)number; /* effective; the real one comes first */
	at += 3;
	for (int i = 0; i <= RSS; i++) {
		bool is_negative = strncmp(at, " -", 2) == 0;

		at += strspn(at, " -");
		if (!number_take(&at, UINT64_MAX, &number))
			return false;
		n[i] = (number < NUMBER_MAX ? (long)number : NUMBER_MAX) * (is_negative ? -1 : 1);
	}
	n[PID] = p->pid;
	n[VSZ] /= 1024;
	n[RSS] *= getpagesize() / KIB;
	n[PMEM] = n[RSS] * 1000 / (long)(p->machine.totalram / KIB);
	n[TIME] = (n[UTIME] + n[STIME]) / TICKS;
	n[ELAPSED] = p->machine.uptime - n[START] / TICKS;
	/* Of one CPU, over the life of the process. */
	n[PCPU] = n[ELAPSED] > 0 ? (n[UTIME] + n[STIME]) * 1000 / TICKS / n[ELAPSED] : 0;
	n[C] = n[PCPU] < 990 ? n[PCPU] / 10 : 99;
	return true;
}

/* Returns `cell`, of CELL_MAX bytes, or a longer text. */
static const char *value_text(int value, const struct ps_process *p, const long *n, char *cell)
{
	const char *comm = strchr(p->stat, '(') + 1, *end = strrchr(p->stat, ')');
	const char *zombie = end[2] == 'Z' ? " <defunct>" : "";
	int length = (int)(end - comm);
	long number = n[value < NUMBERS ? value : TIME];
	unsigned int pts = major((dev_t)n[TTY]) - 136; /* to 143: admin-guide/devices.txt */
	time_t start = p->now - n[ELAPSED];
	struct child_user user;
	struct tm then;

	switch (value) {
	case USER:
		user.uid = (uid_t)n[UID];
		format(cell, CELL_MAX, "%ld", n[UID]);
		if (passwd_find(p->passwd, p->passwd_length, NULL, &user))
			format(cell, CELL_MAX, strlen(user.name) > 8 ? "%.7s+" : "%s", user.name);
		break;
	case PCPU:
	case PMEM:
		format(cell, CELL_MAX, "%ld.%ld", number / 10, number % 10);
		break;
	case TTY: /* a container has no other terminals */
		if (pts > 7)
			return "?";
		format(cell, CELL_MAX, "pts/%u", pts * 256 + minor((dev_t)number));
		break;
	case STAT:
		format(cell, CELL_MAX, "%.1s%s%s%s%s%s", end + 2, n[NICE] < 0 ? "<" : "",
			n[NICE] > 0 ? "N" : "", n[SID] == p->pid ? "s" : "",
			n[THREADS] > 1 ? "l" : "", n[TTY_PGID] == n[PGID] ? "+" : "");
		break;
	case BSDTIME:
		format(cell, CELL_MAX, "%ld:%02ld", number / 60, number % 60);
		break;
	case TIME:
		length = number < 86400 ? 0 : format(cell, CELL_MAX, "%ld-", number / 86400);
		format(cell + length, CELL_MAX - (size_t)length, "%02ld:%02ld:%02ld",
			number / 3600 % 24, number / 60 % 60, number % 60);
		break;
	case START: /* the hour of today, or the day, by UTC */
		gmtime_r(&start, &then);
		if (n[ELAPSED] <= p->now % 86400)
			format(cell, CELL_MAX, "%02d:%02d", then.tm_hour, then.tm_min);
		else
			format(cell, CELL_MAX, "%.3s%02d", &MONTHS[3 * then.tm_mon], then.tm_mday);
		break;
	case ARGS:
	case COMM:
		if (value == ARGS && p->args[0] != '\0')
			return p->args;
		format(cell, CELL_MAX, value == ARGS ? "[%.*s]%s" : "%.*s%s", length, comm, zombie);
		break;
	default:
		format(cell, CELL_MAX, "%ld", number);
	}
	/* comm can be empty, and a missing word would move the columns after it. */
	return cell[0] ? cell : "?";
}

/* Not a control character, a line separator or a mark of the writing direction. */
static bool is_printable(const char *at, size_t length)
{
	uint32_t c = (unsigned char)*at & (length > 1 ? 0x7fu >> length : 0x7fu);

	for (size_t i = 1; i < length; i++)
		c = c << 6 | ((unsigned char)at[i] & 0x3f);
	return length > 0 && c >= ' ' && (c < 0x7f || c > 0x9f) && (c < 0x2028 || c > 0x202e) &&
		(c < 0x2066 || c > 0x2069);
}

size_t ps_line(
	const struct ps_format *format, const struct ps_process *process, char *text, size_t size)
{
	char line[PS_COLUMNS_MAX * (HEADER_MAX + 1) + PS_LINE_MAX], *at = line, cell[CELL_MAX];
	size_t length, total = 0;
	long n[NUMBERS];

	if (process && !numbers_read(process, n))
		return 0;
	for (size_t i = 0; i < format->count; i++) {
		const struct ps_field *field = &format->fields[i];
		size_t width = (size_t)abs(field->column->width);
		const char *from = field->header, *end;
		bool is_last = i + 1 == format->count;

		for (length = 0; length < HEADER_MAX && !strchr(", ", from[length]);)
			length++;
		end = at + (length > width ? length : width);
		if (process) {
			from = value_text(field->column->value, process, n, cell);
			length = strlen(from);
		}
		total += length;
		while (field->column->width > 0 && at + length < end)
			*at++ = ' ';
		/* Hosts split all columns but the last at white space; Unicode has more than ASCII. */
		for (size_t one;
			length > 0 && (is_last || field->column->value < COMM || at < end);) {
			one = utf8_length(from, from + length);
			if (!is_printable(from, one) || (one > 1 && !is_last))
				*at++ = '?';
			else
				at = mempcpy(at, *from == ' ' && !is_last ? "_" : from, one);
			one += one == 0;
			from += one;
			length -= one;
		}
		for (bool more = !is_last; more; more = at <= end)
			*at++ = ' ';
	}
	if (total == 0)
		return 0;
	*at = '\n';
	length = (size_t)(at - line) < size ? (size_t)(at - line) : size - 1;
	while (((unsigned char)line[length] & 0xc0) == 0x80) /* not within a character */
		length--;
	memcpy(text, line, length);
	text[length] = '\n';
	return length + 1;
}

/* One read, which takes all that fits of a regular file; NULs become blanks. Closes the fd. */
static size_t read_string(int fd, char *to, size_t size)
{
	ssize_t n = io_read(fd, to, size - 1);
	size_t length = n > 0 ? (size_t)n : 0;

	fd_close(&fd);
	while (length > 0 && to[length - 1] == '\0')
		length--;
	to[length] = '\0';
	for (size_t i = 0; i < length; i++)
		to[i] = to[i] ? to[i] : ' ';
	return length;
}

void child_ps_main(const void *child_ps)
{
	char *listed = calloc(PID_LIMIT, 1); /* by pid: the kernel may list a process twice */
	static char passwd[256 * KIB];
	char *text = malloc(RESULT_MAX);
	const struct child_ps *ps = child_ps;
	int proc = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC), fd;
	struct ps_process process = {.now = time(NULL), .passwd = passwd};
	size_t count, length = 0, line_max;
	struct ps_format asked;
	const pid_t *pids;
	struct error err;
	struct stat st;

	if (!ps->json && ps_format_parse(&asked, ps->psargs, &err) < 0)
		die_error(&err);
	if (ps->cgroup < 0)
		die("list processes: the container has no cgroup");
	if (!listed || !text || proc < 0 || sysinfo(&process.machine) < 0)
		die_errno("list processes");
	pids = child_cgroup_pids(ps->cgroup, &count);
	for (size_t i = 0; i < count; i++)
		listed[pids[i] % PID_LIMIT] = 1;
	/* All are listed, however many: their lines are cut instead. */
	line_max = RESULT_MAX / (count + 1) < PS_LINE_MAX ? RESULT_MAX / (count + 1) : PS_LINE_MAX;
	if (!ps->json) {
		/* "/" becomes the container's. Its passwd may be anything; without one ps shows numbers. */
		fd = child_path_open(child_mount_enter(ps->mount_ns), "etc/passwd",
			O_RDONLY | O_NONBLOCK | O_NOCTTY);
		if (fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode))
			process.passwd_length = read_string(fd, passwd, sizeof(passwd));
		length = ps_line(&asked, NULL, text, line_max);
	}
	for (char *at = listed; (at = memchr(at, 1, (size_t)(listed + PID_LIMIT - at))); at++) {
		process.pid = (int)(at - listed);
		format(text + length, 16, length ? ",%d" : "[%d", process.pid);
		if (ps->json) {
			length += strlen(text + length);
			continue;
		}
		/* By one fd: another process may get the pid meanwhile. */
		fd = openat(proc, text + length + 1, O_PATH | O_DIRECTORY | O_CLOEXEC);
		read_string(openat(fd, "stat", O_RDONLY), process.stat, sizeof(process.stat));
		read_string(openat(fd, "status", O_RDONLY), process.status, sizeof(process.status));
		read_string(openat(fd, "cmdline", O_RDONLY), process.args, sizeof(process.args));
		fd_close(&fd);
		length += ps_line(&asked, &process, text + length, line_max);
	}
	if (ps->json)
		length += (size_t)format(text + length, sizeof("[]"), length ? "]" : "[]");
	report_done(text, length);
}
