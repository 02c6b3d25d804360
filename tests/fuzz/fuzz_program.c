/* SPDX-License-Identifier: Apache-2.0 */
/* The look-up of a program by PATH, against one that cuts PATH into pieces first. The input is PATH, out of
 * few letters, in a directory that has some of what it can name. */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "child/exec.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define PROGRAM "p"

/* Two such directories: the second has the program itself, too. And where we come from. */
static int places[2], home;

static void make(int place, const char *directory, mode_t mode)
{
	char path[64];

	mkdirat(place, directory, 0755);
	snprintf(path, sizeof(path), "%s/" PROGRAM, directory);
	if (mode == 0)
		mkdirat(place, path, 0755);
	else
		close(openat(place, path, O_CREAT | O_WRONLY, mode));
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	home = open(".", O_PATH | O_DIRECTORY);
	for (int i = 0; i < 2; i++) {
		char directory[] = "/tmp/fuzz-program-XXXXXX";

		assert(mkdtemp(directory));
		places[i] = open(directory, O_PATH | O_DIRECTORY);
		make(places[i], "a", 0755); /* found */
		make(places[i], "b", 0644); /* is there */
		make(places[i], "c", 0);    /* is no file */
		if (i == 1)
			make(places[i], ".", 0755);
	}
	return 0;
}

/* NULL with *why. */
static char *model(const char *path, int *why)
{
	char *copy = strdup(path), *rest = copy, *element, *found = NULL;
	struct stat st;

	*why = ENOENT;
	while (!found && (element = strsep(&rest, ":")) != NULL) {
		char *at;

		assert(asprintf(&at, "%s%s" PROGRAM, element, *element ? "/" : "") >= 0);
		if (strlen(at) < PATH_MAX && stat(at, &st) == 0 && S_ISREG(st.st_mode)) {
			if (st.st_mode & 0111)
				found = strdup(at);
			else
				*why = EACCES;
		}
		free(at);
	}
	free(copy);
	return found;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char letters[] = "abc:/.::";
	char *path = malloc(size + 1), found[PATH_MAX], *expected;
	const char *program;
	int why;

	for (size_t i = 0; i < size; i++)
		path[i] = letters[data[i] % (sizeof(letters) - 1)];
	path[size] = '\0';
	assert(fchdir(places[size & 1]) == 0);
	expected = model(path, &why);
	errno = 0;
	program = program_find(PROGRAM, path, found, sizeof(found));
	assert(!program == !expected);
	assert(program ? strcmp(program, expected) == 0 : errno == why);
	assert(program_find("./x", path, found, sizeof(found)) != NULL);
	assert(fchdir(home) == 0);
	free(expected);
	free(path);
	return 0;
}
