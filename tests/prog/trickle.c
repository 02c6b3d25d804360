/* SPDX-License-Identifier: Apache-2.0 */
/* trickle BYTES MICROSECONDS: copies stdin to stdout, resting after every BYTES. A slow reader. */
#include <stdlib.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	static char block[65536];
	unsigned long quota, seen = 0;
	ssize_t got;

	if (argc != 3)
		return 2;
	quota = strtoul(argv[1], NULL, 0);
	while ((got = read(STDIN_FILENO, block, sizeof(block))) > 0) {
		for (ssize_t done = 0, n; done < got; done += n) {
			n = write(STDOUT_FILENO, block + done, (size_t)(got - done));
			if (n <= 0)
				return 1;
		}
		seen += (unsigned long)got;
		if (seen >= quota) {
			seen = 0;
			usleep((useconds_t)atoi(argv[2]));
		}
	}
	return got < 0;
}
