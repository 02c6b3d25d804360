/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "spec/address.h"

static struct error err;

static void an_address_is_of_the_family_that_it_looks_like(void **state)
{
	static const uint8_t six[16] = {0xfd, 0, [15] = 2}, four[16] = {10, 1, 0, 255};
	struct ip_address ip;

	(void)state;
	assert_int_equal(ip_parse("10.1.0.255", &ip, &err), 0);
	assert_int_equal(ip.family, AF_INET);
	assert_memory_equal(ip.bytes, four, sizeof four);
	assert_int_equal(ip_parse("fd00::2", &ip, &err), 0);
	assert_int_equal(ip.family, AF_INET6);
	assert_memory_equal(ip.bytes, six, sizeof six);
}

static void what_is_no_address_is_quoted(void **state)
{
	static const char *const wrong[] = {"", "10.1.0", "10.1.0.256", "10.1.0.1 ", "010.1.0.1.1",
		"10.1.0.1/24", "fd00:::1", "fd00::g", ":", "localhost", "-10.1.0.1",
		"1:2:3:4:5:6:7:8:9"};
	struct ip_address ip;
	char expected[64];

	(void)state;
	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
		snprintf(expected, sizeof expected, "'%s' is no IP address", wrong[i]);
		assert_int_equal(ip_parse(wrong[i], &ip, &err), -1);
		assert_string_equal(err.text, expected);
	}
}

static void a_mask_is_a_length_or_dotted(void **state)
{
	static const struct {
		const char *text;
		unsigned prefix;
	} right[] = {{"0", 0}, {"24", 24}, {"32", 32}, {"255.255.255.0", 24}, {"0.0.0.0", 0},
		{"255.255.255.255", 32}, {"128.0.0.0", 1}, {"255.255.254.0", 23}};
	unsigned prefix;

	(void)state;
	for (size_t i = 0; i < sizeof right / sizeof *right; i++) {
		assert_int_equal(mask_parse(right[i].text, AF_INET, &prefix, &err), 0);
		assert_int_equal(prefix, right[i].prefix);
	}
	assert_int_equal(mask_parse("128", AF_INET6, &prefix, &err), 0);
	assert_int_equal(prefix, 128);
}

static void a_mask_that_no_address_has_is_refused(void **state)
{
	static const char *const wrong[] = {"", "33", "-1", "24 ", "0x18", "255.0.255.0", "1.2.3.4",
		"255.255.255", "99999999999999999999"};
	unsigned prefix;

	(void)state;
	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
		assert_int_equal(mask_parse(wrong[i], AF_INET, &prefix, &err), -1);
	assert_int_equal(mask_parse("255.255.255.0", AF_INET6, &prefix, &err), -1);
	assert_string_equal(err.text, "'255.255.255.0' is no netmask: expected 0 to 128");
}

static void a_network_without_a_mask_is_one_address(void **state)
{
	struct ip_network network;

	(void)state;
	assert_int_equal(network_parse("10.1.0.9", &network, &err), 0);
	assert_int_equal(network.prefix, 32);
	assert_int_equal(network_parse("fd00::9", &network, &err), 0);
	assert_int_equal(network.prefix, 128);
	assert_int_equal(network_parse("10.1.0.0/16", &network, &err), 0);
	assert_int_equal(network.prefix, 16);
}

static void a_network_that_is_none_is_quoted_as_a_whole(void **state)
{
	struct ip_network network;

	(void)state;
	assert_int_equal(network_parse("10.1.0.0/40", &network, &err), -1);
	assert_string_equal(
		err.text, "'10.1.0.0/40': '40' is no netmask: expected 0 to 32 or 255.255.255.0");
	assert_int_equal(network_parse("10.1.0.0/", &network, &err), -1);
	assert_int_equal(network_parse("/8", &network, &err), -1);
	assert_int_equal(network_parse("0000000000000000000000000000000000000000000000000000000000"
				       "00000000000000000000000000000000000000000/1",
				 &network, &err),
		-1);
}

static void everything_has_many_names(void **state)
{
	static const char *const names[] = {"", "default", "any", "all", NULL};
	struct ip_network network;

	(void)state;
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		assert_int_equal(destination_parse(names[i], &network, &err), 0);
		assert_int_equal(network.address.family, AF_UNSPEC);
		assert_int_equal(network.prefix, 0);
	}
	assert_int_equal(destination_parse("everything", &network, &err), -1);
}

static void a_mac_is_six_bytes_in_either_case(void **state)
{
	static const uint8_t expected[MAC_BYTES] = {0x02, 0x00, 0x5e, 0xab, 0xcd, 0xef};
	uint8_t mac[MAC_BYTES];

	(void)state;
	assert_int_equal(mac_parse("02:00:5e:aB:Cd:ef", mac, &err), 0);
	assert_memory_equal(mac, expected, MAC_BYTES);
}

static void a_mac_of_another_form_is_refused(void **state)
{
	static const char *const wrong[] = {"", "02:00:5e:ab:cd",
		"02:00:5e:ab:cd:", "02:00:5e:ab:cd:e", "02:00:5e:ab:cd:ef:", "02-00-5e-ab-cd-ef",
		"2:0:5e:ab:cd:ef", "02:00:5e:ab:cd:eg"};
	uint8_t mac[MAC_BYTES];

	(void)state;
	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
		assert_int_equal(mac_parse(wrong[i], mac, &err), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_address_is_of_the_family_that_it_looks_like),
		cmocka_unit_test(what_is_no_address_is_quoted),
		cmocka_unit_test(a_mask_is_a_length_or_dotted),
		cmocka_unit_test(a_mask_that_no_address_has_is_refused),
		cmocka_unit_test(a_network_without_a_mask_is_one_address),
		cmocka_unit_test(a_network_that_is_none_is_quoted_as_a_whole),
		cmocka_unit_test(everything_has_many_names),
		cmocka_unit_test(a_mac_is_six_bytes_in_either_case),
		cmocka_unit_test(a_mac_of_another_form_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
