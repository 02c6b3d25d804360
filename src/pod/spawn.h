/* SPDX-License-Identifier: Apache-2.0 */
/* Step into namespaces, fork, step out; the report pipe as a source; the only waitpid. */
#ifndef SPAWN_H
#define SPAWN_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/loop.h"
#include "child/report.h"

struct spawn;

struct spawner {
	struct loop *loop;              /* borrowed */
	struct source signals;          /* signalfd of SIGCHLD, owned */
	struct list children;           /* every spawn not yet reaped */
	int pid_ns, mount_ns;           /* our own, to step back to; owned */
	pid_t abandoned[ABANDONED_MAX]; /* given up on, still to be reaped; 0: free */
};

/* One child. Its owner embeds it, and keeps it until it is both reported and reaped. */
struct spawn {
	struct list node;
	struct spawner *spawner;
	pid_t pid;
	struct source source;  /* report pipe, fd owned; -1 once it is at EOF */
	struct report *report; /* owned; NULL after spawn_forget_report() */
	struct timer deadline;
	const char *cancelled; /* why it was killed on purpose; static text */
	bool reaped;
	uint8_t stops;                        /* how often it was stopped while being set up */
	int status;                           /* of waitpid, once reaped */
	void (*changed)(struct spawn *spawn); /* one of these two: see spawn_plan */
	void (*done)(struct spawn *spawn, const struct error *err);
};

struct spawn_plan {
	int pid_ns;      /* the child's PID namespace; -1: ours */
	bool new_pid_ns; /* the child becomes init of a new one */
	int *mount_ns;   /* not NULL: the child gets a fresh copy of ours; its fd goes there */
	void (*entry)(const void *argument); /* never returns */
	const void *argument;
	const int *keep; /* fds that the child keeps */
	size_t keep_count;
	uint32_t
		deadline_ms; /* a child that by then neither runs its program nor is reaped is killed; 0: none */
	/* Of a child that becomes a program, or init: called when the report is complete (EOF), and
	 * when the child was reaped. */
	void (*changed)(struct spawn *spawn);
	/* Of a worker, which ends with report_done() or die(): called once, when it has succeeded
	 * (err NULL) or failed. It may use the spawn again, or free it with its owner. */
	void (*done)(struct spawn *spawn, const struct error *err);
};

/* 0, or -1 with err. SIGCHLD and SIGPIPE are blocked from here on; children get them unblocked. */
int spawner_open(struct spawner *spawner, struct loop *loop, struct error *err);

/* 0: the child runs; or -1 with err and nothing left, also while an earlier child of this spawn runs.
 * Aborts when it cannot step back. The spawn is all 0 or has been used before. */
int spawn_fork(struct spawner *spawner, struct spawn *spawn, const struct spawn_plan *plan,
	struct error *err);

/* SIGKILL with a reason, which becomes the outcome. Without effect on a program that has started. */
void spawn_cancel(struct spawn *spawn, const char *reason);
/* A signal to the child itself, unless it was reaped. */
void spawn_signal(const struct spawn *spawn, int signal);

/* A child was not reaped yet, or its report is not complete. */
bool spawn_is_busy(const struct spawn *spawn);
/* The last child was abandoned and still hangs in the kernel. */
bool spawn_hangs(const struct spawn *spawn);
/* The report pipe is at its end. */
bool spawn_is_reported(const struct spawn *spawn);
/* Reported success (EXECUTING, or DONE) and was not cancelled. */
bool spawn_succeeded(const struct spawn *spawn);
/* Why it did not succeed; only once it is both reported and reaped. Returns -1. */
int spawn_error(const struct spawn *spawn, struct error *err);
/* Within `done` or `changed`: the payload of DONE or EXECUTING, malloc, now the caller's, even if the child
 * failed later; NULL when it is empty, or has not come. */
uint8_t *spawn_take_result(struct spawn *spawn, size_t *length);
/* Frees the report: nobody asks for the outcome any more. */
void spawn_forget_report(struct spawn *spawn);

/* 0..255 as a shell counts: the exit code, or 128 + signal. */
int spawn_exit_code(const struct spawn *spawn);

#endif
