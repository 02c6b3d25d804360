/* SPDX-License-Identifier: Apache-2.0 */
/* What a host describes: the tables of its JSON objects, and what must hold for their values. */
#include "spec/spec.h"

#include <errno.h>
#include <linux/capability.h>
#include <string.h>

#include "limits.h"
#include "spec/address.h"
#include "spec/json.h"
#include "spec/privilege.h"

#define DIGITS "0123456789"
/* A target and a LUN in decimal digits; the kernel's name of a disk. */
#define SCSI_ADDR_MAX   16u
#define DEVICE_NAME_MAX 31u

/* --- Checks of a string ----------------------------------------------------------------------- */

/* An id becomes the name of a directory. */
static int check_id(const char *id, struct error *err)
{
	if (strlen(id) > ID_MAX)
		return error_set(err, EINVAL, "longer than %u bytes", ID_MAX);
	for (const char *c = id; *c; c++)
		if ((unsigned char)*c < ' ' || *c == 0x7f)
			return error_set(err, EINVAL, "holds a control character");
	if (strchr(id, '/') || strcmp(id, ".") == 0 || strcmp(id, "..") == 0)
		return error_set(err, EINVAL, "'%s' cannot be an id", id);
	return 0;
}

/* It becomes part of a line of resolv.conf or hosts: no space, no control character. */
static int check_word(const char *word, struct error *err)
{
	for (const char *c = word; *c; c++)
		if ((unsigned char)*c <= ' ' || *c == 0x7f)
			return error_set(err, EINVAL, "holds white space");
	return 0;
}

static int check_hostname(const char *name, struct error *err)
{
	if (strlen(name) > HOSTNAME_MAX)
		return error_set(err, EINVAL, "longer than %u bytes", HOSTNAME_MAX);
	return check_word(name, err);
}

static int check_network(const char *text, struct error *err)
{
	struct ip_network network;

	if (network_parse(text, &network, err) < 0)
		return -1;
	if (network.address.family != AF_INET)
		return error_set(err, EAFNOSUPPORT, "'%s' is not IPv4", text);
	return 0;
}

/* "<id>:<lun>", which becomes part of a path of sysfs. */
static int check_scsi_addr(const char *addr, struct error *err)
{
	const char *lun = addr + strspn(addr, DIGITS);

	if (lun > addr && *lun == ':' && lun[1] && !lun[1 + strspn(lun + 1, DIGITS)] &&
		strlen(addr) <= SCSI_ADDR_MAX)
		return 0;
	return error_set(err, EINVAL, "'%s' is not <id>:<lun>", addr);
}

/* Also the name of a list of kernel modules. */
static int check_fstype(const char *fstype, struct error *err)
{
	if (!fstype[strspn(fstype, "abcdefghijklmnopqrstuvwxyz0123456789_")])
		return 0;
	return error_set(err, EINVAL, "'%s' cannot be a file system", fstype);
}

static int check_format(const char *format, struct error *err)
{
	if (strcmp(format, "table") == 0 || strcmp(format, "json") == 0)
		return 0;
	return error_set(err, EINVAL, "'%s' is neither table nor json", format);
}

/* --- Checks of an object ---------------------------------------------------------------------- */

static int check_env(void *object, struct error *err)
{
	struct env_spec *env = object;

	if (strchr(env->env, '='))
		return error_set(err, EINVAL, "env: '%s' holds a '='", env->env);
	if (!env->value)
		env->value = "";
	return 0;
}

#define DOCKER                                                                          \
	(CAPABILITY_BIT(CAP_CHOWN) | CAPABILITY_BIT(CAP_DAC_OVERRIDE) |                 \
		CAPABILITY_BIT(CAP_FSETID) | CAPABILITY_BIT(CAP_FOWNER) |               \
		CAPABILITY_BIT(CAP_MKNOD) | CAPABILITY_BIT(CAP_NET_RAW) |               \
		CAPABILITY_BIT(CAP_SETGID) | CAPABILITY_BIT(CAP_SETUID) |               \
		CAPABILITY_BIT(CAP_SETFCAP) | CAPABILITY_BIT(CAP_SETPCAP) |             \
		CAPABILITY_BIT(CAP_NET_BIND_SERVICE) | CAPABILITY_BIT(CAP_SYS_CHROOT) | \
		CAPABILITY_BIT(CAP_KILL) | CAPABILITY_BIT(CAP_AUDIT_WRITE))
const struct capabilities_spec capabilities_docker = {
	.sets = {[BOUNDING] = DOCKER, [PERMITTED] = DOCKER, [EFFECTIVE] = DOCKER},
};

bool capabilities_are_named(const struct capabilities_spec *capabilities)
{
	for (size_t i = 0; capabilities && i < CAPABILITY_SETS; i++)
		if (capabilities->names[i])
			return true;
	return false;
}

uint64_t capabilities_any(const struct capabilities_spec *capabilities)
{
	uint64_t any = capabilities ? 0 : UINT64_MAX;

	for (size_t i = 0; capabilities && i < CAPABILITY_SETS; i++)
		any |= capabilities->sets[i];
	return any;
}

static const char *const capability_sets[] = {
	[BOUNDING] = "bounding",
	[EFFECTIVE] = "effective",
	[INHERITABLE] = "inheritable",
	[PERMITTED] = "permitted",
	[AMBIENT] = "ambient",
};

static int check_capabilities(void *object, struct error *err)
{
	struct capabilities_spec *capabilities = object;
	uint64_t *sets = capabilities->sets;

	for (size_t i = 0; i < CAPABILITY_SETS; i++) {
		for (const char **name = capabilities->names[i]; name && *name; name++) {
			int number = capability_find(*name);

			if (number < 0)
				return error_set(err, EINVAL, "%s[%zu]: no such capability '%s'",
					capability_sets[i], (size_t)(name - capabilities->names[i]),
					*name);
			sets[i] |= CAPABILITY_BIT(number);
		}
	}
	/* The kernel would refuse these, too, but not say why. */
	if (sets[EFFECTIVE] & ~sets[PERMITTED])
		return error_set(err, EINVAL, "effective: holds what is not permitted");
	if (sets[INHERITABLE] & ~sets[BOUNDING])
		return error_set(err, EINVAL, "inheritable: holds what is not bounding");
	if (sets[AMBIENT] & ~(sets[PERMITTED] & sets[INHERITABLE]))
		return error_set(
			err, EINVAL, "ambient: holds what is not both permitted and inheritable");
	return 0;
}

static int check_rlimit(void *object, struct error *err)
{
	struct rlimit_spec *limit = object;

	limit->resource = rlimit_find(limit->type);
	if (limit->resource < 0)
		return error_set(err, EINVAL, "type: no such limit '%s'", limit->type);
	if (limit->soft > limit->hard)
		return error_set(err, EINVAL, "soft: above hard");
	return 0;
}

static int check_process(void *object, struct error *err)
{
	const struct process_spec *process = object;

	if (!*process->args[0])
		return error_set(err, EINVAL, "args[0]: must not be empty");
	if (process->stdio_seq == 0)
		return error_set(err, EINVAL, "stdio: must not be 0");
	if (process->stderr_seq == 0 && !process->terminal)
		return error_set(err, EINVAL, "stderr: 0 needs a terminal");
	return 0;
}

/* The name of a block device, "/dev/" optional; it becomes part of a path of devtmpfs. */
static int check_device(const char *key, const char *device, struct error *err)
{
	const char *name = device;

	if (strncmp(name, "/dev/", strlen("/dev/")) == 0)
		name += strlen("/dev/");
	if (*name && *name != '.' && !strchr(name, '/') && strlen(name) <= DEVICE_NAME_MAX)
		return 0;
	return error_set(err, EINVAL, "%s: '%s' cannot be a block device", key, device);
}

static int check_volume(void *object, struct error *err)
{
	const struct volume_spec *volume = object;

	if (volume->addr)
		return 0;
	if (!volume->device)
		return error_set(err, EINVAL, "device: missing, and so is addr");
	return check_device("device", volume->device, err);
}

static int check_fsmap(void *object, struct error *err)
{
	const struct fsmap_spec *map = object;

	if (!map->source && !map->scsi_addr)
		return error_set(err, EINVAL, "source: missing, and so is scsiAddr");
	return 0;
}

/* Its root is a directory of the share, or on a disk. */
static int check_container(void *object, struct error *err)
{
	const struct container_spec *container = object;

	if (container->addr || container->scsi_addr) {
		if (container->fstype)
			return 0;
		return error_set(err, EINVAL, "fstype: missing, but there is a SCSI address");
	}
	if (!container->image)
		return error_set(err, EINVAL, "image: missing");
	return container->fstype ? check_device("image", container->image, err) : 0;
}

/* Hosts without port mapping send empty white lists. */
static int check_pod(void *object, struct error *err)
{
	struct pod_spec *pod = object;
	const struct white_lists_spec *lists = pod->white_lists;

	(void)err;
	if (lists && !(lists->internal && *lists->internal) &&
		!(lists->external && *lists->external))
		pod->white_lists = NULL;
	return 0;
}

static int check_winsize(void *object, struct error *err)
{
	const struct winsize_spec *size = object;

	if (size->seq == 0 && (!size->container || !size->process))
		return error_set(err, EINVAL, "neither seq nor container and process are given");
	return 0;
}

/* --- Tables: hyperstart(8), DESCRIPTIONS ------------------------------------------------------ */

JSON_TABLE_CHECKED(env_spec, check_env, F_STR(env_spec, env, "env", REQ),
	F_STR(env_spec, value, "value", OPT));

JSON_TABLE_CHECKED(capabilities_spec, check_capabilities,
	F_STRV(capabilities_spec, names[BOUNDING], "bounding", OPT),
	F_STRV(capabilities_spec, names[EFFECTIVE], "effective", OPT),
	F_STRV(capabilities_spec, names[INHERITABLE], "inheritable", OPT),
	F_STRV(capabilities_spec, names[PERMITTED], "permitted", OPT),
	F_STRV(capabilities_spec, names[AMBIENT], "ambient", OPT));

JSON_TABLE_CHECKED(rlimit_spec, check_rlimit, F_STR(rlimit_spec, type, "type", REQ),
	F_U64(rlimit_spec, soft, "soft", REQ), F_U64(rlimit_spec, hard, "hard", REQ));

JSON_TABLE_CHECKED(process_spec, check_process,
	F_STR_CHECKED(process_spec, id, "id", OPT, check_id),
	F_STR(process_spec, user, "user", OPT), F_STR(process_spec, group, "group", OPT),
	F_STRV(process_spec, additional_groups, "additionalGroups", OPT),
	F_BOOL(process_spec, terminal, "terminal", OPT),
	F_U64(process_spec, stdio_seq, "stdio", OPT),
	F_U64(process_spec, stderr_seq, "stderr", OPT), F_STRV(process_spec, args, "args", REQ),
	F_LIST(process_spec, envs, envs_count, "envs", OPT, env_spec),
	F_STR(process_spec, workdir, "workdir", OPT),
	F_U32(process_spec, rows, "rows", OPT, UINT16_MAX),
	F_U32(process_spec, columns, "columns", OPT, UINT16_MAX),
	F_OBJP(process_spec, capabilities, "capabilities", OPT, capabilities_spec),
	F_BOOL(process_spec, no_new_privileges, "noNewPrivileges", OPT),
	F_LIST(process_spec, rlimits, rlimits_count, "rlimits", OPT, rlimit_spec));

JSON_TABLE_CHECKED(volume_spec, check_volume, F_STR(volume_spec, device, "device", OPT),
	F_STR_CHECKED(volume_spec, addr, "addr", OPT, check_scsi_addr),
	F_STR(volume_spec, mount, "mount", REQ),
	F_STR_CHECKED(volume_spec, fstype, "fstype", REQ, check_fstype),
	F_BOOL(volume_spec, read_only, "readOnly", OPT),
	F_BOOL(volume_spec, docker_volume, "dockerVolume", OPT));

JSON_TABLE_CHECKED(fsmap_spec, check_fsmap, F_STR(fsmap_spec, source, "source", OPT),
	F_STR(fsmap_spec, path, "path", REQ), F_BOOL(fsmap_spec, read_only, "readOnly", OPT),
	F_BOOL(fsmap_spec, docker_volume, "dockerVolume", OPT),
	F_BOOL(fsmap_spec, absolute_path, "absolutePath", OPT),
	F_STR_CHECKED(fsmap_spec, scsi_addr, "scsiAddr", OPT, check_scsi_addr));

JSON_TABLE(system_mounts_spec,
	F_BOOL(system_mounts_spec, bind_mount_dev, "bindMountDev", OPT),
	F_U64(system_mounts_spec, dev_shm_size, "devShmSize", OPT));

JSON_TABLE(constraints_spec,
	F_INT(constraints_spec, cpu_quota, "CPUQuota", OPT, INT32_MIN, INT32_MAX),
	F_U32(constraints_spec, cpu_period, "CPUPeriod", OPT, UINT32_MAX),
	F_U64(constraints_spec, cpu_shares, "CPUShares", OPT));

JSON_TABLE(address_spec,
	F_STR(address_spec, ip_address, "ipAddress", OPT),
	F_STR(address_spec, net_mask, "netMask", OPT));

JSON_TABLE(interface_spec,
	F_STR(interface_spec, device, "device", OPT),
	F_STR(interface_spec, new_device_name, "newDeviceName", OPT),
	F_LIST(interface_spec, ip_addresses, ip_addresses_count, "ipAddresses", OPT, address_spec),
	F_STR(interface_spec, ip_single.ip_address, "ipAddress", OPT),
	F_STR(interface_spec, ip_single.net_mask, "netMask", OPT),
	F_U32_TEXT(interface_spec, mtu, "mtu", OPT, UINT32_MAX),
	F_STR(interface_spec, mac_addr, "macAddr", OPT));

JSON_TABLE(route_spec,
	F_STR(route_spec, dest, "dest", OPT),
	F_STR(route_spec, gateway, "gateway", OPT),
	F_STR(route_spec, device, "device", OPT),
	F_STR(route_spec, src, "src", OPT));

JSON_TABLE(routes_spec,
	F_LIST(routes_spec, routes, routes_count, "routes", OPT, route_spec));

JSON_TABLE(white_lists_spec,
	F_STRV_CHECKED(white_lists_spec, internal, "internalNetworks", OPT, check_network),
	F_STRV_CHECKED(white_lists_spec, external, "externalNetworks", OPT, check_network));

JSON_TABLE(port_spec,
	F_U32(port_spec, host_port, "hostPort", OPT, UINT16_MAX),
	F_U32(port_spec, container_port, "containerPort", OPT, UINT16_MAX),
	F_STR(port_spec, protocol, "protocol", OPT));

JSON_TABLE(device_spec,
	F_STR(device_spec, device, "device", REQ));

JSON_TABLE_CHECKED(container_spec, check_container,
	F_STR_CHECKED(container_spec, id, "id", REQ, check_id),
	F_STR(container_spec, rootfs, "rootfs", EMPTY),
	F_STR(container_spec, image, "image", EMPTY),
	F_STR_CHECKED(container_spec, fstype, "fstype", OPT, check_fstype),
	F_STR_CHECKED(container_spec, addr, "addr", OPT, check_scsi_addr),
	F_STR_CHECKED(container_spec, scsi_addr, "scsiAddr", OPT, check_scsi_addr),
	F_LIST(container_spec, volumes, volumes_count, "volumes", OPT, volume_spec),
	F_LIST(container_spec, fsmap, fsmap_count, "fsmap", OPT, fsmap_spec),
	F_MAP(container_spec, sysctl, sysctl_count, "sysctl", OPT),
	F_OBJ(container_spec, system_mounts, "systemMountsInfo", OPT, system_mounts_spec),
	F_BOOL(container_spec, initialize, "initialize", OPT),
	F_BOOL(container_spec, read_only, "readOnly", OPT),
	F_OBJ(container_spec, constraints, "constraints", OPT, constraints_spec),
	F_OBJ(container_spec, process, "process", REQ, process_spec),
	F_LIST(container_spec, ports, ports_count, "ports", OPT, port_spec));

JSON_TABLE_CHECKED(pod_spec, check_pod,
	F_STR_CHECKED(pod_spec, hostname, "hostname", OPT, check_hostname),
	F_STR(pod_spec, share_dir, "shareDir", OPT),
	F_STRV_CHECKED(pod_spec, dns, "dns", OPT, check_word),
	F_STRV_CHECKED(pod_spec, dns_search, "dnsSearch", OPT, check_word),
	F_STRV_CHECKED(pod_spec, dns_options, "dnsOptions", OPT, check_word),
	F_LIST(pod_spec, containers, containers_count, "containers", OPT, container_spec),
	F_LIST(pod_spec, interfaces, interfaces_count, "interfaces", OPT, interface_spec),
	F_LIST(pod_spec, routes, routes_count, "routes", OPT, route_spec),
	F_OBJP(pod_spec, white_lists, "portmappingWhiteLists", OPT, white_lists_spec),
	F_STR(pod_spec, iptable_rules, "iptableRules", OPT));

JSON_TABLE(exec_spec,
	F_STR(exec_spec, container, "container", REQ),
	F_OBJ(exec_spec, process, "process", REQ, process_spec));

JSON_TABLE(kill_spec,
	F_STR(kill_spec, container, "container", REQ),
	F_INT(kill_spec, signal, "signal", REQ, 0, 64),
	F_BOOL(kill_spec, all_processes, "allProcesses", OPT));

JSON_TABLE(file_spec,
	F_STR(file_spec, container, "container", REQ),
	F_STR(file_spec, file, "file", REQ));

JSON_TABLE(remove_spec,
	F_STR(remove_spec, container, "container", REQ));

JSON_TABLE(signal_spec,
	F_STR(signal_spec, container, "container", REQ),
	F_STR(signal_spec, process, "process", REQ),
	F_INT(signal_spec, signal, "signal", REQ, 0, 64));

JSON_TABLE(ps_spec,
	F_STR(ps_spec, container, "container", REQ),
	F_STR_CHECKED(ps_spec, format, "format", OPT, check_format),
	F_STRV(ps_spec, psargs, "psargs", OPT));

JSON_TABLE_CHECKED(winsize_spec, check_winsize, F_U64(winsize_spec, seq, "seq", OPT),
	F_STR(winsize_spec, container, "container", OPT),
	F_STR(winsize_spec, process, "process", OPT),
	F_U32(winsize_spec, row, "row", OPT, UINT16_MAX),
	F_U32(winsize_spec, column, "column", OPT, UINT16_MAX));
