/* SPDX-License-Identifier: Apache-2.0 */
/* rtnetlink: one request, one answer, with the kernel's own text of an error; how a link is found. */
#ifndef CHILD_NETLINK_H
#define CHILD_NETLINK_H

#include <net/if.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <linux/netlink.h>

#include "base/error.h"
#include "spec/address.h"

/* More than the network of any guest takes; malloc touches no page before it is used. */
#define NETLINK_ANSWER_MAX (2 * MIB)
#define NETLINK_FULL       "the network's state takes too much memory"

struct netlink {
	int fd; /* owned */
	uint32_t sequence;
	/* The answer to the last request: messages of checked lengths, then NLMSG_DONE. */
	uint8_t *answer; /* owned, malloc */
	size_t length;
	bool is_interrupted; /* the objects changed while they were read */
};

#define for_each_message(message, first)                                                    \
	for (struct nlmsghdr *message = (void *)(first); message->nlmsg_type != NLMSG_DONE; \
		message = (void *)((uint8_t *)message + NLMSG_ALIGN(message->nlmsg_len)))

/* A message to be sent. */
struct netlink_request {
	struct nlmsghdr header;
	uint8_t body[240];
};

/* A socket that is a member of these RTMGRP_* `groups`. Both may die. */
int netlink_socket(unsigned groups);
void netlink_open(struct netlink *netlink);

/* A request of `type` with NLM_F_* `flags`; `head` is the struct that the type begins with. */
void netlink_begin(struct netlink_request *request, uint16_t type, uint16_t flags, const void *head,
	size_t length);
/* Adds an attribute. Asserts that there is room: the caller refuses longer ones. */
void netlink_put(struct netlink_request *request, uint16_t type, const void *data, size_t length);

/* Sends it and waits for the end of its answer: 0, or -1 with err, whose code is the kernel's errno. */
int netlink_ask(struct netlink *netlink, struct nlmsghdr *request, struct error *err);
/* All objects of a kind, as they are at one moment; `type` is RTM_GETADDR or the like. */
int netlink_dump(struct netlink *netlink, uint16_t type, struct error *err);

struct network_link {
	int index;
	char name[IFNAMSIZ];
	bool is_up;
	uint32_t mtu;
};

/* By MAC, else by name, else by link->index; NULL for what is not given. 0, or -1 with err, whose code is
 * ENODEV when there is no such link. */
int network_link_find(struct netlink *netlink, const char *name, const uint8_t *mac,
	struct network_link *link, struct error *err);

/* Pure functions over bytes. */

enum netlink_progress { NETLINK_MORE, NETLINK_DONE, NETLINK_INTERRUPTED, NETLINK_REFUSED };

/* Adds the messages of a datagram to the answer, if they belong to it. `bytes` is aligned for a struct
 * nlmsghdr. */
enum netlink_progress netlink_parse(
	struct netlink *netlink, const void *bytes, size_t length, struct error *err);

/* Whether the message describes a link, with that MAC unless it is NULL. */
bool network_link_parse(
	const struct nlmsghdr *message, const uint8_t *mac, struct network_link *link);

/* The message's head of `size` bytes; NULL when the message is shorter. */
const void *netlink_head(const struct nlmsghdr *message, size_t size);

/* The first attribute of that type, of at least `least` bytes, after a head of `head` bytes; NULL: there is
 * none. *length, unless NULL, becomes its length. */
const void *netlink_find(
	const struct nlmsghdr *message, size_t head, uint16_t type, size_t least, size_t *length);

#endif
