/* SPDX-License-Identifier: Apache-2.0 */
/* The record on the report pipe: how a child reports to the agent. */
#include "child/report.h"

#include <errno.h>
#include <linux/limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#include "base/invariant.h"
#include "base/queue.h"

/* Writer and reader are one program on one machine: no byte order to convert. */
struct header {
	uint32_t kind, length; /* of the payload */
};

#define PAYLOAD_MAX (REPORT_RECORD_MAX - sizeof(struct header))

static_assert(REPORT_RECORD_MAX <= PIPE_BUF, "a record must be one atomic write");

void report_write(int fd, enum report_kind kind, const void *payload, size_t length)
{
	struct header header = {.kind = kind};
	struct iovec parts[2] = {{&header, sizeof(header)}, {(void *)payload, length}};
	ssize_t n;

	if (kind != REPORT_DONE && length > PAYLOAD_MAX)
		parts[1].iov_len = length = PAYLOAD_MAX;
	header.length = (uint32_t)length;
	do
		n = writev(fd, parts, 2);
	while (n < 0 && errno == EINTR);
	for (size_t at = (size_t)n - sizeof(header); n > 0 && at < length; at += (size_t)n)
		n = io_write(fd, (const uint8_t *)payload + at, length - at);
}

/* Takes the record at the head of `left` bytes. Returns how many of them it was, 0 if it is not whole; of a
 * result the rest may follow. */
static size_t record_take(struct report *report, const uint8_t *bytes, size_t left)
{
	const uint8_t *payload = bytes + sizeof(struct header);
	struct header header;
	int code;
	size_t here;

	if (left < sizeof(header))
		return 0;
	memcpy(&header, bytes, sizeof(header));
	here = left - sizeof(header) < header.length ? left - sizeof(header) : header.length;
	/* After DONE or EXECUTING there can be only the reason why a later step failed. */
	if (((report->done || report->executing) && header.kind != REPORT_ERROR) ||
		header.length > (header.kind == REPORT_DONE ? RESULT_MAX : PAYLOAD_MAX))
		goto unreadable;
	if (here < header.length && header.kind != REPORT_DONE)
		return 0;
	switch (header.kind) {
	case REPORT_ERROR:
		if (here < sizeof(code))
			goto unreadable;
		memcpy(&code, payload, sizeof(code));
		error_set(&report->error, code, "%.*s", (int)(here - sizeof(code)),
			(const char *)payload + sizeof(code));
		report->failed = true;
		break;
	case REPORT_EXECUTING:
	case REPORT_DONE:
		report->executing = header.kind == REPORT_EXECUTING;
		if (header.length > 0) {
			report->result = malloc(header.length);
			if (report->result) {
				memcpy(report->result, payload, here);
			} else if (!report->executing) {
				error_memory(&report->error);
				report->failed = true;
				break;
			}
		}
		report->result_length = header.length;
		report->result_filled = here;
		report->done = !report->executing && here == header.length;
		break;
	default:
		goto unreadable;
	}
	return sizeof(header) + here;
unreadable:
	error_set(&report->error, EPROTO, "unreadable report");
	report->failed = true;
	return left;
}

ssize_t report_read(struct report *report, int fd)
{
	size_t taken = 0, one;
	ssize_t n;

	if (report->result_filled < report->result_length) {
		n = io_read(fd, report->result + report->result_filled,
			report->result_length - report->result_filled);
		if (n > 0)
			report->result_filled += (size_t)n;
		report->done = report->result_filled == report->result_length;
		return n;
	}
	n = io_read(fd, report->record + report->filled, sizeof(report->record) - report->filled);
	if (n <= 0)
		return n;
	report->filled += (size_t)n;
	while (!report->failed &&
		(one = record_take(report, report->record + taken, report->filled - taken)) > 0)
		taken += one;
	/* What follows a failure is read and dropped, so that the pipe reaches its end. */
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
