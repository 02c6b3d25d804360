/* SPDX-License-Identifier: Apache-2.0 */
/* The guest's network as the kernel tells it: to look a device up, and to put everything back when a
 * command has failed.
 *
 * The kernel's messages are kept as they came: as a request, the same message makes what it told.
 */
#include "child/network_state.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/ipv6.h>
#include <linux/rtnetlink.h>

#include "base/count.h"
#include "base/file.h"
#include "base/format.h"

/* More than any guest has. malloc leaves the pages untouched that it does not need. */
#define STATE_BYTES_MAX (2 * MIB)

/* --- Reading ---------------------------------------------------------------------------------- */

static const struct nlmsghdr *message_at(const struct network_state *state, size_t at)
{
	return at < state->length ? (const void *)(state->messages + at) : NULL;
}

static const struct nlmsghdr *message_after(
	const struct network_state *state, const struct nlmsghdr *message)
{
	size_t at = (size_t)((const uint8_t *)message - state->messages);

	return message_at(state, at + NLMSG_ALIGN(message->nlmsg_len));
}

#define for_each_message(message, state)                                     \
	for (const struct nlmsghdr *message = message_at(state, 0); message; \
		message = message_after(state, message))

static void message_keep(void *context, const struct nlmsghdr *message)
{
	const struct rtmsg *route = netlink_head(message, sizeof(*route));
	size_t size = NLMSG_ALIGN(message->nlmsg_len);
	struct network_state *state = context;

	if (state->is_cut ||
		(message->nlmsg_type == RTM_NEWROUTE &&
			(!route || route->rtm_table != RT_TABLE_MAIN ||
				route->rtm_flags & RTM_F_CLONED)))
		return;
	if (size > STATE_BYTES_MAX - state->length) {
		state->is_cut = true;
		return;
	}
	memcpy(state->messages + state->length, message, message->nlmsg_len);
	state->length += size;
}

static int read_once(struct network_state *state, struct netlink *netlink, struct error *err)
{
	static const uint16_t dumps[] = {RTM_GETLINK, RTM_GETADDR, RTM_GETROUTE};
	/* Of any family: the head of each begins with it, and is no longer than this one. */
	const struct ifinfomsg head = {.ifi_family = AF_UNSPEC};
	/* No counters with each link, please. */
	const uint32_t mask = RTEXT_FILTER_SKIP_STATS;
	struct netlink_request request;

	if (!state->messages)
		state->messages = malloc(STATE_BYTES_MAX);
	if (!state->messages)
		return error_memory(err);
	state->length = 0;
	state->is_cut = false;
	for (size_t i = 0; i < COUNT(dumps); i++) {
		netlink_begin(&request, dumps[i], NLM_F_DUMP, &head, sizeof(head));
		netlink_put(&request, IFLA_EXT_MASK, &mask, sizeof(mask));
		if (netlink_dump(netlink, &request, message_keep, state, err) < 0)
			return -1;
	}
	return state->is_cut ? error_set(err, ENOMEM, "the network's state takes too much memory")
			     : 0;
}

int network_state_read(struct network_state *state, struct netlink *netlink, struct error *err)
{
	int rc;

	/* What is only half of it must not be what everything is put back to. */
	do {
		rc = read_once(state, netlink, err);
	} while (rc < 0 && err->code == EINTR);
	return rc;
}

void network_state_free(struct network_state *state)
{
	free(state->messages);
	*state = (struct network_state){0};
}

/* --- Looking ---------------------------------------------------------------------------------- */

static bool link_parse(const struct nlmsghdr *message, struct network_link *link)
{
	const struct ifinfomsg *head = netlink_head(message, sizeof(*head));
	const char *name;
	const uint8_t *mac, *family;
	const uint32_t *mtu;
	const int32_t *conf = NULL;
	size_t length;

	if (message->nlmsg_type != RTM_NEWLINK || !head)
		return false;
	*link = (struct network_link){
		.index = head->ifi_index,
		.is_up = head->ifi_flags & IFF_UP,
	};
	name = netlink_find(message, sizeof(*head), IFLA_IFNAME, 1, &length);
	if (!name || length > sizeof(link->name))
		return false;
	memcpy(link->name, name, length);
	link->name[sizeof(link->name) - 1] = '\0';
	mac = netlink_find(message, sizeof(*head), IFLA_ADDRESS, MAC_BYTES, &length);
	link->has_mac = mac && length == MAC_BYTES;
	if (link->has_mac)
		memcpy(link->mac, mac, MAC_BYTES);
	mtu = netlink_find(message, sizeof(*head), IFLA_MTU, sizeof(*mtu), NULL);
	if (mtu)
		link->mtu = *mtu;
	family = netlink_find(message, sizeof(*head), IFLA_AF_SPEC, 0, &length);
	if (family)
		family = netlink_find_in(family, length, AF_INET6, 0, &length);
	if (family)
		conf = netlink_find_in(family, length, IFLA_INET6_CONF,
			(DEVCONF_ACCEPT_RA + 1) * sizeof(*conf), NULL);
	if (conf)
		link->accept_ra = conf[DEVCONF_ACCEPT_RA];
	return true;
}

bool network_state_find(const struct network_state *state, const char *name, const uint8_t *mac,
	struct network_link *link)
{
	for_each_message (message, state) {
		if (!link_parse(message, link))
			continue;
		if (name ? strcmp(link->name, name) == 0
			 : link->has_mac && memcmp(link->mac, mac, MAC_BYTES) == 0)
			return true;
	}
	return false;
}

static bool find_index(const struct network_state *state, int index, struct network_link *link)
{
	for_each_message (message, state)
		if (link_parse(message, link) && link->index == index)
			return true;
	return false;
}

/* What tells one address, or one route, from another. Without padding: compared as bytes. */
struct key {
	uint8_t type, family, prefix, tos;
	int32_t index;
	uint32_t priority;
	uint8_t address[16], gateway[16], source[16];
};

static void attribute_copy(
	void *to, const struct nlmsghdr *message, size_t head, uint16_t type, size_t length)
{
	const void *from = netlink_find(message, head, type, length, NULL);

	if (from)
		memcpy(to, from, length);
}

static bool key_of(const struct nlmsghdr *message, struct key *key)
{
	const struct ifaddrmsg *address = netlink_head(message, sizeof(*address));
	const struct rtmsg *route = netlink_head(message, sizeof(*route));
	unsigned length;

	memset(key, 0, sizeof(*key));
	key->type = (uint8_t)message->nlmsg_type;
	if (message->nlmsg_type == RTM_NEWADDR && address) {
		key->family = address->ifa_family;
		key->prefix = address->ifa_prefixlen;
		key->index = (int32_t)address->ifa_index;
		length = ip_length(key->family);
		attribute_copy(key->address, message, sizeof(*address), IFA_ADDRESS, length);
		attribute_copy(key->address, message, sizeof(*address), IFA_LOCAL, length);
		return true;
	}
	if (message->nlmsg_type == RTM_NEWROUTE && route) {
		key->family = route->rtm_family;
		key->prefix = route->rtm_dst_len;
		key->tos = route->rtm_tos;
		length = ip_length(key->family);
		attribute_copy(&key->index, message, sizeof(*route), RTA_OIF, sizeof(key->index));
		attribute_copy(&key->priority, message, sizeof(*route), RTA_PRIORITY,
			sizeof(key->priority));
		attribute_copy(key->address, message, sizeof(*route), RTA_DST, length);
		attribute_copy(key->gateway, message, sizeof(*route), RTA_GATEWAY, length);
		attribute_copy(key->source, message, sizeof(*route), RTA_PREFSRC, length);
		return true;
	}
	return false;
}

static bool contains_key(const struct network_state *state, const struct key *key)
{
	struct key other;

	for_each_message (message, state) {
		if (key_of(message, &other) && memcmp(key, &other, sizeof(other)) == 0)
			return true;
	}
	return false;
}

static bool contains(const struct network_state *state, const struct nlmsghdr *message)
{
	struct key key;

	return key_of(message, &key) && contains_key(state, &key);
}

/* Their first `bits` bits: the kernel drops what an IPv6 destination has behind them. */
static bool is_same_network(const uint8_t *a, const uint8_t *b, unsigned bits)
{
	unsigned whole = bits / 8;

	return memcmp(a, b, whole) == 0 &&
		(bits % 8 == 0 || (a[whole] ^ b[whole]) >> (8 - bits % 8) == 0);
}

bool network_state_has_address(const struct network_state *state, int index,
	const struct ip_address *address, unsigned prefix)
{
	struct key key = {
		.type = RTM_NEWADDR,
		.family = (uint8_t)address->family,
		.prefix = (uint8_t)prefix,
		.index = index,
	};

	memcpy(key.address, address->bytes, sizeof(key.address));
	return contains_key(state, &key);
}

bool network_state_has_route(const struct network_state *state, const struct ip_network *dest,
	const struct ip_address *gateway, int index, const struct ip_address *src)
{
	static const uint8_t none[16];
	struct key key;

	for_each_message (message, state)
		if (message->nlmsg_type == RTM_NEWROUTE && key_of(message, &key) &&
			key.family == dest->address.family && key.prefix == dest->prefix &&
			is_same_network(key.address, dest->address.bytes, dest->prefix) &&
			memcmp(key.gateway, gateway ? gateway->bytes : none, sizeof(none)) == 0 &&
			(index == 0 || key.index == index) &&
			(!src || memcmp(key.source, src->bytes, sizeof(key.source)) == 0))
			return true;
	return false;
}

/* --- Changing links --------------------------------------------------------------------------- */

static void begin_link(struct netlink_request *request, int index, unsigned flags, unsigned change)
{
	const struct ifinfomsg head = {
		.ifi_index = index,
		.ifi_flags = flags,
		.ifi_change = change,
	};

	netlink_begin(request, RTM_NEWLINK, 0, &head, sizeof(head));
}

int network_link_set_up(
	struct netlink *netlink, const struct network_link *link, bool up, struct error *err)
{
	struct netlink_request request;

	begin_link(&request, link->index, up ? IFF_UP : 0, IFF_UP);
	if (netlink_ask(netlink, &request, err) < 0)
		return error_wrap(err, "set %s", up ? "up" : "down");
	return 0;
}

int network_link_set_mtu(
	struct netlink *netlink, const struct network_link *link, uint32_t mtu, struct error *err)
{
	struct netlink_request request;

	begin_link(&request, link->index, 0, 0);
	netlink_put(&request, IFLA_MTU, &mtu, sizeof(mtu));
	if (netlink_ask(netlink, &request, err) < 0)
		return error_wrap(err, "mtu %u", mtu);
	return 0;
}

void network_link_set_accept_ra(const char *name, int32_t accept_ra)
{
	char path[64], text[16];

	format(path, sizeof(path), "/proc/sys/net/ipv6/conf/%s/accept_ra", name);
	format(text, sizeof(text), "%d", accept_ra);
	(void)file_write(path, text);
}

static int set_name(struct netlink *netlink, int index, const char *name, struct error *err)
{
	struct netlink_request request;

	begin_link(&request, index, 0, 0);
	netlink_put(&request, IFLA_IFNAME, name, strlen(name) + 1);
	if (netlink_ask(netlink, &request, err) < 0)
		return error_wrap(err, "new name '%s'", name);
	return 0;
}

int network_links_rename(struct netlink *netlink, const struct network_rename *renames,
	size_t count, struct error *err)
{
	/* By way of a name that no other has. Before Linux 6.2 only a link that is down can get
	 * one. */
	for (size_t i = 0; i < count; i++) {
		const struct network_link *link = &renames[i].link;
		char name[IFNAMSIZ];

		format(name, sizeof(name), "rename%d", link->index);
		if ((link->is_up && network_link_set_up(netlink, link, false, err) < 0) ||
			set_name(netlink, link->index, name, err) < 0)
			return error_wrap(err, "interface '%s'", link->name);
	}
	for (size_t i = 0; i < count; i++) {
		const struct network_link *link = &renames[i].link;

		if (set_name(netlink, link->index, renames[i].to, err) < 0 ||
			(link->is_up && network_link_set_up(netlink, link, true, err) < 0))
			return error_wrap(err, "interface '%s'", link->name);
	}
	return 0;
}

/* --- Putting back ----------------------------------------------------------------------------- */

/* An address, or a route that somebody made: not one of those that the kernel keeps by itself. */
static bool is_ours(const struct nlmsghdr *message)
{
	const struct rtmsg *route = netlink_head(message, sizeof(*route));

	if (message->nlmsg_type == RTM_NEWADDR)
		return true;
	return message->nlmsg_type == RTM_NEWROUTE && route &&
		route->rtm_protocol != RTPROT_KERNEL && route->rtm_protocol != RTPROT_RA;
}

/* As a request it must not tell what is found out by the kernel itself. */
static int message_make(struct netlink *netlink, const struct nlmsghdr *message, struct error *err)
{
	struct netlink_request copy;
	struct rtmsg *route = (void *)(copy.bytes + NLMSG_HDRLEN);

	if (message->nlmsg_len > sizeof(copy.bytes))
		return -1;
	memcpy(copy.bytes, message, message->nlmsg_len);
	if (message->nlmsg_type == RTM_NEWROUTE)
		route->rtm_flags &= RTNH_F_ONLINK;
	return netlink_return(netlink, (const void *)copy.bytes, message->nlmsg_type,
		NLM_F_CREATE | NLM_F_EXCL, err);
}

void network_state_refill(const struct network_state *before, struct netlink *netlink)
{
	struct network_state now = {0};
	struct error ignored;
	bool progress;

	/* Once more as long as it helps: a route may need another to reach its gateway. */
	do {
		progress = false;
		if (network_state_read(&now, netlink, &ignored) < 0)
			break;
		for_each_message (message, before)
			if (is_ours(message) && !contains(&now, message) &&
				message_make(netlink, message, &ignored) == 0)
				progress = true;
	} while (progress);
	network_state_free(&now);
}

/* Has the device lost an address? */
static bool has_lost_one(
	const struct network_state *before, const struct network_state *now, int index)
{
	struct key key;

	for_each_message (message, before)
		if (message->nlmsg_type == RTM_NEWADDR && key_of(message, &key) &&
			key.index == index && !contains(now, message))
			return true;
	return false;
}

/* Routes go before the addresses that they may depend on: `type` is one of both. And the first of a
 * network's addresses is its own on the way out: if one is lost, all have to be made again in their
 * order. */
static void remove_new(const struct network_state *before, const struct network_state *now,
	struct netlink *netlink, uint16_t type)
{
	struct network_link link;
	struct error ignored;
	struct key key;

	for_each_message (message, now)
		if (message->nlmsg_type == type && is_ours(message) && key_of(message, &key) &&
			find_index(before, key.index, &link) &&
			(!contains(before, message) ||
				(type == RTM_NEWADDR && has_lost_one(before, now, key.index))))
			netlink_return(netlink, message, type + 1, 0, &ignored);
}

static void restore_links(const struct network_state *before, const struct network_state *now,
	struct netlink *netlink)
{
	struct network_rename *renames;
	struct network_link was, is;
	struct error ignored;
	size_t count = 0, most = 0;

	for_each_message (message, before)
		most++;
	renames = calloc(most + 1, sizeof(*renames));
	for_each_message (message, before) {
		if (!link_parse(message, &was) || !find_index(now, was.index, &is))
			continue;
		if (was.mtu != is.mtu)
			network_link_set_mtu(netlink, &was, was.mtu, &ignored);
		/* A device that grows to IPv6's least MTU begins anew with the kernel's own. */
		if (was.accept_ra != is.accept_ra || was.mtu != is.mtu)
			network_link_set_accept_ra(is.name, was.accept_ra);
		if (was.is_up != is.is_up)
			network_link_set_up(netlink, &was, was.is_up, &ignored);
		if (renames && strcmp(was.name, is.name) != 0) {
			renames[count].link = was;
			memcpy(renames[count++].to, was.name, sizeof(was.name));
		}
	}
	network_links_rename(netlink, renames, count, &ignored);
	free(renames);
}

void network_state_restore(const struct network_state *before, struct netlink *netlink)
{
	struct network_state now = {0};
	struct error ignored;

	if (network_state_read(&now, netlink, &ignored) == 0) {
		remove_new(before, &now, netlink, RTM_NEWROUTE);
		remove_new(before, &now, netlink, RTM_NEWADDR);
		restore_links(before, &now, netlink);
	}
	network_state_free(&now);
	network_state_refill(before, netlink);
}
