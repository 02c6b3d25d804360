/* SPDX-License-Identifier: Apache-2.0 */
/* Interfaces, addresses and routes of the guest, set up as a host describes them. */
#ifndef CHILD_NETWORK_H
#define CHILD_NETWORK_H

#include "base/settings.h"
#include "child/journal.h"
#include "spec/spec.h"

struct child_network {
	const struct interface_spec *interfaces;
	size_t interfaces_count;
	const struct route_spec *routes;
	size_t routes_count;
	const struct settings *settings;
};

/* lo and the interfaces, then the routes; what exists already is no error. Once in a process. If it fails it
 * undoes all and dies. Otherwise the open `journal` can undo all, should a later step fail. */
void network_set_up(const struct child_network *network, struct journal *journal);

/* Worker of SETUPINTERFACE and SETUPROUTE: network_set_up(). The argument is a struct child_network. */
_Noreturn void child_network_set_up(const void *child_network);

/* Worker of DELETEINTERFACE: sets the link down and removes its PCI function. The argument is a struct
 * device_spec. */
_Noreturn void child_network_remove(const void *device_spec);

/* An address, by pure functions. */

struct interface_address {
	const struct address_spec *spec; /* what it was parsed from; borrowed */
	bool removed;                    /* to be removed … */
	bool any_mask;                   /* … whatever its mask is */
	struct ip_address address;
	unsigned prefix;
};

/* 1 and *out, 0 when there is nothing to do, or -1 with err. */
int interface_address_parse(
	const struct address_spec *spec, struct interface_address *out, struct error *err);
/* Whether the kernel's message describes this address, on the link `index`. */
bool interface_address_matches(
	const struct interface_address *address, int index, const struct nlmsghdr *message);

#endif
