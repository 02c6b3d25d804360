/* SPDX-License-Identifier: Apache-2.0 */
/* The tty channel: routes stdin to processes by seq, frames their output fairly, reports their end. */
#ifndef MUX_H
#define MUX_H

#include "base/settings.h"
#include "base/watch.h"
#include "wire/port.h"

#define MUX_BUCKETS 64

/* Bytes of `tty.out` that output never takes, so that an end never waits for a flood: room for forty EOFs
 * with their exit frames. */
#define MUX_END_RESERVE 1024u

struct mux {
	struct port port;
	struct gate outputs;
	struct watch *watch;             /* borrowed, or NULL */
	struct list inputs[MUX_BUCKETS]; /* by seq; the one started last comes first */
	size_t queued_inputs;            /* inputs that have a queue, each STDIN_QUEUE_BYTES */
	size_t frame_left;               /* payload of the present tty frame not yet taken */
	struct input *frame_input;       /* the input that gets it; NULL: it is discarded */
};

/* Host to process: a stdin pipe, or a pty's master. Embedded in the process. */
struct input {
	struct list node;     /* in mux->inputs */
	struct source source; /* fd owned, -1 when closed; in the loop while bytes wait for it */
	struct mux *mux;
	const char *container; /* borrowed: for the watch; NULL: it cannot hold the agent */
	uint64_t seq;
	struct queue queue; /* opened for the first byte that does not fit the fd */
	bool is_terminal;
	bool ends; /* the host's EOF came: closed once the queue is empty */
};

/* Process to host: a stdout or stderr pipe, or a pty's master. Embedded in the process. */
struct output {
	struct source source; /* fd owned, -1 when closed; in mux->outputs while attached */
	struct mux *mux;
	const char *container; /* as the input's */
	uint64_t seq;
	bool is_terminal;
	bool started;     /* its process runs; before that nothing is read */
	bool last_call;   /* its process was reaped */
	size_t last_left; /* what is still read after that */
	/* The fd is closed; nothing more will come. */
	void (*on_closed)(struct output *output);
};

/* 0, or -1 with err. */
int mux_open(
	struct mux *mux, struct loop *loop, const struct settings *settings, struct error *err);

/* Moves what has arrived to the processes, writes what is framed. Before every sleep. */
void mux_pump(struct mux *mux);

/* From here on frames for `seq` go to `fd` (non-blocking, taken over). Before its process runs, so that
 * nothing a host sends right after its command is lost. */
void input_open(struct input *input, struct mux *mux, uint64_t seq, int fd, bool is_terminal);
/* Its process has ended: drops what is queued; frames for the seq do not find it any more. Once. */
void input_close(struct input *input);

/* Frames what comes from `fd` (non-blocking, taken over) as `seq`, from output_start() on. 0, or -1 with
 * err and the fd closed. */
int output_open(struct output *output, struct mux *mux, uint64_t seq, int fd, bool is_terminal,
	void (*on_closed)(struct output *), struct error *err);
/* Harmless when closed. */
void output_start(struct output *output);
/* The process was reaped, so all it wrote is in the pipe: reads what is there now, then closes the fd,
 * even if others still hold the other end. May call on_closed. */
void output_last_call(struct output *output);
/* After the last call: ends it when what was there has been read by another process, and the host takes
 * output. Returns whether it is still open. May call on_closed. */
bool output_look_again(struct output *output);
/* No on_closed. Harmless when closed. */
void output_close(struct output *output);

/* Queues the end of a process on its stdio seq: an EOF frame and, with exit_code >= 0, an exit frame right
 * after it. False when there is no room now. */
bool mux_put_end(struct mux *mux, uint64_t seq, int exit_code);
/* A mark behind all that is queued now, and whether everything before a mark has left. */
uint64_t mux_mark(const struct mux *mux);
bool mux_has_sent(const struct mux *mux, uint64_t mark);

/* The input that frames of `seq` go to: the one opened last, or NULL. */
struct input *mux_find_input(struct mux *mux, uint64_t seq);

#endif
