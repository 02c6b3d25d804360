/* SPDX-License-Identifier: Apache-2.0 */
/* What undoes a network command: each change of the guest's network pushes its inverse. */
#ifndef CHILD_JOURNAL_H
#define CHILD_JOURNAL_H

#include <stdbool.h>

#include "child/netlink.h"

/* Entries are netlink requests, one behind the other, the last change first. Behind them stands what a
 * change may take away unasked: the addresses and routes from before. NLMSG_DONE ends it. */
struct journal {
	struct netlink netlink;
	uint8_t *bytes; /* owned, malloc */
	size_t start, end;
};

/* May die. */
void journal_open(struct journal *journal);

/* Before the first change: reads all addresses, and the routes of the main table that the kernel does
 * not keep by itself. 0, or -1 with err. */
int journal_keep(struct journal *journal, struct error *err);

/* Makes a change and pushes its inverse. 0, or -1 with err and neither. */
int journal_do(struct journal *journal, struct netlink_request *request,
	const struct netlink_request *inverse, struct error *err);

/* Pushes an entry: a request, or the content of a small file, if it can be read. 0, or -1 with err. */
int journal_push(
	struct journal *journal, uint16_t type, const void *body, size_t length, struct error *err);
int journal_push_file(struct journal *journal, const char *path, struct error *err);

/* Adds the kept addresses and routes that are gone: a link that is down loses some. As far as they can be. */
void journal_refill(struct journal *journal);

/* Undoes all, as far as it can be: nobody is told what fails. */
void journal_undo(struct journal *journal);

/* The same for the entries of a journal, by another process. */
void journal_replay(struct netlink *netlink, struct nlmsghdr *entries);

#endif
