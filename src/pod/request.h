/* SPDX-License-Identifier: Apache-2.0 */
/* The one command that is owed a reply: how it is answered, what it waits for, how it is cancelled. */
#ifndef REQUEST_H
#define REQUEST_H

#include "pod/spawn.h"
#include "wire/control.h"

struct request {
	struct control *control; /* these two: borrowed */
	struct loop *loop;
	const char *name;          /* the command's; NULL: no reply is owed */
	const char *cancel_reason; /* why it must end early (static text), or NULL */
	struct spawn *child;       /* the child that it waits for, or NULL */
	struct timer timer;        /* limits a wait for anything else … */
	void *waiter;              /* … of this container */
	struct error
		failure; /* why a start failed: sent when nothing is left of what was started */
	/* What follows in place of the reply: STARTPOD's containers are started one by one. NULL: the
	 * reply follows. */
	void (*next)(void *context, const struct error *err);
	void *context;
};

void request_init(struct request *request, struct control *control, struct loop *loop);

/* A reply is owed. `name`: static text. */
void request_begin(struct request *request, const char *name);

/* The only way to answer: with an ACK (err NULL), or an ERROR, with the command's name in front. */
void request_done(struct request *request, const struct error *err);
/* An ACK with that payload (malloc, or NULL), which is taken over. */
void request_done_with(struct request *request, uint8_t *payload, size_t length);

/* It waits for the child, which is killed when the request is cancelled. */
void request_await(struct request *request, struct spawn *child);
/* It waits for something else: on_overdue is called after that time, or when the request is cancelled. */
void request_await_until(struct request *request, uint64_t ms,
	void (*on_overdue)(struct timer *timer), void *waiter);

/* Ends it early, with the reason in its ERROR, unless it cannot be stopped any more. */
void request_cancel(struct request *request, const char *reason);

#endif
