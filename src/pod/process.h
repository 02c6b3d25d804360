/* SPDX-License-Identifier: Apache-2.0 */
/* One process: its three streams, its facts, and the one function that ends it. */
#ifndef PROCESS_H
#define PROCESS_H

#include "base/settings.h"
#include "child/exec.h"
#include "pod/request.h"
#include "wire/mux.h"

/* What happens to a process, in the order in which it usually does. */
enum process_fact {
	PROCESS_STARTED,      /* its program runs; the command was acked */
	PROCESS_REAPED,       /* its exit code is known */
	PROCESS_OUT_CLOSED,   /* all of stdout is framed */
	PROCESS_ERR_CLOSED,   /* all of stderr is framed */
	PROCESS_EOF_QUEUED,   /* with the exit frame, if it has no id */
	PROCESS_EVENT_QUEUED, /* PROCESSASYNCEVENT; only with an id */
	PROCESS_REPORTED,     /* all of that has left the machine; nothing is left to do */
	PROCESS_FACTS
};

/* What the pod, its containers and all processes share: one, in struct daemon. */
struct shared {
	const struct settings *settings; /* these five: borrowed */
	struct loop *loop;
	struct control *control;
	struct mux *mux;
	struct spawner *spawner;
	struct request request;
	struct list ending;      /* processes whose end waits for room or for bytes to leave */
	struct timer last_calls; /* while their outputs may be open */
	size_t count;
	size_t kept;       /* bytes that containers keep of their descriptions, all together */
	unsigned chains;   /* of the packet filter, numbered so far */
	uint64_t begun_ms; /* clock_now() of the STARTPOD; 0 once a program of its pod has begun */
};

struct container;

struct process {
	/* These eight are the owner's: set before process_start(), which leaves them alone. */
	struct list node;
	struct container *owner; /* for the callbacks */
	const char *container;   /* borrowed: its id, for the event and the log */
	const char *id;          /* borrowed, NULL: the end is reported by an exit frame */
	/* It could not be started, and nothing of it is left; the request waits. */
	void (*on_failed)(struct process *process, const struct error *err);
	void (*on_reaped)(struct process *process);
	/* REPORTED: the owner may free it. */
	void (*on_finished)(struct process *process);
	struct user_known **known; /* where what is learned of its user is kept: malloc, or NULL */

	struct shared *shared;
	uint64_t stdio_seq;
	bool terminal;
	unsigned facts; /* bits of enum process_fact */
	struct list ending;
	struct spawn spawn;
	struct input in;
	struct output out, err;
	/* Of its terminal, owned; -1 without one, and once it is reaped. Kept open, because a terminal hangs up
	 * while no slave is open, and a program may close its slave and open it again, as systemd does. */
	int slave;
	uint64_t eof_mark, event_mark;
};

/* How a process is started. */
struct process_plan {
	const struct process_spec *spec;
	int pid_ns;    /* to be born in */
	int *mount_ns; /* not NULL: in a fresh copy, see spawn_plan */
	int devpts;    /* detached devpts mount of the container: terminals come from there */
	struct child_exec child; /* without process, terminal, stdio: process_start() makes them */
};

void shared_init(struct shared *shared);
/* Settles what is ending. Before every sleep. */
void shared_pump(struct shared *shared);
/* After a hang-up of control: events that had not left are sent again. */
void shared_resend_events(struct shared *shared);

/* A devpts for one container, attached nowhere: its first process mounts it, and the agent opens
 * terminals in it without a path that the container controls. An fd, or -1 with err. */
int process_devpts(struct error *err);

/* A process that is all 0 but for what its owner sets. The request is done when its program runs, or
 * on_failed() follows; -1 with err: nothing is left. */
int process_start(struct process *process, struct shared *shared, const struct process_plan *plan,
	struct error *err);

bool process_is(const struct process *process, enum process_fact fact);
/* STARTED and not REAPED. */
bool process_is_running(const struct process *process);
/* To the process alone, if it is running. */
void process_signal(const struct process *process, int signal);
/* To its process group: each process begins as the leader of its own. */
void process_signal_group(const struct process *process, int signal);
/* A new size for its terminal. 0, or -1 with err (no terminal, or gone). */
int process_resize(
	const struct process *process, uint32_t rows, uint32_t columns, struct error *err);

#endif
