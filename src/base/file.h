/* SPDX-License-Identifier: Apache-2.0 */
/* Small text files, as the kernel and an initrd have them; and the end of an fd. */
#ifndef FILE_H
#define FILE_H

#include <stddef.h>
#include <sys/types.h>

/* Closes it if there is one; then it is -1. Keeps errno. */
void fd_close(int *fd);

/* All of the file as a string. Its length, or -1 with errno: EFBIG when it is not shorter than
 * `size`. */
ssize_t file_read(const char *path, char *text, size_t size);

/* With one write, to a file that is there. 0, or -1 with errno. */
int file_write(const char *path, const char *text);

/* What stands behind `key` on the first of the text's lines that begins with it; NULL: none does. */
const char *file_line(const char *text, size_t length, const char *key);

#endif
