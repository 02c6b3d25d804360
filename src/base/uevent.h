/* SPDX-License-Identifier: Apache-2.0 */
/* The kernel's word that a device has come or changed.
 *
 * Subscribe, then look, then wait: nothing can come between a look and the wait. An event is a
 * reason to look again, no more. */
#ifndef UEVENT_H
#define UEVENT_H

#include <stdbool.h>
#include <stddef.h>

/* The subscription: an fd, or -1 with errno. */
int uevent_open(void);

/* Waits for one batch of events. True when one of them was of that subsystem, or some were lost;
 * false when none was, or the time is over: the caller knows for how long it waits altogether. */
bool uevent_wait(int fd, const char *subsystem, int timeout_ms);

/* Whether an event, "ACTION@PATH" and then "KEY=value"s, each with a NUL, is of that subsystem. */
bool uevent_is_of(const char *event, size_t length, const char *subsystem);

#endif
