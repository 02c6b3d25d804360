/* SPDX-License-Identifier: Apache-2.0 */
/* The kernel's events: a device was added, or has changed. */
#include "base/uevent.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include <linux/netlink.h>

#include "base/file.h"

#define KERNEL_GROUP 1
#define EVENT_MAX    4096

int uevent_open(void)
{
	const struct sockaddr_nl address = {.nl_family = AF_NETLINK, .nl_groups = KERNEL_GROUP};
	int fd = socket(
		AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_KOBJECT_UEVENT);

	if (fd >= 0 && bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
		fd_close(&fd);
	return fd;
}

bool uevent_is_of(const char *event, size_t length, const char *subsystem)
{
	static const char key[] = "SUBSYSTEM=";
	const size_t key_length = sizeof(key) - 1, value_length = strlen(subsystem);
	const char *end = event + length;

	while (event < end) {
		size_t field = strnlen(event, (size_t)(end - event));

		if (field == key_length + value_length && memcmp(event, key, key_length) == 0 &&
			memcmp(event + key_length, subsystem, value_length) == 0)
			return true;
		event += field + 1;
	}
	return false;
}

bool uevent_wait(int fd, const char *subsystem, int timeout_ms)
{
	struct pollfd poller = {.fd = fd, .events = POLLIN};
	bool seen = false;
	char event[EVENT_MAX];
	ssize_t n;

	if (poll(&poller, 1, timeout_ms) <= 0)
		return false;
	/* ENOBUFS: some were lost, perhaps the one. */
	while ((n = recv(fd, event, sizeof(event), 0)) > 0 || (n < 0 && errno == ENOBUFS))
		if (n < 0 || uevent_is_of(event, (size_t)n, subsystem))
			seen = true;
	return seen;
}
