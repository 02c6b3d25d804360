/* SPDX-License-Identifier: Apache-2.0 */
/* The sysctls that a container asks for. */
#ifndef CHILD_SYSCTL_H
#define CHILD_SYSCTL_H

#include <stdbool.h>
#include <stddef.h>

#define SYSCTL_PATH_MAX 128

/* Writes a value. `proc` is a mount of procfs that no container has seen yet. */
void child_sysctl_set(int proc, const char *name, const char *value);

/* The path below sys/ for a name with dots or with slashes: the first of them is the separator, the other
 * is part of a name, and a dot in the path ("net.ipv4.conf.eth0/1.mtu": net/ipv4/conf/eth0.1/mtu). False:
 * it is too long, or not a name that a container may ask for. */
bool child_sysctl_path(const char *name, char path[SYSCTL_PATH_MAX]);

#endif
