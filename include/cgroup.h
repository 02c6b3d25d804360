/* SPDX-License-Identifier: Apache-2.0 */
/* The pod's and containers' cgroups (v2): made, joined, killed, removed. */
#ifndef CGROUP_H
#define CGROUP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "error.h"

/* A cgroup directory by O_PATH fd. `name` is one path component below `parent`. Returns the fd,
 * owned by the caller, or -1 with err. An existing directory is taken over. */
int cgroup_create(int parent, const char *name, struct error *err);

/* Opens cgroup.procs for writing: a process joins by writing "0". fd (O_CLOEXEC) or -1 with err. */
int cgroup_open_procs(int cgroup, struct error *err);

/* SIGKILL to every process in it and below, atomically (cgroup.kill, Linux 5.14). Not to one that
 * has yet to join. 0, or -1 with err. */
int cgroup_kill(int cgroup, struct error *err);

/* Tells every process in it by its pid in our PID namespace; one that comes and goes perhaps twice. 0, or
 * -1 with err. */
int cgroup_visit(
	int cgroup, void (*visit)(void *context, pid_t pid), void *context, struct error *err);

/* `signal` to every process in it but `except`. One that is forked meanwhile may be missed. 0, or -1
 * with err. */
int cgroup_signal(int cgroup, int signal, pid_t except, struct error *err);

/* `controller` for the cgroups below this one; one that the kernel does not have is no error. 0, or -1
 * with err. */
int cgroup_enable(int cgroup, const char *controller, struct error *err);

/* Whether it has this file: a controller, or a kernel, may be missing. */
bool cgroup_has(int cgroup, const char *file);

/* Into one of its files. 0, or -1 with err. */
int cgroup_set(int cgroup, const char *file, const char *value, struct error *err);
int cgroup_set_number(int cgroup, const char *file, uint64_t number, struct error *err);

/* Out of one of its files: the number on the line that begins with `key`; "" is the first one. 0, or -1
 * with err. */
int cgroup_get_number(
	int cgroup, const char *file, const char *key, uint64_t *number, struct error *err);

/* rmdir, of those below it, too; -1 with err (EBUSY while a process is left in it). A missing one is no
 * error. */
int cgroup_remove(int parent, const char *name, struct error *err);

#endif
