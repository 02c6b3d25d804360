/* SPDX-License-Identifier: Apache-2.0 */
/* Routes of the guest: their text, and how they are made. */
#ifndef CHILD_ROUTE_H
#define CHILD_ROUTE_H

#include <stdbool.h>

#include "child/journal.h"
#include "spec/address.h"
#include "spec/spec.h"

struct route {
	const char *name;   /* for messages: the destination as the host wrote it */
	const char *device; /* NULL: whatever reaches the gateway */
	int index;          /* the device's, once it is found; 0: none */
	struct ip_network dest;
	struct ip_address gateway, src;
	bool has_gateway, has_src;
	bool is_made; /* it exists already */
};

/* Text alone: 0, or -1 with err. */
int route_parse(const struct route_spec *spec, struct route *out, struct error *err);

/* All of a command's into as many `routes`, all 0. 0, or -1 with err that names one that is wrong, or given
 * twice. */
int routes_parse(
	const struct route_spec *specs, size_t count, struct route *routes, struct error *err);

/* Whether the kernel's message describes this route. A pure function. */
bool route_matches(const struct route *route, const struct nlmsghdr *message);

/* Adds them in an order that the kernel accepts: a later one may lead to the gateway of another. A route that
 * exists is no error. 0, or -1 with err and some of them made. */
int routes_add(struct route *routes, size_t count, struct journal *journal, struct error *err);

#endif
