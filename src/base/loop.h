/* SPDX-License-Identifier: Apache-2.0 */
/* The one place where the agent sleeps: epoll sources, gates of sources, timers. */
#ifndef LOOP_H
#define LOOP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/list.h"

/* The events of one epoll_wait, while they are dispatched. */
struct batch {
	struct epoll_event *events; /* data.ptr is the source, NULL once that is removed */
	int count;
};

/* An fd with an interest. Embedded in whatever owns the fd; the loop never closes it. */
struct source {
	struct list node;
	int fd;
	uint32_t armed; /* the events that epoll has it with; 0: epoll does not know the fd */
	/* The events wanted now, computed from the owner's state; asked before every sleep. NULL: always
	 * EPOLLIN. */
	uint32_t (*wants)(struct source *source);
	/* May add and remove any source, this one included. */
	void (*ready)(struct source *source, uint32_t events);
};

/* Runs once, then is idle until set again. */
struct timer {
	struct list node; /* soonest first; points at itself while idle */
	uint64_t at;      /* ms, clock_now() */
	void (*fire)(struct timer *timer);
};

struct loop {
	int epoll; /* owned */
	struct list sources, timers;
	struct batch batch;
	bool stopped;
};

/* Many sources that all want EPOLLIN from gate_listen() on, and are let through or held back
 * together: an epoll of their own inside the loop's. Closing the gate costs one epoll_ctl, however
 * many there are, and an idle member costs nothing per turn. Members are served in turn: epoll puts
 * each one that it reports at the end of its line. */
struct gate {
	struct source source; /* fd is the inner epoll, owned */
	struct batch batch;   /* its count: how many are served in this pass */
	/* How many members may be served now; 0: closed. */
	size_t (*admits)(struct gate *gate);
};

/* 0, or -1 with err. */
int loop_open(struct loop *loop, struct error *err);

/* Until loop_stop(): calls pump(context), sleeps, dispatches. */
void loop_run(struct loop *loop, void (*pump)(void *context), void *context);
void loop_stop(struct loop *loop);

/* For a source_init()ed source. epoll learns of it before the next sleep. */
void loop_add(struct loop *loop, struct source *source);
/* Must precede the close of the fd: while a forked child shares it, close alone does not take it out of
 * epoll. Harmless on a source_init()ed source that is not in the loop. */
void loop_remove(struct loop *loop, struct source *source);
void source_init(struct source *source, int fd, uint32_t (*wants)(struct source *),
	void (*ready)(struct source *, uint32_t));

void timer_init(struct timer *timer, void (*fire)(struct timer *));
/* Fires `in_ms` from now, and no longer at the time set before. */
void timer_set(struct loop *loop, struct timer *timer, uint64_t in_ms);
/* Harmless on one that is idle. */
void timer_cancel(struct timer *timer);

/* `admits` is asked before every sleep, and again when members are ready. 0, or -1 with err. */
int gate_open(
	struct gate *gate, struct loop *loop, size_t (*admits)(struct gate *), struct error *err);
/* For a source_init()ed source, whose wants is not asked. Until gate_listen() nothing but a hang-up
 * wakes the loop for it. 0, or -1 with err. */
int gate_add(struct gate *gate, struct source *source, struct error *err);
void gate_listen(struct gate *gate, struct source *source);
void gate_remove(struct gate *gate, struct source *source);

#endif
