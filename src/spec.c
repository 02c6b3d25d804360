/* SPDX-License-Identifier: Apache-2.0 */
/* What a host describes: the tables of its JSON objects, and what must hold for their values. */
#include "spec.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "address.h"
#include "json.h"
#include "json_scan.h"
#include "limits.h"

/* --- Tables: protocol.md section 4 ------------------------------------------------------------ */

static const struct json_field env_fields[] = {
	F_STR(env_spec, env, "env", REQ),
	F_STR(env_spec, value, "value", OPT),
};
static const struct json_schema env_spec_schema = JSON_SCHEMA(env_spec, env_fields);

static const struct json_field process_fields[] = {
	F_STR(process_spec, id, "id", OPT),
	F_STR(process_spec, user, "user", OPT),
	F_STR(process_spec, group, "group", OPT),
	F_STRV(process_spec, additional_groups, "additionalGroups", OPT),
	F_BOOL(process_spec, terminal, "terminal", OPT),
	F_U64(process_spec, stdio_seq, "stdio", OPT),
	F_U64(process_spec, stderr_seq, "stderr", OPT),
	F_STRV(process_spec, args, "args", REQ),
	F_LIST(process_spec, envs, envs_count, "envs", OPT, env_spec),
	F_STR(process_spec, workdir, "workdir", OPT),
	F_U32(process_spec, rows, "rows", OPT, UINT16_MAX),
	F_U32(process_spec, columns, "columns", OPT, UINT16_MAX),
};
static const struct json_schema process_spec_schema = JSON_SCHEMA(process_spec, process_fields);

static const struct json_field address_fields[] = {
	F_STR(address_spec, ip_address, "ipAddress", OPT),
	F_STR(address_spec, net_mask, "netMask", OPT),
};
static const struct json_schema address_spec_schema = JSON_SCHEMA(address_spec, address_fields);

static const struct json_field interface_fields[] = {
	F_STR(interface_spec, device, "device", OPT),
	F_STR(interface_spec, new_device_name, "newDeviceName", OPT),
	F_LIST(interface_spec, ip_addresses, ip_addresses_count, "ipAddresses", OPT, address_spec),
	F_STR(interface_spec, ip_single.ip_address, "ipAddress", OPT),
	F_STR(interface_spec, ip_single.net_mask, "netMask", OPT),
	F_U32_TEXT(interface_spec, mtu, "mtu", OPT, UINT32_MAX),
	F_STR(interface_spec, mac_addr, "macAddr", OPT),
};
static const struct json_schema interface_spec_schema =
	JSON_SCHEMA(interface_spec, interface_fields);

static const struct json_field route_fields[] = {
	F_STR(route_spec, dest, "dest", OPT),
	F_STR(route_spec, gateway, "gateway", OPT),
	F_STR(route_spec, device, "device", OPT),
	F_STR(route_spec, src, "src", OPT),
};
static const struct json_schema route_spec_schema = JSON_SCHEMA(route_spec, route_fields);

static const struct json_field routes_fields[] = {
	F_LIST(routes_spec, routes, routes_count, "routes", OPT, route_spec),
};
static const struct json_schema routes_spec_schema = JSON_SCHEMA(routes_spec, routes_fields);

static const struct json_field white_lists_fields[] = {
	F_STRV(white_lists_spec, internal, "internalNetworks", OPT),
	F_STRV(white_lists_spec, external, "externalNetworks", OPT),
};
static const struct json_schema white_lists_spec_schema =
	JSON_SCHEMA(white_lists_spec, white_lists_fields);

static const struct json_field port_fields[] = {
	F_U32(port_spec, host_port, "hostPort", OPT, UINT16_MAX),
	F_U32(port_spec, container_port, "containerPort", OPT, UINT16_MAX),
	F_STR(port_spec, protocol, "protocol", OPT),
};
static const struct json_schema port_spec_schema = JSON_SCHEMA(port_spec, port_fields);

static const struct json_field device_fields[] = {
	F_STR(device_spec, device, "device", REQ),
};
static const struct json_schema device_spec_schema = JSON_SCHEMA(device_spec, device_fields);

static const struct json_field container_fields[] = {
	F_STR(container_spec, id, "id", REQ),
	F_STR(container_spec, rootfs, "rootfs", OPT),
	F_STR(container_spec, image, "image", REQ),
	F_BOOL(container_spec, read_only, "readOnly", OPT),
	F_OBJ(container_spec, process, "process", REQ, process_spec),
	F_LIST(container_spec, ports, ports_count, "ports", OPT, port_spec),
};
static const struct json_schema container_spec_schema =
	JSON_SCHEMA(container_spec, container_fields);

static const struct json_field pod_fields[] = {
	F_STR(pod_spec, hostname, "hostname", OPT),
	F_STR(pod_spec, share_dir, "shareDir", OPT),
	F_STRV(pod_spec, dns, "dns", OPT),
	F_STRV(pod_spec, dns_search, "dnsSearch", OPT),
	F_STRV(pod_spec, dns_options, "dnsOptions", OPT),
	F_LIST(pod_spec, containers, containers_count, "containers", OPT, container_spec),
	F_LIST(pod_spec, interfaces, interfaces_count, "interfaces", OPT, interface_spec),
	F_LIST(pod_spec, routes, routes_count, "routes", OPT, route_spec),
	F_OBJP(pod_spec, white_lists, "portmappingWhiteLists", OPT, white_lists_spec),
	F_STR(pod_spec, iptable_rules, "iptableRules", OPT),
};
static const struct json_schema pod_spec_schema = JSON_SCHEMA(pod_spec, pod_fields);

static const struct json_field exec_fields[] = {
	F_STR(exec_spec, container, "container", REQ),
	F_OBJ(exec_spec, process, "process", REQ, process_spec),
};
static const struct json_schema exec_spec_schema = JSON_SCHEMA(exec_spec, exec_fields);

static const struct json_field kill_fields[] = {
	F_STR(kill_spec, container, "container", REQ),
	F_INT(kill_spec, signal, "signal", REQ, 0, 64),
	F_BOOL(kill_spec, all_processes, "allProcesses", OPT),
};
static const struct json_schema kill_spec_schema = JSON_SCHEMA(kill_spec, kill_fields);

static const struct json_field file_fields[] = {
	F_STR(file_spec, container, "container", REQ),
	F_STR(file_spec, file, "file", REQ),
};
static const struct json_schema file_spec_schema = JSON_SCHEMA(file_spec, file_fields);

static const struct json_field remove_fields[] = {
	F_STR(remove_spec, container, "container", REQ),
};
static const struct json_schema remove_spec_schema = JSON_SCHEMA(remove_spec, remove_fields);

static const struct json_field signal_fields[] = {
	F_STR(signal_spec, container, "container", REQ),
	F_STR(signal_spec, process, "process", REQ),
	F_INT(signal_spec, signal, "signal", REQ, 0, 64),
};
static const struct json_schema signal_spec_schema = JSON_SCHEMA(signal_spec, signal_fields);

static const struct json_field ps_fields[] = {
	F_STR(ps_spec, container, "container", REQ),
	F_STR(ps_spec, format, "format", OPT),
	F_STRV(ps_spec, psargs, "psargs", OPT),
};
static const struct json_schema ps_spec_schema = JSON_SCHEMA(ps_spec, ps_fields);

static const struct json_field winsize_fields[] = {
	F_U64(winsize_spec, seq, "seq", OPT),
	F_STR(winsize_spec, container, "container", OPT),
	F_STR(winsize_spec, process, "process", OPT),
	F_U32(winsize_spec, row, "row", OPT, UINT16_MAX),
	F_U32(winsize_spec, column, "column", OPT, UINT16_MAX),
};
static const struct json_schema winsize_spec_schema = JSON_SCHEMA(winsize_spec, winsize_fields);

/* --- Checks ----------------------------------------------------------------------------------- */

/* An id becomes the name of a directory. */
static int check_id(const char *key, const char *id, struct error *err)
{
	if (strlen(id) > ID_MAX)
		return error_set(err, EINVAL, "%s: longer than %u bytes", key, ID_MAX);
	if (strchr(id, '/') || strcmp(id, ".") == 0 || strcmp(id, "..") == 0)
		return error_set(err, EINVAL, "%s: '%s' cannot be an id", key, id);
	return 0;
}

/* What is written into a line of resolv.conf or hosts: no space, no control character. */
static int check_word(const char *key, const char *word, struct error *err)
{
	for (const char *c = word; *c; c++) {
		if ((unsigned char)*c <= ' ' || *c == 0x7f)
			return error_set(err, EINVAL, "%s: holds white space", key);
	}
	return 0;
}

static int check_words(const char *key, const char **words, struct error *err)
{
	for (size_t i = 0; words && words[i]; i++) {
		char entry[32];

		snprintf(entry, sizeof(entry), "%s[%zu]", key, i);
		if (check_word(entry, words[i], err) < 0)
			return -1;
	}
	return 0;
}

static int check_networks(const char *key, const char **networks, struct error *err)
{
	struct ip_network network;

	for (size_t i = 0; networks && networks[i]; i++) {
		if (network_parse(networks[i], &network, err) < 0)
			return error_wrap(err, "%s[%zu]", key, i);
		if (network.address.family != AF_INET)
			return error_set(err, EAFNOSUPPORT, "%s[%zu]: '%s' is not IPv4", key, i,
				networks[i]);
	}
	return 0;
}

static bool is_empty(const char **list)
{
	return !list || !list[0];
}

static int check_white_lists(const struct white_lists_spec *lists, struct error *err)
{
	if (check_networks("internalNetworks", lists->internal, err) < 0 ||
		check_networks("externalNetworks", lists->external, err) < 0)
		return error_wrap(err, "portmappingWhiteLists");
	return 0;
}

static int check_envs(struct env_spec *envs, size_t count, struct error *err)
{
	for (size_t i = 0; i < count; i++) {
		if (strchr(envs[i].env, '='))
			return error_set(err, EINVAL, "process.envs[%zu].env: '%s' holds a '='", i,
				envs[i].env);
		if (!envs[i].value)
			envs[i].value = "";
	}
	return 0;
}

static int check_process(const struct process_spec *process, struct error *err)
{
	if (process->id && check_id("process.id", process->id, err) < 0)
		return -1;
	if (!*process->args[0])
		return error_set(err, EINVAL, "process.args[0]: must not be empty");
	if (process->stdio_seq == 0)
		return error_set(err, EINVAL, "process.stdio: must not be 0");
	if (process->stderr_seq == 0 && !process->terminal)
		return error_set(err, EINVAL, "process.stderr: 0 needs a terminal");
	return check_envs(process->envs, process->envs_count, err);
}

static int check_container(const struct container_spec *container, struct error *err)
{
	if (check_id("id", container->id, err) < 0)
		return -1;
	return check_process(&container->process, err);
}

int spec_pod(const char *text, size_t length, struct arena *arena, struct pod_spec *out,
	struct error *err)
{
	struct error inner;

	if (json_decode(&pod_spec_schema, text, length, arena, out, err) < 0)
		return -1;
	if (out->hostname && strlen(out->hostname) > HOSTNAME_MAX)
		return error_set(err, EINVAL, "hostname: longer than %u bytes", HOSTNAME_MAX);
	if (out->hostname && check_word("hostname", out->hostname, err) < 0)
		return -1;
	if (check_words("dns", out->dns, err) < 0 ||
		check_words("dnsSearch", out->dns_search, err) < 0)
		return -1;
	if (check_words("dnsOptions", out->dns_options, err) < 0)
		return -1;
	if (out->white_lists && check_white_lists(out->white_lists, err) < 0)
		return -1;
	if (out->white_lists && is_empty(out->white_lists->internal) &&
		is_empty(out->white_lists->external))
		out->white_lists = NULL; /* hosts without port mapping send them so */
	for (size_t i = 0; i < out->containers_count; i++)
		if (check_container(&out->containers[i], &inner) < 0)
			return error_set(err, inner.code, "containers[%zu].%s", i, inner.text);
	return 0;
}

int spec_container(const char *text, size_t length, struct arena *arena, struct container_spec *out,
	struct error *err)
{
	if (json_decode(&container_spec_schema, text, length, arena, out, err) < 0)
		return -1;
	return check_container(out, err);
}

int spec_exec(const char *text, size_t length, struct arena *arena, struct exec_spec *out,
	struct error *err)
{
	if (json_decode(&exec_spec_schema, text, length, arena, out, err) < 0)
		return -1;
	return check_process(&out->process, err);
}

int spec_kill(const char *text, size_t length, struct arena *arena, struct kill_spec *out,
	struct error *err)
{
	return json_decode(&kill_spec_schema, text, length, arena, out, err);
}

int spec_winsize(const char *text, size_t length, struct arena *arena, struct winsize_spec *out,
	struct error *err)
{
	if (json_decode(&winsize_spec_schema, text, length, arena, out, err) < 0)
		return -1;
	if (out->seq == 0 && (!out->container || !out->process))
		return error_set(err, EINVAL, "neither seq nor container and process are given");
	return 0;
}

int spec_file(const char *text, size_t length, struct arena *arena, struct file_spec *out,
	size_t *end, struct error *err)
{
	size_t tokens;
	ssize_t scanned = json_scan(text, length, &tokens, err);

	if (scanned < 0)
		return -1;
	*end = (size_t)scanned;
	return json_decode(&file_spec_schema, text, *end, arena, out, err);
}

int spec_remove(const char *text, size_t length, struct arena *arena, struct remove_spec *out,
	struct error *err)
{
	return json_decode(&remove_spec_schema, text, length, arena, out, err);
}

int spec_signal(const char *text, size_t length, struct arena *arena, struct signal_spec *out,
	struct error *err)
{
	return json_decode(&signal_spec_schema, text, length, arena, out, err);
}

int spec_ps(const char *text, size_t length, struct arena *arena, struct ps_spec *out,
	struct error *err)
{
	if (json_decode(&ps_spec_schema, text, length, arena, out, err) < 0)
		return -1;
	if (out->format && strcmp(out->format, "table") != 0 && strcmp(out->format, "json") != 0)
		return error_set(
			err, EINVAL, "format: '%s' is neither table nor json", out->format);
	return 0;
}

int spec_interface(const char *text, size_t length, struct arena *arena, struct interface_spec *out,
	struct error *err)
{
	return json_decode(&interface_spec_schema, text, length, arena, out, err);
}

int spec_routes(const char *text, size_t length, struct arena *arena, struct routes_spec *out,
	struct error *err)
{
	return json_decode(&routes_spec_schema, text, length, arena, out, err);
}

int spec_device(const char *text, size_t length, struct arena *arena, struct device_spec *out,
	struct error *err)
{
	return json_decode(&device_spec_schema, text, length, arena, out, err);
}
