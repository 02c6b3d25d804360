/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <errno.h>

#include "arena.h"
#include "portmap.h"

/* A worker that ends when the test says so, and may not begin. */
static struct {
	unsigned started;
	bool cannot_start;
	struct worker_plan plan;
	size_t entries; /* that it was started with */
} fake;

int worker_start(struct worker *worker, const struct worker_plan *plan, struct error *err)
{
	const struct child_portmap *child = plan->argument;

	assert_false(worker->busy);
	if (fake.cannot_start)
		return error_set(err, EAGAIN, "fork");
	fake.started++;
	fake.plan = *plan;
	fake.entries = 0;
	list_for_each (it, after, child->entries)
		fake.entries++;
	worker->busy = true;
	return 0;
}

/* A real one is over later, too. */
void worker_cancel(struct worker *worker, const char *reason)
{
	(void)worker;
	(void)reason;
}

void child_portmap_apply(const void *child_portmap)
{
	(void)child_portmap;
	abort();
}

static struct portmap portmap;
static struct arena arena;
static struct error err;
static int told; /* how often … */
static char said[ERROR_TEXT_MAX];

static void on_done(void *context, const struct error *why)
{
	assert_ptr_equal(context, &portmap);
	told++;
	strcpy(said, why ? why->text : "done");
}

static void worker_ends(const char *failure)
{
	struct error why;

	assert_true(portmap.worker.busy);
	portmap.worker.busy = false;
	if (failure)
		error_set(&why, EINVAL, "%s", failure);
	fake.plan.on_done(fake.plan.context, failure ? &why : NULL);
}

static int add(const char *id)
{
	struct port_spec port = {.host_port = 80, .container_port = 8080};
	const struct container_spec container = {
		.id = id,
		.ports = &port,
		.ports_count = 1,
	};

	return portmap_add(&portmap, &container, on_done, &portmap, &err);
}

static int start(void **state)
{
	const struct white_lists_spec lists = {0};

	(void)state;
	memset(&fake, 0, sizeof fake);
	told = 0;
	arena_init(&arena, 4096);
	portmap_init(&portmap, NULL, 1000);
	return portmap_open(&portmap, &lists, &arena, &err);
}

static int stop(void **state)
{
	(void)state;
	portmap_close(&portmap);
	arena_free(&arena);
	return 0;
}

static void ports_are_open_when_the_rules_are_written(void **state)
{
	(void)state;
	assert_int_equal(add("a"), 0);
	assert_int_equal(told, 0);
	worker_ends(NULL);
	assert_int_equal(told, 1);
	assert_string_equal(said, "done");
	assert_int_equal(fake.started, 1);
}

static void rules_that_are_refused_are_written_again_without_the_new_ones(void **state)
{
	(void)state;
	assert_int_equal(add("a"), 0);
	worker_ends("no");
	assert_int_equal(fake.entries, 0);
	assert_int_equal(told, 0);
	worker_ends("no, either");
	assert_int_equal(told, 1);
	assert_string_equal(said, "no");
	assert_int_equal(fake.started, 2);
}

static void a_change_meanwhile_is_in_the_rules_that_follow(void **state)
{
	(void)state;
	assert_int_equal(add("a"), 0);
	worker_ends(NULL);
	assert_true(portmap_remove(&portmap, "a", NULL, NULL));
	assert_int_equal(add("b"), 0);
	worker_ends(NULL);
	assert_int_equal(told, 1); /* of a */
	assert_int_equal(fake.entries, 1);
	worker_ends(NULL);
	assert_int_equal(told, 2);
	assert_string_equal(said, "done");
}

static void ports_are_not_open_without_a_worker(void **state)
{
	(void)state;
	fake.cannot_start = true;
	assert_int_equal(add("a"), -1);
	assert_true(list_is_empty(&portmap.entries));

	fake.cannot_start = false;
	assert_int_equal(add("a"), 0);
	worker_ends(NULL);
	assert_true(portmap_remove(&portmap, "a", NULL, NULL));
	assert_int_equal(add("b"), 0);
	fake.cannot_start = true;
	told = 0;
	worker_ends(NULL);
	assert_int_equal(told, 1);
	assert_string_equal(said, "fork");
	assert_true(list_is_empty(&portmap.entries));
}

static void what_was_cancelled_is_not_followed_by_anything(void **state)
{
	(void)state;
	assert_int_equal(add("a"), 0);
	portmap_cancel(&portmap, "the end");
	worker_ends("the end");
	assert_int_equal(told, 1);
	assert_string_equal(said, "the end");
	assert_int_equal(add("b"), -1);
	assert_int_equal(fake.started, 1);
	portmap_resume(&portmap);
	assert_int_equal(add("b"), 0);
	assert_int_equal(fake.started, 2);
}

static void a_pod_that_ended_is_told_nothing(void **state)
{
	(void)state;
	assert_int_equal(add("a"), 0);
	portmap_close(&portmap);
	worker_ends("the end");
	assert_int_equal(told, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			ports_are_open_when_the_rules_are_written, start, stop),
		cmocka_unit_test_setup_teardown(
			rules_that_are_refused_are_written_again_without_the_new_ones, start, stop),
		cmocka_unit_test_setup_teardown(
			a_change_meanwhile_is_in_the_rules_that_follow, start, stop),
		cmocka_unit_test_setup_teardown(ports_are_not_open_without_a_worker, start, stop),
		cmocka_unit_test_setup_teardown(
			what_was_cancelled_is_not_followed_by_anything, start, stop),
		cmocka_unit_test_setup_teardown(a_pod_that_ended_is_told_nothing, start, stop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
