/* SPDX-License-Identifier: Apache-2.0 */
/* The whole program except what belongs to a VM: two ports, control, mux and a pod in one loop. */
#ifndef DAEMON_H
#define DAEMON_H

#include "base/error.h"
#include "base/settings.h"

/* Runs until a DESTROYPOD has been answered and its grace is over: 0. Or -1 with err before anything
 * was begun. The caller exits after it: fds and memory are not released. */
int daemon_run(struct settings *settings, struct error *err);

#endif
