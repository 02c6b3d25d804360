/* SPDX-License-Identifier: Apache-2.0 */
/* A directory tree, copied as it is: owners, modes, times, symlinks, hard links among its files,
 * extended attributes, holes, device nodes, fifos, sockets. */
#ifndef CHILD_COPY_H
#define CHILD_COPY_H

#include <linux/limits.h>

/* Copies the content and the attributes of the directory `from` to the directory `to`, which is
 * empty and which no other process uses. Other file systems below `from` are left out. 0; or -1 with errno,
 * and `failed` is the path below it that could not be copied. */
int child_copy_tree(int from, int to, char failed[PATH_MAX]);

/* Moves the content of the directory `from`, and copies its attributes, to the directory `to` of the same
 * file system; one entry after the other. 0, or -1 with errno. */
int child_copy_move(int from, int to);

/* Removes `name` of `parent` with all that is in it; a missing one is no error. 0, or -1 with errno. */
int child_copy_remove(int parent, const char *name);

#endif
