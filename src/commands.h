/* SPDX-License-Identifier: Apache-2.0 */
/* One short function per command, and the table that finds it. */
#ifndef COMMANDS_H
#define COMMANDS_H

#include "pod/pod.h"
#include "wire/control.h"

struct commands {
	struct shared *shared; /* these two: borrowed */
	struct pod *pod;
	const uint8_t
		*data; /* of a WRITEFILE: the bytes after its JSON; borrowed from the message */
	size_t data_length;
	struct spawn worker; /* for commands that run in a worker */
};

/* The largest payload of a command. */
size_t commands_payload_max(uint32_t code);

/* Begins one command: request_done() is called before it returns, or later. */
void commands_run(struct commands *commands, struct message *message);

#endif
