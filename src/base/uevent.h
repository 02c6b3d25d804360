/* SPDX-License-Identifier: Apache-2.0 */
/* The kernel's events: a device was added, or has changed.
 *
 * Subscribe, then look, then wait: so no event is missed between the look and the wait. An event is only a
 * reason to look again. */
#ifndef UEVENT_H
#define UEVENT_H

#include <stdbool.h>
#include <stddef.h>

/* Subscribes: an fd, or -1 with errno. */
int uevent_open(void);

/* Waits for one batch of events. True when one of them was of that subsystem, or some were lost; false when
 * none was, or after timeout_ms: the caller keeps its own deadline. */
bool uevent_wait(int fd, const char *subsystem, int timeout_ms);

/* Whether an event, "ACTION@PATH" and "KEY=value"s, each with a NUL, is of that subsystem. */
bool uevent_is_of(const char *event, size_t length, const char *subsystem);

#endif
