/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/queue.h"
#include "child/report.h"

static int fds[2];
static struct report report;

static int pipe_open(void **state)
{
	(void)state;
	report = (struct report){0};
	return pipe2(fds, O_NONBLOCK);
}

static int pipe_close(void **state)
{
	(void)state;
	report_close(&report);
	close(fds[0]);
	return fds[1] < 0 ? 0 : close(fds[1]);
}

/* As the daemon does it: until the pipe has no more. */
static ssize_t read_all(void)
{
	ssize_t n;

	do
		n = report_read(&report, fds[0]);
	while (n > 0);
	return n;
}

static void error_write(int code, const char *text)
{
	uint8_t payload[2048];

	memcpy(payload, &code, 4);
	memcpy(payload + 4, text, strlen(text));
	report_write(fds[1], REPORT_ERROR, payload, 4 + strlen(text));
}

static void an_exec_that_succeeds_says_executing_and_closes(void **state)
{
	(void)state;
	report_write(fds[1], REPORT_EXECUTING, NULL, 0);
	assert_int_equal(read_all(), IO_AGAIN);
	close(fds[1]);
	fds[1] = -1;
	assert_int_equal(read_all(), IO_EOF);
	assert_true(report.executing);
	assert_false(report.failed);
	assert_false(report.done);
}

static void an_exec_that_fails_says_why_behind_executing(void **state)
{
	(void)state;
	report_write(fds[1], REPORT_EXECUTING, NULL, 0);
	error_write(ENOENT, "exec '/bin/ngnix': no such file or directory");
	assert_int_equal(read_all(), IO_AGAIN);
	assert_true(report.executing);
	assert_true(report.failed);
	assert_int_equal(report.error.code, ENOENT);
	assert_string_equal(report.error.text, "exec '/bin/ngnix': no such file or directory");
}

static void a_worker_says_done_and_what_came_of_it(void **state)
{
	(void)state;
	report_write(fds[1], REPORT_DONE, "result", 6);
	assert_int_equal(read_all(), IO_AGAIN);
	assert_true(report.done);
	assert_false(report.failed);
	assert_int_equal(report.result_length, 6);
	assert_memory_equal(report.result, "result", 6);
}

static void a_worker_without_a_result_is_done_too(void **state)
{
	(void)state;
	report_write(fds[1], REPORT_DONE, NULL, 0);
	assert_int_equal(read_all(), IO_AGAIN);
	assert_true(report.done);
	assert_int_equal(report.result_length, 0);
	assert_null(report.result);
}

static void a_result_larger_than_the_pipe_arrives_whole(void **state)
{
	static uint8_t result[RESULT_MAX];
	int status;
	pid_t pid;

	(void)state;
	for (size_t i = 0; i < sizeof(result); i++)
		result[i] = (uint8_t)(i % 251);
	fcntl(fds[1], F_SETFL, 0); /* a child's end blocks */
	pid = fork();
	if (pid == 0) {
		report_write(fds[1], REPORT_DONE, result, sizeof(result));
		_exit(0);
	}
	close(fds[1]);
	fds[1] = -1;
	do {
		struct pollfd pipe = {.fd = fds[0], .events = POLLIN};

		assert_int_equal(poll(&pipe, 1, 10000), 1);
		assert_int_equal(report.done, report.result_filled == RESULT_MAX);
	} while (read_all() != IO_EOF);
	assert_true(report.done);
	assert_false(report.failed);
	assert_int_equal(report.result_length, RESULT_MAX);
	assert_memory_equal(report.result, result, RESULT_MAX);
	assert_int_equal(waitpid(pid, &status, 0), pid);
}

static void a_result_that_is_cut_is_not_done(void **state)
{
	static const uint32_t header[2] = {REPORT_DONE, 10};

	(void)state;
	assert_int_equal(write(fds[1], header, sizeof(header)), 8);
	assert_int_equal(write(fds[1], "abc", 3), 3);
	close(fds[1]);
	fds[1] = -1;
	assert_int_equal(read_all(), IO_EOF);
	assert_false(report.done);
}

static void a_bare_end_is_neither(void **state)
{
	(void)state;
	close(fds[1]);
	fds[1] = -1;
	assert_int_equal(read_all(), IO_EOF);
	assert_false(report.executing || report.done || report.failed);
}

static void records_that_arrive_byte_by_byte_are_put_together(void **state)
{
	uint8_t bytes[REPORT_RECORD_MAX];
	ssize_t n;

	(void)state;
	report_write(fds[1], REPORT_EXECUTING, NULL, 0);
	error_write(EIO, "mount");
	n = read(fds[0], bytes, sizeof(bytes));
	for (ssize_t i = 0; i < n; i++) {
		assert_false(report.failed);
		assert_int_equal(write(fds[1], bytes + i, 1), 1);
		assert_int_equal(report_read(&report, fds[0]), 1);
	}
	assert_true(report.executing);
	assert_true(report.failed);
	assert_string_equal(report.error.text, "mount");
}

static void a_long_text_is_cut_and_the_record_stays_whole(void **state)
{
	char text[REPORT_RECORD_MAX + 500];

	(void)state;
	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	error_write(EIO, text);
	report_write(fds[1], REPORT_EXECUTING, NULL, 0);
	assert_int_equal(read_all(), IO_AGAIN);
	assert_true(report.failed);
	assert_int_equal(strlen(report.error.text), ERROR_TEXT_MAX - 1);
}

static void the_first_error_counts(void **state)
{
	(void)state;
	error_write(EIO, "first");
	error_write(EPERM, "second");
	read_all();
	assert_string_equal(report.error.text, "first");
}

static void a_record_that_is_not_ours_is_a_failure(void **state)
{
	static const uint32_t records[][3] = {
		{99, 0, 0},                   /* no such kind */
		{0, 0, 0},                    /* nor this */
		{REPORT_ERROR, 3, 0},         /* an error without its errno */
		{REPORT_DONE, 0xffffffff, 0}, /* longer than any */
		{REPORT_DONE, RESULT_MAX + 1, 0},
		{REPORT_EXECUTING, 0x10000, 99}, /* longer than any */
	};

	(void)state;
	for (size_t i = 0; i < sizeof(records) / sizeof(records[0]); i++) {
		report = (struct report){0};
		assert_int_equal(write(fds[1], records[i], sizeof(records[i])), 12);
		assert_int_equal(read_all(), IO_AGAIN);
		assert_true(report.failed);
		assert_string_equal(report.error.text, "unreadable report");
	}
}

/* The pod's init has changed the network when a later step fails. */
static void an_error_behind_a_result_keeps_its_text(void **state)
{
	struct error err;

	(void)state;
	error_set(&err, EPERM, "set host name");
	report = (struct report){0};
	report_write(fds[1], REPORT_DONE, "result", 6);
	report_write(fds[1], REPORT_ERROR, &err, offsetof(struct error, text) + strlen(err.text));
	while (report_read(&report, fds[0]) > 0 && !report.failed)
		;
	assert_true(report.done && report.failed);
	assert_string_equal(report.error.text, "set host name");
	report_close(&report);
}

static void only_an_error_follows_done_or_executing(void **state)
{
	static const enum report_kind pairs[][2] = {
		{REPORT_DONE, REPORT_DONE},
		{REPORT_DONE, REPORT_EXECUTING},
		{REPORT_EXECUTING, REPORT_EXECUTING},
		{REPORT_EXECUTING, REPORT_DONE},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
		report = (struct report){0};
		report_write(fds[1], pairs[i][0], pairs[i][0] == REPORT_DONE ? "result" : "",
			pairs[i][0] == REPORT_DONE ? 6 : 0);
		report_write(fds[1], pairs[i][1], "more", 4);
		assert_int_equal(read_all(), IO_AGAIN);
		assert_true(report.failed);
		assert_string_equal(report.error.text, "unreadable report");
		report_close(&report);
	}
}

static void what_follows_a_failure_is_read_and_forgotten(void **state)
{
	char page[4096];

	(void)state;
	memset(page, 0x55, sizeof(page));
	for (int i = 0; i < 10; i++)
		assert_int_equal(write(fds[1], page, sizeof(page)), sizeof(page));
	close(fds[1]);
	fds[1] = -1;
	assert_int_equal(read_all(), IO_EOF);
	assert_true(report.failed);
}

#define test_with_pipe(test) cmocka_unit_test_setup_teardown(test, pipe_open, pipe_close)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test_with_pipe(an_exec_that_succeeds_says_executing_and_closes),
		test_with_pipe(an_exec_that_fails_says_why_behind_executing),
		test_with_pipe(a_worker_says_done_and_what_came_of_it),
		test_with_pipe(a_worker_without_a_result_is_done_too),
		test_with_pipe(a_result_larger_than_the_pipe_arrives_whole),
		test_with_pipe(a_result_that_is_cut_is_not_done),
		test_with_pipe(a_bare_end_is_neither),
		test_with_pipe(records_that_arrive_byte_by_byte_are_put_together),
		test_with_pipe(a_long_text_is_cut_and_the_record_stays_whole),
		test_with_pipe(the_first_error_counts),
		test_with_pipe(a_record_that_is_not_ours_is_a_failure),
		test_with_pipe(an_error_behind_a_result_keeps_its_text),
		test_with_pipe(only_an_error_follows_done_or_executing),
		test_with_pipe(what_follows_a_failure_is_read_and_forgotten),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
