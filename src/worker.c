/* SPDX-License-Identifier: Apache-2.0 */
/* The one slot for a child that does something which may block, and reports a result. */
#include "worker.h"

#include <errno.h>
#include <stdlib.h>

static void worker_changed(struct spawn *spawn)
{
	struct worker *worker = list_entry(spawn, struct worker, spawn);
	bool succeeded = spawn_succeeded(spawn), has_result;
	struct error err;

	if (!spawn_is_reported(spawn) || !spawn->reaped)
		return;
	worker->busy = false;
	if (succeeded)
		worker->result = spawn_take_result(spawn, &worker->result_length);
	else
		spawn_error(spawn, &err);
	spawn_forget_report(spawn);
	has_result = worker->result;
	worker->on_done(worker->context, succeeded ? NULL : &err);
	/* One without a result may have gone with its owner. */
	if (has_result) {
		free(worker->result);
		worker->result = NULL;
	}
}

uint8_t *worker_take_result(struct worker *worker, size_t *length)
{
	uint8_t *result = worker->result;

	*length = worker->result_length;
	worker->result = NULL;
	return result;
}

int worker_start(struct worker *worker, const struct worker_plan *plan, struct error *err)
{
	const struct spawn_plan spawn = {
		.pid_ns = -1,
		.is_worker = true,
		.entry = plan->entry,
		.argument = plan->argument,
		.keep = plan->keep,
		.keep_count = plan->keep_count,
		.deadline_ms = plan->deadline_ms,
		.changed = worker_changed,
	};

	if (worker->busy) /* one that nobody waited for: see pod's release */
		return error_set(err, EBUSY, "an earlier command still hangs in the kernel");
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
