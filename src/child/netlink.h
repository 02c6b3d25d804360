/* SPDX-License-Identifier: Apache-2.0 */
/* rtnetlink: one request, one answer, and the kernel's own words when it refuses. */
#ifndef CHILD_NETLINK_H
#define CHILD_NETLINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <linux/netlink.h>

#include "base/error.h"

struct netlink {
	int fd; /* owned */
	uint32_t sequence;
};

/* A message to be sent; begins with a struct nlmsghdr. */
struct netlink_request {
	_Alignas(NLMSG_ALIGNTO) uint8_t bytes[4096];
};

/* Sees a message of an answer; its length was checked. */
typedef void netlink_visitor(void *context, const struct nlmsghdr *message);

/* A socket that is a member of these RTMGRP_* `groups`. The fd, or -1 with err. */
int netlink_socket(unsigned groups, struct error *err);

/* 0, or -1 with err. */
int netlink_open(struct netlink *netlink, struct error *err);

/* A request of `type` with NLM_F_* `flags`; `head` is the struct that the type begins with. */
void netlink_begin(struct netlink_request *request, uint16_t type, uint16_t flags, const void *head,
	size_t length);
/* Adds an attribute. Asserts that there is room: what is longer has been refused before. */
void netlink_put(struct netlink_request *request, uint16_t type, const void *data, size_t length);

/* Sends it and waits for its answer: 0, or -1 with err, whose code is the kernel's errno. */
int netlink_ask(struct netlink *netlink, struct netlink_request *request, struct error *err);
/* The same for a request with NLM_F_DUMP. EINTR: what was dumped changed meanwhile, and what was seen
 * may be neither what was nor what is. */
int netlink_dump(struct netlink *netlink, struct netlink_request *request, netlink_visitor *visit,
	void *context, struct error *err);

/* Sends a message that the kernel once told, as a request of another type. */
int netlink_return(struct netlink *netlink, const struct nlmsghdr *message, uint16_t type,
	uint16_t flags, struct error *err);

/* From here on pure functions over bytes. */

enum netlink_progress { NETLINK_MORE, NETLINK_DONE, NETLINK_REFUSED };

/* What is to become of the answer to the request numbered `sequence`. */
struct netlink_answer {
	uint32_t sequence;
	netlink_visitor *visit; /* or NULL */
	void *context;
	bool is_interrupted; /* so far */
};

/* One received datagram, as far as it belongs to the answer. `bytes` is aligned for a struct
 * nlmsghdr. */
enum netlink_progress netlink_parse(
	const void *bytes, size_t length, struct netlink_answer *answer, struct error *err);

/* The message's head of `size` bytes; NULL when the message is shorter. */
const void *netlink_head(const struct nlmsghdr *message, size_t size);

/* The first attribute of that type behind a head of `head` bytes, of at least `least` bytes; NULL
 * when there is none. *length, unless NULL, is how long it is. */
const void *netlink_find(
	const struct nlmsghdr *message, size_t head, uint16_t type, size_t least, size_t *length);
/* The same among `length` bytes of attributes, which are those of another one. */
const void *netlink_find_in(
	const uint8_t *bytes, size_t length, uint16_t type, size_t least, size_t *found);

#endif
