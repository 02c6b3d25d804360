/* SPDX-License-Identifier: Apache-2.0 */
/* The guest's network as the kernel tells it: to look a device up, and to put everything back when a
 * command has failed. */
#ifndef CHILD_NETWORK_STATE_H
#define CHILD_NETWORK_STATE_H

#include <net/if.h>
#include <stdbool.h>

#include "child/netlink.h"
#include "spec/address.h"

/* Links, addresses, and the routes of the main table: netlink messages one behind the other. */
struct network_state {
	uint8_t *messages; /* owned, malloc */
	size_t length;
	bool is_cut; /* while it is read: there was no room for all of it */
};

struct network_link {
	int index;
	char name[IFNAMSIZ];
	uint8_t mac[MAC_BYTES];
	bool has_mac, is_up;
	uint32_t mtu;
	int32_t accept_ra; /* whether routers may configure it, as the kernel has it; 0 without IPv6 */
};

struct network_rename {
	struct network_link link;
	char to[IFNAMSIZ];
};

/* Fills a state that is empty or has been filled before. 0, or -1 with err. */
int network_state_read(struct network_state *state, struct netlink *netlink, struct error *err);
void network_state_free(struct network_state *state);

/* By name or, with name NULL, by MAC. */
bool network_state_find(const struct network_state *state, const char *name, const uint8_t *mac,
	struct network_link *link);
bool network_state_has_address(const struct network_state *state, int index,
	const struct ip_address *address, unsigned prefix);
/* A route to `dest`: over `gateway`, through the device `index`, from `src`, where they are given
 * (not NULL, not 0). */
bool network_state_has_route(const struct network_state *state, const struct ip_network *dest,
	const struct ip_address *gateway, int index, const struct ip_address *src);

/* Adds the addresses and routes of `before` that are gone: a device that is down loses some. As far
 * as they can be. */
void network_state_refill(const struct network_state *before, struct netlink *netlink);

/* Makes the devices of `before` what they were, with the addresses and routes that they had. As far
 * as it can be done: there is nobody to be told. */
void network_state_restore(const struct network_state *before, struct netlink *netlink);

/* One change each: 0, or -1 with err. */
int network_link_set_up(
	struct netlink *netlink, const struct network_link *link, bool up, struct error *err);
int network_link_set_mtu(
	struct netlink *netlink, const struct network_link *link, uint32_t mtu, struct error *err);
/* Nothing is told: a kernel may be without IPv6. */
void network_link_set_accept_ra(const char *name, int32_t accept_ra);
/* All at once: two may change places. A link that is up goes down and up again for it, and loses
 * routes. */
int network_links_rename(struct netlink *netlink, const struct network_rename *renames,
	size_t count, struct error *err);

#endif
