/* SPDX-License-Identifier: Apache-2.0 */
/* A process that kills a container which holds the agent in the kernel, by a lock of a pipe or terminal. */
#ifndef WATCH_H
#define WATCH_H

#include <stdatomic.h>
#include <stdint.h>

#include "base/error.h"
#include "limits.h"

/* Shared with the watcher. */
struct watch_page {
	atomic_uint sequence; /* odd within a call that may wait */
	atomic_bool armed;    /* the timer is set: the watcher will look */
	char container[ID_MAX + 1];
};

struct watch {
	const char *cgroup_dir; /* borrowed */
	uint32_t limit_ms;
	struct watch_page *page; /* both owned, never closed */
	int timer;
};

/* Opens what loop and watcher share. 0, or -1 with err. */
int watch_open(struct watch *watch, const char *cgroup_dir, uint32_t limit_ms, struct error *err);

/* The watcher: a child of the agent that was given the fds of timer and log. `argument` is a struct watch. */
_Noreturn void watch_main(const void *argument);

/* Around each call that may wait for a lock that this container can hold. Keeps errno. Without a watcher
 * (NULL) or a container (NULL) it does nothing. */
void watch_enter(struct watch *watch, const char *container);
void watch_leave(struct watch *watch);

/* fd_close() between the two. */
void watch_close(struct watch *watch, const char *container, int *fd);

#endif
