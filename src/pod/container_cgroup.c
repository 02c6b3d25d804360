/* SPDX-License-Identifier: Apache-2.0 */
/* A container's cgroup: made with its limits, and removed when the kernel says that it is empty. */
#include "pod/container_cgroup.h"

#include <errno.h>

#include "base/cgroup.h"
#include "base/file.h"
#include "base/format.h"
#include "base/log.h"
#include "child/cgroup.h"
#include "child/cgroup_limits.h"

/* Apart from pod/init, and from the files that the kernel puts beside it. */
#define CGROUP_PREFIX "c-"
#define NAME_SIZE     (sizeof(CGROUP_PREFIX) + ID_MAX)

/* How long at most until the next try to remove one with dying processes. */
#define REMOVAL_MS_MAX 1000u
/* For the child that removes what a container made below it. */
#define TREE_MS 2000u

static const char *name_of(const struct container_cgroup *cgroup, char name[NAME_SIZE])
{
	format(name, NAME_SIZE, CGROUP_PREFIX "%s", cgroup->id);
	return name;
}

static void removal_later(struct container_cgroup *cgroup)
{
	timer_set(cgroup->spawner->loop, &cgroup->removal, cgroup->removal_ms);
}

static void tree_removed(struct spawn *remover, const struct error *err)
{
	(void)err;
	removal_later(list_entry(remover, struct container_cgroup, remover));
}

/* Those that the container made are a child's to remove; how many they are is the container's choice. */
static int tree_remove(struct container_cgroup *cgroup, const char *name)
{
	const struct child_cgroup_remove plan = {*cgroup->parent, name};
	const struct spawn_plan remover = {
		.pid_ns = -1,
		.entry = child_cgroup_remove,
		.argument = &plan,
		.keep = cgroup->parent,
		.keep_count = 1,
		.deadline_ms = TREE_MS,
		.done = tree_removed,
	};
	uint64_t below = 0;
	struct error err;

	if (cgroup_get_number(cgroup->fd, "cgroup.stat", "nr_descendants ", &below, &err) < 0 ||
		below == 0)
		return -1;
	return spawn_fork(cgroup->spawner, &cgroup->remover, &remover, &err);
}

/* That the cgroup can be removed is the kernel's word that no process is left in it. The orphans
 * that cgroup.kill ends die a little later than the first process, and cgroup.events tells it a
 * little before rmdir agrees (Linux 6.18): so it is asked again, soon, then less often. An urgent one
 * is not asked for long (2 s): a command, and with it all others, waits, and a child that was
 * abandoned in the kernel may stay there for ever. */
void container_cgroup_remove(struct container_cgroup *cgroup)
{
	char name[NAME_SIZE];
	struct error err;

	if (spawn_is_busy(&cgroup->remover))
		return;
	if (cgroup->fd >= 0 && cgroup_remove(*cgroup->parent, name_of(cgroup, name), &err) < 0 &&
		err.code == EBUSY) {
		if (!cgroup->is_urgent || cgroup->removal_ms < REMOVAL_MS_MAX) {
			cgroup->removal_ms = 2 * cgroup->removal_ms + 1;
			if (cgroup->removal_ms > REMOVAL_MS_MAX)
				cgroup->removal_ms = REMOVAL_MS_MAX;
			if (tree_remove(cgroup, name) < 0)
				removal_later(cgroup);
			return;
		}
		log_error("container %s: a process is left: %s", cgroup->id, err.text);
	}
	fd_close(&cgroup->fd);
	cgroup->on_removed(cgroup);
}

static void removal_due(struct timer *timer)
{
	container_cgroup_remove(list_entry(timer, struct container_cgroup, removal));
}

void container_cgroup_init(struct container_cgroup *cgroup, struct spawner *spawner,
	const int *parent, void (*on_removed)(struct container_cgroup *cgroup))
{
	*cgroup = (struct container_cgroup){
		.spawner = spawner,
		.parent = parent,
		.fd = -1,
		.on_removed = on_removed,
	};
	timer_init(&cgroup->removal, removal_due);
}

int container_cgroup_open(struct container_cgroup *cgroup, const char *id,
	const struct constraints_spec *constraints, struct error *err)
{
	char name[NAME_SIZE];

	if (*cgroup->parent < 0)
		return 0;
	cgroup->id = id;
	cgroup->fd = cgroup_create(*cgroup->parent, name_of(cgroup, name), err);
	if (cgroup->fd < 0)
		return -1;
	return constraints ? cgroup_limits_container(cgroup->fd, constraints, err) : 0;
}

const char *container_cgroup_path(
	const struct container_cgroup *cgroup, const char *parent, char path[PATH_MAX])
{
	char name[NAME_SIZE];

	if (cgroup->fd < 0)
		return NULL;
	format(path, PATH_MAX, "%s/pod/%s", parent, name_of(cgroup, name));
	return path;
}

void container_cgroup_tell_oom(struct container_cgroup *cgroup, const char *process)
{
	uint64_t kills = 0, peak = 0;
	struct error err;

	if (cgroup->fd < 0 ||
		cgroup_get_number(cgroup->fd, "memory.events", "oom_kill ", &kills, &err) < 0 ||
		kills == cgroup->oom_kills)
		return;
	cgroup->oom_kills = kills;
	/* Since 5.19. */
	cgroup_get_number(cgroup->fd, "memory.peak", "", &peak, &err);
	log_error("process %s/%s: killed by the OOM killer; its container used up to %llu KiB",
		cgroup->id, process, (unsigned long long)peak / KIB);
}

void container_cgroup_close(struct container_cgroup *cgroup)
{
	char name[NAME_SIZE];
	struct error err;

	timer_cancel(&cgroup->removal);
	if (cgroup->fd >= 0 && cgroup_remove(*cgroup->parent, name_of(cgroup, name), &err) < 0)
		log_warn("container %s: %s", cgroup->id, err.text);
	fd_close(&cgroup->fd);
}
