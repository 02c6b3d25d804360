/* SPDX-License-Identifier: Apache-2.0 */
/* What undoes a network command: each change of the guest's network pushes its inverse. */
#include "child/journal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <linux/rtnetlink.h>

#include "base/count.h"
#include "base/file.h"
#include "base/format.h"
#include "child/child.h"

/* Entries grow down from here, what is kept grows up; malloc touches no page before it is used. */
#define ENTRIES_MAX MIB
#define KEPT_MAX    MIB

static struct nlmsghdr *entry_at(struct journal *journal, size_t at)
{
	return (struct nlmsghdr *)(journal->bytes + at);
}

void journal_open(struct journal *journal)
{
	*journal = (struct journal){
		.bytes = malloc(ENTRIES_MAX + KEPT_MAX),
		.start = ENTRIES_MAX,
		.end = ENTRIES_MAX,
	};
	if (!journal->bytes)
		die("out of memory");
	netlink_open(&journal->netlink);
}

/* An address, or a route of the main table that the kernel does not make by itself. */
static bool is_kept(const struct nlmsghdr *message)
{
	const struct rtmsg *route = netlink_head(message, sizeof(*route));

	return message->nlmsg_type == RTM_NEWADDR ||
		(message->nlmsg_type == RTM_NEWROUTE && route &&
			route->rtm_table == RT_TABLE_MAIN && !(route->rtm_flags & RTM_F_CLONED) &&
			route->rtm_protocol != RTPROT_KERNEL && route->rtm_protocol != RTPROT_RA);
}

int journal_keep(struct journal *journal, struct error *err)
{
	static const uint16_t dumps[] = {RTM_GETADDR, RTM_GETROUTE};

	for (size_t i = 0; i < COUNT(dumps); i++) {
		if (netlink_dump(&journal->netlink, dumps[i], err) < 0)
			return -1;
		for_each_message (message, journal->netlink.answer) {
			size_t size = NLMSG_ALIGN(message->nlmsg_len);

			if (!is_kept(message))
				continue;
			if (size > ENTRIES_MAX + KEPT_MAX - NLMSG_HDRLEN - journal->end)
				return error_set(err, ENOMEM, NETLINK_FULL);
			/* As a request, the message that describes an object makes it again. */
			message->nlmsg_flags = NLM_F_REQUEST | NLM_F_CREATE | NLM_F_EXCL;
			if (message->nlmsg_type == RTM_NEWROUTE) {
				struct rtmsg *route = NLMSG_DATA(message);

				/* The kernel sets the other flags by itself. */
				route->rtm_flags &= RTNH_F_ONLINK;
				/* An IPv6 route outlives its source address, but without it. */
				if (route->rtm_family == AF_INET6 &&
					netlink_find(message, sizeof(*route), RTA_PREFSRC, 0, NULL))
					message->nlmsg_flags ^= NLM_F_EXCL | NLM_F_REPLACE;
			}
			memcpy(entry_at(journal, journal->end), message, message->nlmsg_len);
			journal->end += size;
		}
	}
	*entry_at(journal, journal->end) = (struct nlmsghdr){.nlmsg_type = NLMSG_DONE};
	journal->end += NLMSG_HDRLEN;
	return 0;
}

int journal_push(
	struct journal *journal, uint16_t type, const void *body, size_t length, struct error *err)
{
	size_t size = NLMSG_SPACE(length);

	if (size > journal->start)
		return error_set(err, ENOMEM, NETLINK_FULL);
	journal->start -= size;
	*entry_at(journal, journal->start) = (struct nlmsghdr){
		.nlmsg_len = (uint32_t)NLMSG_LENGTH(length),
		.nlmsg_type = type,
		.nlmsg_flags = NLM_F_REQUEST,
	};
	memcpy(NLMSG_DATA(entry_at(journal, journal->start)), body, length);
	return 0;
}

int journal_push_file(struct journal *journal, const char *path, struct error *err)
{
	char body[128];
	size_t length = strlen(path) + 1;

	format(body, sizeof(body), "%s", path);
	if (file_read(path, body + length, sizeof(body) - length) < 0)
		return 0;
	return journal_push(journal, NLMSG_NOOP, body, sizeof(body), err);
}

int journal_do(struct journal *journal, struct netlink_request *request,
	const struct netlink_request *inverse, struct error *err)
{
	size_t start = journal->start;

	/* First: afterwards there might be no room for it. */
	if (journal_push(journal, inverse->header.nlmsg_type, inverse->body,
		    inverse->header.nlmsg_len - NLMSG_HDRLEN, err) < 0)
		return -1;
	if (netlink_ask(&journal->netlink, &request->header, err) == 0)
		return 0;
	journal->start = start;
	return -1;
}

void journal_replay(struct netlink *netlink, struct nlmsghdr *entries)
{
	struct error ignored;

	/* Routes twice: the gateway of one may be reached by a later one. */
	for (int round = 0; round < 2; round++)
		for_each_message (entry, entries) {
			const char *path = NLMSG_DATA(entry);

			if (round > 0 && entry->nlmsg_type != RTM_NEWROUTE)
				continue;
			if (entry->nlmsg_type == NLMSG_NOOP)
				(void)file_write(path, path + strlen(path) + 1);
			else
				netlink_ask(netlink, entry, &ignored);
		}
}

void journal_refill(struct journal *journal)
{
	journal_replay(&journal->netlink, entry_at(journal, ENTRIES_MAX));
}

void journal_undo(struct journal *journal)
{
	journal_replay(&journal->netlink, entry_at(journal, journal->start));
}
