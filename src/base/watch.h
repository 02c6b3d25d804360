/* SPDX-License-Identifier: Apache-2.0 */
/* Who holds the agent in the kernel, by a lock of a pipe or terminal, is killed by a process of its own. */
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
	struct watch_page *page; /* both owned, and for good */
	int timer;
};

/* What loop and watcher share. 0, or -1 with err. */
int watch_open(struct watch *watch, const char *cgroup_dir, uint32_t limit_ms, struct error *err);

/* The watcher: a child of the loop's that keeps the timer and the log. The argument is a struct watch. */
_Noreturn void watch_main(const void *argument);

/* Around each call that may wait for a lock of that container's. Keeps errno. Harmless with NULL: there is
 * no watcher. */
void watch_enter(struct watch *watch, const char *container);
void watch_leave(struct watch *watch);

/* Closes it within such a mark. */
void watch_close(struct watch *watch, const char *container, int *fd);

#endif
