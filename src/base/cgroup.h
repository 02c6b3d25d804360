/* SPDX-License-Identifier: Apache-2.0 */
/* The pod's and containers' cgroups (v2): made, killed, removed; their files. */
#ifndef CGROUP_H
#define CGROUP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* A cgroup directory by O_PATH fd. `name` is one path component below `parent`. Returns the fd,
 * owned by the caller, or -1 with err. An existing directory is taken over. */
int cgroup_create(int parent, const char *name, struct error *err);

/* SIGKILL to every process in it and below, atomically (cgroup.kill, Linux 5.14), but not to one that has
 * yet to join. 0, or -1 with err. */
int cgroup_kill(int cgroup, struct error *err);

/* Enables these controllers for the cgroups below this one, all at once; that the kernel lacks one is no error.
 * 0, or -1 with err. */
int cgroup_enable(int cgroup, const char *const *controllers, size_t count, struct error *err);

/* Whether it has this file: it may be missing with its controller, or in an older kernel. */
bool cgroup_has(int cgroup, const char *file);

/* Writes one of its files. 0, or -1 with err. */
int cgroup_set(int cgroup, const char *file, const char *value, struct error *err);
int cgroup_set_number(int cgroup, const char *file, uint64_t number, struct error *err);

/* Reads the number after `key` on the first line of one of its files that begins with it ("": the first
 * line). 0, or -1 with err. */
int cgroup_get_number(
	int cgroup, const char *file, const char *key, uint64_t *number, struct error *err);

/* 0, also when there is none; or -1 with err, EBUSY while a process or a cgroup is left in it. */
int cgroup_remove(int parent, const char *name, struct error *err);

#endif
