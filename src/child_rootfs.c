/* SPDX-License-Identifier: Apache-2.0 */
/* A container's root. Mounts are made detached, filled and moved into place by fd (fsopen,
 * open_tree, move_mount), so that no name in the image decides where anything lands. */
#include "child_rootfs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <linux/mount.h>

#include "child.h"
#include "child_path.h"

#define NOTHING_SPECIAL (MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC)

struct base_mount {
	const char *type;
	const char *at; /* one name below its parent */
	const char *options[2][2];
	unsigned attributes;
	bool optional; /* a kernel may have been built without it */
};

static const struct base_mount dev_mount = {
	.type = "tmpfs",
	.at = "dev",
	.options = {{"mode", "755"}, {"size", "64m"}},
	.attributes = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC,
};

static const struct base_mount root_mounts[] = {
	{.type = "proc", .at = "proc", .attributes = NOTHING_SPECIAL},
	{.type = "sysfs", .at = "sys", .attributes = NOTHING_SPECIAL | MOUNT_ATTR_RDONLY},
};

static const struct base_mount dev_mounts[] = {
	{
		.type = "tmpfs",
		.at = "shm",
		.options = {{"mode", "1777"}, {"size", "64m"}},
		.attributes = NOTHING_SPECIAL,
	},
	{.type = "mqueue", .at = "mqueue", .attributes = NOTHING_SPECIAL, .optional = true},
};

static const struct base_mount empty_mount = {
	.type = "tmpfs",
	.options = {{"mode", "555"}, {"size", "4k"}},
	.attributes = NOTHING_SPECIAL | MOUNT_ATTR_RDONLY,
};

static const struct device {
	const char *name;
	unsigned major, minor;
} devices[] = {
	{"null", 1, 3},
	{"zero", 1, 5},
	{"full", 1, 7},
	{"random", 1, 8},
	{"urandom", 1, 9},
	{"tty", 5, 0},
};

static const struct link {
	const char *name, *target;
} links[] = {
	{"ptmx", "pts/ptmx"},
	{"fd", "/proc/self/fd"},
	{"stdin", "/proc/self/fd/0"},
	{"stdout", "/proc/self/fd/1"},
	{"stderr", "/proc/self/fd/2"},
};

/* What STARTPOD wrote into run_dir. */
static const struct etc_file {
	const char *name, *path;
	bool replace; /* the image's own, too; else only one that is missing or empty */
} etc_files[] = {
	/* Written only when the host gave name servers: then they are meant. */
	{"resolv.conf", "etc/resolv.conf", true},
	/* cc's runtime has put Docker's own, with its links, into the image. */
	{"hosts", "etc/hosts", false},
	{"hostname", "etc/hostname", false},
};

/* What tells of the whole guest, or works on it. */
static const struct guarded_path {
	const char *path;
	bool read_only; /* else nothing of it is seen */
} guarded_paths[] = {
	{"proc/acpi", false},
	{"proc/kcore", false},
	{"proc/keys", false},
	{"proc/latency_stats", false},
	{"proc/timer_list", false},
	{"proc/timer_stats", false},
	{"proc/sched_debug", false},
	{"proc/scsi", false},
	{"sys/firmware", false},
	{"proc/bus", true},
	{"proc/fs", true},
	{"proc/irq", true},
	{"proc/sys", true},
	{"proc/sysrq-trigger", true},
};

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))

/* A new file system, not attached yet: an fd that serves as its root directory. -1 when the kernel
 * has no such file system and it is optional. */
static int mount_new(const struct base_mount *base)
{
	int fs = (int)syscall(SYS_fsopen, base->type, FSOPEN_CLOEXEC), fd;

	if (fs < 0 && errno == ENODEV && base->optional)
		return -1;
	if (fs < 0)
		die_errno("file system %s", base->type);
	/* What mount(8) and df show. */
	syscall(SYS_fsconfig, fs, FSCONFIG_SET_STRING, "source", base->type, 0);
	for (size_t i = 0; i < COUNT(base->options) && base->options[i][0] != NULL; i++)
		if (syscall(SYS_fsconfig, fs, FSCONFIG_SET_STRING, base->options[i][0],
			    base->options[i][1], 0) < 0)
			die_errno("%s option %s", base->type, base->options[i][0]);
	if (syscall(SYS_fsconfig, fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		die_errno("make a %s", base->type);
	fd = (int)syscall(SYS_fsmount, fs, FSMOUNT_CLOEXEC, base->attributes);
	if (fd < 0)
		die_errno("mount a %s", base->type);
	close(fs);
	return fd;
}

static int mount_move(int mount_fd, int at)
{
	return (int)syscall(SYS_move_mount, mount_fd, "", at, "",
		MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH);
}

static void mount_limit(int mount_fd, uint64_t attributes)
{
	struct mount_attr attr = {.attr_set = attributes};

	if (syscall(SYS_mount_setattr, mount_fd, "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0)
		die_errno("set mount attributes");
}

/* Attaches on the directory `name` of `parent`, made when missing. A symlink is no directory. */
static void mount_attach(int mount_fd, int parent, const char *name)
{
	int at;

	if (mkdirat(parent, name, 0755) < 0 && errno != EEXIST)
		die_errno("create mount point '%s'", name);
	at = child_path_open(parent, name, O_PATH | O_DIRECTORY | O_NOFOLLOW);
	if (at < 0)
		die_errno("mount point '%s'", name);
	if (mount_move(mount_fd, at) < 0)
		die_errno("mount on '%s'", name);
	close(at);
}

static void mount_table(const struct base_mount *table, size_t count, int parent)
{
	for (size_t i = 0; i < count; i++) {
		int fd = mount_new(&table[i]);

		if (fd < 0)
			continue;
		mount_attach(fd, parent, table[i].at);
		close(fd);
	}
}

static void console_bind(int dev, int console)
{
	int at = openat(dev, "console", O_CREAT | O_EXCL | O_RDONLY | O_CLOEXEC, 0600);
	int slave = (int)syscall(
		SYS_open_tree, console, "", AT_EMPTY_PATH | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);

	if (at < 0 || slave < 0 || mount_move(slave, at) < 0)
		die_errno("bind the terminal on /dev/console");
	close(slave);
	close(at);
}

static void dev_build(int root, int devpts, int console)
{
	int dev = mount_new(&dev_mount);

	for (size_t i = 0; i < COUNT(devices); i++)
		if (mknodat(dev, devices[i].name, S_IFCHR | 0666,
			    makedev(devices[i].major, devices[i].minor)) < 0)
			die_errno("create /dev/%s", devices[i].name);
	for (size_t i = 0; i < COUNT(links); i++)
		if (symlinkat(links[i].target, dev, links[i].name) < 0)
			die_errno("create /dev/%s", links[i].name);

	mount_attach(dev, root, dev_mount.at);
	mount_attach(devpts, dev, "pts");
	mount_table(dev_mounts, COUNT(dev_mounts), dev);
	if (console >= 0)
		console_bind(dev, console);
	close(dev);
}

static void etc_bind(int root, int run, const struct etc_file *file)
{
	struct stat st;
	int source, target;

	source = (int)syscall(SYS_open_tree, run, file->name, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
	if (source < 0 && errno == ENOENT)
		return;
	if (source < 0)
		die_errno("pod's %s", file->name);
	/* A read-only image without the file: then the container has none. */
	target = child_path_file(root, file->path);
	if (target >= 0 && fstat(target, &st) < 0)
		die_errno("/%s", file->path);
	if (target >= 0 && (file->replace || st.st_size == 0)) {
		/* Shared by the whole pod: no container rewrites it for the others. */
		mount_limit(source, NOTHING_SPECIAL | MOUNT_ATTR_RDONLY);
		if (mount_move(source, target) < 0)
			die_errno("bind /%s", file->path);
	}
	if (target >= 0)
		close(target);
	close(source);
}

static int run_open(const char *run_dir)
{
	int fd = open(run_dir, O_PATH | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		die_errno("open '%s'", run_dir);
	/* Nothing that is done here reaches the agent's own mounts. */
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		die_errno("make mounts private");
	return fd;
}

/* The image's root directory below the share, as a detached mount of its own. */
static int image_open(int run, const struct container_spec *container)
{
	const char *rootfs = container->rootfs != NULL ? container->rootfs : "rootfs";
	int share = openat(run, "share", O_PATH | O_DIRECTORY | O_CLOEXEC), image, directory, tree;

	if (share < 0)
		die_errno("pod's share");
	image = child_path_open(share, container->image, O_PATH | O_DIRECTORY);
	if (image < 0 && errno == ENOENT)
		die("image '%s': no such directory below the share", container->image);
	if (image < 0)
		die_errno("image '%s'", container->image);
	directory = child_path_open(image, rootfs, O_PATH | O_DIRECTORY);
	if (directory < 0 && errno == ENOENT)
		die("rootfs '%s': no such directory below image '%s'", rootfs, container->image);
	if (directory < 0)
		die_errno("rootfs '%s' of image '%s'", rootfs, container->image);
	tree = (int)syscall(SYS_open_tree, directory, "",
		AT_EMPTY_PATH | AT_RECURSIVE | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
	if (tree < 0)
		die_errno("rootfs '%s' of image '%s'", rootfs, container->image);
	close(directory);
	close(image);
	close(share);
	return tree;
}

/* The attached mount `root` becomes "/". */
static void root_switch(int root)
{
	/* The old root comes to lie on the new one and is taken off: no directory to put it in. */
	if (fchdir(root) < 0 || syscall(SYS_pivot_root, ".", ".") < 0 ||
		umount2(".", MNT_DETACH) < 0 || chdir("/") < 0)
		die_errno("switch root");
	close(root);
}

void child_rootfs_build(
	const struct container_spec *container, const char *run_dir, int devpts, int console)
{
	int run = run_open(run_dir), root = image_open(run, container);

	umask(0);
	mount_attach(root, run, "root");
	dev_build(root, devpts, console);
	mount_table(root_mounts, COUNT(root_mounts), root);
	for (size_t i = 0; i < COUNT(etc_files); i++)
		etc_bind(root, run, &etc_files[i]);
	/* Last, when all mount points are there. The devices are those of /dev: an image brings
	 * none of its own. */
	mount_limit(root, MOUNT_ATTR_NODEV | (container->read_only ? MOUNT_ATTR_RDONLY : 0));
	umask(022);
	close(run);
	root_switch(root);
}

/* A second mount of what is there, or of nothing, to lie over it. */
static int cover_open(int root, int place, bool read_only)
{
	struct stat st;
	int cover;

	if (fstat(place, &st) < 0)
		return -1;
	if (!read_only && S_ISDIR(st.st_mode))
		return mount_new(&empty_mount);
	cover = (int)syscall(SYS_open_tree, read_only ? place : root, read_only ? "" : "dev/null",
		AT_EMPTY_PATH | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
	if (cover >= 0 && read_only)
		mount_limit(cover, NOTHING_SPECIAL | MOUNT_ATTR_RDONLY);
	return cover;
}

void child_rootfs_guard(int root)
{
	for (size_t i = 0; i < COUNT(guarded_paths); i++) {
		const struct guarded_path *guarded = &guarded_paths[i];
		int place = child_path_open(root, guarded->path, O_PATH | O_NOFOLLOW), cover;

		if (place < 0 && errno == ENOENT)
			continue;
		cover = place < 0 ? -1 : cover_open(root, place, guarded->read_only);
		if (cover < 0 || mount_move(cover, place) < 0)
			die_errno("guard /%s", guarded->path);
		close(cover);
		close(place);
	}
}

void child_rootfs_empty(const char *run_dir)
{
	int run = run_open(run_dir), root = mount_new(&empty_mount);

	mount_attach(root, run, "root");
	close(run);
	root_switch(root);
}
