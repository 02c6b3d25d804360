/* SPDX-License-Identifier: Apache-2.0 */
/* File systems as fds: made or cloned detached, given attributes, then attached; so that no name in an image
 * decides where anything lands. */
#ifndef CHILD_MOUNT_H
#define CHILD_MOUNT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/mount.h"

/* A detached mount of `path` below the directory fd ("": of the directory itself), which must be in the caller's
 * mount namespace. An fd, or -1 with errno. */
int child_mount_clone(int directory, const char *path, bool with_submounts);

/* mount_setattr(2): sets and clears MOUNT_ATTR_* of a mount, or of its submounts, too. May die. */
void child_mount_setattr(int mount, uint64_t set, uint64_t clear, bool with_submounts);

/* Attaches on `name` below the directory fd `at` ("": on what the fd is); a symlink at its end is not followed.
 * 0, or -1 with errno. */
int child_mount_attach(int mount, int at, const char *name);

/* Attaches on the directory `name` of `parent`, made when missing. A symlink is no directory. */
void child_mount_attach_below(int mount, int parent, const char *name);

/* Enters the container's mount namespace; -1: stays in the caller's. Returns its root, an O_PATH fd. */
int child_mount_enter(int mount_ns);

#endif
