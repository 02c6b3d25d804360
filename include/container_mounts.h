/* SPDX-License-Identifier: Apache-2.0 */
/* A container's mount namespace, and its end: a child takes off what is mounted there. */
#ifndef CONTAINER_MOUNTS_H
#define CONTAINER_MOUNTS_H

#include "worker.h"

struct container_mounts {
	int ns; /* owned; -1: none yet, or unmounted */
	struct worker worker;
	const char *id; /* borrowed: the container's */
	/* Nothing is mounted there any more (err NULL), or why it still is. */
	void (*on_unmounted)(struct container_mounts *mounts, const struct error *err);
};

void container_mounts_init(struct container_mounts *mounts, struct spawner *spawner,
	void (*on_unmounted)(struct container_mounts *mounts, const struct error *err));

/* on_unmounted tells, at once if there is nothing to do. Not when it is on its way already. `id` is for
 * its words. */
void container_mounts_unmount(
	struct container_mounts *mounts, const char *id, uint32_t deadline_ms);

bool container_mounts_are_leaving(const struct container_mounts *mounts);

/* The child that is at it is killed; on_unmounted tells the reason (static text). */
void container_mounts_cancel(struct container_mounts *mounts, const char *reason);

/* The namespace goes when nobody is in it, and with it what a child may have left. With `is_unmounted`
 * false it stays for ever: whoever closes it last would have to wait for its disks, and that is not to
 * be the daemon. */
void container_mounts_close(struct container_mounts *mounts, bool is_unmounted);

#endif
