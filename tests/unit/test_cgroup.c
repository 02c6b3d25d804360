/* SPDX-License-Identifier: Apache-2.0 */
/* On the machine's own cgroup2 mount, wherever that is. */
#include <errno.h>
#include <fcntl.h>
#include <mntent.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cgroup.h"
#include "child/cgroup.h"
#include "limits.h"

static int parent = -1;
static char name[64];

static int find_parent(void **state)
{
	FILE *mounts = setmntent("/proc/self/mounts", "r");
	struct mntent *entry;

	(void)state;
	while ((entry = getmntent(mounts)) != NULL)
		if (strcmp(entry->mnt_type, "cgroup2") == 0)
			parent = open(entry->mnt_dir, O_PATH | O_DIRECTORY);
	endmntent(mounts);
	snprintf(name, sizeof(name), "test-hyperstart-%d", (int)getpid());
	if (parent < 0)
		print_message("no cgroup2 is mounted here\n");
	return 0;
}

static int make_cgroup(struct error *err)
{
	int cgroup;

	if (parent < 0)
		skip();
	cgroup = cgroup_create(parent, name, err);
	assert_true(cgroup >= 0);
	return cgroup;
}

/* A process in the cgroup that only waits. */
static pid_t put_in(int cgroup)
{
	struct error err;
	pid_t pid = fork();

	if (pid == 0) {
		if (cgroup_set(cgroup, "cgroup.procs", "0", &err) < 0)
			_exit(1);
		raise(SIGSTOP);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, NULL, WUNTRACED), pid);
	return pid;
}

static void an_existing_cgroup_is_taken_over(void **state)
{
	struct error err;
	int first = make_cgroup(&err), second = make_cgroup(&err);

	(void)state;
	assert_true(first != second);
	close(first);
	close(second);
	assert_int_equal(cgroup_remove(parent, name, &err), 0);
	assert_int_equal(faccessat(parent, name, F_OK, 0), -1);
}

static void to_remove_a_missing_one_is_no_error(void **state)
{
	struct error err;

	(void)state;
	close(make_cgroup(&err));
	assert_int_equal(cgroup_remove(parent, name, &err), 0);
	assert_int_equal(cgroup_remove(parent, name, &err), 0);
}

static void a_kill_ends_every_process_in_it(void **state)
{
	struct error err;
	int cgroup = make_cgroup(&err), status;
	pid_t one = put_in(cgroup), two = put_in(cgroup);

	(void)state;
	assert_int_equal(cgroup_kill(cgroup, &err), 0);
	assert_int_equal(waitpid(one, &status, 0), one);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	assert_int_equal(waitpid(two, &status, 0), two);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	close(cgroup);
	assert_int_equal(cgroup_remove(parent, name, &err), 0);
}

static void as_child(void (*main)(const void *), const void *plan)
{
	int status;
	pid_t pid = fork();

	if (pid == 0)
		main(plan);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

/* Made by who may mount. */
static void those_below_it_are_seen_signalled_and_removed(void **state)
{
	struct error err;
	int cgroup = make_cgroup(&err), below = cgroup_create(cgroup, "one", &err), status;
	const struct child_cgroup_signal signal = {cgroup, SIGKILL};
	const struct child_cgroup_remove remove = {parent, name};
	const pid_t *listed;
	pid_t pids[2];
	size_t count;

	(void)state;
	assert_true(below >= 0);
	close(cgroup_create(below, "two", &err));
	close(cgroup_create(cgroup, ".three", &err));
	pids[0] = put_in(below);
	pids[1] = put_in(cgroup);
	listed = child_cgroup_pids(cgroup, &count);
	assert_int_equal(count, 2);
	assert_int_equal(listed[0], pids[0]);
	assert_int_equal(listed[1], pids[1]);
	as_child(child_cgroup_remove, &remove);
	assert_int_equal(faccessat(parent, name, F_OK, 0), 0);
	assert_int_equal(faccessat(below, "two", F_OK, 0), -1);
	as_child(child_cgroup_signal, &signal);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
		assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	}
	close(below);
	close(cgroup);
	assert_int_equal(cgroup_remove(parent, name, &err), -1);
	assert_int_equal(err.code, EBUSY);
	as_child(child_cgroup_remove, &remove);
	assert_int_equal(faccessat(parent, name, F_OK, 0), -1);
}

/* Deeper than may be made. */
static void however_deep_they_are_only_so_many_are_walked(void **state)
{
	const struct child_cgroup_remove remove = {parent, name};
	char path[128];
	struct error err;

	(void)state;
	close(make_cgroup(&err));
	snprintf(path, sizeof(path), "%s", name);
	for (unsigned i = 0; i < CGROUP_DEPTH_MAX + 1; i++) {
		strcat(path, "/d");
		assert_int_equal(mkdirat(parent, path, 0755), 0);
	}
	as_child(child_cgroup_remove, &remove);
	assert_int_equal(faccessat(parent, path, F_OK, 0), 0);
	for (; strchr(path, '/'); *strrchr(path, '/') = '\0')
		assert_int_equal(unlinkat(parent, path, AT_REMOVEDIR), 0);
	assert_int_equal(cgroup_remove(parent, name, &err), 0);
}

static void one_with_a_process_is_not_removed(void **state)
{
	struct error err;
	int cgroup = make_cgroup(&err);
	pid_t pid = put_in(cgroup);

	(void)state;
	assert_int_equal(cgroup_remove(parent, name, &err), -1);
	assert_int_equal(err.code, EBUSY);
	assert_non_null(strstr(err.text, name));
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	close(cgroup);
	assert_int_equal(cgroup_remove(parent, name, &err), 0);
}

static void what_is_no_cgroup_is_an_error(void **state)
{
	int root = open("/", O_PATH | O_DIRECTORY);
	struct error err;

	(void)state;
	assert_int_equal(cgroup_set(root, "cgroup.procs", "0", &err), -1);
	assert_int_equal(err.code, ENOENT);
	assert_int_equal(cgroup_kill(root, &err), -1);
	assert_string_equal(err.text, "open cgroup.kill: no such file or directory");
	assert_int_equal(cgroup_create(root, "proc/missing/below", &err), -1);
	assert_string_equal(
		err.text, "create cgroup 'proc/missing/below': no such file or directory");
	close(root);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_existing_cgroup_is_taken_over),
		cmocka_unit_test(to_remove_a_missing_one_is_no_error),
		cmocka_unit_test(a_kill_ends_every_process_in_it),
		cmocka_unit_test(those_below_it_are_seen_signalled_and_removed),
		cmocka_unit_test(however_deep_they_are_only_so_many_are_walked),
		cmocka_unit_test(one_with_a_process_is_not_removed),
		cmocka_unit_test(what_is_no_cgroup_is_an_error),
	};

	/* A kill that does not come would be waited for. */
	alarm(30);
	return cmocka_run_group_tests(tests, find_parent, NULL);
}
