/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include <cmocka.h>

#include <linux/capability.h>

#include "limits.h"
#include "spec/privilege.h"
#include "spec/spec.h"

static struct arena arena;
static struct error err;

static int arena_setup(void **state)
{
	(void)state;
	arena_init(&arena, MESSAGE_ARENA_MAX);
	return 0;
}

static int arena_teardown(void **state)
{
	(void)state;
	arena_free(&arena);
	return 0;
}

#define assert_taken(spec, json, out)                                                           \
	do {                                                                                    \
		if (json_decode(&spec##_schema, (json), strlen(json), &arena, (out), &err) < 0) \
			fail_msg("%s", err.text);                                               \
	} while (0)

#define assert_refused(spec, json, out, error)                                                  \
	do {                                                                                    \
		assert_int_equal(                                                               \
			json_decode(&spec##_schema, (json), strlen(json), &arena, (out), &err), \
			-1);                                                                    \
		assert_string_equal(err.text, (error));                                         \
	} while (0)

/* An exec with this process, written with ' for ". */
static const char *exec_with(const char *process)
{
	static char text[1024];

	snprintf(text, sizeof(text), "{'container':'c1','process':{%s}}", process);
	for (char *c = text; *c; c++) {
		if (*c == '\'')
			*c = '"';
	}
	return text;
}

static void assert_process_refused(const char *process, const char *error)
{
	struct exec_spec exec;

	assert_refused(exec_spec, exec_with(process), &exec, error);
}

/* What virtcontainers sends, field by field (cc30), and nothing of it is taken amiss. */
static void a_container_of_clear_containers_3_is_taken(void **state)
{
	static const char text[] =
		"{\"id\":\"web\",\"image\":\"web\",\"rootfs\":\"rootfs\",\"addr\":\"\","
		"\"scsiAddr\":\"\",\"fstype\":\"\",\"volumes\":null,\"fsmap\":[],\"sysctl\":null,"
		"\"systemMountsInfo\":{\"bindMountDev\":false,\"devShmSize\":67108864},"
		"\"constraints\":{\"CPUQuota\":0,\"CPUPeriod\":0,\"CPUShares\":0},"
		"\"restartPolicy\":\"\",\"initialize\":false,\"readOnly\":true,\"process\":{"
		"\"user\":\"0\",\"group\":\"0\",\"additionalGroups\":null,\"terminal\":true,"
		"\"stdio\":18446744073709551615,\"stderr\":9007199254740993,\"args\":[\"sh\",\"-"
		"c\",\"\"],"
		"\"envs\":[{\"env\":\"PATH\",\"value\":\"/"
		"bin\"},{\"env\":\"EMPTY\",\"value\":\"\"},"
		"{\"env\":\"NONE\"}],\"workdir\":\"/\",\"noNewPrivileges\":false,"
		"\"capabilities\":{\"bounding\":null,\"effective\":[],\"inheritable\":null,"
		"\"permitted\":[\"CAP_CHOWN\"],\"ambient\":null},\"rlimits\":null,"
		"\"rows\":24,\"columns\":80}}";
	struct container_spec c;

	(void)state;
	assert_taken(container_spec, text, &c);
	assert_string_equal(c.id, "web");
	assert_string_equal(c.image, "web");
	assert_string_equal(c.rootfs, "rootfs");
	assert_true(c.read_only);
	assert_null(c.process.id);
	assert_string_equal(c.process.user, "0");
	assert_null(c.process.additional_groups);
	assert_true(c.process.terminal);
	assert_true(c.process.stdio_seq == UINT64_MAX);
	assert_true(c.process.stderr_seq == 9007199254740993);
	assert_string_equal(c.process.args[0], "sh");
	assert_string_equal(c.process.args[2], "");
	assert_null(c.process.args[3]);
	assert_int_equal(c.process.envs_count, 3);
	assert_string_equal(c.process.envs[0].value, "/bin");
	assert_string_equal(c.process.envs[1].value, "");
	assert_string_equal(c.process.envs[2].value, "");
	assert_string_equal(c.process.workdir, "/");
	assert_int_equal(c.process.rows, 24);
	assert_int_equal(c.process.columns, 80);
}

#define CONTAINER(fields)                        \
	"{\"id\":\"a\"," fields ",\"process\":{" \
	"\"args\":[\"a\"],\"stdio\":1,\"stderr\":2}}"

static void what_a_container_mounts_is_taken(void **state)
{
	struct container_spec c;

	(void)state;
	assert_taken(container_spec,
		CONTAINER(
			"\"image\":\"vda\",\"fstype\":\"xfs\",\"addr\":\"1:2\",\"initialize\":true,"
			"\"volumes\":[{\"device\":\"/dev/vdb\",\"mount\":\"/v\",\"fstype\":"
			"\"ext4\",\"readOnly\":true,\"dockerVolume\":true},"
			"{\"addr\":\"0:11\",\"mount\":\"/w\",\"fstype\":\"ext4\"}],"
			"\"fsmap\":[{\"source\":\"s\",\"path\":\"/p\",\"readOnly\":1},"
			"{\"source\":\"/dev/x\",\"path\":\"/x\",\"absolutePath\":true},"
			"{\"path\":\"/d\",\"scsiAddr\":\"3:4\",\"dockerVolume\":false}],"
			"\"sysctl\":{\"vm.x\":\"1\",\"net/y\":\"2 3\"},"
			"\"systemMountsInfo\":{\"bindMountDev\":true,\"devShmSize\":1}"),
		&c);
	assert_string_equal(c.fstype, "xfs");
	assert_string_equal(c.addr, "1:2");
	assert_null(c.scsi_addr);
	assert_true(c.initialize);
	assert_int_equal(c.volumes_count, 2);
	assert_string_equal(c.volumes[0].device, "/dev/vdb");
	assert_string_equal(c.volumes[0].mount, "/v");
	assert_string_equal(c.volumes[0].fstype, "ext4");
	assert_true(c.volumes[0].read_only && c.volumes[0].docker_volume);
	assert_string_equal(c.volumes[1].addr, "0:11");
	assert_false(c.volumes[1].read_only || c.volumes[1].docker_volume);
	assert_int_equal(c.fsmap_count, 3);
	assert_string_equal(c.fsmap[0].source, "s");
	assert_true(c.fsmap[0].read_only && !c.fsmap[0].absolute_path);
	assert_true(c.fsmap[1].absolute_path && !c.fsmap[1].read_only);
	assert_string_equal(c.fsmap[2].scsi_addr, "3:4");
	assert_null(c.fsmap[2].source);
	assert_int_equal(c.sysctl_count, 2);
	assert_string_equal(c.sysctl[0].name, "vm.x");
	assert_string_equal(c.sysctl[1].value, "2 3");
	assert_true(c.system_mounts.bind_mount_dev);
	assert_true(c.system_mounts.dev_shm_size == 1);
}

static void what_makes_no_sense_as_a_mount_is_refused(void **state)
{
	static const struct {
		const char *text, *error;
	} cases[] = {
		{CONTAINER("\"fstype\":\"ext4\""), "image: missing"},
		{CONTAINER("\"addr\":\"1:2\""), "fstype: missing, but there is a SCSI address"},
		{CONTAINER("\"addr\":\"1\",\"fstype\":\"ext4\""), "addr: '1' is not <id>:<lun>"},
		{CONTAINER("\"addr\":\":\",\"fstype\":\"ext4\""), "addr: ':' is not <id>:<lun>"},
		{CONTAINER("\"addr\":\"1:2/\",\"fstype\":\"ext4\""),
			"addr: '1:2/' is not <id>:<lun>"},
		{CONTAINER("\"scsiAddr\":\"..:1\",\"fstype\":\"ext4\""),
			"scsiAddr: '..:1' is not <id>:<lun>"},
		{CONTAINER("\"image\":\"a/b\",\"fstype\":\"ext4\""),
			"image: 'a/b' cannot be a block device"},
		{CONTAINER("\"image\":\"/dev/\",\"fstype\":\"ext4\""),
			"image: '/dev/' cannot be a block device"},
		{CONTAINER("\"image\":\"..\",\"fstype\":\"ext4\""),
			"image: '..' cannot be a block device"},
		{CONTAINER("\"image\":\"a\",\"fstype\":\"../x\""),
			"fstype: '../x' cannot be a file system"},
		{CONTAINER("\"image\":\"a\",\"volumes\":[{\"mount\":\"/\",\"fstype\":\"x\"}]"),
			"volumes[0].device: missing, and so is addr"},
		{CONTAINER("\"image\":\"a\",\"volumes\":[{\"device\":\"a\",\"fstype\":\"x\"}]"),
			"volumes[0].mount: missing"},
		{CONTAINER("\"image\":\"a\",\"volumes\":[{\"device\":\"a\",\"mount\":\"/\"}]"),
			"volumes[0].fstype: missing"},
		{CONTAINER("\"image\":\"a\",\"fsmap\":[{\"source\":\"a\"}]"),
			"fsmap[0].path: missing"},
		{CONTAINER("\"image\":\"a\",\"fsmap\":[{\"path\":\"a\"}]"),
			"fsmap[0].source: missing, and so is scsiAddr"},
		{CONTAINER("\"image\":\"a\",\"sysctl\":{\"a\":1}"), "sysctl.a: expected string"},
		{CONTAINER("\"image\":\"a\",\"sysctl\":[]"), "sysctl: expected object"},
	};
	struct container_spec c;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_refused(container_spec, cases[i].text, &c, cases[i].error);
}

static void a_container_needs_id_image_and_process(void **state)
{
	struct container_spec c;

	(void)state;
	assert_refused(container_spec, "{}", &c, "id: missing");
	assert_refused(container_spec, "{\"id\":\"\"}", &c, "id: must not be empty");
	assert_refused(container_spec, "{\"id\":\"a\"}", &c, "process: missing");
	assert_refused(container_spec, CONTAINER("\"image\":null"), &c, "image: missing");
	assert_refused(container_spec, CONTAINER("\"image\":\"\",\"fstype\":\"ext4\""), &c,
		"image: '' cannot be a block device");
	assert_refused(container_spec, "{\"id\":\"a\",\"image\":\"a\"}", &c, "process: missing");
	assert_refused(container_spec, "{\"id\":\"a\",\"image\":\"a\",\"process\":null}", &c,
		"process: missing");
}

static void an_id_cannot_be_a_path(void **state)
{
	static const char *const ids[] = {".", "..", "a/b", "/", "../a", "a/"};
	struct container_spec c;
	char text[400], error[200], longest[ID_MAX + 2];

	(void)state;
	for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
		snprintf(text, sizeof(text),
			"{\"id\":\"%s\",\"image\":\"a\",\"process\":{\"args\":[\"a\"],\"stdio\":1,"
			"\"stderr\":2}}",
			ids[i]);
		snprintf(error, sizeof(error), "id: '%s' cannot be an id", ids[i]);
		assert_refused(container_spec, text, &c, error);
	}
	for (size_t length = ID_MAX; length <= ID_MAX + 1; length++) {
		memset(longest, 'x', length);
		longest[length] = '\0';
		snprintf(text, sizeof(text),
			"{\"id\":\"%s\",\"image\":\"a\",\"process\":{\"args\":[\"a\"],\"stdio\":1,"
			"\"stderr\":2}}",
			longest);
		if (length == ID_MAX)
			assert_taken(container_spec, text, &c);
		else
			assert_refused(container_spec, text, &c, "id: longer than 128 bytes");
	}
}

static void a_process_needs_a_program(void **state)
{
	(void)state;
	assert_process_refused("'stdio':1,'stderr':2", "process.args: missing");
	assert_process_refused("'stdio':1,'stderr':2,'args':null", "process.args: missing");
	assert_process_refused("'stdio':1,'stderr':2,'args':[]", "process.args: must not be empty");
	assert_process_refused(
		"'stdio':1,'stderr':2,'args':['']", "process.args[0]: must not be empty");
	assert_process_refused(
		"'stdio':1,'stderr':2,'args':['a',1]", "process.args[1]: expected string");
	assert_process_refused(
		"'stdio':1,'stderr':2,'args':['a\\u0000']", "process.args[0]: \\u0000 in a string");
}

static void a_process_needs_its_streams(void **state)
{
	struct exec_spec exec;

	(void)state;
	assert_process_refused("'args':['a']", "process.stdio: must not be 0");
	assert_process_refused("'args':['a'],'stdio':0,'stderr':1", "process.stdio: must not be 0");
	assert_process_refused("'args':['a'],'stdio':1", "process.stderr: 0 needs a terminal");
	assert_taken(exec_spec, exec_with("'args':['a'],'stdio':1,'terminal':true"), &exec);
	assert_int_equal(exec.process.stderr_seq, 0);
	assert_taken(
		exec_spec, exec_with("'args':['a'],'stdio':1,'stderr':2,'terminal':true"), &exec);
	assert_int_equal(exec.process.stderr_seq, 2);
	assert_taken(exec_spec, exec_with("'args':['a'],'stdio':1,'stderr':2"), &exec);
}

static void a_process_may_have_an_id(void **state)
{
	struct exec_spec exec;

	(void)state;
	assert_taken(exec_spec, exec_with("'id':'p1','args':['a'],'stdio':1,'stderr':2"), &exec);
	assert_string_equal(exec.process.id, "p1");
	assert_taken(exec_spec, exec_with("'id':'','args':['a'],'stdio':1,'stderr':2"), &exec);
	assert_null(exec.process.id);
	assert_process_refused("'id':'a/b','args':['a'],'stdio':1,'stderr':2",
		"process.id: 'a/b' cannot be an id");
}

static void an_environment_variable_has_a_name(void **state)
{
	(void)state;
	assert_process_refused("'args':['a'],'stdio':1,'stderr':2,'envs':[{'value':'b'}]",
		"process.envs[0].env: missing");
	assert_process_refused("'args':['a'],'stdio':1,'stderr':2,'envs':[{'env':'A'},{'env':''}]",
		"process.envs[1].env: must not be empty");
	assert_process_refused("'args':['a'],'stdio':1,'stderr':2,'envs':[{'env':'A=B'}]",
		"process.envs[0].env: 'A=B' holds a '='");
}

static void a_terminal_size_fits_the_kernel(void **state)
{
	(void)state;
	assert_process_refused("'rows':65536,'args':['a'],'stdio':1,'stderr':2",
		"process.rows: out of range 0 to 65535");
	assert_process_refused("'columns':-1,'args':['a'],'stdio':1,'stderr':2",
		"process.columns: out of range 0 to 65535");
}

static void capabilities_become_bits(void **state)
{
	struct exec_spec exec;

	(void)state;
	assert_taken(exec_spec,
		exec_with(
			"'args':['a'],'stdio':1,'stderr':2,'capabilities':{'bounding':['CAP_CHOWN',"
			"'SYS_ADMIN','CAP_CHECKPOINT_RESTORE'],'permitted':['CAP_CHOWN'],"
			"'effective':['CHOWN'],'inheritable':[],'ambient':null}"),
		&exec);
	assert_true(exec.process.capabilities->sets[BOUNDING] == (1 | 1 << 21 | 1ULL << 40));
	assert_true(exec.process.capabilities->sets[PERMITTED] == 1);
	assert_true(exec.process.capabilities->sets[EFFECTIVE] == 1);
	assert_true(exec.process.capabilities->sets[INHERITABLE] == 0);
	assert_true(exec.process.capabilities->sets[AMBIENT] == 0);
}

static void no_capabilities_are_not_the_same_as_none_named(void **state)
{
	static const char *const absent[] = {"", ",'capabilities':null"};
	static const char *const empty[] = {
		",'capabilities':{}",
		",'capabilities':{'bounding':null,'effective':null,'inheritable':null,"
		"'permitted':null,'ambient':null}",
		",'capabilities':{'bounding':[],'effective':[]}",
	};
	struct exec_spec exec;
	char process[200];

	(void)state;
	for (size_t i = 0; i < sizeof(absent) / sizeof(absent[0]); i++) {
		snprintf(
			process, sizeof(process), "'args':['a'],'stdio':1,'stderr':2%s", absent[i]);
		assert_taken(exec_spec, exec_with(process), &exec);
		assert_null(exec.process.capabilities);
	}
	for (size_t i = 0; i < sizeof(empty) / sizeof(empty[0]); i++) {
		snprintf(process, sizeof(process), "'args':['a'],'stdio':1,'stderr':2%s", empty[i]);
		assert_taken(exec_spec, exec_with(process), &exec);
		for (size_t set = 0; set < CAPABILITY_SETS; set++)
			assert_true(exec.process.capabilities->sets[set] == 0);
	}
}

static void docker_gives_fourteen(void **state)
{
	const uint64_t any = capabilities_any(&capabilities_docker);

	(void)state;
	assert_int_equal(__builtin_popcountll(any), 14);
	assert_int_equal(any & CAPABILITY_BIT(CAP_SYS_ADMIN), 0);
	assert_int_equal(capabilities_any(NULL), UINT64_MAX);
}

static void capabilities_that_the_kernel_would_refuse_are_refused(void **state)
{
	static const struct {
		const char *sets, *error;
	} cases[] = {
		{"'effective':['CAP_CHOWN','CAP_NOPE']",
			"effective[1]: no such capability 'CAP_NOPE'"},
		{"'bounding':['']", "bounding[0]: no such capability ''"},
		{"'ambient':['cap_chown']", "ambient[0]: no such capability 'cap_chown'"},
		{"'bounding':['KILL'],'effective':['KILL']",
			"effective: holds what is not permitted"},
		{"'permitted':['KILL'],'inheritable':['KILL']",
			"inheritable: holds what is not bounding"},
		{"'permitted':['KILL'],'bounding':['KILL'],'ambient':['KILL']",
			"ambient: holds what is not both permitted and inheritable"},
	};
	char process[200], error[200];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		snprintf(process, sizeof(process),
			"'args':['a'],'stdio':1,'stderr':2,'capabilities':{%s}", cases[i].sets);
		snprintf(error, sizeof(error), "process.capabilities.%s", cases[i].error);
		assert_process_refused(process, error);
	}
}

static void a_limit_has_a_name_and_two_values(void **state)
{
	struct exec_spec exec;

	(void)state;
	assert_taken(exec_spec,
		exec_with("'args':['a'],'stdio':1,'stderr':2,'rlimits':[{'type':'RLIMIT_CORE',"
			  "'soft':0,'hard':18446744073709551615}]"),
		&exec);
	assert_int_equal(exec.process.rlimits_count, 1);
	assert_int_equal(exec.process.rlimits[0].resource, RLIMIT_CORE);
	assert_true(exec.process.rlimits[0].soft == 0);
	assert_true(exec.process.rlimits[0].hard == RLIM_INFINITY);
	assert_process_refused("'args':['a'],'stdio':1,'stderr':2,'rlimits':[{'type':'RLIMIT_X',"
			       "'soft':0,'hard':0}]",
		"process.rlimits[0].type: no such limit 'RLIMIT_X'");
	assert_process_refused("'args':['a'],'stdio':1,'stderr':2,'rlimits':[{'type':"
			       "'RLIMIT_CORE','soft':2,'hard':1}]",
		"process.rlimits[0].soft: above hard");
	assert_process_refused("'args':['a'],'stdio':1,'stderr':2,'rlimits':[{'type':"
			       "'RLIMIT_CORE','soft':2}]",
		"process.rlimits[0].hard: missing");
}

static void an_exec_needs_a_container(void **state)
{
	struct exec_spec exec;

	(void)state;
	assert_refused(exec_spec, "{}", &exec, "container: missing");
	assert_refused(exec_spec, "{\"container\":\"c\"}", &exec, "process: missing");
}

static void a_pod_may_be_empty(void **state)
{
	struct pod_spec pod;

	(void)state;
	assert_taken(pod_spec, "{}", &pod);
	assert_null(pod.hostname);
	assert_null(pod.share_dir);
	assert_null(pod.dns);
}

static void a_pod_of_clear_containers_2_is_taken(void **state)
{
	static const char text[] =
		"{\"hostname\":\"pod-1\",\"shareDir\":\"rootfs\",\"containers\":[],"
		"\"interfaces\":[{\"macAddr\":\"02:00:00:00:00:01\",\"mtu\":\"1500\"}],"
		"\"routes\":[{\"dest\":\"default\"}],\"iptableRules\":\"*filter\\nCOMMIT\\n\","
		"\"dns\":[\"8.8.8.8\",\"fe80::1%eth0\"],\"dnsSearch\":[\"a.example\"],"
		"\"dnsOptions\":[\"ndots:5\"],\"restartPolicy\":\"never\"}";
	struct pod_spec pod;

	(void)state;
	assert_taken(pod_spec, text, &pod);
	assert_string_equal(pod.hostname, "pod-1");
	assert_string_equal(pod.share_dir, "rootfs");
	assert_string_equal(pod.dns[1], "fe80::1%eth0");
	assert_null(pod.dns[2]);
	assert_string_equal(pod.dns_search[0], "a.example");
	assert_string_equal(pod.dns_options[0], "ndots:5");
}

static void a_line_of_resolv_conf_cannot_be_forged(void **state)
{
	struct pod_spec pod;

	(void)state;
	assert_refused(pod_spec, "{\"dns\":[\"1.1.1.1\",\"8.8.8.8\\nsearch x\"]}", &pod,
		"dns[1]: holds white space");
	assert_refused(
		pod_spec, "{\"dnsSearch\":[\"a b\"]}", &pod, "dnsSearch[0]: holds white space");
	assert_refused(
		pod_spec, "{\"dnsOptions\":[\"a\\tb\"]}", &pod, "dnsOptions[0]: holds white space");
	assert_refused(pod_spec, "{\"hostname\":\"a\\nb\"}", &pod, "hostname: holds white space");
}

static void a_hostname_has_64_bytes_at_most(void **state)
{
	char text[100];
	struct pod_spec pod;

	(void)state;
	snprintf(text, sizeof(text), "{\"hostname\":\"%064d\"}", 0);
	assert_taken(pod_spec, text, &pod);
	snprintf(text, sizeof(text), "{\"hostname\":\"%065d\"}", 0);
	assert_refused(pod_spec, text, &pod, "hostname: longer than 64 bytes");
}

static void a_kill_names_container_and_signal(void **state)
{
	struct kill_spec kill;

	(void)state;
	assert_taken(kill_spec, "{\"container\":\"c\",\"signal\":64,\"allProcesses\":true}", &kill);
	assert_string_equal(kill.container, "c");
	assert_int_equal(kill.signal, 64);
	assert_true(kill.all_processes);
	assert_taken(kill_spec, "{\"container\":\"c\",\"signal\":0}", &kill);
	assert_false(kill.all_processes);
	assert_refused(kill_spec, "{\"signal\":9}", &kill, "container: missing");
	assert_refused(kill_spec, "{\"container\":\"c\"}", &kill, "signal: missing");
	assert_refused(kill_spec, "{\"container\":\"c\",\"signal\":65}", &kill,
		"signal: out of range 0 to 64");
	assert_refused(kill_spec, "{\"container\":\"c\",\"signal\":-1}", &kill,
		"signal: out of range 0 to 64");
	assert_refused(kill_spec, "{\"container\":\"c\",\"signal\":\"9\"}", &kill,
		"signal: expected integer");
}

static void containers_of_a_pod_are_checked_by_their_place(void **state)
{
	struct pod_spec pod;

	(void)state;
	assert_taken(pod_spec,
		"{\"containers\":[{\"id\":\"a\",\"image\":\"i\",\"process\":{\"args\":[\"x\"],"
		"\"stdio\":1,\"stderr\":2}},{\"id\":\"b\",\"image\":\"i\",\"process\":{"
		"\"args\":[\"y\"],\"stdio\":3,\"terminal\":true}}]}",
		&pod);
	assert_int_equal(pod.containers_count, 2);
	assert_string_equal(pod.containers[1].process.args[0], "y");
	assert_refused(pod_spec,
		"{\"containers\":[{\"id\":\"a\",\"image\":\"i\",\"process\":{\"args\":[\"x\"],"
		"\"stdio\":1,\"stderr\":2}},{\"id\":\"b\",\"image\":\"i\",\"process\":{\"args\":{}}"
		"}]}",
		&pod, "containers[1].process.args: expected array");
	assert_refused(pod_spec,
		"{\"containers\":[{\"id\":\"a\",\"image\":\"i\",\"process\":{\"args\":[\"x\"]}}]}",
		&pod, "containers[0].process.stdio: must not be 0");
}

static void a_remove_a_signal_and_a_ps_name_what_they_mean(void **state)
{
	struct remove_spec remove;
	struct signal_spec signal;
	struct ps_spec ps;

	(void)state;
	assert_taken(remove_spec, "{\"container\":\"c\"}", &remove);
	assert_string_equal(remove.container, "c");
	assert_refused(remove_spec, "{}", &remove, "container: missing");
	assert_taken(
		signal_spec, "{\"container\":\"c\",\"process\":\"init\",\"signal\":0}", &signal);
	assert_string_equal(signal.process, "init");
	assert_refused(
		signal_spec, "{\"container\":\"c\",\"signal\":9}", &signal, "process: missing");
	assert_taken(ps_spec, "{\"container\":\"c\",\"format\":\"\",\"psargs\":[\"-ef\"]}", &ps);
	assert_null(ps.format);
	assert_string_equal(ps.psargs[0], "-ef");
	assert_refused(ps_spec, "{\"container\":\"c\",\"format\":\"xml\"}", &ps,
		"format: 'xml' is neither table nor json");
}

static void an_interface_is_taken_as_both_kinds_of_host_send_it(void **state)
{
	struct interface_spec interface;

	(void)state;
	/* Clear Containers' … */
	assert_taken(interface_spec,
		"{\"device\":\"\",\"ipAddresses\":[{\"ipAddress\":\"172.17.0.2\","
		"\"netMask\":\"16\"}],\"mtu\":1500,\"macAddr\":\"02:42:ac:11:00:02\"}",
		&interface);
	assert_null(interface.device);
	assert_int_equal(interface.ip_addresses_count, 1);
	assert_string_equal(interface.ip_addresses[0].net_mask, "16");
	assert_int_equal(interface.mtu, 1500);
	/* … and runV's, in its old form. */
	assert_taken(interface_spec,
		"{\"device\":\"eth0\",\"newDeviceName\":\"eth1\",\"ipAddress\":\"10.1.0.2\","
		"\"netMask\":\"255.255.0.0\",\"ipAddresses\":null}",
		&interface);
	assert_string_equal(interface.new_device_name, "eth1");
	assert_string_equal(interface.ip_single.ip_address, "10.1.0.2");
	assert_string_equal(interface.ip_single.net_mask, "255.255.0.0");
	assert_int_equal(interface.ip_addresses_count, 0);
}

static void an_mtu_is_a_number_or_its_digits(void **state)
{
	static const struct {
		const char *json;
		uint32_t mtu;
	} right[] = {{"{\"mtu\":1400}", 1400}, {"{\"mtu\":\"1400\"}", 1400}, {"{\"mtu\":\"\"}", 0},
		{"{\"mtu\":null}", 0}, {"{\"mtu\":\"4294967295\"}", UINT32_MAX}, {"{}", 0}};
	struct interface_spec interface;

	(void)state;
	for (size_t i = 0; i < sizeof(right) / sizeof(right[0]); i++) {
		assert_taken(interface_spec, right[i].json, &interface);
		assert_int_equal(interface.mtu, right[i].mtu);
	}
	assert_refused(interface_spec, "{\"mtu\":\"14k\"}", &interface, "mtu: expected integer");
	assert_refused(interface_spec, "{\"mtu\":\" 1400\"}", &interface, "mtu: expected integer");
	assert_refused(interface_spec, "{\"mtu\":[]}", &interface, "mtu: expected integer");
	assert_refused(interface_spec, "{\"mtu\":\"4294967296\"}", &interface,
		"mtu: out of range 0 to 4294967295");
}

static void white_lists_are_of_ipv4_networks(void **state)
{
	struct pod_spec pod;

	(void)state;
	assert_taken(pod_spec,
		"{\"portmappingWhiteLists\":{\"internalNetworks\":[\"10.0.0.0/8\",\"192.0.2.1\"]}}",
		&pod);
	assert_string_equal(pod.white_lists->internal[1], "192.0.2.1");
	assert_refused(pod_spec,
		"{\"portmappingWhiteLists\":{\"externalNetworks\":[\"0.0.0.0/0\\n-F\"]}}", &pod,
		"portmappingWhiteLists.externalNetworks[0]: '0.0.0.0/0\n-F': '0\n-F' is no "
		"netmask: expected 0 to 32 or 255.255.255.0");
	assert_refused(pod_spec, "{\"portmappingWhiteLists\":{\"externalNetworks\":[\"::/0\"]}}",
		&pod, "portmappingWhiteLists.externalNetworks[0]: '::/0' is not IPv4");
	/* Without any, nobody is kept out. */
	assert_taken(pod_spec,
		"{\"portmappingWhiteLists\":{\"internalNetworks\":[],\"externalNetworks\":null}}",
		&pod);
	assert_null(pod.white_lists);
}

static void a_window_size_comes_in_two_forms(void **state)
{
	struct winsize_spec size;

	(void)state;
	assert_taken(
		winsize_spec, "{\"seq\":18446744073709551615,\"row\":1,\"column\":65535}", &size);
	assert_true(size.seq == UINT64_MAX && size.row == 1 && size.column == 65535);
	assert_taken(winsize_spec,
		"{\"container\":\"c\",\"process\":\"init\",\"row\":24,\"column\":80}", &size);
	assert_true(size.seq == 0);
	assert_string_equal(size.container, "c");
	assert_string_equal(size.process, "init");
	assert_refused(winsize_spec, "{\"container\":\"c\",\"row\":1,\"column\":1}", &size,
		"neither seq nor container and process are given");
	assert_refused(
		winsize_spec, "{\"seq\":1,\"row\":65536}", &size, "row: out of range 0 to 65535");
}

#define test_with_arena(test) cmocka_unit_test_setup_teardown(test, arena_setup, arena_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test_with_arena(a_container_of_clear_containers_3_is_taken),
		test_with_arena(a_container_needs_id_image_and_process),
		test_with_arena(what_a_container_mounts_is_taken),
		test_with_arena(what_makes_no_sense_as_a_mount_is_refused),
		test_with_arena(an_id_cannot_be_a_path),
		test_with_arena(a_process_needs_a_program),
		test_with_arena(a_process_needs_its_streams),
		test_with_arena(a_process_may_have_an_id),
		test_with_arena(an_environment_variable_has_a_name),
		test_with_arena(a_terminal_size_fits_the_kernel),
		test_with_arena(capabilities_become_bits),
		test_with_arena(no_capabilities_are_not_the_same_as_none_named),
		cmocka_unit_test(docker_gives_fourteen),
		test_with_arena(capabilities_that_the_kernel_would_refuse_are_refused),
		test_with_arena(a_limit_has_a_name_and_two_values),
		test_with_arena(an_exec_needs_a_container),
		test_with_arena(a_pod_may_be_empty),
		test_with_arena(a_pod_of_clear_containers_2_is_taken),
		test_with_arena(a_line_of_resolv_conf_cannot_be_forged),
		test_with_arena(a_hostname_has_64_bytes_at_most),
		test_with_arena(a_kill_names_container_and_signal),
		test_with_arena(containers_of_a_pod_are_checked_by_their_place),
		test_with_arena(a_remove_a_signal_and_a_ps_name_what_they_mean),
		test_with_arena(an_interface_is_taken_as_both_kinds_of_host_send_it),
		test_with_arena(an_mtu_is_a_number_or_its_digits),
		test_with_arena(white_lists_are_of_ipv4_networks),
		test_with_arena(a_window_size_comes_in_two_forms),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
