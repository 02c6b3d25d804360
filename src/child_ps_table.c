/* SPDX-License-Identifier: Apache-2.0 */
/* The table of PSCONTAINER, as procps prints it. */
#include "child_ps_table.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "json_scan.h"

/* --- What a column shows ------------------------------------------------------------------------ */

struct cell {
	char text[PS_LINE_MAX];
	size_t length;
};

static void cell_add(struct cell *cell, const char *text, size_t length)
{
	if (length > sizeof(cell->text) - cell->length)
		length = sizeof(cell->text) - cell->length;
	memcpy(cell->text + cell->length, text, length);
	cell->length += length;
}

static void cell_print(struct cell *cell, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

static void cell_print(struct cell *cell, const char *fmt, ...)
{
	char text[64];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	cell_add(cell, text, strlen(text));
}

typedef void show_fn(struct cell *, const struct ps_process *, const struct ps_machine *);

static void show_user(struct cell *cell, const struct ps_process *p, const struct ps_machine *m)
{
	(void)m;
	if (!p->user)
		cell_print(cell, "%" PRId64, p->uid);
	else if (strlen(p->user) > 8)
		cell_print(cell, "%.7s+", p->user);
	else
		cell_print(cell, "%s", p->user);
}

static int64_t cpu_seconds(const struct ps_process *p, const struct ps_machine *m)
{
	return p->cpu_ticks / m->ticks;
}

static int64_t elapsed_seconds(const struct ps_process *p, const struct ps_machine *m)
{
	int64_t elapsed = m->uptime - p->start_ticks / m->ticks;

	return elapsed > 0 ? elapsed : 0;
}

/* Of one CPU, over all of its life. */
static int64_t cpu_permille(const struct ps_process *p, const struct ps_machine *m)
{
	int64_t elapsed = elapsed_seconds(p, m);

	return elapsed > 0 ? p->cpu_ticks * 1000 / m->ticks / elapsed : 0;
}

static void show_c(struct cell *cell, const struct ps_process *p, const struct ps_machine *m)
{
	int64_t percent = cpu_permille(p, m) / 10;

	cell_print(cell, "%" PRId64, percent < 99 ? percent : 99);
}

static void show_permille(struct cell *cell, int64_t permille)
{
	/* Four characters wide: several busy threads are more than 99.9 %. */
	if (permille > 999)
		cell_print(cell, "%" PRId64, permille / 10);
	else
		cell_print(cell, "%" PRId64 ".%" PRId64, permille / 10, permille % 10);
}

static void show_pcpu(struct cell *cell, const struct ps_process *p, const struct ps_machine *m)
{
	show_permille(cell, cpu_permille(p, m));
}

static void show_pmem(struct cell *cell, const struct ps_process *p, const struct ps_machine *m)
{
	int64_t kib = p->rss_pages * m->page_kib;

	show_permille(cell, kib < m->memory_kib ? kib * 1000 / m->memory_kib : 999);
}

static void show_vsz(struct cell *cell, const struct ps_process *p, const struct ps_machine *m)
{
	(void)m;
	cell_print(cell, "%" PRId64, p->vsz_bytes / 1024);
}

static void show_rss(struct cell *cell, const struct ps_process *p, const struct ps_machine *m)
{
	cell_print(cell, "%" PRId64, p->rss_pages * m->page_kib);
}

static void show_pri(struct cell *cell, const struct ps_process *p, const struct ps_machine *m)
{
	(void)m;
	cell_print(cell, "%" PRId64, 39 - p->priority);
}

/* The kernel's numbers, admin-guide/devices.txt. */
enum { TTY_MAJOR = 4, CONSOLE_MAJOR = 5, PTS_MAJOR = 136, PTS_LAST_MAJOR = 143, SERIAL_MINOR = 64 };

static void show_tty(struct cell *cell, const struct ps_process *p, const struct ps_machine *m)
{
	unsigned int kind = major((dev_t)p->tty), number = minor((dev_t)p->tty);

	(void)m;
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

static void show_stat(struct cell *cell, const struct ps_process *p, const struct ps_machine *m)
{
	(void)m;
	cell_print(cell, "%c%s%s%s%s%s", p->state,
		p->nice < 0           ? "<"
			: p->nice > 0 ? "N"
				      : "",
		p->locked_kib > 0 ? "L" : "", p->sid == p->pid ? "s" : "",
		p->threads > 1 ? "l" : "", p->tty_pgid == p->pgid ? "+" : "");
}

static void show_state(struct cell *cell, const struct ps_process *p, const struct ps_machine *m)
{
	(void)m;
	cell_print(cell, "%c", p->state);
}

/* [days-]hours:minutes:seconds */
static void show_long_time(struct cell *cell, int64_t seconds)
{
	if (seconds >= 86400)
		cell_print(cell, "%" PRId64 "-", seconds / 86400);
	cell_print(cell, "%02d:%02d:%02d", (int)(seconds / 3600 % 24), (int)(seconds / 60 % 60),
		(int)(seconds % 60));
}

static void show_time(struct cell *cell, const struct ps_process *p, const struct ps_machine *m)
{
	show_long_time(cell, cpu_seconds(p, m));
}

static void show_bsdtime(struct cell *cell, const struct ps_process *p, const struct ps_machine *m)
{
	int64_t seconds = cpu_seconds(p, m);

	cell_print(cell, "%" PRId64 ":%02d", seconds / 60, (int)(seconds % 60));
}

static void show_etime(struct cell *cell, const struct ps_process *p, const struct ps_machine *m)
{
	int64_t seconds = elapsed_seconds(p, m);

	if (seconds < 3600)
		cell_print(cell, "%02d:%02d", (int)(seconds / 60), (int)(seconds % 60));
	else
		show_long_time(cell, seconds);
}

/* The hour of today, the day of this year, or the year. The guest's clock is UTC. */
static void show_start(struct cell *cell, const struct ps_process *p, const struct ps_machine *m)
{
	static const char months[12][4] = {
		"Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
	time_t start = m->now - elapsed_seconds(p, m);
	struct tm then, now;

	gmtime_r(&start, &then);
	gmtime_r(&m->now, &now);
	if (then.tm_year != now.tm_year)
		cell_print(cell, "%d", then.tm_year + 1900);
	else if (then.tm_yday != now.tm_yday)
		cell_print(cell, "%s%02d", months[then.tm_mon], then.tm_mday);
	else
		cell_print(cell, "%02d:%02d", then.tm_hour, then.tm_min);
}

static void show_defunct(struct cell *cell, const struct ps_process *p)
{
	if (p->state == 'Z')
		cell_print(cell, " <defunct>");
}

static void show_comm(struct cell *cell, const struct ps_process *p, const struct ps_machine *m)
{
	(void)m;
	cell_add(cell, p->comm, p->comm_length);
	show_defunct(cell, p);
}

static void show_args(struct cell *cell, const struct ps_process *p, const struct ps_machine *m)
{
	size_t length = p->args_length;

	(void)m;
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

/* --- The columns there are ---------------------------------------------------------------------- */

struct ps_column {
	const char *name, *header;
	int width;     /* at least; negative: to the left */
	bool is_cut;   /* to its width, unless it is the last one */
	size_t number; /* what it shows: this member of the process, */
	show_fn *show; /* or what this makes of it */
};

#define NUMBER(name, header, width, member)                                           \
	{                                                                             \
		name, header, width, false, offsetof(struct ps_process, member), NULL \
	}
#define SHOWN(name, header, width, show)            \
	{                                           \
		name, header, width, false, 0, show \
	}
#define CUT(name, header, width, show)             \
	{                                          \
		name, header, width, true, 0, show \
	}

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

/* What -f and u stand for. */
#define FORMAT_FULL "user=UID,pid,ppid,c,stime,tname,time,cmd"
#define FORMAT_USER "user,pid,%cpu,%mem,vsz,rss,tname,stat,start_time,bsdtime,command"

/* --- What ps is asked for ----------------------------------------------------------------------- */

/* "column" or "column=header". */
static int format_add(struct ps_format *format, const char *item, size_t length, struct error *err)
{
	const char *equals = memchr(item, '=', length);
	size_t name = equals ? (size_t)(equals - item) : length;
	struct ps_field *field = &format->fields[format->count];

	if (format->count == PS_COLUMNS_MAX)
		return error_set(err, EINVAL, "ps: more than %u columns", PS_COLUMNS_MAX);
	for (size_t i = 0; i < sizeof(columns) / sizeof(columns[0]); i++) {
		const struct ps_column *column = &columns[i];

		if (strlen(column->name) != name || memcmp(column->name, item, name) != 0)
			continue;
		*field = (struct ps_field){column, column->header, strlen(column->header)};
		if (equals) {
			field->header = equals + 1;
			field->header_length = length - name - 1;
		}
		format->count++;
		return 0;
	}
	return error_set(err, EINVAL, "ps: unknown column '%.*s'", (int)name, item);
}

static int format_add_list(struct ps_format *format, const char *list, struct error *err)
{
	size_t length;

	for (; *list; list += length) {
		list += strspn(list, ", ");
		length = strcspn(list, ", ");
		if (length > 0 && format_add(format, list, length, err) < 0)
			return -1;
	}
	return 0;
}

int ps_format_parse(struct ps_format *format, const char *const *psargs, struct error *err)
{
	const char *implied = FORMAT_FULL;

	format->count = 0;
	for (; psargs && *psargs; psargs++) {
		const char *option = *psargs, *letter = option;
		/* ps itself takes -aux for aux; its other -u selects a user. */
		bool is_unix = *letter == '-' && strncmp(letter, "-aux", 4) != 0;

		letter += *letter == '-';
		if (*letter == '\0' && letter > option)
			return error_set(err, EINVAL, "ps: unknown option '-'");
		for (; *letter && *letter != 'o'; letter++) {
			if (is_unix && *letter == 'f')
				implied = FORMAT_FULL;
			else if (!is_unix && *letter == 'u')
				implied = FORMAT_USER;
			else if (!strchr(is_unix ? "eAaxw" : "axw", *letter))
				return error_set(err, EINVAL, "ps: unknown option '%s'", option);
		}
		if (*letter == '\0')
			continue;
		if (letter[1] == '\0' && psargs[1])
			letter = *++psargs;
		else
			letter++;
		if (letter[strspn(letter, ", ")] == '\0')
			return error_set(
				err, EINVAL, "ps: option '%s' without a list of columns", option);
		if (format_add_list(format, letter, err) < 0)
			return -1;
	}
	return format->count > 0 ? 0 : format_add_list(format, implied, err);
}

/* --- What procfs says --------------------------------------------------------------------------- */

/* Larger ones are cut to this, so that sums and shares of them do not overflow. */
#define NUMBER_MAX ((int64_t)1 << 52)

/* The next number, whatever white space stands before it. */
static bool number_next(const char **at, const char *end, int64_t *number)
{
	int64_t value = 0;
	bool is_negative;
	const char *first;

	while (*at < end && (**at == ' ' || **at == '\t'))
		++*at;
	is_negative = *at < end && **at == '-';
	if (is_negative)
		++*at;
	for (first = *at; *at < end && **at >= '0' && **at <= '9'; ++*at) {
		value = value * 10 + (**at - '0');
		if (value > NUMBER_MAX)
			value = NUMBER_MAX;
	}
	*number = is_negative ? -value : value;
	return *at > first;
}

/* Fields of stat behind its letter, proc(5). */
enum {
	STAT_PPID,
	STAT_PGID,
	STAT_SID,
	STAT_TTY,
	STAT_TTY_PGID,
	STAT_USER_TICKS = 10,
	STAT_SYSTEM_TICKS,
	STAT_PRIORITY = 14,
	STAT_NICE,
	STAT_THREADS,
	STAT_START_TICKS = 18,
	STAT_VSZ,
	STAT_RSS,
	STAT_FIELDS
};

bool ps_stat_parse(const char *text, size_t length, struct ps_process *p)
{
	/* "pid (comm) state number…": comm may hold parentheses of its own, what follows has none. */
	const char *end = text + length, *open = memchr(text, '(', length);
	const char *at = memrchr(text, ')', length);
	int64_t field[STAT_FIELDS];

	if (!number_next(&text, end, &p->pid) || !open || at < open || end - at < 4 || at[1] != ' ')
		return false;
	p->comm = open + 1;
	p->comm_length = (size_t)(at - p->comm);
	p->state = at[2];
	at += 3;
	for (int i = 0; i < STAT_FIELDS; i++)
		if (!number_next(&at, end, &field[i]))
			return false;
	p->ppid = field[STAT_PPID];
	p->pgid = field[STAT_PGID];
	p->sid = field[STAT_SID];
	p->tty = field[STAT_TTY];
	p->tty_pgid = field[STAT_TTY_PGID];
	p->cpu_ticks = field[STAT_USER_TICKS] + field[STAT_SYSTEM_TICKS];
	p->priority = field[STAT_PRIORITY];
	p->nice = field[STAT_NICE];
	p->threads = field[STAT_THREADS];
	p->start_ticks = field[STAT_START_TICKS];
	p->vsz_bytes = field[STAT_VSZ];
	p->rss_pages = field[STAT_RSS];
	return true;
}

/* The number at place `skip` behind "\nlabel:". The kernel escapes a newline in the name, which
 * stands before all labels that are asked for. */
static bool status_number(
	const char *text, size_t length, const char *label, int skip, int64_t *number)
{
	const char *at = memmem(text, length, label, strlen(label));

	if (!at)
		return false;
	at += strlen(label);
	while (skip-- >= 0)
		if (!number_next(&at, text + length, number))
			return false;
	return true;
}

bool ps_status_parse(const char *text, size_t length, struct ps_process *p)
{
	/* Kernel threads and zombies have no memory to lock. */
	if (!status_number(text, length, "\nVmLck:", 0, &p->locked_kib))
		p->locked_kib = 0;
	return status_number(text, length, "\nUid:", 1, &p->uid) &&
		status_number(text, length, "\nGid:", 1, &p->gid);
}

/* --- The line ----------------------------------------------------------------------------------- */

struct line {
	char *at, *end; /* where the newline goes at the latest */
};

static void line_add(struct line *line, const char *text, size_t length)
{
	/* A character goes in whole or not at all, and nothing behind one that did not. */
	if (length > (size_t)(line->end - line->at)) {
		line->end = line->at;
		return;
	}
	memcpy(line->at, text, length);
	line->at += length;
}

static void line_pad(struct line *line, size_t from, size_t to)
{
	for (; from < to && line->at < line->end; from++)
		line_add(line, " ", 1);
}

/* Not what moves the cursor, begins a line, or turns the direction of writing. */
static bool is_printable(const char *at, size_t length)
{
	unsigned char c[3] = {0};

	memcpy(c, at, length < 3 ? length : 3);
	if (length == 1)
		return c[0] >= ' ' && c[0] != 0x7f;
	if (length == 2) /* U+0080 to U+009F */
		return c[0] != 0xc2 || c[1] >= 0xa0;
	if (length == 3 && c[0] == 0xe2 && c[1] == 0x80) /* U+2028 to U+202E */
		return c[2] < 0xa8 || c[2] > 0xae;
	if (length == 3 && c[0] == 0xe2 && c[1] == 0x81) /* U+2066 to U+2069 */
		return c[2] < 0xa6 || c[2] > 0xa9;
	return length > 0;
}

/* The text without what would break the table, at most `max` characters of it. Hosts split all
 * columns but the last one at white space, of which Unicode has more than ASCII. Returns how many
 * characters it became. */
static size_t line_add_text(
	struct line *line, const char *text, size_t length, size_t max, bool is_last)
{
	const char *end = text + length;
	size_t count = 0;

	for (; text < end && count < max; count++) {
		size_t one = utf8_length(text, end);

		if (!is_printable(text, one) || (one > 1 && !is_last))
			line_add(line, "?", 1);
		else if (*text == ' ' && !is_last)
			line_add(line, "_", 1);
		else
			line_add(line, text, one);
		text += one > 0 ? one : 1;
	}
	return count;
}

static void line_add_field(struct line *line, const struct ps_field *field, bool is_last,
	const char *text, size_t length)
{
	const struct ps_column *column = field->column;
	size_t width = (size_t)(column->width < 0 ? -column->width : column->width);

	if (width < field->header_length)
		width = field->header_length;
	if (column->width > 0)
		line_pad(line, length, width);
	length = line_add_text(
		line, text, length, column->is_cut && !is_last ? width : SIZE_MAX, is_last);
	if (is_last)
		return;
	if (column->width < 0)
		line_pad(line, length, width);
	line_add(line, " ", 1);
}

static size_t line_end(struct line *line, const char *start)
{
	*line->at++ = '\n';
	return (size_t)(line->at - start);
}

size_t ps_format_heading(const struct ps_format *format, char *text, size_t size)
{
	struct line line = {text, text + size - 1};
	size_t length = 0;

	for (size_t i = 0; i < format->count; i++)
		length += format->fields[i].header_length;
	if (length == 0)
		return 0;
	for (size_t i = 0; i < format->count; i++)
		line_add_field(&line, &format->fields[i], i + 1 == format->count,
			format->fields[i].header, format->fields[i].header_length);
	return line_end(&line, text);
}

static void field_show(const struct ps_field *field, const struct ps_process *process,
	const struct ps_machine *machine, struct cell *cell)
{
	const struct ps_column *column = field->column;
	int64_t number;

	cell->length = 0;
	if (column->show) {
		column->show(cell, process, machine);
	} else {
		memcpy(&number, (const char *)process + column->number, sizeof(number));
		cell_print(cell, "%" PRId64, number);
	}
	/* A column without a word would move those behind it: comm can be empty. */
	if (cell->length == 0)
		cell_add(cell, "?", 1);
}

size_t ps_format_line(const struct ps_format *format, const struct ps_process *process,
	const struct ps_machine *machine, char *text, size_t size)
{
	struct line line = {text, text + size - 1};
	struct cell cell;

	for (size_t i = 0; i < format->count; i++) {
		field_show(&format->fields[i], process, machine, &cell);
		line_add_field(
			&line, &format->fields[i], i + 1 == format->count, cell.text, cell.length);
	}
	return line_end(&line, text);
}
