/* SPDX-License-Identifier: Apache-2.0 */
/* The record on the report pipe: how a child tells the daemon what became of it. */
#include "child/report.h"

#include <errno.h>
#include <linux/limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#include "base/invariant.h"
#include "base/queue.h"

/* Writer and reader are one program on one machine: no byte order to care about. */
struct header {
	uint32_t kind, length; /* of the payload */
};

#define PAYLOAD_MAX (REPORT_RECORD_MAX - sizeof(struct header))

static_assert(REPORT_RECORD_MAX <= PIPE_BUF, "a record must be one atomic write");

void report_write(int fd, enum report_kind kind, const void *payload, size_t length)
{
	struct header header = {.kind = kind};
	struct iovec parts[2] = {{&header, sizeof(header)}, {(void *)payload, length}};
	size_t written = 0;
	ssize_t n;

	if (kind != REPORT_DONE && length > PAYLOAD_MAX)
		parts[1].iov_len = PAYLOAD_MAX;
	header.length = (uint32_t)parts[1].iov_len;
	do
		n = writev(fd, parts, 2);
	while (n < 0 && errno == EINTR);
	if (n > (ssize_t)sizeof(header))
		written = (size_t)n - sizeof(header);
	while (written < header.length && n > 0) {
		n = io_write(fd, (const uint8_t *)payload + written, header.length - written);
		if (n > 0)
			written += (size_t)n;
	}
}

static void report_refuse(struct report *report, int code, const char *why)
{
	report->failed = true;
	error_set(&report->error, code, "%s", why);
}

static void take_error(struct report *report, const uint8_t *payload, size_t length)
{
	uint32_t code;

	if (length < sizeof(code)) {
		report_refuse(report, EPROTO, "unreadable report");
		return;
	}
	memcpy(&code, payload, sizeof(code));
	report->failed = true;
	error_set(&report->error, (int)code, "%.*s", (int)(length - sizeof(code)),
		(const char *)payload + sizeof(code));
}

static void result_add(struct report *report, size_t length)
{
	report->result_filled += length;
	report->done = report->result_filled == report->result_length;
}

/* A result of `length` bytes, of which `here` are at `payload` and the others will follow. */
static void result_begin(struct report *report, size_t length, const uint8_t *payload, size_t here)
{
	if (length > 0) {
		report->result = malloc(length);
		if (!report->result) {
			report_refuse(report, ENOMEM, "out of memory");
			return;
		}
		memcpy(report->result, payload, here);
	}
	report->result_length = length;
	result_add(report, here);
}

/* The record at the head of `left` bytes; returns how many of them it takes, 0: it is not whole. */
static size_t report_take(struct report *report, const uint8_t *bytes, size_t left)
{
	const uint8_t *payload = bytes + sizeof(struct header);
	struct header header;
	size_t here;

	if (left < sizeof(header))
		return 0;
	memcpy(&header, bytes, sizeof(header));
	/* DONE is the last record, and behind EXECUTING there is only why that failed. */
	if (report->done || (report->executing && header.kind != REPORT_ERROR)) {
		report_refuse(report, EPROTO, "unreadable report");
		return left;
	}
	here = left - sizeof(header);
	if (here > header.length)
		here = header.length;
	if (header.kind == REPORT_DONE && header.length <= RESULT_MAX) {
		result_begin(report, header.length, payload, here);
		return sizeof(header) + here;
	}
	if (header.kind == REPORT_DONE || header.length > PAYLOAD_MAX) {
		report_refuse(report, EPROTO, "unreadable report");
		return left;
	}
	if (here < header.length)
		return 0;
	if (header.kind == REPORT_EXECUTING)
		report->executing = true;
	else if (header.kind == REPORT_ERROR)
		take_error(report, payload, here);
	else
		report_refuse(report, EPROTO, "unreadable report");
	return sizeof(header) + here;
}

ssize_t report_read(struct report *report, int fd)
{
	size_t taken = 0, one;
	ssize_t n;

	if (report->result_filled < report->result_length) {
		n = io_read(fd, report->result + report->result_filled,
			report->result_length - report->result_filled);
		if (n > 0)
			result_add(report, (size_t)n);
		return n;
	}
	n = io_read(fd, report->record + report->filled, sizeof(report->record) - report->filled);
	if (n <= 0)
		return n;
	report->filled += (size_t)n;
	/* Whatever follows a failure is read and forgotten, so that the pipe comes to its end. */
	while (!report->failed &&
		(one = report_take(report, report->record + taken, report->filled - taken)) > 0)
		taken += one;
	if (report->failed)
		taken = report->filled;
	report->filled -= taken;
	memmove(report->record, report->record + taken, report->filled);
	return n;
}

void report_close(struct report *report)
{
	free(report->result);
	report->result = NULL;
}
