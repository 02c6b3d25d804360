/* SPDX-License-Identifier: Apache-2.0 */
/* Interfaces, addresses and routes of the guest, set up as a host describes them.
 *
 * First all text is understood and every device is found, so that most of what a host may get wrong
 * is refused before anything has changed. What the kernel refuses later is undone by the journal.
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
	bool is_order_kept; /* what restores the order of its addresses is in the journal */
};

struct set_up {
	const struct child_network *network;
	struct journal *journal;
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

bool interface_address_is_told(
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
			if (interface_address_is_told(address, index, message))
				return true;
	return false;
}

/* Nothing is left to be done about it on this link. */
static bool is_done(struct set_up *s, const struct plan *plan)
{
	const struct interface_spec *spec = plan->spec;
	struct interface_address address;
	struct error ignored;

	if (spec->mtu && spec->mtu != plan->link.mtu)
		return false;
	for (size_t i = 0; i <= spec->ip_addresses_count; i++)
		if (interface_address_parse(address_at(spec, i), &address, &ignored) > 0 &&
			(address.removed || !has_address(s, plan->link.index, &address)))
			return false;
	return true;
}

/* -1 with ENODEV: it is not there yet. */
static int find_device(struct set_up *s, struct plan *plan, struct error *err)
{
	const struct interface_spec *spec = plan->spec;
	struct netlink *netlink = &s->journal->netlink;

	if (network_link_find(
		    netlink, spec->device, spec->device ? NULL : plan->mac, &plan->link, err) == 0)
		return 0;
	/* The same command again: the device has its new name by now. */
	if (err->code == ENODEV && spec->device && spec->new_device_name &&
		network_link_find(netlink, spec->new_device_name, NULL, &plan->link, err) == 0)
		return is_done(s, plan) ? 0 : error_set(err, ENODEV, "no such device");
	return -1;
}

/* Until some link has changed; -1 with err when nothing came in time. The kernel's word that a link
 * is there is not the uevent: that one comes before it can be found by its name. */
static int await_event(struct set_up *s, struct error *err)
{
	struct pollfd poller = {.events = POLLIN};
	uint64_t now = clock_now();
	char ignored[8192];
	int ready;

	if (s->events < 0) {
		/* At first just listening, so that none can come between a look and the wait. */
		s->events = netlink_socket(RTMGRP_LINK, err);
		(void)file_write("/sys/bus/pci/rescan", "1"); /* if there is such a bus */
		return s->events < 0 ? -1 : 0;
	}
	poller.fd = s->events;
	ready = poll(&poller, 1, now < s->until ? (int)(s->until - now) : 0);
	if (ready < 0 && errno != EINTR)
		return error_errno(err, "poll");
	if (ready == 0)
		return error_set(err, ENODEV, "no such device, and none came");
	while (recv(s->events, ignored, sizeof(ignored), MSG_DONTWAIT) > 0)
		;
	return 0;
}

static int await_devices(struct set_up *s, struct error *err)
{
	uint64_t wait = s->network->deadline_ms / 2; /* the packet filter may need the rest */

	s->until = clock_now() + (wait < DEVICE_WAIT_MS ? wait : DEVICE_WAIT_MS);
	for (size_t i = 0; i < s->network->interfaces_count; i++)
		while (find_device(s, &s->plans[i], err) < 0)
			if (err->code != ENODEV || await_event(s, err) < 0)
				return error_wrap(
					err, "interface '%s'", interface_name(s->plans[i].spec));
	return 0;
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

/* An attribute of `length` bytes: what it becomes, and what it is. */
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

/* In two steps: to a name that no other has, for two may change places, and to the new one. Before Linux
 * 6.2 only a link that is down can get one. */
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
		/* Usable at once: nobody else on this wire has it. */
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
	/* Just this one, or one that stands in its way? */
	return has_address(s, plan->link.index, address)
		? 0
		: error_set(err, EEXIST, "it is there with another netmask");
}

/* The first of a network's addresses is its own on the way out. So the inverse of a removal is that all
 * IPv4 addresses go, before those that are kept are made again in their order. */
static int push_order(struct journal *journal, int index, struct error *err)
{
	if (netlink_dump(&journal->netlink, RTM_GETADDR, err) < 0)
		return -1;
	for_each_message (message, journal->netlink.answer) {
		const struct ifaddrmsg *head = netlink_head(message, sizeof(*head));

		if (head && head->ifa_family == AF_INET && head->ifa_index == (uint32_t)index &&
			journal_push(journal, RTM_DELADDR, head, message->nlmsg_len - NLMSG_HDRLEN,
				err) < 0)
			return -1;
	}
	return 0;
}

/* Without a mask: whatever it has. One that is not there is no error. */
static int remove_address(struct set_up *s, struct plan *plan,
	const struct interface_address *address, struct error *err)
{
	unsigned first = address->any_mask ? 0 : address->prefix;
	unsigned last = address->any_mask ? ip_length(address->address.family) * 8 : first;
	struct netlink_request request;

	if (!plan->is_order_kept && push_order(s->journal, plan->link.index, err) < 0)
		return -1;
	plan->is_order_kept = true;
	/* With the first of a network's addresses the kernel deletes the others, unless told not to. */
	(void)file_write("/proc/sys/net/ipv4/conf/all/promote_secondaries", "1");
	for (unsigned prefix = first; prefix <= last; prefix++) {
		address_begin(&request, RTM_DELADDR, plan->link.index, address, prefix);
		if (netlink_ask(&s->journal->netlink, &request.header, err) < 0 &&
			err->code != EADDRNOTAVAIL)
			return -1;
	}
	return 0;
}

static int set_addresses(struct set_up *s, struct plan *plan, struct error *err)
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

static int set_interface(struct set_up *s, struct plan *plan, struct error *err)
{
	const struct interface_spec *spec = plan->spec;
	struct network_link *link = &plan->link;
	char accept_ra[64];

	/* It has its new name by now. */
	if (network_link_find(&s->journal->netlink, NULL, NULL, link, err) < 0)
		return -1;
	/* Pushed before the MTU's: a device that grows to IPv6's least MTU begins anew with the
	 * kernel's own. */
	format(accept_ra, sizeof(accept_ra), "/proc/sys/net/ipv6/conf/%s/accept_ra", link->name);
	if (journal_push_file(s->journal, accept_ra, err) < 0)
		return -1;
	if (spec->mtu && spec->mtu != link->mtu &&
		link_set(s->journal, link->index, IFLA_MTU, &spec->mtu, &link->mtu,
			sizeof(link->mtu), err) < 0)
		return error_wrap(err, "mtu %u", spec->mtu);
	/* Who has addresses of a host's gets none, and no routes, from what else is on its wire
	 * (CVE-2020-13401: a container that plays a router). Before it is up. */
	if (spec->ip_addresses_count > 0 || spec->ip_single.ip_address)
		(void)file_write(accept_ra, "0");
	if (!link->is_up && link_set_up(s->journal, link, true, err) < 0)
		return -1;
	return set_addresses(s, plan, err);
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
	/* It gets this one when it goes up, and keeps it. */
	address_begin(&inverse, RTM_DELADDR, lo.index, &address, 8);
	if (journal_push(s->journal, RTM_DELADDR, inverse.body,
		    inverse.header.nlmsg_len - NLMSG_HDRLEN, err) < 0)
		return -1;
	return link_set_up(s->journal, &lo, true, err);
}

static int set_interfaces(struct set_up *s, struct error *err)
{
	if (set_lo_up(s, err) < 0)
		return error_wrap(err, "interface 'lo'");
	if (set_names(s, err) < 0)
		return -1;
	for (size_t i = 0; i < s->network->interfaces_count; i++)
		if (set_interface(s, &s->plans[i], err) < 0)
			return error_wrap(err, "interface '%s'", interface_name(s->plans[i].spec));
	return 0;
}

/* --- All of it -------------------------------------------------------------------------------- */

int network_set_up(const struct child_network *network, struct journal *journal, struct error *err)
{
	struct set_up s = {.network = network, .journal = journal, .events = -1};
	int rc = -1;

	if (parse_all(&s, err) < 0 || await_devices(&s, err) < 0 || journal_keep(journal, err) < 0)
		goto out;
	rc = set_interfaces(&s, err);
	if (rc == 0)
		rc = routes_add(s.routes, network->routes_count, journal, err);
	if (rc < 0)
		journal_undo(journal);
out:
	free(s.plans);
	free(s.routes);
	fd_close(&s.events);
	return rc;
}

void child_network_set_up(const void *child_network)
{
	struct journal journal;
	struct error err;

	if (journal_open(&journal, &err) < 0 || network_set_up(child_network, &journal, &err) < 0)
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
	struct network_link link;
	struct journal journal;
	struct error err;
	int fd;

	if (journal_open(&journal, &err) < 0 || journal_keep(&journal, &err) < 0)
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
