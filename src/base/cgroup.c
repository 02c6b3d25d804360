/* SPDX-License-Identifier: Apache-2.0 */
/* The pod's and containers' cgroups (v2). */
#include "base/cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/format.h"
#include "base/number.h"

int cgroup_create(int parent, const char *name, struct error *err)
{
	int fd;

	if (mkdirat(parent, name, 0755) < 0 && errno != EEXIST)
		return error_errno(err, "create cgroup '%s'", name);
	fd = openat(parent, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0) {
		error_errno(err, "open cgroup '%s'", name);
		unlinkat(parent, name, AT_REMOVEDIR); /* fails if it is in use */
	}
	return fd;
}

bool cgroup_has(int cgroup, const char *file)
{
	struct stat status;

	return fstatat(cgroup, file, &status, 0) == 0;
}

int cgroup_set(int cgroup, const char *file, const char *value, struct error *err)
{
	int fd = openat(cgroup, file, O_WRONLY | O_CLOEXEC), rc = 0;

	if (fd < 0)
		return error_errno(err, "open %s", file);
	if (write(fd, value, strlen(value)) < 0)
		rc = error_errno(err, "write '%s' to %s", value, file);
	close(fd);
	return rc;
}

int cgroup_set_number(int cgroup, const char *file, uint64_t number, struct error *err)
{
	char value[32];

	format(value, sizeof(value), "%" PRIu64, number);
	return cgroup_set(cgroup, file, value, err);
}

/* A small file as a string. */
static int text_read(int cgroup, const char *file, char *text, size_t size, struct error *err)
{
	int fd = openat(cgroup, file, O_RDONLY | O_CLOEXEC), rc = 0;
	ssize_t n;

	if (fd < 0)
		return error_errno(err, "open %s", file);
	n = read(fd, text, size - 1);
	if (n < 0)
		rc = error_errno(err, "read %s", file);
	else
		text[n] = '\0';
	close(fd);
	return rc;
}

int cgroup_get_number(
	int cgroup, const char *file, const char *key, uint64_t *number, struct error *err)
{
	char text[512];
	const char *at;

	if (text_read(cgroup, file, text, sizeof(text), err) < 0)
		return -1;
	at = file_line(text, strlen(text), key);
	if (!at)
		return error_set(err, EPROTO, "%s has no %s", file, key);
	at += strspn(at, " ");
	if (!number_take(&at, UINT64_MAX, number))
		return error_set(err, EPROTO, "%s: expected a number", file);
	return 0;
}

int cgroup_enable(int cgroup, const char *const *controllers, size_t count, struct error *err)
{
	char text[256], *rest = text, *word, change[64] = "";
	size_t length = 0;

	if (text_read(cgroup, "cgroup.controllers", text, sizeof(text), err) < 0)
		return -1;
	while ((word = strsep(&rest, " \n")) != NULL)
		for (size_t i = 0; i < count; i++)
			if (strcmp(word, controllers[i]) == 0)
				length += (size_t)format(
					change + length, sizeof(change) - length, "+%s ", word);
	return length > 0 ? cgroup_set(cgroup, "cgroup.subtree_control", change, err) : 0;
}

int cgroup_kill(int cgroup, struct error *err)
{
	return cgroup_set(cgroup, "cgroup.kill", "1", err);
}

int cgroup_remove(int parent, const char *name, struct error *err)
{
	if (unlinkat(parent, name, AT_REMOVEDIR) < 0 && errno != ENOENT)
		return error_errno(err, "remove cgroup '%s'", name);
	return 0;
}
