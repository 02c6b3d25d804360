/* SPDX-License-Identifier: Apache-2.0 */
/* The one slot for a child that does something which may block, and reports a result. */
#include "worker.h"

#include <assert.h>

static void worker_changed(struct spawn *spawn)
{
	struct worker *worker = list_entry(spawn, struct worker, spawn);
	struct error err;
	uint8_t *result;
	size_t length;

	if (!spawn_is_reported(spawn) || !spawn->reaped)
		return;
	worker->busy = false;
	if (spawn_succeeded(spawn)) {
		result = spawn_take_result(spawn, &length);
		spawn_forget_report(spawn);
		worker->on_done(worker->context, NULL, result, length);
	} else {
		spawn_error(spawn, &err);
		spawn_forget_report(spawn);
		worker->on_done(worker->context, &err, NULL, 0);
	}
}

int worker_start(struct worker *worker, const struct worker_plan *plan, struct error *err)
{
	const struct spawn_plan spawn = {
		.pid_ns = -1,
		.main = plan->main,
		.argument = plan->argument,
		.keep = plan->keep,
		.keep_count = plan->keep_count,
		.deadline_ms = plan->deadline_ms,
		.changed = worker_changed,
	};

	assert(!worker->busy);
	worker->on_done = plan->on_done;
	worker->context = plan->context;
	if (spawn_fork(worker->spawner, &worker->spawn, &spawn, err) < 0)
		return -1;
	worker->busy = true;
	return 0;
}

void worker_cancel(struct worker *worker, const char *reason)
{
	if (worker->busy)
		spawn_cancel(&worker->spawn, reason);
}
