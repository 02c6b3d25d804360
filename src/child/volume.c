/* SPDX-License-Identifier: Apache-2.0 */
/* Volumes and fsmap. The content of a volume is as hostile as an image: names on it are opened below
 * its own root, and `_data` is no symlink. */
#include "child/volume.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "child/child.h"
#include "child/copy.h"
#include "child/device.h"
#include "child/mount.h"
#include "child/path.h"

#define DATA "_data"
/* Populated under this name, so that an interrupted copy leaves nothing in `_data`. */
#define DATA_NEW "_data.new"
/* A `_data` with nothing but this file is a volume for a file. */
#define FILE_VOLUME ".hyper_file_volume_data_do_not_create_on_your_own"

#define O_DIRECTORY_HERE (O_PATH | O_DIRECTORY | O_NOFOLLOW)

/* Is it a directory with just these entries: none, or the file of a volume for a file? */
static bool directory_holds(int parent, const char *name, bool volume_file)
{
	int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	DIR *entries = fd >= 0 ? fdopendir(fd) : NULL;
	bool has_file = false, has_others = false;
	struct dirent *entry;

	if (!entries)
		return false;
	while ((entry = readdir(entries)) != NULL)
		if (strcmp(entry->d_name, FILE_VOLUME) == 0)
			has_file = true;
		else if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			has_others = true;
	closedir(entries);
	return has_file == volume_file && !has_others;
}

/* An existing, empty `_data` stays the same directory: another container may have it mounted. */
static int data_replace(int volume, int new)
{
	int data = openat(volume, DATA, O_DIRECTORY_HERE | O_CLOEXEC), result;

	if (data < 0)
		return errno == ENOENT ? renameat(volume, DATA_NEW, volume, DATA) : -1;
	result = child_copy_move(new, data);
	close(data);
	return result < 0 ? -1 : unlinkat(volume, DATA_NEW, AT_REMOVEDIR);
}

/* What the image has at the mount point becomes the volume's `_data`. */
static void data_populate(const struct child_volume *target, int volume, const char *mount)
{
	int from = child_path_open(target->image, mount, O_RDONLY | O_DIRECTORY), to = -1, why;
	char failed[PATH_MAX] = "";

	if (from < 0 && (errno == ENOENT || errno == ENOTDIR))
		return;
	if (from < 0)
		die_errno("populate volume '%.200s'", mount);
	/* A child that was killed may have left one. */
	if (child_copy_remove(volume, DATA_NEW) == 0 && mkdirat(volume, DATA_NEW, 0700) == 0)
		to = openat(volume, DATA_NEW, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (to < 0 || child_copy_tree(from, to, failed) < 0 || data_replace(volume, to) < 0) {
		why = errno;
		child_copy_remove(volume, DATA_NEW);
		errno = why;
		die_errno("populate volume '%.200s': '%.200s'", mount, *failed ? failed : ".");
	}
	close(from);
	close(to);
}

/* The `_data` directory of a volume, made if it is missing. */
static int data_open(
	const struct child_volume *target, int volume, const char *mount, bool docker_volume)
{
	struct stat st;
	int data;

	if (docker_volume && target->container->initialize &&
		(fstatat(volume, DATA, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
			directory_holds(volume, DATA, false)))
		data_populate(target, volume, mount);
	if (mkdirat(volume, DATA, 0777) < 0 && errno != EEXIST)
		die_errno("volume '%.200s': create '" DATA "'", mount);
	data = child_path_open(volume, DATA, O_DIRECTORY_HERE);
	if (data < 0)
		die_errno("volume '%.200s': '" DATA "'", mount);
	return data;
}

static struct stat status(int fd, const char *what)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		die_errno("'%s'", what);
	return st;
}

/* Attaches `tree` on the path, which is made when missing, and closes it. */
static void tree_attach(
	const struct child_volume *target, int tree, const char *path, bool read_only)
{
	bool directory = S_ISDIR(status(tree, path).st_mode);
	int at = directory ? child_path_directory(target->root, path)
			   : child_path_file(target->root, path);
	struct stat point, root = status(target->root, "/");

	if (at < 0)
		die_errno("mount point '%.200s'", path);
	point = status(at, path);
	if (S_ISDIR(point.st_mode) && !directory)
		die("mount point '%.200s': a directory, but its source is not", path);
	if (point.st_dev == root.st_dev && point.st_ino == root.st_ino)
		die("mount point '%.200s': the container's root itself", path);
	if (read_only)
		child_mount_setattr(tree, MOUNT_ATTR_RDONLY, 0, true);
	if (child_mount_attach(tree, at, "") < 0)
		die_errno("mount on '%.200s'", path);
	close(at);
	close(tree);
}

static void disk_detach(int run)
{
	if (fchdir(run) < 0 || umount2("volume", MNT_DETACH | UMOUNT_NOFOLLOW) < 0)
		die_errno("detach volume");
}

int child_volume_part(int run, int disk, const char *path)
{
	int directory, part = -1;

	/* A detached mount cannot be cloned in part, so it is attached for a moment. */
	child_mount_attach_below(disk, run, "volume");
	directory = child_path_open(disk, path, O_PATH | O_DIRECTORY);
	if (directory >= 0) {
		part = child_mount_clone(directory, "", false);
		close(directory);
	}
	disk_detach(run);
	return part;
}

static void volume_attach(const struct child_volume *target, const struct volume_spec *volume)
{
	const struct child_device device = {
		.name = volume->device,
		.scsi_addr = volume->addr,
		.until_ms = target->until_ms,
	};
	int disk = child_device_mount(&device, volume->fstype, volume->read_only);
	int data, file = -1, tree;

	child_mount_attach_below(disk, target->run, "volume");
	data = data_open(target, disk, volume->mount, volume->docker_volume);
	if (directory_holds(data, ".", true)) {
		file = child_path_open(data, FILE_VOLUME, O_PATH | O_NOFOLLOW);
		if (file < 0)
			die_errno("volume '%.200s'", volume->mount);
		if (!S_ISREG(status(file, volume->mount).st_mode))
			die("volume '%.200s': '" FILE_VOLUME "' is not a regular file",
				volume->mount);
	}
	tree = child_mount_clone(file < 0 ? data : file, "", false);
	if (tree < 0)
		die_errno("volume '%.200s'", volume->mount);
	disk_detach(target->run);
	fd_close(&file);
	close(data);
	close(disk);
	tree_attach(target, tree, volume->mount, volume->read_only);
}

/* A file or directory of the share, or of the guest. */
static int source_open(const struct child_volume *target, const struct fsmap_spec *map)
{
	int base = map->absolute_path
		? open("/", O_PATH | O_DIRECTORY | O_CLOEXEC)
		: openat(target->run, "share", O_PATH | O_DIRECTORY | O_CLOEXEC);
	int source;

	if (base < 0)
		die_errno("fsmap '%.200s': %s", map->path,
			map->absolute_path ? "'/'" : "pod's share");
	source = child_path_open(base, map->source, O_PATH);
	if (source < 0 && errno == ENOENT && !map->absolute_path)
		die("fsmap '%.200s': there is no '%.200s' below the share", map->path, map->source);
	if (source < 0)
		die_errno("fsmap '%.200s': source '%.200s'", map->path, map->source);
	close(base);
	return source;
}

static int device_open(const struct child_volume *target, const struct fsmap_spec *map)
{
	const struct child_device device = {
		.scsi_addr = map->scsi_addr,
		.until_ms = target->until_ms,
	};
	char path[DEVICE_PATH_MAX];
	int source;

	child_device_find(&device, path);
	source = open(path, O_PATH | O_CLOEXEC);
	if (source < 0)
		die_errno("fsmap '%.200s': '%s'", map->path, path);
	return source;
}

static void fsmap_attach(const struct child_volume *target, const struct fsmap_spec *map)
{
	int source = map->scsi_addr ? device_open(target, map) : source_open(target, map), data,
	    tree;
	struct device_list *devices = target->devices;
	const struct stat st = status(source, map->path);
	const mode_t mode = st.st_mode;
	/* A device is given only where it is named itself. */
	bool device = (map->scsi_addr || map->absolute_path) && (S_ISBLK(mode) || S_ISCHR(mode));

	if (!S_ISDIR(mode) && !S_ISREG(mode) && !device)
		die("fsmap '%.200s': '%.200s' is neither file nor directory", map->path,
			map->source);
	if (map->docker_volume && S_ISDIR(mode)) {
		data = data_open(target, source, map->path, true);
		close(source);
		source = data;
	}
	tree = child_mount_clone(source, "", true);
	if (tree < 0)
		die_errno("fsmap '%.200s'", map->path);
	if (!device) {
		child_mount_setattr(tree, MOUNT_ATTR_NODEV, 0, true);
	} else if (devices) {
		if (devices->count == DEVICES_MAX)
			die("fsmap '%.200s': more than %u devices", map->path, DEVICES_MAX);
		devices->devices[devices->count].type = mode & S_IFMT;
		devices->devices[devices->count++].number = st.st_rdev;
	}
	close(source);
	tree_attach(target, tree, map->path, map->read_only);
}

/* How deep below the root a path is, by its text. */
static unsigned depth_of(const char *path)
{
	unsigned depth = 0;

	for (path += strspn(path, "/"); *path; path += strspn(path, "/")) {
		size_t length = strcspn(path, "/");

		if (length == 2 && path[0] == '.' && path[1] == '.')
			depth -= depth > 0;
		else if (length != 1 || path[0] != '.')
			depth++;
		path += length;
	}
	return depth;
}

void child_volume_attach_all(const struct child_volume *target)
{
	const struct container_spec *container = target->container;
	unsigned depth, next, is;

	for (depth = 0; depth != UINT_MAX; depth = next) {
		next = UINT_MAX;
		for (size_t i = 0; i < container->volumes_count; i++)
			if ((is = depth_of(container->volumes[i].mount)) == depth)
				volume_attach(target, &container->volumes[i]);
			else if (is > depth && is < next)
				next = is;
		for (size_t i = 0; i < container->fsmap_count; i++)
			if ((is = depth_of(container->fsmap[i].path)) == depth)
				fsmap_attach(target, &container->fsmap[i]);
			else if (is > depth && is < next)
				next = is;
	}
}
