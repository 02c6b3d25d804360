/* SPDX-License-Identifier: Apache-2.0 */
/* rtnetlink: one request, one answer, with the kernel's own text of an error; how a link is found. */
#include "child/netlink.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <linux/if_link.h>
#include <linux/rtnetlink.h>

#include "base/format.h"
#include "base/invariant.h"
#include "child/child.h"

/* The kernel fills its datagrams up to the size of the buffers that it has seen us receive with. */
#define DATAGRAM_MAX 32768

#define UNREADABLE "unreadable answer of the kernel"

const void *netlink_head(const struct nlmsghdr *message, size_t size)
{
	return message->nlmsg_len >= NLMSG_HDRLEN + size ? (const uint8_t *)message + NLMSG_HDRLEN
							 : NULL;
}

const void *netlink_find(
	const struct nlmsghdr *message, size_t head, uint16_t type, size_t least, size_t *length)
{
	size_t at = NLMSG_HDRLEN + NLMSG_ALIGN(head);

	while (at + NLA_HDRLEN <= message->nlmsg_len) {
		const struct nlattr *attribute = (const void *)((const uint8_t *)message + at);

		if (attribute->nla_len < NLA_HDRLEN || attribute->nla_len > message->nlmsg_len - at)
			return NULL;
		if ((attribute->nla_type & NLA_TYPE_MASK) == type &&
			attribute->nla_len >= NLA_HDRLEN + least) {
			if (length)
				*length = attribute->nla_len - NLA_HDRLEN;
			return (const uint8_t *)attribute + NLA_HDRLEN;
		}
		at += NLA_ALIGN(attribute->nla_len);
	}
	return NULL;
}

static enum netlink_progress refused(struct error *err, int code, const char *why)
{
	error_set(err, code, "%s", why);
	return NETLINK_REFUSED;
}

/* err from an errno and the text of the extended ACK, in the form of ours: "Nexthop has invalid gateway."
 * becomes "nexthop has invalid gateway: network is unreachable". */
static void refuse(const struct nlmsghdr *message, size_t head, int code, struct error *err)
{
	size_t length = 0;
	const char *words = netlink_find(message, head, NLMSGERR_ATTR_MSG, 1, &length);
	char text[128];

	format(text, sizeof(text), "%.*s", (int)length, words ? words : "");
	length = strlen(text);
	while (length > 0 && (text[length - 1] == '.' || isspace((unsigned char)text[length - 1])))
		text[--length] = '\0';
	if (isupper((unsigned char)text[0]) && islower((unsigned char)text[1]))
		text[0] = (char)tolower((unsigned char)text[0]);
	errno = code;
	error_errno(err, "%s", text);
	if (length == 0)
		memmove(err->text, err->text + 2, strlen(err->text + 2) + 1); /* ": " */
}

/* NLMSG_ERROR, or NLMSG_DONE at the end of a dump: 0 or a negative errno, in an NLMSG_ERROR the request's
 * header, then the attributes. */
static enum netlink_progress parse_end(
	const struct nlmsghdr *message, bool is_interrupted, struct error *err)
{
	size_t head = message->nlmsg_type == NLMSG_ERROR ? sizeof(struct nlmsgerr) : sizeof(int);
	const int *result = netlink_head(message, head);

	if (!result)
		return refused(err, EPROTO, UNREADABLE);
	if (*result == 0)
		return is_interrupted ? NETLINK_INTERRUPTED : NETLINK_DONE;
	refuse(message, head, *result < 0 && *result > -4096 ? -*result : EPROTO, err);
	return NETLINK_REFUSED;
}

enum netlink_progress netlink_parse(
	struct netlink *netlink, const void *bytes, size_t length, struct error *err)
{
	const uint8_t *at = bytes;

	while (length >= NLMSG_HDRLEN) {
		const struct nlmsghdr *message = (const void *)at;
		size_t step;

		if (message->nlmsg_len < NLMSG_HDRLEN || message->nlmsg_len > length)
			return refused(err, EPROTO, UNREADABLE);
		step = NLMSG_ALIGN(message->nlmsg_len);
		if (message->nlmsg_seq == netlink->sequence) {
			netlink->is_interrupted |= message->nlmsg_flags & NLM_F_DUMP_INTR;
			if (message->nlmsg_type == NLMSG_ERROR || message->nlmsg_type == NLMSG_DONE)
				return parse_end(message, netlink->is_interrupted, err);
			if (netlink->length + step + NLMSG_HDRLEN > NETLINK_ANSWER_MAX)
				return refused(err, ENOMEM, NETLINK_FULL);
			memcpy(netlink->answer + netlink->length, message, message->nlmsg_len);
			netlink->length += step;
		}
		if (step >= length)
			break;
		at += step;
		length -= step;
	}
	return NETLINK_MORE;
}

int netlink_socket(unsigned groups)
{
	const struct sockaddr_nl address = {.nl_family = AF_NETLINK, .nl_groups = groups};
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);

	if (fd < 0 || bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
		die_errno("netlink");
	return fd;
}

void netlink_open(struct netlink *netlink)
{
	const int on = 1;

	*netlink = (struct netlink){
		.fd = netlink_socket(0),
		.answer = malloc(NETLINK_ANSWER_MAX),
	};
	if (!netlink->answer)
		die("out of memory");
	/* Without the first an error is an errno alone, without the second it repeats the request. */
	setsockopt(netlink->fd, SOL_NETLINK, NETLINK_EXT_ACK, &on, sizeof(on));
	setsockopt(netlink->fd, SOL_NETLINK, NETLINK_CAP_ACK, &on, sizeof(on));
}

void netlink_begin(struct netlink_request *request, uint16_t type, uint16_t flags, const void *head,
	size_t length)
{
	*request = (struct netlink_request){
		.header.nlmsg_len = (uint32_t)(NLMSG_HDRLEN + NLMSG_ALIGN(length)),
		.header.nlmsg_type = type,
		.header.nlmsg_flags = flags | NLM_F_REQUEST,
	};
	memcpy(request->body, head, length);
}

void netlink_put(struct netlink_request *request, uint16_t type, const void *data, size_t length)
{
	const struct nlattr attribute = {
		.nla_len = (uint16_t)(NLA_HDRLEN + length),
		.nla_type = type,
	};
	uint8_t *to = request->body + request->header.nlmsg_len - NLMSG_HDRLEN;

	request->header.nlmsg_len += (uint32_t)(NLA_HDRLEN + NLA_ALIGN(length));
	assert(request->header.nlmsg_len <= sizeof(*request));
	memcpy(to, &attribute, sizeof(attribute));
	memcpy(to + NLA_HDRLEN, data, length);
}

int netlink_ask(struct netlink *netlink, struct nlmsghdr *request, struct error *err)
{
	const struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
	_Alignas(NLMSG_ALIGNTO) uint8_t datagram[DATAGRAM_MAX];
	enum netlink_progress progress;

	request->nlmsg_flags |= NLM_F_ACK;
	do {
		netlink->length = 0;
		netlink->is_interrupted = false;
		request->nlmsg_seq = ++netlink->sequence;
		if (sendto(netlink->fd, request, request->nlmsg_len, 0,
			    (const struct sockaddr *)&kernel, sizeof(kernel)) < 0)
			return error_errno(err, "netlink: send");
		progress = NETLINK_MORE;
		while (progress == NETLINK_MORE) {
			struct sockaddr_nl sender = {0};
			socklen_t size = sizeof(sender);
			ssize_t n = recvfrom(netlink->fd, datagram, sizeof(datagram), MSG_TRUNC,
				(struct sockaddr *)&sender, &size);

			/* A container may send to this socket, too. */
			if ((n < 0 && errno == EINTR) || sender.nl_pid != 0)
				continue;
			if (n > (ssize_t)sizeof(datagram)) {
				errno = EMSGSIZE;
				n = -1;
			}
			if (n < 0)
				return error_errno(err, "netlink: receive");
			progress = netlink_parse(netlink, datagram, (size_t)n, err);
		}
	} while (progress == NETLINK_INTERRUPTED);
	*(struct nlmsghdr *)(netlink->answer + netlink->length) =
		(struct nlmsghdr){.nlmsg_len = NLMSG_HDRLEN, .nlmsg_type = NLMSG_DONE};
	return progress == NETLINK_DONE ? 0 : -1;
}

int netlink_dump(struct netlink *netlink, uint16_t type, struct error *err)
{
	/* Of any family, with which the head of each type begins; none is longer than this one. */
	const struct ifinfomsg head = {.ifi_family = AF_UNSPEC};
	struct netlink_request request;

	netlink_begin(&request, type, NLM_F_DUMP, &head, sizeof(head));
	return netlink_ask(netlink, &request.header, err);
}

bool network_link_parse(
	const struct nlmsghdr *message, const uint8_t *mac, struct network_link *link)
{
	const struct ifinfomsg *head = netlink_head(message, sizeof(*head));
	size_t name_length, mac_length = 0;
	const char *name = netlink_find(message, sizeof(*head), IFLA_IFNAME, 1, &name_length);
	const uint8_t *has = netlink_find(message, sizeof(*head), IFLA_ADDRESS, 1, &mac_length);
	const uint32_t *mtu = netlink_find(message, sizeof(*head), IFLA_MTU, sizeof(*mtu), NULL);

	if (!head || !name || name_length > IFNAMSIZ || !mtu ||
		(mac && (mac_length != MAC_BYTES || memcmp(mac, has, MAC_BYTES) != 0)))
		return false;
	*link = (struct network_link){
		.index = head->ifi_index,
		.is_up = head->ifi_flags & IFF_UP,
		.mtu = *mtu,
	};
	memcpy(link->name, name, name_length - 1);
	return true;
}

int network_link_find(struct netlink *netlink, const char *name, const uint8_t *mac,
	struct network_link *link, struct error *err)
{
	const struct ifinfomsg head = {.ifi_index = name || mac ? 0 : link->index};
	const uint32_t without_counters = RTEXT_FILTER_SKIP_STATS;
	struct netlink_request request;

	netlink_begin(&request, RTM_GETLINK, mac ? NLM_F_DUMP : 0, &head, sizeof(head));
	netlink_put(&request, IFLA_EXT_MASK, &without_counters, sizeof(without_counters));
	if (name && strlen(name) >= IFNAMSIZ)
		return error_set(err, ENODEV, "no such device");
	if (name)
		netlink_put(&request, IFLA_IFNAME, name, strlen(name) + 1);
	if (netlink_ask(netlink, &request.header, err) < 0)
		return -1;
	for_each_message (message, netlink->answer)
		if (network_link_parse(message, mac, link))
			return 0;
	return error_set(err, ENODEV, "no such device");
}
