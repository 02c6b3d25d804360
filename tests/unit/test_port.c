/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "host.h"
#include "limits.h"
#include "turns.h"
#include "wire/port.h"

#define HEADER    12u
#define IN_BYTES  1000u
#define OUT_BYTES (64 * KIB)

static struct port port;
static struct host host;
static int hangups;
static char in_at_hangup[IN_BYTES + 1];

static void remember_hangup(struct port *p)
{
	assert_ptr_equal(p, &port);
	hangups++;
	memcpy(in_at_hangup, queue_peek(&port.in), queue_length(&port.in));
	in_at_hangup[queue_length(&port.in)] = '\0';
}

static void pump(void)
{
	port_pump(&port);
}

static struct port_kind kind = {
	.name = "test",
	.in_bytes = IN_BYTES,
	.out_bytes = OUT_BYTES,
	.header = HEADER,
	.on_hangup = remember_hangup,
};

static int open_port(int fd, bool listening, bool keeps_frames)
{
	const struct settings settings = {.listening = listening};
	struct error err;

	hangups = 0;
	turns_open(pump);
	kind.keeps_frames = keeps_frames;
	return port_open(&port, &loop, &kind, fd, &settings, &err);
}

static int setup(void **state)
{
	(void)state;
	return open_port(host_listen(&host), true, false);
}

static int setup_with_frames(void **state)
{
	(void)state;
	return open_port(host_listen(&host), true, true);
}

static int teardown(void **state)
{
	(void)state;
	port_close(&port);
	turns_close();
	host_close(&host);
	return 0;
}

static void put_frame(uint8_t fill, size_t length)
{
	uint8_t frame[TTY_FRAME_MAX];

	memset(frame, fill, length);
	store_be32(frame + HEADER - 4, (uint32_t)length);
	assert_true(queue_put(&port.out, frame, length));
}

/* What the host has is whole frames; returns how many. */
static size_t assert_whole_frames(const uint8_t *fills)
{
	size_t at = 0, frames = 0;

	while (at < host.length) {
		assert_true(host.length - at >= HEADER);
		assert_int_equal(host.received[at], fills[frames]);
		at += load_be32(host.received + at + HEADER - 4);
		assert_int_equal(host.received[at - 1], fills[frames]);
		frames++;
	}
	assert_int_equal(at, host.length);
	return frames;
}

static void bytes_go_both_ways(void **state)
{
	(void)state;
	queue_put(&port.out, "early", 5);
	turn_until_quiet();
	assert_false(port.connected);
	host_connect(&host);
	host_send(&host, "hello", 5);
	turn_until_quiet();
	assert_true(port.connected);
	host_receive(&host, 100);
	assert_int_equal(host.length, 5);
	assert_memory_equal(host.received, "early", 5);
	assert_int_equal(queue_length(&port.in), 5);
	assert_memory_equal(queue_peek(&port.in), "hello", 5);
	assert_true(queue_is_empty(&port.out));
}

static void a_full_in_queue_stops_the_reading(void **state)
{
	char bytes[3 * IN_BYTES];
	size_t got = 0;

	(void)state;
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (char)(i % 251);
	host_connect(&host);
	assert_int_equal(host_send(&host, bytes, sizeof(bytes)), sizeof(bytes));
	while (got < sizeof(bytes)) {
		size_t n = got + 7 < sizeof(bytes) ? 7 : sizeof(bytes) - got;

		turn_until_quiet();
		assert_int_equal(queue_length(&port.in),
			sizeof(bytes) - got < IN_BYTES ? sizeof(bytes) - got : IN_BYTES);
		assert_memory_equal(queue_peek(&port.in), bytes + got, n);
		queue_consume(&port.in, n);
		got += n;
	}
	assert_int_equal(hangups, 0);
}

static void a_second_host_is_turned_away(void **state)
{
	char byte;
	int second;

	(void)state;
	host_connect(&host);
	turn_until_quiet();
	second = host_socket(&host);
	turn_until_quiet();
	assert_int_equal(recv(second, &byte, 1, 0), 0);
	close(second);
	turn_until_quiet();
	assert_int_equal(hangups, 0);
	host_send(&host, "x", 1);
	turn_until_quiet();
	assert_int_equal(queue_length(&port.in), 1);
}

static void what_was_written_last_is_read_before_the_hang_up(void **state)
{
	(void)state;
	host_connect(&host);
	turn_until_quiet();
	host_send(&host, "last words", 10);
	host_disconnect(&host);
	turn_until_quiet();
	assert_int_equal(hangups, 1);
	assert_string_equal(in_at_hangup, "last words");
	assert_false(port.connected);
}

static void what_was_written_last_is_read_before_a_hang_up_that_shows_in_a_write(void **state)
{
	(void)state;
	host_connect(&host);
	turn_until_quiet();
	host_send(&host, "last words", 10);
	host_disconnect(&host);
	queue_put(&port.out, "reply", 5);
	port_pump(&port);
	assert_int_equal(hangups, 1);
	assert_string_equal(in_at_hangup, "last words");
}

/* Else its tail would stand where the next host's first header is looked for. */
static void what_a_gone_host_left_unread_does_not_reach_the_next_one(void **state)
{
	char bytes[2 * IN_BYTES];

	(void)state;
	memset(bytes, 'o', sizeof(bytes));
	host_connect(&host);
	assert_int_equal(host_send(&host, bytes, sizeof(bytes)), sizeof(bytes));
	turn();
	turn();
	host_disconnect(&host);
	turn_until_quiet();
	assert_int_equal(hangups, 1);
	queue_consume(&port.in, queue_length(&port.in));
	host_connect(&host);
	host_send(&host, "new", 3);
	turn_until_quiet();
	assert_int_equal(queue_length(&port.in), 3);
	assert_memory_equal(queue_peek(&port.in), "new", 3);
}

static void a_hang_up_is_seen_with_both_queues_idle_or_full(void **state)
{
	char bytes[IN_BYTES] = "";

	(void)state;
	host_connect(&host);
	turn_until_quiet();
	host_disconnect(&host);
	turn_until_quiet();
	assert_int_equal(hangups, 1);
	host_connect(&host);
	host_send(&host, bytes, sizeof(bytes));
	turn_until_quiet();
	assert_int_equal(queue_room(&port.in), 0);
	host_disconnect(&host);
	turn_until_quiet();
	assert_int_equal(hangups, 2);
}

static void the_next_host_gets_what_waited(void **state)
{
	(void)state;
	for (int i = 0; i < 10; i++) {
		host_connect(&host);
		turn_until_quiet();
		host_disconnect(&host);
		turn_until_quiet();
		assert_true(queue_put(&port.out, "abc", 3));
		turn_until_quiet();
	}
	assert_int_equal(hangups, 10);
	host_connect(&host);
	turn_until_quiet();
	host_receive(&host, 1000);
	assert_int_equal(host.length, 30 - 9 * 3);
}

static void a_host_that_does_not_read_stops_the_writing(void **state)
{
	char page[4096] = "";
	size_t put = 0;

	(void)state;
	host_connect(&host);
	turn_until_quiet();
	while (queue_put(&port.out, page, sizeof(page))) {
		put += sizeof(page);
		turn_until_quiet();
	}
	assert_true(put > OUT_BYTES);
	while (host.length < put) {
		assert_true(host_receive(&host, 30000) > 0);
		turn_until_quiet();
	}
	assert_int_equal(host.length, put);
}

/* --- A port that keeps frames ----------------------------------------------------------------- */

static void a_frame_that_was_cut_by_a_hang_up_is_sent_whole_to_the_next_host(void **state)
{
	int smallest = 0; /* the kernel raises it to its minimum: a write takes part of a frame */
	uint8_t fills[64];
	size_t put = 0, got, first;

	(void)state;
	host_connect(&host);
	turn_until_quiet();
	setsockopt(port.source.fd, SOL_SOCKET, SO_SNDBUF, &smallest, sizeof(smallest));
	for (; put < sizeof(fills) && queue_room(&port.out) >= TTY_FRAME_MAX; put++) {
		fills[put] = (uint8_t)(put + 1);
		put_frame(fills[put], TTY_FRAME_MAX);
		turn_until_quiet();
	}
	assert_true(put < sizeof(fills)); /* the socket is full, and cut a frame */
	assert_true(port.started > 0);
	first = put - (queue_length(&port.out) + TTY_FRAME_MAX - 1) / TTY_FRAME_MAX;
	host_disconnect(&host);
	turn_until_quiet();
	assert_int_equal(hangups, 1);
	host_connect(&host);
	do {
		turn_until_quiet();
		got = host_receive(&host, SIZE_MAX);
	} while (got > 0);
	assert_int_equal(assert_whole_frames(fills + first), put - first);
	assert_true(queue_is_empty(&port.out));
}

static void frames_arrive_in_order_whatever_the_host_reads_at_a_time(void **state)
{
	static const size_t lengths[] = {HEADER, TTY_FRAME_MAX, HEADER + 1, 5000, 32};
	uint8_t fills[250];
	size_t put = 0;

	(void)state;
	host_connect(&host);
	while (put < sizeof(fills) || !queue_is_empty(&port.out)) {
		while (put < sizeof(fills) && queue_room(&port.out) >= TTY_FRAME_MAX) {
			fills[put] = (uint8_t)(put % 250 + 1);
			put_frame(fills[put], lengths[put % 5]);
			put++;
		}
		turn_until_quiet();
		host_receive(&host, 1 + put * 37);
	}
	host_receive(&host, SIZE_MAX);
	/* A frame of a header alone has no fill behind its length. */
	assert_true(host.length > 250 / 5 * (TTY_FRAME_MAX + 5000));
	for (size_t at = 0, i = 0; at < host.length; i++) {
		assert_int_equal(host.received[at], fills[i]);
		assert_int_equal(load_be32(host.received + at + HEADER - 4), lengths[i % 5]);
		at += lengths[i % 5];
		assert_true(at <= host.length);
	}
}

/* Sequenced packets show each write apart. */
static void a_write_is_whole_frames_and_no_more_than_a_device_takes(void **state)
{
	static uint8_t packet[2 * OUT_BYTES];
	size_t packets = 0, received = 0;
	int fds[2];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, fds), 0);
	assert_int_equal(open_port(fds[0], false, true), 0);
	for (size_t length = TTY_FRAME_MAX; queue_room(&port.out) >= length; length -= 100)
		put_frame('x', length);
	while (received < port.out.total) {
		ssize_t n;

		turn();
		n = recv(fds[1], packet, sizeof(packet), 0);
		assert_in_range(n, HEADER, PORT_WRITE_MAX);
		for (size_t at = 0; at < (size_t)n;) {
			at += load_be32(packet + at + HEADER - 4);
			assert_true(at <= (size_t)n);
		}
		received += (size_t)n;
		packets++;
	}
	assert_int_equal(packets, 2);
	port_close(&port);
	turns_close();
	close(fds[1]);
}

/* --- Frames in the in queue ------------------------------------------------------------------- */

static void a_length_that_nobody_means_is_the_header_alone(void **state)
{
	static const struct {
		uint32_t announced;
		size_t length;
	} rows[] = {{0, 12}, {4, 12}, {11, 12}, {12, 12}, {13, 13}, {16 * MIB, 16 * MIB},
		{16 * MIB + 1, 12}, {0x40000000, 12}, {0xffffffff, 12}};
	uint8_t header[HEADER] = {0};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		store_be32(header + HEADER - 4, rows[i].announced);
		assert_int_equal(port_frame_length(&port, header), rows[i].length);
	}
}

static void only_the_unfinished_frame_is_forgotten(void **state)
{
	uint8_t bytes[100];

	(void)state;
	/* 5 bytes of an older frame; frames of 20 and 12; then a cut one, at every byte. */
	for (size_t cut = 0; cut < 20; cut++) {
		uint64_t total = port.in.total;

		memset(bytes, 0, sizeof(bytes));
		store_be32(bytes + 5 + 8, 20);
		store_be32(bytes + 25 + 8, 12);
		store_be32(bytes + 37 + 8, 20);
		queue_put(&port.in, bytes, 37 + cut);
		assert_true(port_forget_partial(&port, 5));
		assert_int_equal(queue_length(&port.in), 37);
		assert_int_equal(port.in.total, total + 37);
		queue_consume(&port.in, 37);
	}
}

static void a_frame_begun_earlier_that_is_cut_leaves_nothing(void **state)
{
	(void)state;
	queue_put(&port.in, "abc", 3);
	assert_false(port_forget_partial(&port, 4));
	assert_true(queue_is_empty(&port.in));
	assert_true(port_forget_partial(&port, 0));
	queue_put(&port.in, "abcd", 4);
	assert_true(port_forget_partial(&port, 4));
	assert_int_equal(queue_length(&port.in), 4);
	queue_consume(&port.in, 4);
}

/* --- A device, for which a socket pair stands in ---------------------------------------------- */

static void a_device_without_a_host_is_not_watched(void **state)
{
	int fds[2];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
	assert_int_equal(open_port(fds[0], false, false), 0);
	assert_true(port.connected);
	close(fds[1]); /* POLLHUP from now on, as virtio-serial without a host */
	turn_until_quiet();
	assert_int_equal(hangups, 1);
	assert_false(port.connected);
	assert_int_equal(port.source.armed, 0);
	assert_false(list_is_empty(&port.retry.node)); /* it is looked at from time to time */
	port_close(&port);
	turns_close();
}

static void a_device_that_has_a_host_again_is_watched_again(void **state)
{
	int fds[2], others[2];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, others), 0);
	assert_int_equal(open_port(fds[0], false, false), 0);
	close(fds[1]);
	turn_until_quiet();
	assert_int_equal(dup2(others[0], fds[0]), fds[0]); /* the same fd works again */
	close(others[0]);
	/* The timer's time comes. */
	timer_set(&loop, &port.retry, 0);
	turn();
	assert_true(port.connected);
	assert_int_equal(write(others[1], "new", 3), 3);
	turn_until_quiet();
	assert_int_equal(queue_length(&port.in), 3);
	port_close(&port);
	turns_close();
	close(others[1]);
}

static void what_a_gone_host_left_unread_in_a_device_is_thrown_away(void **state)
{
	char bytes[3 * IN_BYTES] = "";
	int fds[2], device;

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
	device = dup(fds[0]);
	assert_int_equal(open_port(fds[0], false, false), 0);
	assert_int_equal(write(fds[1], bytes, sizeof(bytes)), sizeof(bytes));
	close(fds[1]);
	turn_until_quiet();
	assert_int_equal(hangups, 1);
	assert_int_equal(queue_length(&port.in), IN_BYTES);
	assert_int_equal(read(device, bytes, sizeof(bytes)), 0);
	port_close(&port);
	turns_close();
	close(device);
}

/* As when the next host is there already and floods the port. */
static void a_device_that_never_runs_dry_can_hang_up(void **state)
{
	(void)state;
	assert_int_equal(open_port(open("/dev/zero", O_RDONLY), false, false), 0);
	assert_true(port.connected);
	alarm(60);
	queue_put(&port.out, "it cannot be written", 20);
	port_pump(&port);
	alarm(0);
	assert_int_equal(hangups, 1);
	port_close(&port);
	turns_close();
}

#define test_of_port(test)   cmocka_unit_test_setup_teardown(test, setup, teardown)
#define test_of_frames(test) cmocka_unit_test_setup_teardown(test, setup_with_frames, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test_of_port(bytes_go_both_ways),
		test_of_port(a_full_in_queue_stops_the_reading),
		test_of_port(a_second_host_is_turned_away),
		test_of_port(what_was_written_last_is_read_before_the_hang_up),
		test_of_port(what_was_written_last_is_read_before_a_hang_up_that_shows_in_a_write),
		test_of_port(what_a_gone_host_left_unread_does_not_reach_the_next_one),
		test_of_port(a_hang_up_is_seen_with_both_queues_idle_or_full),
		test_of_port(the_next_host_gets_what_waited),
		test_of_port(a_host_that_does_not_read_stops_the_writing),
		test_of_frames(a_frame_that_was_cut_by_a_hang_up_is_sent_whole_to_the_next_host),
		test_of_frames(frames_arrive_in_order_whatever_the_host_reads_at_a_time),
		cmocka_unit_test(a_write_is_whole_frames_and_no_more_than_a_device_takes),
		test_of_port(a_length_that_nobody_means_is_the_header_alone),
		test_of_port(only_the_unfinished_frame_is_forgotten),
		test_of_port(a_frame_begun_earlier_that_is_cut_leaves_nothing),
		cmocka_unit_test(a_device_without_a_host_is_not_watched),
		cmocka_unit_test(a_device_that_has_a_host_again_is_watched_again),
		cmocka_unit_test(what_a_gone_host_left_unread_in_a_device_is_thrown_away),
		cmocka_unit_test(a_device_that_never_runs_dry_can_hang_up),
	};

	signal(SIGPIPE, SIG_IGN); /* as daemon_run() does */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
