/* SPDX-License-Identifier: Apache-2.0 */
/* The one slot for a child that does something which may block, and reports a result. */
#ifndef WORKER_H
#define WORKER_H

#include "spawn.h"

struct worker {
	struct spawner *spawner; /* borrowed */
	struct spawn spawn;
	bool busy;
	void (*on_done)(void *context, const struct error *err, uint8_t *result, size_t length);
	void *context;
};

struct worker_plan {
	void (*main)(const void *argument); /* ends with report_done() or die() */
	const void *argument;
	const int *keep; /* fds that it keeps */
	size_t keep_count;
	uint32_t deadline_ms;
	/* err NULL: done, and `result` (malloc, NULL when `length` is 0) is now the callee's. Else why
	 * not. Another worker may be started from here. */
	void (*on_done)(void *context, const struct error *err, uint8_t *result, size_t length);
	void *context;
};

/* Asserts that the slot is free: commands are taken one at a time. 0: on_done will be called; or -1
 * with err. */
int worker_start(struct worker *worker, const struct worker_plan *plan, struct error *err);

/* Kills it, if it runs; on_done tells the reason (static text). */
void worker_cancel(struct worker *worker, const char *reason);

#endif
