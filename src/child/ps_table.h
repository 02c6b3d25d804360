/* SPDX-License-Identifier: Apache-2.0 */
/* The table of PSCONTAINER: what ps is asked for, what procfs says, and the line that comes of it.
 * Pure functions; their texts have no terminating NUL, and a container may have filled them with
 * anything. */
#ifndef CHILD_PS_TABLE_H
#define CHILD_PS_TABLE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "child/ps_columns.h"

#define PS_COLUMNS_MAX 64u

/* The columns that ps was asked for. */
struct ps_format {
	size_t count;
	struct ps_field {
		const struct ps_column *column;
		const char *header; /* borrowed from psargs */
		size_t header_length;
	} fields[PS_COLUMNS_MAX];
};

/* What these arguments (NULL-terminated or NULL) ask for: "-ef" when they name no columns. All of a
 * container is shown, so options that select more than one's own processes change nothing, and one
 * that selects fewer is an error. 0, or -1 with err, which names what is not understood. */
int ps_format_parse(struct ps_format *format, const char *const *psargs, struct error *err);

/* /proc/PID/stat and .../status: false when that is not what the text is. */
bool ps_stat_parse(const char *text, size_t length, struct ps_process *process);
bool ps_status_parse(const char *text, size_t length, struct ps_process *process);

/* Each writes one line, cut to `size` bytes (at least 1) with its newline, and returns its length. It
 * is UTF-8 without control characters, and in all columns but the last one a value is one word. The
 * heading is empty when every column's is. */
size_t ps_format_heading(const struct ps_format *format, char *text, size_t size);
size_t ps_format_line(
	const struct ps_format *format, const struct ps_process *process, char *text, size_t size);

#endif
