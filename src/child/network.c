/* SPDX-License-Identifier: Apache-2.0 */
/* Interfaces, addresses and routes of the guest, set up as a host describes them.
 *
 * First all text is parsed and every device is found: most mistakes of a host end the child here,
 * before anything has changed. What the kernel refuses later is undone by the journal.
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
	const char *name; /* for messages: what the host calls it */
	uint8_t mac[MAC_BYTES];
	struct interface_address *addresses;
	size_t addresses_count;
	struct network_link link;
	bool is_order_kept; /* the journal restores the order of its addresses */
};

struct set_up {
	const struct child_network *network;
	struct journal *journal;
	struct plan *plans; /* one for each interface */
	int events;         /* a socket that reports changes of links; -1: none yet */
	uint64_t until;     /* of waiting for devices: clock_now() */
};

/* --- Text ------------------------------------------------------------------------------------- */

int interface_address_parse(
	const struct address_spec *spec, struct interface_address *out, struct error *err)
{
	const char *text = spec->ip_address;

	*out = (struct interface_address){.spec = spec, .removed = text && *text == '-'};
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

static void parse_interface(const struct interface_spec *spec, struct plan *plan)
{
	const size_t count = spec->ip_addresses_count;
	struct error err;

	plan->spec = spec;
	plan->name = spec->device ? spec->device : spec->mac_addr;
	plan->addresses = calloc(count + 1, sizeof(*plan->addresses));
	if (!plan->addresses)
		die("out of memory");
	if (!plan->name)
		die("neither device nor macAddr is given");
	if (!spec->device && mac_parse(spec->mac_addr, plan->mac, &err) < 0)
		die_error(&err);
	if (spec->new_device_name && strlen(spec->new_device_name) >= IFNAMSIZ)
		die("newDeviceName '%s' is longer than %u bytes", spec->new_device_name,
			IFNAMSIZ - 1);
	/* The old single form comes last. */
	for (size_t i = 0; i <= count; i++) {
		int rc = interface_address_parse(
			i < count ? &spec->ip_addresses[i] : &spec->ip_single,
			&plan->addresses[plan->addresses_count], &err);

		if (rc < 0)
			die("interface '%s': %s", plan->name, err.text);
		plan->addresses_count += rc > 0;
	}
}

/* --- Devices ---------------------------------------------------------------------------------- */

bool interface_address_matches(
	const struct interface_address *address, int index, const struct nlmsghdr *message)
{
	const struct ifaddrmsg *head = netlink_head(message, sizeof(*head));
	size_t length = ip_length(address->address.family);
	const void *local = netlink_find(message, sizeof(*head), IFA_LOCAL, length, NULL);

	if (!local) /* IPv6 without a peer */
		local = netlink_find(message, sizeof(*head), IFA_ADDRESS, length, NULL);
	return head && local && head->ifa_family == address->address.family &&
		head->ifa_prefixlen == address->prefix && head->ifa_index == (uint32_t)index &&
		memcmp(local, address->address.bytes, length) == 0;
}

static bool has_address(struct set_up *s, int index, const struct interface_address *address)
{
	struct netlink *netlink = &s->journal->netlink;
	struct error ignored;

	if (netlink_dump(netlink, RTM_GETADDR, &ignored) == 0)
		for_each_message (message, netlink->answer)
			if (interface_address_matches(address, index, message))
				return true;
	return false;
}

/* The link has all that the command asks for. */
static bool is_done(struct set_up *s, const struct plan *plan)
{
	if (plan->spec->mtu && plan->spec->mtu != plan->link.mtu)
		return false;
	for (size_t i = 0; i < plan->addresses_count; i++)
		if (plan->addresses[i].removed ||
			!has_address(s, plan->link.index, &plan->addresses[i]))
			return false;
	return true;
}

/* -1 with ENODEV: it may still come. */
static int find_device(struct set_up *s, struct plan *plan, struct error *err)
{
	const struct interface_spec *spec = plan->spec;
	struct netlink *netlink = &s->journal->netlink;

	if (network_link_find(
		    netlink, spec->device, spec->device ? NULL : plan->mac, &plan->link, err) == 0)
		return 0;
	/* When a host repeats a command the device already has its new name. */
	if (err->code == ENODEV && spec->device && spec->new_device_name &&
		network_link_find(netlink, spec->new_device_name, NULL, &plan->link, err) == 0)
		return is_done(s, plan) ? 0 : error_set(err, ENODEV, "no such device");
	return -1;
}

/* Waits until some link has changed. The event is rtnetlink's: the uevent comes before the link can be found
 * by its name. */
static void wait_for_link(struct set_up *s, const struct plan *plan)
{
	struct pollfd poller = {.events = POLLIN};
	uint64_t now = clock_now();
	char ignored[8192];

	if (s->events < 0) {
		/* The first time it only subscribes: the caller looks again before it waits. */
		s->events = netlink_socket(RTMGRP_LINK);
		(void)file_write("/sys/bus/pci/rescan", "1"); /* if there is such a bus */
		return;
	}
	poller.fd = s->events;
	if (poll(&poller, 1, now < s->until ? (int)(s->until - now) : 0) == 0)
		die("interface '%s': no such device, and none came", plan->name);
	while (recv(s->events, ignored, sizeof(ignored), MSG_DONTWAIT) > 0)
		;
}

static void find_devices(struct set_up *s)
{
	const struct settings *settings = s->network->settings;
	uint64_t most = settings->deadline_ms / 2; /* the packet filter may need the rest */
	struct error err;

	s->until = clock_now() + (settings->devices_ms < most ? settings->devices_ms : most);
	for (size_t i = 0; i < s->network->interfaces_count; i++)
		while (find_device(s, &s->plans[i], &err) < 0) {
			if (err.code != ENODEV)
				die("interface '%s': %s", s->plans[i].name, err.text);
			wait_for_link(s, &s->plans[i]);
		}
}

/* --- Links ------------------------------------------------------------------------------------ */

static void link_begin(struct netlink_request *request, int index, bool up, unsigned change)
{
	const struct ifinfomsg head = {
		.ifi_index = index,
		.ifi_flags = up ? IFF_UP : 0,
		.ifi_change = change,
	};

	netlink_begin(request, RTM_NEWLINK, 0, &head, sizeof(head));
}

static int link_set_up(
	struct journal *journal, const struct network_link *link, bool up, struct error *err)
{
	struct netlink_request request, inverse;

	link_begin(&request, link->index, up, IFF_UP);
	link_begin(&inverse, link->index, !up, IFF_UP);
	if (journal_do(journal, &request, &inverse, err) < 0)
		return error_wrap(err, "set %s", up ? "up" : "down");
	return 0;
}

/* Changes an attribute of `length` bytes. */
static int link_set(struct journal *journal, int index, uint16_t type, const void *to,
	const void *from, size_t length, struct error *err)
{
	struct netlink_request request, inverse;

	link_begin(&request, index, false, 0);
	netlink_put(&request, type, to, length);
	link_begin(&inverse, index, false, 0);
	netlink_put(&inverse, type, from, length);
	return journal_do(journal, &request, &inverse, err);
}

/* In two steps, first to a name that no other link has: two links may swap names. Before Linux 6.2 only a
 * link that is down can be renamed. */
static int set_names(struct set_up *s, struct error *err)
{
	bool is_any = false;

	for (int step = 0; step < 2; step++)
		for (size_t i = 0; i < s->network->interfaces_count; i++) {
			const struct network_link *link = &s->plans[i].link;
			const char *name = s->plans[i].spec->new_device_name;
			char names[3][IFNAMSIZ] = {""};

			if (!name || strcmp(name, link->name) == 0)
				continue;
			is_any = true;
			format(names[0], IFNAMSIZ, "%s", link->name);
			format(names[1], IFNAMSIZ, "rename%d", link->index);
			format(names[2], IFNAMSIZ, "%s", name);
			if ((step == 0 && link->is_up &&
				    link_set_up(s->journal, link, false, err) < 0) ||
				link_set(s->journal, link->index, IFLA_IFNAME, names[step + 1],
					names[step], IFNAMSIZ, err) < 0 ||
				(step == 1 && link->is_up &&
					link_set_up(s->journal, link, true, err) < 0))
				return error_wrap(err, "interface '%s': new name '%s'", link->name,
					names[step + 1]);
		}
	if (is_any)
		journal_refill(s->journal);
	return 0;
}

/* --- Interfaces ------------------------------------------------------------------------------- */

static void address_begin(struct netlink_request *request, uint16_t type, int index,
	const struct interface_address *address, unsigned prefix)
{
	const struct ip_address *ip = &address->address;
	unsigned length = ip_length(ip->family);
	const struct ifaddrmsg head = {
		.ifa_family = (uint8_t)ip->family,
		.ifa_prefixlen = (uint8_t)prefix,
		/* Usable at once: no other host on this wire has it. */
		.ifa_flags = ip->family == AF_INET6 ? IFA_F_NODAD : 0,
		.ifa_index = (uint32_t)index,
	};
	uint8_t broadcast[4];

	netlink_begin(request, type, type == RTM_NEWADDR ? NLM_F_CREATE | NLM_F_EXCL : 0, &head,
		sizeof(head));
	netlink_put(request, IFA_LOCAL, ip->bytes, length);
	netlink_put(request, IFA_ADDRESS, ip->bytes, length);
	if (ip->family == AF_INET && prefix < 31 && type == RTM_NEWADDR) {
		store_be32(broadcast, load_be32(ip->bytes) | UINT32_MAX >> prefix);
		netlink_put(request, IFA_BROADCAST, broadcast, sizeof(broadcast));
	}
}

static int add_address(struct set_up *s, const struct plan *plan,
	const struct interface_address *address, struct error *err)
{
	struct netlink_request request, inverse;

	address_begin(&request, RTM_NEWADDR, plan->link.index, address, address->prefix);
	address_begin(&inverse, RTM_DELADDR, plan->link.index, address, address->prefix);
	if (journal_do(s->journal, &request, &inverse, err) == 0)
		return 0;
	if (err->code != EEXIST)
		return -1;
	/* The same address with another netmask is in the way. */
	return has_address(s, plan->link.index, address)
		? 0
		: error_set(err, EEXIST, "it is there with another netmask");
}

/* Without a mask: whatever mask it has. One that does not exist is no error. */
static int remove_address(struct set_up *s, struct plan *plan,
	const struct interface_address *address, struct error *err)
{
	unsigned first = address->any_mask ? 0 : address->prefix;
	unsigned last = address->any_mask ? ip_length(address->address.family) * 8 : first;
	struct netlink *netlink = &s->journal->netlink;
	struct netlink_request request;

	/* The first address of a network is the source of what is sent. To restore that, the inverse removes
	 * all IPv4 addresses, before those that the journal kept are added in their order. */
	if (!plan->is_order_kept) {
		if (netlink_dump(netlink, RTM_GETADDR, err) < 0)
			return -1;
		for_each_message (message, netlink->answer) {
			const struct ifaddrmsg *head = netlink_head(message, sizeof(*head));

			if (head && head->ifa_family == AF_INET &&
				head->ifa_index == (uint32_t)plan->link.index &&
				journal_push(s->journal, RTM_DELADDR, head,
					message->nlmsg_len - NLMSG_HDRLEN, err) < 0)
				return -1;
		}
		plan->is_order_kept = true;
	}
	/* Without this the kernel deletes all addresses of a network with its first one. */
	(void)file_write("/proc/sys/net/ipv4/conf/all/promote_secondaries", "1");
	for (unsigned prefix = first; prefix <= last; prefix++) {
		address_begin(&request, RTM_DELADDR, plan->link.index, address, prefix);
		if (netlink_ask(netlink, &request.header, err) < 0 && err->code != EADDRNOTAVAIL)
			return -1;
	}
	return 0;
}

static int set_interface(struct set_up *s, struct plan *plan, struct error *err)
{
	const struct interface_spec *spec = plan->spec;
	struct network_link *link = &plan->link;
	char accept_ra[64];

	/* Again: it may have a new name. */
	if (network_link_find(&s->journal->netlink, NULL, NULL, link, err) < 0)
		return -1;
	/* Before the MTU: a device whose MTU grows to IPv6's minimum gets the kernel's default back. */
	format(accept_ra, sizeof(accept_ra), "/proc/sys/net/ipv6/conf/%s/accept_ra", link->name);
	if (journal_push_file(s->journal, accept_ra, err) < 0)
		return -1;
	if (spec->mtu && spec->mtu != link->mtu &&
		link_set(s->journal, link->index, IFLA_MTU, &spec->mtu, &link->mtu,
			sizeof(link->mtu), err) < 0)
		return error_wrap(err, "mtu %u", spec->mtu);
	/* A link with addresses from the host accepts no addresses or routes from IPv6 routers
	 * (CVE-2020-13401: a container plays a router). Before it is up. */
	if (spec->ip_addresses_count > 0 || spec->ip_single.ip_address)
		(void)file_write(accept_ra, "0");
	if (!link->is_up && link_set_up(s->journal, link, true, err) < 0)
		return -1;
	for (size_t i = 0; i < plan->addresses_count; i++) {
		const struct interface_address *address = &plan->addresses[i];
		const char *mask = address->spec->net_mask;

		if ((address->removed ? remove_address(s, plan, address, err)
				      : add_address(s, plan, address, err)) < 0)
			return error_wrap(err, "address '%s/%s'", address->spec->ip_address,
				mask ? mask : "");
	}
	return 0;
}

static int set_lo_up(struct set_up *s, struct error *err)
{
	static const struct interface_address address = {
		.address = {.family = AF_INET, .bytes = {127, 0, 0, 1}},
	};
	struct netlink_request inverse;
	struct network_link lo;

	if (network_link_find(&s->journal->netlink, "lo", NULL, &lo, err) < 0 || lo.is_up)
		return 0;
	/* The kernel adds this address when lo goes up, and keeps it when lo goes down. */
	address_begin(&inverse, RTM_DELADDR, lo.index, &address, 8);
	if (journal_push(s->journal, RTM_DELADDR, inverse.body,
		    inverse.header.nlmsg_len - NLMSG_HDRLEN, err) < 0)
		return -1;
	return link_set_up(s->journal, &lo, true, err) < 0 ? error_wrap(err, "interface 'lo'") : 0;
}

/* --- All of it -------------------------------------------------------------------------------- */

void network_set_up(const struct child_network *network, struct journal *journal)
{
	static struct plan plans[INTERFACES_MAX];
	static struct route routes[ROUTES_MAX];
	struct set_up s = {.network = network, .journal = journal, .plans = plans, .events = -1};
	const size_t count = network->interfaces_count;
	struct error err;
	int rc;

	if (count > INTERFACES_MAX)
		die("%zu interfaces: more than %u", count, INTERFACES_MAX);
	for (size_t i = 0; i < count; i++)
		parse_interface(&network->interfaces[i], &plans[i]);
	if (routes_parse(network->routes, network->routes_count, routes, &err) < 0)
		die_error(&err);
	find_devices(&s);
	if (journal_keep(journal, &err) < 0)
		die_error(&err);

	rc = set_lo_up(&s, &err);
	if (rc == 0)
		rc = set_names(&s, &err);
	for (size_t i = 0; i < count && rc == 0; i++) {
		rc = set_interface(&s, &plans[i], &err);
		if (rc < 0)
			error_wrap(&err, "interface '%s'", plans[i].name);
	}
	if (rc == 0)
		rc = routes_add(routes, network->routes_count, journal, &err);
	if (rc < 0) {
		journal_undo(journal);
		die_error(&err);
	}
}

void child_network_set_up(const void *child_network)
{
	struct journal journal;

	journal_open(&journal);
	network_set_up(child_network, &journal);
	report_done(NULL, 0);
}

/* The file below /sys that removes its PCI function. The driver says which function that is, because /sys may
 * show the devices of another network namespace. */
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
	struct network_link link;
	struct journal journal;
	struct error err;
	int fd;

	journal_open(&journal);
	if (journal_keep(&journal, &err) < 0)
		die_error(&err);
	if (network_link_find(&journal.netlink, device, NULL, &link, &err) < 0)
		die("interface '%s': %s", device, err.text);
	fd = pci_remove_open(device);
	if (link.is_up && link_set_up(&journal, &link, false, &err) < 0)
		die("interface '%s': %s", device, err.text);
	if (write(fd, "1", 1) < 0) {
		int code = errno;

		journal_undo(&journal);
		errno = code;
		die_errno("interface '%s': remove its PCI function", device);
	}
	report_done(NULL, 0);
}
