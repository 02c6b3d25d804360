/* SPDX-License-Identifier: Apache-2.0 */
/* The control channel.
 *
 * Theory of operation. Bytes are acknowledged by a NEXT as soon as the port has read them: the
 * difference of in.total and `nexted` is what the next NEXT says, so the sum is exact however the reads
 * were split. Commands are taken from the queue one at a time; while one runs nothing is taken, the queue
 * fills, the port stops reading and the host waits. From on_command until control_ack() or
 * control_error(), which assert it, a reply is owed; the next command starts after the reply is queued.
 *
 *     IDLE ──header──▶ PAYLOAD ──all of it──▶ RUNNING ──ack, error──▶ REPLYING ──room──▶ IDLE
 *
 * A payload that is too long, or for which there is no memory, is skipped and answered with an ERROR.
 *
 * At a hang-up (hyperstart(8), WHAT SURVIVES WHAT) every byte of the old host is marked: commands that were complete
 * still run, but get no reply; NEXTs and replies that have not left are dropped; READY and events are
 * queued again unless control_has_sent() them.
 */
#include "wire/control.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/format.h"
#include "base/invariant.h"
#include "base/log.h"

/* An id in a JSON string: each byte may need a backslash. */
#define ESCAPED_ID_MAX (2 * ID_MAX + 1)

static bool put_header(struct queue *out, uint32_t code, size_t length)
{
	uint8_t header[CONTROL_HEADER];

	store_be32(header, code);
	store_be32(header + 4, (uint32_t)(CONTROL_HEADER + length));
	return queue_put(out, header, sizeof(header));
}

/* Queues a whole frame; false when there is no room, or a reply is half queued. */
static bool put_frame(struct control *control, uint32_t code, const void *payload, size_t length)
{
	struct queue *out = &control->port.out;

	if (control->reply_begun || queue_room(out) < CONTROL_HEADER + length)
		return false;
	put_header(out, code, length);
	queue_put(out, payload, length);
	return true;
}

static void put_ready(struct control *control)
{
	put_frame(control, READY, "", 0);
	control->ready_mark = control->port.out.total;
}

bool control_has_sent(const struct control *control, uint64_t mark)
{
	return control->port.out.sent >= mark;
}

static void message_free(struct message *message)
{
	free(message->payload);
	arena_free(&message->arena);
	*message = (struct message){0};
}

static void reply_end(struct control *control)
{
	free(control->reply_owned);
	control->reply_owned = NULL;
	control->reply_begun = false;
	control->state = CONTROL_IDLE;
}

static void reply_set(struct control *control, uint32_t code, uint8_t *owned, size_t length)
{
	assert(control->state == CONTROL_RUNNING);
	message_free(&control->message);
	control->reply_code = code;
	control->reply_owned = owned;
	control->reply_length = length;
	control->reply_put = 0;
	control->state = CONTROL_REPLYING;
	if (control->muted)
		reply_end(control);
}

/* Queues as much of the reply as there is room for; false when nothing could be queued. */
static bool reply_put(struct control *control)
{
	const uint8_t *payload = control->reply_owned ? control->reply_owned : control->reply;
	struct queue *out = &control->port.out;
	size_t left = control->reply_length - control->reply_put, n;

	if (!control->reply_begun) {
		if (!put_header(out, control->reply_code, control->reply_length))
			return false;
		control->reply_begun = true;
	}
	n = queue_room(out) < left ? queue_room(out) : left;
	queue_put(out, payload + control->reply_put, n);
	control->reply_put += n;
	if (n == left)
		reply_end(control);
	return n > 0 || left == 0;
}

void control_ack(struct control *control, uint8_t *payload, size_t length)
{
	log_debug("control: command %u: ack", control->message.code);
	reply_set(control, ACK, payload, length);
}

static void reply_set_error(struct control *control, const struct error *err)
{
	size_t length = strlen(err->text);

	memcpy(control->reply, err->text, length);
	reply_set(control, ERROR, NULL, length);
}

void control_error(struct control *control, const struct error *err)
{
	log_info("control: command %u: error: %s", control->message.code, err->text);
	reply_set_error(control, err);
}

static void log_bad_headers(struct timer *timer)
{
	struct control *control = list_entry(timer, struct control, bad_headers_timer);

	log_info("control: headers with a bad length: %u", control->bad_headers);
	control->bad_headers = 0;
}

/* The header at the head of the queue, whole. */
static void take_header(struct control *control)
{
	struct message *message = &control->message;
	struct queue *in = &control->port.in;
	const uint8_t *header = queue_peek(in);
	uint32_t announced = load_be32(header + 4);
	struct error err;

	message->code = load_be32(header);
	message->length = port_frame_length(&control->port, header) - CONTROL_HEADER;
	control->muted = in->sent < control->muted_until;
	control->is_cancelled = false;
	queue_consume(in, CONTROL_HEADER);
	arena_init(&message->arena, MESSAGE_ARENA_MAX);
	if (announced != message->length + CONTROL_HEADER) {
		error_set(&err, EPROTO, "command %u: bad length %u", message->code, announced);
		if (control->bad_headers++ == 0)
			timer_set(control->port.loop, &control->bad_headers_timer, 1000);
		control->state = CONTROL_RUNNING;
		reply_set_error(control, &err);
		return;
	}
	control->state = CONTROL_PAYLOAD;
	if (message->length && message->length <= control->payload_max(message->code))
		message->payload = malloc(message->length);
}

/* Some of the payload; with the last byte the command runs. */
static void take_payload(struct control *control)
{
	struct message *message = &control->message;
	struct queue *in = &control->port.in;
	size_t n = message->length - message->filled;
	struct error err;

	if (n > queue_length(in))
		n = queue_length(in);
	if (message->payload)
		memmove(message->payload + message->filled, queue_peek(in), n); /* as queue_put() */
	message->filled += n;
	queue_consume(in, n);
	if (message->filled < message->length)
		return;
	control->state = CONTROL_RUNNING;
	if (message->payload || !message->length) {
		control->on_command(control, message);
		return;
	}
	if (message->length > control->payload_max(message->code))
		error_set(&err, EMSGSIZE, "command %u: %zu bytes of payload are more than %zu",
			message->code, message->length, control->payload_max(message->code));
	else
		error_set(&err, ENOMEM, "command %u: out of memory", message->code);
	control_error(control, &err);
}

/* One step; false when nothing can move. */
static bool control_step(struct control *control)
{
	const struct queue *in = &control->port.in;

	switch (control->state) {
	case CONTROL_IDLE:
		if (queue_length(in) < CONTROL_HEADER)
			return false;
		take_header(control);
		return true;
	case CONTROL_PAYLOAD:
		if (queue_is_empty(in) && control->message.length)
			return false;
		take_payload(control);
		return true;
	case CONTROL_RUNNING:
		if (!control->is_cancelled && queue_length(in) >= CONTROL_HEADER &&
			load_be32(queue_peek(in)) == DESTROYPOD) {
			control->is_cancelled = true;
			control->on_cancel(control);
			return true;
		}
		return false;
	case CONTROL_REPLYING:
		return reply_put(control);
	}
	return false;
}

void control_pump(struct control *control)
{
	uint8_t payload[4];
	uint64_t owed;

	do {
		owed = control->port.in.total - control->nexted;
		store_be32(payload, (uint32_t)owed);
		if (owed && put_frame(control, NEXT, payload, sizeof(payload)))
			control->nexted += owed;
	} while (control_step(control));
	port_pump(&control->port);
}

/* For a JSON string. Ids are at most ID_MAX bytes, none a control character (spec.c). */
static const char *escape_id(const char *id, char escaped[ESCAPED_ID_MAX])
{
	char *to = escaped;

	for (; *id; *to++ = *id++)
		if (*id == '"' || *id == '\\')
			*to++ = '\\';
	*to = '\0';
	return escaped;
}

bool control_event(struct control *control, const char *container, const char *process, int status,
	uint64_t *mark)
{
	char ids[2][ESCAPED_ID_MAX], text[2 * ESCAPED_ID_MAX + 128];
	/* runv matches keys by name, but recorded sessions have this order. */
	int length = format(text, sizeof(text),
		"{\"container\":\"%s\",\"process\":\"%s\",\"event\":\"finished\",\"status\":%d}",
		escape_id(container, ids[0]), escape_id(process, ids[1]), status);

	if (!put_frame(control, PROCESSASYNCEVENT, text, (size_t)length))
		return false;
	*mark = control->port.out.total;
	return true;
}

static void control_hung_up(struct port *port)
{
	struct control *control = list_entry(port, struct control, port);
	size_t rest = 0; /* of a payload that is being taken */

	if (control->state == CONTROL_PAYLOAD)
		rest = control->message.length - control->message.filled;
	if (!port_forget_partial(port, rest)) {
		message_free(&control->message);
		control->state = CONTROL_IDLE;
	}
	if (control->state == CONTROL_REPLYING)
		reply_end(control);
	control->muted = control->state != CONTROL_IDLE;
	control->muted_until = control->nexted = port->in.total;
	queue_unput(&port->out, queue_length(&port->out));
	if (control->ready_again || !control_has_sent(control, control->ready_mark))
		put_ready(control);
	control->on_hangup(control);
}

static const struct port_kind port_kind = {
	.name = "control",
	.in_bytes = CONTROL_IN_BYTES,
	.out_bytes = CONTROL_OUT_BYTES,
	.header = CONTROL_HEADER,
	.on_hangup = control_hung_up,
};

int control_open(struct control *control, struct loop *loop, const struct settings *settings,
	struct error *err)
{
	control->ready_again = settings->ready_again;
	timer_init(&control->bad_headers_timer, log_bad_headers);
	if (port_open(&control->port, loop, &port_kind, settings->control_fd, settings, err) < 0)
		return -1;
	put_ready(control);
	return 0;
}
