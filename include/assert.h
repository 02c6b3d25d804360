/* SPDX-License-Identifier: Apache-2.0 */
/* assert() for our own faults, never compiled out. The C library's prints through stdio, 15 KB that
 * nothing else needs. A trap is reported like every fault (boot.c): the pc is the line, for addr2line. */
#ifndef ASSERT_H
#define ASSERT_H

#define assert(holds) ((holds) ? (void)0 : __builtin_trap())

#endif
