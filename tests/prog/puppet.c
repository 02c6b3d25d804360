/* SPDX-License-Identifier: Apache-2.0 */
/* puppet SEED: does what its stdin says, and answers each line with at least a byte.
 *
 * Byte n of its stdout, of its stderr, and of the data that it is sent is a function of the seed and
 * n alone: who knows how much was asked for knows every byte. The lines, as the model writes them:
 *
 *     o N     N bytes to stdout              w       rows * 101 + columns bytes to stdout
 *     e N     N bytes to stderr              s       stops until SIGUSR1
 *     d N     N bytes of data follow         c CODE  closes stdin, stops until SIGUSR1, exits
 *     x CODE  exits                          g       leaves a grandchild that holds what it has
 *     k SIG   raises it                      (empty) nothing
 *
 * 64: stdin is at its end. 97: data that are not what they must be. 98: no such line.
 */
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

struct stream {
	uint64_t at;
	int fd;
};

static struct stream out = {.fd = STDOUT_FILENO}, err = {.fd = STDERR_FILENO}, in;

/* As in tests/model/puppet.py. */
#define PERIOD 65521u

static unsigned char byte_at(const struct stream *stream, uint64_t offset)
{
	return (unsigned char)((uint32_t)((stream->at + offset) % PERIOD) * 2654435761u >> 16);
}

static void say(struct stream *stream, uint64_t count)
{
	unsigned char block[4096];

	while (count > 0) {
		size_t size = count < sizeof block ? (size_t)count : sizeof block;
		size_t done = 0;

		for (size_t i = 0; i < size; i++)
			block[i] = byte_at(stream, i);
		while (done < size) {
			ssize_t n = write(stream->fd, block + done, size - done);

			if (n <= 0)
				_exit(96);
			done += (size_t)n;
		}
		stream->at += size;
		count -= size;
	}
}

static int next_byte(void)
{
	static unsigned char block[4096];
	static ssize_t at, have;

	if (at == have) {
		at = 0;
		have = read(STDIN_FILENO, block, sizeof block);
		if (have <= 0)
			_exit(64);
	}
	return block[at++];
}

static void take_data(uint64_t count)
{
	for (; count > 0; count--, in.at++)
		if (next_byte() != byte_at(&in, 0))
			_exit(97);
}

static void wait_signal(void)
{
	sigset_t set;
	int number;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigwait(&set, &number);
}

static void say_size(void)
{
	struct winsize size = {0};

	ioctl(STDOUT_FILENO, TIOCGWINSZ, &size);
	say(&out, size.ws_row * 101u + size.ws_col);
}

static void obey(char what, uint64_t number)
{
	if (what == 'x')
		exit((int)number);
	if (what == 'k')
		raise((int)number);
	if (what == 'w') {
		say_size();
		return;
	}
	if (what == 'g' && fork() == 0)
		for (;;)
			pause();
	if (what == 'e')
		say(&err, number);
	if (what == 'd')
		take_data(number);
	say(&out, what == 'o' ? number : 1);
	if (what == 'c')
		close(STDIN_FILENO);
	if (what == 's' || what == 'c') {
		wait_signal();
		say(&out, 1);
	}
	if (what == 'c')
		exit((int)number);
}

int main(int argc, char **argv)
{
	struct termios raw;
	sigset_t set;

	if (argc != 2)
		return 2;
	out.at = strtoull(argv[1], NULL, 10);
	err.at = out.at + (1u << 20);
	in.at = out.at + (2u << 20);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_BLOCK, &set, NULL);
	if (tcgetattr(STDIN_FILENO, &raw) == 0) {
		cfmakeraw(&raw);
		tcsetattr(STDIN_FILENO, TCSANOW, &raw);
	}
	say(&out, 1);
	for (;;) {
		uint64_t number = 0;
		int what = next_byte(), byte = what;

		while (byte != '\n')
			if ((byte = next_byte()) >= '0' && byte <= '9')
				number = 10 * number + (uint64_t)(byte - '0');
		if (what == '\n')
			continue;
		if (!strchr("cdegkoswx", what))
			return 98;
		obey((char)what, number);
	}
}
