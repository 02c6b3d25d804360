/* SPDX-License-Identifier: Apache-2.0 */
/* A datagram of the kernel's that may be anything: its messages and attributes are never read behind
 * their ends. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <linux/if_link.h>

#include "child/network_state.h"

#define SEQUENCE 0x01010101u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* One message as a state of its own, in memory of just its size. */
static void look(void *context, const struct nlmsghdr *message)
{
	struct network_state state = {
		.messages = malloc(message->nlmsg_len),
		.length = message->nlmsg_len,
	};
	static const uint8_t mac[MAC_BYTES];
	struct ip_network everything = {.address = {.family = AF_INET}};
	struct network_link link;
	int *count = context;

	memcpy(state.messages, message, message->nlmsg_len);
	if (network_state_find(&state, NULL, mac, &link))
		assert(link.name[sizeof link.name - 1] == '\0');
	network_state_find(&state, "lo", NULL, &link);
	network_state_has_address(&state, 1, &everything.address, 8);
	network_state_has_route(&state, &everything, NULL, 0, NULL);
	network_state_free(&state);
	++*count;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct error err = {.text = ""};
	uint8_t *datagram = malloc(size + 1); /* aligned, and a read behind it is seen */
	enum netlink_progress progress;
	int count = 0;
	struct netlink_answer answer = {
		.sequence = SEQUENCE,
		.visit = look,
		.context = &count,
	};

	memcpy(datagram, data, size);
	progress = netlink_parse(datagram, size, &answer, &err);
	assert((progress == NETLINK_REFUSED) == (err.text[0] != '\0'));
	assert((size_t)count <= size / NLMSG_HDRLEN);
	free(datagram);
	return 0;
}
