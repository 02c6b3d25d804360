/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/queue.h"

/* ASan's: an impossible size is a failure of malloc, not of the program. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
	return "allocator_may_return_null=1";
}

static struct queue q;

static int open_ten(void **state)
{
	(void)state;
	return queue_open(&q, 10);
}

static int close_queue(void **state)
{
	(void)state;
	queue_close(&q);
	return 0;
}

static void assert_queued(const char *text)
{
	assert_int_equal(queue_length(&q), strlen(text));
	assert_memory_equal(queue_peek(&q), text, strlen(text));
}

static void bytes_leave_in_the_order_they_came(void **state)
{
	(void)state;
	assert_true(queue_put(&q, "abcd", 4));
	queue_consume(&q, 2);
	assert_true(queue_put(&q, "efghij", 6));
	assert_queued("cdefghij");
}

static void what_does_not_fit_leaves_the_queue_as_it_was(void **state)
{
	(void)state;
	assert_true(queue_put(&q, "abcdefgh", 8));
	assert_false(queue_put(&q, "ijk", 3));
	assert_null(queue_reserve(&q, 3));
	assert_null(queue_reserve(&q, SIZE_MAX));
	assert_queued("abcdefgh");
	assert_int_equal(queue_room(&q), 2);
	assert_true(queue_put(&q, "ij", 2));
	assert_int_equal(queue_room(&q), 0);
}

static void bytes_are_moved_only_when_the_tail_is_too_short(void **state)
{
	const uint8_t *before;

	(void)state;
	queue_put(&q, "abcdef", 6);
	queue_consume(&q, 4);
	before = queue_peek(&q);
	assert_non_null(queue_reserve(&q, 4));
	assert_ptr_equal(queue_peek(&q), before);
	assert_non_null(queue_reserve(&q, 5));
	assert_ptr_equal(queue_peek(&q), q.data);
	assert_queued("ef");
}

static void cheap_room_is_behind_the_bytes_or_half_of_the_queue(void **state)
{
	(void)state;
	queue_put(&q, "abcdefgh", 8);
	queue_consume(&q, 4);
	assert_int_equal(queue_room(&q), 6);
	assert_int_equal(queue_cheap_room(&q), 2);
	queue_put(&q, "ij", 2);
	assert_int_equal(queue_cheap_room(&q), 0);
	queue_consume(&q, 1);
	assert_int_equal(queue_cheap_room(&q), 5);
	queue_consume(&q, 5);
	assert_int_equal(queue_cheap_room(&q), 10);
}

static void an_empty_queue_starts_at_the_front_again(void **state)
{
	(void)state;
	for (int i = 0; i < 100; i++) {
		assert_ptr_equal(queue_reserve(&q, 7), q.data);
		queue_commit(&q, 7);
		queue_consume(&q, 7);
	}
}

static void counters_go_on_for_ever(void **state)
{
	(void)state;
	for (int i = 0; i < 100; i++) {
		queue_put(&q, "abcdefg", 7);
		queue_consume(&q, 7);
	}
	queue_put(&q, "abc", 3);
	assert_int_equal(q.total, 703);
	assert_int_equal(q.sent, 700);
}

static void bytes_that_are_taken_back_were_never_there(void **state)
{
	(void)state;
	queue_put(&q, "abcdef", 6);
	queue_unput(&q, 2);
	assert_queued("abcd");
	assert_int_equal(q.total, 4);
	queue_unput(&q, 4);
	assert_true(queue_is_empty(&q));
	assert_int_equal(q.total, 0);
}

static void a_queue_that_gets_no_memory_says_so(void **state)
{
	struct queue big;

	(void)state;
	assert_int_equal(queue_open(&big, SIZE_MAX / 2), -1);
	queue_close(&big);
}

static void an_open_queue_costs_only_the_pages_it_uses(void **state)
{
	enum { PAGES = 2048 };
	unsigned char touched[PAGES + 1];
	size_t page = (size_t)sysconf(_SC_PAGESIZE), count = 0;
	struct queue big;
	uintptr_t start;

	(void)state;
	assert_int_equal(queue_open(&big, PAGES * page), 0);
	for (int i = 0; i < 10000; i++) {
		assert_true(queue_put(&big, "abc", 3));
		queue_consume(&big, 3);
	}
	start = ((uintptr_t)big.data + page - 1) / page * page;
	assert_int_equal(mincore((void *)start, (PAGES - 1) * page, touched), 0);
	for (size_t i = 0; i < PAGES - 1; i++)
		count += touched[i] & 1;
	assert_true(count <= 1);
	queue_close(&big);
}

static void filling_and_draining_speak_one_vocabulary(void **state)
{
	int fds[2];

	(void)state;
	assert_int_equal(pipe2(fds, O_NONBLOCK), 0);
	assert_int_equal(queue_drain(&q, fds[1], 100), IO_AGAIN); /* empty */
	assert_int_equal(queue_fill(&q, fds[0]), IO_AGAIN);       /* nothing to read */
	queue_put(&q, "abcdef", 6);
	assert_int_equal(queue_drain(&q, fds[1], 4), 4);
	assert_queued("ef");
	assert_int_equal(queue_fill(&q, fds[0]), 4);
	assert_queued("efabcd");
	close(fds[1]);
	assert_int_equal(queue_fill(&q, fds[0]), IO_EOF);
	close(fds[0]);
	assert_int_equal(queue_fill(&q, fds[0]), IO_ERROR);
	assert_int_equal(errno, EBADF);
	assert_int_equal(queue_drain(&q, fds[1], 100), IO_ERROR);
	assert_int_equal(errno, EBADF);
	assert_queued("efabcd");
}

static void a_read_moves_no_bytes_while_the_tail_has_a_page(void **state)
{
	struct queue big;
	int fds[2];

	(void)state;
	assert_int_equal(queue_open(&big, 10000), 0);
	assert_int_equal(pipe2(fds, O_NONBLOCK), 0);
	assert_int_equal(write(fds[1], big.data, 5000), 5000);
	assert_int_equal(queue_fill(&big, fds[0]), 5000);
	queue_consume(&big, 3000);
	assert_int_equal(write(fds[1], big.data, 4000), 4000);
	assert_int_equal(queue_fill(&big, fds[0]), 4000);
	assert_ptr_equal(queue_peek(&big), big.data + 3000);
	assert_int_equal(write(fds[1], big.data, 9000), 9000);
	assert_int_equal(queue_fill(&big, fds[0]), 4000);
	assert_ptr_equal(queue_peek(&big), big.data);
	queue_close(&big);
	close(fds[0]);
	close(fds[1]);
}

static void a_full_queue_does_not_read(void **state)
{
	int fds[2];

	(void)state;
	assert_int_equal(pipe2(fds, O_NONBLOCK), 0);
	assert_int_equal(write(fds[1], "x", 1), 1);
	queue_put(&q, "abcdefghij", 10);
	assert_int_equal(queue_fill(&q, fds[0]), IO_AGAIN);
	assert_queued("abcdefghij");
	close(fds[0]);
	close(fds[1]);
}

static void a_full_pipe_is_no_error(void **state)
{
	char page[4096] = "";
	int fds[2];

	(void)state;
	assert_int_equal(pipe2(fds, O_NONBLOCK), 0);
	while (write(fds[1], page, sizeof(page)) > 0)
		;
	queue_put(&q, "abc", 3);
	assert_int_equal(queue_drain(&q, fds[1], 100), IO_AGAIN);
	assert_queued("abc");
	close(fds[0]);
	close(fds[1]);
}

/* Against the simplest queue there is: two counters into one endless sequence of bytes. */
static void a_long_random_life_loses_nothing(void **state)
{
	enum { CAPACITY = 20000 };
	size_t in = 0, out = 0;
	struct queue queue;
	int fds[2];

	(void)state;
	srandom(1);
	assert_int_equal(pipe2(fds, O_NONBLOCK), 0);
	assert_int_equal(queue_open(&queue, CAPACITY), 0);
	for (int step = 0; step < 20000; step++) {
		size_t size = (size_t)random() % 9000;
		uint8_t bytes[9000];
		ssize_t n;

		for (size_t i = 0; i < size; i++)
			bytes[i] = (uint8_t)((in + i) % 251);
		switch (random() % 3) {
		case 0:
			if (queue_put(&queue, bytes, size))
				in += size;
			break;
		case 1:
			n = write(fds[1], bytes, size);
			assert_int_equal(n, size);
			for (size_t left = size; left > 0; left -= (size_t)n) {
				n = queue_fill(&queue, fds[0]);
				if (n == IO_AGAIN) {
					assert_int_equal(queue_room(&queue), 0);
					assert_int_equal(read(fds[0], bytes, left), left);
					break;
				}
				assert_true(n > 0);
				in += (size_t)n;
			}
			break;
		default:
			if (size > queue_length(&queue))
				size = queue_length(&queue);
			for (size_t i = 0; i < size; i++)
				assert_int_equal(queue_peek(&queue)[i], (out + i) % 251);
			queue_consume(&queue, size);
			out += size;
		}
		assert_int_equal(queue_length(&queue), in - out);
		assert_int_equal(queue.total, in);
		assert_int_equal(queue.sent, out);
	}
	assert_true(out > 10 * CAPACITY);
	queue_close(&queue);
	close(fds[0]);
	close(fds[1]);
}

#define test_of_ten(test) cmocka_unit_test_setup_teardown(test, open_ten, close_queue)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test_of_ten(bytes_leave_in_the_order_they_came),
		test_of_ten(what_does_not_fit_leaves_the_queue_as_it_was),
		test_of_ten(bytes_are_moved_only_when_the_tail_is_too_short),
		test_of_ten(cheap_room_is_behind_the_bytes_or_half_of_the_queue),
		test_of_ten(an_empty_queue_starts_at_the_front_again),
		test_of_ten(counters_go_on_for_ever),
		test_of_ten(bytes_that_are_taken_back_were_never_there),
		cmocka_unit_test(a_queue_that_gets_no_memory_says_so),
		cmocka_unit_test(an_open_queue_costs_only_the_pages_it_uses),
		test_of_ten(filling_and_draining_speak_one_vocabulary),
		cmocka_unit_test(a_read_moves_no_bytes_while_the_tail_has_a_page),
		test_of_ten(a_full_queue_does_not_read),
		test_of_ten(a_full_pipe_is_no_error),
		cmocka_unit_test(a_long_random_life_loses_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
