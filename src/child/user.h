/* SPDX-License-Identifier: Apache-2.0 */
/* Who a process runs as: names looked up in the container's own passwd and group, which its image
 * may have filled with anything. A name that is not found is an error, never root. */
#ifndef CHILD_USER_H
#define CHILD_USER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#include "spec/spec.h"

#define USER_NAME_MAX   256u
#define USER_HOME_MAX   4096u
#define USER_GROUPS_MAX 1024u

struct child_user {
	uid_t uid;
	gid_t gid;
	size_t groups_count;
	char name[USER_NAME_MAX]; /* "": passwd has no such uid */
	char home[USER_HOME_MAX];
	gid_t groups[USER_GROUPS_MAX];
};

/* What was found, for the next process of the container that asks for the same: as long as both files are these
 * versions it need not read them. Over 9p that is an eighth of an exec. */
struct user_known {
	struct file_version {
		uint64_t device, inode, size;
		struct timespec changed, modified;
	} files[2];
	char user[64], group[64]; /* as they were asked for */
	uid_t uid;
	gid_t gid;
	size_t groups_count;
	gid_t groups[32];
	char name[64], home[128];
};

/* From process->user ("", "user", "user:group"), ->group and ->additional_groups, by the files
 * below the directory fd `root`. As Docker has it: no user is uid 0; a group that is given takes
 * the place of passwd's, and of the groups that list the user as a member. May die.
 * `known`: by an earlier look-up of the container, or NULL. True: `learned` is to take its place. */
bool child_user_find(int root, const struct process_spec *process, const struct user_known *known,
	struct child_user *user, struct user_known *learned);

/* The groups, the gid and the uid: in this order, and for good. May die. */
void child_user_become(const struct child_user *user);

/* The lookups, pure functions over a file's bytes: no terminating NUL, any garbage. A line that is
 * not well formed matches nothing. */

enum id_kind { ID_NAME, ID_NUMBER, ID_OUT_OF_RANGE };

/* Digits alone are an id, 0 to 2^32 - 2; anything else is a name. */
enum id_kind id_parse(const char *text, size_t length, uint32_t *id);

/* The first entry of that name or, with name NULL, of user->uid: fills uid, gid, name and home. */
bool passwd_find(const char *file, size_t length, const char *name, struct child_user *user);

/* The gid of the first group of that name. */
bool group_find(const char *file, size_t length, const char *name, gid_t *gid);

/* Adds the gids of all groups that list user->name to user->groups; false when they are too many. */
bool group_add_memberships(const char *file, size_t length, struct child_user *user);

#endif
