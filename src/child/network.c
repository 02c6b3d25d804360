/* SPDX-License-Identifier: Apache-2.0 */
/* Interfaces, addresses and routes of the guest, set up as a host describes them.
 *
 * First all text is understood and every device is found, so that most of what a host may get wrong
 * is refused before anything has changed. What the kernel refuses later is undone by the state from
 * before.
 */
#include "child/network.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <linux/ethtool.h>
#include <linux/if_addr.h>
#include <linux/rtnetlink.h>
#include <linux/sockios.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/format.h"
#include "child/child.h"
#include "child/route.h"

/* One interface of the command. */
struct plan {
	const struct interface_spec *spec;
	uint8_t mac[MAC_BYTES];
	struct network_link link;
};

struct set_up {
	const struct child_network *network;
	struct netlink *netlink;
	struct network_state *before;
	struct plan *plans;   /* one for each interface */
	struct route *routes; /* one for each route */
	int events;           /* tells of new links; -1: not asked for yet */
	uint64_t until;       /* ms, of waiting for them */
};

/* --- Text ------------------------------------------------------------------------------------- */

int interface_address_parse(
	const struct address_spec *spec, struct interface_address *out, struct error *err)
{
	const char *text = spec->ip_address;

	memset(out, 0, sizeof(*out));
	out->removed = text && *text == '-';
	if (out->removed)
		text++;
	if (!text || !*text)
		return 0;
	if (ip_parse(text, &out->address, err) < 0)
		return -1;
	out->any_mask = out->removed && !spec->net_mask;
	if (out->any_mask)
		return 1;
	if (!spec->net_mask)
		return error_set(err, EINVAL, "address '%s' has no netmask", text);
	if (mask_parse(spec->net_mask, out->address.family, &out->prefix, err) < 0)
		return error_wrap(err, "address '%s'", text);
	return 1;
}

/* What a message calls an interface: the name that the host used. */
static const char *interface_name(const struct interface_spec *spec)
{
	return spec->device ? spec->device : spec->mac_addr;
}

/* The i-th address; the old single form comes last. */
static const struct address_spec *address_at(const struct interface_spec *spec, size_t i)
{
	return i < spec->ip_addresses_count ? &spec->ip_addresses[i] : &spec->ip_single;
}

static int parse_interface(const struct interface_spec *spec, struct plan *plan, struct error *err)
{
	struct interface_address address;

	plan->spec = spec;
	if (!interface_name(spec))
		return error_set(err, EINVAL, "neither device nor macAddr is given");
	if (!spec->device && mac_parse(spec->mac_addr, plan->mac, err) < 0)
		return -1;
	if (spec->new_device_name && strlen(spec->new_device_name) >= IFNAMSIZ)
		return error_set(err, EINVAL, "newDeviceName '%s' is longer than %u bytes",
			spec->new_device_name, IFNAMSIZ - 1);
	for (size_t i = 0; i <= spec->ip_addresses_count; i++)
		if (interface_address_parse(address_at(spec, i), &address, err) < 0)
			return error_wrap(err, "interface '%s'", interface_name(spec));
	return 0;
}

static int parse_all(struct set_up *s, struct error *err)
{
	const struct child_network *network = s->network;

	/* -1 in words: the analyzer does not see into error_set(). */
	if (network->interfaces_count > INTERFACES_MAX) {
		error_set(err, E2BIG, "%zu interfaces: more than %u", network->interfaces_count,
			INTERFACES_MAX);
		return -1;
	}
	s->plans = calloc(network->interfaces_count + 1, sizeof(*s->plans));
	if (!s->plans) {
		error_memory(err);
		return -1;
	}
	for (size_t i = 0; i < network->interfaces_count; i++)
		if (parse_interface(&network->interfaces[i], &s->plans[i], err) < 0)
			return -1;
	s->routes = routes_parse(network->routes, network->routes_count, err);
	return s->routes ? 0 : -1;
}

/* --- Devices ---------------------------------------------------------------------------------- */

/* Nothing is left to be done about it on this link. */
static bool is_done(
	const struct network_state *state, const struct plan *plan, const struct network_link *link)
{
	const struct interface_spec *spec = plan->spec;
	struct interface_address address;
	struct error ignored;

	if (spec->mtu && spec->mtu != link->mtu)
		return false;
	for (size_t i = 0; i <= spec->ip_addresses_count; i++)
		if (interface_address_parse(address_at(spec, i), &address, &ignored) > 0 &&
			(address.removed ||
				!network_state_has_address(
					state, link->index, &address.address, address.prefix)))
			return false;
	return true;
}

static bool find_device(struct set_up *s, struct plan *plan)
{
	const struct interface_spec *spec = plan->spec;

	if (network_state_find(s->before, spec->device, plan->mac, &plan->link))
		return true;
	/* The same command again: the device has its new name by now. */
	return spec->device && spec->new_device_name &&
		network_state_find(s->before, spec->new_device_name, NULL, &plan->link) &&
		is_done(s->before, plan, &plan->link);
}

/* Until some link has changed; -1 with err when nothing came in time. The kernel's word that a link
 * is there is not the uevent: that one comes before it can be found by its name. */
static int await_event(struct set_up *s, struct error *err)
{
	struct pollfd poller = {.fd = s->events, .events = POLLIN};
	uint64_t now = clock_now();
	char ignored[8192];
	int ready = poll(&poller, 1, now < s->until ? (int)(s->until - now) : 0);

	if (ready < 0 && errno != EINTR)
		return error_errno(err, "poll");
	if (ready == 0)
		return error_set(err, ENODEV, "no such device, and none came");
	while (recv(s->events, ignored, sizeof(ignored), MSG_DONTWAIT) > 0)
		;
	return 0;
}

/* Fills s->before, with the device in it. */
static int await_device(struct set_up *s, struct plan *plan, struct error *err)
{
	if (find_device(s, plan))
		return 0;
	if (s->events < 0) {
		/* Listening first, so that none can come between a look and the wait. */
		s->events = netlink_socket(RTMGRP_LINK, err);
		if (s->events < 0)
			return -1;
		(void)file_write("/sys/bus/pci/rescan", "1"); /* if there is such a bus */
	}
	for (;;) {
		if (network_state_read(s->before, s->netlink, err) < 0)
			return -1;
		if (find_device(s, plan))
			return 0;
		if (await_event(s, err) < 0)
			return -1;
	}
}

static int await_devices(struct set_up *s, struct error *err)
{
	uint64_t wait = s->network->deadline_ms / 2; /* the packet filter may need the rest */

	s->until = clock_now() + (wait < DEVICE_WAIT_MS ? wait : DEVICE_WAIT_MS);
	if (network_state_read(s->before, s->netlink, err) < 0)
		return -1;
	for (size_t i = 0; i < s->network->interfaces_count; i++)
		if (await_device(s, &s->plans[i], err) < 0)
			return error_wrap(err, "interface '%s'", interface_name(s->plans[i].spec));
	return 0;
}

/* --- Interfaces ------------------------------------------------------------------------------- */

static int change_address(struct netlink *netlink, const struct network_link *link,
	const struct interface_address *address, unsigned prefix, struct error *err)
{
	const struct ip_address *ip = &address->address;
	unsigned length = ip_length(ip->family);
	const struct ifaddrmsg head = {
		.ifa_family = (uint8_t)ip->family,
		.ifa_prefixlen = (uint8_t)prefix,
		/* Usable at once: nobody else on this wire has it. */
		.ifa_flags = ip->family == AF_INET6 ? IFA_F_NODAD : 0,
		.ifa_index = (uint32_t)link->index,
	};
	struct netlink_request request;
	uint8_t broadcast[4];

	netlink_begin(&request, address->removed ? RTM_DELADDR : RTM_NEWADDR,
		address->removed ? 0 : NLM_F_CREATE | NLM_F_EXCL, &head, sizeof(head));
	netlink_put(&request, IFA_LOCAL, ip->bytes, length);
	netlink_put(&request, IFA_ADDRESS, ip->bytes, length);
	if (ip->family == AF_INET && prefix < 31 && !address->removed) {
		store_be32(broadcast, load_be32(ip->bytes) | UINT32_MAX >> prefix);
		netlink_put(&request, IFA_BROADCAST, broadcast, sizeof(broadcast));
	}
	return netlink_ask(netlink, &request, err);
}

static int add_address(struct set_up *s, const struct plan *plan,
	const struct interface_address *address, struct error *err)
{
	struct network_state now = {0};
	bool is_there;

	if (change_address(s->netlink, &plan->link, address, address->prefix, err) == 0)
		return 0;
	if (err->code != EEXIST)
		return -1;
	/* Just this one, or one that stands in its way? */
	is_there = network_state_read(&now, s->netlink, err) == 0 &&
		network_state_has_address(
			&now, plan->link.index, &address->address, address->prefix);
	network_state_free(&now);
	return is_there ? 0 : error_set(err, EEXIST, "it is there with another netmask");
}

/* Without a mask: whatever it has. One that is not there is no error. */
static int remove_address(struct set_up *s, const struct plan *plan,
	const struct interface_address *address, struct error *err)
{
	unsigned first = address->any_mask ? 0 : address->prefix;
	unsigned last = address->any_mask ? ip_length(address->address.family) * 8 : first;

	/* With the first of a network's addresses the kernel deletes the others, unless told not to. */
	(void)file_write("/proc/sys/net/ipv4/conf/all/promote_secondaries", "1");
	for (unsigned prefix = first; prefix <= last; prefix++)
		if (change_address(s->netlink, &plan->link, address, prefix, err) < 0 &&
			err->code != EADDRNOTAVAIL)
			return -1;
	return 0;
}

static int set_addresses(struct set_up *s, const struct plan *plan, struct error *err)
{
	for (size_t i = 0; i <= plan->spec->ip_addresses_count; i++) {
		const struct address_spec *spec = address_at(plan->spec, i);
		struct interface_address address;
		int rc = interface_address_parse(spec, &address, err);

		if (rc > 0)
			rc = address.removed ? remove_address(s, plan, &address, err)
					     : add_address(s, plan, &address, err);
		if (rc < 0)
			return error_wrap(err, "address '%s/%s'", spec->ip_address,
				spec->net_mask ? spec->net_mask : "");
	}
	return 0;
}

static int set_names(struct set_up *s, struct error *err)
{
	size_t interfaces = s->network->interfaces_count, count = 0;
	struct network_rename *renames = calloc(interfaces + 1, sizeof(*renames));
	int rc = -1;

	if (!renames)
		return error_memory(err);
	for (size_t i = 0; i < interfaces; i++) {
		const char *name = s->plans[i].spec->new_device_name;

		if (!name || strcmp(name, s->plans[i].link.name) == 0)
			continue;
		renames[count].link = s->plans[i].link;
		format(renames[count++].to, IFNAMSIZ, "%s", name);
	}
	rc = network_links_rename(s->netlink, renames, count, err);
	if (rc == 0 && count > 0)
		network_state_refill(s->before, s->netlink);
	free(renames);
	return rc;
}

static int set_interface(struct set_up *s, const struct plan *plan, struct error *err)
{
	const struct interface_spec *spec = plan->spec;
	uint32_t mtu = spec->mtu;

	if (mtu && mtu != plan->link.mtu &&
		network_link_set_mtu(s->netlink, &plan->link, mtu, err) < 0)
		return -1;
	/* Who has addresses of a host's gets none, and no routes, from what else is on its wire
	 * (CVE-2020-13401: a container that plays a router). Before it is up. */
	if (spec->ip_addresses_count > 0 || spec->ip_single.ip_address)
		network_link_set_accept_ra(
			spec->new_device_name ? spec->new_device_name : plan->link.name, 0);
	if (network_link_set_up(s->netlink, &plan->link, true, err) < 0)
		return -1;
	return set_addresses(s, plan, err);
}

static int set_interfaces(struct set_up *s, struct error *err)
{
	struct network_link lo;

	if (network_state_find(s->before, "lo", NULL, &lo) && !lo.is_up &&
		network_link_set_up(s->netlink, &lo, true, err) < 0)
		return error_wrap(err, "interface 'lo'");
	if (set_names(s, err) < 0)
		return -1;
	for (size_t i = 0; i < s->network->interfaces_count; i++)
		if (set_interface(s, &s->plans[i], err) < 0)
			return error_wrap(err, "interface '%s'", interface_name(s->plans[i].spec));
	return 0;
}

/* --- All of it -------------------------------------------------------------------------------- */

int network_set_up(const struct child_network *network, struct network_state *before,
	struct netlink *netlink, struct error *err)
{
	struct set_up s = {
		.network = network,
		.netlink = netlink,
		.before = before,
		.events = -1,
	};
	int rc = -1;

	if (parse_all(&s, err) < 0 || await_devices(&s, err) < 0)
		goto out;
	rc = set_interfaces(&s, err);
	if (rc == 0)
		rc = routes_add(s.routes, network->routes_count, netlink, err);
	if (rc < 0)
		network_state_restore(before, netlink);
out:
	free(s.plans);
	free(s.routes);
	fd_close(&s.events);
	return rc;
}

void child_network_set_up(const void *child_network)
{
	struct network_state before = {0};
	struct netlink netlink;
	struct error err;

	if (netlink_open(&netlink, &err) < 0 ||
		network_set_up(child_network, &before, &netlink, &err) < 0)
		die_error(&err);
	report_done(NULL, 0);
}

/* Where its PCI function is below /sys. The driver is asked, for /sys may show the devices of another
 * network namespace. */
static int pci_remove_open(const char *device)
{
	struct ethtool_drvinfo info = {.cmd = ETHTOOL_GDRVINFO};
	struct ifreq request = {.ifr_data = (void *)&info};
	char path[128];
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	format(request.ifr_name, sizeof(request.ifr_name), "%s", device);
	if (fd < 0 || ioctl(fd, SIOCETHTOOL, &request) < 0)
		info.bus_info[0] = '\0';
	close(fd);
	format(path, sizeof(path), "/sys/bus/pci/devices/%.*s/remove",
		(int)strnlen(info.bus_info, sizeof(info.bus_info)), info.bus_info);
	fd = info.bus_info[0] ? open(path, O_WRONLY | O_CLOEXEC) : -1;
	if (fd < 0)
		die("interface '%s' is no PCI device", device);
	return fd;
}

void child_network_remove(const void *device_spec)
{
	const char *device = ((const struct device_spec *)device_spec)->device;
	struct network_state before = {0};
	struct network_link link;
	struct netlink netlink;
	struct error err;
	int fd;

	if (netlink_open(&netlink, &err) < 0 || network_state_read(&before, &netlink, &err) < 0)
		die_error(&err);
	if (!network_state_find(&before, device, NULL, &link))
		die("interface '%s': no such device", device);
	fd = pci_remove_open(device);
	if (network_link_set_up(&netlink, &link, false, &err) < 0)
		die("interface '%s': %s", device, err.text);
	if (write(fd, "1", 1) < 0) {
		int code = errno;

		network_state_restore(&before, &netlink);
		errno = code;
		die_errno("interface '%s': remove its PCI function", device);
	}
	report_done(NULL, 0);
}
