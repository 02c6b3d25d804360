/* SPDX-License-Identifier: Apache-2.0 */
/* Routes of the guest: their text, and how they are made. */
#include "child/route.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <linux/rtnetlink.h>

#include "child/network_state.h"

/* The family that dest, gateway and src agree on. */
static int route_family(const struct route *route, struct error *err)
{
	int family = route->dest.address.family;

	if (route->has_gateway) {
		if (family != AF_UNSPEC && family != route->gateway.family)
			return error_set(err, EINVAL, "gateway and destination do not match");
		family = route->gateway.family;
	}
	if (route->has_src) {
		if (family != AF_UNSPEC && family != route->src.family)
			return error_set(err, EINVAL, "source and destination do not match");
		family = route->src.family;
	}
	return family == AF_UNSPEC ? AF_INET : family;
}

int route_parse(const struct route_spec *spec, struct route *out, struct error *err)
{
	int family;

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
	family = route_family(out, err);
	if (family < 0)
		return -1;
	out->dest.address.family = family;
	return 0;
}

static bool is_same_address(const struct ip_address *a, const struct ip_address *b)
{
	return a->family == b->family && memcmp(a->bytes, b->bytes, sizeof(a->bytes)) == 0;
}

static bool is_same_route(const struct route *a, const struct route *b)
{
	return a->dest.prefix == b->dest.prefix &&
		is_same_address(&a->dest.address, &b->dest.address) &&
		is_same_address(&a->gateway, &b->gateway) && is_same_address(&a->src, &b->src) &&
		strcmp(a->device ? a->device : "", b->device ? b->device : "") == 0;
}

struct route *routes_parse(const struct route_spec *specs, size_t count, struct error *err)
{
	struct route *routes = NULL;

	if (count > ROUTES_MAX) {
		error_set(err, E2BIG, "%zu routes: more than %u", count, ROUTES_MAX);
		return NULL;
	}
	routes = calloc(count + 1, sizeof(*routes));
	if (!routes) {
		error_memory(err);
		return NULL;
	}
	for (size_t i = 0; i < count; i++) {
		int rc = route_parse(&specs[i], &routes[i], err);

		for (size_t j = 0; rc == 0 && j < i; j++)
			if (is_same_route(&routes[i], &routes[j]))
				rc = error_set(err, EEXIST, "given twice");
		if (rc < 0) {
			error_wrap(err, "route to '%s'", routes[i].name);
			free(routes);
			return NULL;
		}
	}
	return routes;
}

static int request_route(
	struct netlink *netlink, const struct route *route, int index, struct error *err)
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
	struct netlink_request request;

	netlink_begin(&request, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, &head, sizeof(head));
	if (route->dest.prefix > 0)
		netlink_put(&request, RTA_DST, route->dest.address.bytes, length);
	if (route->has_gateway)
		netlink_put(&request, RTA_GATEWAY, route->gateway.bytes, length);
	if (route->has_src)
		netlink_put(&request, RTA_PREFSRC, route->src.bytes, length);
	if (index)
		netlink_put(&request, RTA_OIF, &index, sizeof(index));
	return netlink_ask(netlink, &request, err);
}

static int route_add(const struct route *route, const struct network_state *before,
	struct netlink *netlink, struct error *err)
{
	struct network_link link = {.index = 0};

	if (route->device && !network_state_find(before, route->device, NULL, &link))
		return error_set(err, ENODEV, "no such device '%s'", route->device);
	if (network_state_has_route(before, &route->dest,
		    route->has_gateway ? &route->gateway : NULL, link.index,
		    route->has_src ? &route->src : NULL) ||
		request_route(netlink, route, link.index, err) == 0)
		return 0;
	return err->code == EEXIST ? error_set(err, EEXIST, "there is another one") : -1;
}

/* What another route of the command may help against. */
static bool is_unreachable(int code)
{
	return code == ENETUNREACH || code == EHOSTUNREACH;
}

/* One attempt at each that is not made. How many are left; -1 with err when one never will be. */
static ssize_t add_some(struct route *routes, size_t count, const struct network_state *before,
	struct netlink *netlink, struct error *err)
{
	ssize_t left = 0;

	for (size_t i = 0; i < count; i++) {
		if (routes[i].is_made)
			continue;
		routes[i].is_made = route_add(&routes[i], before, netlink, err) == 0;
		if (routes[i].is_made)
			continue;
		error_wrap(err, "route to '%s'", routes[i].name);
		if (!is_unreachable(err->code))
			return -1;
		left++;
	}
	return left;
}

int routes_add(struct route *routes, size_t count, struct netlink *netlink, struct error *err)
{
	struct network_state before = {0};
	ssize_t left = (ssize_t)count, last;

	if (count == 0)
		return 0;
	if (network_state_read(&before, netlink, err) < 0)
		return -1;
	do {
		last = left;
		left = add_some(routes, count, &before, netlink, err);
	} while (left > 0 && left < last);
	network_state_free(&before);
	return left == 0 ? 0 : -1;
}
