/* SPDX-License-Identifier: Apache-2.0 */
/* One short function per command, and the table that finds it. */
#ifndef COMMANDS_H
#define COMMANDS_H

#include "control.h"
#include "pod.h"

struct command;

struct commands {
	struct control *control; /* these four: borrowed */
	struct pod *pod;
	struct mux *mux;
	struct worker *worker;
	uint32_t deadline_ms;          /* for a worker */
	uint32_t api;                  /* GETVERSION's answer */
	bool destroyed;                /* a DESTROYPOD was answered: the daemon is in its grace */
	struct message *message;       /* the one that is run; borrowed */
	const struct command *pending; /* the one that waits for the pod; NULL: none */
};

/* The largest payload of a command. */
size_t commands_payload_max(uint32_t code);

/* Takes up one command: answers it, or has the pod begin it. */
void commands_run(struct commands *commands, struct message *message);

/* What the pod was asked for is over. */
void commands_done(struct commands *commands, const struct error *err);

/* A DESTROYPOD is next in line. */
void commands_cut(struct commands *commands);

#endif
