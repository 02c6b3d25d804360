/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/queue.h"
#include "child/child.h"
#include "child/report.h"
#include "child/user.h"

static const char passwd[] = "root:x:0:0:root:/root:/bin/sh\n"
			     "web:x:33:44:,,,:/srv/web:/bin/false\n"
			     "web:x:0:0:a second one:/root:/bin/sh\n"
			     "twin:x:33:45::/srv/twin:\n"
			     "last:x:77:78::/last:/bin/sh";
static const char group[] = "root:x:0:\n"
			    "adm:x:4:syslog,web\n"
			    "www:x:44:\n"
			    "webs:x:55:weber,webx,we\n"
			    "tail:x:66:web,root";

/* --- Ids ---------------------------------------------------------------------------------------- */

static enum id_kind parse(const char *text, uint32_t *id)
{
	return id_parse(text, strlen(text), id);
}

static void digits_alone_are_an_id(void **state)
{
	uint32_t id = 1;

	(void)state;
	assert_int_equal(parse("0", &id), ID_NUMBER);
	assert_int_equal(id, 0);
	assert_int_equal(parse("0001000", &id), ID_NUMBER);
	assert_int_equal(id, 1000);
	assert_int_equal(parse("4294967294", &id), ID_NUMBER);
	assert_int_equal(id, 4294967294);
}

static void an_id_out_of_range_is_neither_a_number_nor_a_name(void **state)
{
	uint32_t id = 7;

	(void)state;
	assert_int_equal(parse("4294967295", &id), ID_OUT_OF_RANGE);
	assert_int_equal(parse("4294967296", &id), ID_OUT_OF_RANGE);
	assert_int_equal(parse("18446744073709551616", &id), ID_OUT_OF_RANGE);
	assert_int_equal(parse("99999999999999999999999999999999", &id), ID_OUT_OF_RANGE);
	assert_int_equal(id, 7);
}

static void anything_but_digits_is_a_name(void **state)
{
	static const char *const names[] = {"", "root", "-1", "+0", " 0", "0 ", "0x0", "1e3", "0."};
	uint32_t id;

	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		assert_int_equal(parse(names[i], &id), ID_NAME);
}

/* --- passwd ------------------------------------------------------------------------------------- */

/* The bytes end where a page does not: reading past them is seen by ASan. */
static bool find(const char *file, size_t length, const char *name, struct child_user *user)
{
	char *exact = malloc(length);
	bool found;

	memcpy(exact, file, length);
	found = passwd_find(exact, length, name, user);
	free(exact);
	return found;
}

static bool find_name(const char *file, const char *name, struct child_user *user)
{
	*user = (struct child_user){.uid = 1000};
	return find(file, strlen(file), name, user);
}

static bool find_uid(const char *file, uid_t uid, struct child_user *user)
{
	*user = (struct child_user){.uid = uid};
	return find(file, strlen(file), NULL, user);
}

static void a_user_is_found_by_name_the_first_of_it(void **state)
{
	struct child_user user;

	(void)state;
	assert_true(find_name(passwd, "web", &user));
	assert_int_equal(user.uid, 33);
	assert_int_equal(user.gid, 44);
	assert_string_equal(user.name, "web");
	assert_string_equal(user.home, "/srv/web");
}

static void a_user_is_found_by_uid_the_first_of_it(void **state)
{
	struct child_user user;

	(void)state;
	assert_true(find_uid(passwd, 33, &user));
	assert_string_equal(user.name, "web");
	assert_false(find_uid(passwd, 34, &user));
	assert_int_equal(user.uid, 34);
}

static void the_last_line_needs_no_newline(void **state)
{
	struct child_user user;

	(void)state;
	assert_true(find_name(passwd, "last", &user));
	assert_string_equal(user.home, "/last");
}

static void a_part_of_a_name_is_not_the_name(void **state)
{
	struct child_user user;

	(void)state;
	assert_false(find_name(passwd, "we", &user));
	assert_false(find_name(passwd, "webs", &user));
	assert_false(find_name(passwd, "", &user));
	assert_false(find_name("", "web", &user));
	assert_false(find_name("\n\n\n", "", &user));
	assert_false(find_name(":x:0:0::/root:/bin/sh\n", "", &user));
}

static void a_line_that_is_not_well_formed_matches_nothing(void **state)
{
	static const char *const lines[] = {
		"web",
		"web:",
		"web:x:33",
		"web:x:33:44",
		"web:x:33:44:web",
		"web:x::44::/:\n",
		"web:x:-1:44::/:\n",
		"web:x:33:4294967295::/:\n",
		"web:x: 33:44::/:\n",
		"web:x:33:x44::/:\n",
		"web\n:x:33:44::/:\n",
		"x:\nweb:x:33\n:44::/:\n",
	};
	struct child_user user;

	(void)state;
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
		assert_false(find_name(lines[i], "web", &user));
	/* Nor does it hide the good one behind it. */
	assert_true(find_name("web:x:zero:0::/:\nweb:x:5:6::/five:/bin/sh\n", "web", &user));
	assert_int_equal(user.uid, 5);
}

static void a_zero_byte_in_a_line_matches_nothing(void **state)
{
	static const char name[] = "web\0:x:33:44::/:\n", home[] = "web:x:33:44::/\0x:/bin/sh\n";
	struct child_user user = {.uid = 33};

	(void)state;
	assert_false(find(name, sizeof(name) - 1, "web", &user));
	assert_false(find(home, sizeof(home) - 1, "web", &user));
	assert_false(find(name, sizeof(name) - 1, NULL, &user));
	assert_string_equal(user.name, "");
	assert_string_equal(user.home, "");
}

static void a_home_that_is_too_long_matches_nothing(void **state)
{
	char file[USER_HOME_MAX + 64] = "web:x:33:44::/", *end = file + strlen(file);
	struct child_user user;

	(void)state;
	memset(end, 'h', USER_HOME_MAX - 2);
	strcpy(end + USER_HOME_MAX - 2, ":/bin/sh\n");
	assert_true(find_name(file, "web", &user));
	assert_int_equal(strlen(user.home), USER_HOME_MAX - 1);
	strcpy(end + USER_HOME_MAX - 2, "h:/bin/sh\n");
	assert_false(find_name(file, "web", &user));
}

/* --- group -------------------------------------------------------------------------------------- */

static void a_group_is_found_by_its_name(void **state)
{
	gid_t gid = 9;

	(void)state;
	assert_true(group_find(group, strlen(group), "www", &gid));
	assert_int_equal(gid, 44);
	assert_false(group_find(group, strlen(group), "web", &gid));
	assert_false(group_find(group, strlen(group), "", &gid));
	assert_false(group_find("www:x:\nwww:x:44", strlen("www:x:\nwww:x:44"), "www", &gid));
}

static void the_groups_that_list_a_user_are_added_once(void **state)
{
	struct child_user user = {.name = "web", .groups = {66}, .groups_count = 1};

	(void)state;
	assert_true(group_add_memberships(group, strlen(group), &user));
	assert_int_equal(user.groups_count, 2);
	assert_int_equal(user.groups[0], 66);
	assert_int_equal(user.groups[1], 4);
}

static void too_many_groups_are_not_cut_short(void **state)
{
	char *file = calloc(USER_GROUPS_MAX + 1, 32);
	struct child_user user = {.name = "web"};
	size_t length = 0;

	(void)state;
	for (unsigned i = 0; i < USER_GROUPS_MAX; i++)
		length += (size_t)sprintf(file + length, "g%u:x:%u:web\n", i, i);
	assert_true(group_add_memberships(file, length, &user));
	assert_int_equal(user.groups_count, USER_GROUPS_MAX);
	length += (size_t)sprintf(file + length, "more:x:99999:web\n");
	assert_false(group_add_memberships(file, length, &user));
	free(file);
}

/* --- All of it, in a child as it will be -------------------------------------------------------- */

struct place {
	char path[64];
	int root;
};

static int make_place(void **state)
{
	struct place *place = malloc(sizeof(*place));

	strcpy(place->path, "/tmp/test_child_user.XXXXXX");
	assert_non_null(mkdtemp(place->path));
	place->root = open(place->path, O_RDONLY | O_DIRECTORY);
	assert_int_equal(mkdirat(place->root, "etc", 0755), 0);
	*state = place;
	return 0;
}

static int remove_place(void **state)
{
	struct place *place = *state;
	char command[128];

	close(place->root);
	snprintf(command, sizeof(command), "rm -rf %s", place->path);
	assert_int_equal(system(command), 0);
	free(place);
	return 0;
}

static void write_file(const struct place *place, const char *path, const char *text)
{
	int fd = openat(place->root, path, O_CREAT | O_TRUNC | O_WRONLY, 0644);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
}

static void write_files(const struct place *place)
{
	write_file(place, "etc/passwd", passwd);
	write_file(place, "etc/group", group);
}

/* "uid:gid:name:home:group,group", or what the child died of. */
static const char *found(
	const struct place *place, const char *user, const char *group_name, const char **more)
{
	const struct process_spec process = {
		.user = user,
		.group = group_name,
		.additional_groups = more,
	};
	static char text[ERROR_TEXT_MAX];
	struct report report = {0};
	int report_pipe[2], result[2];
	ssize_t n;

	assert_int_equal(pipe(report_pipe), 0);
	assert_int_equal(pipe(result), 0);
	if (fork() == 0) {
		const int keep[] = {result[1], place->root};
		struct user_known learned;
		struct child_user is;

		child_begin(report_pipe[1], keep, 2);
		child_user_find(place->root, &process, NULL, &is, &learned);
		dprintf(result[1], "%u:%u:%s:%s:", is.uid, is.gid, is.name, is.home);
		for (size_t i = 0; i < is.groups_count; i++)
			dprintf(result[1], "%s%u", i > 0 ? "," : "", is.groups[i]);
		report_done(NULL, 0);
	}
	close(report_pipe[1]);
	close(result[1]);
	while (report_read(&report, report_pipe[0]) > 0)
		;
	wait(NULL);
	n = read(result[0], text, sizeof(text) - 1);
	text[n] = '\0';
	close(report_pipe[0]);
	close(result[0]);
	assert_true(report.done != report.failed);
	return report.failed ? strcpy(text, report.error.text) : text;
}

static void no_user_at_all_is_root(void **state)
{
	struct place *place = *state;

	assert_string_equal(found(place, NULL, NULL, NULL), "0:0::/:");
	write_files(place);
	assert_string_equal(found(place, NULL, NULL, NULL), "0:0:root:/root:66");
}

static void a_name_gets_what_the_files_say(void **state)
{
	struct place *place = *state;

	write_files(place);
	assert_string_equal(found(place, "web", NULL, NULL), "33:44:web:/srv/web:4,66");
}

static void a_number_needs_no_entry(void **state)
{
	struct place *place = *state;

	write_files(place);
	assert_string_equal(found(place, "33", NULL, NULL), "33:44:web:/srv/web:4,66");
	assert_string_equal(found(place, "1234", NULL, NULL), "1234:0::/:");
	assert_string_equal(found(place, "1234:99", NULL, NULL), "1234:99::/:");
}

static void a_name_that_is_not_there_is_an_error(void **state)
{
	static const char why[] = "user 'nobody': no such user in the container's /etc/passwd";
	struct place *place = *state;

	assert_string_equal(found(place, "nobody", NULL, NULL), why);
	write_files(place);
	assert_string_equal(found(place, "nobody", NULL, NULL), why);
	assert_string_equal(found(place, "nobody:0", NULL, NULL), why);
	assert_string_equal(found(place, "web:none", NULL, NULL),
		"group 'none': no such group in the container's /etc/group");
}

static void an_id_out_of_range_is_an_error(void **state)
{
	struct place *place = *state;

	write_files(place);
	assert_string_equal(found(place, "4294967295", NULL, NULL),
		"user '4294967295': not within 0 and 4294967294");
	assert_string_equal(found(place, "0", "4294967296", NULL),
		"group '4294967296': not within 0 and 4294967294");
}

static void a_group_that_is_given_is_the_only_one(void **state)
{
	struct place *place = *state;

	write_files(place);
	assert_string_equal(found(place, "web:adm", NULL, NULL), "33:4:web:/srv/web:");
	assert_string_equal(found(place, "web:adm", "www", NULL), "33:44:web:/srv/web:");
	assert_string_equal(found(place, "web:", NULL, NULL), "33:44:web:/srv/web:4,66");
	assert_string_equal(found(place, ":7", NULL, NULL), "0:7:root:/root:");
}

static void additional_groups_come_on_top(void **state)
{
	const char *more[] = {"www", "4", "300", NULL}, *bad[] = {"www", "nope", NULL};
	struct place *place = *state;

	write_files(place);
	assert_string_equal(found(place, "web", NULL, more), "33:44:web:/srv/web:4,66,44,300");
	assert_string_equal(found(place, "0", "0", more), "0:0:root:/root:44,4,300");
	assert_string_equal(found(place, "0", NULL, bad),
		"group 'nope': no such group in the container's /etc/group");
}

static void root_without_an_entry_is_root(void **state)
{
	struct place *place = *state;

	/* No file, as in an image from scratch; an empty one; one without root. */
	assert_string_equal(found(place, "root", NULL, NULL), "0:0:root:/:");
	assert_int_equal(mkdirat(place->root, "root", 0700), 0);
	assert_string_equal(found(place, "root", NULL, NULL), "0:0:root:/root:");
	write_file(place, "etc/passwd", "last:x:77:78::/last:/bin/sh\n");
	assert_string_equal(found(place, "root", NULL, NULL), "0:0:root:/root:");
	assert_string_equal(found(place, "root:5", NULL, NULL), "0:5:root:/root:");
	write_file(place, "etc/group", "tail:x:66:web,root");
	assert_string_equal(found(place, "root", NULL, NULL), "0:0:root:/root:66");
	assert_string_equal(found(place, "toor", NULL, NULL),
		"user 'toor': no such user in the container's /etc/passwd");
	/* An entry is taken as it is. */
	write_file(place, "etc/passwd", "root:x:7:8::/home/root:/bin/sh\n");
	assert_string_equal(found(place, "root", NULL, NULL), "7:8:root:/home/root:66");
}

static void the_files_are_looked_for_inside_the_root(void **state)
{
	struct place *place = *state;

	/* The machine's own passwd has a daemon; this root has none. */
	assert_int_equal(symlinkat("/etc/passwd", place->root, "etc/elsewhere"), 0);
	assert_int_equal(
		symlinkat("../../../../../../etc/elsewhere", place->root, "etc/passwd"), 0);
	assert_string_equal(found(place, "daemon", NULL, NULL),
		"open '/etc/passwd': "
		"too many levels of symbolic links");
	assert_int_equal(unlinkat(place->root, "etc/passwd", 0), 0);
	assert_int_equal(symlinkat("/real", place->root, "etc/passwd"), 0);
	write_file(place, "real", passwd);
	assert_string_equal(found(place, "last", NULL, NULL), "77:78:last:/last:");
}

static void a_file_that_is_no_file_is_an_error(void **state)
{
	struct place *place = *state;

	assert_int_equal(mkfifoat(place->root, "etc/passwd", 0644), 0);
	assert_string_equal(found(place, "web", NULL, NULL), "'/etc/passwd' is not a regular file");
}

static void a_file_that_is_too_large_is_an_error(void **state)
{
	struct place *place = *state;

	write_files(place);
	assert_int_equal(ftruncate(openat(place->root, "etc/group", O_WRONLY), 1024 * 1024 + 1), 0);
	assert_string_equal(
		found(place, "0", NULL, NULL), "'/etc/group' is larger than 1048576 bytes");
}

static time_t ahead; /* of the files' times */

int __real_clock_gettime(clockid_t clock, struct timespec *now);
int __wrap_clock_gettime(clockid_t clock, struct timespec *now);

int __wrap_clock_gettime(clockid_t clock, struct timespec *now)
{
	int rc = __real_clock_gettime(clock, now);

	now->tv_sec += ahead;
	return rc;
}

static void what_was_found_is_known_while_the_files_are_the_same(void **state)
{
	struct place *place = *state;
	struct process_spec process = {.user = "web"};
	struct user_known known, other;
	struct child_user user;

	/* Just written, so it may be written again unnoticed. */
	ahead = 0;
	write_files(place);
	assert_false(child_user_find(place->root, &process, NULL, &user, &known));
	ahead = 10;
	assert_true(child_user_find(place->root, &process, NULL, &user, &known));
	assert_int_equal(user.uid, 33);

	known.uid = 4711; /* tells that the files were not read */
	assert_false(child_user_find(place->root, &process, &known, &user, &other));
	assert_int_equal(user.uid, 4711);
	assert_int_equal(user.gid, 44);
	assert_string_equal(user.name, "web");
	assert_string_equal(user.home, "/srv/web");
	assert_int_equal(user.groups_count, 2);
	assert_true(user.groups[0] == 4 && user.groups[1] == 66);

	process.user = "last";
	assert_true(child_user_find(place->root, &process, &known, &user, &other));
	assert_int_equal(user.uid, 77);
	process = (struct process_spec){.user = "web", .group = "tail"};
	assert_true(child_user_find(place->root, &process, &known, &user, &other));
	assert_int_equal(user.gid, 66);
	process.group = NULL;
	write_file(place, "etc/group", group);
	assert_true(child_user_find(place->root, &process, &known, &user, &other));
	assert_int_equal(user.uid, 33);
}

/* It comes from a child that a process of the container may have traced. */
static void what_is_known_may_be_forged(void **state)
{
	struct place *place = *state;
	const struct process_spec process = {.user = "web"};
	struct user_known known, other;
	struct child_user user;

	write_files(place);
	ahead = 10;
	assert_true(child_user_find(place->root, &process, NULL, &user, &known));
	memset(known.name, 'x', sizeof(known.name));
	memset(known.home, 'x', sizeof(known.home));
	assert_false(child_user_find(place->root, &process, &known, &user, &other));
	assert_int_equal(strlen(user.name), sizeof(known.name) - 1);
	assert_int_equal(strlen(user.home), sizeof(known.home) - 1);
	known.groups_count = 33;
	assert_true(child_user_find(place->root, &process, &known, &user, &other));
	assert_int_equal(user.groups_count, 2);
}

static void a_link_has_no_version(void **state)
{
	struct place *place = *state;
	const struct process_spec process = {.user = "last"};
	struct user_known known;
	struct child_user user;

	write_files(place);
	ahead = 10;
	assert_int_equal(renameat(place->root, "etc/passwd", place->root, "real"), 0);
	assert_int_equal(symlinkat("/real", place->root, "etc/passwd"), 0);
	assert_false(child_user_find(place->root, &process, NULL, &user, &known));
	assert_int_equal(user.uid, 77);
}

#define IN_A_PLACE(test) cmocka_unit_test_setup_teardown(test, make_place, remove_place)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(digits_alone_are_an_id),
		cmocka_unit_test(an_id_out_of_range_is_neither_a_number_nor_a_name),
		cmocka_unit_test(anything_but_digits_is_a_name),
		cmocka_unit_test(a_user_is_found_by_name_the_first_of_it),
		cmocka_unit_test(a_user_is_found_by_uid_the_first_of_it),
		cmocka_unit_test(the_last_line_needs_no_newline),
		cmocka_unit_test(a_part_of_a_name_is_not_the_name),
		cmocka_unit_test(a_line_that_is_not_well_formed_matches_nothing),
		cmocka_unit_test(a_zero_byte_in_a_line_matches_nothing),
		cmocka_unit_test(a_home_that_is_too_long_matches_nothing),
		cmocka_unit_test(a_group_is_found_by_its_name),
		cmocka_unit_test(the_groups_that_list_a_user_are_added_once),
		cmocka_unit_test(too_many_groups_are_not_cut_short),
		IN_A_PLACE(no_user_at_all_is_root),
		IN_A_PLACE(a_name_gets_what_the_files_say),
		IN_A_PLACE(a_number_needs_no_entry),
		IN_A_PLACE(a_name_that_is_not_there_is_an_error),
		IN_A_PLACE(an_id_out_of_range_is_an_error),
		IN_A_PLACE(a_group_that_is_given_is_the_only_one),
		IN_A_PLACE(additional_groups_come_on_top),
		IN_A_PLACE(root_without_an_entry_is_root),
		IN_A_PLACE(the_files_are_looked_for_inside_the_root),
		IN_A_PLACE(a_file_that_is_no_file_is_an_error),
		IN_A_PLACE(a_file_that_is_too_large_is_an_error),
		IN_A_PLACE(what_was_found_is_known_while_the_files_are_the_same),
		IN_A_PLACE(what_is_known_may_be_forged),
		IN_A_PLACE(a_link_has_no_version),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
