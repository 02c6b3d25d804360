/* SPDX-License-Identifier: Apache-2.0 */
/* One process: its three streams, its facts, and the one function that ends it.
 *
 * Theory of operation. A process is being set up (its spawn has not reported), STARTED, REAPED, REPORTED.
 * The handlers of its pipes and of its spawn record one fact each; process_settle() looks at all of them
 * and takes the next step, if it is time:
 *
 *     REAPED                       its stdin is closed, its outputs get their last call
 *     REAPED, OUT and ERR_CLOSED   EOF on the stdio seq, with no id the exit frame at once behind it
 *     EOF has left, with an id     PROCESSASYNCEVENT
 *     all of that has left         REPORTED, and the owner is called
 *
 * A step may need room in a queue, or bytes to have left it; from REAPED to REPORTED the process is in
 * shared->ending, and is settled before every sleep. stdin is routed as soon as the command is taken, not
 * from STARTED: a host sends it right behind the command. Outputs are not read before STARTED, so no
 * byte of a process precedes the ACK of its command.
 */
#include "pod/process.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/count.h"
#include "base/file.h"
#include "base/invariant.h"
#include "base/log.h"
#include "base/mount.h"
#include "spec/privilege.h"

/* How often outputs after their last call are checked: another process may have read the rest. */
#define LAST_CALL_MS 200

static const char *const fact_names[] = {
	[PROCESS_STARTED] = "STARTED",
	[PROCESS_REAPED] = "REAPED",
	[PROCESS_OUT_CLOSED] = "OUT_CLOSED",
	[PROCESS_ERR_CLOSED] = "ERR_CLOSED",
	[PROCESS_EOF_QUEUED] = "EOF_QUEUED",
	[PROCESS_EVENT_QUEUED] = "EVENT_QUEUED",
	[PROCESS_REPORTED] = "REPORTED",
};
static_assert(COUNT(fact_names) == PROCESS_FACTS, "a name for each fact");

bool process_is(const struct process *process, enum process_fact fact)
{
	return process->facts & 1u << fact;
}

static void process_set(struct process *process, enum process_fact fact)
{
	log_debug("process %s/%s: +%s", process->container, process->id ? process->id : "-",
		fact_names[fact]);
	process->facts |= 1u << fact;
}

bool process_is_running(const struct process *process)
{
	return process_is(process, PROCESS_STARTED) && !process_is(process, PROCESS_REAPED);
}

static void process_settle(struct process *process)
{
	struct shared *shared = process->shared;
	int code;

	if (!process_is(process, PROCESS_REAPED) || !process_is(process, PROCESS_OUT_CLOSED) ||
		!process_is(process, PROCESS_ERR_CLOSED))
		return;
	code = spawn_exit_code(&process->spawn);
	if (!process_is(process, PROCESS_EOF_QUEUED)) {
		if (!mux_put_end(shared->mux, process->stdio_seq, process->id ? -1 : code))
			return;
		process->eof_mark = mux_mark(shared->mux);
		process_set(process, PROCESS_EOF_QUEUED);
	}
	if (process->id && !process_is(process, PROCESS_EVENT_QUEUED)) {
		/* runv pairs the event with the end of the stream: the EOF must be out first. */
		if (!mux_has_sent(shared->mux, process->eof_mark) ||
			!control_event(shared->control, process->container, process->id, code,
				&process->event_mark))
			return;
		process_set(process, PROCESS_EVENT_QUEUED);
	}
	if (process->id && !control_has_sent(shared->control, process->event_mark))
		return;
	process_set(process, PROCESS_REPORTED);
	list_remove(&process->ending);
	shared->count--;
	process->on_finished(process);
}

/* A background process with the same pipe may have read the bytes that an output still waits for. */
static void last_calls_due(struct timer *timer)
{
	struct shared *shared = list_entry(timer, struct shared, last_calls);
	bool open = false;

	list_for_each (it, after, &shared->ending) {
		struct process *process = list_entry(it, struct process, ending);

		open |= output_look_again(&process->out);
		open |= output_look_again(&process->err);
	}
	if (open)
		timer_set(shared->loop, timer, LAST_CALL_MS);
}

void shared_init(struct shared *shared)
{
	request_init(&shared->request, shared->control, shared->loop);
	list_init(&shared->ending);
	timer_init(&shared->last_calls, last_calls_due);
}

void shared_pump(struct shared *shared)
{
	list_for_each (it, after, &shared->ending)
		process_settle(list_entry(it, struct process, ending));
}

void shared_resend_events(struct shared *shared)
{
	list_for_each (it, after, &shared->ending)
		list_entry(it, struct process, ending)->facts &= ~(1u << PROCESS_EVENT_QUEUED);
}

static void out_closed(struct output *output)
{
	process_set(list_entry(output, struct process, out), PROCESS_OUT_CLOSED);
}

static void err_closed(struct output *output)
{
	process_set(list_entry(output, struct process, err), PROCESS_ERR_CLOSED);
}

static void slave_close(struct process *process)
{
	watch_close(process->shared->mux->watch, process->container, &process->slave);
}

static void process_reaped(struct process *process)
{
	process_set(process, PROCESS_REAPED);
	list_push_back(&process->shared->ending, &process->ending);
	input_close(&process->in);
	slave_close(process);
	process->on_reaped(process);
	output_last_call(&process->out);
	output_last_call(&process->err);
	if (list_is_empty(&process->shared->last_calls.node))
		timer_set(process->shared->loop, &process->shared->last_calls, LAST_CALL_MS);
}

static void close_streams(struct process *process)
{
	input_close(&process->in);
	output_close(&process->out);
	output_close(&process->err);
	slave_close(process);
}

static void process_changed(struct spawn *spawn)
{
	struct process *process = list_entry(spawn, struct process, spawn);
	struct shared *shared = process->shared;
	struct user_known *known;
	struct error err;
	size_t length = 0;

	if (process_is(process, PROCESS_STARTED)) {
		process_reaped(process);
	} else if (spawn_succeeded(spawn)) {
		process_set(process, PROCESS_STARTED);
		known = (struct user_known *)spawn_take_result(spawn, &length);
		if (known && length == sizeof(*known)) {
			free(*process->known);
			*process->known = known;
		} else {
			free(known);
		}
		spawn_forget_report(spawn);
		output_start(&process->out);
		output_start(&process->err);
		if (shared->begun_ms)
			log_info("pod: ms since the kernel began: STARTPOD %llu, first execve %llu",
				(unsigned long long)shared->begun_ms,
				(unsigned long long)clock_now());
		shared->begun_ms = 0;
		request_done(&shared->request, NULL);
		if (spawn->reaped)
			process_reaped(process);
	} else if (spawn_is_reported(spawn) && spawn->reaped) {
		spawn_error(spawn, &err);
		spawn_forget_report(spawn);
		close_streams(process);
		shared->count--;
		process->on_failed(process, &err);
	}
}

/* A pipe between the agent, whose end does not block, and a child. 0, or -1 with err. */
static int open_pipe(int *ours, int *childs, bool child_writes, struct error *err)
{
	int ends[2];

	if (pipe2(ends, O_CLOEXEC) < 0)
		return error_errno(err, "pipe");
	*ours = ends[!child_writes];
	*childs = ends[child_writes];
	fcntl(*ours, F_SETFL, O_NONBLOCK);
	return 0;
}

int process_devpts(struct error *err)
{
	static const struct mount_plan plan = {
		.type = "devpts",
		.options =
			{
				{"newinstance", NULL},
				{"ptmxmode", "0666"},
				{"mode", "0620"},
				{"gid", "5"},
				/* Per container: boot sets kernel.pty.max high enough for all of them. */
				{"max", "1024"},
			},
		.attributes = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC,
	};
	int devpts = mount_make(&plan);

	return devpts < 0 ? error_errno(err, "devpts") : devpts;
}

/* The agent's end, one fd each way because each is closed on its own, and the slave. */
static int open_terminal(
	const struct process_plan *plan, int ours[2], int *slave, struct error *err)
{
	const struct winsize size = {
		.ws_row = (unsigned short)plan->spec->rows,
		.ws_col = (unsigned short)plan->spec->columns,
	};
	int unlock = 0;

	ours[0] = openat(plan->devpts, "ptmx", O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
	if (ours[0] < 0)
		return error_errno(err, "open a terminal");
	ours[1] = fcntl(ours[0], F_DUPFD_CLOEXEC, 0);
	/* The slave through its master: a path could lead to another one. */
	if (ours[1] < 0 || ioctl(ours[0], TIOCSPTLCK, &unlock) < 0 ||
		(*slave = ioctl(ours[0], TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC)) < 0 ||
		ioctl(ours[0], TIOCSWINSZ, &size) < 0)
		return error_errno(err, "open a terminal");
	return 0;
}

/* Opens the process's pipes or terminal, the agent's and the child's ends. The caller closes what is open, on
 * -1, too. */
static int open_stdio(struct process *process, const struct process_plan *plan, int ours[3],
	struct child_exec *child, struct error *err)
{
	const struct process_spec *spec = plan->spec;

	if (spec->terminal) {
		if (open_terminal(plan, ours, &process->slave, err) < 0)
			return -1;
	} else if (open_pipe(&ours[0], &child->stdio[0], false, err) < 0 ||
		open_pipe(&ours[1], &child->stdio[1], true, err) < 0) {
		return -1;
	}
	if (spec->stderr_seq)
		return open_pipe(&ours[2], &child->stdio[2], true, err);
	return 0;
}

static void close_all(int fds[3])
{
	for (size_t i = 0; i < 3; i++)
		fd_close(&fds[i]);
}

/* Hands the agent's ends to the mux. On -1 they are closed. */
static int open_streams(
	struct process *process, const struct process_spec *spec, int ours[3], struct error *err)
{
	struct mux *mux = process->shared->mux;

	input_open(&process->in, mux, spec->stdio_seq, ours[0], spec->terminal);
	process->in.container = process->container;
	process->err.source.fd = -1;
	if (!spec->stderr_seq)
		process_set(process, PROCESS_ERR_CLOSED);
	if (output_open(&process->out, mux, spec->stdio_seq, ours[1], spec->terminal, out_closed,
		    err) < 0) {
		fd_close(&ours[2]);
	} else if (!spec->stderr_seq ||
		output_open(&process->err, mux, spec->stderr_seq, ours[2], false, err_closed,
			err) == 0) {
		process->out.container = process->err.container = process->container;
		return 0;
	}
	close_streams(process);
	return -1;
}

/* An older kernel does not have all of them. */
static void log_missing_capabilities(
	const struct process *process, const struct capabilities_spec *capabilities)
{
	uint64_t missing = capabilities ? capabilities_any(capabilities) : 0;

	if (missing)
		missing &= ~capability_own();
	for (int i = 0; missing >> i; i++)
		if (missing >> i & 1)
			log_info("process %s/%s: CAP_%s cannot be granted: skipped",
				process->container, process->id ? process->id : "-",
				capability_name(i));
}

int process_start(struct process *process, struct shared *shared, const struct process_plan *plan,
	struct error *err)
{
	struct child_exec child = plan->child;
	int ours[3] = {-1, -1, -1};
	int rc = -1;

	child.process = plan->spec;
	child.known = *process->known;
	child.stdio[0] = child.stdio[1] = child.stdio[2] = -1;
	process->shared = shared;
	process->stdio_seq = plan->spec->stdio_seq;
	process->terminal = plan->spec->terminal;
	process->slave = -1;
	list_init(&process->ending);
	log_missing_capabilities(process, plan->spec->capabilities);
	if (shared->count >= PROCESSES_MAX)
		return error_set(err, EAGAIN, "too many processes: %u", PROCESSES_MAX);
	if (open_stdio(process, plan, ours, &child, err) < 0) {
		close_all(ours);
		fd_close(&process->slave);
	} else if (open_streams(process, plan->spec, ours, err) == 0) {
		const int keep[] = {process->slave, child.namespaces, child.mount_ns, child.cgroup,
			child.device_filter, child.devpts, child.stdio[0], child.stdio[1],
			child.stdio[2]};
		const struct spawn_plan spawn_plan = {
			.pid_ns = plan->pid_ns,
			.mount_ns = plan->mount_ns,
			.entry = child_exec_main,
			.argument = &child,
			.keep = keep,
			.keep_count = COUNT(keep),
			.deadline_ms = shared->settings->deadline_ms,
			.changed = process_changed,
		};

		child.terminal = process->slave;
		rc = spawn_fork(shared->spawner, &process->spawn, &spawn_plan, err);
		if (rc == 0) {
			shared->count++;
			request_await(&shared->request, &process->spawn);
		} else {
			close_streams(process);
		}
	}
	close_all(child.stdio);
	return rc;
}

void process_signal(const struct process *process, int signal)
{
	if (process_is_running(process))
		spawn_signal(&process->spawn, signal);
}

void process_signal_group(const struct process *process, int signal)
{
	if (process_is_running(process))
		kill(-process->spawn.pid, signal);
}

int process_resize(
	const struct process *process, uint32_t rows, uint32_t columns, struct error *err)
{
	struct winsize size = {.ws_row = (unsigned short)rows, .ws_col = (unsigned short)columns};
	int rc;

	if (!process->terminal)
		return error_set(err, ENOTTY, "process '%s' of container '%s' has no terminal",
			process->id ? process->id : "", process->container);
	if (!process_is_running(process))
		return error_set(err, ESRCH, "process '%s' of container '%s' has ended",
			process->id ? process->id : "", process->container);
	watch_enter(process->shared->mux->watch, process->container);
	rc = ioctl(process->in.source.fd, TIOCSWINSZ, &size);
	watch_leave(process->shared->mux->watch);
	if (rc < 0)
		return error_errno(err, "resize the terminal");
	return 0;
}
