/* SPDX-License-Identifier: Apache-2.0 */
/* User, group and additional groups of a process, from the container's own files. */
#include "child/user.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/count.h"
#include "base/file.h"
#include "child/child.h"
#include "child/path.h"
#include "limits.h"

#define FILE_MAX (1 * MIB)

/* Not musl's getpwnam(): it reads the agent's own /etc, and may ask nscd. */

struct slice {
	const char *start;
	size_t length;
};

/* Takes from `rest` what stands before the next `separator`, or all of it. False when nothing is left:
 * rest->start is NULL then. */
static bool slice_next(struct slice *rest, char separator, struct slice *piece)
{
	const char *end;

	if (!rest->start)
		return false;
	end = memchr(rest->start, separator, rest->length);
	*piece = *rest;
	if (!end) {
		rest->start = NULL;
		return true;
	}
	piece->length = (size_t)(end - rest->start);
	rest->start = end + 1;
	rest->length -= piece->length + 1;
	return true;
}

static bool slice_is(const struct slice *slice, const char *text)
{
	return strlen(text) == slice->length && memcmp(slice->start, text, slice->length) == 0;
}

static bool slice_is_id(const struct slice *slice, uint32_t *id)
{
	return id_parse(slice->start, slice->length, id) == ID_NUMBER;
}

/* As a string; false when it does not fit or would end early. */
static bool slice_copy(const struct slice *slice, char *to, size_t size)
{
	if (slice->length >= size || memchr(slice->start, '\0', slice->length))
		return false;
	memcpy(to, slice->start, slice->length);
	to[slice->length] = '\0';
	return true;
}

enum id_kind id_parse(const char *text, size_t length, uint32_t *id)
{
	uint64_t value = 0;

	for (size_t i = 0; i < length; i++) {
		if (text[i] < '0' || text[i] > '9')
			return ID_NAME;
		if (value < UINT32_MAX)
			value = value * 10 + (uint64_t)(text[i] - '0');
	}
	if (length == 0)
		return ID_NAME;
	/* 2^32 - 1 is -1: "leave it as it is" for setresuid. */
	if (value >= UINT32_MAX)
		return ID_OUT_OF_RANGE;
	*id = (uint32_t)value;
	return ID_NUMBER;
}

enum { PASSWD_NAME, PASSWD_UID = 2, PASSWD_GID, PASSWD_HOME = 5, PASSWD_FIELDS };
enum { GROUP_NAME, GROUP_GID = 2, GROUP_MEMBERS, GROUP_FIELDS };

/* The next line that has at least `count` fields and a name. */
static bool entry_next(struct slice *file, struct slice *fields, size_t count)
{
	struct slice line;

	while (slice_next(file, '\n', &line)) {
		size_t i = 0;

		while (i < count && slice_next(&line, ':', &fields[i]))
			i++;
		if (i == count && fields[0].length > 0)
			return true;
	}
	return false;
}

bool passwd_find(const char *file, size_t length, const char *name, struct child_user *user)
{
	struct slice rest = {file, length}, fields[PASSWD_FIELDS];
	uint32_t uid, gid;

	while (entry_next(&rest, fields, PASSWD_FIELDS)) {
		if (!slice_is_id(&fields[PASSWD_UID], &uid) ||
			!slice_is_id(&fields[PASSWD_GID], &gid))
			continue;
		if (name ? !slice_is(&fields[PASSWD_NAME], name) : uid != user->uid)
			continue;
		if (!slice_copy(&fields[PASSWD_NAME], user->name, sizeof(user->name)) ||
			!slice_copy(&fields[PASSWD_HOME], user->home, sizeof(user->home))) {
			user->name[0] = '\0';
			continue;
		}
		user->uid = uid;
		user->gid = gid;
		return true;
	}
	return false;
}

bool group_find(const char *file, size_t length, const char *name, gid_t *gid)
{
	struct slice rest = {file, length}, fields[GROUP_FIELDS];

	while (entry_next(&rest, fields, GROUP_FIELDS))
		if (slice_is(&fields[GROUP_NAME], name) && slice_is_id(&fields[GROUP_GID], gid))
			return true;
	return false;
}

static bool user_add_group(struct child_user *user, gid_t gid)
{
	for (size_t i = 0; i < user->groups_count; i++)
		if (user->groups[i] == gid)
			return true;
	if (user->groups_count == USER_GROUPS_MAX)
		return false;
	user->groups[user->groups_count++] = gid;
	return true;
}

bool group_add_memberships(const char *file, size_t length, struct child_user *user)
{
	struct slice rest = {file, length}, fields[GROUP_FIELDS], member;
	uint32_t gid;

	while (entry_next(&rest, fields, GROUP_FIELDS)) {
		if (!slice_is_id(&fields[GROUP_GID], &gid))
			continue;
		while (slice_next(&fields[GROUP_MEMBERS], ',', &member))
			if (slice_is(&member, user->name) && !user_add_group(user, gid))
				return false;
	}
	return true;
}

/* All of a small regular file; a missing one is empty. */
static char *file_load(int root, const char *path, size_t *length)
{
	int fd = child_path_open(root, path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
	struct stat st;
	size_t size;
	char *file;
	ssize_t n;

	*length = 0;
	if (fd < 0 && (errno == ENOENT || errno == ENOTDIR))
		return NULL;
	if (fd < 0 || fstat(fd, &st) < 0)
		die_errno("open '%s'", path);
	if (!S_ISREG(st.st_mode))
		die("'%s' is not a regular file", path);
	if (st.st_size > FILE_MAX)
		die("'%s' is larger than %u bytes", path, FILE_MAX);
	/* Only st_size bytes: 9p takes time for each byte that is asked for. */
	size = (size_t)st.st_size;
	file = malloc(size + 1);
	if (!file)
		die_errno("read '%s'", path);
	while (*length < size && (n = read(fd, file + *length, size - *length)) != 0) {
		if (n < 0)
			die_errno("read '%s'", path);
		*length += (size_t)n;
	}
	close(fd);
	return file;
}

static enum id_kind id_check(const char *what, const char *text, uint32_t *id)
{
	enum id_kind kind = id_parse(text, strlen(text), id);

	if (kind == ID_OUT_OF_RANGE)
		die("%s '%s': not within 0 and 4294967294", what, text);
	return kind;
}

static void find_user(int root, const char *name, struct child_user *user)
{
	int home = -1;
	size_t length;
	char *file = file_load(root, "/etc/passwd", &length);
	bool is_number = id_check("user", name, &user->uid) == ID_NUMBER;

	/* A number needs no entry. "root" needs none either: Clear Containers 2 sends it for images
	 * without the file, too. */
	if (!passwd_find(file, length, is_number ? NULL : name, user) && !is_number) {
		if (strcmp(name, "root") != 0)
			die("user '%s': no such user in the container's /etc/passwd", name);
		memcpy(user->name, "root", sizeof("root"));
		home = child_path_open(root, "/root", O_PATH | O_DIRECTORY);
		if (home >= 0)
			memcpy(user->home, "/root", sizeof("/root"));
		fd_close(&home);
	}
	if (user->home[0] == '\0')
		memcpy(user->home, "/", sizeof("/"));
	free(file);
}

static gid_t find_group(const char *file, size_t length, const char *name)
{
	gid_t gid;

	if (id_check("group", name, &gid) == ID_NAME && !group_find(file, length, name, &gid))
		die("group '%s': no such group in the container's /etc/group", name);
	return gid;
}

static void user_look_up(int root, const struct process_spec *process, struct child_user *user)
{
	const char *text = process->user ? process->user : "";
	const char *colon = strchr(text, ':'), *group = process->group;
	struct slice first = {text, colon ? (size_t)(colon - text) : strlen(text)};
	char name[USER_NAME_MAX] = "0";
	size_t length;
	char *file;

	if (first.length > 0 && !slice_copy(&first, name, sizeof(name)))
		die("user '%s': longer than %u bytes", text, USER_NAME_MAX - 1);
	if (!group && colon && colon[1] != '\0')
		group = colon + 1;

	/* Not the whole struct: most of its pages are never touched. */
	user->uid = user->gid = 0;
	user->groups_count = 0;
	user->name[0] = user->home[0] = '\0';
	find_user(root, name, user);
	file = file_load(root, "/etc/group", &length);
	if (group)
		user->gid = find_group(file, length, group);
	else if (user->name[0] != '\0' && !group_add_memberships(file, length, user))
		die("user '%s': member of more than %u groups", name, USER_GROUPS_MAX);
	for (const char **g = process->additional_groups; g && *g; g++)
		if (!user_add_group(user, find_group(file, length, *g)))
			die("more than %u groups", USER_GROUPS_MAX);
	free(file);
}

/* Of passwd and group, as they are now. False: no versions that can be compared. */
static bool versions_read(int root, struct file_version versions[2])
{
	static const char *const names[] = {"passwd", "group"};
	int etc = child_path_open(root, "/etc", O_PATH | O_DIRECTORY);
	struct stat st;
	size_t i = 0;

	while (etc >= 0 && i < COUNT(names) &&
		fstatat(etc, names[i], &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode))
		versions[i++] = (struct file_version){
			st.st_dev, st.st_ino, (uint64_t)st.st_size, st.st_ctim, st.st_mtim};
	fd_close(&etc);
	return i == COUNT(names);
}

bool child_user_find(int root, const struct process_spec *process, const struct user_known *known,
	struct child_user *user, struct user_known *learned)
{
	const char *asked = process->user ? process->user : "";
	const char *group = process->group ? process->group : "";
	struct file_version files[2];
	bool comparable = !process->additional_groups && versions_read(root, files);
	struct timespec now;

	/* It was written by a child that another process may have traced. */
	if (known && comparable && strncmp(known->user, asked, sizeof(known->user)) == 0 &&
		strncmp(known->group, group, sizeof(known->group)) == 0 &&
		known->groups_count <= COUNT(known->groups) &&
		memcmp(known->files, files, sizeof(files)) == 0) {
		user->uid = known->uid;
		user->gid = known->gid;
		user->groups_count = known->groups_count;
		memcpy(user->groups, known->groups, known->groups_count * sizeof(gid_t));
		memcpy(user->name, known->name, sizeof(known->name));
		memcpy(user->home, known->home, sizeof(known->home));
		user->name[sizeof(known->name) - 1] = user->home[sizeof(known->home) - 1] = '\0';
		return false;
	}
	user_look_up(root, process, user);
	/* A file that was changed just now may change again with the same time and size. */
	clock_gettime(CLOCK_REALTIME, &now);
	for (size_t i = 0; comparable && i < COUNT(files); i++)
		comparable = now.tv_sec - files[i].changed.tv_sec > 2;
	if (!comparable || user->groups_count > COUNT(learned->groups) ||
		strlen(asked) >= sizeof(learned->user) || strlen(group) >= sizeof(learned->group) ||
		strlen(user->name) >= sizeof(learned->name) ||
		strlen(user->home) >= sizeof(learned->home))
		return false;
	memcpy(learned->files, files, sizeof(files));
	learned->uid = user->uid;
	learned->gid = user->gid;
	learned->groups_count = user->groups_count;
	memcpy(learned->groups, user->groups, user->groups_count * sizeof(gid_t));
	memcpy(learned->user, asked, strlen(asked) + 1);
	memcpy(learned->group, group, strlen(group) + 1);
	memcpy(learned->name, user->name, strlen(user->name) + 1);
	memcpy(learned->home, user->home, strlen(user->home) + 1);
	return true;
}

void child_user_become(const struct child_user *user)
{
	/* Not musl's wrappers: they change all threads, which takes 2 KB of code and blocks all signals. */
	if (syscall(SYS_setgroups, user->groups_count, user->groups) < 0)
		die_errno("set %zu additional groups", user->groups_count);
	if (syscall(SYS_setresgid, user->gid, user->gid, user->gid) < 0)
		die_errno("set gid %u", user->gid);
	if (syscall(SYS_setresuid, user->uid, user->uid, user->uid) < 0)
		die_errno("set uid %u", user->uid);
}
