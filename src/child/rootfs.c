/* SPDX-License-Identifier: Apache-2.0 */
/* A container's root: made of mounts that are attached by fd, and hidden until it is complete. */
#include "child/rootfs.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/count.h"
#include "base/file.h"
#include "base/format.h"
#include "child/child.h"
#include "child/device.h"
#include "child/mount.h"
#include "child/path.h"
#include "child/sysctl.h"
#include "child/volume.h"

static const struct mount_plan dev_plan = {
	.type = "tmpfs",
	.options = {{"mode", "755"}, {"size", "64m"}},
	.attributes = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC,
};

static const struct mount_plan sys_plan = {
	.type = "sysfs",
	.attributes = MOUNT_NOTHING_SPECIAL | MOUNT_ATTR_RDONLY,
};

static const struct mount_plan mqueue_plan = {
	.type = "mqueue",
	.attributes = MOUNT_NOTHING_SPECIAL,
};

static const struct mount_plan empty_plan = {
	.type = "tmpfs",
	.options = {{"mode", "555"}, {"size", "4k"}},
	.attributes = MOUNT_NOTHING_SPECIAL | MOUNT_ATTR_RDONLY,
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
	const char *name, *target; /* NULL: a directory, to be mounted on */
} links[] = {
	{"pts", NULL},
	{"shm", NULL},
	{"mqueue", NULL},
	{"ptmx", "pts/ptmx"},
	{"fd", "/proc/self/fd"},
	{"stdin", "/proc/self/fd/0"},
	{"stdout", "/proc/self/fd/1"},
	{"stderr", "/proc/self/fd/2"},
};

/* Files of /etc that a container has from its pod: what STARTPOD wrote into run_dir. */
static const struct etc_file {
	const char *name, *path;
	bool replace; /* even the image's own; else only one that is missing or empty */
} etc_files[] = {
	/* Written only when the host gave name servers: then it wants them. */
	{"resolv.conf", "etc/resolv.conf", true},
	/* cc's runtime has put Docker's own, with its links, into the image. */
	{"hosts", "etc/hosts", false},
	{"hostname", "etc/hostname", false},
};

/* What shows the whole guest, or works on it. */
static const struct masked_path {
	const char *path;
	bool read_only; /* else it is covered */
} masked_paths[] = {
	{"proc/acpi", false},
	{"proc/kcore", false},
	{"proc/keys", false},
	{"proc/latency_stats", false},
	{"proc/timer_list", false},
	{"proc/timer_stats", false},
	{"proc/sched_debug", false},
	{"proc/scsi", false},
	{"sys/firmware", false},
	/* The pod's init: its oom_score_adj is the pod's life. */
	{"proc/1", true},
	{"proc/bus", true},
	{"proc/dynamic_debug", true},
	{"proc/fs", true},
	{"proc/irq", true},
	{"proc/pressure", true},
	{"proc/sys", true},
	{"proc/sysrq-trigger", true},
};

static int mount_new(const struct mount_plan *plan)
{
	int fd = mount_make(plan);

	if (fd < 0)
		die_errno("mount a %s", plan->type);
	return fd;
}

/* A part of the agent's own mounts. */
static int mount_clone(int directory, const char *path, uint64_t attributes)
{
	int fd = child_mount_clone(directory, path, false);

	if (fd < 0)
		die_errno("clone mount '%s'", path);
	if (attributes)
		child_mount_setattr(fd, attributes, 0, false);
	return fd;
}

/* The pod's, larger if the container asks for it: it never shrinks below what another relies on. What
 * lies in it counts against the pod's memory, whatever its size. */
static void shm_grow(int run, uint64_t size)
{
	int shm = openat(run, "shm", O_PATH | O_DIRECTORY | O_CLOEXEC), fs;
	struct statfs now;
	char text[32];

	if (shm < 0 || fstatfs(shm, &now) < 0)
		die_errno("size of /dev/shm");
	close(shm);
	if (size <= (uint64_t)now.f_blocks * (uint64_t)now.f_bsize)
		return;
	format(text, sizeof(text), "%llu", (unsigned long long)size);
	fs = (int)syscall(SYS_fspick, run, "shm", FSPICK_CLOEXEC);
	if (fs < 0 || syscall(SYS_fsconfig, fs, FSCONFIG_SET_STRING, "size", text, 0) < 0 ||
		syscall(SYS_fsconfig, fs, FSCONFIG_CMD_RECONFIGURE, NULL, NULL, 0) < 0)
		die_errno("make /dev/shm %s bytes large", text);
	close(fs);
}

static void dev_build(const struct child_rootfs *rootfs, int run, int root)
{
	const struct system_mounts_spec *mounts = &rootfs->container->system_mounts;
	int dev = mounts->bind_mount_dev ? mount_clone(AT_FDCWD, "/dev", 0) : mount_new(&dev_plan);
	int shm = mount_clone(run, "shm", 0);
	int mqueue = mount_make(&mqueue_plan), at, slave;

	for (size_t i = 0; !mounts->bind_mount_dev && i < COUNT(devices); i++)
		if (mknodat(dev, devices[i].name, S_IFCHR | 0666,
			    makedev(devices[i].major, devices[i].minor)) < 0)
			die_errno("create /dev/%s", devices[i].name);
	child_mount_attach_below(dev, root, "dev");
	/* The guest's own /dev may have them already. */
	for (size_t i = 0; i < COUNT(links); i++)
		if ((links[i].target ? symlinkat(links[i].target, dev, links[i].name)
				     : mkdirat(dev, links[i].name, 0755)) < 0 &&
			errno != EEXIST)
			die_errno("create /dev/%s", links[i].name);
	child_mount_attach_below(rootfs->devpts, dev, "pts");
	child_mount_attach_below(shm, dev, "shm");
	/* A kernel may have been built without it. */
	if (mqueue < 0 && errno != ENODEV)
		die_errno("mount an mqueue");
	if (mqueue >= 0)
		child_mount_attach_below(mqueue, dev, "mqueue");
	if (rootfs->console >= 0) {
		at = openat(dev, "console", O_CREAT | O_EXCL | O_RDONLY | O_CLOEXEC, 0600);
		/* The guest's own /dev has one, which must not be opened. */
		if (at < 0 && errno == EEXIST)
			at = openat(dev, "console", O_PATH | O_NOFOLLOW | O_CLOEXEC);
		slave = child_mount_clone(rootfs->console, "", false);
		if (at < 0 || slave < 0 || child_mount_attach(slave, at, "") < 0)
			die_errno("bind the terminal on /dev/console");
		close(slave);
		close(at);
	}
	close(mqueue);
	close(shm);
	close(dev);
}

static void sys_build(const struct child_rootfs *rootfs, int root)
{
	int sys = mount_new(&sys_plan), cgroup;

	child_mount_attach_below(sys, root, "sys");
	if (rootfs->cgroup_path) {
		/* Its own part, and where /proc/self/cgroup says it is. */
		cgroup = mount_clone(
			AT_FDCWD, rootfs->cgroup_path, MOUNT_NOTHING_SPECIAL | MOUNT_ATTR_RDONLY);
		if (child_mount_attach(cgroup, sys, "fs/cgroup") < 0)
			die_errno("mount on '/sys/fs/cgroup'");
		close(cgroup);
	}
	close(sys);
}

/* The guest's kernel modules, for programs that look for them. A read-only image may lack the mount point. */
static void modules_bind(int root)
{
	int modules = child_mount_clone(AT_FDCWD, "/lib/modules", false), at;

	if (modules < 0)
		return;
	at = child_path_directory(root, "lib/modules");
	if (at >= 0) {
		child_mount_setattr(modules, MOUNT_NOTHING_SPECIAL | MOUNT_ATTR_RDONLY, 0, false);
		if (child_mount_attach(modules, at, "") < 0)
			die_errno("mount on '/lib/modules'");
		close(at);
	}
	close(modules);
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

static void etc_bind(int root, int run, const struct etc_file *file)
{
	int source = child_mount_clone(run, file->name, false), target;
	struct stat st;

	if (source < 0 && errno == ENOENT)
		return;
	if (source < 0)
		die_errno("pod's %s", file->name);
	/* An image's own may be a link to what a service would have made, as systemd's resolved does: then
	 * that is made. */
	target = child_path_file(root, file->path);
	/* A container whose read-only image lacks the file has none. The same goes for any other reason, if
	 * the host did not ask for the file. */
	if (target < 0 && errno != EROFS && file->replace)
		die_errno("bind /%s", file->path);
	if (target >= 0 && fstat(target, &st) < 0)
		die_errno("/%s", file->path);
	if (target >= 0 && (file->replace || st.st_size == 0)) {
		/* Shared by the whole pod: no container rewrites it for the others. */
		child_mount_setattr(source, MOUNT_NOTHING_SPECIAL | MOUNT_ATTR_RDONLY, 0, false);
		if (child_mount_attach(source, target, "") < 0)
			die_errno("bind /%s", file->path);
	}
	fd_close(&target);
	close(source);
}

/* What a container's first start adds to its root. */
static void init_layer_make(int root, const char *workdir)
{
	int etc = child_path_directory(root, "etc"), fd;

	for (size_t i = 0; etc >= 0 && i < COUNT(etc_files); i++) {
		fd = child_path_file(root, etc_files[i].path);
		fd_close(&fd);
	}
	if (etc >= 0)
		(void)!symlinkat("/proc/mounts", etc, "mtab");
	fd_close(&etc);
	/* A workdir that is still missing is an error of the process that enters it. */
	fd = workdir ? child_path_directory(root, workdir) : -1;
	fd_close(&fd);
}

/* A root directory below the share, as a detached mount of its own. */
static int image_from_share(int run, const char *name, const char *path)
{
	int share = openat(run, "share", O_PATH | O_DIRECTORY | O_CLOEXEC), image, directory, tree;

	if (share < 0)
		die_errno("pod's share");
	image = child_path_open(share, name, O_PATH | O_DIRECTORY);
	if (image < 0 && errno == ENOENT)
		die("image '%s': no such directory below the share", name);
	if (image < 0)
		die_errno("image '%s'", name);
	directory = child_path_open(image, path, O_PATH | O_DIRECTORY);
	if (directory < 0 && errno == ENOENT)
		die("rootfs '%s': no such directory below image '%s'", path, name);
	if (directory < 0)
		die_errno("rootfs '%s' of image '%s'", path, name);
	tree = child_mount_clone(directory, "", true);
	if (tree < 0)
		die_errno("rootfs '%s' of image '%s'", path, name);
	close(directory);
	close(image);
	close(share);
	return tree;
}

/* One on a disk. */
static int image_from_disk(const struct child_rootfs *rootfs, int run, const char *path)
{
	const struct container_spec *container = rootfs->container;
	const struct child_device device = {
		.name = container->image,
		.scsi_addr = container->scsi_addr ? container->scsi_addr : container->addr,
		.until_ms = rootfs->until_ms,
	};
	int disk = child_device_mount(&device, container->fstype, container->read_only);
	int tree = child_volume_part(run, disk, path);

	if (tree < 0)
		die_errno("rootfs '%s' of the image's disk", path);
	close(disk);
	return tree;
}

/* "": the directory above. Clear Containers 2.1 shares the root itself, and sends no other name for it. */
static const char *name_of(const char *name)
{
	return *name ? name : ".";
}

/* The attached mount `root` becomes "/". */
static void root_switch(int root)
{
	/* pivot_root puts the old root on top of the new one, where it is unmounted: it needs no directory. */
	if (fchdir(root) < 0 || syscall(SYS_pivot_root, ".", ".") < 0 ||
		umount2(".", MNT_DETACH) < 0 || chdir("/") < 0)
		die_errno("switch root");
	close(root);
}

void child_rootfs_build(const struct child_rootfs *rootfs)
{
	const struct container_spec *container = rootfs->container;
	const bool read_only = container->read_only;
	const char *path = container->rootfs ? name_of(container->rootfs) : "rootfs";
	int run = run_open(rootfs->run_dir), proc;
	int root = container->fstype ? image_from_disk(rootfs, run, path)
				     : image_from_share(run, name_of(container->image), path);
	struct child_volume volumes = {
		.container = container,
		.run = run,
		.root = root,
		.devices = rootfs->devices,
		.image = -1,
		.until_ms = rootfs->until_ms,
	};

	umask(0);
	/* Device files of an image, or of what else is mounted in it, do not work: set now, before /dev is
	 * there. The root itself stays writable until all mount points are made. */
	child_mount_setattr(root, MOUNT_ATTR_NODEV | (read_only ? MOUNT_ATTR_RDONLY : 0), 0, true);
	if (read_only)
		child_mount_setattr(root, 0, MOUNT_ATTR_RDONLY, false);
	child_mount_attach_below(root, run, "root");
	/* Before anything is mounted in it. */
	if (container->initialize && (volumes.image = child_mount_clone(root, "", true)) < 0)
		die_errno("clone the image");
	dev_build(rootfs, run, root);
	proc = mount_clone(run, "proc", 0);
	for (size_t i = 0; i < container->sysctl_count; i++)
		child_sysctl_set(proc, container->sysctl[i].name, container->sysctl[i].value);
	child_mount_attach_below(proc, root, "proc");
	close(proc);
	sys_build(rootfs, root);
	modules_bind(root);
	for (size_t i = 0; i < COUNT(etc_files); i++)
		etc_bind(root, run, &etc_files[i]);
	/* What the host asks for is mounted above all that. */
	child_volume_attach_all(&volumes);
	if (container->initialize)
		init_layer_make(root, container->process.workdir);
	/* All mount points are made. */
	if (read_only)
		child_mount_setattr(root, MOUNT_ATTR_RDONLY, 0, false);
	/* Last: it belongs to the pod, and a start that fails must not change it. */
	shm_grow(run, container->system_mounts.dev_shm_size);
	umask(022);
	close(volumes.image);
	close(run);
	root_switch(root);
}

/* What is mounted over it: itself, read-only; or /dev/null; or an empty directory, the one over *empty or, if that
 * is NULL, a new one for the next. */
static int cover_open(int root, int place, const struct masked_path *masked, const char **empty)
{
	struct stat st;
	int cover;

	if (masked->read_only) {
		cover = child_mount_clone(place, "", false);
		if (cover >= 0)
			child_mount_setattr(
				cover, MOUNT_NOTHING_SPECIAL | MOUNT_ATTR_RDONLY, 0, false);
		return cover;
	}
	if (fstat(place, &st) < 0)
		return -1;
	if (!S_ISDIR(st.st_mode))
		return child_mount_clone(root, "dev/null", false);
	if (*empty)
		return child_mount_clone(root, *empty, false);
	*empty = masked->path;
	return mount_make(&empty_plan);
}

void child_rootfs_mask(int root)
{
	const char *empty = NULL;

	for (size_t i = 0; i < COUNT(masked_paths); i++) {
		const struct masked_path *masked = &masked_paths[i];
		int place = child_path_open(root, masked->path, O_PATH | O_NOFOLLOW), cover;

		if (place < 0 && errno == ENOENT)
			continue;
		cover = place < 0 ? -1 : cover_open(root, place, masked, &empty);
		if (cover < 0 || child_mount_attach(cover, place, "") < 0)
			die_errno("mask /%s", masked->path);
		close(cover);
		close(place);
	}
}

void child_rootfs_empty(const char *run_dir)
{
	int run = run_open(run_dir), root = mount_clone(run, "root", empty_plan.attributes);

	child_mount_attach_below(root, run, "root");
	close(run);
	root_switch(root);
}
