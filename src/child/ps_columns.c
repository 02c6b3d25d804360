/* SPDX-License-Identifier: Apache-2.0 */
/* The columns that ps can show, and what each makes of a process, as procps has them. */
#include "child/ps_columns.h"

#include <inttypes.h>
#include <stdarg.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <sys/types.h>

#include "base/count.h"
#include "base/format.h"

/* --- What a column shows ---------------------------------------------------------------------- */

static void cell_add(struct ps_cell *cell, const char *text, size_t length)
{
	if (length > sizeof(cell->text) - cell->length)
		length = sizeof(cell->text) - cell->length;
	memcpy(cell->text + cell->length, text, length);
	cell->length += length;
}

static void cell_print(struct ps_cell *cell, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

static void cell_print(struct ps_cell *cell, const char *fmt, ...)
{
	char text[64];
	va_list args;

	va_start(args, fmt);
	vformat(text, sizeof(text), fmt, args);
	va_end(args);
	cell_add(cell, text, strlen(text));
}

static void show_user(struct ps_cell *cell, const struct ps_process *p)
{
	if (!p->user)
		cell_print(cell, "%" PRId64, p->uid);
	else if (strlen(p->user) > 8)
		cell_print(cell, "%.7s+", p->user);
	else
		cell_print(cell, "%s", p->user);
}

static int64_t cpu_seconds(const struct ps_process *p)
{
	return p->cpu_ticks / p->machine->ticks;
}

static int64_t elapsed_seconds(const struct ps_process *p)
{
	int64_t elapsed = p->machine->uptime - p->start_ticks / p->machine->ticks;

	return elapsed > 0 ? elapsed : 0;
}

/* Of one CPU, over all of its life. */
static int64_t cpu_permille(const struct ps_process *p)
{
	int64_t elapsed = elapsed_seconds(p);

	return elapsed > 0 ? p->cpu_ticks * 1000 / p->machine->ticks / elapsed : 0;
}

static void show_c(struct ps_cell *cell, const struct ps_process *p)
{
	int64_t percent = cpu_permille(p) / 10;

	cell_print(cell, "%" PRId64, percent < 99 ? percent : 99);
}

static void show_permille(struct ps_cell *cell, int64_t permille)
{
	/* Four characters wide: several busy threads are more than 99.9 %. */
	if (permille > 999)
		cell_print(cell, "%" PRId64, permille / 10);
	else
		cell_print(cell, "%" PRId64 ".%" PRId64, permille / 10, permille % 10);
}

static void show_pcpu(struct ps_cell *cell, const struct ps_process *p)
{
	show_permille(cell, cpu_permille(p));
}

static void show_pmem(struct ps_cell *cell, const struct ps_process *p)
{
	int64_t kib = p->rss_pages * p->machine->page_kib;

	show_permille(
		cell, kib < p->machine->memory_kib ? kib * 1000 / p->machine->memory_kib : 999);
}

static void show_vsz(struct ps_cell *cell, const struct ps_process *p)
{
	cell_print(cell, "%" PRId64, p->vsz_bytes / 1024);
}

static void show_rss(struct ps_cell *cell, const struct ps_process *p)
{
	cell_print(cell, "%" PRId64, p->rss_pages * p->machine->page_kib);
}

static void show_pri(struct ps_cell *cell, const struct ps_process *p)
{
	cell_print(cell, "%" PRId64, 39 - p->priority);
}

/* The kernel's numbers, admin-guide/devices.txt. */
enum { TTY_MAJOR = 4, CONSOLE_MAJOR = 5, PTS_MAJOR = 136, PTS_LAST_MAJOR = 143, SERIAL_MINOR = 64 };

static void show_tty(struct ps_cell *cell, const struct ps_process *p)
{
	unsigned int kind = major((dev_t)p->tty), number = minor((dev_t)p->tty);

	if (kind >= PTS_MAJOR && kind <= PTS_LAST_MAJOR)
		cell_print(cell, "pts/%u", (kind - PTS_MAJOR) * 256 + number);
	else if (kind == TTY_MAJOR && number >= SERIAL_MINOR)
		cell_print(cell, "ttyS%u", number - SERIAL_MINOR);
	else if (kind == TTY_MAJOR)
		cell_print(cell, "tty%u", number);
	else if (kind == CONSOLE_MAJOR && number == 1)
		cell_print(cell, "console");
	else
		cell_print(cell, "?");
}

static void show_stat(struct ps_cell *cell, const struct ps_process *p)
{
	cell_add(cell, &p->state, 1);
	cell_print(cell, "%s%s%s%s%s%s", p->nice < 0 ? "<" : "", p->nice > 0 ? "N" : "",
		p->locked_kib > 0 ? "L" : "", p->sid == p->pid ? "s" : "",
		p->threads > 1 ? "l" : "", p->tty_pgid == p->pgid ? "+" : "");
}

static void show_state(struct ps_cell *cell, const struct ps_process *p)
{
	cell_add(cell, &p->state, 1);
}

/* [days-]hours:minutes:seconds */
static void show_long_time(struct ps_cell *cell, int64_t seconds)
{
	if (seconds >= 86400)
		cell_print(cell, "%" PRId64 "-", seconds / 86400);
	cell_print(cell, "%02d:%02d:%02d", (int)(seconds / 3600 % 24), (int)(seconds / 60 % 60),
		(int)(seconds % 60));
}

static void show_time(struct ps_cell *cell, const struct ps_process *p)
{
	show_long_time(cell, cpu_seconds(p));
}

static void show_bsdtime(struct ps_cell *cell, const struct ps_process *p)
{
	int64_t seconds = cpu_seconds(p);

	cell_print(cell, "%" PRId64 ":%02d", seconds / 60, (int)(seconds % 60));
}

static void show_etime(struct ps_cell *cell, const struct ps_process *p)
{
	int64_t seconds = elapsed_seconds(p);

	if (seconds < 3600)
		cell_print(cell, "%02d:%02d", (int)(seconds / 60), (int)(seconds % 60));
	else
		show_long_time(cell, seconds);
}

/* The hour of today, the day of this year, or the year. The guest's clock is UTC. */
static void show_start(struct ps_cell *cell, const struct ps_process *p)
{
	static const char months[12][4] = {
		"Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
	time_t start = p->machine->now - elapsed_seconds(p);
	struct tm then, now;

	gmtime_r(&start, &then);
	gmtime_r(&p->machine->now, &now);
	if (then.tm_year != now.tm_year)
		cell_print(cell, "%d", then.tm_year + 1900);
	else if (then.tm_yday != now.tm_yday)
		cell_print(cell, "%s%02d", months[then.tm_mon], then.tm_mday);
	else
		cell_print(cell, "%02d:%02d", then.tm_hour, then.tm_min);
}

static void show_defunct(struct ps_cell *cell, const struct ps_process *p)
{
	if (p->state == 'Z')
		cell_print(cell, " <defunct>");
}

static void show_comm(struct ps_cell *cell, const struct ps_process *p)
{
	cell_add(cell, p->comm, p->comm_length);
	show_defunct(cell, p);
}

static void show_args(struct ps_cell *cell, const struct ps_process *p)
{
	size_t length = p->args_length;

	while (length > 0 && p->args[length - 1] == '\0')
		length--;
	for (size_t i = 0; i < length; i++)
		cell_add(cell, p->args[i] ? &p->args[i] : " ", 1);
	if (length > 0)
		return;
	cell_add(cell, "[", 1);
	cell_add(cell, p->comm, p->comm_length);
	cell_add(cell, "]", 1);
	show_defunct(cell, p);
}

/* --- The columns there are -------------------------------------------------------------------- */

/* clang-format off */
#define NUMBER(name, header, width, member) \
	{name, header, NULL, offsetof(struct ps_process, member), width, false}
#define SHOWN(name, header, width, show) {name, header, show, 0, width, false}
#define CUT(name, header, width, show)   {name, header, show, 0, width, true}
/* clang-format on */

static const struct ps_column columns[] = {
	SHOWN("%cpu", "%CPU", 4, show_pcpu),
	SHOWN("%mem", "%MEM", 4, show_pmem),
	CUT("args", "COMMAND", -27, show_args),
	SHOWN("bsdtime", "TIME", 6, show_bsdtime),
	SHOWN("c", "C", 2, show_c),
	CUT("cmd", "CMD", -27, show_args),
	CUT("comm", "COMMAND", -15, show_comm),
	CUT("command", "COMMAND", -27, show_args),
	SHOWN("etime", "ELAPSED", 11, show_etime),
	SHOWN("euser", "EUSER", -8, show_user),
	NUMBER("gid", "GID", 5, gid),
	NUMBER("ni", "NI", 3, nice),
	NUMBER("nice", "NI", 3, nice),
	NUMBER("nlwp", "NLWP", 4, threads),
	SHOWN("pcpu", "%CPU", 4, show_pcpu),
	NUMBER("pgid", "PGID", 5, pgid),
	NUMBER("pid", "PID", 5, pid),
	SHOWN("pmem", "%MEM", 4, show_pmem),
	NUMBER("ppid", "PPID", 5, ppid),
	SHOWN("pri", "PRI", 3, show_pri),
	SHOWN("rss", "RSS", 5, show_rss),
	SHOWN("s", "S", -1, show_state),
	NUMBER("sess", "SESS", 5, sid),
	NUMBER("sid", "SID", 5, sid),
	SHOWN("start_time", "START", -5, show_start),
	SHOWN("stat", "STAT", -4, show_stat),
	SHOWN("state", "S", -1, show_state),
	SHOWN("stime", "STIME", -5, show_start),
	SHOWN("time", "TIME", 8, show_time),
	SHOWN("tname", "TTY", -8, show_tty),
	SHOWN("tt", "TT", -8, show_tty),
	SHOWN("tty", "TT", -8, show_tty),
	CUT("ucmd", "CMD", -15, show_comm),
	NUMBER("uid", "UID", 5, uid),
	SHOWN("user", "USER", -8, show_user),
	SHOWN("vsz", "VSZ", 6, show_vsz),
};

const struct ps_column *ps_column_find(const char *name, size_t length)
{
	for (size_t i = 0; i < COUNT(columns); i++)
		if (strlen(columns[i].name) == length && memcmp(columns[i].name, name, length) == 0)
			return &columns[i];
	return NULL;
}

void ps_column_show(
	const struct ps_column *column, const struct ps_process *process, struct ps_cell *cell)
{
	int64_t number;

	cell->length = 0;
	if (column->show) {
		column->show(cell, process);
	} else {
		memcpy(&number, (const char *)process + column->number, sizeof(number));
		cell_print(cell, "%" PRId64, number);
	}
}
