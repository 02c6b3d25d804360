/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/list.h"

struct item {
	int value;
	struct list node;
};

static void assert_values(struct list *head, const int *values, size_t count)
{
	size_t i = 0;

	list_for_each (it, after, head) {
		assert_true(i < count);
		assert_int_equal(list_entry(it, struct item, node)->value, values[i++]);
	}
	assert_int_equal(i, count);
}

static void nodes_keep_the_order_in_which_they_were_pushed(void **state)
{
	struct item a = {.value = 1}, b = {.value = 2}, c = {.value = 3};
	struct list head;

	(void)state;
	list_init(&head);
	assert_true(list_is_empty(&head));
	list_push_back(&head, &b.node);
	list_push_back(&head, &c.node);
	list_push_front(&head, &a.node);
	assert_false(list_is_empty(&head));
	assert_values(&head, (int[]){1, 2, 3}, 3);
}

static void a_node_may_remove_itself_while_the_list_is_walked(void **state)
{
	struct item items[] = {{.value = 1}, {.value = 2}, {.value = 3}, {.value = 4}};
	struct list head;

	(void)state;
	list_init(&head);
	for (size_t i = 0; i < 4; i++)
		list_push_back(&head, &items[i].node);
	list_for_each (it, after, &head) {
		if (list_entry(it, struct item, node)->value % 2 == 0)
			list_remove(it);
	}
	assert_values(&head, (int[]){1, 3}, 2);
}

static void removing_a_node_twice_is_harmless(void **state)
{
	struct item a = {.value = 1}, b = {.value = 2};
	struct list head;

	(void)state;
	list_init(&head);
	list_push_back(&head, &a.node);
	list_push_back(&head, &b.node);
	list_remove(&a.node);
	list_remove(&a.node);
	assert_values(&head, (int[]){2}, 1);
	list_remove(&b.node);
	assert_true(list_is_empty(&head));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nodes_keep_the_order_in_which_they_were_pushed),
		cmocka_unit_test(a_node_may_remove_itself_while_the_list_is_walked),
		cmocka_unit_test(removing_a_node_twice_is_harmless),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
