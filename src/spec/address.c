/* SPDX-License-Identifier: Apache-2.0 */
/* Network addresses as hosts write them: pure functions from text to bytes. */
#include "spec/address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

#include "base/bytes.h"
#include "base/count.h"
#include "base/number.h"

unsigned ip_length(int family)
{
	return family == AF_INET ? 4 : 16;
}

int ip_parse(const char *text, struct ip_address *out, struct error *err)
{
	out->family = strchr(text, ':') ? AF_INET6 : AF_INET;
	memset(out->bytes, 0, sizeof(out->bytes));
	if (inet_pton(out->family, text, out->bytes) != 1)
		return error_set(err, EINVAL, "'%s' is no IP address", text);
	return 0;
}

int mask_parse(const char *text, int family, unsigned *prefix, struct error *err)
{
	unsigned most = ip_length(family) * 8;
	uint64_t number;
	uint8_t bytes[4];
	uint32_t host_bits;

	if (number_parse(text, most, &number)) {
		*prefix = (unsigned)number;
		return 0;
	}
	if (family == AF_INET && inet_pton(AF_INET, text, bytes) == 1) {
		host_bits = ~load_be32(bytes);
		*prefix = host_bits ? (unsigned)__builtin_clz(host_bits) : 32;
		if (!(host_bits & (host_bits + 1))) /* no hole */
			return 0;
	}
	return error_set(err, EINVAL, "'%s' is no netmask: expected 0 to %u%s", text, most,
		family == AF_INET ? " or 255.255.255.0" : "");
}

int network_parse(const char *text, struct ip_network *out, struct error *err)
{
	const char *slash = strchr(text, '/');
	size_t length = slash ? (size_t)(slash - text) : strlen(text);
	char address[64]; /* longer than any address */
	struct error why;

	if (length >= sizeof(address))
		return error_set(err, EINVAL, "'%s' is no network", text);
	memcpy(address, text, length);
	address[length] = '\0';
	if (ip_parse(address, &out->address, err) < 0)
		return -1;
	out->prefix = ip_length(out->address.family) * 8;
	if (slash && mask_parse(slash + 1, out->address.family, &out->prefix, &why) < 0)
		return error_set(err, EINVAL, "'%s': %s", text, why.text);
	return 0;
}

int destination_parse(const char *text, struct ip_network *out, struct error *err)
{
	static const char *const everything[] = {"", "default", "any", "all"};

	for (size_t i = 0; i < COUNT(everything); i++) {
		if (!text || strcmp(text, everything[i]) == 0) {
			*out = (struct ip_network){.address = {.family = AF_UNSPEC}};
			return 0;
		}
	}
	return network_parse(text, out, err);
}

static int hex_digit(char c)
{
	static const char digits[] = "0123456789abcdef";
	const char *at = c ? strchr(digits, c >= 'A' && c <= 'F' ? c - 'A' + 'a' : c) : NULL;

	return at ? (int)(at - digits) : -1;
}

int mac_parse(const char *text, uint8_t mac[MAC_BYTES], struct error *err)
{
	const char *at = text;

	for (size_t i = 0; i < MAC_BYTES; i++) {
		int high = hex_digit(at[0]), low = high < 0 ? -1 : hex_digit(at[1]);

		if (low < 0 || at[2] != (i + 1 < MAC_BYTES ? ':' : '\0'))
			return error_set(err, EINVAL, "'%s' is no MAC address", text);
		mac[i] = (uint8_t)(high << 4 | low);
		at += 3;
	}
	return 0;
}
