/* SPDX-License-Identifier: Apache-2.0 */
/* assert() for the agent's own faults, never compiled out. The C library's prints through stdio, 15 KB that
 * nothing else needs. A trap is reported like every fault (boot.c), with the pc: addr2line has the line. */
#ifndef INVARIANT_H
#define INVARIANT_H

#ifdef __SANITIZE_ADDRESS__ /* the tests' build, where nobody reports a pc */
#include <assert.h>
#else
#define assert(holds) ((holds) ? (void)0 : __builtin_trap())
#define static_assert _Static_assert
#endif

#endif
