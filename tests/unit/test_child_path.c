/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#include "child/path.h"

#define INSIDE "inside the root"

/* A directory with an `outside` that nothing may reach, and a `root`. */
struct place {
	char path[64];
	int outside, root;
};

static int make_place(void **state)
{
	struct place *place = malloc(sizeof(*place));
	int base;

	strcpy(place->path, "/tmp/test_child_path.XXXXXX");
	assert_non_null(mkdtemp(place->path));
	base = open(place->path, O_PATH | O_DIRECTORY);
	assert_int_equal(mkdirat(base, "root", 0755), 0);
	assert_int_equal(mkdirat(base, "outside", 0755), 0);
	place->root = openat(base, "root", O_RDONLY | O_DIRECTORY);
	place->outside = openat(base, "outside", O_RDONLY | O_DIRECTORY);
	close(base);
	*state = place;
	return 0;
}

static int remove_place(void **state)
{
	struct place *place = *state;
	char command[128];

	close(place->root);
	close(place->outside);
	snprintf(command, sizeof(command), "rm -rf %s", place->path);
	assert_int_equal(system(command), 0);
	free(place);
	return 0;
}

static void write_file(int at, const char *path, const char *text)
{
	int fd = openat(at, path, O_CREAT | O_EXCL | O_WRONLY, 0644);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
}

static void assert_is_file(int fd, const char *text)
{
	char found[64] = "";

	assert_true(fd >= 0);
	assert_true(read(fd, found, sizeof(found) - 1) >= 0);
	assert_string_equal(found, text);
	close(fd);
}

static void assert_is_directory(int fd, int at, const char *path)
{
	struct stat is, should;

	assert_true(fd >= 0);
	assert_int_equal(fstat(fd, &is), 0);
	assert_int_equal(fstatat(at, path, &should, AT_SYMLINK_NOFOLLOW), 0);
	assert_true(S_ISDIR(is.st_mode));
	assert_true(is.st_dev == should.st_dev && is.st_ino == should.st_ino);
	close(fd);
}

static void assert_fails(int fd, int why)
{
	assert_int_equal(fd, -1);
	assert_int_equal(errno, why);
}

static void an_absolute_symlink_starts_at_the_root(void **state)
{
	struct place *place = *state;

	write_file(place->root, "passwd", INSIDE);
	symlinkat("/", place->root, "etc");
	assert_is_file(child_path_open(place->root, "etc/passwd", O_RDONLY), INSIDE);
	assert_is_file(child_path_open(place->root, "///etc/etc/passwd", O_RDONLY), INSIDE);
}

static void dot_dot_stops_at_the_root(void **state)
{
	struct place *place = *state;

	write_file(place->outside, "canary", "outside");
	mkdirat(place->root, "outside", 0755);
	write_file(place->root, "outside/canary", INSIDE);
	symlinkat("../../../outside", place->root, "link");
	assert_is_file(child_path_open(place->root, "../outside/canary", O_RDONLY), INSIDE);
	assert_is_file(child_path_open(place->root, "link/canary", O_RDONLY), INSIDE);
}

static void a_magic_link_is_not_followed(void **state)
{
	int root = open("/", O_PATH | O_DIRECTORY);

	(void)state;
	assert_fails(child_path_open(root, "proc/self/exe", O_RDONLY), ELOOP);
	assert_fails(child_path_open(root, "proc/self/root/etc", O_PATH), ELOOP);
	assert_fails(child_path_directory(root, "proc/self/cwd/x"), ELOOP);
	close(root);
}

static void symlinks_that_loop_are_an_error(void **state)
{
	struct place *place = *state;

	symlinkat("b", place->root, "a");
	symlinkat("a", place->root, "b");
	assert_fails(child_path_open(place->root, "a", O_PATH), ELOOP);
	assert_fails(child_path_directory(place->root, "a/c"), ELOOP);
	assert_fails(child_path_file(place->root, "a"), ELOOP);
}

static void every_fd_is_closed_at_an_exec(void **state)
{
	struct place *place = *state;
	int directory = child_path_directory(place->root, "d");
	int file = child_path_file(place->root, "f");

	assert_int_equal(fcntl(directory, F_GETFD), FD_CLOEXEC);
	assert_int_equal(fcntl(file, F_GETFD), FD_CLOEXEC);
	close(directory);
	close(file);
}

static void missing_directories_are_made(void **state)
{
	struct place *place = *state;
	struct stat st;

	assert_is_directory(child_path_directory(place->root, "//one/./two//three/"), place->root,
		"one/two/three");
	assert_int_equal(fstatat(place->root, "one/two", &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 0755);
	/* A second time they are just there. */
	assert_is_directory(child_path_directory(place->root, "one/two"), place->root, "one/two");
	assert_is_directory(child_path_directory(place->root, "/"), place->root, ".");
	assert_is_directory(child_path_directory(place->root, ""), place->root, ".");
	assert_is_directory(
		child_path_directory(place->root, "one/../../four"), place->root, "four");
}

static void directories_behind_a_symlink_are_made_inside_the_root(void **state)
{
	struct place *place = *state;
	char absolute[128];

	snprintf(absolute, sizeof(absolute), "%s/outside", place->path);
	symlinkat("/", place->root, "up");
	symlinkat(absolute, place->root, "out");
	assert_is_directory(child_path_directory(place->root, "up/made"), place->root, "made");
	/* Where it points does not exist inside: it is made there. */
	assert_is_directory(child_path_directory(place->root, "out"), place->root, absolute + 1);
	assert_int_equal(faccessat(place->outside, "made", F_OK, 0), -1);
}

static void a_chain_of_symlinks_is_walked_to_its_missing_end(void **state)
{
	struct place *place = *state;

	mkdirat(place->root, "a", 0755);
	symlinkat("/b/two", place->root, "a/one");
	mkdirat(place->root, "b", 0755);
	symlinkat("../c/./missing/../deep", place->root, "b/two");
	assert_is_directory(
		child_path_directory(place->root, "a/one/last"), place->root, "c/deep/last");
	/* It is a link in the middle, and the last part of a link's target, that is missing. */
	symlinkat("../../../new/file", place->root, "b/three");
	assert_is_file(child_path_file(place->root, "/a/../b/three"), "");
	assert_int_equal(faccessat(place->root, "new/file", F_OK, AT_SYMLINK_NOFOLLOW), 0);
	/* Only so far. */
	symlinkat("/elsewhere/x", place->root, "behind");
	assert_fails(child_path_file_behind_links(place->root, "no/directory"), ENOENT);
	assert_is_file(child_path_file_behind_links(place->root, "behind/it"), "");
	assert_int_equal(faccessat(place->root, "elsewhere/x/it", F_OK, 0), 0);
}

static void symlinks_that_dangle_without_end_are_an_error(void **state)
{
	struct place *place = *state;
	char name[16], target[64], longer[4096];

	/* Each leads through a directory that is missing, so the kernel's own limit is not reached. */
	for (int i = 0; i < 50; i++) {
		snprintf(name, sizeof(name), "l%d", i);
		snprintf(target, sizeof(target), "missing%d/../l%d", i, i + 1);
		symlinkat(target, place->root, name);
	}
	assert_fails(child_path_directory(place->root, "l0"), ELOOP);
	assert_fails(child_path_file(place->root, "l0"), ELOOP);
	/* Together they are longer than a path can be. */
	memset(longer, 'x', sizeof(longer));
	for (size_t i = 1; i < sizeof(longer); i += 64)
		longer[i] = '/';
	longer[2500] = '\0';
	symlinkat(longer, place->root, "m");
	longer[0] = 'm';
	assert_fails(child_path_directory(place->root, longer), ENAMETOOLONG);
}

static void a_file_is_no_directory(void **state)
{
	struct place *place = *state;

	write_file(place->root, "file", INSIDE);
	assert_fails(child_path_directory(place->root, "file"), ENOTDIR);
	assert_fails(child_path_directory(place->root, "file/below"), ENOTDIR);
}

static void a_missing_file_is_made_with_its_directories(void **state)
{
	struct place *place = *state;
	struct stat st;

	assert_is_file(child_path_file(place->root, "/etc/deep/hosts"), "");
	assert_int_equal(fstatat(place->root, "etc/deep/hosts", &st, 0), 0);
	assert_int_equal(st.st_mode, S_IFREG | 0644);
}

static void a_file_that_is_there_is_left_as_it_is(void **state)
{
	struct place *place = *state;
	struct stat st;
	int fd;

	write_file(place->root, "hosts", INSIDE);
	close(child_path_file(place->root, "hosts"));
	assert_is_file(openat(place->root, "hosts", O_RDONLY), INSIDE);
	/* Nobody writes to it: only an O_PATH fd does not hang here. */
	assert_int_equal(mkfifoat(place->root, "fifo", 0644), 0);
	fd = child_path_file(place->root, "fifo");
	assert_int_equal(fstat(fd, &st), 0);
	assert_true(S_ISFIFO(st.st_mode));
	close(fd);
}

static void a_file_behind_a_dangling_symlink_is_made_inside_the_root(void **state)
{
	struct place *place = *state;
	char absolute[128];
	int fd;

	symlinkat("/canary", place->root, "link");
	fd = child_path_file(place->root, "link");
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(faccessat(place->root, "canary", F_OK, AT_SYMLINK_NOFOLLOW), 0);

	snprintf(absolute, sizeof(absolute), "%s/outside/canary", place->path);
	symlinkat(absolute, place->root, "far");
	assert_is_file(child_path_file(place->root, "far"), "");
	assert_int_equal(faccessat(place->root, absolute + 1, F_OK, AT_SYMLINK_NOFOLLOW), 0);
	assert_int_equal(faccessat(place->outside, "canary", F_OK, 0), -1);
}

static void a_path_that_is_too_long_is_an_error(void **state)
{
	struct place *place = *state;
	char path[5000];

	memset(path, 'x', sizeof(path));
	path[sizeof(path) - 1] = '\0';
	for (size_t i = 1; i < sizeof(path) - 1; i += 2)
		path[i] = '/';
	assert_fails(child_path_directory(place->root, path), ENAMETOOLONG);
	assert_fails(child_path_file(place->root, path), ENAMETOOLONG);
	assert_fails(child_path_open(place->root, path, O_PATH), ENAMETOOLONG);
}

struct race {
	const struct place *place;
	atomic_bool over;
	unsigned long swaps;
};

/* Now `d` is a directory, now a symlink that leads out. */
static void *race_swap(void *argument)
{
	struct race *race = argument;

	while (!atomic_load(&race->over)) {
		assert_int_equal(syscall(SYS_renameat2, race->place->root, "d", race->place->root,
					 "link", RENAME_EXCHANGE),
			0);
		race->swaps++;
	}
	return NULL;
}

static void assert_is_not_outside(const struct place *place, int fd, const char *name)
{
	struct stat is, outside;

	if (fd < 0)
		return;
	assert_int_equal(fstat(fd, &is), 0);
	assert_int_equal(fstatat(place->outside, name, &outside, 0), 0);
	assert_false(is.st_dev == outside.st_dev && is.st_ino == outside.st_ino);
	close(fd);
}

static void a_symlink_that_is_swapped_in_leads_nowhere_200000_times(void **state)
{
	struct place *place = *state;
	struct race race = {.place = place};
	const int rounds = 200000;
	char absolute[128];
	pthread_t thread;

	mkdirat(place->root, "d", 0755);
	snprintf(absolute, sizeof(absolute), "%s/outside", place->path);
	symlinkat(absolute, place->root, "link");
	/* What is found must be inside, and what is made too. */
	mkdirat(place->outside, "there", 0755);
	write_file(place->outside, "file", "outside");
	assert_int_equal(pthread_create(&thread, NULL, race_swap, &race), 0);
	for (int i = 0; i < rounds; i++) {
		if (i % 4 == 0)
			assert_is_not_outside(
				place, child_path_directory(place->root, "d/there"), "there");
		else if (i % 4 == 1)
			assert_is_not_outside(
				place, child_path_file(place->root, "d/file"), "file");
		else if (i % 4 == 2)
			assert_is_not_outside(
				place, child_path_directory(place->root, "d/new/deep"), "there");
		else
			assert_is_not_outside(
				place, child_path_open(place->root, "link/file", O_PATH), "file");
	}
	atomic_store(&race.over, true);
	pthread_join(thread, NULL);
	assert_int_equal(faccessat(place->outside, "new", F_OK, AT_SYMLINK_NOFOLLOW), -1);
	assert_true(race.swaps > 1000);
}

#define IN_A_PLACE(test) cmocka_unit_test_setup_teardown(test, make_place, remove_place)

int main(void)
{
	const struct CMUnitTest tests[] = {
		IN_A_PLACE(an_absolute_symlink_starts_at_the_root),
		IN_A_PLACE(dot_dot_stops_at_the_root),
		cmocka_unit_test(a_magic_link_is_not_followed),
		IN_A_PLACE(symlinks_that_loop_are_an_error),
		IN_A_PLACE(every_fd_is_closed_at_an_exec),
		IN_A_PLACE(missing_directories_are_made),
		IN_A_PLACE(directories_behind_a_symlink_are_made_inside_the_root),
		IN_A_PLACE(a_chain_of_symlinks_is_walked_to_its_missing_end),
		IN_A_PLACE(symlinks_that_dangle_without_end_are_an_error),
		IN_A_PLACE(a_file_is_no_directory),
		IN_A_PLACE(a_missing_file_is_made_with_its_directories),
		IN_A_PLACE(a_file_that_is_there_is_left_as_it_is),
		IN_A_PLACE(a_file_behind_a_dangling_symlink_is_made_inside_the_root),
		IN_A_PLACE(a_path_that_is_too_long_is_an_error),
		IN_A_PLACE(a_symlink_that_is_swapped_in_leads_nowhere_200000_times),
	};

	umask(022);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
