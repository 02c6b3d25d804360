/* SPDX-License-Identifier: Apache-2.0 */
/* Every path inside a container's root, and below the share: the only file that resolves paths
 * which an image or a container controls.
 *
 * `root` is a directory fd. No symlink, absolute path or ".." leads out of it, no magic link of
 * procfs is followed, and what is found is acted on by fd, never looked up twice. */
#ifndef CHILD_PATH_H
#define CHILD_PATH_H

/* openat2 with open(2)'s flags, O_CLOEXEC always. Leading slashes mean the root. The fd, or -1
 * with errno. With O_CREAT the mode is 0644. */
int child_path_open(int root, const char *path, int flags);

/* mkdir -p: an O_PATH fd, or -1 with errno. What a symlink of the path leads to is made, too, in the root. */
int child_path_directory(int root, const char *path);

/* Something to mount a file on: whatever exists there, or else a new empty file. Its directories are made,
 * too, also behind symlinks. An fd, or -1 with errno. */
int child_path_file(int root, const char *path);

/* The same, but only behind a symlink to something missing; otherwise nothing is made: ENOENT. */
int child_path_file_behind_links(int root, const char *path);

#endif
