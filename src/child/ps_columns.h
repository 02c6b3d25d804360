/* SPDX-License-Identifier: Apache-2.0 */
/* The columns that ps can show, and what each makes of a process. Pure functions. */
#ifndef CHILD_PS_COLUMNS_H
#define CHILD_PS_COLUMNS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#define PS_LINE_MAX 4096u

/* What turns ticks and pages into times and shares. */
struct ps_machine {
	time_t now;
	int64_t uptime; /* seconds */
	int64_t ticks;  /* a second */
	int64_t page_kib, memory_kib;
};

/* What procfs says of one process. All text is borrowed, and may be any bytes. */
struct ps_process {
	const struct ps_machine *machine;
	const char *comm;
	size_t comm_length;
	const char *args; /* cmdline: a NUL behind each; kernel threads and zombies have none */
	size_t args_length;
	const char *user; /* NULL: only a number is known */
	char state;
	int64_t pid, ppid, pgid, sid, uid, gid; /* uid and gid are the effective ones */
	int64_t tty, tty_pgid; /* the terminal's device number, and who is in front */
	int64_t priority, nice, threads, locked_kib;
	int64_t vsz_bytes, rss_pages;
	int64_t cpu_ticks, start_ticks; /* used so far; since the machine booted */
};

/* What one column shows of one process: any bytes, as its process is. */
struct ps_cell {
	char text[PS_LINE_MAX];
	size_t length;
};

struct ps_column {
	const char *name, *header;
	/* What it shows: what this adds to the cell; or, where it is NULL, */
	void (*show)(struct ps_cell *cell, const struct ps_process *process);
	uint16_t number; /* the int64_t at this offset in the process. */
	int8_t width;    /* at least; negative: to the left */
	bool is_cut;     /* to its width, unless it is the last one */
};

/* The column of that name as `ps -o` takes it, or NULL. */
const struct ps_column *ps_column_find(const char *name, size_t length);

/* Into `cell`, which it empties first. */
void ps_column_show(
	const struct ps_column *column, const struct ps_process *process, struct ps_cell *cell);

#endif
