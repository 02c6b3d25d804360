/* SPDX-License-Identifier: Apache-2.0 */
/* A container's mount namespace, and its end: a child takes off what is mounted there. */
#include "container_mounts.h"

#include "child_unmount.h"
#include "file.h"
#include "invariant.h"
#include "log.h"

void container_mounts_init(struct container_mounts *mounts, struct spawner *spawner,
	void (*on_unmounted)(struct container_mounts *mounts, const struct error *err))
{
	*mounts = (struct container_mounts){
		.ns = -1,
		.worker = {.spawner = spawner},
		.on_unmounted = on_unmounted,
	};
}

static void unmounted(void *context, const struct error *err)
{
	struct container_mounts *mounts = context;
	struct error named;

	if (!err) {
		container_mounts_close(mounts, true);
		mounts->on_unmounted(mounts, NULL);
		return;
	}
	named = *err;
	error_wrap(&named, "container '%s'", mounts->id);
	log_error("%s", named.text);
	mounts->on_unmounted(mounts, &named);
}

void container_mounts_unmount(struct container_mounts *mounts, const char *id, uint32_t deadline_ms)
{
	const struct child_unmount unmount = {.mount_ns = mounts->ns};
	const struct worker_plan plan = {
		.main = child_unmount_main,
		.argument = &unmount,
		.keep = &unmount.mount_ns,
		.keep_count = 1,
		.deadline_ms = deadline_ms,
		.on_done = unmounted,
		.context = mounts,
	};
	struct error err;

	if (mounts->worker.busy)
		return;
	mounts->id = id;
	if (mounts->ns < 0)
		unmounted(mounts, NULL);
	else if (worker_start(&mounts->worker, &plan, &err) < 0)
		unmounted(mounts, &err);
}

bool container_mounts_are_leaving(const struct container_mounts *mounts)
{
	return mounts->worker.busy;
}

void container_mounts_cancel(struct container_mounts *mounts, const char *reason)
{
	worker_cancel(&mounts->worker, reason);
}

void container_mounts_close(struct container_mounts *mounts, bool is_unmounted)
{
	assert(!mounts->worker.busy);
	if (is_unmounted)
		fd_close(&mounts->ns);
	mounts->ns = -1;
}
