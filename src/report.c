/* SPDX-License-Identifier: Apache-2.0 */
/* The record on the report pipe: how a child tells the daemon what became of it. */
#include "report.h"

#include <assert.h>
#include <errno.h>
#include <linux/limits.h>
#include <string.h>
#include <sys/uio.h>

#include "queue.h"

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

	if (length > PAYLOAD_MAX)
		parts[1].iov_len = PAYLOAD_MAX;
	header.length = (uint32_t)parts[1].iov_len;
	while (writev(fd, parts, 2) < 0 && errno == EINTR)
		;
}

static void report_take(struct report *report, const struct header *header, const uint8_t *payload)
{
	uint32_t code;

	switch (header->kind) {
	case REPORT_EXECUTING:
		report->executing = true;
		return;
	case REPORT_DONE:
		report->done = true;
		return;
	case REPORT_ERROR:
		if (header->length < sizeof(code))
			break;
		memcpy(&code, payload, sizeof(code));
		report->failed = true;
		error_set(&report->error, (int)code, "%.*s", (int)(header->length - sizeof(code)),
			(const char *)payload + sizeof(code));
		return;
	default:
		break;
	}
	report->failed = true;
	error_set(&report->error, EPROTO, "unreadable report");
}

ssize_t report_read(struct report *report, int fd)
{
	ssize_t n = io_read(
		fd, report->record + report->filled, sizeof(report->record) - report->filled);
	size_t taken = 0;

	if (n <= 0)
		return n;
	report->filled += (size_t)n;
	while (!report->failed && report->filled - taken >= sizeof(struct header)) {
		struct header header;
		size_t left = report->filled - taken - sizeof(header);

		memcpy(&header, report->record + taken, sizeof(header));
		if (header.length > PAYLOAD_MAX)
			header.kind = 0; /* not ours; the stream behind it has no meaning */
		else if (header.length > left)
			break;
		report_take(report, &header, report->record + taken + sizeof(header));
		taken += sizeof(header) + header.length;
	}
	/* Whatever follows a failure is read and forgotten, so that the pipe comes to its end. */
	if (report->failed)
		taken = report->filled;
	report->filled -= taken;
	memmove(report->record, report->record + taken, report->filled);
	return n;
}
