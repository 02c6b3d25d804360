/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "child/network.h"
#include "child/route.h"

static struct error err;
static struct interface_address address;
static struct route route;

static int parse_address(const char *ip, const char *mask)
{
	const struct address_spec spec = {.ip_address = ip, .net_mask = mask};

	return interface_address_parse(&spec, &address, &err);
}

static int parse_route(const char *dest, const char *gateway, const char *device, const char *src)
{
	const struct route_spec spec = {
		.dest = dest,
		.gateway = gateway,
		.device = device,
		.src = src,
	};

	return route_parse(&spec, &route, &err);
}

static void an_address_that_is_empty_is_skipped(void **state)
{
	(void)state;
	assert_int_equal(parse_address(NULL, NULL), 0);
	assert_int_equal(parse_address(NULL, "24"), 0);
	assert_int_equal(parse_address("-", "24"), 0);
}

static void an_address_has_a_mask(void **state)
{
	(void)state;
	assert_int_equal(parse_address("10.1.0.2", "255.255.0.0"), 1);
	assert_int_equal(address.prefix, 16);
	assert_false(address.removed);
	assert_int_equal(parse_address("10.1.0.2", NULL), -1);
	assert_string_equal(err.text, "address '10.1.0.2' has no netmask");
}

static void an_address_with_a_minus_is_to_go(void **state)
{
	(void)state;
	assert_int_equal(parse_address("-fd00::2", "64"), 1);
	assert_true(address.removed);
	assert_false(address.any_mask);
	assert_int_equal(address.prefix, 64);
	assert_int_equal(parse_address("-10.1.0.2", NULL), 1);
	assert_true(address.removed && address.any_mask);
	assert_int_equal(parse_address("--10.1.0.2", "24"), -1);
}

static void a_default_route_is_of_its_gateway_s_family(void **state)
{
	(void)state;
	assert_int_equal(parse_route(NULL, "10.1.0.1", NULL, NULL), 0);
	assert_int_equal(route.dest.address.family, AF_INET);
	assert_int_equal(parse_route("default", "fd00::1", NULL, NULL), 0);
	assert_int_equal(route.dest.address.family, AF_INET6);
	assert_int_equal(parse_route("any", NULL, "eth0", "fd00::2"), 0);
	assert_int_equal(route.dest.address.family, AF_INET6);
	assert_int_equal(parse_route("all", NULL, "eth0", NULL), 0);
	assert_int_equal(route.dest.address.family, AF_INET);
}

static void a_route_of_two_families_is_refused(void **state)
{
	(void)state;
	assert_int_equal(parse_route("10.0.0.0/8", "fd00::1", NULL, NULL), -1);
	assert_int_equal(parse_route(NULL, "10.1.0.1", NULL, "fd00::2"), -1);
}

static void a_route_to_nowhere_is_refused(void **state)
{
	(void)state;
	assert_int_equal(parse_route("10.0.0.0/8", NULL, NULL, "10.1.0.2"), -1);
	assert_string_equal(err.text, "neither a gateway nor a device");
}

static void a_route_that_is_given_twice_is_refused_however_it_is_written(void **state)
{
	const struct route_spec twice[] = {
		{.dest = "fd00::/64", .gateway = "fd01::1"},
		{.dest = "fd00:0::/64", .gateway = "fd01:0::1"},
	};

	(void)state;
	assert_int_equal(routes_parse(twice, 2, (struct route[2]){0}, &err), -1);
	assert_string_equal(err.text, "route to 'fd00:0::/64': given twice");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_address_that_is_empty_is_skipped),
		cmocka_unit_test(an_address_has_a_mask),
		cmocka_unit_test(an_address_with_a_minus_is_to_go),
		cmocka_unit_test(a_default_route_is_of_its_gateway_s_family),
		cmocka_unit_test(a_route_of_two_families_is_refused),
		cmocka_unit_test(a_route_to_nowhere_is_refused),
		cmocka_unit_test(a_route_that_is_given_twice_is_refused_however_it_is_written),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
