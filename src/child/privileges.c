/* SPDX-License-Identifier: Apache-2.0 */
/* What a process may do: its limits, its system calls, its identity and its capabilities. */
#include "child/privileges.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/landlock.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/count.h"
#include "child/child.h"
#include "spec/privilege.h"

#define FLAGS_REFUSED                                                                  \
	(CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | \
		CLONE_NEWPID | CLONE_NEWNET | CLONE_PARENT)

#define X32 0x40000000

/* The second set is that of the 32-bit programs that the kernel runs as well. */
#if defined(__x86_64__)
#define NATIVE            AUDIT_ARCH_X86_64
#define NATIVE_NUMBERS(x) NUMBERS(SYS_clone, SYS_unshare, SYS_setns, x)
#define OTHER_NUMBERS(x)  NUMBERS(120, 310, 346, x)
#elif defined(__aarch64__)
#define NATIVE            AUDIT_ARCH_AARCH64
#define NATIVE_NUMBERS(x) NUMBERS(SYS_unshare, SYS_clone, SYS_setns, x)
#define OTHER_NUMBERS(x)  NUMBERS(120, 337, 375, x)
#endif

#define LOAD(member) \
	BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (unsigned)offsetof(struct seccomp_data, member))
#define JUMP(test, value, if_true, if_false) \
	BPF_JUMP(BPF_JMP | test | BPF_K, value, if_true, if_false)
#define RETURN(action) BPF_STMT(BPF_RET | BPF_K, action)

/* The last five instructions. */
enum { FLAGS, FLAGS_TEST, ALLOW, REFUSE, MISSING };

/* When it installs a filter, the kernel runs it once for each system call, to know those that are always
 * allowed: what counts is how few instructions that takes for most of them. `first` and `second` are
 * clone and unshare in the order of their numbers: both have flags as their first argument. `behind`
 * instructions lie between these and the last five. */
#define NUMBERS(first, second, setns, behind)                                     \
	LOAD(nr), JUMP(BPF_JGE, second, 1, 0),                                    \
		JUMP(BPF_JEQ, first, 4 + (behind) + FLAGS, 4 + (behind) + ALLOW), \
		JUMP(BPF_JEQ, second, 3 + (behind) + FLAGS, 0),                   \
		JUMP(BPF_JEQ, setns, 2 + (behind) + REFUSE, 0),                   \
		JUMP(BPF_JEQ, SYS_clone3, 1 + (behind) + MISSING, 0),             \
		JUMP(BPF_JGE, X32, (behind) + MISSING, (behind) + ALLOW)
#define NUMBERS_LENGTH 7

/* No new namespaces, by unshare, setns, clone or clone3: in a user namespace of its own a process has
 * every capability, and with it reaches parts of the kernel that no limit covers. And no siblings
 * (CLONE_PARENT): those of a first process are the agent's to reap. EPERM, but ENOSYS for clone3, whose
 * flags lie in memory: libraries fall back on clone then. */
static void namespaces_refuse(void)
{
	static const struct sock_filter filter[] = {
		LOAD(arch),
		JUMP(BPF_JEQ, NATIVE, 0, NUMBERS_LENGTH),
		NATIVE_NUMBERS(NUMBERS_LENGTH),
		OTHER_NUMBERS(0),
		[2 + 2 * NUMBERS_LENGTH + FLAGS] = LOAD(args[0]),
		[2 + 2 * NUMBERS_LENGTH + FLAGS_TEST] = JUMP(BPF_JSET, FLAGS_REFUSED, 1, 0),
		[2 + 2 * NUMBERS_LENGTH + ALLOW] = RETURN(SECCOMP_RET_ALLOW),
		[2 + 2 * NUMBERS_LENGTH + REFUSE] = RETURN(SECCOMP_RET_ERRNO | EPERM),
		[2 + 2 * NUMBERS_LENGTH + MISSING] = RETURN(SECCOMP_RET_ERRNO | ENOSYS),
	};
	const struct sock_fprog program = {COUNT(filter), (struct sock_filter *)filter};

	/* ENOSYS, EINVAL: the kernel has no seccomp filters; boot says so. */
	if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) < 0 && errno != ENOSYS &&
		errno != EINVAL)
		die_errno("install a seccomp filter");
}

/* The processes of a pod see each other: one with the user and the capabilities of another could pass
 * through its /proc/PID/root, fd, … into its container. A Landlock domain forbids that for any process
 * that is not in this domain or below it. Apart from that it restricts nothing that is possible without
 * CAP_SYS_ADMIN: it handles one access and allows it everywhere. (REFER, because any domain that does not
 * name it refuses it; Linux 5.19. A kernel without it has no such defence, and boot says so.) */
static void peers_shut_out(int root)
{
	const struct landlock_ruleset_attr attr = {.handled_access_fs = LANDLOCK_ACCESS_FS_REFER};
	const struct landlock_path_beneath_attr all = {
		.allowed_access = LANDLOCK_ACCESS_FS_REFER,
		.parent_fd = root,
	};
	int rules = (int)syscall(SYS_landlock_create_ruleset, &attr, sizeof(attr), 0);

	if (rules < 0 && (errno == ENOSYS || errno == EOPNOTSUPP || errno == EINVAL))
		return;
	if (rules < 0 ||
		syscall(SYS_landlock_add_rule, rules, LANDLOCK_RULE_PATH_BENEATH, &all, 0) < 0 ||
		syscall(SYS_landlock_restrict_self, rules, 0) < 0)
		die_errno("shut out other containers");
	close(rules);
}

static void capabilities_take(const struct capabilities_spec *wanted, const struct child_user *user)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];
	const uint64_t own = capability_own(), dropped = own & ~wanted->sets[BOUNDING];
	const uint64_t ambient = own & wanted->sets[AMBIENT];

	for (int i = 0; dropped >> i != 0; i++)
		if (dropped >> i & 1 && prctl(PR_CAPBSET_DROP, i, 0, 0, 0) < 0)
			die_errno("drop CAP_%s from the bounding set", capability_name(i));
	/* Otherwise the change of user would clear the permitted set; execve resets this flag. */
	if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0)
		die_errno("keep capabilities");
	child_user_become(user);
	for (int i = 0; i < _LINUX_CAPABILITY_U32S_3; i++) {
		data[i].effective = (uint32_t)((own & wanted->sets[EFFECTIVE]) >> 32 * i);
		data[i].permitted = (uint32_t)((own & wanted->sets[PERMITTED]) >> 32 * i);
		data[i].inheritable = (uint32_t)((own & wanted->sets[INHERITABLE]) >> 32 * i);
	}
	if (syscall(SYS_capset, &header, data) < 0)
		die_errno("set capabilities");
	for (int i = 0; ambient >> i != 0; i++)
		if (ambient >> i & 1 && prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, i, 0, 0) < 0)
			die_errno("set ambient CAP_%s", capability_name(i));
}

void child_privileges_take(const struct process_spec *process, const struct child_user *user,
	const struct rlimit *nofile, int root)
{
	const struct capabilities_spec *capabilities = process->capabilities;

	/* A process with one of these was given it to mount or to trace, which a Landlock domain forbids. */
	if (!(capabilities_any(capabilities) &
		    (CAPABILITY_BIT(CAP_SYS_ADMIN) | CAPABILITY_BIT(CAP_SYS_PTRACE))))
		peers_shut_out(root);
	if (prlimit(0, RLIMIT_NOFILE, nofile, NULL) < 0)
		die_errno("restore the limit of open files");
	for (size_t i = 0; i < process->rlimits_count; i++) {
		const struct rlimit_spec *limit = &process->rlimits[i];
		/* 2^64 - 1 is RLIM_INFINITY here as well. */
		const struct rlimit value = {.rlim_cur = limit->soft, .rlim_max = limit->hard};

		if (prlimit(0, limit->resource, &value, NULL) < 0)
			die_errno("set %s to %llu, %llu", limit->type,
				(unsigned long long)limit->soft, (unsigned long long)limit->hard);
	}
	if (process->no_new_privileges && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		die_errno("set no_new_privs");
	if (capabilities && !(capabilities->sets[BOUNDING] & CAPABILITY_BIT(CAP_SYS_ADMIN)))
		namespaces_refuse();
	/* Without a list root keeps all capabilities, and another user only the bounding set. */
	if (capabilities)
		capabilities_take(capabilities, user);
	else
		child_user_become(user);
}
