/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/wait.h>

#include "../../src/child/exec.c"
#include "base/queue.h"
#include "child/report.h"

#include <cmocka.h>

/* Whatever path is asked for, this is what it leads to. */
static int workdir;

int __wrap_child_path_open(int root, const char *path, int flags);

int __wrap_child_path_open(int root, const char *path, int flags)
{
	(void)root;
	(void)path;
	(void)flags;
	return dup(workdir);
}

/* What a child in that root says to its workdir; "" when it takes it. */
static const char *enter(const char *root)
{
	static struct report report;
	int pipe[2], status;
	pid_t pid;

	report = (struct report){0};
	assert_int_equal(pipe2(pipe, O_CLOEXEC), 0);
	pid = fork();
	if (pid == 0) {
		child_begin(pipe[1], &workdir, 1);
		if (chroot(root) < 0)
			die_errno("chroot");
		workdir_enter(-1, "/work");
		report_done(NULL, 0);
	}
	close(pipe[1]);
	while (report_read(&report, pipe[0]) > 0)
		;
	close(pipe[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(report.failed || report.done);
	return report.failed ? report.error.text : "";
}

static void a_workdir_outside_the_root_is_refused_wherever_it_came_from(void **state)
{
	char inside[] = "/tmp/hyperstart-root-XXXXXX";

	(void)state;
	if (geteuid() != 0)
		skip();
	assert_non_null(mkdtemp(inside));
	workdir = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	assert_string_equal(enter(inside), "workdir '/work': outside the container");
	close(workdir);
	workdir = open(inside, O_PATH | O_DIRECTORY | O_CLOEXEC);
	assert_string_equal(enter(inside), "");
	rmdir(inside);
	assert_string_equal(enter("/"), "workdir '/work': no such file or directory");
	close(workdir);
}

static const char *found_in(const char *path)
{
	static char found[PATH_MAX];

	return program_find("true", path, found, sizeof(found));
}

static void an_empty_element_of_path_is_the_current_directory(void **state)
{
	char here[] = "/tmp/hyperstart-path-XXXXXX";

	(void)state;
	assert_non_null(mkdtemp(here));
	assert_int_equal(chdir(here), 0);
	assert_string_equal(found_in(":/bin"), "/bin/true");
	assert_string_equal(found_in("::/no:/bin:"), "/bin/true");
	for (size_t i = 0; i < 4; i++)
		assert_null(found_in((const char *const[]){"", ":", "::", "/no:"}[i]));
	assert_int_equal(errno, ENOENT);
	close(open("true", O_CREAT | O_WRONLY, 0644));
	assert_null(found_in("/no:"));
	assert_int_equal(errno, EACCES);
	chmod("true", 0755);
	for (size_t i = 0; i < 4; i++)
		assert_string_equal(
			found_in((const char *const[]){"", ":/bin", "/no:", "/no::/bin"}[i]),
			"true");
	unlink("true");
	chdir("/");
	rmdir(here);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_empty_element_of_path_is_the_current_directory),
		cmocka_unit_test(a_workdir_outside_the_root_is_refused_wherever_it_came_from),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
