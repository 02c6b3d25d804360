/* SPDX-License-Identifier: Apache-2.0 */
/* The one place where the agent sleeps.
 *
 * Theory of operation. A turn is: pump, arm, sleep, dispatch. pump() moves whatever can move
 * between queues and settles what has changed. Then the loop asks every source what it wants
 * and gives epoll the difference; nobody else calls epoll_ctl for them, so an interest can never be
 * forgotten. A source that wants nothing leaves epoll altogether: a mask of 0 still delivers
 * EPOLLHUP for ever. Everything is level-triggered, so a handler may stop wherever it likes.
 *
 * A handler may remove any source, even one whose event comes later in the same batch: removal
 * blanks that event. The few sources of the loop itself are asked each turn; the thousands of process
 * outputs sit behind a gate, which is a single source here.
 *
 * Only EPOLL_CTL_ADD can fail, without memory or at max_user_watches; MOD and DEL allocate nothing.
 */
#include "base/loop.h"

#include <errno.h>
#include <limits.h>
#include <sys/epoll.h>

#include "base/clock.h"
#include "base/log.h"

#define BATCH_MAX 16
#define RETRY_MS  100 /* until a source that could not be added is tried again */

void source_init(struct source *source, int fd, uint32_t (*wants)(struct source *),
	void (*ready)(struct source *, uint32_t))
{
	*source = (struct source){.fd = fd, .wants = wants, .ready = ready};
	list_init(&source->node);
}

static void batch_forget(struct batch *batch, const struct source *source)
{
	for (int i = 0; i < batch->count; i++)
		if (batch->events[i].data.ptr == source)
			batch->events[i].data.ptr = NULL;
}

/* One epoll_wait and its dispatch. */
static void batch_serve(struct batch *batch, int epoll, int max, int timeout_ms)
{
	struct epoll_event events[BATCH_MAX];
	int n = epoll_wait(epoll, events, max < BATCH_MAX ? max : BATCH_MAX, timeout_ms);

	*batch = (struct batch){.events = events, .count = n};
	for (int i = 0; i < n; i++) {
		struct source *source = events[i].data.ptr;

		if (source)
			source->ready(source, events[i].events);
	}
	*batch = (struct batch){0};
}

int loop_open(struct loop *loop, struct error *err)
{
	*loop = (struct loop){.epoll = epoll_create1(EPOLL_CLOEXEC)};
	list_init(&loop->sources);
	list_init(&loop->timers);
	if (loop->epoll < 0)
		return error_errno(err, "epoll");
	return 0;
}

void loop_stop(struct loop *loop)
{
	loop->stopped = true;
}

/* False when the kernel refuses: `armed` still differs, so it is tried again before the next sleep. */
static bool source_arm(struct loop *loop, struct source *source, uint32_t wanted)
{
	struct epoll_event event = {.events = wanted, .data.ptr = source};
	int op = !wanted ? EPOLL_CTL_DEL : source->armed ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;

	if (epoll_ctl(loop->epoll, op, source->fd, &event) < 0) {
		log_error("loop: epoll_ctl %d on fd %d: errno %d", op, source->fd, errno);
		return false;
	}
	source->armed = wanted;
	return true;
}

void loop_add(struct loop *loop, struct source *source)
{
	source->armed = 0;
	list_push_back(&loop->sources, &source->node);
}

void loop_remove(struct loop *loop, struct source *source)
{
	if (source->armed)
		source_arm(loop, source, 0);
	batch_forget(&loop->batch, source);
	list_remove(&source->node);
}

void timer_init(struct timer *timer, void (*fire)(struct timer *))
{
	timer->fire = fire;
	list_init(&timer->node);
}

void timer_set(struct loop *loop, struct timer *timer, uint64_t in_ms)
{
	struct list *later;

	list_remove(&timer->node);
	timer->at = clock_now() + in_ms;
	for (later = loop->timers.next; later != &loop->timers; later = later->next)
		if (list_entry(later, struct timer, node)->at > timer->at)
			break;
	list_insert_between(&timer->node, later->prev, later);
}

void timer_cancel(struct timer *timer)
{
	list_remove(&timer->node);
}

/* Milliseconds until the next timer or the next try; -1: for ever, which costs the kernel no timer. */
static int sleep_limit(const struct loop *loop, bool retry)
{
	uint64_t most = retry ? RETRY_MS : INT_MAX, now, at;

	if (list_is_empty(&loop->timers))
		return retry ? RETRY_MS : -1;
	now = clock_now();
	at = list_entry(loop->timers.next, struct timer, node)->at;
	if (at <= now)
		return 0;
	return (int)(at - now < most ? at - now : most);
}

void loop_run(struct loop *loop, void (*pump)(void *context), void *context)
{
	for (;;) {
		bool retry = false;
		uint64_t now;

		pump(context);
		if (loop->stopped)
			return;
		list_for_each (it, after, &loop->sources) {
			struct source *source = list_entry(it, struct source, node);
			uint32_t wanted = source->wants ? source->wants(source) : EPOLLIN;

			if (wanted != source->armed && !source_arm(loop, source, wanted))
				retry = true;
		}
		batch_serve(&loop->batch, loop->epoll, BATCH_MAX, sleep_limit(loop, retry));
		now = list_is_empty(&loop->timers) ? 0 : clock_now();
		while (!list_is_empty(&loop->timers)) {
			struct timer *timer = list_entry(loop->timers.next, struct timer, node);

			if (timer->at > now)
				break;
			list_remove(&timer->node);
			timer->fire(timer);
		}
	}
}

static uint32_t gate_wants(struct source *source)
{
	struct gate *gate = list_entry(source, struct gate, source);

	return gate->admits(gate) ? EPOLLIN : 0;
}

static void gate_ready(struct source *source, uint32_t events)
{
	struct gate *gate = list_entry(source, struct gate, source);
	size_t admitted = gate->admits(gate);

	(void)events;
	/* Never fetch more than can be served: epoll moves what it reports to the end of its
	 * line, and a member reported but not served would lose its turn. */
	if (admitted)
		batch_serve(&gate->batch, source->fd,
			admitted < BATCH_MAX ? (int)admitted : BATCH_MAX, 0);
}

int gate_open(
	struct gate *gate, struct loop *loop, size_t (*admits)(struct gate *), struct error *err)
{
	int epoll = epoll_create1(EPOLL_CLOEXEC);

	*gate = (struct gate){.admits = admits};
	source_init(&gate->source, epoll, gate_wants, gate_ready);
	if (epoll < 0)
		return error_errno(err, "epoll");
	loop_add(loop, &gate->source);
	return 0;
}

int gate_add(struct gate *gate, struct source *source, struct error *err)
{
	struct epoll_event event = {.events = EPOLLHUP, .data.ptr = source};

	if (epoll_ctl(gate->source.fd, EPOLL_CTL_ADD, source->fd, &event) < 0)
		return error_errno(err, "epoll");
	source->armed = EPOLLHUP;
	return 0;
}

void gate_listen(struct gate *gate, struct source *source)
{
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = source};

	epoll_ctl(gate->source.fd, EPOLL_CTL_MOD, source->fd, &event);
}

void gate_remove(struct gate *gate, struct source *source)
{
	if (!source->armed)
		return;
	epoll_ctl(gate->source.fd, EPOLL_CTL_DEL, source->fd, NULL);
	source->armed = 0;
	batch_forget(&gate->batch, source);
}
