/* SPDX-License-Identifier: Apache-2.0 */
/* PSCONTAINER: what runs in a container, as ps(1) shows it, or its pids as JSON. */
#ifndef CHILD_PS_H
#define CHILD_PS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/sysinfo.h>
#include <time.h>

#include "base/error.h"

#define PS_LINE_MAX    4096u
#define PS_COLUMNS_MAX 64u

struct child_ps {
	int cgroup;                /* the container's: its processes are listed; -1: none */
	int mount_ns;              /* the container's: user names come from its passwd */
	bool json;                 /* an array of pids */
	const char *const *psargs; /* NULL-terminated or NULL: what ps(1) would be given */
};

/* Worker: reports the text, or an error that names the psarg that is wrong. The argument is a struct child_ps. */
_Noreturn void child_ps_main(const void *child_ps);

/* Pure functions. */

struct ps_format {
	size_t count;
	struct ps_field {
		const struct ps_column *column;
		const char *header; /* up to a comma or blank; borrowed from psargs */
	} fields[PS_COLUMNS_MAX];
};

/* The columns that psargs ask for, those of -ef by default. As all processes of the container are listed, the
 * options that select more than the caller's own change nothing; another option is an error. 0, or -1 with
 * err, which names the argument. */
int ps_format_parse(struct ps_format *format, const char *const *psargs, struct error *err);

/* A process, and what its times and shares are computed from. The container controls the texts. */
struct ps_process {
	time_t now;
	struct sysinfo machine;
	const char *passwd; /* the container's, of that length */
	size_t passwd_length;
	int pid;
	char stat[1024], status[8192]; /* of /proc/PID, strings */
	char args[PS_LINE_MAX + 4];    /* cmdline, with blanks between the arguments */
};

/* Writes the line of a process or, for NULL, the heading: UTF-8 without control characters, cut to `size` bytes
 * (at least 1) with its newline. In all columns but the last a value is one word. Returns its length, 0 for a
 * process that has ended or a heading without text. */
size_t ps_line(
	const struct ps_format *format, const struct ps_process *process, char *text, size_t size);

#endif
