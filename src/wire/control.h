/* SPDX-License-Identifier: Apache-2.0 */
/* The control channel: NEXT accounting, one command at a time, exactly one reply to each, events
 * in between. */
#ifndef CONTROL_H
#define CONTROL_H

#include "base/arena.h"
#include "base/error.h"
#include "base/settings.h"
#include "protocol.h"
#include "wire/port.h"

/* One command from the host. */
struct message {
	uint32_t code;
	uint8_t *payload; /* owned by control; NULL when length is 0, or when it is skipped */
	size_t length, filled;
	struct arena arena; /* what is decoded from it; lives until the reply */
};

enum control_state {
	CONTROL_IDLE,     /* waits for a header; message is empty */
	CONTROL_PAYLOAD,  /* message.filled < message.length, or both are 0 */
	CONTROL_RUNNING,  /* on_command was called; a reply is owed */
	CONTROL_REPLYING, /* the reply waits for room */
};

struct control {
	struct port port;
	enum control_state state;
	struct message message;
	uint64_t nexted;  /* bytes of in.total that NEXTs have acknowledged, or a hang-up dropped */
	bool ready_again; /* READY is queued at each hang-up */
	uint64_t ready_mark;  /* READY has left when out.sent gets here */
	uint64_t muted_until; /* commands that start before this byte of in get no reply */
	bool muted;           /* the present one gets none */
	bool is_cancelled;    /* on_cancel was called for the present one */
	/* Headers with a bad length often come one behind the other: a line a second, with their number. */
	struct timer bad_headers_timer;
	unsigned int bad_headers;
	uint32_t reply_code;
	/* Bytes of the reply's payload: all, and those queued. */
	size_t reply_length, reply_put;
	bool reply_begun;     /* its header is queued: nothing else may come in between */
	uint8_t *reply_owned; /* its payload; NULL: it is in reply[] */
	uint8_t reply[ERROR_TEXT_MAX];

	/* The largest payload a command may have. */
	size_t (*payload_max)(uint32_t code);
	/* A whole command: answer now or later with control_ack() or control_error(). */
	void (*on_command)(struct control *control, struct message *message);
	/* A DESTROYPOD comes next: the command that runs must end soon. At most once per command. */
	void (*on_cancel)(struct control *control);
	/* The host disconnected; events that have not left (control_has_sent) must be queued again. */
	void (*on_hangup)(struct control *control);
};

/* The caller has set the callbacks, and all else to 0. Queues READY. 0, or -1 with err. */
int control_open(struct control *control, struct loop *loop, const struct settings *settings,
	struct error *err);

/* Takes commands from the queue, puts NEXTs and the reply, writes. Before every sleep. */
void control_pump(struct control *control);

/* The one reply to the present command; `payload` (malloc, or NULL) is taken over. Asserts that one is
 * owed. The message is freed. */
void control_ack(struct control *control, uint8_t *payload, size_t length);
void control_error(struct control *control, const struct error *err);

/* Queues a PROCESSASYNCEVENT; *mark is for control_has_sent(). False when there is no room now. */
bool control_event(struct control *control, const char *container, const char *process, int status,
	uint64_t *mark);
bool control_has_sent(const struct control *control, uint64_t mark);

#endif
