/* SPDX-License-Identifier: Apache-2.0 */
/* What runs in the containers: load cat | load flood BYTES | load sink. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char block[65536];

static int cat(void)
{
	ssize_t n;

	while ((n = read(STDIN_FILENO, block, sizeof(block))) > 0)
		if (write(STDOUT_FILENO, block, (size_t)n) != n)
			return 1;
	return 0;
}

static int flood(unsigned long long bytes)
{
	while (bytes > 0) {
		size_t size = bytes < sizeof(block) ? (size_t)bytes : sizeof(block);
		ssize_t n = write(STDOUT_FILENO, block, size);

		if (n <= 0)
			return 1;
		bytes -= (size_t)n;
	}
	return 0;
}

static int sink(void)
{
	while (read(STDIN_FILENO, block, sizeof(block)) > 0)
		;
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 2 && strcmp(argv[1], "cat") == 0)
		return cat();
	if (argc == 3 && strcmp(argv[1], "flood") == 0)
		return flood(strtoull(argv[2], NULL, 0));
	if (argc == 2 && strcmp(argv[1], "sink") == 0)
		return sink();
	return 2;
}
