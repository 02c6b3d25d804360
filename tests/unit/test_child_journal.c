/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/count.h"
#include "base/file.h"
#include "child/journal.h"

#define FILE_NAME "/tmp/hyperstart-test-journal"

/* A kernel that has these; a dump is two datagrams: what there is, and the end. */
struct object {
	uint16_t type;
	union {
		struct ifaddrmsg address;
		struct rtmsg route;
	};
	struct nlattr attribute; /* of a route: RTA_PREFSRC, or none */
	uint8_t source[16];
};

#define ROUTE(family, protocol, number)                                             \
	{                                                                           \
		.type = RTM_NEWROUTE,                                               \
		.route =                                                            \
			{                                                           \
				.rtm_family = (family),                             \
				.rtm_table = RT_TABLE_MAIN,                         \
				.rtm_protocol = (protocol),                         \
				.rtm_dst_len = (number),                            \
				.rtm_flags = RTNH_F_ONLINK | RTNH_F_LINKDOWN,       \
			},                                                          \
		.attribute = {.nla_len = NLA_HDRLEN + 16, .nla_type = RTA_PREFSRC}, \
	}

static const struct object objects[] = {
	{.type = RTM_NEWADDR, .address = {.ifa_family = AF_INET, .ifa_prefixlen = 1}},
	{.type = RTM_NEWADDR, .address = {.ifa_family = AF_INET, .ifa_prefixlen = 2}},
	ROUTE(AF_INET, RTPROT_STATIC, 3),
	ROUTE(AF_INET, RTPROT_KERNEL, 99),
	ROUTE(AF_INET6, RTPROT_RA, 99),
	ROUTE(AF_INET6, RTPROT_STATIC, 4),
};

static struct {
	uint32_t sequence;
	uint16_t asked;
	bool is_at_end;
	int refuses; /* the next request that is no dump, with this errno */
	unsigned dumps;
	/* What goes wrong with the first dump. */
	bool interrupted, interrupted_at_end, stale, forged;
	int fails;         /* recvfrom, with this errno */
	size_t longer_by;  /* than the buffer that it is received with */
	unsigned times;    /* that each object is told */
	bool is_not_heard; /* this datagram was wrong: once more */
	/* The requests that were no dumps, each as its type and a number. */
	unsigned requests[64][2], flags[64], count;
} kernel;

static struct journal journal;
static struct error err;

ssize_t __wrap_sendto(int fd, const void *bytes, size_t length, int flags,
	const struct sockaddr *to, socklen_t to_length);
ssize_t __wrap_recvfrom(
	int fd, void *bytes, size_t size, int flags, struct sockaddr *from, socklen_t *from_length);

/* By which a request is known. */
static unsigned number_of(const struct nlmsghdr *header)
{
	const struct ifaddrmsg *address = NLMSG_DATA(header);
	const struct rtmsg *route = NLMSG_DATA(header);
	const struct ifinfomsg *link = NLMSG_DATA(header);

	switch (header->nlmsg_type) {
	case RTM_NEWADDR:
	case RTM_DELADDR:
		return address->ifa_prefixlen;
	case RTM_NEWROUTE:
		assert_int_equal(route->rtm_flags, RTNH_F_ONLINK);
		return route->rtm_dst_len;
	default:
		return (unsigned)link->ifi_index;
	}
}

ssize_t __wrap_sendto(int fd, const void *bytes, size_t length, int flags,
	const struct sockaddr *to, socklen_t to_length)
{
	const struct nlmsghdr *header = bytes;

	(void)fd, (void)flags, (void)to, (void)to_length;
	kernel.sequence = header->nlmsg_seq;
	kernel.asked = header->nlmsg_type;
	kernel.is_at_end = false;
	if (header->nlmsg_flags & NLM_F_DUMP && header->nlmsg_type % 4 == RTM_GETLINK % 4) {
		kernel.dumps++;
	} else {
		kernel.is_at_end = true;
		kernel.requests[kernel.count][0] = header->nlmsg_type;
		kernel.flags[kernel.count] = header->nlmsg_flags;
		kernel.requests[kernel.count++][1] = number_of(header);
	}
	return (ssize_t)length;
}

static size_t put(void *bytes, uint16_t type, uint16_t flags, const void *body, size_t length)
{
	struct nlmsghdr *header = bytes;

	*header = (struct nlmsghdr){
		.nlmsg_len = (uint32_t)(NLMSG_HDRLEN + length),
		.nlmsg_type = type,
		.nlmsg_flags = flags,
		.nlmsg_seq = kernel.sequence,
	};
	memcpy((uint8_t *)bytes + NLMSG_HDRLEN, body, length);
	return NLMSG_ALIGN(header->nlmsg_len);
}

static size_t put_objects(void *bytes, uint16_t flags)
{
	size_t length = 0;

	for (size_t i = 0; i < COUNT(objects); i++)
		if (objects[i].type == kernel.asked - 2)
			length += put((uint8_t *)bytes + length, objects[i].type, flags,
				&objects[i].address,
				objects[i].type == RTM_NEWADDR
					? sizeof objects[i].address
					: sizeof objects[i].route + NLA_HDRLEN + 16);
	return length;
}

ssize_t __wrap_recvfrom(
	int fd, void *bytes, size_t size, int flags, struct sockaddr *from, socklen_t *from_length)
{
	bool is_first = kernel.dumps == 1, is_wrong = is_first && !kernel.is_not_heard;
	struct sockaddr_nl *sender = (void *)from;
	const struct nlmsgerr refusal = {.error = -kernel.refuses};
	const int result = 0;
	size_t length;

	(void)fd, (void)flags, (void)from_length;
	sender->nl_pid = 0;
	if (is_first && kernel.fails) {
		errno = kernel.fails;
		return -1;
	}
	if (is_first && kernel.longer_by)
		return (ssize_t)(size + kernel.longer_by);
	kernel.is_not_heard = is_wrong && (kernel.stale || kernel.forged);
	if (kernel.is_not_heard) {
		sender->nl_pid = kernel.forged ? 4711 : 0;
		kernel.sequence -= kernel.stale;
		length = put(bytes, NLMSG_DONE, NLM_F_MULTI, &result, sizeof result);
		kernel.sequence += kernel.stale;
		return (ssize_t)length;
	}
	if (!kernel.is_at_end) {
		length = put_objects(bytes, is_first && kernel.interrupted ? NLM_F_DUMP_INTR : 0);
		if (kernel.times > 0)
			kernel.times--;
		else
			kernel.is_at_end = true;
		return (ssize_t)length;
	}
	if (kernel.asked % 4 != RTM_GETLINK % 4)
		return (ssize_t)put(bytes, NLMSG_ERROR, NLM_F_CAPPED, &refusal, sizeof refusal);
	return (ssize_t)put(bytes, NLMSG_DONE,
		is_first && kernel.interrupted_at_end ? NLM_F_DUMP_INTR : 0, &result,
		sizeof result);
}

static int start(void **unused)
{
	(void)unused;
	memset(&kernel, 0, sizeof kernel);
	journal_open(&journal);
	return 0;
}

static int stop(void **unused)
{
	(void)unused;
	close(journal.netlink.fd);
	free(journal.netlink.answer);
	free(journal.bytes);
	return 0;
}

/* What was asked for since the last check: pairs of a type and a number, {0} at the end. */
static void check_requests(const unsigned (*wanted)[2])
{
	unsigned i = 0;

	for (; wanted[i][0]; i++) {
		assert_true(i < kernel.count);
		assert_int_equal(kernel.requests[i][0], wanted[i][0]);
		assert_int_equal(kernel.requests[i][1], wanted[i][1]);
	}
	assert_int_equal(kernel.count, i);
	kernel.count = 0;
}

static const unsigned kept[][2] = {{RTM_NEWADDR, 1}, {RTM_NEWADDR, 2}, {RTM_NEWROUTE, 3},
	{RTM_NEWROUTE, 4}, {RTM_NEWROUTE, 3}, {RTM_NEWROUTE, 4}, {0}};

static void check_keep(unsigned dumps)
{
	assert_int_equal(journal_keep(&journal, &err), 0);
	assert_int_equal(kernel.dumps, dumps);
	journal_refill(&journal);
	check_requests(kept);
}

static void addresses_and_routes_are_kept(void **unused)
{
	(void)unused;
	check_keep(2);
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(kernel.flags[i] & (NLM_F_EXCL | NLM_F_REPLACE), NLM_F_EXCL);
}

static void a_route_that_may_have_lost_just_its_source_is_replaced(void **unused)
{
	(void)unused;
	check_keep(2);
	assert_int_equal(kernel.flags[3] & (NLM_F_EXCL | NLM_F_REPLACE), NLM_F_REPLACE);
}

static void a_dump_that_was_interrupted_is_asked_for_again(void **unused)
{
	(void)unused;
	kernel.interrupted = true;
	check_keep(1 + 2);
}

static void also_when_just_its_end_says_so(void **unused)
{
	(void)unused;
	kernel.interrupted_at_end = true;
	check_keep(1 + 2);
}

static void an_answer_to_another_request_is_not_heard(void **unused)
{
	(void)unused;
	kernel.stale = true;
	check_keep(2);
}

static void nobody_but_the_kernel_is_heard(void **unused)
{
	(void)unused;
	kernel.forged = true;
	check_keep(2);
}

static void an_answer_that_was_lost_is_an_error(void **unused)
{
	(void)unused;
	kernel.fails = ENOBUFS;
	assert_int_equal(journal_keep(&journal, &err), -1);
	assert_string_equal(err.text, "netlink: receive: no buffer space available");
}

static void a_datagram_that_was_cut_is_an_error(void **unused)
{
	(void)unused;
	kernel.longer_by = 1;
	assert_int_equal(journal_keep(&journal, &err), -1);
	assert_string_equal(err.text, "netlink: receive: message too long");
}

static void half_a_state_is_none(void **unused)
{
	(void)unused;
	/* More than is kept; more than an answer may be. */
	for (kernel.times = 25000; kernel.times < 200000; kernel.times += 100000) {
		kernel.dumps = 0;
		assert_int_equal(journal_keep(&journal, &err), -1);
		assert_int_equal(err.code, ENOMEM);
	}
}

/* A change of the link `number`, whose inverse is known by the number that follows. */
static int change(int number)
{
	const struct ifinfomsg link = {.ifi_index = number}, back = {.ifi_index = number + 1};
	struct netlink_request request, inverse;

	netlink_begin(&request, RTM_NEWLINK, 0, &link, sizeof link);
	netlink_begin(&inverse, RTM_NEWLINK, 0, &back, sizeof back);
	return journal_do(&journal, &request, &inverse, &err);
}

static void the_last_change_is_undone_first_and_what_is_kept_comes_last(void **unused)
{
	const unsigned done[][2] = {{RTM_NEWLINK, 10}, {RTM_NEWLINK, 20}, {RTM_NEWLINK, 30}, {0}};
	const unsigned undone[][2] = {{RTM_NEWLINK, 31}, {RTM_NEWLINK, 11}, {0}};

	(void)unused;
	assert_int_equal(journal_keep(&journal, &err), 0);
	assert_int_equal(change(10), 0);
	kernel.refuses = EPERM;
	assert_int_equal(change(20), -1);
	assert_int_equal(err.code, EPERM);
	kernel.refuses = 0;
	assert_int_equal(change(30), 0);
	check_requests(done);
	kernel.refuses = EEXIST; /* what is refused keeps nothing else from being undone */
	journal_undo(&journal);
	assert_int_equal(kernel.count, 2 + COUNT(kept) - 1);
	kernel.count = 2;
	check_requests(undone);
	for (size_t i = 0; i < COUNT(kept) - 1; i++)
		assert_memory_equal(kernel.requests[2 + i], kept[i], sizeof kept[i]);
}

static void a_file_has_the_content_that_it_had(void **unused)
{
	char text[16];
	int fd = open(FILE_NAME, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);

	(void)unused;
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(journal_keep(&journal, &err), 0);
	assert_int_equal(file_write(FILE_NAME, "1\n"), 0);
	assert_int_equal(journal_push_file(&journal, FILE_NAME, &err), 0);
	assert_int_equal(file_write(FILE_NAME, "0\n"), 0);
	assert_int_equal(journal_push_file(&journal, FILE_NAME, &err), 0);
	assert_int_equal(journal_push_file(&journal, "/no/such/file", &err), 0);
	journal_undo(&journal);
	assert_int_equal(file_read(FILE_NAME, text, sizeof text), 2);
	assert_string_equal(text, "1\n");
	unlink(FILE_NAME);
	check_requests(kept);
}

static void what_could_not_be_undone_is_not_done(void **unused)
{
	int changes = 0;

	(void)unused;
	assert_int_equal(journal_keep(&journal, &err), 0);
	while (change(1) == 0) {
		changes++;
		kernel.count = 0;
	}
	assert_int_equal(err.code, ENOMEM);
	assert_int_equal(kernel.count, 0);
	assert_int_equal(changes, MIB / NLMSG_SPACE(sizeof(struct ifinfomsg)));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(addresses_and_routes_are_kept, start, stop),
		cmocka_unit_test_setup_teardown(
			a_route_that_may_have_lost_just_its_source_is_replaced, start, stop),
		cmocka_unit_test_setup_teardown(
			a_dump_that_was_interrupted_is_asked_for_again, start, stop),
		cmocka_unit_test_setup_teardown(also_when_just_its_end_says_so, start, stop),
		cmocka_unit_test_setup_teardown(
			an_answer_to_another_request_is_not_heard, start, stop),
		cmocka_unit_test_setup_teardown(nobody_but_the_kernel_is_heard, start, stop),
		cmocka_unit_test_setup_teardown(an_answer_that_was_lost_is_an_error, start, stop),
		cmocka_unit_test_setup_teardown(a_datagram_that_was_cut_is_an_error, start, stop),
		cmocka_unit_test_setup_teardown(half_a_state_is_none, start, stop),
		cmocka_unit_test_setup_teardown(
			the_last_change_is_undone_first_and_what_is_kept_comes_last, start, stop),
		cmocka_unit_test_setup_teardown(a_file_has_the_content_that_it_had, start, stop),
		cmocka_unit_test_setup_teardown(what_could_not_be_undone_is_not_done, start, stop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
