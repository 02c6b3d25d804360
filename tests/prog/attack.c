/* SPDX-License-Identifier: Apache-2.0 */
/* attack WHAT [ARGUMENTS]: what a process in a container can do to keep the agent from its work. */
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

static void rest(void)
{
	for (;;)
		pause();
}

/* SIGNAL: the agent is made our tracer, then we send ourselves that. */
static void traceme(char **arguments)
{
	const int number = atoi(arguments[0]);

	signal(number, SIG_IGN);
	dprintf(1, "traced %ld\n", syscall(SYS_ptrace, PTRACE_TRACEME, 0, 0, 0));
	raise(number);
	dprintf(1, "alive\n");
	rest();
}

/* PROGRAM: the agent is made our tracer, then we become that. */
static void trace_exec(char **arguments)
{
	dprintf(1, "traced %ld\n", syscall(SYS_ptrace, PTRACE_TRACEME, 0, 0, 0));
	execv(arguments[0], arguments);
}

static int nothing(void *argument)
{
	(void)argument;
	syscall(SYS_exit, 0);
	return 0;
}

/* SLEEPERS FORKERS: so many children that stay, of the agent or our own; and processes that make more of
 * them, which end at once. */
static void make_children(char **arguments, int whose)
{
	static char stack[16384] __attribute__((aligned(16)));
	const int sleepers = atoi(arguments[0]), forkers = atoi(arguments[1]);

	for (int i = 0; i < sleepers; i++)
		if (syscall(SYS_clone, whose | SIGCHLD, 0, 0, 0, 0) == 0)
			rest();
	for (int i = 0; i < forkers; i++)
		if (syscall(SYS_clone, whose | SIGCHLD, 0, 0, 0, 0) == 0)
			for (;;) {
				if (clone(nothing, stack + sizeof(stack),
					    whose | CLONE_VM | CLONE_VFORK | SIGCHLD, NULL) < 0)
					usleep(100);
				if (whose == 0)
					wait(NULL);
			}
	dprintf(1, "ready\n");
	rest();
}

static void siblings(char **arguments)
{
	make_children(arguments, CLONE_PARENT);
}

static void children(char **arguments)
{
	make_children(arguments, 0);
}

/* SIGSTOP to every process that comes after us. pids are handed out in order. */
static void stopper(char **arguments)
{
	pid_t last = getpid();

	(void)arguments;
	dprintf(1, "ready\n");
	for (;;)
		for (pid_t pid = last + 1; pid < last + 8; pid++)
			if (kill(pid, SIGSTOP) == 0 && pid > last + 1)
				last = pid - 1;
}

/* A child traces us, we end, and only the tracer can know. */
static void tracer(char **arguments)
{
	const pid_t parent = getpid();
	int ready[2];
	char byte;

	(void)arguments;
	if (pipe(ready) < 0)
		_exit(1);
	if (fork() == 0) {
		const long rc = syscall(SYS_ptrace, PTRACE_SEIZE, parent, 0, 0);
		siginfo_t end;

		(void)!write(ready[1], "x", 1);
		waitid(P_PID, (id_t)parent, &end, WEXITED | WNOWAIT);
		dprintf(1, "traced %ld\n", rc);
		rest();
	}
	(void)!read(ready[0], &byte, 1);
	_exit(7);
}

/* MS: after that time, takes what is in the pipe or terminal of our own stdout, for ever. */
static void steal(char **arguments)
{
	char buffer[65536];
	int fd = open("/proc/self/fd/1", O_RDWR | O_NONBLOCK);

	usleep((useconds_t)atoi(arguments[0]) * 1000);
	for (;;)
		if (read(fd, buffer, sizeof(buffer)) < 0)
			tcflush(fd, TCIOFLUSH);
}

static char *region;
static size_t region_bytes;
static pthread_barrier_t all_made; /* a thread's stack, too, would wait for those that run */

static void *protect(void *argument)
{
	(void)argument;
	pthread_barrier_wait(&all_made);
	for (;;) {
		mprotect(region, region_bytes, PROT_READ);
		mprotect(region, region_bytes, PROT_READ | PROT_WRITE);
	}
	return NULL;
}

/* THREADS MIB: holds the mutex of our stdout's pipe over page faults that wait for the threads. */
static void convoy(char **arguments)
{
	enum { WRITE = 65536, WRITES = 256 };
	const int threads = atoi(arguments[0]);
	const size_t present = (size_t)atol(arguments[1]) << 20;
	pthread_attr_t small;
	pthread_t thread;

	region_bytes = present + (size_t)WRITE * WRITES;
	region = mmap(NULL, region_bytes, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	madvise(region, region_bytes, MADV_NOHUGEPAGE);
	for (size_t i = 0; i < present; i += 4096) /* the zero page, for mprotect to change */
		(void)*(volatile char *)(region + i);
	pthread_attr_init(&small);
	pthread_attr_setstacksize(&small, 16384);
	pthread_barrier_init(&all_made, NULL, (unsigned)threads + 1);
	for (int i = 0; i < threads; i++)
		if (pthread_create(&thread, &small, protect, NULL) != 0)
			_exit(1);
	fcntl(1, F_SETFL, O_NONBLOCK);
	dprintf(2, "ready\n");
	pthread_barrier_wait(&all_made);
	for (size_t i = present; i + WRITE <= region_bytes;) { /* of pages that are not there yet */
		const ssize_t n = write(1, region + i, WRITE);

		if (n > 0)
			i += (size_t)n;
	}
	rest();
}

static void *pager(void *argument)
{
	const int *fd_and_seconds = argument;
	static char zeros[65536];
	struct uffd_msg message;

	while (fd_and_seconds[1] >= 0 &&
		read(fd_and_seconds[0], &message, sizeof(message)) == sizeof(message)) {
		struct uffdio_copy copy = {
			.dst = message.arg.pagefault.address & ~4095ull,
			.src = (unsigned long)zeros,
			.len = 4096,
		};

		sleep((unsigned)fd_and_seconds[1]);
		ioctl(fd_and_seconds[0], UFFDIO_COPY, &copy);
	}
	return NULL;
}

/* A page that comes after so many seconds; never, if they are negative. */
static char *late_page(int seconds)
{
	static int fd_and_seconds[2];
	struct uffdio_api api = {.api = UFFD_API};
	struct uffdio_register reg = {.mode = UFFDIO_REGISTER_MODE_MISSING};
	pthread_t thread;
	char *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int fd = (int)syscall(SYS_userfaultfd, 0);

	reg.range.start = (unsigned long)page;
	reg.range.len = 4096;
	if (fd < 0 || ioctl(fd, UFFDIO_API, &api) < 0 || ioctl(fd, UFFDIO_REGISTER, &reg) < 0) {
		dprintf(2, "no userfaultfd: %s\n", strerror(errno));
		_exit(1);
	}
	fd_and_seconds[0] = fd;
	fd_and_seconds[1] = seconds;
	pthread_create(&thread, NULL, pager, fd_and_seconds);
	dprintf(2, "ready\n");
	return page;
}

/* SECONDS: a lock of our stdout, stdin or terminal is held for so long, or for ever. */
static void hold_out(char **arguments)
{
	char byte;
	int held[2];

	if (pipe(held) == 0 && fork() == 0) {
		char *page = late_page(atoi(arguments[0]));

		(void)!write(held[1], "x", 1);
		(void)!write(1, page, 4096);
		rest();
	}
	/* At our end the agent looks what is in the pipe. */
	(void)!read(held[0], &byte, 1);
	usleep(200000);
	_exit(7);
}

static void hold_in(char **arguments)
{
	(void)!read(0, late_page(atoi(arguments[0])), 4096);
	rest();
}

static void hold_terminal(char **arguments)
{
	ioctl(0, TIOCGWINSZ, late_page(atoi(arguments[0])));
	rest();
}

/* WHERE NUMBER DEPTH: cgroups below that one, as many and as deep as can be; then one more, made and
 * removed again for ever. */
static void cgroups(char **arguments)
{
	const int number = atoi(arguments[1]), depth = atoi(arguments[2]);
	int at = open(arguments[0], O_RDONLY | O_DIRECTORY), top = at, deep = 0, made = 0;
	char name[16];

	for (; deep < depth && mkdirat(at, "deep", 0755) == 0; deep++)
		at = openat(at, "deep", O_RDONLY | O_DIRECTORY);
	for (; made < number; made++) {
		snprintf(name, sizeof(name), "%d", made);
		if (mkdirat(top, name, 0755) < 0)
			break;
	}
	dprintf(1, "%d %d\nready\n", made, deep);
	snprintf(name, sizeof(name), "%d", made - 1);
	for (;;) {
		unlinkat(top, name, AT_REMOVEDIR);
		mkdirat(top, name, 0755);
	}
}

static void *outlive(void *first)
{
	pthread_join(*(pthread_t *)first, NULL);
	usleep(200000);
	dprintf(1, "ready\n");
	rest();
	return NULL;
}

/* The first thread ends, another goes on: the process looks like a zombie. */
static void headless(char **arguments)
{
	static pthread_t first;
	pthread_t other;

	(void)arguments;
	first = pthread_self();
	pthread_create(&other, NULL, outlive, &first);
	pthread_exit(NULL);
}

static const struct {
	const char *name;
	void (*run)(char **arguments);
} attacks[] = {
	{"traceme", traceme},
	{"trace-exec", trace_exec},
	{"siblings", siblings},
	{"children", children},
	{"stopper", stopper},
	{"tracer", tracer},
	{"steal", steal},
	{"convoy", convoy},
	{"hold-out", hold_out},
	{"hold-in", hold_in},
	{"hold-terminal", hold_terminal},
	{"cgroups", cgroups},
	{"headless", headless},
};

int main(int argc, char **argv)
{
	for (size_t i = 0; argc > 1 && i < sizeof(attacks) / sizeof(*attacks); i++)
		if (strcmp(argv[1], attacks[i].name) == 0)
			attacks[i].run(argv + 2);
	return 2;
}
