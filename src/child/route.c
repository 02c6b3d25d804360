/* SPDX-License-Identifier: Apache-2.0 */
/* Routes of the guest: their text, and how they are made. */
#include "child/route.h"

#include <errno.h>
#include <string.h>

#include <linux/rtnetlink.h>

/* A route is of one family. */
static int agree(
	struct route *route, const struct ip_address *other, const char *what, struct error *err)
{
	if (route->dest.address.family == AF_UNSPEC)
		route->dest.address.family = other->family;
	return route->dest.address.family == other->family
		? 0
		: error_set(err, EINVAL, "%s and destination do not match", what);
}

int route_parse(const struct route_spec *spec, struct route *out, struct error *err)
{
	*out = (struct route){
		.name = spec->dest ? spec->dest : "default",
		.device = spec->device,
		.has_gateway = spec->gateway,
		.has_src = spec->src,
	};
	if (destination_parse(spec->dest, &out->dest, err) < 0 ||
		(out->has_gateway && ip_parse(spec->gateway, &out->gateway, err) < 0) ||
		(out->has_src && ip_parse(spec->src, &out->src, err) < 0))
		return -1;
	if (!out->has_gateway && !out->device)
		return error_set(err, EINVAL, "neither a gateway nor a device");
	if ((out->has_gateway && agree(out, &out->gateway, "gateway", err) < 0) ||
		(out->has_src && agree(out, &out->src, "source", err) < 0))
		return -1;
	if (out->dest.address.family == AF_UNSPEC)
		out->dest.address.family = AF_INET;
	return 0;
}

int routes_parse(
	const struct route_spec *specs, size_t count, struct route *routes, struct error *err)
{
	if (count > ROUTES_MAX)
		return error_set(err, E2BIG, "%zu routes: more than %u", count, ROUTES_MAX);
	for (size_t i = 0; i < count; i++) {
		const struct route *a = &routes[i];
		int rc = route_parse(&specs[i], &routes[i], err);

		/* None of these structs has padding. */
		for (const struct route *b = routes; rc == 0 && b < a; b++)
			if (memcmp(&a->dest, &b->dest, sizeof(a->dest)) == 0 &&
				memcmp(&a->gateway, &b->gateway, sizeof(a->gateway)) == 0 &&
				memcmp(&a->src, &b->src, sizeof(a->src)) == 0 &&
				strcmp(a->device ? a->device : "", b->device ? b->device : "") == 0)
				rc = error_set(err, EEXIST, "given twice");
		if (rc < 0)
			return error_wrap(err, "route to '%s'", a->name);
	}
	return 0;
}

/* By their first `bits` bits: the kernel drops the others of an IPv6 destination. */
static bool is_same_network(const uint8_t *a, const uint8_t *b, unsigned bits)
{
	unsigned whole = bits / 8;

	return memcmp(a, b, whole) == 0 &&
		(bits % 8 == 0 || (a[whole] ^ b[whole]) >> (8 - bits % 8) == 0);
}

/* The value of an attribute; zeros if the route has none. */
static const void *value(const struct nlmsghdr *message, uint16_t type, size_t length)
{
	static const uint8_t none[16];
	const void *found = netlink_find(message, sizeof(struct rtmsg), type, length, NULL);

	return found ? found : none;
}

bool route_matches(const struct route *route, const struct nlmsghdr *message)
{
	const struct rtmsg *head = netlink_head(message, sizeof(*head));
	const struct ip_network *dest = &route->dest;
	unsigned length = ip_length(dest->address.family);

	return head && head->rtm_table == RT_TABLE_MAIN && !(head->rtm_flags & RTM_F_CLONED) &&
		head->rtm_family == dest->address.family && head->rtm_dst_len == dest->prefix &&
		is_same_network(
			value(message, RTA_DST, length), dest->address.bytes, dest->prefix) &&
		memcmp(value(message, RTA_GATEWAY, length), route->gateway.bytes, length) == 0 &&
		(route->index == 0 ||
			memcmp(value(message, RTA_OIF, sizeof(int)), &route->index, sizeof(int)) ==
				0) &&
		(!route->has_src ||
			memcmp(value(message, RTA_PREFSRC, length), route->src.bytes, length) == 0);
}

/* The request that makes or removes a route, by its type. */
static void route_begin(struct netlink_request *request, uint16_t type, const struct route *route)
{
	int family = route->dest.address.family;
	const struct rtmsg head = {
		.rtm_family = (uint8_t)family,
		.rtm_dst_len = (uint8_t)route->dest.prefix,
		.rtm_table = RT_TABLE_MAIN,
		.rtm_protocol = RTPROT_STATIC,
		.rtm_scope = family == AF_INET && !route->has_gateway ? RT_SCOPE_LINK
								      : RT_SCOPE_UNIVERSE,
		.rtm_type = RTN_UNICAST,
	};
	unsigned length = ip_length(family);

	netlink_begin(request, type, NLM_F_CREATE | NLM_F_EXCL, &head, sizeof(head));
	if (route->dest.prefix > 0)
		netlink_put(request, RTA_DST, route->dest.address.bytes, length);
	if (route->has_gateway)
		netlink_put(request, RTA_GATEWAY, route->gateway.bytes, length);
	if (route->has_src)
		netlink_put(request, RTA_PREFSRC, route->src.bytes, length);
	if (route->index)
		netlink_put(request, RTA_OIF, &route->index, sizeof(route->index));
}

int routes_add(struct route *routes, size_t count, struct journal *journal, struct error *err)
{
	struct netlink *netlink = &journal->netlink;
	struct netlink_request request, inverse;
	struct network_link link;

	for (size_t i = 0; i < count; i++) {
		struct route *route = &routes[i];

		if (!route->device)
			continue;
		if (network_link_find(netlink, route->device, NULL, &link, err) < 0)
			return error_set(err, err->code, "route to '%s': no such device '%s'",
				route->name, route->device);
		route->index = link.index;
	}
	if (count > 0 && netlink_dump(netlink, RTM_GETROUTE, err) < 0)
		return -1;
	for (size_t i = 0; i < count; i++)
		for_each_message (message, netlink->answer)
			routes[i].is_made |= route_matches(&routes[i], message);
	/* The kernel takes no gateway that is itself reached by way of one: routes without one come first. */
	for (int with_gateway = 0; with_gateway < 2; with_gateway++)
		for (size_t i = 0; i < count; i++) {
			if (routes[i].is_made || routes[i].has_gateway != with_gateway)
				continue;
			route_begin(&request, RTM_NEWROUTE, &routes[i]);
			route_begin(&inverse, RTM_DELROUTE, &routes[i]);
			if (journal_do(journal, &request, &inverse, err) == 0)
				continue;
			if (err->code == EEXIST)
				error_set(err, EEXIST, "there is another one");
			return error_wrap(err, "route to '%s'", routes[i].name);
		}
	return 0;
}
