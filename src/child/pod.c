/* SPDX-License-Identifier: Apache-2.0 */
/* The children of STARTPOD and DESTROYPOD: what all containers share, and the holder of the namespaces. */
#include "child/pod.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/count.h"
#include "base/format.h"
#include "base/module.h"
#include "child/cgroup_limits.h"
#include "child/child.h"
#include "child/hotplug.h"
#include "child/network.h"
#include "child/portmap.h"
#include "child/rootfs.h"
#include "child/unmount.h"
#include "limits.h"

/* cache=mmap: reads and writes go to the host, as without a cache, but a file can be mapped shared and
 * writable, which apt and databases do. msize: up to 6.1 the kernel takes two contiguous buffers of this
 * size for each request, so it is below the 500 KiB that virtio could carry. */
#define SHARE_OPTIONS "trans=virtio,version=9p2000.L,cache=mmap,msize=131072"

static void run_enter(const struct child_pod *pod)
{
	if (chdir(pod->settings->run_dir) < 0)
		die_errno("enter '%s'", pod->settings->run_dir);
}

static int file_create(const char *name)
{
	int fd = open(name, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0644);

	if (fd < 0)
		die_errno("create '%s'", name);
	return fd;
}

static void line(int fd, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void line(int fd, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	if (vdformat(fd, fmt, args) < 0)
		die_errno("write the pod's files");
	va_end(args);
}

/* A line with all of `list`, unless that is empty. */
static void words(int fd, const char *keyword, const char *const *list)
{
	if (!list || !list[0])
		return;
	line(fd, "%s", keyword);
	for (; *list; list++)
		line(fd, " %s", *list);
	line(fd, "\n");
}

static void files_write(const struct pod_spec *spec)
{
	int fd;

	/* Without any of these a container keeps its image's resolv.conf. */
	if (spec->dns || spec->dns_search || spec->dns_options) {
		fd = file_create("resolv.conf");
		words(fd, "search", spec->dns_search);
		for (const char **server = spec->dns; server && *server; server++)
			line(fd, "nameserver %s\n", *server);
		words(fd, "options", spec->dns_options);
		close(fd);
	}
	fd = file_create("hosts");
	line(fd, "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n");
	if (spec->hostname)
		line(fd, "127.0.1.1\t%s\n", spec->hostname);
	close(fd);
	if (spec->hostname) {
		fd = file_create("hostname");
		line(fd, "%s\n", spec->hostname);
		close(fd);
	}
}

/* By 9p or virtiofs, both over virtio. */
static void share_mount(const struct child_pod *pod)
{
	static const struct {
		const char *type, *options;
		int absent; /* no device has this tag; ENODEV: the kernel lacks the file system */
	} ways[] = {{"9p", SHARE_OPTIONS, ENOENT}, {"virtiofs", NULL, EINVAL}};
	const char *tag = pod->spec->share_dir;

	if (!tag)
		return;
	if (pod->settings->share_dir) {
		if (mount(pod->settings->share_dir, "share", NULL, MS_BIND | MS_REC, NULL) < 0)
			die_errno("bind '%s' as share '%s'", pod->settings->share_dir, tag);
		return;
	}
	for (size_t i = 0; i < COUNT(ways); i++) {
		const char *type = ways[i].type, *options = ways[i].options;
		int rc = mount(tag, "share", type, 0, options);

		if (rc < 0 && errno == ENODEV) {
			module_load_for(type);
			rc = mount(tag, "share", type, 0, options);
		}
		if (rc == 0)
			return;
		if (errno != ways[i].absent && errno != ENODEV)
			die_errno("mount share '%s' by %s", tag, type);
	}
	die("share '%s': neither a 9p nor a virtiofs device has this tag", tag);
}

/* EINVAL: nothing is mounted there; ENOENT: STARTPOD did not get so far. */
static void detach(const char *name)
{
	if (umount2(name, MNT_DETACH | UMOUNT_NOFOLLOW) < 0 && errno != EINVAL && errno != ENOENT)
		die_errno("unmount the pod's %s", name);
}

/* All or nothing: what fails before it leaves the network alone. Reports what undoes it: the journal, whose
 * first entry is the text for portmap_undo(). */
static void network_prepare(const struct child_pod *pod)
{
	const struct pod_spec *spec = pod->spec;
	const struct child_network network = {
		.interfaces = spec->interfaces,
		.interfaces_count = spec->interfaces_count,
		.routes = spec->routes,
		.routes_count = spec->routes_count,
		.settings = pod->settings,
	};
	const uint32_t limit_ms = pod->settings->deadline_ms / 8;
	const char *undo;
	struct journal journal;
	struct error err;

	journal_open(&journal);
	network_set_up(&network, &journal);
	if (portmap_begin(spec->iptable_rules, spec->white_lists, limit_ms, &undo, &err) < 0 ||
		journal_push(&journal, NLMSG_NOOP, undo, strlen(undo) + 1, &err) < 0) {
		portmap_undo(undo, limit_ms);
		journal_undo(&journal);
		die_error(&err);
	}
	report_result(journal.bytes + journal.start, journal.end - journal.start);
}

static void prepare(const struct child_pod *pod)
{
	static const char *const directories[] = {"share", "shm", "proc", "root"};
	char options[64];
	struct error err;

	run_enter(pod);
	umask(022);
	child_clock_set();
	for (size_t i = 0; i < COUNT(directories); i++)
		if (mkdirat(AT_FDCWD, directories[i], 0700) < 0 && errno != EEXIST)
			die_errno("create '%s'", directories[i]);
	files_write(pod->spec);
	/* One for all containers, which share memory by it. */
	format(options, sizeof(options), "mode=1777,size=%u", SHM_BYTES);
	if (mount("shm", "shm", "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, options) < 0)
		die_errno("mount the pod's shm");
	/* One for all of them, too: each would take 9 KiB. */
	if (mount("proc", "proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0)
		die_errno("mount the pod's proc");
	share_mount(pod);
	if (pod->cgroup >= 0 && cgroup_limits_pod(pod->cgroup_parent, pod->cgroup, &err) < 0)
		die("limit the pod: %s", err.text);
	network_prepare(pod);
}

void child_pod_init(const void *child_pod)
{
	const struct child_pod *pod = child_pod;
	const char *hostname = pod->spec->hostname;

	prctl(PR_SET_NAME, "pod-init");
	prepare(pod);
	if (unshare(CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWNS) < 0)
		die_errno("make the pod's namespaces");
	if (hostname && sethostname(hostname, strlen(hostname)) < 0)
		die_errno("set host name '%s'", hostname);
	child_rootfs_empty(pod->settings->run_dir);

	/* The kernel then reaps all children, orphans too. */
	signal(SIGCHLD, SIG_IGN);
	setsid();
	report_alive();
	syscall(SYS_close_range, 0, ~0U, 0);
	/* No signal from inside its PID namespace reaches an init that has no handler for it; the agent's
	 * SIGKILL does. */
	for (;;)
		pause();
}

void child_pod_release(const void *child_pod)
{
	static const char *const files[] = {"resolv.conf", "hosts", "hostname"};
	const struct child_pod *pod = child_pod;
	struct nlmsghdr *rules = pod->network_undo;
	struct netlink netlink;
	size_t failed;

	run_enter(pod);
	for (size_t i = 0; i < COUNT(files); i++)
		unlink(files[i]);
	failed = child_unmount_all(pod->mount_ns, pod->mount_ns_count);
	detach("proc");
	detach("shm");
	detach("share");
	sync();
	/* After the data is safe. */
	if (rules) {
		portmap_undo(NLMSG_DATA(rules), pod->settings->deadline_ms / 8);
		netlink_open(&netlink);
		journal_replay(
			&netlink, (void *)((uint8_t *)rules + NLMSG_ALIGN(rules->nlmsg_len)));
	}
	if (failed > 0)
		die("%zu of %zu containers could not be unmounted", failed, pod->mount_ns_count);
	report_done(NULL, 0);
}
