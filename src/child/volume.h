/* SPDX-License-Identifier: Apache-2.0 */
/* What is mounted into a container's root beside its image: volumes and fsmap. */
#ifndef CHILD_VOLUME_H
#define CHILD_VOLUME_H

#include "base/device_filter.h"
#include "spec/spec.h"

struct child_volume {
	const struct container_spec *container;
	int run;   /* the agent's run_dir: share/, and volume/, a temporary mount point */
	int root;  /* the container's root; its image and its base mounts are there */
	int image; /* with `initialize`: the image alone, a mount that is attached nowhere */
	uint64_t until_ms;           /* until when to wait for disks: clock_now() */
	struct device_list *devices; /* gets those that are given by name; or NULL */
};

/* Attaches all, by the depth of their mount points, so that no mount hides another; at the same depth
 * volumes first, each list in its order. */
void child_volume_attach_all(const struct child_volume *target);

/* The directory `path` below the file system `disk`, a detached mount, as a mount of its own, not
 * attached; or -1 with errno. */
int child_volume_part(int run, int disk, const char *path);

#endif
