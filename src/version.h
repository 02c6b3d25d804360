/* SPDX-License-Identifier: Apache-2.0 */
/* Which hyperstart this is. */
#ifndef VERSION_H
#define VERSION_H

#define VERSION "0.9.0"

/* A SHA-1 in hexadecimal, and a NUL. */
#define BUILD_ID_SIZE 41u

/* The id that the linker made of all that is in the file, in hexadecimal; readelf -n shows it too. ""
 * if it made none. Takes no lock and calls nobody: a signal handler may ask. */
void version_build_id(char hex[BUILD_ID_SIZE]);

#endif
