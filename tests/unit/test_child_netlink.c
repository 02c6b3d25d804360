/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <errno.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include "child/netlink.h"

#define SEQUENCE 7u

/* A datagram that is put together message by message. */
static _Alignas(NLMSG_ALIGNTO) uint8_t datagram[1024];
static size_t filled;
static uint8_t answer[NETLINK_ANSWER_MAX];
static struct netlink netlink;
static struct error err;

static int start(void **state)
{
	(void)state;
	memset(datagram, 0, sizeof datagram);
	filled = 0;
	netlink = (struct netlink){.fd = -1, .sequence = SEQUENCE, .answer = answer};
	err.text[0] = '\0';
	return 0;
}

static struct nlmsghdr *message(uint16_t type, uint16_t flags, const void *body, size_t length)
{
	struct nlmsghdr *header = (void *)(datagram + filled);

	*header = (struct nlmsghdr){
		.nlmsg_len = (uint32_t)(NLMSG_HDRLEN + length),
		.nlmsg_type = type,
		.nlmsg_flags = flags,
		.nlmsg_seq = SEQUENCE,
	};
	memcpy(datagram + filled + NLMSG_HDRLEN, body, length);
	filled += NLMSG_ALIGN(header->nlmsg_len);
	return header;
}

static enum netlink_progress parse(void)
{
	return netlink_parse(&netlink, datagram, filled, &err);
}

static void a_message_of_the_answer_is_kept(void **state)
{
	const struct ifinfomsg link = {.ifi_index = 3};

	(void)state;
	message(RTM_NEWLINK, NLM_F_MULTI, &link, sizeof link);
	message(RTM_NEWLINK, NLM_F_MULTI, &link, sizeof link)->nlmsg_seq = SEQUENCE - 1;
	message(RTM_NEWLINK, NLM_F_MULTI, &link, sizeof link);
	assert_int_equal(parse(), NETLINK_MORE);
	assert_int_equal(netlink.length, 2 * NLMSG_LENGTH(sizeof link));
}

static void an_error_of_nought_is_an_ack(void **state)
{
	const struct nlmsgerr ack = {.error = 0};

	(void)state;
	message(NLMSG_ERROR, NLM_F_CAPPED, &ack, sizeof ack);
	assert_int_equal(parse(), NETLINK_DONE);
}

static void a_refusal_without_words_is_its_errno(void **state)
{
	const struct nlmsgerr refusal = {.error = -EEXIST};

	(void)state;
	message(NLMSG_ERROR, NLM_F_CAPPED, &refusal, sizeof refusal);
	assert_int_equal(parse(), NETLINK_REFUSED);
	assert_int_equal(err.code, EEXIST);
	assert_string_equal(err.text, "file exists");
}

static void refuse_with(const char *words)
{
	uint8_t body[512] = {0};
	const struct nlmsgerr refusal = {.error = -ENETUNREACH};
	struct nlattr attribute = {
		.nla_len = (uint16_t)(NLA_HDRLEN + strlen(words) + 1),
		.nla_type = NLMSGERR_ATTR_MSG,
	};

	memcpy(body, &refusal, sizeof refusal);
	memcpy(body + sizeof refusal, &attribute, sizeof attribute);
	memcpy(body + sizeof refusal + NLA_HDRLEN, words, strlen(words) + 1);
	message(NLMSG_ERROR, NLM_F_ACK_TLVS | NLM_F_CAPPED, body,
		sizeof refusal + NLA_ALIGN(attribute.nla_len));
}

static void a_refusal_s_words_come_first(void **state)
{
	(void)state;
	refuse_with("Nexthop has invalid gateway.");
	assert_int_equal(parse(), NETLINK_REFUSED);
	assert_string_equal(err.text, "nexthop has invalid gateway: network is unreachable");
}

static void an_abbreviation_stays_as_it_is(void **state)
{
	(void)state;
	refuse_with("IPv4 only");
	assert_int_equal(parse(), NETLINK_REFUSED);
	assert_string_equal(err.text, "IPv4 only: network is unreachable");
}

static void a_dump_ends_well_or_not(void **state)
{
	int result = 0;

	(void)state;
	message(NLMSG_DONE, NLM_F_MULTI, &result, sizeof result);
	assert_int_equal(parse(), NETLINK_DONE);
	start(NULL);
	result = -EOPNOTSUPP;
	message(NLMSG_DONE, NLM_F_MULTI, &result, sizeof result);
	assert_int_equal(parse(), NETLINK_REFUSED);
	assert_int_equal(err.code, EOPNOTSUPP);
}

static void a_dump_during_which_something_changed_is_none(void **state)
{
	const struct ifinfomsg link = {.ifi_index = 3};
	const int result = 0;

	(void)state;
	message(RTM_NEWLINK, NLM_F_MULTI | NLM_F_DUMP_INTR, &link, sizeof link);
	message(NLMSG_DONE, NLM_F_MULTI, &result, sizeof result);
	assert_int_equal(parse(), NETLINK_INTERRUPTED);
}

static void an_answer_that_is_too_long_is_refused(void **state)
{
	const struct ifinfomsg link = {.ifi_index = 3};

	(void)state;
	message(RTM_NEWLINK, NLM_F_MULTI, &link, sizeof link);
	netlink.length = sizeof answer - NLMSG_HDRLEN - filled;
	assert_int_equal(parse(), NETLINK_MORE);
	assert_int_equal(parse(), NETLINK_REFUSED);
	assert_int_equal(err.code, ENOMEM);
}

static void a_message_longer_than_its_datagram_is_refused(void **state)
{
	const struct ifinfomsg link = {.ifi_index = 3};

	(void)state;
	message(RTM_NEWLINK, 0, &link, sizeof link)->nlmsg_len += 1;
	assert_int_equal(parse(), NETLINK_REFUSED);
	assert_int_equal(netlink.length, 0);
	start(NULL);
	message(RTM_NEWLINK, 0, &link, sizeof link)->nlmsg_len = 3;
	assert_int_equal(parse(), NETLINK_REFUSED);
}

static void a_refusal_that_is_cut_is_refused_all_the_same(void **state)
{
	(void)state;
	message(NLMSG_ERROR, 0, "", 0);
	assert_int_equal(parse(), NETLINK_REFUSED);
}

static void what_was_put_is_found(void **state)
{
	const struct ifinfomsg link = {.ifi_index = 3};
	const struct nlmsghdr *it;
	struct netlink_request request;
	size_t length;

	(void)state;
	netlink_begin(&request, RTM_NEWLINK, 0, &link, sizeof link);
	netlink_put(&request, IFLA_MTU, &(uint32_t){1400}, 4);
	netlink_put(&request, IFLA_IFNAME, "eth0", 5);
	it = &request.header;
	assert_int_equal(it->nlmsg_len % NLMSG_ALIGNTO, 0);
	assert_string_equal(netlink_find(it, sizeof link, IFLA_IFNAME, 1, &length), "eth0");
	assert_int_equal(length, 5);
	assert_int_equal(*(const uint32_t *)netlink_find(it, sizeof link, IFLA_MTU, 4, NULL), 1400);
	assert_null(netlink_find(it, sizeof link, IFLA_ADDRESS, 0, NULL));
	assert_null(netlink_find(it, sizeof link, IFLA_MTU, 8, NULL));
	assert_null(netlink_head(it, 4096));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(a_message_of_the_answer_is_kept, start),
		cmocka_unit_test_setup(an_error_of_nought_is_an_ack, start),
		cmocka_unit_test_setup(a_refusal_without_words_is_its_errno, start),
		cmocka_unit_test_setup(a_refusal_s_words_come_first, start),
		cmocka_unit_test_setup(an_abbreviation_stays_as_it_is, start),
		cmocka_unit_test_setup(a_dump_ends_well_or_not, start),
		cmocka_unit_test_setup(a_dump_during_which_something_changed_is_none, start),
		cmocka_unit_test_setup(an_answer_that_is_too_long_is_refused, start),
		cmocka_unit_test_setup(a_message_longer_than_its_datagram_is_refused, start),
		cmocka_unit_test_setup(a_refusal_that_is_cut_is_refused_all_the_same, start),
		cmocka_unit_test_setup(what_was_put_is_found, start),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
