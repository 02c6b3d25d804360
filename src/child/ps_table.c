/* SPDX-License-Identifier: Apache-2.0 */
/* The table of PSCONTAINER: ps's arguments, procfs's texts, and the lines that come of them. */
#include "child/ps_table.h"

#include <errno.h>
#include <string.h>

#include "base/file.h"
#include "spec/json.h"

/* --- What ps is asked for --------------------------------------------------------------------- */

/* What -f and u stand for. */
#define FORMAT_FULL "user=UID,pid,ppid,c,stime,tname,time,cmd"
#define FORMAT_USER "user,pid,%cpu,%mem,vsz,rss,tname,stat,start_time,bsdtime,command"

/* "column" or "column=header". */
static int format_add(struct ps_format *format, const char *item, size_t length, struct error *err)
{
	const char *equals = memchr(item, '=', length);
	size_t name = equals ? (size_t)(equals - item) : length;
	struct ps_field *field = &format->fields[format->count];
	const struct ps_column *column;

	if (format->count == PS_COLUMNS_MAX)
		return error_set(err, EINVAL, "ps: more than %u columns", PS_COLUMNS_MAX);
	column = ps_column_find(item, name);
	if (!column)
		return error_set(err, EINVAL, "ps: unknown column '%.*s'", (int)name, item);
	*field = (struct ps_field){column, column->header, strlen(column->header)};
	if (equals) {
		field->header = equals + 1;
		field->header_length = length - name - 1;
	}
	format->count++;
	return 0;
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

/* --- What procfs says ------------------------------------------------------------------------- */

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
	return p->cpu_ticks >= 0 && p->start_ticks >= 0 && p->vsz_bytes >= 0 && p->rss_pages >= 0;
}

/* The number at place `skip` behind "label:". The kernel escapes a newline in the name, which
 * stands before all labels that are asked for. */
static bool status_number(
	const char *text, size_t length, const char *label, int skip, int64_t *number)
{
	const char *at = file_line(text, length, label);

	if (!at)
		return false;
	while (skip-- >= 0)
		if (!number_next(&at, text + length, number))
			return false;
	return true;
}

bool ps_status_parse(const char *text, size_t length, struct ps_process *p)
{
	/* Kernel threads and zombies have no memory to lock. */
	if (!status_number(text, length, "VmLck:", 0, &p->locked_kib))
		p->locked_kib = 0;
	return status_number(text, length, "Uid:", 1, &p->uid) &&
		status_number(text, length, "Gid:", 1, &p->gid);
}

/* --- The line --------------------------------------------------------------------------------- */

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

size_t ps_format_line(
	const struct ps_format *format, const struct ps_process *process, char *text, size_t size)
{
	struct line line = {text, text + size - 1};
	struct ps_cell cell;

	for (size_t i = 0; i < format->count; i++) {
		const struct ps_field *field = &format->fields[i];

		ps_column_show(field->column, process, &cell);
		/* Without a word in it those behind it would move: comm can be empty. */
		if (cell.length == 0)
			cell.text[cell.length++] = '?';
		line_add_field(&line, field, i + 1 == format->count, cell.text, cell.length);
	}
	return line_end(&line, text);
}
