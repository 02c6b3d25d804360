/* SPDX-License-Identifier: Apache-2.0 */
/* The record on the report pipe: how a child reports to the agent. */
#ifndef REPORT_H
#define REPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"
#include "limits.h"

enum report_kind {
	/* The last act before execve, which succeeded if EOF follows; its result may be lost. */
	REPORT_EXECUTING = 1,
	REPORT_ERROR, /* a struct error, up to the end of its text */
	REPORT_DONE, /* the result of a worker or of the pod's init, possibly empty, at most RESULT_MAX */
};

/* Child: one record, in one write if it fits REPORT_RECORD_MAX; a longer result blocks until the agent
 * has read it. */
void report_write(int fd, enum report_kind kind, const void *payload, size_t length);

/* Agent: what has arrived so far. Zero-initialise. */
struct report {
	bool executing, done, failed;
	struct error error; /* valid when failed */
	uint8_t *result;    /* owned; NULL when it is empty */
	size_t result_length, result_filled;
	uint8_t record[REPORT_RECORD_MAX];
	size_t filled;
};

/* One read of the pipe; takes the records that are complete. IO_AGAIN, IO_EOF, IO_ERROR or n > 0. A record
 * of another form is a failure. */
ssize_t report_read(struct report *report, int fd);

/* Frees what it owns. */
void report_close(struct report *report);

#endif
