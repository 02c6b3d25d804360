/* SPDX-License-Identifier: Apache-2.0 */
/* The one command that is owed a reply: how it is answered, what it waits for, how it is cancelled.
 *
 * The function that finishes the work calls request_done(), wherever it is. Commands are served one at a
 * time, so there is one request.
 */
#include "pod/request.h"

#include "base/invariant.h"

void request_init(struct request *request, struct control *control, struct loop *loop)
{
	*request = (struct request){.control = control, .loop = loop};
	timer_init(&request->timer, NULL);
}

void request_begin(struct request *request, const char *name)
{
	assert(!request->name);
	request->name = name;
	request->cancel_reason = NULL;
}

static void request_wait_over(struct request *request)
{
	assert(request->name);
	request->child = NULL;
	timer_cancel(&request->timer);
}

void request_done_with(struct request *request, uint8_t *payload, size_t length)
{
	request_wait_over(request);
	request->name = NULL;
	control_ack(request->control, payload, length);
}

void request_done(struct request *request, const struct error *err)
{
	struct error named;

	request_wait_over(request);
	if (request->next) {
		request->next(request->context, err);
		return;
	}
	if (!err) {
		request_done_with(request, NULL, 0);
		return;
	}
	named = *err;
	error_wrap(&named, "%s", request->name);
	request->name = NULL;
	control_error(request->control, &named);
}

void request_await(struct request *request, struct spawn *child)
{
	request->child = child;
	timer_cancel(&request->timer);
}

void request_await_until(
	struct request *request, uint64_t ms, void (*on_overdue)(struct timer *timer), void *waiter)
{
	request->waiter = waiter;
	request->child = NULL;
	request->timer.fire = on_overdue;
	timer_set(request->loop, &request->timer, request->cancel_reason ? 0 : ms);
}

void request_cancel(struct request *request, const char *reason)
{
	request->cancel_reason = reason;
	if (request->child)
		spawn_cancel(request->child, reason);
	else if (!list_is_empty(&request->timer.node))
		timer_set(request->loop, &request->timer, 0);
}
