/* SPDX-License-Identifier: Apache-2.0 */
/* A hostile host on the tty channel, and processes that read, write, stop and go as they like. What
 * a process reads is what was sent to its seq, in order, nothing else; what the host gets is frames
 * of at most TTY_FRAME_MAX with every byte of each process, in order; and whatever happened, a
 * well-formed frame arrives afterwards.
 *
 * The input is a script: an op with the number of the process, a length, and the bytes it sends. */
#include <assert.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "limits.h"
#include "protocol.h"
#include "wire/mux.h"

/* What host.h and turns.h check is an assertion here. */
#define assert_true(condition) assert(condition)
#define assert_int_equal(a, b) assert((a) == (b))
#include "../unit/host.h"
#include "../unit/turns.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define PROCESSES 3u /* with the seqs 0, 1 and 2 */
#define SENT_MAX  (2u * MIB)
#define LARGE     20000u

static struct mux mux;
static struct host host;

struct process {
	struct input input;
	struct output output;
	int stdin_fd, stdout_fd; /* its own ends; -1: closed */
	/* What was sent to it and what of that it has read. */
	uint8_t *sent; /* SENT_MAX bytes */
	size_t sent_length, read;
	bool eof_sent;
	/* A running byte: what it wrote, and what the host got of that. */
	size_t written, heard;
	bool closed;
};

static struct process processes[PROCESSES];
static uint8_t sent[PROCESSES][SENT_MAX];

/* Where the host is in its stream. */
static struct {
	uint8_t header[TTY_HEADER];
	size_t header_filled, payload_left;
	size_t heard; /* of host.received */
} stream;

static void pump(void)
{
	mux_pump(&mux);
}

static uint8_t pattern(size_t seq, size_t at)
{
	return (uint8_t)((at + at / 251 + seq * 97) % 251);
}

/* --- Processes -------------------------------------------------------------------------------- */

static void output_closed(struct output *output)
{
	list_entry(output, struct process, output)->closed = true;
}

static void process_open(size_t seq)
{
	struct process *p = &processes[seq];
	struct error err;
	int in[2], out[2];

	assert(pipe2(in, O_NONBLOCK | O_CLOEXEC) == 0);
	assert(pipe2(out, O_NONBLOCK | O_CLOEXEC) == 0);
	*p = (struct process){.stdin_fd = in[0], .stdout_fd = out[1], .sent = p->sent};
	input_open(&p->input, &mux, seq, in[1], false);
	assert(output_open(&p->output, &mux, seq, out[0], false, output_closed, &err) == 0);
	output_start(&p->output);
}

static void process_close(size_t seq)
{
	struct process *p = &processes[seq];

	input_close(&p->input);
	output_close(&p->output);
	if (p->stdin_fd >= 0)
		close(p->stdin_fd);
	if (p->stdout_fd >= 0)
		close(p->stdout_fd);
}

/* Returns how many bytes, -1 at the end. */
static ssize_t process_read(struct process *p, size_t max)
{
	static uint8_t bytes[65536];
	ssize_t n;

	if (p->stdin_fd < 0)
		return 0;
	n = read(p->stdin_fd, bytes, max < sizeof(bytes) ? max : sizeof(bytes));
	if (n == 0)
		return -1;
	if (n < 0)
		return 0;
	assert((size_t)n <= p->sent_length - p->read);
	assert(memcmp(bytes, p->sent + p->read, (size_t)n) == 0);
	p->read += (size_t)n;
	return n;
}

/* Returns how many bytes. */
static size_t process_read_all(struct process *p)
{
	size_t before = p->read;
	ssize_t n;

	do {
		turn_until_quiet();
		n = process_read(p, SIZE_MAX);
	} while (n > 0);
	assert(n == 0 || p->eof_sent);
	return p->read - before;
}

static void process_write(struct process *p, size_t seq, size_t length)
{
	static uint8_t bytes[65536];
	ssize_t n;

	if (p->stdout_fd < 0)
		return;
	if (length > sizeof(bytes))
		length = sizeof(bytes);
	for (size_t i = 0; i < length; i++)
		bytes[i] = pattern(seq, p->written + i);
	n = write(p->stdout_fd, bytes, length);
	if (n > 0)
		p->written += (size_t)n;
}

/* --- The host --------------------------------------------------------------------------------- */

/* Follows what is sent, and books it with the process it is for. */
static void stream_sent(const uint8_t *bytes, size_t length)
{
	while (length > 0) {
		uint64_t seq;
		struct process *p;

		if (stream.header_filled < TTY_HEADER) {
			uint32_t announced;

			stream.header[stream.header_filled++] = *bytes++;
			length--;
			if (stream.header_filled < TTY_HEADER)
				continue;
			seq = load_be64(stream.header);
			announced = load_be32(stream.header + 8);
			if (announced == TTY_HEADER && seq < PROCESSES)
				processes[seq].eof_sent = true;
			if (announced < TTY_HEADER || announced > FRAME_BELIEVED_MAX)
				announced = TTY_HEADER;
			stream.payload_left = announced - TTY_HEADER;
		} else {
			size_t n = length < stream.payload_left ? length : stream.payload_left;

			seq = load_be64(stream.header);
			p = seq < PROCESSES ? &processes[seq] : NULL;
			if (p && !p->eof_sent) {
				assert(p->sent_length + n <= SENT_MAX);
				memcpy(p->sent + p->sent_length, bytes, n);
				p->sent_length += n;
			}
			bytes += n;
			length -= n;
			stream.payload_left -= n;
		}
		if (stream.header_filled == TTY_HEADER && stream.payload_left == 0)
			stream.header_filled = 0;
	}
}

static void send_bytes(const uint8_t *bytes, size_t length)
{
	stream_sent(bytes, host_send(&host, bytes, length));
}

static void hear(void)
{
	while (host.length - stream.heard >= TTY_HEADER) {
		const uint8_t *frame = host.received + stream.heard;
		size_t length = load_be32(frame + 8);
		uint64_t seq = load_be64(frame);

		assert(seq < PROCESSES);
		assert(length > TTY_HEADER && length <= TTY_FRAME_MAX);
		if (host.length - stream.heard < length)
			return;
		for (size_t i = TTY_HEADER; i < length; i++)
			assert(frame[i] == pattern(seq, processes[seq].heard++));
		assert(processes[seq].heard <= processes[seq].written);
		stream.heard += length;
	}
}

/* Every process has read all that is on its way: one may have held up another. */
static size_t drain_inputs(void)
{
	size_t total = 0, moved;

	do {
		moved = 0;
		for (size_t seq = 0; seq < PROCESSES; seq++)
			moved += process_read_all(&processes[seq]);
		total += moved;
	} while (moved);
	return total;
}

/* Nothing is on its way any more, in either direction. */
static void settle(void)
{
	size_t moved;

	do
		moved = drain_inputs() + host_receive(&host, SIZE_MAX);
	while (moved);
	hear();
	assert(host.length == stream.heard);
	for (size_t seq = 0; seq < PROCESSES; seq++) {
		struct process *p = &processes[seq];

		assert(p->heard == p->written);
		assert(p->stdin_fd < 0 || p->read == p->sent_length);
		assert(!p->input.queue.data);
	}
	/* At most a header that is not whole. */
	assert(queue_length(&mux.port.in) == stream.header_filled % TTY_HEADER);
	assert(queue_is_empty(&mux.port.out));
	assert(mux.queued_inputs == 0);
}

static void begin(void)
{
	host_connect(&host);
	memset(&stream, 0, sizeof(stream));
}

/* The host goes, having read what was on its way, and another one comes. */
static void come_back(void)
{
	while (host_receive(&host, SIZE_MAX) > 0)
		;
	hear();
	host_disconnect(&host);
	turn_until_quiet();
	/* What had not arrived is lost: of a frame that was cut, and behind a jam. */
	drain_inputs();
	for (size_t seq = 0; seq < PROCESSES; seq++) {
		processes[seq].sent_length = processes[seq].read;
		processes[seq].eof_sent = processes[seq].input.ends;
	}
	begin();
}

/* A frame of the host, whole. */
static void send_frame(uint64_t seq, const uint8_t *payload, size_t length)
{
	uint8_t frame[TTY_HEADER + LARGE];

	store_be64(frame, seq);
	store_be32(frame + 8, (uint32_t)(TTY_HEADER + length));
	memcpy(frame + TTY_HEADER, payload, length);
	send_bytes(frame, TTY_HEADER + length);
}

/* One that soon fills what there is to fill. */
static void send_large_frame(size_t seq)
{
	uint8_t payload[LARGE];

	if (processes[seq].sent_length > SENT_MAX / 2)
		return;
	for (size_t i = 0; i < LARGE; i++)
		payload[i] = pattern(seq, i);
	send_frame(seq, payload, LARGE);
}

enum {
	OP_RAW,
	OP_FRAME,
	OP_READ,
	OP_WRITE,
	OP_CLOSE,
	OP_LAST_CALL,
	OP_COME_BACK,
	OP_HEAR,
};

/* Returns how many bytes of `data` it used. */
static size_t run_op(int op, size_t seq, size_t length, const uint8_t *data, size_t size)
{
	struct process *p = &processes[seq];
	size_t used = length < size ? length : size;

	switch (op) {
	case OP_RAW:
		send_bytes(data, used);
		return used;
	case OP_FRAME:
		if (length == UINT8_MAX) {
			send_large_frame(seq);
			return 0;
		}
		send_frame(seq, data, used);
		return used;
	case OP_READ:
		process_read(p, 64 * length);
		return 0;
	case OP_WRITE:
		process_write(p, seq, 256 * length);
		return 0;
	case OP_CLOSE: /* its stdin, or with an odd length its stdout */
		if (length % 2 && p->stdout_fd >= 0) {
			close(p->stdout_fd);
			p->stdout_fd = -1;
		} else if (length % 2 == 0 && p->stdin_fd >= 0) {
			close(p->stdin_fd);
			p->stdin_fd = -1;
		}
		return 0;
	case OP_LAST_CALL: /* its end, and another one of that seq */
		output_last_call(&p->output);
		if (p->stdout_fd >= 0)
			close(p->stdout_fd);
		p->stdout_fd = -1;
		settle();
		assert(p->closed);
		process_close(seq);
		process_open(seq);
		/* What is left of a frame for the old one is not for the new one. */
		if (stream.header_filled)
			come_back();
		return 0;
	case OP_COME_BACK:
		come_back();
		return 0;
	default:
		host_receive(&host, 64 * length);
		hear();
		return 0;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct settings settings = {.listening = true};
	struct error err;

	if (size > 20000)
		return 0;
	signal(SIGPIPE, SIG_IGN);
	turns_open(pump);
	settings.tty_fd = host_listen(&host);
	assert(mux_open(&mux, &loop, &settings, &err) == 0);
	for (size_t seq = 0; seq < PROCESSES; seq++) {
		processes[seq].sent = sent[seq];
		process_open(seq);
	}
	begin();
	while (size >= 2) {
		int op = data[0] & 7;
		size_t seq = (data[0] >> 3) % PROCESSES, length = data[1];
		bool rests = data[0] & 0x80;

		data += 2;
		size -= 2;
		length = run_op(op, seq, length, data, size);
		data += length;
		size -= length;
		turn();
		if (rests)
			turn_until_quiet();
	}
	settle();
	come_back();
	for (size_t seq = 0; seq < PROCESSES; seq++) {
		process_close(seq);
		process_open(seq);
		send_frame(seq, (const uint8_t *)"in step", 7);
	}
	settle();
	for (size_t seq = 0; seq < PROCESSES; seq++) {
		assert(processes[seq].read == 7);
		process_close(seq);
	}
	gate_close(&mux.outputs);
	port_close(&mux.port);
	turns_close();
	host_close(&host);
	return 0;
}
