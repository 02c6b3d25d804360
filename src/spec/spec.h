/* SPDX-License-Identifier: Apache-2.0 */
/* What a host describes: the JSON objects of hyperstart(8), DESCRIPTIONS, as structs.
 *
 * Members carry the JSON names. An absent key, a null, and "" for an optional string are NULL or
 * 0. Everything points into the arena it was decoded into. */
#ifndef SPEC_H
#define SPEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/error.h"
#include "spec/json.h"

struct env_spec {
	const char *env, *value; /* value is "" when absent */
};

enum { BOUNDING, EFFECTIVE, INHERITABLE, PERMITTED, AMBIENT, CAPABILITY_SETS };

struct capabilities_spec {
	const char **names[CAPABILITY_SETS];
	uint64_t sets[CAPABILITY_SETS]; /* what they say, as bits */
};

/* What Docker gives to a container. */
extern const struct capabilities_spec capabilities_docker;

/* It has a list, which may be empty: no capability. cc-runtime 3.0 sends five nulls with each exec. */
bool capabilities_are_named(const struct capabilities_spec *capabilities);
/* What is in any of the sets; everything for NULL, which names none. */
uint64_t capabilities_any(const struct capabilities_spec *capabilities);

struct rlimit_spec {
	const char *type;
	int resource; /* what that says */
	uint64_t soft, hard;
};

struct address_spec {
	const char *ip_address; /* a leading "-" removes it; NULL: nothing to do */
	const char *net_mask;
};

struct interface_spec {
	const char *device;          /* found by name; NULL: by mac_addr */
	const char *new_device_name; /* NULL: keeps its own */
	struct address_spec *ip_addresses;
	size_t ip_addresses_count;
	struct address_spec ip_single; /* the old form, beside the list: "ipAddress", "netMask" */
	uint32_t mtu;                  /* 0: as it is */
	const char *mac_addr;
};

struct route_spec {
	const char *dest; /* NULL, "default", "any", "all": everything */
	const char *gateway, *device, *src;
};

struct routes_spec {
	struct route_spec *routes;
	size_t routes_count;
};

/* CIDRs that may reach the pod from outside; NULL-terminated, or NULL. */
struct white_lists_spec {
	const char **internal; /* everything */
	const char **external; /* mapped ports */
};

struct port_spec {
	uint32_t host_port, container_port;
	const char *protocol; /* "tcp" or "udp"; NULL: tcp */
};

struct device_spec {
	const char *device;
};

struct process_spec {
	const char *id; /* not NULL: its end is reported by PROCESSASYNCEVENT */
	const char *user, *group;
	const char **additional_groups; /* NULL-terminated, or NULL */
	bool terminal;
	uint64_t stdio_seq;  /* "stdio": seq of stdin and stdout, never 0 */
	uint64_t stderr_seq; /* "stderr": 0 only with a terminal */
	const char **args;   /* NULL-terminated, at least one */
	struct env_spec *envs;
	size_t envs_count;
	const char *workdir;
	uint32_t rows, columns;
	struct capabilities_spec *capabilities; /* NULL: not said, which is not the same as none */
	bool no_new_privileges;
	struct rlimit_spec *rlimits;
	size_t rlimits_count;
};

/* As in cgroup v1, in microseconds; 0: unchanged. */
struct constraints_spec {
	int cpu_quota;
	uint32_t cpu_period;
	uint64_t cpu_shares;
};

struct volume_spec {
	const char *device, *addr; /* a disk: its name, or its SCSI address, which wins */
	const char *mount, *fstype;
	bool read_only, docker_volume;
};

struct fsmap_spec {
	const char *source, *path; /* source is ignored if there is a scsi_addr */
	bool read_only, docker_volume;
	bool absolute_path;    /* source is a path of the guest, not below the share */
	const char *scsi_addr; /* the disk there, as a device node */
};

struct system_mounts_spec {
	bool bind_mount_dev;   /* the guest's /dev is the container's */
	uint64_t dev_shm_size; /* 0: SHM_BYTES */
};

struct container_spec {
	const char *id;
	const char *rootfs, *image;   /* "": the image itself; the share itself */
	const char *fstype;           /* NULL: image is a directory below the share; else a disk */
	const char *addr, *scsi_addr; /* the disk's SCSI address, which wins over image */
	struct volume_spec *volumes;
	size_t volumes_count;
	struct fsmap_spec *fsmap;
	size_t fsmap_count;
	struct json_member *sysctl;
	size_t sysctl_count;
	struct system_mounts_spec system_mounts;
	bool initialize; /* its first start */
	bool read_only;
	struct constraints_spec constraints;
	struct process_spec process;
	struct port_spec *ports;
	size_t ports_count;
};

struct pod_spec {
	const char *hostname;
	const char *share_dir;                         /* the 9p or virtiofs tag; NULL: no share */
	const char **dns, **dns_search, **dns_options; /* NULL-terminated, or NULL */
	struct container_spec *containers;             /* the old form: started with it, in order */
	size_t containers_count;
	struct interface_spec *interfaces;
	size_t interfaces_count;
	struct route_spec *routes;
	size_t routes_count;
	struct white_lists_spec *white_lists; /* NULL, also where both are empty: no port mapping */
	const char *iptable_rules;            /* for iptables-restore, as it is */
};

struct exec_spec {
	const char *container;
	struct process_spec process;
};

struct file_spec {
	const char *container, *file;
};

struct remove_spec {
	const char *container;
};

struct signal_spec {
	const char *container, *process;
	int signal;
};

struct ps_spec {
	const char *container;
	const char *format;  /* "table" or "json" */
	const char **psargs; /* NULL-terminated, or NULL */
};

struct kill_spec {
	const char *container;
	int signal;
	bool all_processes;
};

struct winsize_spec {
	uint64_t seq; /* cc's form; 0: runV's, by container and process */
	const char *container, *process;
	uint32_t row, column;
};

/* What json_decode() makes of each command's payload, checked. */
extern const struct json_schema pod_spec_schema, container_spec_schema, exec_spec_schema,
	kill_spec_schema, winsize_spec_schema, file_spec_schema, remove_spec_schema,
	signal_spec_schema, ps_spec_schema, interface_spec_schema, routes_spec_schema,
	device_spec_schema;

#endif
