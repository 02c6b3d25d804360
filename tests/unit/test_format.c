/* SPDX-License-Identifier: Apache-2.0 */
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/format.h"

/* The same text and the same length as the C library's, in room for all, some and none of it. */
#define SAME(...)                                                                            \
	do {                                                                                 \
		char ours[256], theirs[256];                                                 \
		int length = snprintf(NULL, 0, __VA_ARGS__);                                 \
                                                                                             \
		assert_int_equal(format(NULL, 0, __VA_ARGS__), length);                      \
		for (size_t size = 1; size < (size_t)length + 3; size++) {                   \
			memset(ours, '#', sizeof ours);                                      \
			memset(theirs, '#', sizeof theirs);                                  \
			assert_int_equal(format(ours, size, __VA_ARGS__), length);           \
			assert_int_equal(snprintf(theirs, size, __VA_ARGS__), length);       \
			assert_memory_equal(ours, theirs, strlen(theirs) + 1);               \
			assert_memory_equal(ours + size, theirs + size, sizeof ours - size); \
		}                                                                            \
	} while (0)

static void text_is_what_the_c_library_makes_of_it(void **state)
{
	const char three[3] = {'a', 'b', 'c'}; /* no string */
	const char *volatile missing = NULL;

	(void)state;
	SAME("plain");
	SAME("%s", "");
	SAME("<%s> and '%s'", "one", "two");
	SAME("100%% of %s%%", "it");
	SAME("%.2s|%.10s|%.0s|", "abc", "abc", "abc");
	SAME("%.*s|%.3s", 3, three, three);
	SAME("%.*s", -1, "all");
	SAME("a %s", missing);
	SAME("%02d:%02d:%02d", 7, 0, 123);
	SAME("\\u%04x, %02x%02x, 0x%lx", 0x1fu, 0u, 0xffu, ULONG_MAX);
	SAME("%s%d%s", "a", -1, "b");
}

static void numbers_are_what_the_c_library_makes_of_them(void **state)
{
	static const uint64_t ends[] = {0, 1, 9, 10, 15, 16, INT_MAX, (uint64_t)INT_MAX + 1,
		UINT_MAX, INT64_MAX, (uint64_t)INT64_MAX + 1, UINT64_MAX};

	(void)state;
	srandom(1);
	for (size_t i = 0; i < 2000; i++) {
		uint64_t n =
			(uint64_t)random() << 33 ^ (uint64_t)random() << 11 ^ (uint64_t)random();

		n = i < sizeof ends / sizeof *ends ? ends[i] : n >> random() % 64;
		SAME("%d %u %x", (int)n, (unsigned)n, (unsigned)n);
		SAME("%ld %lu %lx", (long)n, (unsigned long)n, (unsigned long)n);
		SAME("%lld %llu %zu", (long long)n, (unsigned long long)n, (size_t)n);
	}
}

static void a_descriptor_takes_a_text_of_any_length(void **state)
{
	static char long_text[100000], read_back[100100];
	int fd = memfd_create("format", MFD_CLOEXEC);

	(void)state;
	memset(long_text, 'x', sizeof long_text - 1);
	assert_int_equal(dformat(fd, "%d %s\n", 42, long_text), sizeof long_text + 3);
	assert_int_equal(pread(fd, read_back, sizeof read_back, 0), sizeof long_text + 3);
	assert_memory_equal(read_back, "42 xxx", 6);
	assert_memory_equal(read_back + sizeof long_text, "xx\n", 3);
	close(fd);
	assert_int_equal(dformat(fd, "x"), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(text_is_what_the_c_library_makes_of_it),
		cmocka_unit_test(numbers_are_what_the_c_library_makes_of_them),
		cmocka_unit_test(a_descriptor_takes_a_text_of_any_length),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
