/* SPDX-License-Identifier: Apache-2.0 */
/* The whole program except what belongs to a VM: wires ports, control, mux and pod together. */
#include "daemon.h"

#include <sys/mman.h>
#include <sys/prctl.h>

#include "base/count.h"
#include "base/log.h"
#include "child/child.h"
#include "commands.h"

/* From the ACK of a DESTROYPOD to the end, for the host to read what is left. */
#define GRACE_MS 2000

struct daemon {
	struct loop loop;
	struct spawner spawner;
	struct watch watch;
	struct spawn watcher;
	struct control control;
	struct mux mux;
	struct shared shared;
	struct pod pod;
	struct commands commands;
	struct timer grace;
	struct settings *settings;
};

static void run_command(struct control *control, struct message *message)
{
	struct daemon *daemon = list_entry(control, struct daemon, control);

	daemon->settings->last_command = message->code;
	commands_run(&daemon->commands, message);
}

static void cancel_command(struct control *control)
{
	struct daemon *daemon = list_entry(control, struct daemon, control);

	request_cancel(&daemon->shared.request, "cut short by a destroypod");
}

static void control_hung_up(struct control *control)
{
	struct daemon *daemon = list_entry(control, struct daemon, control);

	shared_resend_events(&daemon->shared);
}

static void grace_over(struct timer *timer)
{
	loop_stop(&list_entry(timer, struct daemon, grace)->loop);
}

/* Changes when a byte enters or leaves a port's queue. (A write that finds a hang-up reads, too.) */
static uint64_t bytes_moved(const struct daemon *daemon)
{
	const struct port *control = &daemon->control.port, *tty = &daemon->mux.port;

	return control->in.total + control->in.sent + control->out.total + control->out.sent +
		tty->in.total + tty->in.sent + tty->out.total + tty->out.sent;
}

/* Repeats until no byte moves: once an EOF has left, an event may be queued; once that has left, a process
 * is finished; once the last one is, a DESTROYPOD may be answered. */
static void pump(void *context)
{
	struct daemon *daemon = context;
	bool is_over;
	uint64_t before;

	do {
		before = bytes_moved(daemon);
		shared_pump(&daemon->shared);
		pod_pump(&daemon->pod);
		control_pump(&daemon->control);
		mux_pump(&daemon->mux);
	} while (bytes_moved(daemon) != before);
	is_over = daemon->pod.state == POD_DESTROYED;
	if (is_over && !daemon->control.port.connected)
		loop_stop(&daemon->loop); /* no host is left that could read */
	else if (is_over && list_is_empty(&daemon->grace.node))
		timer_set(&daemon->loop, &daemon->grace, GRACE_MS);
}

static void watch_begin(const void *watch)
{
	report_result(NULL, 0);
	report_alive();
	watch_main(watch);
}

/* No container can end it, and the OOM killer spares it as it spares the agent. */
static void watch_done(struct spawn *watcher, const struct error *err)
{
	(void)watcher;
	log_error("watch: the watcher has ended: %s", err ? err->text : "it ended");
}

static void open_watch(struct daemon *daemon)
{
	const struct settings *settings = daemon->settings;
	struct watch *watch = &daemon->watch;
	int keep[] = {-1, log_where()}, rc;
	const struct spawn_plan plan = {
		.pid_ns = -1,
		.entry = watch_begin,
		.argument = watch,
		.keep = keep,
		.keep_count = COUNT(keep),
		.done = watch_done,
	};
	struct error err;

	if (!settings->cgroup_dir)
		return; /* it could kill no container */
	rc = watch_open(watch, settings->cgroup_dir, settings->watch_ms, &err);
	keep[0] = watch->timer;
	if (rc < 0 || spawn_fork(&daemon->spawner, &daemon->watcher, &plan, &err) < 0) {
		log_error("watch: %s", err.text);
		return;
	}
	/* No later child can write to it. */
	madvise(watch->page, sizeof(*watch->page), MADV_DONTFORK);
	daemon->mux.watch = watch;
}

int daemon_run(struct settings *settings, struct error *err)
{
	struct daemon daemon = {
		.settings = settings,
		.shared =
			{
				.settings = settings,
				.loop = &daemon.loop,
				.control = &daemon.control,
				.mux = &daemon.mux,
				.spawner = &daemon.spawner,
			},
		.control =
			{
				.payload_max = commands_payload_max,
				.on_command = run_command,
				.on_cancel = cancel_command,
				.on_hangup = control_hung_up,
			},
		.commands = {.shared = &daemon.shared, .pod = &daemon.pod},
	};

	/* Until its execve a child is a copy of the agent, in a PID namespace that containers see. */
	prctl(PR_SET_DUMPABLE, 0);
	timer_init(&daemon.grace, grace_over);
	shared_init(&daemon.shared);
	if (loop_open(&daemon.loop, err) < 0 ||
		spawner_open(&daemon.spawner, &daemon.loop, err) < 0 ||
		control_open(&daemon.control, &daemon.loop, settings, err) < 0 ||
		mux_open(&daemon.mux, &daemon.loop, settings, err) < 0)
		return -1;
	control_pump(&daemon.control); /* READY */
	if (settings->after_ready)
		settings->after_ready(settings);
	open_watch(&daemon);
	pod_init(&daemon.pod, &daemon.shared);
	loop_run(&daemon.loop, pump, &daemon);
	log_info("daemon: done");
	return 0;
}
