/* SPDX-License-Identifier: Apache-2.0 */
/* First and last moments of every child of the agent. What is in src/child/ runs after fork and before
 * exec: straight line, and it may die; but report and cgroup_limits run in the agent, too. */
#ifndef CHILD_H
#define CHILD_H

#include <stddef.h>

#include "base/error.h"

/* Closes every fd but stdio, the report pipe and the `count` fds of `keep` (in any order, -1 for none;
 * all stay close-on-exec); resets every signal that the agent catches, unblocks all. Stdio is the agent's
 * console: a child that runs a program replaces it. */
void child_begin(int report_fd, const int *keep, size_t count);

/* One ERROR record (errno as it is, and the text), then _exit(1). */
_Noreturn void die(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* die, with ": " and what errno means behind the text. */
_Noreturn void die_errno(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* The same with the errno and text of `err`. */
_Noreturn void die_error(const struct error *err);

/* DONE with `length` bytes of result. A step that fails after it may still die. */
void report_result(const void *result, size_t length);

/* A worker's good end: report_result(), then _exit(0). */
_Noreturn void report_done(const void *result, size_t length);

/* The end of the report of a child that lives on, after its result. */
void report_alive(void);

/* EXECUTING with `length` bytes of result (at most a record), then execve; on its failure
 * die("exec '<path>': …"). */
_Noreturn void child_execve(const char *path, char *const argv[], char *const envp[],
	const void *result, size_t length);

#endif
