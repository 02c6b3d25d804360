/* SPDX-License-Identifier: Apache-2.0 */
/* What a process may do: its limits, its identity and its capabilities. */
#include "child/privileges.h"

#include <errno.h>
#include <linux/capability.h>
#include <linux/landlock.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "child/child.h"
#include "child/seccomp.h"
#include "spec/privilege.h"

static void limits_set(const struct process_spec *process, const struct rlimit *nofile)
{
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
}

/* The processes of a pod see each other, and who has the user and the capabilities of another passes
 * through its /proc/PID/root, fd, … into its container. Not from a Landlock domain into one that is
 * not below it, nor into none. This one restricts nothing else that is possible without CAP_SYS_ADMIN:
 * what it handles it allows everywhere. (REFER, since it is refused by any domain that does not name
 * it: Linux 5.19. An older kernel, or one without Landlock, has no such defence; boot says so.) */
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

static void bounding_drop(uint64_t dropped)
{
	for (int i = 0; dropped >> i != 0; i++)
		if (dropped >> i & 1 && prctl(PR_CAPBSET_DROP, i, 0, 0, 0) < 0)
			die_errno("drop CAP_%s from the bounding set", capability_name(i));
}

static void sets_take(const uint64_t sets[CAPABILITY_SETS])
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];

	for (int i = 0; i < _LINUX_CAPABILITY_U32S_3; i++) {
		data[i].effective = (uint32_t)(sets[EFFECTIVE] >> 32 * i);
		data[i].permitted = (uint32_t)(sets[PERMITTED] >> 32 * i);
		data[i].inheritable = (uint32_t)(sets[INHERITABLE] >> 32 * i);
	}
	if (syscall(SYS_capset, &header, data) < 0)
		die_errno("set capabilities");
	for (int i = 0; sets[AMBIENT] >> i != 0; i++)
		if (sets[AMBIENT] >> i & 1 &&
			prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, i, 0, 0) < 0)
			die_errno("set ambient CAP_%s", capability_name(i));
}

void child_privileges_take(const struct child_privileges *privileges)
{
	const struct process_spec *process = privileges->process;
	struct capabilities_spec capabilities;
	uint64_t own;

	/* With one of these it could undo it, or would miss what it was given them for. */
	if (!(capabilities_any(process->capabilities) &
		    (CAPABILITY_BIT(CAP_SYS_ADMIN) | CAPABILITY_BIT(CAP_SYS_PTRACE))))
		peers_shut_out(privileges->root);
	limits_set(process, &privileges->nofile);
	if (process->no_new_privileges && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		die_errno("set no_new_privs");
	/* It takes what there is. For root that is everything; another user has nothing but the bounding
	 * set. */
	if (!process->capabilities) {
		child_user_become(privileges->user);
		return;
	}
	capabilities = *process->capabilities;
	if (!(capabilities.sets[BOUNDING] & CAPABILITY_BIT(CAP_SYS_ADMIN)))
		child_seccomp_take();
	own = capability_own();
	for (int i = 0; i < CAPABILITY_SETS; i++)
		capabilities.sets[i] &= own;
	bounding_drop(own & ~capabilities.sets[BOUNDING]);
	/* Or the change of user would take them all; execve clears this again. */
	if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0)
		die_errno("keep capabilities");
	child_user_become(privileges->user);
	sets_take(capabilities.sets);
}
