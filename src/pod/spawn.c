/* SPDX-License-Identifier: Apache-2.0 */
/* Step into namespaces, fork, step out; the report pipe as a source; the only waitpid.
 *
 * Theory of operation. The agent has one thread, so it can enter the PID namespace of the child and
 * unshare a mount namespace for it, fork, and step back. The child is a direct child: no double fork, no
 * pid to pass on, and its mount namespace is open before it exists.
 *
 * A spawn has two facts, in either order: the report pipe is at EOF, and the child was reaped. A killed
 * child leaves the same EOF as one that executed its program; therefore success is the record EXECUTING
 * (or DONE) in front of it. The deadline runs until both facts are there.
 *
 * Root of a container can stop (SIGSTOP) a child that has yet to execute its program: the child is continued,
 * and killed when that does not help. After execve a stop is the container's own affair.
 *
 * Only this file reaps, so a pid can be signalled without a race. A child that does not exit within
 * KILL_MS of its SIGKILL hangs in the kernel (D state) and is abandoned: for its owner it was reaped,
 * and its pid is reaped when it exits.
 */
#include "pod/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "base/fork.h"
#include "base/invariant.h"
#include "base/log.h"
#include "base/queue.h"
#include "child/child.h"

#define KILL_MS 2000
/* Children reaped in one turn: a container can make children of the agent, by clone(CLONE_PARENT),
 * faster than it reaps them. */
#define WAITS_MAX 8
/* How often a child that is being set up is continued, when root of a container stops it. */
#define STOPS_MAX 3

/* The slot of an abandoned pid, or for 0 a free slot. Or NULL. */
static pid_t *find_abandoned(struct spawner *spawner, pid_t pid)
{
	for (size_t i = 0; i < ABANDONED_MAX; i++)
		if (spawner->abandoned[i] == pid)
			return &spawner->abandoned[i];
	return NULL;
}

bool spawn_hangs(const struct spawn *spawn)
{
	return spawn->pid > 0 && find_abandoned(spawn->spawner, spawn->pid);
}

bool spawn_is_reported(const struct spawn *spawn)
{
	return spawn->source.fd < 0;
}

bool spawn_is_busy(const struct spawn *spawn)
{
	return spawn->pid > 0 && !(spawn->reaped && spawn_is_reported(spawn));
}

/* It runs its program, or is the pod's init. A worker that has reported must still exit, and may hang. */
static bool is_permanent(const struct spawn *spawn)
{
	return spawn->changed && spawn_succeeded(spawn);
}

/* After each new fact. */
static void spawn_notify(struct spawn *spawn)
{
	struct report *report = spawn->report;
	struct error err;
	bool succeeded;

	if (spawn->changed) {
		spawn->changed(spawn);
		return;
	}
	if (spawn_is_busy(spawn))
		return;
	succeeded = spawn_succeeded(spawn);
	if (!succeeded)
		spawn_error(spawn, &err);
	/* The owner may free the spawn, or use it again. */
	spawn->done(spawn, succeeded ? NULL : &err);
	report_close(report);
	free(report);
}

/* No report is expected any more; no deadline either, if the child was reaped or runs its program. */
static void close_pipe(struct spawn *spawn)
{
	loop_remove(spawn->spawner->loop, &spawn->source);
	fd_close(&spawn->source.fd);
	if (spawn->reaped || is_permanent(spawn))
		timer_cancel(&spawn->deadline);
}

/* One read of what the child has written: as report_read(). */
static ssize_t read_report(struct spawn *spawn)
{
	ssize_t n = report_read(spawn->report, spawn->source.fd);

	if (n == IO_EOF || n == IO_ERROR)
		close_pipe(spawn);
	return n;
}

/* All that it has written so far, even if the pipe could not be added to epoll. */
static void drain_report(struct spawn *spawn)
{
	while (!spawn_is_reported(spawn) && read_report(spawn) > 0)
		;
}

static void spawn_reaped(struct spawn *spawn, int status)
{
	spawn->reaped = true;
	spawn->status = status;
	list_remove(&spawn->node);
	drain_report(spawn);
	/* Otherwise a child of the child holds the pipe open: the deadline ends that. */
	if (spawn_is_reported(spawn))
		timer_cancel(&spawn->deadline);
	spawn_notify(spawn);
}

/* A child that runs its program may stop; one that is being set up is continued. */
static void spawn_stopped(struct spawn *spawn)
{
	const bool was_reported = spawn_is_reported(spawn);

	drain_report(spawn);
	if (!spawn_is_reported(spawn)) {
		if (spawn->stops++ < STOPS_MAX) {
			spawn_signal(spawn, SIGCONT);
			return;
		}
		log_error("spawn: child %d is stopped again and again: killed", (int)spawn->pid);
		spawn_cancel(spawn, "stopped by another process while being set up");
	} else if (!was_reported) {
		spawn_notify(spawn);
	}
}

static void wait_one(struct spawner *spawner, pid_t pid, int status)
{
	struct spawn *spawn = NULL;
	pid_t *abandoned;
	siginfo_t info;
	long signal;

	list_for_each (it, after, &spawner->children) {
		if (list_entry(it, struct spawn, node)->pid == pid) {
			spawn = list_entry(it, struct spawn, node);
			break;
		}
	}
	if (WIFSTOPPED(status)) {
		/* PTRACE_TRACEME in a child makes the agent its tracer: detached, it goes on as if it
		 * had none. ESRCH: it is not traced, but stopped. */
		signal = WSTOPSIG(status);
		/* An execve's SIGTRAP is for its tracer alone, and looks as if it came by kill(). */
		if (signal == SIGTRAP && ptrace(PTRACE_GETSIGINFO, pid, NULL, &info) == 0 &&
			info.si_code == SI_USER)
			signal = 0;
		if (ptrace(PTRACE_DETACH, pid, NULL, (void *)signal) < 0 && spawn)
			spawn_stopped(spawn);
	} else if (spawn) {
		spawn_reaped(spawn, status);
	} else if ((abandoned = find_abandoned(spawner, pid)) != NULL) {
		*abandoned = 0;
		log_warn("spawn: abandoned child %d has exited", (int)pid);
	} /* or it is an orphan that PID 1 inherited */
}

static void signals_ready(struct source *source, uint32_t events)
{
	struct spawner *spawner = list_entry(source, struct spawner, signals);
	struct signalfd_siginfo info[4];
	int status;
	pid_t pid;

	(void)events;
	/* Several SIGCHLDs may have merged into one, so the pids come from waitpid(). */
	(void)!read(source->fd, info, sizeof(info));
	for (int i = 0; i < WAITS_MAX; i++) {
		pid = waitpid(-1, &status, WNOHANG | WUNTRACED);
		if (pid <= 0)
			return;
		wait_one(spawner, pid, status);
	}
	kill(getpid(), SIGCHLD); /* the others in the next turn */
}

int spawner_open(struct spawner *spawner, struct loop *loop, struct error *err)
{
	sigset_t set, blocked;

	*spawner = (struct spawner){.loop = loop};
	list_init(&spawner->children);
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	/* A write to a pipe without a reader fails with EPIPE. SIGPIPE is blocked, not ignored: a
	 * child unblocks all signals, but an ignored one stays ignored through its execve. */
	blocked = set;
	sigaddset(&blocked, SIGPIPE);
	sigprocmask(SIG_BLOCK, &blocked, NULL);
	source_init(&spawner->signals, signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC), NULL,
		signals_ready);
	spawner->pid_ns = open("/proc/self/ns/pid", O_RDONLY | O_CLOEXEC);
	spawner->mount_ns = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
	if (spawner->signals.fd < 0 || spawner->pid_ns < 0 || spawner->mount_ns < 0)
		return error_errno(err, "spawner");
	loop_add(loop, &spawner->signals);
	return 0;
}

static void report_ready(struct source *source, uint32_t events)
{
	struct spawn *spawn = list_entry(source, struct spawn, source);

	(void)events;
	read_report(spawn);
	if (spawn_is_reported(spawn))
		spawn_notify(spawn);
}

static void deadline_passed(struct timer *timer)
{
	struct spawn *spawn = list_entry(timer, struct spawn, deadline);
	pid_t *room;

	if (spawn->reaped) {
		if (!spawn->cancelled)
			spawn->cancelled = "not done before the deadline";
		close_pipe(spawn);
		spawn_notify(spawn);
	} else if (spawn->cancelled || spawn_is_reported(spawn)) {
		log_error("spawn: child %d does not exit: abandoned", (int)spawn->pid);
		spawn_signal(spawn, SIGKILL);
		room = find_abandoned(spawn->spawner, 0);
		if (room)
			*room = spawn->pid;
		if (!spawn_is_reported(spawn))
			close_pipe(spawn);
		spawn_reaped(spawn, SIGKILL); /* as waitpid would report it */
	} else {
		spawn_cancel(spawn, "not done before the deadline");
	}
}

void spawn_signal(const struct spawn *spawn, int signal)
{
	assert(spawn->pid > 0); /* kill(0) and kill(-1) reach our own processes */
	if (!spawn->reaped)
		kill(spawn->pid, signal);
}

void spawn_cancel(struct spawn *spawn, const char *reason)
{
	if ((spawn->reaped && spawn_is_reported(spawn)) || spawn->cancelled || !spawn->report ||
		is_permanent(spawn))
		return;
	spawn->cancelled = reason;
	spawn_signal(spawn, SIGKILL);
	timer_set(spawn->spawner->loop, &spawn->deadline, spawn->reaped ? 0 : KILL_MS);
}

bool spawn_succeeded(const struct spawn *spawn)
{
	return spawn_is_reported(spawn) && !spawn->cancelled && !spawn->report->failed &&
		(spawn->report->executing || spawn->report->done);
}

int spawn_error(const struct spawn *spawn, struct error *err)
{
	const char *who = spawn->done ? "worker " : "";
	const char *when = spawn->done ? "" : " while being set up";

	if (spawn->cancelled)
		return error_set(err, ECANCELED, "%s", spawn->cancelled);
	if (spawn->report->failed)
		return error_set(err, spawn->report->error.code, "%s", spawn->report->error.text);
	if (WIFSIGNALED(spawn->status))
		return error_set(
			err, EINTR, "%skilled by signal %d%s", who, WTERMSIG(spawn->status), when);
	return error_set(err, EPROTO, "%sexited with %d%s", who, WEXITSTATUS(spawn->status), when);
}

uint8_t *spawn_take_result(struct spawn *spawn, size_t *length)
{
	uint8_t *result = NULL;

	/* Else a part of it may have come. */
	if (spawn->report->done || spawn->report->executing) {
		result = spawn->report->result;
		*length = spawn->report->result_length;
		spawn->report->result = NULL;
	}
	return result;
}

void spawn_forget_report(struct spawn *spawn)
{
	if (spawn->report)
		report_close(spawn->report);
	free(spawn->report);
	spawn->report = NULL;
}

int spawn_exit_code(const struct spawn *spawn)
{
	return WIFSIGNALED(spawn->status) ? 128 + WTERMSIG(spawn->status)
					  : WEXITSTATUS(spawn->status);
}

/* Into the namespaces of the next child. 0, or -1 with err; step_out() in both cases. */
static int step_in(const struct spawn_plan *plan, struct error *err)
{
	if (plan->pid_ns >= 0 && setns(plan->pid_ns, CLONE_NEWPID) < 0)
		return error_errno(err, "enter the pod's PID namespace");
	if (plan->new_pid_ns && unshare(CLONE_NEWPID) < 0)
		return error_errno(err, "make a PID namespace");
	if (!plan->mount_ns)
		return 0;
	if (unshare(CLONE_NEWNS) < 0)
		return error_errno(err, "make a mount namespace");
	*plan->mount_ns = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
	if (*plan->mount_ns < 0)
		return error_errno(err, "open the new mount namespace");
	return 0;
}

static void step_out(const struct spawner *spawner, const struct spawn_plan *plan)
{
	bool is_out = true;

	if (plan->pid_ns >= 0 || plan->new_pid_ns)
		is_out = setns(spawner->pid_ns, CLONE_NEWPID) == 0;
	if (plan->mount_ns && setns(spawner->mount_ns, CLONE_NEWNS) < 0)
		is_out = false;
	/* An agent inside a container's namespaces would do harm: abort. */
	assert(is_out);
}

int spawn_fork(struct spawner *spawner, struct spawn *spawn, const struct spawn_plan *plan,
	struct error *err)
{
	int report[2], rc;
	pid_t pid;

	if (spawn_is_busy(spawn)) /* a release that pod.c has given up */
		return error_set(err, EBUSY, "an earlier command still hangs in the kernel");
	*spawn = (struct spawn){
		.spawner = spawner,
		.changed = plan->changed,
		.done = plan->done,
	};
	list_init(&spawn->node);
	timer_init(&spawn->deadline, deadline_passed);
	source_init(&spawn->source, -1, NULL, report_ready);
	if (plan->mount_ns)
		*plan->mount_ns = -1;
	if (!find_abandoned(spawner, 0))
		return error_set(err, EAGAIN, "%u children hang in the kernel", ABANDONED_MAX);
	spawn->report = calloc(1, sizeof(*spawn->report));
	if (!spawn->report)
		return error_memory(err);
	if (pipe2(report, O_CLOEXEC) < 0) {
		error_errno(err, "report pipe");
		goto free_report;
	}
	rc = step_in(plan, err);
	if (rc == 0) {
		pid = fork_raw();
		if (pid ==
			0) { /* which does not write to the agent's pages: each would be copied */
			child_begin(report[1], plan->keep, plan->keep_count);
			plan->entry(plan->argument);
			_exit(1); /* not reached */
		}
		/* fork fails like this in a PID namespace whose init is dead. */
		if (pid < 0 && errno == ENOMEM && plan->pid_ns >= 0)
			rc = error_set(err, ESRCH,
				"fork: the init of the pod has ended, or memory is short");
		else if (pid < 0)
			rc = error_errno(err, "fork");
		spawn->pid = pid;
	}
	step_out(spawner, plan);
	close(report[1]);
	if (rc < 0)
		goto close_report;
	fcntl(report[0], F_SETFL, O_NONBLOCK);
	spawn->source.fd = report[0];
	loop_add(spawner->loop, &spawn->source);
	list_push_back(&spawner->children, &spawn->node);
	if (plan->deadline_ms)
		timer_set(spawner->loop, &spawn->deadline, plan->deadline_ms);
	return 0;

close_report:
	close(report[0]);
	if (plan->mount_ns)
		fd_close(plan->mount_ns);
free_report:
	spawn_forget_report(spawn);
	return -1;
}
