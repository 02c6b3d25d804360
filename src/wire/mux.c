/* SPDX-License-Identifier: Apache-2.0 */
/* The tty channel.
 *
 * Theory of operation. Output: the outputs sit behind one gate, which admits as many as `tty.out`
 * has room for whole frames. An output reads from its pipe straight into tty.out, behind a header
 * written once the length is known: one copy. The gate serves its members in turn, a frame each; one
 * that is ready alone may fill two port writes. MUX_END_RESERVE bytes are never given to output, so
 * an exit report waits for the frames that are queued, not for those that flood.
 *
 * Input: a frame is streamed, not collected. What the stdin pipe takes goes there straight from
 * `tty.in`; the rest goes into the process's queue; when that is full, tty.in is not consumed any
 * further and the host has to wait. The channel has no credit per process, so stdin of others then
 * waits, too; output, exits and control do not. The jam ends when the process reads, closes its stdin
 * (EPIPE), or ends.
 *
 * An output's end is its last call: when waitpid has returned, all that the process wrote is in the
 * pipe, even if a grandchild still holds the other end. Exactly that much is read, then the fd is
 * closed; so no background process can delay the exit report. One that reads those bytes itself
 * leaves nothing to read, which ends the output, too.
 */
#include "wire/mux.h"

#include <errno.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/uio.h>

#include "base/bytes.h"
#include "base/file.h"
#include "protocol.h"

#define PAYLOAD_MAX (TTY_FRAME_MAX - TTY_HEADER)
/* As many whole frames as two port writes take: about what a pipe holds. */
#define FRAMES_MAX (2 * (PORT_WRITE_MAX / TTY_FRAME_MAX))

static void put_header(uint8_t *to, uint64_t seq, size_t payload)
{
	store_be64(to, seq);
	store_be32(to + 8, (uint32_t)(TTY_HEADER + payload));
}

static struct list *bucket_of(struct mux *mux, uint64_t seq)
{
	return &mux->inputs[seq % MUX_BUCKETS];
}

struct input *mux_find_input(struct mux *mux, uint64_t seq)
{
	list_for_each (it, after, bucket_of(mux, seq)) {
		struct input *input = list_entry(it, struct input, node);

		if (input->seq == seq)
			return input;
	}
	return NULL;
}

/* --- Host to process -------------------------------------------------------------------------- */

static void input_drop_queue(struct input *input)
{
	loop_remove(input->mux->port.loop, &input->source);
	if (!input->queue.data)
		return;
	queue_close(&input->queue);
	input->mux->queued_inputs--;
}

/* Closes it, but leaves it in its bucket while its process lives: frames for its seq are discarded, and
 * do not go to an older input of the same seq. */
static void input_shut(struct input *input)
{
	if (input->source.fd < 0)
		return;
	input_drop_queue(input);
	watch_close(input->mux->watch, input->container, &input->source.fd);
}

void input_close(struct input *input)
{
	input_shut(input);
	list_remove(&input->node);
	if (input->mux->frame_input == input)
		input->mux->frame_input = NULL;
}

static uint32_t input_wants(struct source *source)
{
	(void)source;
	return EPOLLOUT;
}

/* The fd is writable: writes from the queue. If there was no memory for one, the next pump writes from tty.in. */
static void input_ready(struct source *source, uint32_t events)
{
	struct input *input = list_entry(source, struct input, source);
	ssize_t n;

	(void)events;
	watch_enter(input->mux->watch, input->container);
	n = queue_drain(&input->queue, source->fd, SIZE_MAX);
	watch_leave(input->mux->watch);
	if (n == IO_ERROR || (queue_is_empty(&input->queue) && input->ends))
		input_shut(input); /* EPIPE: the process closed its stdin */
	else if (queue_is_empty(&input->queue))
		input_drop_queue(input);
}

void input_open(struct input *input, struct mux *mux, uint64_t seq, int fd, bool is_terminal)
{
	*input = (struct input){.mux = mux, .seq = seq, .is_terminal = is_terminal};
	source_init(&input->source, fd, input_wants, input_ready);
	list_push_front(bucket_of(mux, seq), &input->node);
}

/* Returns how many of `size` bytes were taken; fewer: it is full. */
static size_t input_take(struct input *input, const uint8_t *bytes, size_t size)
{
	struct mux *mux = input->mux;
	size_t taken = 0, room;
	ssize_t n;

	if (!input->queue.data) {
		watch_enter(mux->watch, input->container);
		n = io_write(input->source.fd, bytes, size);
		watch_leave(mux->watch);
		if (n == IO_ERROR) {
			input_shut(input);
			return size;
		}
		taken = (size_t)n;
		if (taken == size)
			return size;
		if (list_is_empty(&input->source.node)) /* not yet in the loop */
			loop_add(mux->port.loop, &input->source);
		if ((mux->queued_inputs + 1) * STDIN_QUEUE_BYTES > STDIN_TOTAL_BYTES ||
			queue_open(&input->queue, STDIN_QUEUE_BYTES) < 0)
			return taken;
		mux->queued_inputs++;
	}
	room = queue_cheap_room(&input->queue);
	if (room > size - taken)
		room = size - taken;
	queue_put(&input->queue, bytes + taken, room);
	return taken + room;
}

/* One frame's header, or some of its payload; false when nothing can move. */
static bool take_input(struct mux *mux)
{
	struct queue *in = &mux->port.in;
	struct input *input = mux->frame_input;
	size_t size, taken;

	if (!mux->frame_left) {
		if (queue_length(in) < TTY_HEADER)
			return false;
		mux->frame_input = input = mux_find_input(mux, load_be64(queue_peek(in)));
		mux->frame_left = port_frame_length(&mux->port, queue_peek(in)) - TTY_HEADER;
		/* EOF; ignored for a terminal, which cannot be closed from outside. */
		if (input && load_be32(queue_peek(in) + 8) == TTY_HEADER && !input->is_terminal) {
			input->ends = true;
			if (!input->queue.data)
				input_shut(input);
		}
		queue_consume(in, TTY_HEADER);
		return true;
	}
	taken = size = queue_length(in) < mux->frame_left ? queue_length(in) : mux->frame_left;
	if (size && input && input->source.fd >= 0 && !input->ends)
		taken = input_take(input, queue_peek(in), size);
	queue_consume(in, taken);
	mux->frame_left -= taken;
	return taken > 0;
}

void mux_pump(struct mux *mux)
{
	while (take_input(mux))
		;
	port_pump(&mux->port);
}

/* --- Process to host -------------------------------------------------------------------------- */

static size_t outputs_admitted(struct gate *gate)
{
	struct mux *mux = list_entry(gate, struct mux, outputs);
	size_t room = queue_room(&mux->port.out);

	return room < MUX_END_RESERVE ? 0 : (room - MUX_END_RESERVE) / TTY_FRAME_MAX;
}

void output_close(struct output *output)
{
	if (output->source.fd < 0)
		return;
	gate_remove(&output->mux->outputs, &output->source);
	watch_close(output->mux->watch, output->container, &output->source.fd);
}

static void output_end(struct output *output)
{
	output_close(output);
	output->on_closed(output);
}

static bool is_readable(const struct output *output)
{
	struct pollfd poll_fd = {.fd = output->source.fd, .events = POLLIN};
	int n;

	watch_enter(output->mux->watch, output->container);
	n = poll(&poll_fd, 1, 0);
	watch_leave(output->mux->watch);
	return n > 0 && poll_fd.revents & POLLIN;
}

/* Reads into as many frames as `max` bytes need, with one readv, then fills in their headers. n > 0:
 * bytes read; or IO_*. */
static ssize_t read_frames(struct queue *out, uint64_t seq, int fd, size_t max)
{
	size_t frames = (max + PAYLOAD_MAX - 1) / PAYLOAD_MAX, left;
	struct iovec parts[FRAMES_MAX];
	uint8_t *to = queue_reserve(out, max + frames * TTY_HEADER);
	ssize_t n;

	for (size_t i = 0; i < frames; i++) {
		parts[i].iov_base = to + i * TTY_FRAME_MAX + TTY_HEADER;
		parts[i].iov_len = i + 1 < frames ? PAYLOAD_MAX : max - i * PAYLOAD_MAX;
	}
	do
		n = readv(fd, parts, (int)frames);
	while (n < 0 && errno == EINTR);
	if (n <= 0)
		return n == 0 || errno == EIO ? IO_EOF : errno == EAGAIN ? IO_AGAIN : IO_ERROR;
	for (left = (size_t)n; left; to += TTY_FRAME_MAX) {
		size_t length = left < PAYLOAD_MAX ? left : PAYLOAD_MAX;

		put_header(to, seq, length);
		queue_commit(out, TTY_HEADER + length);
		left -= length;
	}
	return n;
}

/* In its turn: one frame, or two port writes' worth for an output that is ready alone. */
static void output_ready(struct source *source, uint32_t events)
{
	struct output *output = list_entry(source, struct output, source);
	struct mux *mux = output->mux;
	size_t frames = outputs_admitted(&mux->outputs), max;
	ssize_t n;

	(void)events;
	if (!frames || !output->started)
		return;
	if (mux->outputs.batch.count > 1)
		frames = 1;
	max = (frames < FRAMES_MAX ? frames : FRAMES_MAX) * PAYLOAD_MAX;
	if (output->last_call && max > output->last_left)
		max = output->last_left;
	watch_enter(mux->watch, output->container);
	n = read_frames(&mux->port.out, output->seq, source->fd, max);
	watch_leave(mux->watch);
	if (n >= 0 && !output->last_call)
		return;
	if (n > 0)
		output->last_left -= (size_t)n;
	if (n <= 0 || !output->last_left || (output->is_terminal && !is_readable(output)))
		output_end(output);
}

int output_open(struct output *output, struct mux *mux, uint64_t seq, int fd, bool is_terminal,
	void (*on_closed)(struct output *), struct error *err)
{
	*output = (struct output){
		.mux = mux,
		.seq = seq,
		.is_terminal = is_terminal,
		.on_closed = on_closed,
	};
	source_init(&output->source, fd, NULL, output_ready);
	if (gate_add(&mux->outputs, &output->source, err) < 0) {
		output_close(output);
		return -1;
	}
	return 0;
}

void output_start(struct output *output)
{
	if (output->source.fd < 0)
		return;
	output->started = true;
	gate_listen(&output->mux->outputs, &output->source);
}

void output_last_call(struct output *output)
{
	int waiting = 0, rc = 0;

	if (output->source.fd < 0)
		return;
	output->last_call = true;
	if (output->is_terminal) {
		/* FIONREAD shows only the line discipline's 4 KiB of what a pty holds; poll and read
		 * flush the rest of its buffer there (n_tty.c). */
		output->last_left = PTY_LAST_CALL_MAX;
		waiting = is_readable(output);
	} else {
		watch_enter(output->mux->watch, output->container);
		rc = ioctl(output->source.fd, FIONREAD, &waiting);
		watch_leave(output->mux->watch);
		if (rc == 0)
			output->last_left = (size_t)waiting;
	}
	if (!waiting)
		output_end(output);
}

bool output_look_again(struct output *output)
{
	if (output->source.fd >= 0 && outputs_admitted(&output->mux->outputs) &&
		!is_readable(output))
		output_end(output);
	return output->source.fd >= 0;
}

bool mux_put_end(struct mux *mux, uint64_t seq, int exit_code)
{
	uint8_t frames[2 * TTY_HEADER + 1];

	put_header(frames, seq, 0);
	put_header(frames + TTY_HEADER, seq, 1);
	frames[2 * TTY_HEADER] = (uint8_t)exit_code;
	return queue_put(&mux->port.out, frames, exit_code < 0 ? TTY_HEADER : sizeof(frames));
}

uint64_t mux_mark(const struct mux *mux)
{
	return mux->port.out.total;
}

bool mux_has_sent(const struct mux *mux, uint64_t mark)
{
	return mux->port.out.sent >= mark;
}

static void mux_hung_up(struct port *port)
{
	struct mux *mux = list_entry(port, struct mux, port);

	/* Drops a half-received frame; what a process got of it already, it has. */
	if (!port_forget_partial(port, mux->frame_left)) {
		mux->frame_left = 0;
		mux->frame_input = NULL;
	}
}

static const struct port_kind port_kind = {
	.name = "tty",
	.in_bytes = TTY_IN_BYTES,
	.out_bytes = TTY_OUT_BYTES,
	.header = TTY_HEADER,
	.keeps_frames = true,
	.on_hangup = mux_hung_up,
};

int mux_open(struct mux *mux, struct loop *loop, const struct settings *settings, struct error *err)
{
	*mux = (struct mux){0};
	for (size_t i = 0; i < MUX_BUCKETS; i++)
		list_init(&mux->inputs[i]);
	if (port_open(&mux->port, loop, &port_kind, settings->tty_fd, settings, err) < 0)
		return -1;
	return gate_open(&mux->outputs, loop, outputs_admitted, err);
}
