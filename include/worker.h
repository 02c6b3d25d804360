/* SPDX-License-Identifier: Apache-2.0 */
/* The one slot for a child that does something which may block, and reports a result. */
#ifndef WORKER_H
#define WORKER_H

#include "spawn.h"

struct worker {
	struct spawner *spawner; /* borrowed */
	struct spawn spawn;
	bool busy;
	uint8_t *result; /* owned, during on_done */
	size_t result_length;
	void (*on_done)(void *context, const struct error *err);
	void *context;
};

struct worker_plan {
	void (*entry)(const void *argument); /* ends with report_done() or die() */
	const void *argument;
	const int *keep; /* fds that it keeps */
	size_t keep_count;
	uint32_t deadline_ms;
	/* It is done (err NULL), or why not. Another may be started from here; and a worker that has no
	 * result may be freed. */
	void (*on_done)(void *context, const struct error *err);
	void *context;
};

/* 0: on_done will be called; or -1 with err, also when the slot is not free. */
int worker_start(struct worker *worker, const struct worker_plan *plan, struct error *err);

/* Within on_done: what the worker reported, malloc, the caller's from then on; NULL when it is empty. */
uint8_t *worker_take_result(struct worker *worker, size_t *length);

/* Kills it, if it runs; on_done tells the reason (static text). */
void worker_cancel(struct worker *worker, const char *reason);

#endif
