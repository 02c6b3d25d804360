/* SPDX-License-Identifier: Apache-2.0 */
/* hog: takes memory until it is killed. */
#include <string.h>
#include <sys/mman.h>

#define CHUNK (1 << 20)

int main(void)
{
	for (;;) {
		void *chunk = mmap(NULL, CHUNK, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

		if (chunk != MAP_FAILED)
			memset(chunk, 1, CHUNK);
	}
}
