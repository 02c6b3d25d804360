/* SPDX-License-Identifier: Apache-2.0 */
/* pattern SEED BYTES: that many bytes of a seeded pseudo-random pattern on stdout. */
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	static uint64_t block[4096];
	unsigned long long state, left;

	if (argc != 3)
		return 2;
	state = strtoull(argv[1], NULL, 0) * 2654435761u + 88172645463325252u;
	left = strtoull(argv[2], NULL, 0);
	while (left > 0) {
		size_t size = left < sizeof(block) ? (size_t)left : sizeof(block);

		for (size_t i = 0; i < sizeof(block) / sizeof(block[0]); i++) {
			state ^= state << 13;
			state ^= state >> 7;
			state ^= state << 17;
			block[i] = state;
		}
		for (size_t done = 0; done < size;) {
			ssize_t n = write(STDOUT_FILENO, (char *)block + done, size - done);

			if (n <= 0)
				return 1;
			done += (size_t)n;
		}
		left -= size;
	}
	return 0;
}
