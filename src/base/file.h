/* SPDX-License-Identifier: Apache-2.0 */
/* Small text files of the kernel and the initrd; closing an fd. */
#ifndef FILE_H
#define FILE_H

#include <stddef.h>
#include <sys/types.h>

/* Closes *fd unless it is -1, and sets it to -1. Keeps errno. */
void fd_close(int *fd);

/* Reads the whole file as a string. Its length, or -1 with errno: EFBIG when it is not shorter than
 * `size`. */
ssize_t file_read(const char *path, char *text, size_t size);

/* Writes an existing file with one write. 0, or -1 with errno. */
int file_write(const char *path, const char *text);

/* What follows `key` on the first line of the text that begins with it, or NULL. */
const char *file_line(const char *text, size_t length, const char *key);

#endif
