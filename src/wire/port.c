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

/* A virtio port without a host reports POLLHUP at once and for ever; so it is left alone and looked
 * at this often. */
#define RETRY_MS 50

/* What QEMU can have handed over before its host went: 128 buffers of a page. */
#define DEVICE_HOLDS_MAX (128 * 4 * KIB)

size_t port_frame_length(const struct port *port, const uint8_t *bytes)
{
	uint32_t length = load_be32(bytes + port->header - 4);

	return length < port->header || length > FRAME_BELIEVED_MAX ? port->header : length;
}

bool port_forget_partial(struct port *port, size_t skip)
{
	size_t length = queue_length(&port->in), at = skip;

	if (at > length) {
		queue_consume(&port->in, length);
		return false;
	}
	while (length - at >= port->header) {
		size_t frame = port_frame_length(port, queue_peek(&port->in) + at);

		if (frame > length - at)
			break;
		at += frame;
	}
	queue_unput(&port->in, length - at);
	return true;
}

/* What of `out` may go in one write. */
static size_t writable_length(const struct port *port)
{
	size_t length = queue_length(&port->out), whole = 0;

	if (!port->keeps_frames)
		return length < PORT_WRITE_MAX ? length : PORT_WRITE_MAX;
	while (whole < length) {
		size_t frame = port_frame_length(port, queue_peek(&port->out) + whole);

		if (whole + frame > PORT_WRITE_MAX)
			break;
		whole += frame;
	}
	return whole;
}

static void port_connected(struct port *port)
{
	port->connected = true;
	log_info("port %s: host connected", port->name);
}

/* As much as there is and fits; what the last read came to. */
static ssize_t port_fill(struct port *port)
{
	ssize_t n = IO_AGAIN;

	while (queue_room(&port->in) && (n = queue_fill(&port->in, port->source.fd, SIZE_MAX)) > 0)
		;
	return n;
}

static void port_hang_up(struct port *port)
{
	uint8_t scrap[512];
	size_t unread = 0;
	ssize_t n;

	/* It may have shown in a write, before the host's last words were read. */
	port_fill(port);
	port->connected = false;
	port->started = 0;
	if (port->listener.fd >= 0) {
		loop_remove(port->loop, &port->source);
		fd_close(&port->source.fd);
	} else {
		/* What does not fit `in` is the old host's, too: read now or never, for behind it
		 * the next host's first byte begins a frame. That one may be there, and write. */
		while (!queue_room(&port->in) && unread < DEVICE_HOLDS_MAX &&
			(n = io_read(port->source.fd, scrap, sizeof(scrap))) > 0)
			unread += (size_t)n;
		if (unread)
			log_warn("port %s: %zu bytes of the host that went are lost", port->name,
				unread);
		timer_set(port->loop, &port->retry, RETRY_MS);
	}
	log_info("port %s: host gone", port->name);
	port->on_hangup(port);
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
	size_t length;
	ssize_t n;

	if (!port->connected || queue_is_empty(&port->out))
		return;
	if (!port->keeps_frames) {
		n = queue_drain(&port->out, port->source.fd, PORT_WRITE_MAX);
	} else {
		length = writable_length(port);
		n = io_write(port->source.fd, queue_peek(&port->out) + port->started,
			length - port->started);
		for (port->started += n > 0 ? (size_t)n : 0; !queue_is_empty(&port->out);) {
			length = port_frame_length(port, queue_peek(&port->out));
			if (port->started < length)
				break;
			port->started -= length;
			queue_consume(&port->out, length);
		}
	}
	if (n == IO_ERROR)
		port_hang_up(port);
}

static uint32_t port_wants(struct source *source)
{
	struct port *port = list_entry(source, struct port, source);

	if (!port->connected)
		return 0;
	/* EPOLLERR keeps a port known that is neither read nor written, so that its hang-up is
	 * seen: epoll reports that always. */
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

/* Its last words may be unread yet; hanging up reads them. */
static bool host_is_gone(const struct port *port)
{
	struct pollfd poll_fd = {.fd = port->source.fd, .events = POLLRDHUP};

	return poll(&poll_fd, 1, 0) > 0;
}

static void listener_ready(struct source *source, uint32_t events)
{
	struct port *port = list_entry(source, struct port, listener);
	struct sockaddr_vm peer = {0};
	socklen_t size = sizeof(peer);
	int fd = accept4(source->fd, (struct sockaddr *)&peer, &size, SOCK_NONBLOCK | SOCK_CLOEXEC);

	(void)events;
	if (fd < 0)
		return;
	if (port->peer_cid && peer.svm_cid != port->peer_cid) {
		log_info("port %s: CID %u is not the host", port->name, peer.svm_cid);
		close(fd);
		return;
	}
	/* A host that returns at once is served before its old connection's end is. */
	if (port->connected && host_is_gone(port))
		port_hang_up(port);
	if (port->connected) { /* one host at a time */
		close(fd);
		return;
	}
	port->source.fd = fd;
	loop_add(port->loop, &port->source);
	port_connected(port);
}

int port_open(
	struct port *port, struct loop *loop, const struct port_options *options, struct error *err)
{
	*port = (struct port){
		.name = options->name,
		.loop = loop,
		.peer_cid = options->peer_cid,
		.header = options->header,
		.keeps_frames = options->keeps_frames,
		.on_hangup = options->on_hangup,
	};
	source_init(&port->source, options->listening ? -1 : options->fd, port_wants, port_ready);
	source_init(&port->listener, options->listening ? options->fd : -1, NULL, listener_ready);
	timer_init(&port->retry, port_look);
	if (queue_open(&port->in, options->in_bytes) < 0 ||
		queue_open(&port->out, options->out_bytes) < 0) {
		queue_close(&port->in);
		return error_set(err, ENOMEM, "port %s: out of memory", options->name);
	}
	if (options->listening) {
		loop_add(loop, &port->listener);
	} else {
		loop_add(loop, &port->source);
		port_look(&port->retry);
	}
	return 0;
}

void port_close(struct port *port)
{
	timer_cancel(&port->retry);
	loop_remove(port->loop, &port->source);
	loop_remove(port->loop, &port->listener);
	fd_close(&port->source.fd);
	fd_close(&port->listener.fd);
	queue_close(&port->in);
	queue_close(&port->out);
}
