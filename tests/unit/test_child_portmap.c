/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "child_portmap.h"

static void a_table_is_named_by_a_line_of_its_own(void **state)
{
	unsigned nat = portmap_tables("*nat\nCOMMIT\n"),
		 filter = portmap_tables("*filter\nCOMMIT\n");

	(void)state;
	assert_true(nat && filter && !(nat & filter));
	assert_int_equal(
		portmap_tables("# comment\n*nat\nCOMMIT\n*filter\nCOMMIT\n"), nat | filter);
	assert_int_equal(portmap_tables("-A INPUT -m comment --comment *nat\n"), 0);
	assert_int_equal(portmap_tables("*nat"), 0);
	assert_int_equal(portmap_tables(""), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_table_is_named_by_a_line_of_its_own),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
