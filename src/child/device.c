/* SPDX-License-Identifier: Apache-2.0 */
/* Block devices: waited for, found, mounted. */
#include "child/device.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/count.h"
#include "base/format.h"
#include "base/module.h"
#include "base/uevent.h"
#include "child/child.h"
#include "child/mount.h"

/* The only host adapter that hosts put disks on, and its only channel. */
#define SCSI_DISK "/sys/class/scsi_disk/0:0:%s/device/block"

static const struct fs_option {
	const char *type, *key, *value;
} fs_options[] = {
	/* Clones of one image share its UUID. */
	{"xfs", "nouuid", NULL},
	/* An image may ask for a panic. */
	{"ext2", "errors", "remount-ro"},
	{"ext3", "errors", "remount-ro"},
	{"ext4", "errors", "remount-ro"},
};

static const char *scsi_block_name(const char *addr, char name[DEVICE_PATH_MAX])
{
	char directory[128];
	struct dirent *entry;
	DIR *entries;

	format(directory, sizeof(directory), SCSI_DISK, addr);
	entries = opendir(directory);
	if (!entries)
		return NULL;
	name[0] = '\0';
	while ((entry = readdir(entries)) != NULL)
		if (entry->d_name[0] != '.')
			format(name, DEVICE_PATH_MAX, "%.50s", entry->d_name);
	closedir(entries);
	return name[0] != '\0' ? name : NULL;
}

/* Does it exist now? */
static bool device_look(const struct child_device *device, char path[DEVICE_PATH_MAX])
{
	char found[DEVICE_PATH_MAX];
	const char *name = device->name;
	struct stat st;
	int fd;

	if (device->scsi_addr)
		name = scsi_block_name(device->scsi_addr, found);
	else if (strncmp(name, "/dev/", strlen("/dev/")) == 0)
		name += strlen("/dev/");
	if (!name)
		return false;
	format(path, DEVICE_PATH_MAX, "/dev/%.50s", name);
	if (stat(path, &st) < 0 || !S_ISBLK(st.st_mode))
		return false;
	/* The kernel makes the node before the disk behind it, and reports only the disk. */
	fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return errno != ENXIO;
	close(fd);
	return true;
}

void child_device_find(const struct child_device *device, char path[DEVICE_PATH_MAX])
{
	uint64_t start = clock_now(), now;
	int uevents;

	if (device_look(device, path))
		return;
	/* The first disk may also be the first that needs a driver. */
	module_load_for("block");
	uevents = uevent_open();
	if (uevents < 0)
		die_errno("listen to uevents");
	while (!device_look(device, path))
		do {
			now = clock_now();
			if (now >= device->until_ms)
				die("no disk %s%s came within %d s",
					device->scsi_addr ? "at SCSI address " : "",
					device->scsi_addr ? device->scsi_addr : device->name,
					(int)((now - start + 500) / 1000));
		} while (!uevent_wait(uevents, "block", (int)(device->until_ms - now)));
	close(uevents);
}

/* Before the wait for a disk: a wrong type fails at once. */
static void type_find(const char *type)
{
	int fs = mount_open(type);

	if (fs < 0 && errno == ENODEV) {
		module_load_for(type);
		fs = mount_open(type);
	}
	if (fs < 0)
		die_errno("file system '%s': neither in the kernel nor a module", type);
	close(fs);
}

int child_device_mount(const struct child_device *device, const char *fstype, bool read_only)
{
	char path[DEVICE_PATH_MAX];
	struct mount_plan plan = {.type = fstype, .source = path, .attributes = MOUNT_ATTR_NODEV};
	int fd;

	for (size_t i = 0; i < COUNT(fs_options); i++)
		if (strcmp(fstype, fs_options[i].type) == 0) {
			plan.options[0][0] = fs_options[i].key;
			plan.options[0][1] = fs_options[i].value;
		}
	type_find(fstype);
	child_device_find(device, path);
	/* All mounts of a device share its superblock, and others may write to it: read-only is an attribute
	 * of the mount, unless the device itself is write-protected. */
	fd = mount_make(&plan);
	if (fd < 0 && read_only && (errno == EACCES || errno == EROFS)) {
		plan.superblock_is_read_only = true;
		fd = mount_make(&plan);
	}
	if (fd < 0 && errno == EINVAL)
		die("mount %s: no %s file system, or a damaged one", path, fstype);
	if (fd < 0)
		die_errno("mount %s as %s", path, fstype);
	return fd;
}
