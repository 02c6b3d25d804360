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
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cmocka.h>

#include "child/copy.h"

struct place {
	char path[64];
	int base, from, to;
	char failed[PATH_MAX];
};

static int make_place(void **state)
{
	struct place *place = calloc(1, sizeof(*place));

	strcpy(place->path, "/tmp/test_child_copy.XXXXXX");
	assert_non_null(mkdtemp(place->path));
	place->base = open(place->path, O_RDONLY | O_DIRECTORY);
	assert_int_equal(mkdirat(place->base, "from", 0755), 0);
	assert_int_equal(mkdirat(place->base, "to", 0700), 0);
	place->from = openat(place->base, "from", O_RDONLY | O_DIRECTORY);
	place->to = openat(place->base, "to", O_RDONLY | O_DIRECTORY);
	*state = place;
	return 0;
}

static int remove_place(void **state)
{
	struct place *place = *state;

	close(place->from);
	close(place->to);
	assert_int_equal(child_copy_remove(place->base, "from"), 0);
	assert_int_equal(child_copy_remove(place->base, "to"), 0);
	close(place->base);
	assert_int_equal(rmdir(place->path), 0);
	free(place);
	return 0;
}

static void write_file(int at, const char *path, const char *text, mode_t mode)
{
	int fd = openat(at, path, O_CREAT | O_EXCL | O_WRONLY, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	assert_int_equal(fchmod(fd, mode), 0);
	close(fd);
}

static void copy(struct place *place)
{
	assert_int_equal(child_copy_tree(place->from, place->to, place->failed), 0);
}

static struct stat status(int at, const char *path)
{
	struct stat st;

	assert_int_equal(fstatat(at, path, &st, AT_SYMLINK_NOFOLLOW), 0);
	return st;
}

static void assert_is_alike(const struct place *place, const char *path)
{
	struct stat from = status(place->from, path), to = status(place->to, path);

	assert_int_equal(to.st_mode, from.st_mode);
	assert_int_equal(to.st_uid, from.st_uid);
	assert_int_equal(to.st_gid, from.st_gid);
	assert_int_equal(to.st_mtim.tv_sec, from.st_mtim.tv_sec);
	assert_int_equal(to.st_mtim.tv_nsec, from.st_mtim.tv_nsec);
	assert_int_equal(to.st_rdev, from.st_rdev);
	if (!S_ISDIR(from.st_mode))
		assert_int_equal(to.st_size, from.st_size);
}

static void assert_holds(int at, const char *path, const char *text)
{
	char found[64] = "";
	int fd = openat(at, path, O_RDONLY | O_NOFOLLOW);

	assert_true(fd >= 0);
	assert_int_equal(read(fd, found, sizeof(found) - 1), strlen(text));
	assert_string_equal(found, text);
	close(fd);
}

static void owner_mode_and_times_are_kept(void **state)
{
	struct place *place = *state;
	const struct timespec times[] = {{981173106, 1}, {981173107, 123456789}};

	mkdirat(place->from, "d", 0755);
	write_file(place->from, "d/file", "text", 0);
	fchownat(place->from, "d/file", 1000, 5, 0);
	fchmodat(place->from, "d/file", 06751, 0);
	fchownat(place->from, "d", 7, 8, 0);
	fchmodat(place->from, "d", 01770, 0);
	utimensat(place->from, "d/file", times, 0);
	utimensat(place->from, "d", times, 0);
	fchmod(place->from, 0711);
	fchown(place->from, 3, 4);
	futimens(place->from, times);
	copy(place);
	/* Not by comparison: the copying has read the original. */
	assert_int_equal(status(place->to, "d/file").st_atim.tv_sec, times[0].tv_sec);
	assert_int_equal(status(place->to, "d/file").st_atim.tv_nsec, times[0].tv_nsec);
	assert_is_alike(place, "d/file");
	assert_is_alike(place, "d");
	assert_is_alike(place, ".");
	assert_holds(place->to, "d/file", "text");
	assert_int_equal(status(place->to, "d/file").st_mode, S_IFREG | 06751);
}

static void symlinks_are_copied_and_not_followed(void **state)
{
	struct place *place = *state;
	char target[32] = "";

	symlinkat("/etc", place->from, "out");
	symlinkat("nowhere", place->from, "dangling");
	fchownat(place->from, "out", 9, 9, AT_SYMLINK_NOFOLLOW);
	copy(place);
	assert_is_alike(place, "out");
	assert_is_alike(place, "dangling");
	assert_int_equal(readlinkat(place->to, "out", target, sizeof(target)), 4);
	assert_string_equal(target, "/etc");
}

static void hard_links_are_hard_links_again(void **state)
{
	struct place *place = *state;

	mkdirat(place->from, "d", 0755);
	write_file(place->from, "one", "text", 0644);
	linkat(place->from, "one", place->from, "d/two", 0);
	linkat(place->from, "one", place->from, "three", 0);
	/* Its other name is not below: it is no link in the copy. */
	write_file(place->from, "far", "text", 0644);
	linkat(place->from, "far", place->base, "elsewhere", 0);
	copy(place);
	assert_int_equal(status(place->to, "one").st_ino, status(place->to, "d/two").st_ino);
	assert_int_equal(status(place->to, "one").st_ino, status(place->to, "three").st_ino);
	assert_int_equal(status(place->to, "one").st_nlink, 3);
	assert_int_equal(status(place->to, "far").st_nlink, 1);
	unlinkat(place->base, "elsewhere", 0);
}

static void nodes_fifos_and_sockets_are_made(void **state)
{
	struct place *place = *state;

	umask(0);
	assert_int_equal(mknodat(place->from, "null", S_IFCHR | 0666, makedev(1, 3)), 0);
	assert_int_equal(mknodat(place->from, "disk", S_IFBLK | 0660, makedev(254, 7)), 0);
	assert_int_equal(mkfifoat(place->from, "fifo", 0640), 0);
	assert_int_equal(mknodat(place->from, "socket", S_IFSOCK | 0755, 0), 0);
	copy(place);
	for (size_t i = 0; i < 4; i++)
		assert_is_alike(place, (const char *const[]){"null", "disk", "fifo", "socket"}[i]);
	umask(022);
}

static void extended_attributes_are_kept(void **state)
{
	struct place *place = *state;
	char value[64] = "", path[128];
	/* cap_net_raw, as setcap writes it; a chown takes it away. */
	static const unsigned char capability[20] = {1, 0, 0, 2, 0, 0x20};

	write_file(place->from, "file", "text", 0755);
	mkdirat(place->from, "d", 0755);
	snprintf(path, sizeof(path), "%s/from/file", place->path);
	if (setxattr(path, "user.note", "kept", 4, 0) < 0)
		skip();
	assert_int_equal(
		setxattr(path, "security.capability", capability, sizeof(capability), 0), 0);
	snprintf(path, sizeof(path), "%s/from/d", place->path);
	assert_int_equal(setxattr(path, "trusted.note", "root's", 6, 0), 0);
	copy(place);
	snprintf(path, sizeof(path), "%s/to/file", place->path);
	assert_int_equal(getxattr(path, "user.note", value, sizeof(value)), 4);
	assert_memory_equal(value, "kept", 4);
	assert_int_equal(getxattr(path, "security.capability", value, sizeof(value)), 20);
	assert_memory_equal(value, capability, 20);
	snprintf(path, sizeof(path), "%s/to/d", place->path);
	assert_int_equal(getxattr(path, "trusted.note", value, sizeof(value)), 6);
}

/* As 9p does with an ACL of the host's, which is in its list. */
ssize_t __wrap_getxattr(const char *path, const char *name, void *value, size_t size);
ssize_t __real_getxattr(const char *path, const char *name, void *value, size_t size);

ssize_t __wrap_getxattr(const char *path, const char *name, void *value, size_t size)
{
	if (strcmp(name, "trusted.listed") != 0)
		return __real_getxattr(path, name, value, size);
	errno = ENOTSUP;
	return -1;
}

static void an_attribute_that_is_only_listed_is_left_out(void **state)
{
	struct place *place = *state;
	char path[128];

	write_file(place->from, "file", "text", 0644);
	snprintf(path, sizeof(path), "%s/from/file", place->path);
	assert_int_equal(setxattr(path, "trusted.listed", "x", 1, 0), 0);
	copy(place);
	assert_holds(place->to, "file", "text");
}

static void holes_stay_holes(void **state)
{
	struct place *place = *state;
	int fd = openat(place->from, "sparse", O_CREAT | O_RDWR, 0644);
	struct stat st;
	char byte = 'x';

	assert_int_equal(ftruncate(fd, 64 << 20), 0);
	assert_int_equal(pwrite(fd, &byte, 1, 10 << 20), 1);
	assert_int_equal(pwrite(fd, &byte, 1, (20 << 20) + 5000), 1);
	close(fd);
	copy(place);
	st = status(place->to, "sparse");
	assert_int_equal(st.st_size, 64 << 20);
	assert_true(st.st_blocks * 512 < 1 << 20);
	fd = openat(place->to, "sparse", O_RDONLY);
	for (off_t at = 0; at < st.st_size; at += 997) {
		assert_int_equal(pread(fd, &byte, 1, at), 1);
		if (at != 10 << 20 && at != (20 << 20) + 5000)
			assert_int_equal(byte, 0);
	}
	assert_int_equal(pread(fd, &byte, 1, 10 << 20), 1);
	assert_int_equal(byte, 'x');
	assert_int_equal(pread(fd, &byte, 1, (20 << 20) + 5000), 1);
	assert_int_equal(byte, 'x');
	close(fd);
}

static void a_file_of_zeros_without_holes_keeps_its_blocks(void **state)
{
	struct place *place = *state;
	static const char zeros[1 << 20];
	int fd = openat(place->from, "zeros", O_CREAT | O_WRONLY, 0644);

	assert_int_equal(write(fd, zeros, sizeof(zeros)), sizeof(zeros));
	fsync(fd);
	close(fd);
	copy(place);
	fd = openat(place->to, "zeros", O_RDONLY);
	fsync(fd);
	close(fd);
	assert_true(status(place->to, "zeros").st_blocks * 512 >= 1 << 20);
}

static void names_may_be_odd_and_long(void **state)
{
	struct place *place = *state;
	char name[256];

	memset(name, 'x', 255);
	name[255] = '\0';
	write_file(place->from, name, "1", 0644);
	write_file(place->from, " \n\t\xff\\", "2", 0644);
	write_file(place->from, "...", "3", 0644);
	copy(place);
	assert_holds(place->to, name, "1");
	assert_holds(place->to, " \n\t\xff\\", "2");
	assert_holds(place->to, "...", "3");
}

static void what_is_mounted_below_is_left_out(void **state)
{
	struct place *place = *state;
	char path[128];

	mkdirat(place->from, "mounted", 0711);
	write_file(place->from, "mounted/hidden", "x", 0644);
	snprintf(path, sizeof(path), "%s/from/mounted", place->path);
	if (mount("tmpfs", path, "tmpfs", 0, "mode=755") < 0)
		skip();
	write_file(place->from, "mounted/other", "x", 0644);
	copy(place);
	umount(path);
	assert_true(S_ISDIR(status(place->to, "mounted").st_mode));
	assert_int_equal(faccessat(place->to, "mounted/other", F_OK, 0), -1);
}

static void a_full_file_system_is_an_error_that_names_the_file(void **state)
{
	struct place *place = *state;
	char path[128], text[9000];
	int fd;

	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	mkdirat(place->from, "d", 0755);
	write_file(place->from, "d/large", text, 0644);
	snprintf(path, sizeof(path), "%s/to", place->path);
	if (mount("tmpfs", path, "tmpfs", 0, "size=8k") < 0)
		skip();
	fd = open(path, O_RDONLY | O_DIRECTORY);
	assert_int_equal(child_copy_tree(place->from, fd, place->failed), -1);
	assert_int_equal(errno, ENOSPC);
	assert_string_equal(place->failed, "d/large");
	close(fd);
	umount(path);
}

static void a_tree_that_is_too_deep_is_an_error(void **state)
{
	struct place *place = *state;
	int at = dup(place->from), next;
	char command[96];

	for (int i = 0; i < 1100; i++) {
		assert_int_equal(mkdirat(at, "d", 0755), 0);
		next = openat(at, "d", O_RDONLY | O_DIRECTORY);
		close(at);
		at = next;
	}
	close(at);
	assert_int_equal(child_copy_tree(place->from, place->to, place->failed), -1);
	assert_int_equal(errno, ELOOP);
	/* It takes what copied it to remove it: the deepest go first. */
	snprintf(command, sizeof(command), "rm -r %s/from/d", place->path);
	assert_int_equal(system(command), 0);
}

static void removing_takes_all_and_follows_no_symlink(void **state)
{
	struct place *place = *state;

	mkdirat(place->to, "tree", 0755);
	mkdirat(place->to, "tree/below", 0755);
	write_file(place->to, "kept", "text", 0644);
	write_file(place->to, "tree/below/file", "text", 0444);
	symlinkat("../..", place->to, "tree/below/up");
	symlinkat("tree", place->to, "link");
	assert_int_equal(child_copy_remove(place->to, "link"), 0);
	assert_int_equal(faccessat(place->to, "tree/below/file", F_OK, 0), 0);
	assert_int_equal(child_copy_remove(place->to, "tree"), 0);
	assert_int_equal(faccessat(place->to, "tree", F_OK, AT_SYMLINK_NOFOLLOW), -1);
	assert_holds(place->to, "kept", "text");
	assert_int_equal(child_copy_remove(place->to, "missing"), 0);
}

#define IN_A_PLACE(test) cmocka_unit_test_setup_teardown(test, make_place, remove_place)

int main(void)
{
	const struct CMUnitTest tests[] = {
		IN_A_PLACE(owner_mode_and_times_are_kept),
		IN_A_PLACE(symlinks_are_copied_and_not_followed),
		IN_A_PLACE(hard_links_are_hard_links_again),
		IN_A_PLACE(nodes_fifos_and_sockets_are_made),
		IN_A_PLACE(extended_attributes_are_kept),
		IN_A_PLACE(an_attribute_that_is_only_listed_is_left_out),
		IN_A_PLACE(holes_stay_holes),
		IN_A_PLACE(a_file_of_zeros_without_holes_keeps_its_blocks),
		IN_A_PLACE(names_may_be_odd_and_long),
		IN_A_PLACE(what_is_mounted_below_is_left_out),
		IN_A_PLACE(a_full_file_system_is_an_error_that_names_the_file),
		IN_A_PLACE(a_tree_that_is_too_deep_is_an_error),
		IN_A_PLACE(removing_takes_all_and_follows_no_symlink),
	};

	umask(022);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
