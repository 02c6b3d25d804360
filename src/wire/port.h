/* SPDX-License-Identifier: Apache-2.0 */
/* One channel to the host: an fd, a queue each way, hang-up and return. */
#ifndef PORT_H
#define PORT_H

#include "base/loop.h"
#include "base/queue.h"
#include "base/settings.h"

struct port;

/* What control and tty differ in. */
struct port_kind {
	const char *name; /* the log's subject */
	size_t in_bytes, out_bytes;
	size_t header; /* bytes of a frame's header; its last u32 is the frame's length */
	/* What leaves `out` is whole frames, and the head frame stays until all of it is out. */
	bool keeps_frames;
	/* The host went. `in` holds what it sent. */
	void (*on_hangup)(struct port *port);
};

struct port {
	const struct port_kind *kind; /* borrowed */
	struct loop *loop;            /* borrowed */
	struct source source;         /* the device, or the connection; fd owned, -1 without one */
	struct source listener;       /* the listening socket, or fd -1; owned */
	struct timer retry;           /* looks whether a device's host is back */
	struct queue in, out;
	uint32_t peer_cid; /* of a vsock: the only one whose connections are accepted; 0: all */
	bool connected;    /* a host is there */
	size_t started;    /* bytes of the head frame that a socket took already */
};

/* `fd`, of settings, is taken over. 0, or -1 with err. No callback is made before loop_run(). */
int port_open(struct port *port, struct loop *loop, const struct port_kind *kind, int fd,
	const struct settings *settings, struct error *err);

/* Writes what the host takes now; the rest waits for EPOLLOUT. */
void port_pump(struct port *port);

/* Length of the frame whose header is at `bytes`: a length shorter than the header, or above
 * FRAME_BELIEVED_MAX, counts as the header alone. */
size_t port_frame_length(const struct port *port, const uint8_t *bytes);

/* For on_hangup: drops the unfinished frame at the end of `in`, the first `skip` bytes of which
 * belong to a frame begun earlier. Returns false, with `in` empty, when even that frame is unfinished. */
bool port_forget_partial(struct port *port, size_t skip);

#endif
