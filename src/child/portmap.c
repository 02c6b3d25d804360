/* SPDX-License-Identifier: Apache-2.0 */
/* The guest's packet filter, by iptables-restore: who may reach which port of the pod.
 *
 *     from            to                          is
 *     anybody         icmp, established, lo       accepted
 *     internal        anything                    accepted
 *     internal        a hostPort                  redirected to its containerPort, accepted
 *     external        a hostPort                  redirected to its containerPort, accepted
 *     anybody else, anything else                 dropped
 *
 * The pod has a chain in each table. A container with ports has chains of its own, to which the pod's lead: a
 * worker makes them before its first process begins, and the child that unmounts it removes them.
 * iptables-restore changes a table at once or not at all.
 */
#include "child/portmap.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/count.h"
#include "base/file.h"
#include "base/fork.h"
#include "base/format.h"
#include "child/child.h"

#define NAT    "hyperstart-PREROUTING"
#define FILTER "hyperstart-INPUT"
/* Before the number of a container's chains. */
#define CHAIN_OF "hyperstart-"

/* A guest of 256 MiB can afford this; the kernel's own choice for it is 2048 buckets. */
#define CONNTRACK_BUCKETS "16384"
#define CONNTRACK_MAX     "65536"

#define NOT_FOUND 127 /* as in a shell */

/* --- Programs --------------------------------------------------------------------------------- */

static int memory_open(struct error *err)
{
	int fd = memfd_create("rules", MFD_CLOEXEC);

	return fd < 0 ? error_errno(err, "memory for rules") : fd;
}

static _Noreturn void run_child(const char *const argv[], const int stdio[3], pid_t parent)
{
	static const char *const directories[] = {"/usr/sbin", "/sbin", "/usr/bin", "/bin"};
	static char *const environment[] = {"PATH=/usr/sbin:/sbin:/usr/bin:/bin", NULL};
	char path[64];

	/* When the worker is killed its program must not change the rules later. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
	for (int i = 0; i < 3; i++)
		if (dup2(stdio[i], i) < 0)
			_exit(1);
	for (size_t i = 0; i < COUNT(directories); i++) {
		format(path, sizeof(path), "%s/%s", directories[i], argv[0]);
		execve(path, (char *const *)argv, environment);
	}
	_exit(NOT_FOUND);
}

/* An error with the first line that the program wrote on stderr. */
static void complain(const char *program, int complaints, struct error *err)
{
	char text[256];
	ssize_t length = pread(complaints, text, sizeof(text) - 1, 0);

	text[length > 0 ? length : 0] = '\0';
	text[strcspn(text, "\n")] = '\0';
	for (char *c = text; *c; c++)
		if ((unsigned char)*c < ' ' || (unsigned char)*c > '~')
			*c = '?';
	error_set(err, EINVAL, "%s", *text ? text : "failed without a word");
	/* Most begin with their name. */
	if (strncmp(text, program, strlen(program)) != 0)
		error_wrap(err, "%s", program);
}

/* Runs it with `input` as stdin, read from its start, and `output` as stdout. After the limit it is killed. */
static int run(
	const char *const argv[], int input, int output, uint32_t limit_ms, struct error *err)
{
	int complaints = memory_open(err), status = 0, rc = -1;
	struct pollfd poller = {.events = POLLIN};
	pid_t pid, parent = getpid();

	if (complaints < 0)
		return -1;
	lseek(input, 0, SEEK_SET);
	pid = fork_raw();
	if (pid == 0)
		run_child(argv, (const int[]){input, output, complaints}, parent);
	poller.fd = pid < 0 ? -1 : (int)syscall(SYS_pidfd_open, pid, 0);
	if (pid < 0) {
		error_errno(err, "run %s", argv[0]);
	} else if (poll(&poller, 1, limit_ms > INT_MAX ? -1 : (int)limit_ms) == 0) {
		kill(pid, SIGKILL);
		error_set(err, ETIMEDOUT, "%s: not done in %u ms", argv[0], limit_ms);
	} else if (waitpid(pid, &status, 0) < 0) {
		error_errno(err, "%s: wait", argv[0]);
	} else if (WIFEXITED(status) && WEXITSTATUS(status) == NOT_FOUND) {
		error_set(err, ENOENT, "there is no %s in this guest", argv[0]);
	} else if (status != 0) {
		complain(argv[0], complaints, err);
	} else {
		rc = 0;
	}
	fd_close(&poller.fd);
	close(complaints);
	return rc;
}

/* `option`: "--noflush", or NULL: the tables are emptied first. */
static int restore(int rules, const char *option, uint32_t limit_ms, struct error *err)
{
	/* -w 5: waits at most 5 s for another iptables. */
	const char *const argv[] = {"iptables-restore", "-w", "5", option, NULL};

	return run(argv, rules, rules, limit_ms, err);
}

/* --- Rules ------------------------------------------------------------------------------------ */

/* A rule for each of `networks`, which may be NULL. */
static void write_rules(int rules, const char *chain, const char **networks, const char *rule)
{
	for (; networks && *networks; networks++)
		dformat(rules, "-A %s -s %s %s\n", chain, *networks, rule);
}

static const char *protocol_of(const struct port_spec *port, size_t i)
{
	const char *protocol = port->protocol ? port->protocol : "tcp";

	if (port->host_port == 0 || port->container_port == 0)
		die("ports[%zu]: port 0 cannot be mapped", i);
	if (strcasecmp(protocol, "udp") == 0)
		return "udp";
	if (strcasecmp(protocol, "tcp") != 0)
		die("ports[%zu].protocol: '%s' is neither tcp nor udp", i, protocol);
	return "tcp";
}

void child_portmap_open(const void *child_ports)
{
	const struct child_ports *ports = child_ports;
	const struct white_lists_spec *lists = ports->lists;
	const struct port_spec *port = ports->container->ports;
	const size_t count = ports->container->ports_count;
	char name[32], rule[128];
	struct error err;
	int rules = memory_open(&err);

	if (rules < 0)
		die_error(&err);
	if (count > PORTS_MAX)
		die("%zu ports: more than %u", count, PORTS_MAX);
	format(name, sizeof(name), CHAIN_OF "%u", ports->chain);
	dformat(rules, "*nat\n:%s - [0:0]\n-A " NAT " -j %s\n", name, name);
	for (size_t i = 0; i < count; i++) {
		format(rule, sizeof(rule), "-p %s --dport %u -j REDIRECT --to-ports %u",
			protocol_of(&port[i], i), port[i].host_port, port[i].container_port);
		write_rules(rules, name, lists->internal, rule);
		write_rules(rules, name, lists->external, rule);
	}
	dformat(rules, "COMMIT\n*filter\n:%s - [0:0]\n-I " FILTER " -j %s\n", name, name);
	/* By the port that was asked for: the container's own is closed, unless it is the same. */
	for (size_t i = 0; i < count; i++) {
		format(rule, sizeof(rule),
			"-p %s --dport %u -m conntrack --ctorigdstport %u -j ACCEPT",
			protocol_of(&port[i], i), port[i].container_port, port[i].host_port);
		write_rules(rules, name, lists->external, rule);
	}
	dformat(rules, "COMMIT\n");
	if (restore(rules, "--noflush", UINT32_MAX, &err) < 0) /* the worker has a deadline */
		die_error(&err);
	report_done(NULL, 0);
}

int portmap_close_ports(unsigned chain, uint32_t limit_ms, struct error *err)
{
	static const char *const tables[][2] = {{"nat", NAT}, {"filter", FILTER}};
	int rc = 0;

	/* Table by table: a worker that was killed may have made the chain of one alone. */
	for (size_t i = 0; i < COUNT(tables); i++) {
		int rules = memory_open(err);

		if (rules < 0)
			return -1;
		dformat(rules,
			"*%s\n:" CHAIN_OF "%u - [0:0]\n-D %s -j " CHAIN_OF "%u\n-X " CHAIN_OF
			"%u\nCOMMIT\n",
			tables[i][0], chain, tables[i][1], chain, chain);
		rc |= restore(rules, "--noflush", limit_ms, err);
		close(rules);
	}
	return rc;
}

/* --- The pod: rules before and after ---------------------------------------------------------- */

#define CHAIN(name) ":" name " ACCEPT [0:0]\n"

/* The tables of an untouched guest. */
static const struct {
	const char *name, *chains;
} tables[] = {
	{"*raw\n", CHAIN("PREROUTING") CHAIN("OUTPUT")},
	{"*mangle\n",
		CHAIN("PREROUTING") CHAIN("INPUT") CHAIN("FORWARD") CHAIN("OUTPUT")
			CHAIN("POSTROUTING")},
	{"*nat\n", CHAIN("PREROUTING") CHAIN("INPUT") CHAIN("OUTPUT") CHAIN("POSTROUTING")},
	{"*filter\n", CHAIN("INPUT") CHAIN("FORWARD") CHAIN("OUTPUT")},
	{"*security\n", CHAIN("INPUT") CHAIN("FORWARD") CHAIN("OUTPUT")},
};

unsigned portmap_tables(const char *rules)
{
	unsigned named = 0;

	while (*rules) {
		for (size_t i = 0; i < COUNT(tables); i++)
			if (strncmp(rules, tables[i].name, strlen(tables[i].name)) == 0)
				named |= 1u << i;
		rules = strchrnul(rules, '\n');
		rules += *rules != '\0';
	}
	return named;
}

/* ":INPUT ACCEPT [0:0]"; a chain that no rule leads to has the policy "-". */
static bool chain_accepts(const char *line, size_t length)
{
	const char *policy = memchr(line, ' ', length);
	size_t size = policy ? strcspn(++policy, " \n") : 0;

	return (size == 1 && *policy == '-') ||
		(size == strlen("ACCEPT") && strncmp(policy, "ACCEPT", size) == 0);
}

bool portmap_is_empty(const char *rules)
{
	while (*rules) {
		size_t length = strcspn(rules, "\n");

		if (length > 0 && *rules != '#' && *rules != '*' &&
			(length != strlen("COMMIT") || strncmp(rules, "COMMIT", length) != 0) &&
			(*rules != ':' || !chain_accepts(rules, length)))
			return false;
		rules += length + (rules[length] != '\0');
	}
	return true;
}

/* All of a memfd, as a string; its offset is then at its end. */
static char *read_all(int fd, struct error *err)
{
	off_t length = lseek(fd, 0, SEEK_END);
	char *text = length < 0 || length > RESULT_MAX ? NULL : malloc((size_t)length + 1);

	if (!text || pread(fd, text, (size_t)length, 0) != length) {
		error_set(err, ENOMEM, "the rules take too much memory");
		free(text);
		return NULL;
	}
	text[length] = '\0';
	return text;
}

/* A text that restores the present state of all tables; those that `rules` will create are empty in it. */
static char *save(const char *rules, uint32_t limit_ms, struct error *err)
{
	static const char *const argv[] = {"iptables-save", NULL};
	int fd = memory_open(err);
	unsigned missing;
	char *text;

	if (fd < 0 || run(argv, fd, fd, limit_ms, err) < 0)
		return NULL;
	text = read_all(fd, err);
	if (!text)
		return NULL;
	missing = portmap_tables(rules) & ~portmap_tables(text);
	for (size_t i = 0; i < COUNT(tables); i++)
		if (missing & 1u << i)
			dformat(fd, "%s%sCOMMIT\n", tables[i].name, tables[i].chains);
	return read_all(fd, err);
}

void portmap_undo(const char *undo, uint32_t limit_ms)
{
	const char *next;

	/* Table by table: one that does not exist must not keep the others from being restored. */
	for (const char *at = undo; (next = file_line(at, strlen(at), "COMMIT\n")) != NULL;
		at = next) {
		struct error err = {.code = 0};
		int fd = memory_open(&err);

		if (fd < 0)
			return;
		dformat(fd, "%.*s", (int)(next - at), at);
		restore(fd, NULL, limit_ms, &err);
		close(fd);
		if (err.code == ETIMEDOUT)
			return;
	}
}

int portmap_begin(const char *rules, const struct white_lists_spec *lists, uint32_t limit_ms,
	const char **undo, struct error *err)
{
	char *text, *before;
	int fd;

	*undo = "";
	if (rules && portmap_is_empty(rules))
		rules = NULL;
	if (!rules && !lists)
		return 0;
	fd = memory_open(err);
	if (fd < 0)
		return -1;
	if (rules)
		dformat(fd, "%s\n", rules);
	if (lists) {
		dformat(fd,
			"*nat\n:" NAT " - [0:0]\n-I PREROUTING -j " NAT "\nCOMMIT\n"
			"*filter\n:" FILTER " - [0:0]\n-I INPUT -j " FILTER "\n"
			"-A " FILTER " -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n"
			"-A " FILTER " -p icmp -j ACCEPT\n"
			"-A " FILTER " -i lo -j ACCEPT\n");
		write_rules(fd, FILTER, lists->internal, "-j ACCEPT");
		dformat(fd, "-A " FILTER " -j DROP\nCOMMIT\n");
	}
	text = read_all(fd, err);
	before = text ? save(text, limit_ms, err) : NULL;
	if (!before)
		return -1;
	*undo = before;
	if (restore(fd, "--noflush", limit_ms, err) < 0)
		return -1;
	if (lists) {
		/* For as many connections as a server has. */
		(void)file_write("/proc/sys/net/netfilter/nf_conntrack_buckets", CONNTRACK_BUCKETS);
		(void)file_write("/proc/sys/net/netfilter/nf_conntrack_max", CONNTRACK_MAX);
	}
	return 0;
}
