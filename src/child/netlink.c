/* SPDX-License-Identifier: Apache-2.0 */
/* rtnetlink: one request, one answer, and the kernel's own words when it refuses. */
#include "child/netlink.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include <linux/rtnetlink.h>

#include "base/file.h"
#include "base/invariant.h"

/* The kernel fills its datagrams up to the size that it has seen us receive with. */
#define ANSWER_BYTES 32768

/* --- Bytes ------------------------------------------------------------------------------------ */

/* The bytes come from the kernel, but nothing rests on that. */
const void *netlink_find_in(
	const uint8_t *bytes, size_t length, uint16_t type, size_t least, size_t *found)
{
	while (length >= NLA_HDRLEN) {
		const struct nlattr *attribute = (const void *)bytes;
		size_t step = NLA_ALIGN(attribute->nla_len);

		if (attribute->nla_len < NLA_HDRLEN || attribute->nla_len > length)
			return NULL;
		if ((attribute->nla_type & NLA_TYPE_MASK) == type &&
			attribute->nla_len >= NLA_HDRLEN + least) {
			if (found)
				*found = attribute->nla_len - NLA_HDRLEN;
			return bytes + NLA_HDRLEN;
		}
		if (step >= length)
			return NULL;
		bytes += step;
		length -= step;
	}
	return NULL;
}

const void *netlink_head(const struct nlmsghdr *message, size_t size)
{
	return message->nlmsg_len >= NLMSG_HDRLEN + size ? (const uint8_t *)message + NLMSG_HDRLEN
							 : NULL;
}

const void *netlink_find(
	const struct nlmsghdr *message, size_t head, uint16_t type, size_t least, size_t *length)
{
	size_t skip = NLMSG_HDRLEN + NLMSG_ALIGN(head);

	if (message->nlmsg_len < skip)
		return NULL;
	return netlink_find_in(
		(const uint8_t *)message + skip, message->nlmsg_len - skip, type, least, length);
}

/* err from an errno and the extended ACK's text, which reads on as ours do: "Nexthop has invalid
 * gateway." becomes "nexthop has invalid gateway: network is unreachable". */
static void refuse(
	const struct nlmsghdr *message, size_t head, int code, bool explained, struct error *err)
{
	size_t length = 0;
	const char *words =
		explained ? netlink_find(message, head, NLMSGERR_ATTR_MSG, 1, &length) : NULL;
	char text[128] = "";

	if (words) {
		length = strnlen(words, length < sizeof(text) ? length : sizeof(text) - 1);
		memcpy(text, words, length);
	}
	while (length > 0 && (text[length - 1] == '.' || isspace((unsigned char)text[length - 1])))
		text[--length] = '\0';
	if (isupper((unsigned char)text[0]) && islower((unsigned char)text[1]))
		text[0] = (char)tolower((unsigned char)text[0]);
	errno = code;
	error_errno(err, "%s", text);
	if (length == 0)
		memmove(err->text, err->text + 2, strlen(err->text + 2) + 1); /* ": " */
}

/* An NLMSG_ERROR: an ACK where its errno is 0. Behind it stands the request, or just its header when
 * the kernel cut it, then the attributes. */
static enum netlink_progress parse_error(const struct nlmsghdr *message, struct error *err)
{
	const struct nlmsgerr *answer = netlink_head(message, sizeof(*answer));
	size_t head = sizeof(*answer);

	if (!answer) {
		error_set(err, EPROTO, "unreadable answer of the kernel");
		return NETLINK_REFUSED;
	}
	if (answer->error == 0)
		return NETLINK_DONE;
	if (!(message->nlmsg_flags & NLM_F_CAPPED) && answer->msg.nlmsg_len > NLMSG_HDRLEN)
		head += NLMSG_ALIGN(answer->msg.nlmsg_len) - NLMSG_HDRLEN;
	refuse(message, head, answer->error < 0 && answer->error > -4096 ? -answer->error : EPROTO,
		message->nlmsg_flags & NLM_F_ACK_TLVS, err);
	return NETLINK_REFUSED;
}

/* The end of a dump, which may have failed under way. */
static enum netlink_progress parse_done(
	const struct nlmsghdr *message, bool is_interrupted, struct error *err)
{
	const int *result = netlink_head(message, sizeof(*result));

	if (!result || *result >= 0) {
		if (!is_interrupted)
			return NETLINK_DONE;
		error_set(err, EINTR, "it changed while it was read");
		return NETLINK_REFUSED;
	}
	refuse(message, sizeof(*result), *result > -4096 ? -*result : EPROTO,
		message->nlmsg_flags & NLM_F_ACK_TLVS, err);
	return NETLINK_REFUSED;
}

enum netlink_progress netlink_parse(
	const void *bytes, size_t length, struct netlink_answer *answer, struct error *err)
{
	const uint8_t *at = bytes;

	while (length >= NLMSG_HDRLEN) {
		const struct nlmsghdr *message = (const void *)at;
		size_t step;

		if (message->nlmsg_len < NLMSG_HDRLEN || message->nlmsg_len > length) {
			error_set(err, EPROTO, "unreadable answer of the kernel");
			return NETLINK_REFUSED;
		}
		if (message->nlmsg_seq == answer->sequence) {
			if (message->nlmsg_flags & NLM_F_DUMP_INTR)
				answer->is_interrupted = true;
			if (message->nlmsg_type == NLMSG_ERROR)
				return parse_error(message, err);
			if (message->nlmsg_type == NLMSG_DONE)
				return parse_done(message, answer->is_interrupted, err);
			if (message->nlmsg_type >= NLMSG_MIN_TYPE && answer->visit)
				answer->visit(answer->context, message);
		}
		step = NLMSG_ALIGN(message->nlmsg_len);
		if (step >= length)
			break;
		at += step;
		length -= step;
	}
	return NETLINK_MORE;
}

/* --- The socket ------------------------------------------------------------------------------- */

int netlink_socket(unsigned groups, struct error *err)
{
	const struct sockaddr_nl address = {.nl_family = AF_NETLINK, .nl_groups = groups};
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);

	if (fd < 0 || bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0) {
		error_errno(err, "netlink");
		fd_close(&fd);
	}
	return fd;
}

int netlink_open(struct netlink *netlink, struct error *err)
{
	const int on = 1;

	netlink->sequence = 0;
	netlink->fd = netlink_socket(0, err);
	if (netlink->fd < 0)
		return -1;
	/* Without them an errno is all that is told. */
	setsockopt(netlink->fd, SOL_NETLINK, NETLINK_EXT_ACK, &on, sizeof(on));
	setsockopt(netlink->fd, SOL_NETLINK, NETLINK_CAP_ACK, &on, sizeof(on));
	return 0;
}

static struct nlmsghdr *header_of(struct netlink_request *request)
{
	return (struct nlmsghdr *)request->bytes;
}

void netlink_begin(struct netlink_request *request, uint16_t type, uint16_t flags, const void *head,
	size_t length)
{
	memset(request, 0, sizeof(*request));
	*header_of(request) = (struct nlmsghdr){
		.nlmsg_len = (uint32_t)(NLMSG_HDRLEN + NLMSG_ALIGN(length)),
		.nlmsg_type = type,
		.nlmsg_flags = flags | NLM_F_REQUEST,
	};
	memcpy(request->bytes + NLMSG_HDRLEN, head, length);
}

void netlink_put(struct netlink_request *request, uint16_t type, const void *data, size_t length)
{
	struct nlmsghdr *header = header_of(request);
	const struct nlattr attribute = {
		.nla_len = (uint16_t)(NLA_HDRLEN + length),
		.nla_type = type,
	};
	uint8_t *to = request->bytes + header->nlmsg_len;

	assert(header->nlmsg_len + NLA_HDRLEN + NLA_ALIGN(length) <= sizeof(request->bytes));
	memcpy(to, &attribute, sizeof(attribute));
	memcpy(to + NLA_HDRLEN, data, length);
	header->nlmsg_len += (uint32_t)(NLA_HDRLEN + NLA_ALIGN(length));
}

/* One datagram of the kernel's. A container may send to this socket, too: that is not heard. */
static ssize_t receive(int fd, void *bytes, size_t size)
{
	struct sockaddr_nl sender = {0};
	socklen_t length;
	ssize_t n;

	do {
		length = sizeof(sender);
		n = recvfrom(fd, bytes, size, MSG_TRUNC, (struct sockaddr *)&sender, &length);
	} while ((n < 0 && errno == EINTR) || (n >= 0 && sender.nl_pid != 0));
	if (n > (ssize_t)size) {
		errno = EMSGSIZE;
		return -1;
	}
	return n;
}

static int exchange(struct netlink *netlink, struct netlink_request *request,
	netlink_visitor *visit, void *context, struct error *err)
{
	const struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
	_Alignas(NLMSG_ALIGNTO) uint8_t datagram[ANSWER_BYTES];
	struct netlink_answer answer = {
		.sequence = ++netlink->sequence,
		.visit = visit,
		.context = context,
	};
	struct nlmsghdr *header = header_of(request);
	enum netlink_progress progress = NETLINK_MORE;

	header->nlmsg_seq = answer.sequence;
	if (sendto(netlink->fd, header, header->nlmsg_len, 0, (const struct sockaddr *)&kernel,
		    sizeof(kernel)) < 0)
		return error_errno(err, "netlink: send");
	while (progress == NETLINK_MORE) {
		ssize_t n = receive(netlink->fd, datagram, sizeof(datagram));

		if (n < 0)
			return error_errno(err, "netlink: receive");
		progress = netlink_parse(datagram, (size_t)n, &answer, err);
	}
	return progress == NETLINK_DONE ? 0 : -1;
}

int netlink_ask(struct netlink *netlink, struct netlink_request *request, struct error *err)
{
	header_of(request)->nlmsg_flags |= NLM_F_ACK;
	return exchange(netlink, request, NULL, NULL, err);
}

int netlink_dump(struct netlink *netlink, struct netlink_request *request, netlink_visitor *visit,
	void *context, struct error *err)
{
	return exchange(netlink, request, visit, context, err);
}

int netlink_return(struct netlink *netlink, const struct nlmsghdr *message, uint16_t type,
	uint16_t flags, struct error *err)
{
	struct netlink_request request;

	if (message->nlmsg_len > sizeof(request.bytes))
		return error_set(
			err, EMSGSIZE, "netlink: a message of %u bytes", message->nlmsg_len);
	netlink_begin(&request, type, flags, (const uint8_t *)message + NLMSG_HDRLEN,
		message->nlmsg_len - NLMSG_HDRLEN);
	return netlink_ask(netlink, &request, err);
}
