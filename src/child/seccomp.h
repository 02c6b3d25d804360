/* SPDX-License-Identifier: Apache-2.0 */
/* The system calls that a process without CAP_SYS_ADMIN does without. */
#ifndef CHILD_SECCOMP_H
#define CHILD_SECCOMP_H

/* No new namespaces, by unshare, setns, clone or clone3: in a user namespace of its own a process has
 * every capability, and with it reaches parts of the kernel that no limit covers. And no siblings
 * (CLONE_PARENT): those of a first process are the agent's to reap. EPERM, but ENOSYS for clone3, whose
 * flags lie in memory: libraries fall back on clone then. In force for the caller from here on, and kept
 * through execve. A kernel without seccomp filters has no such defence. The caller has CAP_SYS_ADMIN. May
 * die. */
void child_seccomp_take(void);

#endif
