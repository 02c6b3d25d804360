/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdalign.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/arena.h"

static void what_is_allocated_is_zeroed_aligned_and_apart(void **state)
{
	struct arena arena;
	unsigned char *last = NULL;

	(void)state;
	arena_init(&arena, 1 << 20);
	for (size_t size = 1; size < 3000; size += 13) {
		unsigned char *p = arena_alloc(&arena, size);

		assert_non_null(p);
		assert_int_equal((uintptr_t)p % alignof(max_align_t), 0);
		for (size_t i = 0; i < size; i++)
			assert_int_equal(p[i], 0);
		memset(p, 0xff, size);
		if (last)
			assert_int_equal(last[0], 0xff);
		last = p;
	}
	arena_free(&arena);
}

static void a_string_is_copied_up_to_its_length(void **state)
{
	struct arena arena;
	char *first, *second;

	(void)state;
	arena_init(&arena, 4096);
	first = arena_strndup(&arena, "hello", 4);
	second = arena_strndup(&arena, "", 0);
	assert_string_equal(first, "hell");
	assert_string_equal(second, "");
	assert_int_equal((uintptr_t)arena_alloc(&arena, 1) % alignof(max_align_t), 0);
	arena_free(&arena);
}

static void the_cap_bounds_all_the_memory_that_is_held(void **state)
{
	(void)state;
	for (size_t cap = 0; cap < 5000; cap += 7) {
		struct arena arena;
		size_t given = 0;

		arena_init(&arena, cap);
		while (arena_alloc(&arena, 100)) {
			given += 100;
			assert_true(arena.used <= cap);
			assert_true(given <= arena.used);
		}
		assert_null(arena_alloc(&arena, cap + 1));
		arena_free(&arena);
		assert_int_equal(arena.used, 0);
	}
}

static void one_allocation_may_take_the_whole_cap(void **state)
{
	struct arena arena;

	(void)state;
	arena_init(&arena, 100000);
	assert_non_null(arena_alloc(&arena, 100000 - 64));
	arena_free(&arena);
}

static void a_product_that_overflows_is_refused(void **state)
{
	struct arena arena;

	(void)state;
	arena_init(&arena, SIZE_MAX);
	assert_null(arena_calloc(&arena, SIZE_MAX / 2, 3));
	assert_null(arena_strndup(&arena, "x", SIZE_MAX));
	assert_non_null(arena_calloc(&arena, 0, 8));
	assert_non_null(arena_calloc(&arena, 3, 0));
	arena_free(&arena);
}

static void a_freed_arena_is_usable_again(void **state)
{
	struct arena arena;

	(void)state;
	arena_init(&arena, 600);
	assert_non_null(arena_alloc(&arena, 400));
	assert_null(arena_alloc(&arena, 400));
	arena_free(&arena);
	assert_non_null(arena_alloc(&arena, 400));
	arena_free(&arena);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_allocated_is_zeroed_aligned_and_apart),
		cmocka_unit_test(a_string_is_copied_up_to_its_length),
		cmocka_unit_test(the_cap_bounds_all_the_memory_that_is_held),
		cmocka_unit_test(one_allocation_may_take_the_whole_cap),
		cmocka_unit_test(a_product_that_overflows_is_refused),
		cmocka_unit_test(a_freed_arena_is_usable_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
