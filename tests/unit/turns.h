/* SPDX-License-Identifier: Apache-2.0 */
/* The loop, turn by turn: a test acts, lets the loop run until it would sleep, and looks. */
#ifndef TURNS_H
#define TURNS_H

#include <poll.h>
#include <unistd.h>

#include "base/file.h"
#include "base/loop.h"
#include "wire/port.h"

static struct loop loop;
static struct timer turn_end;
static void (*turn_pump)(void);

static inline void turn_stop(struct timer *timer)
{
	(void)timer;
	loop_stop(&loop);
}

static inline void turns_open(void (*pump)(void))
{
	struct error err;

	assert_int_equal(loop_open(&loop, &err), 0);
	timer_init(&turn_end, turn_stop);
	turn_pump = pump;
}

/* The agent itself closes neither loop nor ports: it is their end. */
static inline void turns_close(void)
{
	timer_cancel(&turn_end);
	assert_true(list_is_empty(&loop.sources));
	assert_true(list_is_empty(&loop.timers));
	close(loop.epoll);
}

static inline void port_close(struct port *port)
{
	timer_cancel(&port->retry);
	loop_remove(port->loop, &port->source);
	loop_remove(port->loop, &port->listener);
	fd_close(&port->source.fd);
	fd_close(&port->listener.fd);
	queue_close(&port->in);
	queue_close(&port->out);
}

static inline void gate_close(struct gate *gate)
{
	loop_remove(&loop, &gate->source);
	close(gate->source.fd);
}

static inline void turn_pump_all(void *context)
{
	(void)context;
	if (turn_pump)
		turn_pump();
}

/* One turn: pump, arm, look for events without sleeping, dispatch. */
static inline void turn(void)
{
	timer_set(&loop, &turn_end, 0);
	loop.stopped = false;
	loop_run(&loop, turn_pump_all, NULL);
}

/* Would the loop sleep now? */
static inline bool loop_is_quiet(void)
{
	struct pollfd epoll = {.fd = loop.epoll, .events = POLLIN};

	return poll(&epoll, 1, 0) == 0;
}

/* Until it would sleep. What a handler has changed shows only in the next turn (a connection is
 * armed, what was read is pumped on), so it must look so a few times in a row. A loop that spins
 * fails the test. */
static inline void turn_until_quiet(void)
{
	int turns = 0, quiet = 0;

	while (quiet < 4) {
		turn();
		quiet = loop_is_quiet() ? quiet + 1 : 0;
		assert_true(++turns < 100000);
	}
}

#endif
