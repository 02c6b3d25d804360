/* SPDX-License-Identifier: Apache-2.0 */
/* What undoes a network command: each change of the guest's network pushes its inverse. */
#ifndef CHILD_JOURNAL_H
#define CHILD_JOURNAL_H

#include <stdbool.h>

#include "child/netlink.h"

/* Entries are netlink requests, the last change first. After them come the addresses and routes from before
 * the command, which a change may delete as a side effect, and NLMSG_DONE. */
struct journal {
	struct netlink netlink;
	uint8_t *bytes; /* owned, malloc */
	size_t start, end;
};

/* May die. */
void journal_open(struct journal *journal);

/* Before the first change: reads all addresses, and the routes of the main table that the kernel does not
 * make by itself. 0, or -1 with err. */
int journal_keep(struct journal *journal, struct error *err);

/* Makes a change and pushes its inverse. 0, or -1 with err and neither. */
int journal_do(struct journal *journal, struct netlink_request *request,
	const struct netlink_request *inverse, struct error *err);

/* Pushes an entry: a request, or the content of a small file, if it can be read. 0, or -1 with err. */
int journal_push(
	struct journal *journal, uint16_t type, const void *body, size_t length, struct error *err);
int journal_push_file(struct journal *journal, const char *path, struct error *err);

/* Adds those addresses and routes again, as far as possible: a link that goes down loses some. */
void journal_refill(struct journal *journal);

/* Undoes everything, as far as possible; reports no error. */
void journal_undo(struct journal *journal);

/* The same for a journal's entries, by another process. */
void journal_replay(struct netlink *netlink, struct nlmsghdr *entries);

#endif
