/* SPDX-License-Identifier: Apache-2.0 */
/* The whole program but for the machine: wires ports, control, mux and pod together. */
#include "daemon.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/prctl.h>

#include "child.h"
#include "commands.h"
#include "count.h"
#include "log.h"

/* From the ACK of a DESTROYPOD to the end, for the host to read what is left (protocol.md, 8). */
#define GRACE_MS 2000

struct daemon {
	struct loop loop;
	struct spawner spawner;
	struct watch watch;
	struct spawn watcher;
	struct worker worker;
	struct control control;
	struct mux mux;
	struct process_table processes;
	struct pod pod;
	struct commands commands;
	struct timer grace;
	struct daemon_config *config;
};

static void run_command(struct control *control, struct message *message)
{
	struct daemon *daemon = list_entry(control, struct daemon, control);

	daemon->config->last_command = message->code;
	commands_run(&daemon->commands, message);
}

static void cut_command(struct control *control)
{
	commands_cut(&list_entry(control, struct daemon, control)->commands);
}

static void control_gone(struct control *control)
{
	struct daemon *daemon = list_entry(control, struct daemon, control);

	process_table_retell(&daemon->processes);
}

static void pod_done(struct pod *pod, const struct error *err)
{
	commands_done(&list_entry(pod, struct daemon, pod)->commands, err);
}

static void grace_over(struct timer *timer)
{
	loop_stop(&list_entry(timer, struct daemon, grace)->loop);
}

/* Changes with every byte that has moved into queues (a hang-up that shows in a write reads what is
 * left), between them or out of them. */
static uint64_t bytes_moved(const struct daemon *daemon)
{
	const struct port *control = &daemon->control.port, *tty = &daemon->mux.port;

	return control->in.total + control->in.sent + control->out.total + control->out.sent +
		tty->in.total + tty->in.sent + tty->out.total + tty->out.sent;
}

/* What can move moves, until nothing does: an EOF that has left lets an event go, an event that has
 * left lets a process go, and with the last one a DESTROYPOD may be answered. */
static void pump(void *context)
{
	struct daemon *daemon = context;
	uint64_t before;

	do {
		before = bytes_moved(daemon);
		process_table_pump(&daemon->processes);
		pod_pump(&daemon->pod);
		control_pump(&daemon->control);
		mux_pump(&daemon->mux);
	} while (bytes_moved(daemon) != before);
	if (daemon->commands.destroyed && !daemon->control.port.connected)
		loop_stop(&daemon->loop); /* nobody is left who might read on */
	else if (daemon->commands.destroyed && list_is_empty(&daemon->grace.node))
		timer_set(&daemon->loop, &daemon->grace, GRACE_MS);
}

static int open_cgroup(const char *path)
{
	int fd = path ? open(path, O_PATH | O_DIRECTORY | O_CLOEXEC) : -1;

	if (path && fd < 0)
		log_warn("daemon: no cgroups: cannot open '%s'", path);
	return fd;
}

static int open_ports(struct daemon *daemon, struct error *err)
{
	const struct daemon_config *config = daemon->config;
	const struct control_options control = {
		.loop = &daemon->loop,
		.fd = config->control_fd,
		.listening = config->listening,
		.peer_cid = config->peer_cid,
		.ready_again = config->ready_again,
		.payload_max = commands_payload_max,
		.on_command = run_command,
		.on_cut = cut_command,
		.on_hangup = control_gone,
	};
	const struct mux_options mux = {
		.loop = &daemon->loop,
		.fd = config->tty_fd,
		.listening = config->listening,
		.peer_cid = config->peer_cid,
	};

	if (control_open(&daemon->control, &control, err) < 0)
		return -1;
	return mux_open(&daemon->mux, &mux, err);
}

static void open_processes(struct daemon *daemon)
{
	daemon->processes = (struct process_table){
		.loop = &daemon->loop,
		.control = &daemon->control,
		.mux = &daemon->mux,
		.spawner = &daemon->spawner,
		.deadline_ms = daemon->config->deadline_ms,
	};
	process_table_init(&daemon->processes);
}

static void open_pod(struct daemon *daemon)
{
	const struct daemon_config *config = daemon->config;
	const struct pod_options pod = {
		.table = &daemon->processes,
		.worker = &daemon->worker,
		.run_dir = config->run_dir,
		.share_dir = config->share_dir,
		.cgroup_parent = open_cgroup(config->cgroup_dir),
		.cgroup_dir = config->cgroup_dir,
		.nofile = config->nofile,
		.capabilities = config->docker_caps ? &capabilities_docker : NULL,
		.on_done = pod_done,
	};

	daemon->worker = (struct worker){.spawner = &daemon->spawner};
	pod_init(&daemon->pod, &pod);
	daemon->commands = (struct commands){
		.control = &daemon->control,
		.pod = &daemon->pod,
		.mux = &daemon->mux,
		.worker = &daemon->worker,
		.deadline_ms = config->deadline_ms,
		.api = config->api,
	};
}

static void watch_begin(const void *watch)
{
	report_alive();
	watch_main(watch);
}

/* No container can end it, and the OOM killer takes it no sooner than us. */
static void watch_changed(struct spawn *spawn)
{
	if (spawn->reaped)
		log_error("watch: the watcher is gone");
}

static void open_watch(struct daemon *daemon)
{
	const struct daemon_config *config = daemon->config;
	struct watch *watch = &daemon->watch;
	int keep[] = {-1, log_where()}, rc;
	const struct spawn_plan plan = {
		.pid_ns = -1,
		.is_worker = true,
		.entry = watch_begin,
		.argument = watch,
		.keep = keep,
		.keep_count = COUNT(keep),
		.changed = watch_changed,
	};
	struct error err;

	if (!config->cgroup_dir)
		return; /* nobody could be killed */
	rc = watch_open(watch, config->cgroup_dir, config->watch_ms, &err);
	keep[0] = watch->timer;
	if (rc < 0 || spawn_fork(&daemon->spawner, &daemon->watcher, &plan, &err) < 0) {
		log_error("watch: %s", err.text);
		return;
	}
	/* No other child has it. */
	madvise(watch->page, sizeof(*watch->page), MADV_DONTFORK);
	daemon->mux.watch = watch;
}

int daemon_run(struct daemon_config *config, struct error *err)
{
	struct daemon daemon = {.config = config};

	/* A child is a copy of the agent until its execve, and born where containers can see it. */
	prctl(PR_SET_DUMPABLE, 0);
	timer_init(&daemon.grace, grace_over);
	open_processes(&daemon);
	if (loop_open(&daemon.loop, err) < 0 ||
		spawner_open(&daemon.spawner, &daemon.loop, err) < 0 ||
		open_ports(&daemon, err) < 0)
		return -1;
	control_pump(&daemon.control); /* READY */
	if (config->after_ready)
		config->after_ready(config);
	open_watch(&daemon);
	open_pod(&daemon);
	loop_run(&daemon.loop, pump, &daemon);
	log_info("daemon: done");
	return 0;
}
