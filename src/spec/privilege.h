/* SPDX-License-Identifier: Apache-2.0 */
/* Capabilities and resource limits by the names that hosts give them. */
#ifndef PRIVILEGE_H
#define PRIVILEGE_H

#include <stdint.h>

#define CAPABILITY_BIT(number) (UINT64_C(1) << (number))

/* The number of "CAP_CHOWN" or "CHOWN"; -1: there is no such capability. */
int capability_find(const char *name);

/* "CHOWN"; the number is one that capability_find() returns. */
const char *capability_name(int number);

/* The caller's own, as bits: for root in a VM, all that the running kernel has. */
uint64_t capability_own(void);

/* The resource number of "RLIMIT_NOFILE"; -1: there is no such limit. */
int rlimit_find(const char *name);

#endif
