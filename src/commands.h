/* SPDX-License-Identifier: Apache-2.0 */
/* One short function per command, and the table that finds it. */
#ifndef COMMANDS_H
#define COMMANDS_H

#include "pod/pod.h"
#include "wire/control.h"

struct commands {
	struct process_table *table; /* these two: borrowed */
	struct pod *pod;
	const uint8_t *data; /* of a WRITEFILE, behind its object; borrowed from the message */
	size_t data_length;
	struct spawn worker; /* of commands that a worker does */
};

/* The largest payload of a command. */
size_t commands_payload_max(uint32_t code);

/* Takes up one command: the request is done at once, or later. */
void commands_run(struct commands *commands, struct message *message);

#endif
