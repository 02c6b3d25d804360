/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/module.h"

/* The kernel's part: what was loaded, in order, by its first byte. */
static char loaded[16];
static int answer; /* errno, or 0 */

long __wrap_syscall(long number, int fd, const char *parameters, int flags);

long __wrap_syscall(long number, int fd, const char *parameters, int flags)
{
	char name[2] = "";

	assert_int_equal(number, SYS_finit_module);
	assert_string_equal(parameters, "");
	assert_int_equal(flags, 0);
	assert_int_equal(read(fd, name, 1), 1);
	strcat(loaded, name);
	errno = answer;
	return answer ? -1 : 0;
}

/* The initrd's files, here in a directory of the test's own. */
static char directory[] = "/tmp/hyperstart-modules-XXXXXX";

int __real_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...);

int __wrap_open(const char *path, int flags, ...)
{
	char below[128];

	if (strncmp(path, "/modules/", strlen("/modules/")) != 0)
		return __real_open(path, flags, 0666); /* gcov's */
	snprintf(below, sizeof(below), "%s/%s", directory, path + strlen("/modules/"));
	return __real_open(below, flags);
}

static void file_write(const char *name, const char *text)
{
	char path[128];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", directory, name);
	file = fopen(path, "w");
	assert_non_null(file);
	fputs(text, file);
	fclose(file);
}

static int setup(void **state)
{
	(void)state;
	loaded[0] = '\0';
	answer = 0;
	return 0;
}

static void a_module_is_loaded_from_its_file(void **state)
{
	(void)state;
	assert_int_equal(module_load("/modules/a.ko"), 0);
	assert_string_equal(loaded, "a");
}

static void a_module_that_is_there_already_is_no_failure(void **state)
{
	(void)state;
	answer = EEXIST;
	assert_int_equal(module_load("/modules/a.ko"), 0);
}

static void a_module_that_the_kernel_refuses_fails_with_its_errno(void **state)
{
	(void)state;
	answer = ENOEXEC;
	assert_int_equal(module_load("/modules/a.ko"), -1);
	assert_int_equal(errno, ENOEXEC);
}

static void a_module_without_a_file_fails(void **state)
{
	(void)state;
	assert_int_equal(module_load("/modules/missing.ko"), -1);
	assert_int_equal(errno, ENOENT);
}

static void what_a_file_system_needs_is_loaded_in_its_order(void **state)
{
	(void)state;
	answer = EPERM; /* one that fails does not keep the next from being tried */
	module_load_for("ext4");
	assert_string_equal(loaded, "bac");
}

static void a_file_system_without_a_list_needs_nothing(void **state)
{
	(void)state;
	module_load_for("xfs");
	assert_string_equal(loaded, "");
}

#define test_of_module(test) cmocka_unit_test_setup(test, setup)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test_of_module(a_module_is_loaded_from_its_file),
		test_of_module(a_module_that_is_there_already_is_no_failure),
		test_of_module(a_module_that_the_kernel_refuses_fails_with_its_errno),
		test_of_module(a_module_without_a_file_fails),
		test_of_module(what_a_file_system_needs_is_loaded_in_its_order),
		test_of_module(a_file_system_without_a_list_needs_nothing),
	};
	static const char *const names[] = {"a.ko", "b.ko", "c.ko", "ext4.order"};
	char path[128];
	int failed;

	assert(mkdtemp(directory));
	file_write("a.ko", "a");
	file_write("b.ko", "b");
	file_write("c.ko", "c");
	file_write("ext4.order", "/modules/b.ko\n/modules/a.ko\n\n/modules/c.ko\n");
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		snprintf(path, sizeof(path), "%s/%s", directory, names[i]);
		unlink(path);
	}
	rmdir(directory);
	return failed;
}
