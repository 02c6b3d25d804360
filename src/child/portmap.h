/* SPDX-License-Identifier: Apache-2.0 */
/* The guest's packet filter, by iptables-restore: who may reach which port of the pod. */
#ifndef CHILD_PORTMAP_H
#define CHILD_PORTMAP_H

#include <stdbool.h>

#include "spec/spec.h"

struct child_ports {
	unsigned chain; /* a number that no other container has had */
	const struct white_lists_spec *lists;
	const struct container_spec *container;
};

/* Worker: opens a container's ports by its chain in each table. The argument is a struct child_ports. */
_Noreturn void child_portmap_open(const void *child_ports);

/* Removes these chains, in at most the limit for each table. 0, or -1 with err; a start that was cancelled
 * may have left none to remove. */
int portmap_close_ports(unsigned chain, uint32_t limit_ms, struct error *err);

/* STARTPOD's part, in its worker: `rules` as they are, and the port mapping of `lists` without ports; each
 * may be NULL. 0, or -1 with err; in both cases portmap_undo() of *undo restores what was there before. It
 * takes twice the limit at most. */
int portmap_begin(const char *rules, const struct white_lists_spec *lists, uint32_t limit_ms,
	const char **undo, struct error *err);

/* Restores as much as possible; returns after the first program that takes longer than the limit. */
void portmap_undo(const char *undo, uint32_t limit_ms);

/* Pure functions. */

/* Which of the known tables a text of rules names, a bit for each. */
unsigned portmap_tables(const char *rules);
/* A text without rules: comments, tables, and chains that accept. */
bool portmap_is_empty(const char *rules);

#endif
