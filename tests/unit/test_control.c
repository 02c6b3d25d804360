/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "host.h"
#include "limits.h"
#include "turns.h"
#include "wire/control.h"

/* --- Commands that do nothing but keep a book ------------------------------------------------- */

static struct control control;
static struct host host;

static bool answers;       /* at once, with ACK and the code; else when the test says so */
static uint32_t taken[64]; /* the codes of all commands that were run */
static size_t taken_count, cuts, hangups, last_length;
static uint8_t last_byte;

static void answer(uint32_t code)
{
	uint8_t *payload = calloc(1, 4);

	store_be32(payload, code);
	control_ack(&control, payload, 4);
}

static void run(struct control *c, struct message *message)
{
	assert_ptr_equal(c, &control);
	assert_int_equal(message->filled, message->length);
	assert_true(message->length == 0 || message->payload);
	assert_non_null(arena_alloc(&message->arena, 100));
	taken[taken_count++ % 64] = message->code;
	last_length = message->length;
	last_byte = message->length ? message->payload[message->length - 1] : 0;
	if (answers)
		answer(message->code);
}

static void count_cancel(struct control *c)
{
	assert_ptr_equal(c, &control);
	cuts++;
}

static void count_hangup(struct control *c)
{
	assert_ptr_equal(c, &control);
	hangups++;
}

static size_t payload_max(uint32_t code)
{
	return code == WRITEFILE ? 4 * MIB : 256 * KIB;
}

/* As the daemon does: until nothing moves any more. */
static void pump(void)
{
	const struct port *port = &control.port;
	uint64_t before;

	do {
		before = port->in.sent + port->out.total + port->out.sent;
		control_pump(&control);
	} while (port->in.sent + port->out.total + port->out.sent != before);
}

/* Allocations of more than this fail. */
static size_t memory = SIZE_MAX;

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);

void *__wrap_malloc(size_t size)
{
	return size > memory ? NULL : __real_malloc(size);
}

static int setup(void **state)
{
	const struct settings settings = {.control_fd = host_listen(&host), .listening = true};
	struct error err;

	(void)state;
	control = (struct control){
		.payload_max = payload_max,
		.on_command = run,
		.on_cancel = count_cancel,
		.on_hangup = count_hangup,
	};
	answers = true;
	taken_count = cuts = hangups = 0;
	memory = SIZE_MAX;
	turns_open(pump);
	return control_open(&control, &loop, &settings, &err);
}

static int teardown(void **state)
{
	(void)state;
	free(control.message.payload);
	arena_free(&control.message.arena);
	free(control.reply_owned);
	timer_cancel(&control.bad_headers_timer);
	port_close(&control.port);
	turns_close();
	host_close(&host);
	return 0;
}

/* --- The host --------------------------------------------------------------------------------- */

/* What the agent said, frame by frame, but NEXTs added up. */
struct said {
	uint32_t code, length;
	size_t payload; /* where in host.received */
};

static struct said said[256];
static size_t said_count, read_up_to;
static uint64_t nexts, sent;

static void connect_host(void)
{
	host_connect(&host);
	said_count = read_up_to = 0;
	nexts = sent = 0;
}

/* Takes what was received apart; what is not whole stays for later. */
static void hear(void)
{
	while (host.length - read_up_to >= CONTROL_HEADER) {
		const uint8_t *frame = host.received + read_up_to;
		uint32_t code = load_be32(frame), length = load_be32(frame + 4);

		assert_true(length >= CONTROL_HEADER);
		if (host.length - read_up_to < length)
			break;
		read_up_to += length;
		if (code == NEXT) {
			assert_int_equal(length, CONTROL_HEADER + 4);
			nexts += load_be32(frame + CONTROL_HEADER);
		} else {
			assert_true(said_count < 256);
			said[said_count++] = (struct said){code, length - CONTROL_HEADER,
				read_up_to - length + CONTROL_HEADER};
		}
	}
}

/* All that there is. */
static void listen_to_agent(void)
{
	do
		turn_until_quiet();
	while (host_receive(&host, SIZE_MAX) > 0);
	hear();
}

static void speak(const void *bytes, size_t length)
{
	size_t done = 0;

	while (done < length) {
		done += host_send(&host, (const uint8_t *)bytes + done, length - done);
		turn_until_quiet();
		host_receive(&host, SIZE_MAX);
	}
	sent += length;
}

static size_t command(uint8_t *to, uint32_t code, uint32_t announced, size_t payload)
{
	store_be32(to, code);
	store_be32(to + 4, announced);
	memset(to + CONTROL_HEADER, 'p', payload);
	return CONTROL_HEADER + payload;
}

static void say(uint32_t code, size_t payload)
{
	static uint8_t bytes[FRAME_BELIEVED_MAX];

	speak(bytes, command(bytes, code, (uint32_t)(CONTROL_HEADER + payload), payload));
}

/* The host connected, and READY was the first it heard. */
static void begin(void)
{
	connect_host();
	listen_to_agent();
	assert_int_equal(said_count, 1);
	assert_int_equal(said[0].code, READY);
	assert_int_equal(said[0].length, 0);
	said_count = 0;
}

/* The next reply heard is the ACK of this command. */
static void assert_acked(size_t reply, uint32_t code)
{
	assert_true(reply < said_count);
	assert_int_equal(said[reply].code, ACK);
	assert_int_equal(said[reply].length, 4);
	assert_int_equal(load_be32(host.received + said[reply].payload), code);
}

static void assert_error(size_t reply, const char *text)
{
	assert_true(reply < said_count);
	assert_int_equal(said[reply].code, ERROR);
	assert_int_equal(said[reply].length, strlen(text));
	assert_memory_equal(host.received + said[reply].payload, text, strlen(text));
}

/* In step: a PING gets its answer, as the next one, and the NEXTs add up. */
static void assert_in_step(void)
{
	size_t before;

	listen_to_agent();
	before = said_count;
	say(PING, 0);
	listen_to_agent();
	assert_int_equal(said_count, before + 1);
	assert_acked(before, PING);
	assert_int_equal(nexts, sent);
}

/* --- Framing ---------------------------------------------------------------------------------- */

static void ready_is_the_first_frame(void **state)
{
	(void)state;
	begin();
	assert_in_step();
}

static void a_command_is_nexted_and_answered(void **state)
{
	(void)state;
	begin();
	say(STARTPOD, 100);
	listen_to_agent();
	assert_int_equal(last_length, 100);
	assert_int_equal(last_byte, 'p');
	assert_int_equal(said_count, 1);
	assert_acked(0, STARTPOD);
	assert_int_equal(nexts, 108);
	assert_in_step();
}

static void commands_in_one_write_are_answered_in_order(void **state)
{
	uint8_t bytes[1000];
	size_t length = 0;

	(void)state;
	begin();
	for (uint32_t code = 30; code < 50; code++)
		length += command(bytes + length, code, code, code - CONTROL_HEADER);
	speak(bytes, length);
	listen_to_agent();
	assert_int_equal(said_count, 20);
	for (uint32_t i = 0; i < 20; i++)
		assert_acked(i, 30 + i);
	assert_in_step();
}

static void every_split_is_nexted_exactly(void **state)
{
	uint8_t bytes[64];
	size_t length = command(bytes, STARTPOD, 30, 22);

	(void)state;
	begin();
	length += command(bytes + length, PING, 8, 0);
	for (size_t at = 0; at < length; at++) {
		speak(bytes + at, 1);
		listen_to_agent();
		assert_int_equal(nexts, sent); /* also in the middle of a message */
	}
	assert_int_equal(said_count, 2);
	for (size_t split = 1; split < length; split++) {
		speak(bytes, split);
		speak(bytes + split, length - split);
		listen_to_agent();
		assert_int_equal(nexts, sent);
	}
	assert_int_equal(said_count, 2 * length);
	assert_in_step();
}

static void a_length_below_the_header_or_absurd_is_an_empty_message(void **state)
{
	static const uint32_t lengths[] = {0, 4, 7, 16 * MIB + 1, 0x40000000, 0xffffffff};

	(void)state;
	begin();
	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		uint8_t header[CONTROL_HEADER];
		char text[100];

		command(header, STARTPOD, lengths[i], 0);
		speak(header, sizeof(header));
		assert_in_step();
		snprintf(text, sizeof(text), "command 1: bad length %u", lengths[i]);
		assert_error(2 * i, text);
	}
	assert_int_equal(taken_count, 6); /* PINGs */
}

static void a_command_that_is_too_long_is_skipped_exactly(void **state)
{
	char text[100];

	(void)state;
	begin();
	say(STARTPOD, 256 * KIB);
	assert_in_step();
	assert_acked(0, STARTPOD);
	say(STARTPOD, 256 * KIB + 1);
	assert_in_step();
	snprintf(text, sizeof(text), "command 1: %u bytes of payload are more than %u",
		256 * KIB + 1, 256 * KIB);
	assert_error(2, text);
	say(WRITEFILE, 4 * MIB);
	assert_in_step();
	assert_int_equal(said[4].code, ACK);
	say(WRITEFILE, 16 * MIB - CONTROL_HEADER);
	assert_in_step();
	assert_int_equal(said[6].code, ERROR);
}

static void a_command_that_gets_no_memory_is_an_error(void **state)
{
	(void)state;
	begin();
	memory = 50000;
	say(STARTPOD, 100000);
	memory = SIZE_MAX;
	assert_in_step();
	assert_error(0, "command 1: out of memory");
}

/* --- One at a time ---------------------------------------------------------------------------- */

static void the_next_command_waits_for_the_reply(void **state)
{
	(void)state;
	begin();
	answers = false;
	say(STARTPOD, 10);
	say(NEWCONTAINER, 10);
	say(PING, 0);
	listen_to_agent();
	assert_int_equal(taken_count, 1);
	assert_int_equal(said_count, 0);
	assert_int_equal(nexts, sent); /* taken from the port, though not yet run */
	answer(STARTPOD);
	listen_to_agent();
	assert_int_equal(taken_count, 2);
	assert_acked(0, STARTPOD);
	answers = true;
	answer(NEWCONTAINER);
	listen_to_agent();
	assert_acked(1, NEWCONTAINER);
	assert_acked(2, PING);
	assert_in_step();
}

static void while_a_command_runs_the_host_is_held_back(void **state)
{
	uint8_t page[4096] = {0};
	size_t taken_in = 0, n;

	(void)state;
	begin();
	answers = false;
	say(STARTPOD, 10);
	/* Empty commands of length 8: as many as anyone likes. */
	for (size_t i = 0; i < sizeof(page); i += CONTROL_HEADER)
		command(page + i, PING, CONTROL_HEADER, 0);
	while ((n = host_send(&host, page, sizeof(page))) > 0) {
		taken_in += n;
		turn_until_quiet();
	}
	listen_to_agent();
	assert_int_equal(queue_length(&control.port.in), CONTROL_IN_BYTES);
	assert_int_equal(nexts, sent + CONTROL_IN_BYTES);
	assert_true(taken_in > CONTROL_IN_BYTES);
}

static void a_reply_waits_until_the_host_reads(void **state)
{
	uint8_t pings[100 * CONTROL_HEADER];
	uint64_t written = 0;
	int quiet_sends = 0;

	(void)state;
	begin();
	for (size_t i = 0; i < sizeof(pings); i += CONTROL_HEADER)
		command(pings + i, PING, CONTROL_HEADER, 0);
	/* The host writes on and never reads, until the agent takes no more. */
	while (quiet_sends < 3) {
		size_t n = host_send(&host, pings, sizeof(pings));

		written += n;
		quiet_sends = n ? 0 : quiet_sends + 1;
		turn_until_quiet();
	}
	assert_true(written > 100000);
	/* It reads on, little by little: nothing is missing. */
	while (nexts < written || !queue_is_empty(&control.port.out)) {
		turn_until_quiet();
		host_receive(&host, 300);
		hear();
		said_count = 0;
	}
	assert_int_equal(nexts, written);
	assert_int_equal(taken_count, written / CONTROL_HEADER);
}

/* READFILE's, taken over. */
static void answer_at_length(size_t length)
{
	uint8_t *payload = malloc(length);

	for (size_t i = 0; i < length; i++)
		payload[i] = (uint8_t)(i % 251);
	control_ack(&control, payload, length);
}

static void a_long_reply_is_streamed_and_nothing_comes_within_it(void **state)
{
	uint64_t mark;

	(void)state;
	begin();
	answers = false;
	say(READFILE, 10);
	answer_at_length(4 * MIB);
	turn_until_quiet(); /* stuck: the host does not read */
	assert_false(queue_is_empty(&control.port.out));
	answers = true;
	say(PING, 0);
	assert_false(control_event(&control, "c", "p", 0, &mark));
	listen_to_agent();
	assert_int_equal(said_count, 2);
	assert_int_equal(said[0].code, ACK);
	assert_int_equal(said[0].length, 4 * MIB);
	for (size_t i = 0; i < 4 * MIB; i++)
		if (host.received[said[0].payload + i] != i % 251)
			fail_msg("byte %zu is wrong", i);
	assert_acked(1, PING);
	assert_in_step();
	assert_true(control_event(&control, "c", "p", 0, &mark));
}

static void a_long_reply_may_be_empty(void **state)
{
	(void)state;
	begin();
	answers = false;
	say(READFILE, 10);
	control_ack(&control, NULL, 0);
	answers = true;
	assert_in_step();
	assert_int_equal(said[0].code, ACK);
	assert_int_equal(said[0].length, 0);
}

static void a_hang_up_within_a_long_reply_ends_it(void **state)
{
	(void)state;
	begin();
	answers = false;
	say(READFILE, 10);
	answer_at_length(4 * MIB);
	turn_until_quiet();
	host_receive(&host, 100000);
	turn_until_quiet();
	host_disconnect(&host);
	turn_until_quiet();
	answers = true;
	connect_host();
	assert_in_step();
	assert_int_equal(said_count, 1);
}

static void a_destroypod_that_is_next_in_line_cuts_once(void **state)
{
	(void)state;
	begin();
	answers = false;
	say(STARTPOD, 10);
	assert_int_equal(cuts, 0);
	say(DESTROYPOD, 2);
	say(DESTROYPOD, 2);
	assert_int_equal(cuts, 1);
	answer(STARTPOD);
	listen_to_agent();
	assert_int_equal(taken[1], DESTROYPOD);
	assert_int_equal(cuts, 2); /* the second is next in line behind the first */
	answer(DESTROYPOD);
	turn_until_quiet();
	answer(DESTROYPOD);
	answers = true;
	assert_in_step();
}

static void a_destroypod_further_back_does_not_cut(void **state)
{
	(void)state;
	begin();
	answers = false;
	say(STARTPOD, 10);
	say(PING, 0);
	say(DESTROYPOD, 0);
	listen_to_agent();
	assert_int_equal(cuts, 0);
}

/* --- Events ----------------------------------------------------------------------------------- */

static void an_event_is_json_whatever_the_ids_are(void **state)
{
	static const char text[] = "{\"container\":\"a\\\"b\\\\\",\"process\":\"c\xc3\xa4\","
				   "\"event\":\"finished\",\"status\":137}";
	uint64_t mark;

	(void)state;
	begin();
	assert_true(control_event(&control, "a\"b\\", "c\xc3\xa4", 137, &mark));
	assert_false(control_has_sent(&control, mark));
	listen_to_agent();
	assert_true(control_has_sent(&control, mark));
	assert_int_equal(said_count, 1);
	assert_int_equal(said[0].code, PROCESSASYNCEVENT);
	assert_int_equal(said[0].length, strlen(text));
	assert_memory_equal(host.received + said[0].payload, text, strlen(text));
}

static void the_longest_ids_fit_an_event(void **state)
{
	char id[ID_MAX + 1];
	uint64_t mark;

	(void)state;
	begin();
	memset(id, '"', ID_MAX);
	id[ID_MAX] = '\0';
	assert_true(control_event(&control, id, id, 255, &mark));
	listen_to_agent();
	assert_int_equal(said_count, 1);
	assert_true(said[0].length > 2 * 2 * ID_MAX);
}

static void an_event_may_come_before_the_reply(void **state)
{
	uint64_t mark;

	(void)state;
	begin();
	answers = false;
	say(STARTPOD, 0);
	assert_true(control_event(&control, "c", "p", 0, &mark));
	answer(STARTPOD);
	listen_to_agent();
	assert_int_equal(said[0].code, PROCESSASYNCEVENT);
	assert_acked(1, STARTPOD);
}

/* --- Hang-up (protocol.md, section 9) --------------------------------------------------------- */

static void leave(void)
{
	host_disconnect(&host);
	turn_until_quiet();
	assert_int_equal(hangups, 1);
}

static void ready_is_not_sent_again(void **state)
{
	(void)state;
	begin();
	leave();
	connect_host();
	assert_in_step();
	assert_int_equal(said_count, 1);
}

static void ready_is_sent_to_each_host_where_it_is_each_hosts(void **state)
{
	(void)state;
	control.ready_again = true;
	for (int i = 0; i < 3; i++) {
		begin();
		assert_in_step();
		hangups = 0;
		leave();
	}
	/* One that came and went before it could be told anything changes nothing. */
	close(host_socket(&host));
	turn_until_quiet();
	begin();
	assert_in_step();
}

static void a_half_received_command_is_forgotten(void **state)
{
	uint8_t bytes[64];
	size_t length = command(bytes, STARTPOD, 30, 22);

	(void)state;
	for (size_t cut = 1; cut < length; cut++) {
		if (cut == 1) {
			begin();
		} else {
			connect_host();
			turn_until_quiet();
		}
		speak(bytes, cut);
		hangups = 0;
		leave();
	}
	assert_int_equal(taken_count, 0);
	connect_host();
	assert_in_step(); /* the NEXTs are only of what this host wrote */
	assert_int_equal(said_count, 1);
}

static void a_half_skipped_command_is_forgotten(void **state)
{
	uint8_t *bytes = malloc(2 * MIB);

	(void)state;
	begin();
	command(bytes, STARTPOD, 2 * MIB, 2 * MIB - CONTROL_HEADER);
	speak(bytes, MIB);
	leave();
	connect_host();
	assert_in_step();
	assert_int_equal(said_count, 1);
	free(bytes);
}

static void the_reply_of_the_command_that_runs_goes_nowhere(void **state)
{
	(void)state;
	begin();
	answers = false;
	say(STARTPOD, 10);
	leave();
	connect_host();
	say(GETVERSION, 0);
	turn_until_quiet();
	assert_int_equal(taken_count, 1);
	answer(STARTPOD);
	answers = true;
	listen_to_agent();
	assert_int_equal(said_count, 1);
	assert_acked(0, GETVERSION);
	assert_int_equal(nexts, sent);
	assert_in_step();
}

static void whole_commands_of_a_gone_host_run_without_replies(void **state)
{
	(void)state;
	begin();
	answers = false;
	say(STARTPOD, 10);
	say(NEWCONTAINER, 20);
	say(EXECCMD, 30);
	speak("\0\0\0\6\0\0\1\0half", 12);
	leave();
	connect_host();
	say(GETVERSION, 0);
	answer(STARTPOD);
	turn_until_quiet();
	assert_int_equal(taken[1], NEWCONTAINER);
	answer(NEWCONTAINER);
	turn_until_quiet();
	assert_int_equal(taken[2], EXECCMD);
	answers = true;
	answer(EXECCMD);
	listen_to_agent();
	assert_int_equal(taken[3], GETVERSION);
	assert_int_equal(said_count, 1);
	assert_acked(0, GETVERSION);
	assert_in_step();
}

static void replies_and_nexts_that_have_not_left_are_dropped(void **state)
{
	uint8_t pings[100 * CONTROL_HEADER];
	int quiet_sends = 0;

	(void)state;
	begin();
	for (size_t i = 0; i < sizeof(pings); i += CONTROL_HEADER)
		command(pings + i, PING, CONTROL_HEADER, 0);
	while (quiet_sends < 3) {
		quiet_sends = host_send(&host, pings, sizeof(pings)) ? 0 : quiet_sends + 1;
		turn_until_quiet();
	}
	assert_false(queue_is_empty(&control.port.out));
	leave();
	connect_host();
	assert_in_step();
	assert_int_equal(said_count, 1);
}

static void an_event_that_has_not_left_is_queued_again_by_its_owner(void **state)
{
	uint8_t pings[100 * CONTROL_HEADER];
	uint64_t mark = 0;
	int quiet_sends = 0;

	(void)state;
	begin();
	for (size_t i = 0; i < sizeof(pings); i += CONTROL_HEADER)
		command(pings + i, PING, CONTROL_HEADER, 0);
	while (quiet_sends < 3) {
		quiet_sends = host_send(&host, pings, sizeof(pings)) ? 0 : quiet_sends + 1;
		turn_until_quiet();
	}
	/* Makes room for one. */
	queue_unput(&control.port.out, 200);
	assert_true(control_event(&control, "c", "p", 0, &mark));
	turn_until_quiet();
	assert_false(control_has_sent(&control, mark));
	leave();
	assert_false(control_has_sent(&control, mark));
	assert_true(control_event(&control, "c", "p", 0, &mark));
	connect_host();
	listen_to_agent();
	assert_true(control_has_sent(&control, mark));
	assert_int_equal(said_count, 1);
	assert_int_equal(said[0].code, PROCESSASYNCEVENT);
}

static void ready_that_never_left_is_kept(void **state)
{
	int fd;

	(void)state;
	/* A host that is gone before the agent could write. */
	fd = host_socket(&host);
	close(fd);
	turn_until_quiet();
	begin();
	assert_in_step();
}

#define test_of_control(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test_of_control(ready_is_the_first_frame),
		test_of_control(a_command_is_nexted_and_answered),
		test_of_control(commands_in_one_write_are_answered_in_order),
		test_of_control(every_split_is_nexted_exactly),
		test_of_control(a_length_below_the_header_or_absurd_is_an_empty_message),
		test_of_control(a_command_that_is_too_long_is_skipped_exactly),
		test_of_control(a_command_that_gets_no_memory_is_an_error),
		test_of_control(the_next_command_waits_for_the_reply),
		test_of_control(while_a_command_runs_the_host_is_held_back),
		test_of_control(a_reply_waits_until_the_host_reads),
		test_of_control(a_long_reply_is_streamed_and_nothing_comes_within_it),
		test_of_control(a_long_reply_may_be_empty),
		test_of_control(a_hang_up_within_a_long_reply_ends_it),
		test_of_control(a_destroypod_that_is_next_in_line_cuts_once),
		test_of_control(a_destroypod_further_back_does_not_cut),
		test_of_control(an_event_is_json_whatever_the_ids_are),
		test_of_control(the_longest_ids_fit_an_event),
		test_of_control(an_event_may_come_before_the_reply),
		test_of_control(ready_is_not_sent_again),
		test_of_control(ready_is_sent_to_each_host_where_it_is_each_hosts),
		test_of_control(a_half_received_command_is_forgotten),
		test_of_control(a_half_skipped_command_is_forgotten),
		test_of_control(the_reply_of_the_command_that_runs_goes_nowhere),
		test_of_control(whole_commands_of_a_gone_host_run_without_replies),
		test_of_control(replies_and_nexts_that_have_not_left_are_dropped),
		test_of_control(an_event_that_has_not_left_is_queued_again_by_its_owner),
		test_of_control(ready_that_never_left_is_kept),
	};

	signal(SIGPIPE, SIG_IGN); /* as daemon_run() does */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
