/* SPDX-License-Identifier: Apache-2.0 */
/* The text of addresses and routes: four strings, one a line. What is taken can be written and is then
 * taken as the same. */
#include <arpa/inet.h>
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "child/network.h"
#include "child/route.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_address(const struct ip_address *ip)
{
	char text[INET6_ADDRSTRLEN];
	struct ip_address again;
	struct error err;

	assert(ip->family == AF_INET || ip->family == AF_INET6);
	assert(inet_ntop(ip->family, ip->bytes, text, sizeof text));
	assert(ip_parse(text, &again, &err) == 0);
	assert(again.family == ip->family &&
		memcmp(again.bytes, ip->bytes, sizeof again.bytes) == 0);
}

static void check_network(const struct ip_network *network)
{
	check_address(&network->address);
	assert(network->prefix <= ip_length(network->address.family) * 8);
}

/* "" is what a host sends for what it has not. */
static const char *optional(const char *text)
{
	return *text ? text : NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1), *rest = text, *words[4];
	struct interface_address address;
	struct address_spec address_spec;
	struct route_spec route_spec;
	struct ip_network network;
	struct route route;
	uint8_t mac[MAC_BYTES];
	struct error err;
	unsigned prefix;

	memcpy(text, data, size);
	text[size] = '\0';
	for (size_t i = 0; i < 4; i++)
		words[i] = rest ? strsep(&rest, "\n") : "";
	address_spec = (struct address_spec){optional(words[0]), optional(words[1])};
	if (interface_address_parse(&address_spec, &address, &err) > 0) {
		check_address(&address.address);
		assert(address.prefix <= ip_length(address.address.family) * 8);
	}
	route_spec = (struct route_spec){
		optional(words[0]), optional(words[1]), optional(words[2]), optional(words[3])};
	if (route_parse(&route_spec, &route, &err) == 0) {
		check_network(&route.dest);
		assert(!route.has_gateway || route.gateway.family == route.dest.address.family);
		assert(!route.has_src || route.src.family == route.dest.address.family);
		assert(route.has_gateway || route.device);
	}
	if (network_parse(words[0], &network, &err) == 0)
		check_network(&network);
	if (mask_parse(words[0], AF_INET, &prefix, &err) == 0)
		assert(prefix <= 32);
	if (mac_parse(words[0], mac, &err) == 0)
		assert(strlen(words[0]) == 3 * MAC_BYTES - 1);
	free(text);
	return 0;
}
