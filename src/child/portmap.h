/* SPDX-License-Identifier: Apache-2.0 */
/* The guest's packet filter, by iptables-restore: who may reach which port of the pod. */
#ifndef CHILD_PORTMAP_H
#define CHILD_PORTMAP_H

#include <stdbool.h>

#include "spec/spec.h"

struct child_ports {
	unsigned chain; /* a number that no other container of the agent has had */
	const struct white_lists_spec *lists;
	const struct container_spec *container;
};

/* Worker: opens a container's ports, by a chain of its own in each table. The argument is a struct
 * child_ports. */
_Noreturn void child_portmap_open(const void *child_ports);

/* Takes them away, table by table, none for longer than the limit. 0, or -1 with err; a start that was cut
 * short may have left nothing to take away. */
int portmap_close_ports(unsigned chain, uint32_t limit_ms, struct error *err);

/* STARTPOD's part, in its worker: `rules` as they are, and the port mapping of `lists` with no port
 * yet; each may be NULL. 0 and *undo, a text for portmap_undo() that is malloced; or -1 with err and
 * all as it was. It takes three times the limit at most. */
int portmap_begin(const char *rules, const struct white_lists_spec *lists, uint32_t limit_ms,
	char **undo, struct error *err);

/* Puts back what was there before, as far as it can be. It ends with the first program that takes
 * longer than the limit. */
void portmap_undo(const char *undo, uint32_t limit_ms);

/* A text of rules: which of the known tables does it name? A bit for each, for portmap_begin(). */
unsigned portmap_tables(const char *rules);

/* A text of rules without any: tables with nothing but comments and chains that accept. */
bool portmap_is_empty(const char *rules);

#endif
