/* SPDX-License-Identifier: Apache-2.0 */
/* talk listen (tcp|udp PORT)…          says "ready", then sends back what anybody sends
 * talk to tcp|udp ADDRESS PORT TEXT    sends the text, writes what comes back to stdout
 * Exits with an errno. */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LISTENERS_MAX 8

static int open_socket(int family, const char *protocol)
{
	int fd = socket(family, strcmp(protocol, "tcp") == 0 ? SOCK_STREAM : SOCK_DGRAM, 0);

	if (fd < 0)
		exit(errno);
	return fd;
}

/* On all addresses of both families. */
static int open_listener(const char *protocol, const char *port)
{
	const struct sockaddr_in6 any = {
		.sin6_family = AF_INET6,
		.sin6_port = htons((uint16_t)atoi(port)),
	};
	int fd = open_socket(AF_INET6, protocol), on = 1;

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	if (bind(fd, (const struct sockaddr *)&any, sizeof any) < 0)
		exit(errno);
	if (strcmp(protocol, "tcp") == 0 && listen(fd, 8) < 0)
		exit(errno);
	return fd;
}

static void serve(int fd, bool is_tcp)
{
	struct sockaddr_storage peer;
	socklen_t length = sizeof peer;
	char text[4096];
	ssize_t n;

	if (!is_tcp) {
		n = recvfrom(fd, text, sizeof text, 0, (struct sockaddr *)&peer, &length);
		if (n >= 0)
			(void)!sendto(fd, text, (size_t)n, 0, (struct sockaddr *)&peer, length);
		return;
	}
	fd = accept(fd, NULL, NULL);
	if (fork() != 0) {
		close(fd);
		return;
	}
	while ((n = read(fd, text, sizeof text)) > 0)
		(void)!write(fd, text, (size_t)n);
	_exit(0);
}

static int listen_for_ever(int count, char **pairs)
{
	struct pollfd listeners[LISTENERS_MAX];

	if (count > LISTENERS_MAX)
		return E2BIG;
	signal(SIGCHLD, SIG_IGN);
	for (int i = 0; i < count; i++)
		listeners[i] = (struct pollfd){
			.fd = open_listener(pairs[2 * i], pairs[2 * i + 1]),
			.events = POLLIN,
		};
	puts("ready");
	fflush(stdout);
	for (;;) {
		poll(listeners, (nfds_t)count, -1);
		for (int i = 0; i < count; i++)
			if (listeners[i].revents)
				serve(listeners[i].fd, strcmp(pairs[2 * i], "tcp") == 0);
	}
}

static int talk_to(const char *protocol, const char *address, const char *port, const char *text)
{
	struct sockaddr_in6 six = {
		.sin6_family = AF_INET6,
		.sin6_port = htons((uint16_t)atoi(port)),
	};
	struct sockaddr_in four = {.sin_family = AF_INET, .sin_port = six.sin6_port};
	bool is_six = inet_pton(AF_INET6, address, &six.sin6_addr) == 1;
	const void *peer = is_six ? (const void *)&six : &four;
	char reply[4096];
	size_t got = 0;
	int fd = open_socket(is_six ? AF_INET6 : AF_INET, protocol);

	inet_pton(AF_INET, address, &four.sin_addr);
	if (connect(fd, peer, is_six ? sizeof six : sizeof four) < 0 ||
		write(fd, text, strlen(text)) < 0)
		return errno;
	while (got < strlen(text)) {
		ssize_t n = read(fd, reply, sizeof reply);

		if (n <= 0)
			return n < 0 ? errno : EPIPE;
		got += (size_t)n;
		(void)!write(STDOUT_FILENO, reply, (size_t)n);
	}
	return 0;
}

int main(int argc, char **argv)
{
	if (argc >= 4 && argc % 2 == 0 && strcmp(argv[1], "listen") == 0)
		return listen_for_ever((argc - 2) / 2, argv + 2);
	if (argc == 6 && strcmp(argv[1], "to") == 0)
		return talk_to(argv[2], argv[3], argv[4], argv[5]);
	return EINVAL;
}
