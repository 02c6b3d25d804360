/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"

static void an_error_is_wrapped_from_the_outside_in(void **state)
{
	struct error err;

	(void)state;
	assert_int_equal(error_set(&err, ENOENT, "no such container '%s'", "c1"), -1);
	assert_int_equal(error_wrap(&err, "kill %d", 9), -1);
	assert_int_equal(err.code, ENOENT);
	assert_string_equal(err.text, "kill 9: no such container 'c1'");
}

static void the_meaning_of_errno_reads_on_in_lower_case(void **state)
{
	struct error err;

	(void)state;
	errno = ENOENT;
	assert_int_equal(error_errno(&err, "exec '%s'", "/bin/ngnix"), -1);
	assert_int_equal(err.code, ENOENT);
	assert_string_equal(err.text, "exec '/bin/ngnix': no such file or directory");
}

static void an_abbreviation_keeps_its_capitals(void **state)
{
	struct error err;

	(void)state;
	/* "Input/output error" with glibc, "I/O error" with musl. */
	errno = EIO;
	error_errno(&err, "read");
	assert_true(strcmp(err.text, "read: input/output error") == 0 ||
		strcmp(err.text, "read: I/O error") == 0);
}

static void text_that_does_not_fit_is_cut(void **state)
{
	char longer[2 * ERROR_TEXT_MAX];
	struct error err;

	(void)state;
	memset(longer, 'x', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';
	error_set(&err, 0, "%s", longer);
	assert_int_equal(strlen(err.text), ERROR_TEXT_MAX - 1);
	error_wrap(&err, "context");
	assert_int_equal(strlen(err.text), ERROR_TEXT_MAX - 1);
	assert_memory_equal(err.text, "context: xxx", 12);
	error_wrap(&err, "%s", longer);
	assert_int_equal(strlen(err.text), ERROR_TEXT_MAX - 1);
	errno = ENOENT;
	error_errno(&err, "%s", longer);
	assert_int_equal(strlen(err.text), ERROR_TEXT_MAX - 1);
}

static void a_cut_never_splits_a_character(void **state)
{
	static const char *const characters[] = {"\xc3\xa4", "\xe2\x82\xac", "\xf0\x9f\x90\xb3"};
	struct error err;

	(void)state;
	for (size_t c = 0; c < 3; c++) {
		size_t size = strlen(characters[c]);

		for (size_t shift = 0; shift < 4; shift++) {
			char text[ERROR_TEXT_MAX + 16] = "";

			memset(text, 'x', shift);
			while (strlen(text) + size < sizeof(text))
				strcat(text, characters[c]);
			error_set(&err, 0, "%s", text);
			assert_int_equal((strlen(err.text) - shift) % size, 0);
			assert_true(strlen(err.text) >= ERROR_TEXT_MAX - size);
			error_wrap(&err, "y");
			assert_int_equal((strlen(err.text) - shift - 3) % size, 0);
			errno = EIO;
			error_errno(&err, "%s", text);
			assert_int_equal((strlen(err.text) - shift) % size, 0);
		}
	}
}

static void a_text_that_came_in_cut_is_mended(void **state)
{
	struct error err;

	(void)state;
	error_set(&err, 0, "a\xe2\x82");
	assert_string_equal(err.text, "a");
	error_set(&err, 0, "\xf0");
	assert_string_equal(err.text, "");
	error_set(&err, 0, "a\xe2\x82\xac");
	assert_string_equal(err.text, "a\xe2\x82\xac");
}

/* musl's, which has one text for all that it does not know. */
char *__wrap_strerror(int code);
char *__real_strerror(int code);

char *__wrap_strerror(int code)
{
	return __real_strerror(code < 0 || code > 133 || code == ETOOMANYREFS ? 0 : code);
}

static void a_reason_that_musl_has_no_text_for_is_the_kernels_name(void **state)
{
	static const struct {
		int code;
		const char *text;
	} reasons[] = {
		{EUCLEAN, "mount: EUCLEAN (117)"},
		{EHWPOISON, "mount: EHWPOISON (133)"},
		{ETOOMANYREFS, "mount: errno 109"},
		{524, "mount: errno 524"}, /* ENOTSUPP, which is not for programs */
		{-1, "mount: errno -1"},
		{ENOENT, "mount: no such file or directory"},
	};
	struct error err;

	(void)state;
	for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++) {
		errno = reasons[i].code;
		error_errno(&err, "mount");
		assert_string_equal(err.text, reasons[i].text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_error_is_wrapped_from_the_outside_in),
		cmocka_unit_test(the_meaning_of_errno_reads_on_in_lower_case),
		cmocka_unit_test(an_abbreviation_keeps_its_capitals),
		cmocka_unit_test(a_reason_that_musl_has_no_text_for_is_the_kernels_name),
		cmocka_unit_test(text_that_does_not_fit_is_cut),
		cmocka_unit_test(a_cut_never_splits_a_character),
		cmocka_unit_test(a_text_that_came_in_cut_is_mended),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
