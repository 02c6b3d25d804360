/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/bytes.h"

static void the_most_significant_byte_comes_first(void **state)
{
	uint8_t bytes[8];

	(void)state;
	store_be32(bytes, 0x01020384);
	assert_memory_equal(bytes, "\x01\x02\x03\x84", 4);
	store_be64(bytes, 0xf102030405060708);
	assert_memory_equal(bytes, "\xf1\x02\x03\x04\x05\x06\x07\x08", 8);
}

static void what_was_stored_is_loaded_at_any_alignment(void **state)
{
	static const uint64_t values[] = {0, 1, 0x80, 0xffffffff, 0x8000000000000000, UINT64_MAX};
	uint8_t bytes[16];

	(void)state;
	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
		for (size_t offset = 0; offset < 8; offset++) {
			store_be64(bytes + offset, values[i]);
			assert_true(load_be64(bytes + offset) == values[i]);
			store_be32(bytes + offset, (uint32_t)values[i]);
			assert_true(load_be32(bytes + offset) == (uint32_t)values[i]);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_most_significant_byte_comes_first),
		cmocka_unit_test(what_was_stored_is_loaded_at_any_alignment),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
