/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/number.h"

static void digits_alone_are_a_number(void **state)
{
	static const char *const wrong[] = {"", " 1", "1 ", "+1", "-1", "0x1", "1.", "one"};
	uint64_t n;

	(void)state;
	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
		assert_false(number_parse(wrong[i], UINT64_MAX, &n));
	assert_true(number_parse("007", 7, &n));
	assert_int_equal(n, 7);
}

static void a_number_is_at_most_what_the_caller_says(void **state)
{
	uint64_t n;

	(void)state;
	assert_true(number_parse("18446744073709551615", UINT64_MAX, &n));
	assert_true(n == UINT64_MAX);
	assert_false(number_parse("18446744073709551616", UINT64_MAX, &n));
	assert_false(number_parse("99999999999999999999", UINT64_MAX, &n));
	assert_true(number_parse("128", 128, &n));
	assert_false(number_parse("129", 128, &n));
	assert_true(number_parse("0", 0, &n));
	assert_false(number_parse("1", 0, &n));
}

static void what_stands_behind_the_digits_is_left(void **state)
{
	const char *text = "5.15-rc1";
	uint64_t n;

	(void)state;
	assert_true(number_take(&text, UINT64_MAX, &n));
	assert_int_equal(n, 5);
	assert_string_equal(text, ".15-rc1");
	assert_false(number_take(&text, UINT64_MAX, &n));
	assert_string_equal(text, ".15-rc1");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(digits_alone_are_a_number),
		cmocka_unit_test(a_number_is_at_most_what_the_caller_says),
		cmocka_unit_test(what_stands_behind_the_digits_is_left),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
