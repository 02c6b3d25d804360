/* SPDX-License-Identifier: Apache-2.0 */
/* The limits: what the kernel takes for a job when nothing is done beside it.
 *     bare exec PROGRAM TIMES         fork, execve, waitpid
 *     bare container ROOT PROGRAM ARG… the program, among the mounts that a container has
 *     bare pod TAG                    mounts the share, and a process in a pod's namespaces
 *     bare out PORT PROGRAM ARG…      relays the program's stdout to the port until it ends
 *     bare in PORT BYTES PROGRAM ARG… relays so much from the port to the program's stdin
 *     bare echo PORT TIMES            answers 8 bytes with 8, a line for each time
 * Each calls count_turn() where the count begins and ends: for the relays and the echo without
 * children, for a container and a pod with the child until it has begun. As PID 1, without
 * arguments: writes READY to the first port.
 */
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/inotify.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"

#define BLOCK 32768 /* the most that one write to a port takes */

static char block[BLOCK];

static _Noreturn void fail(const char *what)
{
	dprintf(STDERR_FILENO, "bare: %s: %s\n", what, strerror(errno));
	_exit(1);
}

/* See profile.c. */
static void count_turn(void)
{
	getppid();
}

static void run_exec(char *program, int times)
{
	count_turn();
	while (times-- > 0) {
		pid_t pid = fork();
		int status;

		if (pid == 0) {
			execve(program, (char *[]){program, NULL}, (char *[]){NULL});
			_exit(127);
		}
		if (waitpid(pid, &status, 0) != pid || status != 0)
			fail(program);
	}
	count_turn();
}

static void check(int rc, const char *what)
{
	if (rc < 0)
		fail(what);
}

static void mount_at(const char *type, const char *at, const char *options)
{
	check(mount(type, at, type, 0, options), at);
}

static void root_switch(const char *root)
{
	check(chdir(root), root);
	check(mount(".", "/", NULL, MS_MOVE, NULL), "move the root");
	check(chroot("."), "chroot");
}

static void container_begin(const char *root)
{
	static const struct {
		const char *name;
		unsigned major, minor;
	} devices[] = {{"dev/null", 1, 3}, {"dev/zero", 1, 5}, {"dev/full", 1, 7},
		{"dev/random", 1, 8}, {"dev/urandom", 1, 9}, {"dev/tty", 5, 0}};

	check(unshare(CLONE_NEWNS), "unshare");
	check(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), "make mounts private");
	check(mount(root, root, NULL, MS_BIND, NULL), "bind the root");
	root_switch(root);
	mount_at("tmpfs", "dev", "mode=755");
	for (size_t i = 0; i < sizeof(devices) / sizeof(devices[0]); i++)
		check(mknod(devices[i].name, S_IFCHR | 0666,
			      makedev(devices[i].major, devices[i].minor)),
			devices[i].name);
	mkdir("dev/pts", 0755);
	mkdir("dev/shm", 0755);
	mkdir("dev/mqueue", 0755);
	mount_at("devpts", "dev/pts", "newinstance,ptmxmode=0666");
	mount_at("tmpfs", "dev/shm", "mode=1777");
	mount_at("mqueue", "dev/mqueue", NULL);
	mount_at("proc", "proc", NULL);
	mount_at("sysfs", "sys", NULL);
}

/* Counts until the child has closed `begun`, by its execve or itself, and kills it. */
static void count_child(pid_t pid, const int begun[2])
{
	char nothing;

	close(begun[1]);
	if (pid < 0 || read(begun[0], &nothing, 1) != 0)
		fail("begin");
	usleep(50000); /* until it rests */
	count_turn();
	kill(pid, SIGKILL);
}

static void run_container(const char *root, char **argv)
{
	int begun[2], in[2];
	pid_t pid;

	count_turn();
	if (pipe2(begun, O_CLOEXEC) < 0 || pipe2(in, O_CLOEXEC) < 0)
		fail("pipe");
	pid = fork();
	if (pid == 0) {
		container_begin(root);
		dup2(in[0], STDIN_FILENO);
		execve(argv[0], argv, (char *[]){NULL});
		fail(argv[0]);
	}
	count_child(pid, begun);
}

static void run_pod(const char *tag)
{
	int begun[2];
	pid_t pid;

	count_turn();
	if (pipe2(begun, O_CLOEXEC) < 0)
		fail("pipe");
	mkdir("/share", 0755);
	/* As child_pod.c does. */
	check(mount(tag, "/share", "9p", 0,
		      "trans=virtio,version=9p2000.L,cache=mmap,msize=131072"),
		"mount the share");
	check(unshare(CLONE_NEWPID | CLONE_NEWUTS | CLONE_NEWIPC), "unshare");
	pid = fork();
	if (pid == 0) {
		check(unshare(CLONE_NEWNS), "unshare");
		check(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), "make mounts private");
		check(sethostname("pod", 3), "sethostname");
		mount_at("tmpfs", "/share", "mode=555,size=4k");
		root_switch("/share");
		close(begun[1]);
		for (;;)
			pause();
	}
	count_child(pid, begun);
}

/* Starts a program with one end of a pipe as its fd `std`; returns the other. */
static int pipe_start(char **argv, int std)
{
	int ends[2];

	if (pipe2(ends, O_CLOEXEC) < 0)
		fail("pipe");
	if (fork() == 0) {
		dup2(ends[std == STDOUT_FILENO], std);
		execve(argv[0], argv, (char *[]){NULL});
		_exit(127);
	}
	close(ends[std == STDOUT_FILENO]);
	return ends[std != STDOUT_FILENO];
}

static void await(int fd, short events)
{
	struct pollfd poller = {.fd = fd, .events = events};

	poll(&poller, 1, -1);
}

static void port_write(int port, const char *from, size_t size)
{
	while (size > 0) {
		ssize_t n = write(port, from, size);

		if (n >= 0) {
			from += n;
			size -= (size_t)n;
		} else if (errno == EAGAIN) {
			await(port, POLLOUT);
		} else {
			fail("write the port");
		}
	}
}

static ssize_t port_read(int port)
{
	ssize_t n;

	while ((n = read(port, block, sizeof(block))) <= 0) {
		if (n < 0 && errno != EAGAIN)
			fail("read the port");
		await(port, POLLIN);
	}
	return n;
}

static void run_out(int port, char **argv)
{
	int from = pipe_start(argv, STDOUT_FILENO);
	ssize_t n;

	count_turn();
	while ((n = read(from, block, sizeof(block))) > 0)
		port_write(port, block, (size_t)n);
	count_turn();
}

static void run_in(int port, unsigned long bytes, char **argv)
{
	int to = pipe_start(argv, STDIN_FILENO);

	count_turn();
	while (bytes > 0) {
		ssize_t n = port_read(port);

		if (write(to, block, (size_t)n) != n)
			fail("write the pipe");
		bytes -= (unsigned long)n;
	}
	count_turn();
}

static void run_echo(int port, int times)
{
	count_turn();
	while (times-- > 0)
		port_write(port, block, (size_t)port_read(port));
	count_turn();
}

static _Noreturn void run_ready(void)
{
	static const char ready[8] = {0, 0, 0, 8, 0, 0, 0, 8};
	int events, port;

	mount("devtmpfs", "/dev", "devtmpfs", 0, NULL);
	events = inotify_init();
	inotify_add_watch(events, "/dev", IN_CREATE);
	modules_load("virtio_console");
	while ((port = open("/dev/vport0p1", O_RDWR)) < 0)
		(void)!read(events, block, sizeof(block));
	(void)!write(port, ready, sizeof(ready));
	for (;;)
		pause();
}

int main(int argc, char **argv)
{
	const char *job = argc > 1 ? argv[1] : "";
	int port;

	if (getpid() == 1)
		run_ready();
	if (strcmp(job, "exec") == 0 && argc == 4) {
		run_exec(argv[2], atoi(argv[3]));
		return 0;
	}
	if (strcmp(job, "container") == 0 && argc >= 4) {
		run_container(argv[2], argv + 3);
		return 0;
	}
	if (strcmp(job, "pod") == 0 && argc == 3) {
		run_pod(argv[2]);
		return 0;
	}
	if (argc < 4)
		return 2;
	port = port_open(argv[2], O_NONBLOCK);
	if (port < 0)
		fail(argv[2]);
	if (strcmp(job, "out") == 0)
		run_out(port, argv + 3);
	else if (strcmp(job, "in") == 0)
		run_in(port, strtoul(argv[3], NULL, 10), argv + 4);
	else if (strcmp(job, "echo") == 0)
		run_echo(port, atoi(argv[3]));
	else
		return 2;
	return 0;
}
