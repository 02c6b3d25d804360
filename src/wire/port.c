/* SPDX-License-Identifier: Apache-2.0 */
/* One channel to the host: an fd, a queue each way, hang-up and return. */
#include "wire/port.h"

#include <errno.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/vm_sockets.h>

#include "base/bytes.h"
#include "base/file.h"
#include "base/log.h"
#include "limits.h"

/* A virtio port without a host reports POLLHUP all the time: it is not in epoll, but polled this often. */
#define RETRY_MS 50

/* What the device may still hold of a host that has disconnected: 128 buffers of a page. */
#define DEVICE_HOLDS_MAX (128 * 4 * KIB)

size_t port_frame_length(const struct port *port, const uint8_t *bytes)
{
	uint32_t length = load_be32(bytes + port->kind->header - 4);

	return length < port->kind->header || length > FRAME_BELIEVED_MAX ? port->kind->header
									  : length;
}

/* Where the last whole frame ends, of the bytes `at` to `end` of the queue. */
static size_t whole_frames(const struct port *port, const struct queue *q, size_t at, size_t end)
{
	while (end - at >= port->kind->header) {
		size_t frame = port_frame_length(port, queue_peek(q) + at);

		if (frame > end - at)
			break;
		at += frame;
	}
	return at;
}

bool port_forget_partial(struct port *port, size_t skip)
{
	size_t length = queue_length(&port->in);

	if (skip > length) {
		queue_consume(&port->in, length);
		return false;
	}
	queue_unput(&port->in, length - whole_frames(port, &port->in, skip, length));
	return true;
}

static void port_connected(struct port *port)
{
	port->connected = true;
	log_info("port %s: host connected", port->kind->name);
}

/* Reads all that is there and fits. Returns what the last read returned. */
static ssize_t port_fill(struct port *port)
{
	ssize_t n = IO_AGAIN;

	while (queue_room(&port->in) && (n = queue_fill(&port->in, port->source.fd)) > 0)
		;
	return n;
}

static void port_hang_up(struct port *port)
{
	uint8_t scrap[512];
	size_t unread = 0;
	ssize_t n;

	/* A write may have failed before the last bytes of the host were read. */
	port_fill(port);
	port->connected = false;
	port->started = 0;
	if (port->listener.fd >= 0) {
		loop_remove(port->loop, &port->source);
		fd_close(&port->source.fd);
	} else {
		/* What does not fit in `in` is the old host's, too: dropped, or the next host's first frame
		 * would follow it. No more than this, for that host may already be writing. */
		while (!queue_room(&port->in) && unread < DEVICE_HOLDS_MAX &&
			(n = io_read(port->source.fd, scrap, sizeof(scrap))) > 0)
			unread += (size_t)n;
		if (unread)
			log_warn("port %s: %zu bytes of the host that went are lost",
				port->kind->name, unread);
		timer_set(port->loop, &port->retry, RETRY_MS);
	}
	log_info("port %s: host gone", port->kind->name);
	port->kind->on_hangup(port);
}

static void port_look(struct timer *timer)
{
	struct port *port = list_entry(timer, struct port, retry);
	struct pollfd poll_fd = {.fd = port->source.fd};

	if (poll(&poll_fd, 1, 0) == 0)
		port_connected(port);
	else
		timer_set(port->loop, &port->retry, RETRY_MS);
}

void port_pump(struct port *port)
{
	struct queue *out = &port->out;
	size_t length = queue_length(out), whole;
	ssize_t n;

	if (!port->connected || queue_is_empty(out))
		return;
	if (!port->kind->keeps_frames) {
		n = queue_drain(out, port->source.fd, PORT_WRITE_MAX);
	} else {
		whole = whole_frames(
			port, out, 0, length < PORT_WRITE_MAX ? length : PORT_WRITE_MAX);
		n = io_write(
			port->source.fd, queue_peek(out) + port->started, whole - port->started);
		port->started += n > 0 ? (size_t)n : 0;
		whole = whole_frames(port, out, 0, port->started);
		port->started -= whole;
		queue_consume(out, whole);
	}
	if (n == IO_ERROR)
		port_hang_up(port);
}

static uint32_t port_wants(struct source *source)
{
	struct port *port = list_entry(source, struct port, source);

	if (!port->connected)
		return 0;
	/* EPOLLERR, which epoll always reports, keeps a port in epoll that is neither read nor
	 * written: its hang-up must be seen. */
	return EPOLLERR | (queue_room(&port->in) ? EPOLLIN : 0) |
		(queue_is_empty(&port->out) ? 0 : EPOLLOUT);
}

/* IN before HUP: a port that hung up may still hold what the host wrote last. */
static void port_ready(struct source *source, uint32_t events)
{
	struct port *port = list_entry(source, struct port, source);
	ssize_t n = IO_AGAIN;

	if (events & ~(uint32_t)EPOLLOUT)
		n = port_fill(port);
	if (n == IO_EOF || n == IO_ERROR || events & (EPOLLHUP | EPOLLERR))
		port_hang_up(port);
}

static void listener_ready(struct source *source, uint32_t events)
{
	struct port *port = list_entry(source, struct port, listener);
	struct pollfd connection = {.fd = port->source.fd, .events = POLLRDHUP};
	struct sockaddr_vm peer = {0};
	socklen_t size = sizeof(peer);
	int fd = accept4(source->fd, (struct sockaddr *)&peer, &size, SOCK_NONBLOCK | SOCK_CLOEXEC);

	(void)events;
	if (fd < 0)
		return;
	if (port->peer_cid && peer.svm_cid != port->peer_cid) {
		log_info("port %s: CID %u is not the host", port->kind->name, peer.svm_cid);
		close(fd);
		return;
	}
	/* A host that returns at once may be accepted before the end of its old connection is seen. */
	if (port->connected && poll(&connection, 1, 0) > 0)
		port_hang_up(port);
	if (port->connected) { /* one host at a time */
		close(fd);
		return;
	}
	port->source.fd = fd;
	loop_add(port->loop, &port->source);
	port_connected(port);
}

int port_open(struct port *port, struct loop *loop, const struct port_kind *kind, int fd,
	const struct settings *settings, struct error *err)
{
	*port = (struct port){.kind = kind, .loop = loop, .peer_cid = settings->peer_cid};
	source_init(&port->source, settings->listening ? -1 : fd, port_wants, port_ready);
	source_init(&port->listener, settings->listening ? fd : -1, NULL, listener_ready);
	timer_init(&port->retry, port_look);
	if (queue_open(&port->in, kind->in_bytes) < 0 ||
		queue_open(&port->out, kind->out_bytes) < 0)
		return error_set(err, ENOMEM, "port %s: out of memory", kind->name);
	if (settings->listening) {
		loop_add(loop, &port->listener);
	} else {
		loop_add(loop, &port->source);
		port_look(&port->retry);
	}
	return 0;
}
