/* SPDX-License-Identifier: Apache-2.0 */
/* A datagram of the kernel's that may be anything: its messages and attributes are never read behind
 * their ends. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <linux/netlink.h>

#include "child/network.h"
#include "child/route.h"

#define SEQUENCE 0x01010101u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A copy in memory of just its size. */
static void look(const struct nlmsghdr *message)
{
	static const uint8_t mac[MAC_BYTES];
	static const struct interface_address address = {.address = {.family = AF_INET}};
	static const struct route everything = {
		.dest = {.address = {.family = AF_INET6}, .prefix = 3},
		.index = 1,
		.has_src = true,
	};
	struct nlmsghdr *copy = malloc(message->nlmsg_len);
	struct network_link link;

	memcpy(copy, message, message->nlmsg_len);
	if (network_link_parse(copy, mac, &link) || network_link_parse(copy, NULL, &link))
		assert(link.name[sizeof link.name - 1] == '\0');
	interface_address_matches(&address, 1, copy);
	route_matches(&everything, copy);
	free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t answer[NETLINK_ANSWER_MAX];
	struct netlink netlink = {.sequence = SEQUENCE, .answer = answer};
	struct error err = {.text = ""};
	uint8_t *datagram = malloc(size + 1); /* aligned, and a read behind it is seen */
	enum netlink_progress progress;

	memcpy(datagram, data, size);
	progress = netlink_parse(&netlink, datagram, size, &err);
	assert((progress == NETLINK_REFUSED) == (err.text[0] != '\0'));
	assert(netlink.length <= NLMSG_ALIGN(size));
	*(struct nlmsghdr *)(answer + netlink.length) = (struct nlmsghdr){.nlmsg_type = NLMSG_DONE};
	for_each_message (message, answer)
		look(message);
	free(datagram);
	return 0;
}
