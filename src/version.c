/* SPDX-License-Identifier: Apache-2.0 */
/* Which hyperstart this is: the running program reads its own build id, as a debugger reads the file's. */
#include "version.h"

#include <elf.h>
#include <link.h>
#include <stddef.h>

#include "base/format.h"

extern const ElfW(Ehdr) __ehdr_start; /* the linker's: where our file begins in memory */

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
				for (size_t b = 0; b < note->n_descsz && 2 * b + 2 < BUILD_ID_SIZE;
					b++)
					format(hex + 2 * b, sizeof("00"), "%02x",
						(unsigned char)at[b]);
			at += (note->n_descsz + 3) / 4 * 4;
		}
	}
}
