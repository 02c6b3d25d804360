/* SPDX-License-Identifier: Apache-2.0 */
/* Levelled one-line messages: subject first, never a payload. */
#include "base/log.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/count.h"
#include "base/format.h"
#include "limits.h"

enum log_level log_threshold = LOG_LEVEL_INFO;

static const struct {
	const char *name;
	int priority; /* of syslog(2) */
} levels[] = {
	[LOG_LEVEL_ERROR] = {"error", 3},
	[LOG_LEVEL_WARN] = {"warn", 4},
	[LOG_LEVEL_INFO] = {"info", 6},
	[LOG_LEVEL_DEBUG] = {"debug", 7},
};

static struct {
	int fd; /* not owned */
	bool is_kmsg;
	uint64_t second; /* the one `lines` and `lost` count in */
	unsigned int lines, lost;
} out = {.fd = -1};

void log_open(int fd, bool is_kmsg, enum log_level level)
{
	out.fd = fd;
	out.is_kmsg = is_kmsg;
	log_threshold = level;
}

int log_where(void)
{
	return out.fd;
}

int log_level_parse(const char *name, enum log_level *level)
{
	for (size_t i = 0; i < COUNT(levels); i++) {
		if (strcmp(name, levels[i].name) == 0) {
			*level = (enum log_level)i;
			return 0;
		}
	}
	return -1;
}

static void line_write(enum log_level level, const char *fmt, va_list args)
{
	struct pollfd poll_fd = {.fd = out.fd, .events = POLLOUT};
	char line[LOG_LINE_MAX];
	int start, length;

	if (out.is_kmsg)
		start = format(line, sizeof(line), "<%d>hyperstart: ", levels[level].priority);
	else
		start = format(line, sizeof(line), "hyperstart: %s: ", levels[level].name);
	length = vformat(line + start, sizeof(line) - (size_t)start, fmt, args);
	length += start;
	if (length > (int)sizeof(line) - 1)
		length = (int)sizeof(line) - 1;
	/* One call, one line: a name from outside must not forge a second one. */
	for (int i = start; i < length; i++) {
		if ((unsigned char)line[i] < ' ' || line[i] == 0x7f)
			line[i] = '?';
	}
	line[length++] = '\n';
	/* kmsg never blocks. Another fd may, for O_NONBLOCK is shared with whoever else has it open. */
	if (!out.is_kmsg && (poll(&poll_fd, 1, 0) != 1 || !(poll_fd.revents & POLLOUT)))
		out.lost++;
	else if (write(out.fd, line, (size_t)length) < 0)
		out.lost++;
}

void log_write(enum log_level level, const char *fmt, ...)
{
	int saved_errno = errno;
	uint64_t second;
	va_list args;

	if (out.fd < 0)
		return;
	second = clock_now() / 1000;
	if (second != out.second) {
		unsigned int lost = out.lost;

		out.second = second;
		out.lines = out.lost = 0;
		if (lost)
			log_write(LOG_LEVEL_WARN, "log: lines lost: %u", lost);
	}
	/* What a host or a container can cause often is info or debug. */
	if (out.lines < LOG_BURST || level <= LOG_LEVEL_WARN) {
		out.lines++;
		va_start(args, fmt);
		line_write(level, fmt, args);
		va_end(args);
	} else {
		out.lost++;
	}
	errno = saved_errno;
}
