/* SPDX-License-Identifier: Apache-2.0 */
/* A hostile host on the control channel, against the simplest idea of what must come of it: each
 * whole command gets one reply, in order; the NEXTs add up to what was sent; a host that comes back
 * finds a fresh stream; and whatever was sent, a PING is answered afterwards.
 *
 * The input is a script: an op, then the bytes that it sends. */
#include <assert.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "limits.h"
#include "wire/control.h"

/* What host.h and turns.h check is an assertion here. */
#define assert_true(condition) assert(condition)
#define assert_int_equal(a, b) assert((a) == (b))
#include "../unit/host.h"
#include "../unit/turns.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CODE_MAX      32u /* commands above it may be larger */
#define PAYLOAD_SMALL 100u
#define PAYLOAD_LARGE 100000u
#define COMMANDS_MAX  65536u
#define LONG_REPLY    0x40u /* in a code */
#define REPLY_LONG    40000u

static struct control control;
static struct host host;
static bool answers_at_once, is_owed;
static uint32_t owed_code;

/* The idea: where the host is in its stream, and the replies it awaits. */
static struct {
	uint8_t header[CONTROL_HEADER];
	size_t header_filled, payload_left;
	uint32_t awaited[COMMANDS_MAX]; /* codes; the top bit: an ERROR */
	size_t asked, answered;
	uint64_t sent, nexted;
	size_t heard; /* of host.received */
} idea;

#define IS_ERROR 0x80000000u

static size_t payload_max(uint32_t code)
{
	return code > CODE_MAX ? PAYLOAD_LARGE : PAYLOAD_SMALL;
}

static void answer(void)
{
	size_t length = owed_code & LONG_REPLY ? REPLY_LONG : 4;
	uint8_t *payload;

	if (!is_owed)
		return;
	is_owed = false;
	payload = calloc(1, length);
	store_be32(payload, owed_code);
	control_ack(&control, payload, length);
}

static void run(struct control *c, struct message *message)
{
	size_t sum = 0;

	assert(c == &control && !is_owed);
	assert(message->length <= payload_max(message->code));
	for (size_t i = 0; i < message->length; i++)
		sum += message->payload[i];
	assert(sum <= message->length * 255);
	is_owed = true;
	owed_code = message->code;
	if (answers_at_once)
		answer();
}

static void ignore(struct control *c)
{
	assert(c == &control);
}

/* As the daemon does: until nothing moves any more. */
static void pump(void)
{
	const struct port *port = &control.port;
	uint64_t before;

	do {
		before = port->in.sent + port->out.total + port->out.sent;
		control_pump(&control);
	} while (port->in.sent + port->out.total + port->out.sent != before);
}

/* --- The idea --------------------------------------------------------------------------------- */

static void idea_await(uint32_t code, bool is_error)
{
	assert(idea.asked < COMMANDS_MAX);
	idea.awaited[idea.asked++] = (code & ~IS_ERROR) | (is_error ? IS_ERROR : 0);
}

static void idea_sent(const uint8_t *bytes, size_t length)
{
	idea.sent += length;
	while (length > 0) {
		if (idea.header_filled < CONTROL_HEADER) {
			uint32_t code, announced;

			idea.header[idea.header_filled++] = *bytes++;
			length--;
			if (idea.header_filled < CONTROL_HEADER)
				continue;
			code = load_be32(idea.header);
			announced = load_be32(idea.header + 4);
			if (announced < CONTROL_HEADER || announced > FRAME_BELIEVED_MAX) {
				idea_await(code, true);
				idea.header_filled = 0;
			} else {
				idea.payload_left = announced - CONTROL_HEADER;
			}
		} else {
			size_t n = length < idea.payload_left ? length : idea.payload_left;

			bytes += n;
			length -= n;
			idea.payload_left -= n;
		}
		if (idea.header_filled == CONTROL_HEADER && idea.payload_left == 0) {
			uint32_t code = load_be32(idea.header);

			idea_await(code,
				load_be32(idea.header + 4) - CONTROL_HEADER > payload_max(code));
			idea.header_filled = 0;
		}
	}
}

static void idea_heard(void)
{
	while (host.length - idea.heard >= CONTROL_HEADER) {
		const uint8_t *frame = host.received + idea.heard;
		uint32_t code = load_be32(frame), length = load_be32(frame + 4), awaited;

		assert(length >= CONTROL_HEADER && length <= CONTROL_HEADER + REPLY_LONG);
		if (host.length - idea.heard < length)
			return;
		idea.heard += length;
		if (code == NEXT) {
			assert(length == CONTROL_HEADER + 4);
			idea.nexted += load_be32(frame + CONTROL_HEADER);
			assert(idea.nexted <= idea.sent);
			continue;
		}
		if (code == READY) {
			assert(idea.heard == CONTROL_HEADER); /* the very first */
			continue;
		}
		assert(idea.answered < idea.asked);
		awaited = idea.awaited[idea.answered++];
		assert(code == (awaited & IS_ERROR ? ERROR : ACK));
		if (code == ACK)
			assert((load_be32(frame + CONTROL_HEADER) & ~IS_ERROR) == awaited);
		else
			assert(length > CONTROL_HEADER);
	}
}

/* --- The host --------------------------------------------------------------------------------- */

static void begin(void)
{
	host_connect(&host);
	idea.header_filled = idea.payload_left = 0;
	idea.asked = idea.answered = 0;
	idea.sent = idea.nexted = 0;
	idea.heard = 0;
}

static void send_bytes(const uint8_t *bytes, size_t length)
{
	idea_sent(bytes, host_send(&host, bytes, length));
}

static void listen_to_agent(void)
{
	do
		turn_until_quiet();
	while (host_receive(&host, SIZE_MAX) > 0);
	idea_heard();
}

/* Everything that was asked is answered, everything sent is told. */
static void settle(void)
{
	bool as_it_was = answers_at_once;

	answers_at_once = true;
	answer();
	listen_to_agent();
	answers_at_once = as_it_was;
	assert(idea.answered == idea.asked);
	assert(idea.nexted == idea.sent);
	assert(host.length == idea.heard);
}

static void come_back(void)
{
	/* READY is not sent again only once it has left. */
	listen_to_agent();
	host_disconnect(&host);
	turn_until_quiet();
	begin();
}

static void ping(void)
{
	static const uint8_t zeros[PAYLOAD_LARGE];
	uint8_t frame[CONTROL_HEADER];
	size_t before;

	settle();
	/* What was begun is ended with zeros; if that is much, by another host. */
	while (idea.header_filled || idea.payload_left) {
		if (idea.header_filled < CONTROL_HEADER)
			send_bytes(zeros, CONTROL_HEADER - idea.header_filled);
		else if (idea.payload_left <= sizeof(zeros))
			send_bytes(zeros, idea.payload_left);
		else
			come_back();
		settle();
	}
	before = idea.answered;
	store_be32(frame, PING);
	store_be32(frame + 4, CONTROL_HEADER);
	send_bytes(frame, sizeof(frame));
	settle();
	assert(idea.answered == before + 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct settings settings = {.listening = true};
	struct error err;

	if (size > 20000)
		return 0;
	signal(SIGPIPE, SIG_IGN);
	turns_open(pump);
	settings.control_fd = host_listen(&host);
	control = (struct control){
		.payload_max = payload_max,
		.on_command = run,
		.on_cancel = ignore,
		.on_hangup = ignore,
	};
	assert(control_open(&control, &loop, &settings, &err) == 0);
	is_owed = false;
	begin();
	while (size > 0) {
		uint8_t op = *data++;
		size_t length = op & 0x1f;

		size--;
		if (length == 0x1f)
			length = 1000;
		if (length > size)
			length = size;
		answers_at_once = op & 0x20;
		send_bytes(data, length);
		data += length;
		size -= length;
		turn();
		if (op & 0x40)
			settle();
		if ((op & 0xa0) == 0x80)
			come_back();
	}
	ping();
	free(control.message.payload);
	arena_free(&control.message.arena);
	free(control.reply_owned);
	timer_cancel(&control.bad_headers_timer);
	port_close(&control.port);
	turns_close();
	host_close(&host);
	return 0;
}
