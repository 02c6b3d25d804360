/* SPDX-License-Identifier: Apache-2.0 */
/* Hardware that comes while the guest runs. */
#include "child/hotplug.h"

#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <sys/sysinfo.h>
#include <time.h>

#include "base/file.h"
#include "base/format.h"
#include "base/number.h"
#include "child/cgroup_limits.h"
#include "child/child.h"

/* ENOENT, no such hardware, is not an error. */
static void sysfs_write(const char *path, const char *text)
{
	if (file_write(path, text) < 0 && errno != ENOENT)
		die_errno("write '%s'", path);
}

/* For each entry of `directory` that begins with `prefix`. */
static void each_entry(const char *directory, const char *prefix,
	void (*act)(const char *directory, const char *name))
{
	DIR *entries = opendir(directory);
	struct dirent *entry;

	if (!entries && errno == ENOENT)
		return;
	if (!entries)
		die_errno("open '%s'", directory);
	while ((entry = readdir(entries)) != NULL)
		if (strncmp(entry->d_name, prefix, strlen(prefix)) == 0)
			act(directory, entry->d_name);
	closedir(entries);
}

static void scsi_host_scan(const char *directory, const char *name)
{
	char path[512];

	format(path, sizeof(path), "%s/%s/scan", directory, name);
	sysfs_write(path, "- - -");
}

static void bring_online(const char *directory, const char *name)
{
	char path[512], state[4];

	format(path, sizeof(path), "%s/%s/online", directory, name);
	/* The boot CPU has no such file if it cannot go offline. */
	if (file_read(path, state, sizeof(state)) > 0 && state[0] == '0')
		sysfs_write(path, "1");
}

void child_clock_set(void)
{
	char text[32];
	const char *at = text;
	uint64_t seconds;
	struct timespec now = {0};

	if (file_read("/sys/class/rtc/rtc0/since_epoch", text, sizeof(text)) < 0 ||
		!number_take(&at, INT64_MAX, &seconds))
		return;
	now.tv_sec = (time_t)seconds;
	clock_settime(CLOCK_REALTIME, &now);
}

void child_hotplug_rescan(const void *unused)
{
	(void)unused;
	sysfs_write("/sys/bus/pci/rescan", "1");
	each_entry("/sys/class/scsi_host", "host", scsi_host_scan);
	child_clock_set();
	report_done(NULL, 0);
}

static uint64_t memory_total(void)
{
	struct sysinfo info;

	return sysinfo(&info) < 0 ? 0 : (uint64_t)info.totalram * info.mem_unit;
}

void child_hotplug_online(const void *pod_cgroup)
{
	int cgroup = *(const int *)pod_cgroup;
	uint64_t before = memory_total();
	struct error err;

	each_entry("/sys/devices/system/cpu", "cpu", bring_online);
	each_entry("/sys/devices/system/memory", "memory", bring_online);
	if (cgroup >= 0 && cgroup_limits_grow(cgroup, memory_total() - before, &err) < 0)
		die("more memory for the pod: %s", err.text);
	report_done(NULL, 0);
}
