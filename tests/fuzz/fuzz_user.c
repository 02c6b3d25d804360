/* SPDX-License-Identifier: Apache-2.0 */
/* passwd and group of an image: who is found is who was asked for, and is a user. The input is a
 * name, a newline, and the file. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "child/user.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Does a line begin with the name and a colon? */
static bool is_listed(const char *file, size_t length, const char *name)
{
	size_t name_length = strlen(name);
	const char *end = file + length;

	while (file < end) {
		const char *newline = memchr(file, '\n', (size_t)(end - file));
		const char *line_end = newline ? newline : end;

		if ((size_t)(line_end - file) > name_length &&
			memcmp(file, name, name_length) == 0 && file[name_length] == ':')
			return true;
		file = line_end + 1;
	}
	return false;
}

static void check_user(const struct child_user *user)
{
	assert(user->uid != (uid_t)-1 && user->gid != (gid_t)-1);
	assert(memchr(user->name, '\0', sizeof(user->name)));
	assert(memchr(user->home, '\0', sizeof(user->home)));
}

static void check_number(const char *name)
{
	uint32_t id;

	switch (id_parse(name, strlen(name), &id)) {
	case ID_NUMBER:
		assert(id != UINT32_MAX && strspn(name, "0123456789") == strlen(name));
		break;
	case ID_OUT_OF_RANGE:
		assert(strspn(name, "0123456789") == strlen(name));
		break;
	case ID_NAME:
		assert(*name == '\0' || strspn(name, "0123456789") < strlen(name));
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *newline = memchr(data, '\n', size);
	size_t name_length = newline ? (size_t)(newline - data) : 0;
	static struct child_user user, by_id;
	size_t length;
	char *name, *file;
	gid_t gid;

	if (!newline || memchr(data, '\0', name_length))
		return 0;
	name = strndup((const char *)data, name_length);
	length = size - name_length - 1;
	file = malloc(length + !length);
	memcpy(file, newline + 1, length);

	check_number(name);
	user = (struct child_user){0};
	if (passwd_find(file, length, name, &user)) {
		check_user(&user);
		assert(is_listed(file, length, name));
		assert(strcmp(user.name, name) == 0);
		by_id = (struct child_user){.uid = user.uid};
		assert(passwd_find(file, length, NULL, &by_id));
		check_user(&by_id);
		assert(by_id.uid == user.uid);
	}
	if (group_find(file, length, name, &gid))
		assert(gid != (gid_t)-1 && is_listed(file, length, name));
	user = (struct child_user){0};
	if (strlen(name) < sizeof(user.name)) {
		strcpy(user.name, name);
		group_add_memberships(file, length, &user);
		assert(user.groups_count <= USER_GROUPS_MAX);
		for (size_t i = 0; i < user.groups_count; i++)
			assert(user.groups[i] != (gid_t)-1);
		assert(user.groups_count == 0 || memmem(file, length, name, strlen(name)));
	}
	free(file);
	free(name);
	return 0;
}
