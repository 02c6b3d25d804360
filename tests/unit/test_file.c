/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"

static void a_file_is_a_string_where_it_and_its_end_fit(void **state)
{
	char path[] = "/tmp/hyperstart-file-XXXXXX", text[6];
	int fd = mkstemp(path);

	(void)state;
	assert_int_equal(file_read(path, text, sizeof(text)), 0);
	assert_string_equal(text, "");
	assert_int_equal(write(fd, "12345", 5), 5);
	assert_int_equal(file_read(path, text, sizeof(text)), 5);
	assert_string_equal(text, "12345");
	assert_int_equal(write(fd, "6", 1), 1);
	assert_int_equal(file_read(path, text, sizeof(text)), -1);
	assert_int_equal(errno, EFBIG);
	unlink(path);
	assert_int_equal(file_read(path, text, sizeof(text)), -1);
	assert_int_equal(errno, ENOENT);
	close(fd);
}

/* The kernel's files come as it likes. */
static void a_file_that_comes_in_pieces_is_read_to_its_end(void **state)
{
	char path[64], text[64];
	int fds[2];

	(void)state;
	assert_int_equal(pipe(fds), 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fds[0]);
	if (fork() == 0) {
		for (int i = 0; i < 10; i++) {
			(void)!write(fds[1], "piece ", 6);
			usleep(1000);
		}
		_exit(0);
	}
	close(fds[1]);
	assert_int_equal(file_read(path, text, sizeof(text)), 60);
	assert_string_equal(text + 48, "piece piece ");
	close(fds[0]);
}

static void a_text_is_written_to_a_file_that_is_there(void **state)
{
	char path[] = "/tmp/hyperstart-file-XXXXXX", text[8];

	(void)state;
	close(mkstemp(path));
	assert_int_equal(file_write(path, "-1000"), 0);
	assert_int_equal(file_read(path, text, sizeof(text)), 5);
	assert_string_equal(text, "-1000");
	unlink(path);
	assert_int_equal(file_write(path, "1"), -1);
	assert_int_equal(errno, ENOENT);
	assert_int_equal(file_write("/dev/full", "1"), -1);
	assert_int_equal(errno, ENOSPC);
}

static void a_line_is_found_by_what_it_begins_with(void **state)
{
	static const char text[] = "low 0\nnot oom 1\noom 2\noom_kill 3";

	(void)state;
	assert_string_equal(file_line(text, strlen(text), "oom_kill "), "3");
	assert_ptr_equal(file_line(text, strlen(text), "oom "), strchr(text, '2'));
	assert_ptr_equal(file_line(text, strlen(text), ""), text);
	assert_ptr_equal(file_line(text, strlen(text), "low 0\n"), strchr(text, 'n'));
	assert_null(file_line(text, strlen(text), "kill "));
	assert_null(file_line(text, strlen(text) - 2, "oom_kill "));
	assert_null(file_line("a\n", 2, "b"));
	assert_string_equal(file_line("", 0, ""), "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_text_is_written_to_a_file_that_is_there),
		cmocka_unit_test(a_line_is_found_by_what_it_begins_with),
		cmocka_unit_test(a_file_is_a_string_where_it_and_its_end_fit),
		cmocka_unit_test(a_file_that_comes_in_pieces_is_read_to_its_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
