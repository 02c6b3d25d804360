/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/log.h"
#include "limits.h"

static struct timespec now = {.tv_sec = 1000};
static int fds[2];

/* The log's clock is this test's. */
int __wrap_clock_gettime(clockid_t clock, struct timespec *ts);
int __wrap_clock_gettime(clockid_t clock, struct timespec *ts)
{
	(void)clock;
	*ts = now;
	return 0;
}

static int pipe_open(void **state)
{
	(void)state;
	now.tv_sec += 10;
	return pipe2(fds, O_NONBLOCK);
}

static int pipe_close(void **state)
{
	(void)state;
	log_open(-1, false, LOG_LEVEL_INFO);
	close(fds[0]);
	return close(fds[1]);
}

/* All that was written since the last call. */
static const char *written(void)
{
	static char text[64 * 1024];
	ssize_t n = read(fds[0], text, sizeof(text) - 1);

	text[n > 0 ? n : 0] = '\0';
	return text;
}

static void a_message_is_one_line_with_its_level(void **state)
{
	(void)state;
	log_open(fds[1], false, LOG_LEVEL_INFO);
	log_warn("port %s: %d", "tty", 7);
	assert_string_equal(written(), "hyperstart: warn: port tty: 7\n");
}

static void kmsg_gets_a_priority(void **state)
{
	(void)state;
	log_open(fds[1], true, LOG_LEVEL_INFO);
	log_error("port tty: gone");
	assert_string_equal(written(), "<3>hyperstart: port tty: gone\n");
}

static void messages_below_the_level_are_not_formatted(void **state)
{
	int evaluated = 0;

	(void)state;
	log_open(fds[1], false, LOG_LEVEL_WARN);
	log_info("%d", ++evaluated);
	log_debug("%d", ++evaluated);
	assert_string_equal(written(), "");
	assert_int_equal(evaluated, 0);
}

static void a_name_from_outside_cannot_forge_a_line(void **state)
{
	(void)state;
	log_open(fds[1], false, LOG_LEVEL_INFO);
	log_info("container '%s'", "a\nhyperstart: error: b\x1b[2J\x7f");
	assert_string_equal(
		written(), "hyperstart: info: container 'a?hyperstart: error: b?[2J?'\n");
}

static void a_long_message_is_cut_and_still_a_line(void **state)
{
	char text[2 * LOG_LINE_MAX];
	const char *line;

	(void)state;
	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	log_open(fds[1], false, LOG_LEVEL_INFO);
	log_info("%s", text);
	line = written();
	assert_int_equal(strlen(line), LOG_LINE_MAX);
	assert_int_equal(line[LOG_LINE_MAX - 1], '\n');
}

static void errno_is_printed_and_preserved(void **state)
{
	(void)state;
	log_open(fds[1], false, LOG_LEVEL_INFO);
	errno = ENOENT;
	log_info("open: %s", strerror(errno));
	assert_int_equal(errno, ENOENT);
	assert_string_equal(written(), "hyperstart: info: open: No such file or directory\n");
}

static void a_full_fd_loses_lines_instead_of_blocking(void **state)
{
	char page[4096] = "";

	(void)state;
	while (write(fds[1], page, sizeof(page)) > 0)
		;
	fcntl(fds[1], F_SETFL, 0); /* a write would block for ever now */
	log_open(fds[1], false, LOG_LEVEL_INFO);
	log_info("lost");
	while (*written() || read(fds[0], page, sizeof(page)) > 0)
		;
	now.tv_sec++;
	log_info("next");
	assert_string_equal(
		written(), "hyperstart: warn: log: lines lost: 1\nhyperstart: info: next\n");
}

static void a_burst_is_held_back_and_counted(void **state)
{
	const char *text;
	unsigned int lines = 0;

	(void)state;
	log_open(fds[1], false, LOG_LEVEL_INFO);
	for (unsigned int i = 0; i < LOG_BURST + 7; i++)
		log_info("%u", i);
	for (text = written(); *text; text++)
		lines += *text == '\n';
	assert_int_equal(lines, LOG_BURST);
	now.tv_sec++;
	log_info("next");
	assert_string_equal(
		written(), "hyperstart: warn: log: lines lost: 7\nhyperstart: info: next\n");
}

static void a_level_is_known_by_its_name(void **state)
{
	enum log_level level = LOG_LEVEL_ERROR;

	(void)state;
	assert_int_equal(log_level_parse("debug", &level), 0);
	assert_int_equal(level, LOG_LEVEL_DEBUG);
	assert_int_equal(log_level_parse("error", &level), 0);
	assert_int_equal(level, LOG_LEVEL_ERROR);
	assert_int_equal(log_level_parse("loud", &level), -1);
	assert_int_equal(log_level_parse("", &level), -1);
	assert_int_equal(level, LOG_LEVEL_ERROR);
}

#define test_with_pipe(test) cmocka_unit_test_setup_teardown(test, pipe_open, pipe_close)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test_with_pipe(a_message_is_one_line_with_its_level),
		test_with_pipe(kmsg_gets_a_priority),
		test_with_pipe(messages_below_the_level_are_not_formatted),
		test_with_pipe(a_name_from_outside_cannot_forge_a_line),
		test_with_pipe(a_long_message_is_cut_and_still_a_line),
		test_with_pipe(errno_is_printed_and_preserved),
		test_with_pipe(a_full_fd_loses_lines_instead_of_blocking),
		test_with_pipe(a_burst_is_held_back_and_counted),
		cmocka_unit_test(a_level_is_known_by_its_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
