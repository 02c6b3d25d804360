/* SPDX-License-Identifier: Apache-2.0 */
/* The three ways to a host: virtio-serial, ISA serial, vsock. One is chosen, waited for and opened;
 * from then on a port is an fd. */
#ifndef TRANSPORT_H
#define TRANSPORT_H

#include "daemon.h"

/* What the kernel command line asks for. */
struct transport {
	bool isa_serial;
	uint32_t
		vsock_cid; /* not 0: vsock at once, whatever there is, for the host with this CID */
};

/* Waits, without a limit, until there is one, and fills in control_fd, tty_fd, listening, peer_cid and
 * ready_again. Unless asked otherwise that is virtio-serial, or, with neither port there after 2 s
 * but a vsock device, vsock. 0, or -1 with errno. */
int transport_await(const struct transport *asked, struct settings *settings);

#endif
