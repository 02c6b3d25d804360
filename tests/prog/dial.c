/* SPDX-License-Identifier: Apache-2.0 */
/* dial PORT: connects to that vsock port of this machine, over loopback; what comes until the end of
 * the connection goes to stdout. */
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/vm_sockets.h>

int main(int argc, char **argv)
{
	struct sockaddr_vm address = {.svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_LOCAL};
	int fd = socket(AF_VSOCK, SOCK_STREAM, 0);
	char bytes[4096];
	ssize_t n;

	if (argc != 2)
		return 2;
	address.svm_port = (unsigned int)atoi(argv[1]);
	if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
		return 1;
	while ((n = read(fd, bytes, sizeof(bytes))) > 0)
		(void)!write(STDOUT_FILENO, bytes, (size_t)n);
	return n < 0;
}
