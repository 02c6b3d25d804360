/* SPDX-License-Identifier: Apache-2.0 */
/* /init of the benchmark's initrd: starts an observer, then executes as PID 1 the program to be
 * measured: the environment's `measured`, for the kernel hands init the words that it does not know.
 *
 * The observer is a process of its own that works only when the host asks it to, through the virtio
 * port `bench.probe`, so that nothing in the agent exists for the benchmark's sake. A request is a
 * line of words, the answer is a decimal length, a newline and that many bytes:
 *     read PATH          the file
 *     write PATH TEXT    nothing
 *     sleep MS           nothing, after that much virtual time
 *     run PROGRAM ARG…   stdout of the program, a bare one
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"

#define TRACE      "/sys/kernel/tracing"
#define WORDS_MAX  16
#define ANSWER_MAX (8u << 20) /* /proc/kallsyms is half of it */

static _Noreturn void fail(const char *what)
{
	dprintf(open("/dev/console", O_WRONLY), "probe: %s: %s\n", what, strerror(errno));
	if (getpid() == 1)
		reboot(RB_POWER_OFF);
	_exit(1);
}

static size_t file_read(const char *path, char *to, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t length = 0;
	ssize_t n = 0;

	if (fd < 0)
		return (size_t)snprintf(to, size, "%s: %s", path, strerror(errno));
	while (length < size && (n = read(fd, to + length, size - length)) > 0)
		length += (size_t)n;
	close(fd);
	return length;
}

/* Sees the kernel's directories through mounts of its own, so that PID 1 finds none made. */
static void world_make(void)
{
	static const char *const mounts[][2] = {
		{"devtmpfs", "/dev"},
		{"proc", "/proc"},
		{"sysfs", "/sys"},
		{"tracefs", TRACE},
	};

	if (unshare(CLONE_NEWNS) < 0)
		fail("unshare");
	for (size_t i = 0; i < sizeof(mounts) / sizeof(mounts[0]); i++) {
		mkdir(mounts[i][1], 0755);
		if (mount(mounts[i][0], mounts[i][1], mounts[i][0], 0, NULL) < 0)
			fail(mounts[i][1]);
	}
}

/* Its world from now on is PID 1's. */
static void world_join(void)
{
	int ns = open("/proc/1/ns/mnt", O_RDONLY | O_CLOEXEC);

	if (setns(ns, CLONE_NEWNS) < 0)
		fail("join PID 1's mounts");
	close(ns);
	/* A bare program has mounted none of them. */
	mkdir("/proc", 0755);
	mkdir("/sys", 0755);
	mount("proc", "/proc", "proc", 0, NULL);
	mount("sysfs", "/sys", "sysfs", 0, NULL);
	mount("tracefs", TRACE, "tracefs", 0, NULL);
}

static void file_set(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		fail(path);
	close(fd);
}

/* When PID 1 runs, and when it writes 8 bytes: the first time, that is READY. */
static void trace_start(void)
{
	file_set(TRACE "/trace_clock", "x86-tsc");
	file_set(TRACE "/events/sched/sched_switch/filter", "prev_pid == 1 || next_pid == 1");
	file_set(TRACE "/events/sched/sched_switch/enable", "1");
	file_set(TRACE "/kprobe_events", "p:bench/write vfs_write size=%dx");
	file_set(TRACE "/events/bench/write/filter", "common_pid == 1 && size == 8");
	file_set(TRACE "/events/bench/write/enable", "1");
}

static size_t program_run(char **argv, char *to, size_t size)
{
	size_t length = 0;
	int out[2];
	ssize_t n;

	if (pipe2(out, O_CLOEXEC) < 0)
		fail("pipe");
	if (fork() == 0) {
		dup2(out[1], STDOUT_FILENO);
		dup2(out[1], STDERR_FILENO);
		execve(argv[0], argv, (char *[]){NULL});
		fail(argv[0]);
	}
	close(out[1]);
	while ((n = read(out[0], to + length, size - length)) > 0)
		length += (size_t)n;
	close(out[0]);
	wait(NULL);
	return length;
}

static size_t file_write(const char *path, const char *text, char *to, size_t size)
{
	int fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : write(fd, text, strlen(text));

	close(fd);
	return n < 0 ? (size_t)snprintf(to, size, "%s: %s", path, strerror(errno)) : 0;
}

static size_t answer(char **words, char *to, size_t size)
{
	if (strcmp(words[0], "read") == 0)
		return file_read(words[1], to, size);
	if (strcmp(words[0], "write") == 0)
		return file_write(words[1], words[2], to, size);
	if (strcmp(words[0], "run") == 0)
		return program_run(words + 1, to, size);
	if (strcmp(words[0], "sleep") == 0) {
		usleep((useconds_t)strtoul(words[1], NULL, 10) * 1000);
		return 0;
	}
	return (size_t)snprintf(to, size, "what?");
}

static void all_write(int fd, const char *from, size_t size)
{
	while (size > 0) {
		ssize_t n = write(fd, from, size);

		if (n <= 0)
			fail("write bench.probe");
		from += n;
		size -= (size_t)n;
	}
}

/* One line; false while no host is there. */
static bool line_read(int fd, char *line, size_t size)
{
	size_t length = 0;

	while (length < size - 1 && read(fd, line + length, 1) == 1)
		if (line[length++] == '\n') {
			line[length - 1] = '\0';
			return true;
		}
	return false;
}

/* So that PID 1 finds the ports there, and no modules to load. */
static void modules_preload(void)
{
	int port;

	modules_load("");
	unlink("/modules/order");
	while ((port = port_open("bench.data", O_NONBLOCK)) < 0) /* the last of them */
		usleep(10000);
	close(port);
}

/* `started` closes when all is set for PID 1 to go on. */
static _Noreturn void observe(int started)
{
	char line[512], length_line[32], *to = malloc(ANSWER_MAX);
	bool joined = false;
	int port;

	world_make();
	if (getenv("preload"))
		modules_preload();
	trace_start();
	usleep(500000); /* until the kernel rests, too */
	close(started);
	while ((port = port_open("bench.probe", 0)) < 0)
		usleep(10000);
	for (;; usleep(10000)) {
		while (line_read(port, line, sizeof(line))) {
			char *words[WORDS_MAX] = {0}, *rest = line;
			size_t length;

			if (!joined)
				world_join();
			joined = true;
			for (int i = 0; rest && i < WORDS_MAX - 1; i++)
				words[i] = strsep(&rest, " ");
			length = answer(words, to, ANSWER_MAX);
			snprintf(length_line, sizeof(length_line), "%zu\n", length);
			all_write(port, length_line, strlen(length_line));
			all_write(port, to, length);
		}
	}
}

int main(int argc, char **argv)
{
	const char *measured = getenv("measured");
	int started[2];

	(void)argc;
	if (!measured || pipe2(started, O_CLOEXEC) < 0)
		fail("start");
	if (fork() == 0) {
		close(started[0]);
		observe(started[1]);
	}
	close(started[1]);
	(void)!read(started[0], started, 1);
	execve(measured, (char *[]){argv[0], NULL}, (char *[]){NULL});
	fail(measured);
}
