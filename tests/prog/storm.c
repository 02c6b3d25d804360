/* SPDX-License-Identifier: Apache-2.0 */
/* storm KIND: what a container should not do to its guest, until it is killed.
 *
 *     forks    every process forks as fast as it can
 *     memory   takes memory; when it is killed for it, another does
 *     fds      opens files, in as many processes as it takes
 *     console  fills the kernel's log
 *     shm      fills /dev/shm
 *     orphans  10,000 children of dead parents, again and again
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHUNK (1 << 20)

static char chunk[CHUNK];

static void forks(void)
{
	for (;;)
		fork();
}

static void memory(void)
{
	for (;;) {
		while (fork() == 0)
			for (;;) {
				void *more = mmap(NULL, CHUNK, PROT_READ | PROT_WRITE,
					MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

				if (more != MAP_FAILED)
					memset(more, 1, CHUNK);
			}
		wait(NULL);
	}
}

static void fds(void)
{
	const struct rlimit most = {1 << 20, 1 << 20};

	setrlimit(RLIMIT_NOFILE, &most);
	for (;;)
		if (open("/dev/null", O_RDONLY) < 0)
			fork();
}

static void console(void)
{
	int fd;

	mknod("/dev/kmsg", S_IFCHR | 0600, makedev(1, 11));
	fd = open("/dev/kmsg", O_WRONLY);
	for (;;)
		dprintf(fd, "<0>storm storm storm storm storm storm storm storm storm storm\n");
}

static void shm(void)
{
	int fd = open("/dev/shm/storm", O_CREAT | O_WRONLY, 0600);

	for (;;)
		if (write(fd, chunk, CHUNK) < 0)
			lseek(fd, 0, SEEK_SET);
}

static void orphans(void)
{
	for (;;) {
		for (int i = 0; i < 10000; i++) {
			if (fork() == 0) {
				fork();
				_exit(0);
			}
			wait(NULL);
		}
		dprintf(STDOUT_FILENO, "10000\n");
	}
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*run)(void);
	} kinds[] = {
		{"forks", forks},
		{"memory", memory},
		{"fds", fds},
		{"console", console},
		{"shm", shm},
		{"orphans", orphans},
	};

	for (size_t i = 0; argc == 2 && i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (strcmp(argv[1], kinds[i].name) == 0)
			kinds[i].run();
	return 2;
}
