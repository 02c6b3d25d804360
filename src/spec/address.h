/* SPDX-License-Identifier: Apache-2.0 */
/* Network addresses as hosts write them: pure functions from text to bytes. */
#ifndef ADDRESS_H
#define ADDRESS_H

#include <stdint.h>
#include <sys/socket.h>

#include "base/error.h"

#define MAC_BYTES 6u

struct ip_address {
	int family; /* AF_INET or AF_INET6 */
	uint8_t bytes[16];
};

struct ip_network {
	struct ip_address address;
	unsigned prefix;
};

/* Bytes of an address: 4 or 16. */
unsigned ip_length(int family);

/* All return 0, or -1 with an err that quotes the text. */

/* Dotted quad, or IPv6. */
int ip_parse(const char *text, struct ip_address *out, struct error *err);

/* "24"; for IPv4 also "255.255.255.0". */
int mask_parse(const char *text, int family, unsigned *prefix, struct error *err);

/* "address/mask", or a single address, which is a network of one. */
int network_parse(const char *text, struct ip_network *out, struct error *err);

/* A network; NULL, "", "default", "any" and "all" are everything, of family AF_UNSPEC: the caller sets
 * the family. */
int destination_parse(const char *text, struct ip_network *out, struct error *err);

/* "02:00:5e:10:00:01", in either case. */
int mac_parse(const char *text, uint8_t mac[MAC_BYTES], struct error *err);

#endif
