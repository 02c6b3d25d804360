/* SPDX-License-Identifier: Apache-2.0 */
/* A process that kills a container which holds the agent in the kernel, by a lock of a pipe or terminal.
 *
 * The kernel takes a mutex in read, write, FIONREAD and close on a pipe, and in TIOCSWINSZ and close on
 * a terminal; O_NONBLOCK does not help. A container that holds it while a page fault of its own waits
 * (userfaultfd, or many threads in mprotect) holds the agent, too. So the loop marks such a call, and
 * whose pipe it is, in a page that it shares with the watcher. When a mark stands for the limit, with the
 * agent in uninterruptible sleep, the watcher kills that container, and one second later the pod, because
 * another container may hold the pipe.
 *
 * The watcher waits for a timer, which the loop sets with a mark if it is not set: at most twice a
 * second, and never while nothing is marked. A look that comes late starts the count again.
 */
#include "base/watch.h"

#include <errno.h>
#include <linux/limits.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/format.h"
#include "base/log.h"

#define FIRST_MS 500  /* from a mark to the watcher's first look */
#define AGAIN_MS 100  /* from look to look, while it stands */
#define LATE_MS  1000 /* a look later than this: the whole machine stood still */
#define POD_MS   1000 /* from a container's end to the pod's */

static void timer_arm(int timer, long ms)
{
	const struct itimerspec in = {
		.it_value = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000},
	};

	timerfd_settime(timer, 0, &in, NULL);
}

/* In uninterruptible sleep. */
static bool is_held(const char *stat_path)
{
	char text[1024];
	const char *end;

	if (file_read(stat_path, text, sizeof(text)) < 0)
		return false;
	end = strrchr(text, ')');
	return end && end[1] == ' ' && end[2] == 'D';
}

static void kill_group(const struct watch *watch, const char *container, const char *separator)
{
	char path[PATH_MAX];

	format(path, sizeof(path), "%s/pod%s%s/cgroup.kill", watch->cgroup_dir, separator,
		container);
	if (file_write(path, "1") < 0)
		log_error("watch: %s: %s", path, strerror(errno));
}

void watch_main(const void *argument)
{
	const struct watch *watch = argument;
	struct watch_page *page = watch->page;
	uint64_t since = 0, last = 0, killed = 0, ticks, now;
	unsigned seen = 0, sequence;
	char stat_path[32], container[ID_MAX + 1];

	prctl(PR_SET_NAME, "watch");
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	signal(SIGPIPE, SIG_IGN); /* nobody may read the log */
	format(stat_path, sizeof(stat_path), "/proc/%d/stat", (int)getppid());
	for (;;) {
		if (read(watch->timer, &ticks, sizeof(ticks)) < 0 && errno != EINTR)
			_exit(1);
		atomic_store(&page->armed, false);
		sequence = atomic_load(&page->sequence);
		if (!(sequence & 1))
			continue;
		now = clock_now();
		if (sequence != seen || now - last > LATE_MS || !is_held(stat_path)) {
			seen = sequence;
			since = now;
			killed = 0;
		} else if (!killed && now - since >= watch->limit_ms) {
			memcpy(container, page->container, sizeof(container));
			if (atomic_load(&page->sequence) == sequence) {
				log_error("watch: container %s holds the agent in the kernel by a "
					  "lock of a pipe or terminal: killed",
					container);
				kill_group(watch, container, "/c-");
				killed = now;
			}
		} else if (killed && now - killed >= POD_MS) {
			log_error("watch: the agent is still held: the pod is killed");
			kill_group(watch, "", "");
			killed = now;
		}
		last = now;
		atomic_store(&page->armed, true);
		timer_arm(watch->timer, AGAIN_MS);
	}
}

int watch_open(struct watch *watch, const char *cgroup_dir, uint32_t limit_ms, struct error *err)
{
	*watch = (struct watch){.cgroup_dir = cgroup_dir, .limit_ms = limit_ms};
	watch->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
	watch->page = mmap(NULL, sizeof(*watch->page), PROT_READ | PROT_WRITE,
		MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	return watch->timer < 0 || watch->page == MAP_FAILED
		? error_errno(err, "open its timer and page")
		: 0;
}

void watch_enter(struct watch *watch, const char *container)
{
	struct watch_page *page;

	if (!watch || !container)
		return;
	page = watch->page;
	memcpy(page->container, container, strlen(container) + 1);
	atomic_fetch_add(&page->sequence, 1);
	if (!atomic_load(&page->armed)) {
		atomic_store(&page->armed, true);
		timer_arm(watch->timer, FIRST_MS);
	}
}

void watch_leave(struct watch *watch)
{
	if (watch && atomic_load_explicit(&watch->page->sequence, memory_order_relaxed) & 1)
		atomic_fetch_add(&watch->page->sequence, 1);
}

void watch_close(struct watch *watch, const char *container, int *fd)
{
	watch_enter(watch, container);
	fd_close(fd);
	watch_leave(watch);
}
