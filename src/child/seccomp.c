/* SPDX-License-Identifier: Apache-2.0 */
/* The system calls that a process without CAP_SYS_ADMIN does without. */
#include "child/seccomp.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/count.h"
#include "child/child.h"

#define FLAGS_REFUSED                                                                  \
	(CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | \
		CLONE_NEWPID | CLONE_NEWNET | CLONE_PARENT)

#define CLONE3 435 /* on every architecture */
#define X32    0x40000000

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
		JUMP(BPF_JEQ, CLONE3, 1 + (behind) + MISSING, 0),                 \
		JUMP(BPF_JGE, X32, (behind) + MISSING, (behind) + ALLOW)
#define NUMBERS_LENGTH 7

void child_seccomp_take(void)
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

	/* ENOSYS, EINVAL: a kernel without; boot says so. To one that has it this filter is valid: it is
	 * always the same, and there are no flags. */
	if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) < 0 && errno != ENOSYS &&
		errno != EINVAL)
		die_errno("install a seccomp filter");
}
