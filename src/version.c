/* SPDX-License-Identifier: Apache-2.0 */
/* Which hyperstart this is: the running program reads its own build id, as a debugger reads the file's. */
#include "version.h"

#include <elf.h>
#include <link.h>
#include <stddef.h>

#include "base/format.h"

extern const ElfW(Ehdr) __ehdr_start; /* the linker's: where our file begins in memory */

static void hex_write(char hex[BUILD_ID_SIZE], const unsigned char *id, size_t length)
{
	for (size_t i = 0; i < length && 2 * i + 2 < BUILD_ID_SIZE; i++)
		format(hex + 2 * i, sizeof("00"), "%02x", id[i]);
}

/* By offsets into the file, not by addresses: notes stand in the segment that begins with the ELF
 * header, wherever that was loaded. */
void version_build_id(char hex[BUILD_ID_SIZE])
{
	const char *file = (const char *)&__ehdr_start;
	const ElfW(Phdr) *segment = (const void *)(file + __ehdr_start.e_phoff);

	hex[0] = '\0';
	for (size_t i = 0; i < __ehdr_start.e_phnum; i++, segment++) {
		const char *at = file + segment->p_offset, *end = at + segment->p_filesz;

		while (segment->p_type == PT_NOTE && at < end) {
			const ElfW(Nhdr) *note = (const void *)at;

			at += sizeof(*note) + note->n_namesz;
			if (note->n_type == NT_GNU_BUILD_ID)
				hex_write(hex, (const void *)at, note->n_descsz);
			at += (note->n_descsz + 3) / 4 * 4;
		}
	}
}
