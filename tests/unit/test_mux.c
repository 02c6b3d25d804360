/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <pty.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "host.h"
#include "limits.h"
#include "protocol.h"
#include "turns.h"
#include "wire/mux.h"

#define FRAME_PAYLOAD (TTY_FRAME_MAX - TTY_HEADER)

static struct mux mux;
static struct host host;

static void pump(void)
{
	mux_pump(&mux);
}

static int setup(void **state)
{
	const struct settings settings = {.tty_fd = host_listen(&host), .listening = true};
	struct error err;

	(void)state;
	turns_open(pump);
	assert_int_equal(mux_open(&mux, &loop, &settings, &err), 0);
	host_connect(&host);
	turn_until_quiet();
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	gate_close(&mux.outputs);
	port_close(&mux.port);
	turns_close();
	host_close(&host);
	return 0;
}

/* The byte at `at` of the endless text that a seq carries. */
static uint8_t pattern(uint64_t seq, size_t at)
{
	return (uint8_t)((at * 31 + at / 251 + seq * 97) % 251);
}

static void fill(uint8_t *to, uint64_t seq, size_t at, size_t length)
{
	for (size_t i = 0; i < length; i++)
		to[i] = pattern(seq, at + i);
}

static void assert_pattern(const uint8_t *bytes, uint64_t seq, size_t at, size_t length)
{
	for (size_t i = 0; i < length; i++)
		if (bytes[i] != pattern(seq, at + i))
			fail_msg("seq %u: byte %zu is wrong", (unsigned int)seq, at + i);
}

/* --- A process's stdin ------------------------------------------------------------------------ */

struct reader {
	struct input input;
	int fd; /* the process's end */
	size_t read;
};

static void reader_open(struct reader *reader, uint64_t seq)
{
	int fds[2];

	assert_int_equal(pipe2(fds, O_NONBLOCK | O_CLOEXEC), 0);
	*reader = (struct reader){.fd = fds[0]};
	input_open(&reader->input, &mux, seq, fds[1], false);
}

static void reader_close(struct reader *reader)
{
	input_close(&reader->input);
	if (reader->fd >= 0)
		close(reader->fd);
}

/* The process reads at most `max` bytes and finds the pattern; returns how many, -1 at the end. */
static ssize_t reader_read(struct reader *reader, size_t max)
{
	static uint8_t bytes[MIB];
	ssize_t n = read(reader->fd, bytes, max < sizeof(bytes) ? max : sizeof(bytes));

	if (n == 0)
		return -1;
	if (n < 0)
		return 0;
	assert_pattern(bytes, reader->input.seq, reader->read, (size_t)n);
	reader->read += (size_t)n;
	return n;
}

/* Until nothing more comes; true: the pipe was closed behind it. */
static bool reader_read_all(struct reader *reader)
{
	ssize_t n;

	do {
		turn_until_quiet();
		n = reader_read(reader, SIZE_MAX);
	} while (n > 0);
	return n < 0;
}

/* The host sends bytes; returns how many were taken until the agent took no more. */
static size_t send_bytes(const uint8_t *bytes, size_t length)
{
	size_t done = 0, n;

	do {
		n = host_send(&host, bytes + done, length - done);
		done += n;
		turn_until_quiet();
	} while (done < length && (n > 0 || host_send(&host, bytes + done, 0) > 0));
	return done;
}

/* A frame with the next `length` bytes of the seq's pattern, `at` being where they begin. */
static void send_frame(uint64_t seq, size_t at, size_t length)
{
	static uint8_t frame[FRAME_BELIEVED_MAX];

	store_be64(frame, seq);
	store_be32(frame + 8, (uint32_t)(TTY_HEADER + length));
	fill(frame + TTY_HEADER, seq, at, length);
	assert_int_equal(send_bytes(frame, TTY_HEADER + length), TTY_HEADER + length);
}

static void frames_go_to_the_process_of_their_seq(void **state)
{
	struct reader a, b;

	(void)state;
	reader_open(&a, 5);
	reader_open(&b, 5 + MUX_BUCKETS); /* in the same bucket */
	for (size_t at = 0; at < 1000; at += 10) {
		send_frame(5, at, 10);
		send_frame(5 + MUX_BUCKETS, at, 10);
		send_frame(99, 0, 10);                  /* unknown: dropped */
		send_frame(5 + 2 * MUX_BUCKETS, 0, 10); /* the same */
	}
	reader_read_all(&a);
	reader_read_all(&b);
	assert_int_equal(a.read, 1000);
	assert_int_equal(b.read, 1000);
	reader_close(&a);
	reader_close(&b);
}

static void of_several_processes_with_one_seq_the_one_started_last_gets_it(void **state)
{
	struct reader first, second;

	(void)state;
	reader_open(&first, 1);
	send_frame(1, 0, 10);
	reader_open(&second, 1);
	assert_ptr_equal(mux_find_input(&mux, 1), &second.input);
	send_frame(1, 0, 20);
	reader_read_all(&second);
	assert_int_equal(second.read, 20);
	reader_close(&second);
	assert_ptr_equal(mux_find_input(&mux, 1), &first.input);
	send_frame(1, 10, 10);
	reader_read_all(&first);
	assert_int_equal(first.read, 20);
	reader_close(&first);
	assert_null(mux_find_input(&mux, 1));
}

static void one_byte_frames_arrive(void **state)
{
	struct reader r;

	(void)state;
	reader_open(&r, 7);
	for (size_t at = 0; at < 300; at++)
		send_frame(7, at, 1);
	assert_false(reader_read_all(&r));
	assert_int_equal(r.read, 300);
	reader_close(&r);
}

static void a_frame_in_every_split_arrives(void **state)
{
	uint8_t bytes[2 * TTY_HEADER + 40];
	struct reader r;
	size_t at = 0;

	(void)state;
	reader_open(&r, 7);
	for (size_t split = 1; split < sizeof(bytes); split++) {
		store_be64(bytes, 7);
		store_be32(bytes + 8, TTY_HEADER + 20);
		fill(bytes + TTY_HEADER, 7, at, 20);
		memcpy(bytes + TTY_HEADER + 20, bytes, TTY_HEADER);
		fill(bytes + 2 * TTY_HEADER + 20, 7, at + 20, 20);
		at += 40;
		send_bytes(bytes, split);
		send_bytes(bytes + split, sizeof(bytes) - split);
		reader_read_all(&r);
		assert_int_equal(r.read, at);
	}
	reader_close(&r);
}

static void a_stdin_frame_larger_than_the_queue_is_streamed(void **state)
{
	enum { SIZE = 2 * 1024 * 1024 };
	static uint8_t frame[TTY_HEADER + SIZE];
	struct reader r;
	size_t done = 0;

	(void)state;
	reader_open(&r, 7);
	store_be64(frame, 7);
	store_be32(frame + 8, sizeof(frame));
	fill(frame + TTY_HEADER, 7, 0, SIZE);
	while (r.read < SIZE) {
		size_t before = r.read;

		done += send_bytes(frame + done, sizeof(frame) - done);
		reader_read(&r, 50000);
		assert_true(r.read > before);
		assert_true(mux.queued_inputs <= 1);
	}
	send_frame(7, 0, 0);
	assert_true(reader_read_all(&r));
	assert_int_equal(r.read, SIZE);
	reader_close(&r);
}

static void a_reader_in_small_bites_gets_every_byte(void **state)
{
	struct reader r;
	size_t sent = 0;

	(void)state;
	reader_open(&r, 7);
	for (int i = 0; i < 40; i++) {
		send_frame(7, sent, 8192);
		sent += 8192;
		turn_until_quiet();
		reader_read(&r, 777);
	}
	assert_int_equal(mux.queued_inputs, 1);
	assert_false(reader_read_all(&r));
	assert_int_equal(r.read, sent);
	assert_int_equal(mux.queued_inputs, 0); /* the queue went when it was empty */
	assert_null(r.input.queue.data);
	reader_close(&r);
}

/* The bytes that queues move within themselves are counted. */
static size_t moved;

void *__real_memmove(void *to, const void *from, size_t size);
void *__wrap_memmove(void *to, const void *from, size_t size);

void *__wrap_memmove(void *to, const void *from, size_t size)
{
	moved += size;
	return __real_memmove(to, from, size);
}

static void a_slow_reader_costs_no_more_than_a_fast_one(void **state)
{
	static uint8_t frame[TTY_FRAME_MAX];
	size_t sent = 0, done = sizeof(frame);
	struct reader r;

	(void)state;
	reader_open(&r, 7);
	moved = 0;
	while (r.read < 2 * MIB) {
		do {
			if (done == sizeof(frame)) {
				store_be64(frame, 7);
				store_be32(frame + 8, sizeof(frame));
				fill(frame + TTY_HEADER, 7, sent, FRAME_PAYLOAD);
				sent += FRAME_PAYLOAD;
				done = 0;
			}
			done += host_send(&host, frame + done, sizeof(frame) - done);
		} while (done == sizeof(frame));
		turn_until_quiet();
		reader_read(&r, 4096);
	}
	assert_int_equal(mux.queued_inputs, 1);
	assert_true(moved < 3 * r.read); /* once into the queue */
	reader_close(&r);
}

static void an_empty_frame_closes_the_pipe_behind_what_was_queued(void **state)
{
	struct reader r;

	(void)state;
	reader_open(&r, 7);
	send_frame(7, 0, 200000);
	send_frame(7, 0, 0);
	send_frame(7, 0, 5); /* behind its EOF: dropped */
	assert_true(mux.queued_inputs > 0);
	assert_true(reader_read_all(&r));
	assert_int_equal(r.read, 200000);
	assert_int_equal(mux.queued_inputs, 0);
	send_frame(7, 0, 5);
	reader_close(&r);
}

static void an_end_of_input_that_comes_at_once_closes_the_pipe(void **state)
{
	struct reader r;

	(void)state;
	reader_open(&r, 7);
	send_frame(7, 0, 0);
	assert_true(reader_read_all(&r));
	send_frame(7, 0, 0);
	reader_close(&r);
}

static void a_terminal_has_no_end_of_input(void **state)
{
	struct input input;
	int master, slave;
	struct termios raw;
	char bytes[10];

	(void)state;
	assert_int_equal(openpty(&master, &slave, NULL, NULL, NULL), 0);
	tcgetattr(slave, &raw);
	cfmakeraw(&raw);
	tcsetattr(slave, TCSANOW, &raw);
	fcntl(master, F_SETFL, O_NONBLOCK);
	input_open(&input, &mux, 7, master, true);
	send_frame(7, 0, 0);
	send_frame(7, 0, 3);
	turn_until_quiet();
	assert_int_equal(read(slave, bytes, sizeof(bytes)), 3);
	input_close(&input);
	close(slave);
}

static void a_process_that_closed_its_stdin_does_not_jam_the_others(void **state)
{
	struct reader deaf, other;

	(void)state;
	reader_open(&deaf, 7);
	reader_open(&other, 8);
	send_frame(7, 0, 200000); /* queued */
	close(deaf.fd);
	deaf.fd = -1;
	send_frame(7, 0, 3000000);
	send_frame(7, 0, 0);
	send_frame(8, 0, 10);
	reader_read_all(&other);
	assert_int_equal(other.read, 10);
	assert_int_equal(mux.queued_inputs, 0);
	reader_close(&deaf);
	reader_close(&other);
}

/* The one honest compromise (architecture.md, section 4). */
static void a_process_that_never_reads_jams_stdin_until_it_ends_and_memory_is_bounded(void **state)
{
	static uint8_t frames[MIB + 2 * TTY_HEADER + 10];
	struct reader deaf, other;
	size_t taken;

	(void)state;
	reader_open(&deaf, 7);
	reader_open(&other, 8);
	store_be64(frames, 7);
	store_be32(frames + 8, TTY_HEADER + MIB);
	store_be64(frames + TTY_HEADER + MIB, 8);
	store_be32(frames + TTY_HEADER + MIB + 8, TTY_HEADER + 10);
	fill(frames + 2 * TTY_HEADER + MIB, 8, 0, 10);
	taken = send_bytes(frames, sizeof(frames));
	assert_true(taken < sizeof(frames));
	assert_int_equal(queue_length(&deaf.input.queue), STDIN_QUEUE_BYTES);
	assert_int_equal(queue_length(&mux.port.in), TTY_IN_BYTES);
	assert_true(loop_is_quiet());
	/* It is killed: what is left of its frame goes nowhere, and the other's arrives. */
	reader_close(&deaf);
	while (taken < sizeof(frames))
		taken += send_bytes(frames + taken, sizeof(frames) - taken);
	reader_read_all(&other);
	assert_int_equal(other.read, 10);
	reader_close(&other);
}

static void all_stdin_queues_together_are_bounded(void **state)
{
	enum { READERS = STDIN_TOTAL_BYTES / STDIN_QUEUE_BYTES + 2 };
	static struct reader readers[READERS];
	static uint8_t frame[TTY_HEADER + 100000];
	size_t taken = 0, sent = 0;
	bool done = false;

	(void)state;
	for (size_t i = 0; i < READERS; i++)
		reader_open(&readers[i], i + 1);
	for (size_t i = 0; i < READERS; i++) {
		store_be64(frame, i + 1);
		store_be32(frame + 8, sizeof(frame));
		fill(frame + TTY_HEADER, i + 1, 0, sizeof(frame) - TTY_HEADER);
		taken = send_bytes(frame, sizeof(frame));
		sent += taken;
		if (taken < sizeof(frame))
			break;
	}
	assert_int_equal(mux.queued_inputs, STDIN_TOTAL_BYTES / STDIN_QUEUE_BYTES);
	/* All read on: each gets exactly what was sent to it. */
	while (!done) {
		done = true;
		if (taken < sizeof(frame)) {
			size_t more = send_bytes(frame + taken, sizeof(frame) - taken);

			taken += more;
			sent += more;
			done = taken == sizeof(frame);
		}
		for (size_t i = 0; i < READERS; i++)
			reader_read_all(&readers[i]);
	}
	for (size_t i = 0; i < READERS; i++) {
		if (readers[i].read)
			sent -= TTY_HEADER + readers[i].read;
		reader_close(&readers[i]);
	}
	assert_int_equal(sent, 0);
	assert_int_equal(mux.queued_inputs, 0);
}

static void bad_lengths_are_dropped_in_step(void **state)
{
	static const uint32_t lengths[] = {0, 4, 11, 16 * MIB + 1, 0x40000000, 0xffffffff};
	uint8_t header[TTY_HEADER];
	struct reader r;

	(void)state;
	reader_open(&r, 7);
	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		store_be64(header, 7);
		store_be32(header + 8, lengths[i]);
		send_bytes(header, sizeof(header));
		send_frame(7, 10 * i, 10);
		assert_false(reader_read_all(&r)); /* nor was it taken for an EOF */
		assert_int_equal(r.read, 10 * (i + 1));
	}
	reader_close(&r);
}

/* --- Processes' output ------------------------------------------------------------------------ */

struct writer {
	struct output output;
	int fd; /* the process's end, -1: closed */
	size_t written;
	int closed;
	/* What the host got. */
	size_t heard, frames;
	int eofs, exit_code; /* -1: not told */
};

static void writer_closed(struct output *output)
{
	struct writer *writer = list_entry(output, struct writer, output);

	assert_int_equal(output->source.fd, -1);
	writer->closed++;
}

static void writer_open(struct writer *writer, uint64_t seq)
{
	struct error err;
	int fds[2];

	assert_int_equal(pipe2(fds, O_NONBLOCK | O_CLOEXEC), 0);
	*writer = (struct writer){.fd = fds[1], .exit_code = -1};
	assert_int_equal(
		output_open(&writer->output, &mux, seq, fds[0], false, writer_closed, &err), 0);
	output_start(&writer->output);
}

static void writer_hang_up(struct writer *writer)
{
	close(writer->fd);
	writer->fd = -1;
}

static void writer_close(struct writer *writer)
{
	output_close(&writer->output);
	if (writer->fd >= 0)
		close(writer->fd);
}

/* The process writes up to `max` bytes; returns how many its pipe took. */
static size_t writer_write(struct writer *writer, size_t max)
{
	static uint8_t bytes[MIB];
	ssize_t n;

	if (max > sizeof(bytes))
		max = sizeof(bytes);
	fill(bytes, writer->output.seq, writer->written, max);
	n = write(writer->fd, bytes, max);
	if (n <= 0)
		return 0;
	writer->written += (size_t)n;
	return (size_t)n;
}

/* How much of host.received was taken apart. */
static size_t parsed;

/* Takes what the host received apart, checks every byte, and books it with the writers. */
static void hear(struct writer *writers, size_t count)
{
	while (host.length - parsed >= TTY_HEADER) {
		const uint8_t *frame = host.received + parsed;
		size_t length = load_be32(frame + 8);
		struct writer *writer = NULL;

		assert_true(length >= TTY_HEADER && length <= TTY_FRAME_MAX);
		if (host.length - parsed < length)
			return;
		for (size_t i = 0; i < count; i++)
			if (writers[i].output.seq == load_be64(frame))
				writer = &writers[i];
		assert_non_null(writer);
		assert_int_equal(writer->exit_code, -1); /* nothing behind the exit frame */
		parsed += length;
		if (length == TTY_HEADER) {
			writer->eofs++;
		} else if (writer->eofs) {
			assert_int_equal(length, TTY_HEADER + 1);
			writer->exit_code = frame[TTY_HEADER];
		} else {
			assert_pattern(frame + TTY_HEADER, writer->output.seq, writer->heard,
				length - TTY_HEADER);
			writer->heard += length - TTY_HEADER;
			writer->frames++;
		}
	}
}

static void hear_all(struct writer *writers, size_t count)
{
	do
		turn_until_quiet();
	while (host_receive(&host, SIZE_MAX) > 0);
	hear(writers, count);
	assert_int_equal(parsed, host.length);
}

static int setup_output(void **state)
{
	parsed = 0;
	return setup(state);
}

static void output_is_framed_and_no_frame_is_too_large(void **state)
{
	struct writer w;

	(void)state;
	writer_open(&w, 3);
	while (w.written < 3 * MIB) {
		writer_write(&w, 65536);
		hear_all(&w, 1);
	}
	assert_int_equal(w.heard, w.written);
	assert_int_equal(w.eofs, 0);
	writer_close(&w);
}

static void nothing_is_read_before_the_process_is_started(void **state)
{
	struct error err;
	struct writer w;
	int fds[2];

	(void)state;
	assert_int_equal(pipe2(fds, O_NONBLOCK | O_CLOEXEC), 0);
	w = (struct writer){.fd = fds[1], .exit_code = -1};
	assert_int_equal(output_open(&w.output, &mux, 3, fds[0], false, writer_closed, &err), 0);
	writer_write(&w, 10);
	turn();
	turn();
	assert_int_equal(host_receive(&host, SIZE_MAX), 0);
	output_start(&w.output);
	hear_all(&w, 1);
	assert_int_equal(w.heard, 10);
	writer_close(&w);
}

static void an_output_closes_when_its_process_closes_it(void **state)
{
	struct writer w;

	(void)state;
	writer_open(&w, 3);
	writer_write(&w, 50000);
	writer_hang_up(&w);
	hear_all(&w, 1);
	assert_int_equal(w.heard, 50000);
	assert_int_equal(w.closed, 1);
	output_last_call(&w.output); /* harmless now */
	output_close(&w.output);
	assert_int_equal(w.closed, 1);
}

static void a_host_that_does_not_read_stops_the_process_and_nobody_spins(void **state)
{
	struct writer w;
	size_t idle = 0, full;

	(void)state;
	writer_open(&w, 3);
	while (idle < 3) {
		idle = writer_write(&w, MIB) ? 0 : idle + 1;
		turn_until_quiet();
	}
	full = w.written;
	assert_true(full < 2 * MIB);
	assert_true(loop_is_quiet());
	hear_all(&w, 1);
	assert_int_equal(w.heard, full);
	writer_close(&w);
}

static void a_last_call_reads_what_was_written_and_not_what_comes_later(void **state)
{
	struct writer w;

	(void)state;
	writer_open(&w, 3);
	assert_int_equal(writer_write(&w, 40000), 40000);
	output_last_call(&w.output);
	w.written = 0; /* a grandchild that still has the pipe */
	writer_write(&w, 20000);
	hear_all(&w, 1);
	assert_int_equal(w.heard, 40000);
	assert_int_equal(w.closed, 1);
	writer_close(&w);
}

static void a_last_call_on_an_empty_pipe_is_over_at_once(void **state)
{
	struct writer w;

	(void)state;
	writer_open(&w, 3);
	turn_until_quiet();
	output_last_call(&w.output);
	assert_int_equal(w.closed, 1);
	writer_close(&w);
}

static void a_last_call_gets_all_that_a_terminal_holds(void **state)
{
	struct writer w = {.exit_code = -1};
	struct termios raw;
	struct error err;
	int master, slave;

	(void)state;
	assert_int_equal(openpty(&master, &slave, NULL, NULL, NULL), 0);
	tcgetattr(slave, &raw);
	cfmakeraw(&raw);
	tcsetattr(slave, TCSANOW, &raw);
	fcntl(master, F_SETFL, O_NONBLOCK);
	fcntl(slave, F_SETFL, O_NONBLOCK);
	w.fd = slave;
	assert_int_equal(output_open(&w.output, &mux, 3, master, true, writer_closed, &err), 0);
	output_start(&w.output);
	w.output.seq = 3;
	while (writer_write(&w, 5000) > 0)
		;
	assert_true(w.written > 8192);
	output_last_call(&w.output); /* the slave is still open elsewhere */
	hear_all(&w, 1);
	assert_int_equal(w.heard, w.written);
	assert_int_equal(w.closed, 1);
	writer_close(&w);
}

static void the_end_stands_behind_all_output(void **state)
{
	struct writer w;

	(void)state;
	writer_open(&w, 3);
	writer_write(&w, 60000);
	output_last_call(&w.output);
	while (!w.closed)
		turn();
	assert_true(mux_put_end(&mux, 3, 255));
	hear_all(&w, 1);
	assert_int_equal(w.heard, 60000);
	assert_int_equal(w.eofs, 1);
	assert_int_equal(w.exit_code, 255);
	assert_true(mux_has_sent(&mux, mux_mark(&mux)));
	writer_close(&w);
}

static void an_end_without_an_exit_frame_is_one_eof(void **state)
{
	struct writer w;

	(void)state;
	writer_open(&w, 3);
	assert_true(mux_put_end(&mux, 3, -1));
	hear_all(&w, 1);
	assert_int_equal(w.eofs, 1);
	assert_int_equal(w.exit_code, -1);
	writer_close(&w);
}

static void an_end_finds_room_also_when_output_has_filled_the_queue(void **state)
{
	struct writer w;

	(void)state;
	host_disconnect(&host); /* everything stays in tty.out */
	turn_until_quiet();
	writer_open(&w, 3);
	/* Frames that leave room for just one of the largest. */
	for (size_t left = TTY_OUT_BYTES - TTY_FRAME_MAX; left > 0;) {
		size_t frame = left < TTY_FRAME_MAX ? left : TTY_FRAME_MAX;

		assert_int_equal(writer_write(&w, frame - TTY_HEADER), frame - TTY_HEADER);
		turn_until_quiet();
		left -= frame;
	}
	assert_int_equal(queue_room(&mux.port.out), TTY_FRAME_MAX);
	writer_write(&w, FRAME_PAYLOAD);
	turn_until_quiet();
	for (int i = 0; i < 40; i++)
		assert_true(mux_put_end(&mux, 4, 0));
	writer_close(&w);
}

static void what_had_not_left_at_a_hang_up_is_for_the_next_host(void **state)
{
	int smallest = 0; /* a write takes part of a frame */
	struct writer w;
	size_t idle = 0;

	(void)state;
	setsockopt(mux.port.source.fd, SOL_SOCKET, SO_SNDBUF, &smallest, sizeof(smallest));
	writer_open(&w, 3);
	while (idle < 3) {
		idle = writer_write(&w, 30000) ? 0 : idle + 1;
		turn_until_quiet();
	}
	/* The first host takes some and goes, in the middle of a frame. */
	host_receive(&host, 25000);
	hear(&w, 1);
	turn_until_quiet();
	assert_true(mux.port.started > 0);
	host_receive(&host, SIZE_MAX);
	hear(&w, 1);
	host_disconnect(&host);
	turn_until_quiet();
	host_connect(&host);
	parsed = 0;
	hear_all(&w, 1);
	assert_int_equal(w.heard, w.written);
	writer_close(&w);
}

static void a_half_received_frame_is_forgotten_at_a_hang_up(void **state)
{
	uint8_t frame[TTY_HEADER + 100];
	struct reader r;

	(void)state;
	reader_open(&r, 7);
	for (size_t cut = 1; cut < sizeof(frame); cut++) {
		r.read = 0;
		store_be64(frame, 7);
		store_be32(frame + 8, sizeof(frame));
		fill(frame + TTY_HEADER, 7, 0, 100);
		send_bytes(frame, cut);
		while (reader_read(&r, SIZE_MAX) > 0)
			;
		host_disconnect(&host);
		turn_until_quiet();
		host_connect(&host);
		r.read = 0;
		send_frame(7, 0, 10);
		reader_read_all(&r);
		assert_int_equal(r.read, 10);
	}
	reader_close(&r);
}

/* --- Fairness --------------------------------------------------------------------------------- */

enum { FLOODERS = 4, ECHOING = 4, EXITING = 5, WRITERS = 6 };

static struct writer writers[WRITERS];

/* Pipes of the flooders are full before every turn. */
static void flood(void)
{
	for (int i = 0; i < FLOODERS; i++) {
		struct pollfd pipe = {.fd = writers[i].fd, .events = POLLOUT};

		while (poll(&pipe, 1, 0) > 0)
			writer_write(&writers[i], 4096);
	}
}

/* The host reads a frame's worth, the agent has a few turns. */
static void flood_a_little(void)
{
	for (int i = 0; i < 3; i++) {
		flood();
		turn();
	}
	host_receive(&host, TTY_FRAME_MAX);
	hear(writers, WRITERS);
}

/* Frames of flooders so far: those heard, and those on their way. */
static size_t frames_put(void)
{
	size_t frames = 0;

	for (int i = 0; i < FLOODERS; i++)
		frames += writers[i].frames;
	for (size_t at = 0; at < queue_length(&mux.port.out); frames++)
		at += port_frame_length(&mux.port, queue_peek(&mux.port.out) + at);
	return frames;
}

static bool is_queued(uint64_t seq, size_t length)
{
	for (size_t at = 0; at < queue_length(&mux.port.out);) {
		const uint8_t *frame = queue_peek(&mux.port.out) + at;

		if (load_be64(frame) == seq && load_be32(frame + 8) == TTY_HEADER + length)
			return true;
		at += port_frame_length(&mux.port, frame);
	}
	return false;
}

/* So that what is sent is in tty.out and nowhere else: the socket takes less than a frame. */
static int setup_flood(void **state)
{
	int smallest = 0;

	setup_output(state);
	setsockopt(mux.port.source.fd, SOL_SOCKET, SO_SNDBUF, &smallest, sizeof(smallest));
	for (uint64_t i = 0; i < WRITERS; i++)
		writer_open(&writers[i], i + 1);
	while (writers[0].heard < MIB)
		flood_a_little();
	return 0;
}

static int teardown_flood(void **state)
{
	for (int i = 0; i < WRITERS; i++)
		writer_close(&writers[i]);
	return teardown(state);
}

static void an_echo_waits_for_three_rounds_of_a_flood_at_most(void **state)
{
	(void)state;
	for (int i = 0; i < 100; i++) {
		size_t before = frames_put();

		writer_write(&writers[ECHOING], 1);
		while (!is_queued(ECHOING + 1, 1)) {
			flood_a_little();
			assert_true(frames_put() - before <= 3 * FLOODERS);
		}
		while (writers[ECHOING].heard < writers[ECHOING].written)
			flood_a_little();
	}
}

static void an_exit_waits_for_three_rounds_of_a_flood_at_most(void **state)
{
	struct writer *w = &writers[EXITING];

	(void)state;
	for (int i = 0; i < 100; i++) {
		size_t before = frames_put();

		writer_write(w, 1000);
		output_last_call(&w->output);
		while (!w->closed) {
			flood_a_little();
			assert_true(frames_put() - before <= 3 * FLOODERS);
		}
		assert_true(mux_put_end(&mux, EXITING + 1, 7));
		assert_true(is_queued(EXITING + 1, 0));
		while (w->exit_code < 0)
			flood_a_little();
		assert_int_equal(w->heard, 1000);
		assert_int_equal(w->exit_code, 7);
		writer_close(w);
		writer_open(w, EXITING + 1);
	}
}

static void those_that_are_ready_together_take_turns_frame_by_frame(void **state)
{
	uint64_t last = 0;

	(void)state;
	host_disconnect(&host);
	turn_until_quiet();
	queue_consume(&mux.port.out, queue_length(&mux.port.out));
	flood();
	turn_until_quiet();
	for (size_t at = 0; at < queue_length(&mux.port.out);) {
		const uint8_t *frame = queue_peek(&mux.port.out) + at;

		assert_int_not_equal(load_be64(frame), last);
		last = load_be64(frame);
		at += port_frame_length(&mux.port, frame);
	}
	assert_int_not_equal(last, 0);
}

static void flooders_get_equal_shares(void **state)
{
	size_t start[FLOODERS], total = 0;

	(void)state;
	for (int i = 0; i < FLOODERS; i++)
		start[i] = writers[i].heard;
	while (total < 16 * MIB) {
		flood_a_little();
		total = 0;
		for (int i = 0; i < FLOODERS; i++)
			total += writers[i].heard - start[i];
		if (host.length > 4 * MIB && parsed == host.length)
			host.length = parsed = 0;
	}
	for (int i = 0; i < FLOODERS; i++)
		assert_in_range(writers[i].heard - start[i], total / FLOODERS * 9 / 10,
			total / FLOODERS * 11 / 10);
}

#define test_of_input(test)  cmocka_unit_test_setup_teardown(test, setup, teardown)
#define test_of_output(test) cmocka_unit_test_setup_teardown(test, setup_output, teardown)
#define test_of_flood(test)  cmocka_unit_test_setup_teardown(test, setup_flood, teardown_flood)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test_of_input(frames_go_to_the_process_of_their_seq),
		test_of_input(of_several_processes_with_one_seq_the_one_started_last_gets_it),
		test_of_input(one_byte_frames_arrive),
		test_of_input(a_frame_in_every_split_arrives),
		test_of_input(a_stdin_frame_larger_than_the_queue_is_streamed),
		test_of_input(a_reader_in_small_bites_gets_every_byte),
		test_of_input(a_slow_reader_costs_no_more_than_a_fast_one),
		test_of_input(an_empty_frame_closes_the_pipe_behind_what_was_queued),
		test_of_input(an_end_of_input_that_comes_at_once_closes_the_pipe),
		test_of_input(a_terminal_has_no_end_of_input),
		test_of_input(a_process_that_closed_its_stdin_does_not_jam_the_others),
		test_of_input(
			a_process_that_never_reads_jams_stdin_until_it_ends_and_memory_is_bounded),
		test_of_input(all_stdin_queues_together_are_bounded),
		test_of_input(bad_lengths_are_dropped_in_step),
		test_of_input(a_half_received_frame_is_forgotten_at_a_hang_up),
		test_of_output(output_is_framed_and_no_frame_is_too_large),
		test_of_output(nothing_is_read_before_the_process_is_started),
		test_of_output(an_output_closes_when_its_process_closes_it),
		test_of_output(a_host_that_does_not_read_stops_the_process_and_nobody_spins),
		test_of_output(a_last_call_reads_what_was_written_and_not_what_comes_later),
		test_of_output(a_last_call_on_an_empty_pipe_is_over_at_once),
		test_of_output(a_last_call_gets_all_that_a_terminal_holds),
		test_of_output(the_end_stands_behind_all_output),
		test_of_output(an_end_without_an_exit_frame_is_one_eof),
		test_of_output(an_end_finds_room_also_when_output_has_filled_the_queue),
		test_of_output(what_had_not_left_at_a_hang_up_is_for_the_next_host),
		test_of_flood(an_echo_waits_for_three_rounds_of_a_flood_at_most),
		test_of_flood(an_exit_waits_for_three_rounds_of_a_flood_at_most),
		test_of_flood(those_that_are_ready_together_take_turns_frame_by_frame),
		test_of_flood(flooders_get_equal_shares),
	};

	signal(SIGPIPE, SIG_IGN); /* as daemon_run() does */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
