/* SPDX-License-Identifier: Apache-2.0 */
/* A devpts of a container's own, attached nowhere: its first process mounts it, and the daemon opens
 * terminals in it without going through any path that the container controls. */
#ifndef DEVPTS_H
#define DEVPTS_H

#include "base/error.h"

/* An fd of its root, or -1 with err. */
int devpts_open(struct error *err);

#endif
