/* SPDX-License-Identifier: Apache-2.0 */
/* say OUT ERR CODE: writes OUT to stdout, ERR to stderr and exits with CODE. The shortest life. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	if (argc != 4)
		return 2;
	if (write(STDOUT_FILENO, argv[1], strlen(argv[1])) < 0 ||
		write(STDERR_FILENO, argv[2], strlen(argv[2])) < 0)
		return 1;
	return atoi(argv[3]);
}
