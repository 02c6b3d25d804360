/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "turns.h"

/* A pipe's reading end as a source that writes down what happens to it. */
struct reader {
	struct source source;
	int writer;
	uint32_t interest;
	uint32_t seen; /* all events so far */
	int served, order;
	bool keeps;             /* does not read what there is */
	struct source *removes; /* in its handler */
};

static int order;

static uint32_t reader_wants(struct source *source)
{
	return list_entry(source, struct reader, source)->interest;
}

static void reader_ready(struct source *source, uint32_t events)
{
	struct reader *reader = list_entry(source, struct reader, source);
	char byte;

	reader->seen |= events;
	reader->served++;
	reader->order = ++order;
	if (!reader->keeps)
		(void)!read(source->fd, &byte, 1);
	if (reader->removes)
		loop_remove(&loop, reader->removes);
}

static void reader_init(struct reader *reader)
{
	int fds[2];

	assert_int_equal(pipe2(fds, O_NONBLOCK | O_CLOEXEC), 0);
	*reader = (struct reader){.writer = fds[1], .interest = EPOLLIN};
	source_init(&reader->source, fds[0], reader_wants, reader_ready);
}

static void reader_open(struct reader *reader)
{
	reader_init(reader);
	loop_add(&loop, &reader->source);
}

static void reader_close(struct reader *reader)
{
	loop_remove(&loop, &reader->source);
	close(reader->source.fd);
	if (reader->writer >= 0)
		close(reader->writer);
}

static int setup(void **state)
{
	(void)state;
	order = 0;
	turns_open(NULL);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	turns_close();
	return 0;
}

static void a_source_is_served_for_what_it_wants(void **state)
{
	struct reader r;

	(void)state;
	reader_open(&r);
	turn_until_quiet();
	assert_int_equal(r.served, 0);
	assert_int_equal(write(r.writer, "ab", 2), 2);
	turn_until_quiet();
	assert_int_equal(r.served, 2);
	assert_int_equal(r.seen, EPOLLIN);
	reader_close(&r);
}

static void a_source_that_wants_nothing_is_left_alone_also_when_it_hung_up(void **state)
{
	struct reader r;

	(void)state;
	reader_open(&r);
	turn();
	assert_int_equal(write(r.writer, "a", 1), 1);
	close(r.writer);
	r.writer = -1;
	r.interest = 0;
	turn_until_quiet();
	assert_int_equal(r.served, 0);
	r.interest = EPOLLIN;
	turn();
	assert_int_equal(r.served, 1);
	assert_true(r.seen & EPOLLIN);
	r.interest = 0;
	turn_until_quiet();
	reader_close(&r);
}

static void a_removed_source_is_served_no_more_also_in_the_same_batch(void **state)
{
	struct reader a, b;

	(void)state;
	reader_open(&a);
	reader_open(&b);
	a.removes = &b.source;
	b.removes = &a.source;
	assert_int_equal(write(a.writer, "x", 1) + write(b.writer, "x", 1), 2);
	turn_until_quiet();
	assert_int_equal(a.served + b.served, 1);
	reader_close(&a);
	reader_close(&b);
}

static void a_source_may_remove_itself(void **state)
{
	struct reader r;

	(void)state;
	reader_open(&r);
	r.removes = &r.source;
	assert_int_equal(write(r.writer, "xy", 2), 2);
	turn_until_quiet();
	assert_int_equal(r.served, 1);
	reader_close(&r);
}

/* epoll knows the open file, not the fd: with a copy of it elsewhere, as in a forked child, a
 * closed fd would still fire, for a source that is gone. */
static void a_removed_source_does_not_fire_through_a_copy_of_its_fd(void **state)
{
	struct reader r;
	int copy;

	(void)state;
	reader_open(&r);
	turn();
	copy = dup(r.source.fd);
	assert_int_equal(write(r.writer, "x", 1), 1);
	loop_remove(&loop, &r.source);
	close(r.source.fd);
	turn_until_quiet();
	assert_int_equal(r.served, 0);
	close(copy);
	close(r.writer);
}

static void an_initialised_source_that_was_never_added_may_be_removed(void **state)
{
	struct source source;

	(void)state;
	source_init(&source, -1, NULL, NULL);
	loop_remove(&loop, &source);
	turn();
}

/* --- Timers ----------------------------------------------------------------------------------- */

struct alarm {
	struct timer timer;
	int fired, order;
	uint64_t again_in; /* 0: not again */
};

static void alarm_fire(struct timer *timer)
{
	struct alarm *alarm = list_entry(timer, struct alarm, timer);

	alarm->fired++;
	alarm->order = ++order;
	if (alarm->again_in)
		timer_set(&loop, timer, alarm->again_in);
	if (order == 3)
		loop_stop(&loop);
}

static void timers_fire_in_the_order_of_their_time(void **state)
{
	struct alarm alarms[3] = {0};

	(void)state;
	for (int i = 0; i < 3; i++)
		timer_init(&alarms[i].timer, alarm_fire);
	timer_set(&loop, &alarms[0].timer, 30);
	timer_set(&loop, &alarms[1].timer, 10);
	timer_set(&loop, &alarms[2].timer, 20);
	loop_run(&loop, turn_pump_all, NULL);
	assert_int_equal(alarms[0].order, 3);
	assert_int_equal(alarms[1].order, 1);
	assert_int_equal(alarms[2].order, 2);
}

static void a_timer_set_again_fires_once_at_the_new_time(void **state)
{
	struct alarm a = {0}, b = {0};
	uint64_t start = clock_now();

	(void)state;
	timer_init(&a.timer, alarm_fire);
	timer_init(&b.timer, alarm_fire);
	order = 1;
	timer_set(&loop, &a.timer, 5);
	timer_set(&loop, &a.timer, 40);
	timer_set(&loop, &b.timer, 20);
	loop_run(&loop, turn_pump_all, NULL);
	assert_int_equal(a.fired, 1);
	assert_int_equal(b.order, 2);
	assert_true(clock_now() - start >= 40);
}

static void a_cancelled_timer_does_not_fire(void **state)
{
	struct alarm a = {0}, b = {0};

	(void)state;
	timer_init(&a.timer, alarm_fire);
	timer_init(&b.timer, alarm_fire);
	order = 2;
	timer_set(&loop, &a.timer, 0);
	timer_set(&loop, &b.timer, 1);
	timer_cancel(&a.timer);
	timer_cancel(&a.timer);
	loop_run(&loop, turn_pump_all, NULL);
	assert_int_equal(a.fired, 0);
	assert_int_equal(b.fired, 1);
}

static void a_timer_may_set_itself_again(void **state)
{
	struct alarm a = {.again_in = 1};

	(void)state;
	timer_init(&a.timer, alarm_fire);
	timer_set(&loop, &a.timer, 1);
	loop_run(&loop, turn_pump_all, NULL);
	assert_int_equal(a.fired, 3);
	timer_cancel(&a.timer);
}

/* --- Gates ------------------------------------------------------------------------------------ */

static struct gate gate;
static size_t admitted;

static size_t gate_admits(struct gate *g)
{
	assert_ptr_equal(g, &gate);
	return admitted;
}

static void members_open(struct reader *members, size_t count)
{
	struct error err;

	assert_int_equal(gate_open(&gate, &loop, gate_admits, &err), 0);
	for (size_t i = 0; i < count; i++) {
		reader_init(&members[i]);
		members[i].keeps = true;
		assert_int_equal(gate_add(&gate, &members[i].source, &err), 0);
		gate_listen(&gate, &members[i].source);
	}
}

static void members_close(struct reader *members, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		gate_remove(&gate, &members[i].source);
		close(members[i].source.fd);
		if (members[i].writer >= 0)
			close(members[i].writer);
	}
	gate_close(&gate);
}

static void members_of_a_gate_are_served_in_turn(void **state)
{
	struct reader members[5];

	(void)state;
	admitted = 2;
	members_open(members, 5);
	for (int i = 0; i < 5; i++)
		assert_int_equal(write(members[i].writer, "x", 1), 1);
	for (int i = 0; i < 100; i++)
		turn();
	for (int i = 0; i < 5; i++)
		assert_in_range(members[i].served, 39, 41);
	members_close(members, 5);
}

static void a_member_that_becomes_ready_waits_one_round_at_most(void **state)
{
	struct reader members[5];

	(void)state;
	admitted = 1;
	members_open(members, 5);
	for (int i = 0; i < 4; i++)
		assert_int_equal(write(members[i].writer, "x", 1), 1);
	for (int i = 0; i < 10; i++)
		turn();
	assert_int_equal(write(members[4].writer, "x", 1), 1);
	for (int i = 0; i < 5; i++)
		turn();
	assert_int_equal(members[4].served, 1);
	members_close(members, 5);
}

static void a_closed_gate_lets_nobody_through_and_does_not_spin(void **state)
{
	struct reader members[3];

	(void)state;
	admitted = 0;
	members_open(members, 3);
	assert_int_equal(write(members[0].writer, "x", 1), 1);
	close(members[1].writer);
	members[1].writer = -1;
	turn_until_quiet();
	for (int i = 0; i < 3; i++)
		assert_int_equal(members[i].served, 0);
	admitted = 8;
	turn();
	assert_int_equal(members[0].served, 1);
	assert_int_equal(members[1].served, 1);
	assert_int_equal(members[2].served, 0);
	members_close(members, 3);
}

static struct reader three[3];

static void three_leave(struct source *source, uint32_t events)
{
	(void)source;
	(void)events;
	order++;
	for (int i = 0; i < 3; i++)
		gate_remove(&gate, &three[i].source);
}

static void a_member_may_remove_all_of_them(void **state)
{
	(void)state;
	admitted = 8;
	members_open(three, 3);
	for (int i = 0; i < 3; i++) {
		three[i].source.ready = three_leave;
		assert_int_equal(write(three[i].writer, "x", 1), 1);
	}
	turn_until_quiet();
	assert_int_equal(order, 1);
	members_close(three, 3);
}

static int refused; /* of the next calls */

int __real_epoll_ctl(int epoll, int op, int fd, struct epoll_event *event);
int __wrap_epoll_ctl(int epoll, int op, int fd, struct epoll_event *event);

int __wrap_epoll_ctl(int epoll, int op, int fd, struct epoll_event *event)
{
	if (refused == 0)
		return __real_epoll_ctl(epoll, op, fd, event);
	refused--;
	errno = ENOSPC;
	return -1;
}

static void stop(struct source *source, uint32_t events)
{
	(void)source;
	(void)events;
	loop_stop(&loop);
}

static void a_source_that_the_kernel_refuses_is_tried_again(void **state)
{
	struct reader r;

	(void)state;
	reader_open(&r);
	r.source.ready = stop;
	assert_int_equal(write(r.writer, "a", 1), 1);
	refused = 3;
	loop.stopped = false;
	alarm(10); /* there is no timer: else it would sleep for ever */
	loop_run(&loop, turn_pump_all, NULL);
	alarm(0);
	assert_int_equal(refused, 0);
	reader_close(&r);
}

#define test_of_loop(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test_of_loop(a_source_is_served_for_what_it_wants),
		test_of_loop(a_source_that_wants_nothing_is_left_alone_also_when_it_hung_up),
		test_of_loop(a_removed_source_is_served_no_more_also_in_the_same_batch),
		test_of_loop(a_source_may_remove_itself),
		test_of_loop(a_removed_source_does_not_fire_through_a_copy_of_its_fd),
		test_of_loop(an_initialised_source_that_was_never_added_may_be_removed),
		test_of_loop(a_source_that_the_kernel_refuses_is_tried_again),
		test_of_loop(timers_fire_in_the_order_of_their_time),
		test_of_loop(a_timer_set_again_fires_once_at_the_new_time),
		test_of_loop(a_cancelled_timer_does_not_fire),
		test_of_loop(a_timer_may_set_itself_again),
		test_of_loop(members_of_a_gate_are_served_in_turn),
		test_of_loop(a_member_that_becomes_ready_waits_one_round_at_most),
		test_of_loop(a_closed_gate_lets_nobody_through_and_does_not_spin),
		test_of_loop(a_member_may_remove_all_of_them),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
