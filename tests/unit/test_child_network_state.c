/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <errno.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include "child/network_state.h"

/* A kernel with one device. A dump of anything is two datagrams: what there is, and the end. */
static struct {
	uint32_t sequence;
	uint16_t asked;
	bool is_at_end;
	unsigned dumps;
	/* What goes wrong with the first dump. */
	bool interrupted, interrupted_at_end, stale, forged;
	int fails;         /* recvfrom, with this errno */
	size_t longer_by;  /* than the buffer that it is received with */
	unsigned too_many; /* messages of the same device */
	bool is_not_heard; /* this datagram was wrong: once more */
} kernel;

static struct netlink netlink;
static struct network_state state;
static struct error err;

ssize_t __wrap_sendto(int fd, const void *bytes, size_t length, int flags,
	const struct sockaddr *to, socklen_t to_length);
ssize_t __wrap_recvfrom(
	int fd, void *bytes, size_t size, int flags, struct sockaddr *from, socklen_t *from_length);

ssize_t __wrap_sendto(int fd, const void *bytes, size_t length, int flags,
	const struct sockaddr *to, socklen_t to_length)
{
	const struct nlmsghdr *header = bytes;

	(void)fd, (void)flags, (void)to, (void)to_length;
	kernel.sequence = header->nlmsg_seq;
	kernel.asked = header->nlmsg_type;
	kernel.is_at_end = false;
	kernel.dumps++;
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

static size_t put_link(void *bytes, uint16_t flags)
{
	struct {
		struct ifinfomsg head;
		struct nlattr attribute;
		char name[8];
	} link = {
		.head = {.ifi_index = 3},
		.attribute = {.nla_len = NLA_HDRLEN + 5, .nla_type = IFLA_IFNAME},
		.name = "eth0",
	};

	return put(bytes, RTM_NEWLINK, flags, &link, sizeof link);
}

ssize_t __wrap_recvfrom(
	int fd, void *bytes, size_t size, int flags, struct sockaddr *from, socklen_t *from_length)
{
	bool is_first = kernel.dumps == 1, is_wrong = is_first && !kernel.is_not_heard;
	struct sockaddr_nl *sender = (void *)from;
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
	if (!kernel.is_at_end && kernel.asked == RTM_GETLINK) {
		length = put_link(bytes, is_first && kernel.interrupted ? NLM_F_DUMP_INTR : 0);
		if (kernel.too_many > 0)
			kernel.too_many--;
		else
			kernel.is_at_end = true;
		return (ssize_t)length;
	}
	return (ssize_t)put(bytes, NLMSG_DONE,
		is_first && kernel.interrupted_at_end ? NLM_F_DUMP_INTR : 0, &result,
		sizeof result);
}

static int start(void **unused)
{
	(void)unused;
	memset(&kernel, 0, sizeof kernel);
	netlink = (struct netlink){.fd = -1};
	return 0;
}

static int stop(void **unused)
{
	(void)unused;
	network_state_free(&state);
	return 0;
}

static void check_read(unsigned dumps)
{
	struct network_link link;

	assert_int_equal(network_state_read(&state, &netlink, &err), 0);
	assert_int_equal(kernel.dumps, dumps);
	assert_true(network_state_find(&state, "eth0", NULL, &link));
	assert_int_equal(link.index, 3);
	assert_int_equal(
		state.length, NLMSG_LENGTH(sizeof(struct ifinfomsg)) + NLA_HDRLEN + NLA_ALIGN(8));
}

static void three_dumps_are_the_state(void **unused)
{
	(void)unused;
	check_read(3);
}

static void a_dump_that_was_interrupted_is_asked_for_again(void **unused)
{
	(void)unused;
	kernel.interrupted = true;
	check_read(1 + 3);
}

static void also_when_just_its_end_says_so(void **unused)
{
	(void)unused;
	kernel.interrupted_at_end = true;
	check_read(1 + 3);
}

static void an_answer_to_another_request_is_not_heard(void **unused)
{
	(void)unused;
	kernel.stale = true;
	check_read(3);
}

static void nobody_but_the_kernel_is_heard(void **unused)
{
	(void)unused;
	kernel.forged = true;
	check_read(3);
}

static void an_answer_that_was_lost_is_an_error(void **unused)
{
	(void)unused;
	kernel.fails = ENOBUFS;
	assert_int_equal(network_state_read(&state, &netlink, &err), -1);
	assert_string_equal(err.text, "netlink: receive: no buffer space available");
}

static void a_datagram_that_was_cut_is_an_error(void **unused)
{
	(void)unused;
	kernel.longer_by = 1;
	assert_int_equal(network_state_read(&state, &netlink, &err), -1);
	assert_string_equal(err.text, "netlink: receive: message too long");
}

static void half_a_state_is_none(void **unused)
{
	(void)unused;
	kernel.too_many = 100000;
	assert_int_equal(network_state_read(&state, &netlink, &err), -1);
	assert_int_equal(err.code, ENOMEM);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(three_dumps_are_the_state, start, stop),
		cmocka_unit_test_setup_teardown(
			a_dump_that_was_interrupted_is_asked_for_again, start, stop),
		cmocka_unit_test_setup_teardown(also_when_just_its_end_says_so, start, stop),
		cmocka_unit_test_setup_teardown(
			an_answer_to_another_request_is_not_heard, start, stop),
		cmocka_unit_test_setup_teardown(nobody_but_the_kernel_is_heard, start, stop),
		cmocka_unit_test_setup_teardown(an_answer_that_was_lost_is_an_error, start, stop),
		cmocka_unit_test_setup_teardown(a_datagram_that_was_cut_is_an_error, start, stop),
		cmocka_unit_test_setup_teardown(half_a_state_is_none, start, stop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
