/* SPDX-License-Identifier: Apache-2.0 */
/* The host's end of a channel: a socket to connect with, and all that was received so far. */
#ifndef HOST_H
#define HOST_H

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

struct host {
	struct sockaddr_un address;
	socklen_t address_length;
	int fd; /* -1: not connected */
	uint8_t *received;
	size_t length, capacity;
};

/* Returns a listening socket for the agent's port. The name is the kernel's choice. */
static inline int host_listen(struct host *host)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	*host = (struct host){.fd = -1, .address_length = sizeof(host->address)};
	host->address.sun_family = AF_UNIX;
	assert_int_equal(
		bind(fd, (struct sockaddr *)&host->address, sizeof(host->address.sun_family)), 0);
	assert_int_equal(
		getsockname(fd, (struct sockaddr *)&host->address, &host->address_length), 0);
	assert_int_equal(listen(fd, 4), 0);
	return fd;
}

static inline int host_socket(const struct host *host)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	assert_int_equal(
		connect(fd, (const struct sockaddr *)&host->address, host->address_length), 0);
	return fd;
}

static inline void host_connect(struct host *host)
{
	host->fd = host_socket(host);
	host->length = 0;
}

static inline void host_disconnect(struct host *host)
{
	close(host->fd);
	host->fd = -1;
}

/* What the socket takes now. */
static inline size_t host_send(const struct host *host, const void *bytes, size_t length)
{
	ssize_t n = send(host->fd, bytes, length, MSG_NOSIGNAL);

	return n < 0 ? 0 : (size_t)n;
}

/* At most `max` bytes of what is there; returns how many. */
static inline size_t host_receive(struct host *host, size_t max)
{
	size_t before = host->length;

	while (host->length - before < max) {
		size_t left = max - (host->length - before);
		ssize_t n;

		if (host->length == host->capacity) {
			host->capacity = host->capacity ? 2 * host->capacity : 65536;
			host->received = realloc(host->received, host->capacity);
		}
		if (left > host->capacity - host->length)
			left = host->capacity - host->length;
		n = recv(host->fd, host->received + host->length, left, 0);
		if (n <= 0)
			break;
		host->length += (size_t)n;
	}
	return host->length - before;
}

static inline void host_close(struct host *host)
{
	if (host->fd >= 0)
		close(host->fd);
	free(host->received);
}

#endif
