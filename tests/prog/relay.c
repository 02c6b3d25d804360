/* SPDX-License-Identifier: Apache-2.0 */
/* relay PORT VSOCK-PORT …: joins each device node with a vsock port of this machine, over loopback.
 *
 * For a guest whose host has no vsock: a host that connects to a virtio-serial port is a connection
 * from CID 1, one that hangs up is its end. As PID 1, in front of the agent:
 *
 *     relay MODULE… /init PORT VSOCK-PORT …
 *
 * loads the modules, leaves the relay to a child, and becomes /init.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/vm_sockets.h>

#define LOOK_MS \
	10 /* nothing tells that a port's host is there, that a node is, or that somebody listens */

static void die(const char *what)
{
	perror(what);
	exit(1);
}

/* What was read from `from` and is to be written to `to`. */
struct way {
	int from, to;
	char bytes[32768];
	size_t start, end;
};

/* False at the end of either. */
static int move(struct way *way)
{
	ssize_t n;

	if (way->start == way->end) {
		n = read(way->from, way->bytes, sizeof(way->bytes));
		if (n <= 0)
			return n < 0 && errno == EAGAIN;
		way->start = 0;
		way->end = (size_t)n;
	}
	n = write(way->to, way->bytes + way->start, way->end - way->start);
	if (n < 0)
		return errno == EAGAIN;
	way->start += (size_t)n;
	return 1;
}

static struct pollfd interest(const struct way *in, const struct way *out)
{
	return (struct pollfd){
		.fd = in->from,
		.events = (short)((in->start == in->end ? POLLIN : 0) |
			(out->start < out->end ? POLLOUT : 0)),
	};
}

static int is_hung_up(int port)
{
	struct pollfd poll_fd = {.fd = port};

	return poll(&poll_fd, 1, 0) != 0;
}

/* One host, from its coming to its going; then what it wrote last is passed on. */
static void serve(int port, int connection)
{
	static struct way in, out;
	struct pollfd fds[2];

	in = (struct way){.from = port, .to = connection};
	out = (struct way){.from = connection, .to = port};
	do {
		if (!move(&in) || !move(&out))
			break;
		fds[0] = interest(&in, &out);
		fds[1] = interest(&out, &in);
		poll(fds, 2, -1);
	} while (!is_hung_up(port));
	while (move(&in) && in.start == in.end)
		;
}

static int dial(unsigned int vsock_port)
{
	const struct sockaddr_vm address = {
		.svm_family = AF_VSOCK,
		.svm_cid = VMADDR_CID_LOCAL,
		.svm_port = vsock_port,
	};
	int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd >= 0 && connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0)
		return fd;
	if (fd >= 0)
		close(fd);
	return -1;
}

static void relay(const char *node, unsigned int vsock_port)
{
	int port, connection;

	while ((port = open(node, O_RDWR | O_NONBLOCK | O_CLOEXEC)) < 0)
		poll(NULL, 0, LOOK_MS);
	for (;;) {
		while (is_hung_up(port) || (connection = dial(vsock_port)) < 0)
			poll(NULL, 0, LOOK_MS);
		fcntl(connection, F_SETFL, O_NONBLOCK);
		serve(port, connection);
		close(connection);
		while (!is_hung_up(port))
			poll(NULL, 0, LOOK_MS);
	}
}

static void relay_all(char **pairs)
{
	for (; pairs[0] != NULL && pairs[1] != NULL; pairs += 2)
		if (fork() == 0)
			relay(pairs[0], (unsigned int)atoi(pairs[1]));
	for (;;)
		pause();
}

static void module_load(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || (syscall(SYS_finit_module, fd, "", 0) < 0 && errno != EEXIST))
		die(path);
	close(fd);
}

int main(int argc, char **argv)
{
	char *none[] = {NULL};

	(void)argc;
	if (getpid() != 1)
		relay_all(argv + 1);
	for (argv++; *argv != NULL && strcmp(*argv, "/init") != 0; argv++)
		module_load(*argv);
	if (fork() == 0) {
		/* The agent moves the root away below us. */
		if (unshare(CLONE_NEWNS) < 0 || mount("dev", "/dev", "devtmpfs", 0, NULL) < 0)
			die("mount /dev");
		relay_all(argv + 1);
	}
	execve("/init", (char *[]){(char *)"/init", NULL}, none);
	die("/init");
}
