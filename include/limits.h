/* SPDX-License-Identifier: Apache-2.0 */
/* Every cap in the system, and what they add up to in the worst case. */
#ifndef LIMITS_H
#define LIMITS_H

#define KIB 1024u
#define MIB (1024u * KIB)

/* Ports. virtio-serial takes at most 32 KiB a write and gives at most 4 KiB a read. */
#define PORT_WRITE_MAX    (32 * KIB)
#define CONTROL_IN_BYTES  (16 * KIB)
#define CONTROL_OUT_BYTES (16 * KIB)
#define TTY_IN_BYTES      (32 * KIB)
#define TTY_OUT_BYTES     (64 * KIB)

/* A longer frame is taken for a bad header; no known host sends one. */
#define FRAME_BELIEVED_MAX (16 * MIB)
/* cc-shim 2.1 exits on a tty frame that is larger, header included. */
#define TTY_FRAME_MAX 10240u

/* A command's payload, unless its row in the command table says otherwise. */
#define MESSAGE_MAX (256 * KIB)
/* What decoding one message may allocate: strings are never longer than their JSON, and each
 * token becomes at most one list element. */
#define MESSAGE_ARENA_MAX (4 * MIB)
#define JSON_TOKENS_MAX   32768u
#define JSON_DEPTH_MAX    32u

/* stdin that does not fit a process's pipe. */
#define STDIN_QUEUE_BYTES (256 * KIB)
#define STDIN_TOTAL_BYTES (8 * MIB)

#define PROCESSES_MAX   4096u
#define CONTAINERS_MAX  1024u
#define KEPT_ARENAS_MAX (8 * MIB)
#define ID_MAX          128u
/* What the kernel takes (__NEW_UTS_LEN). */
#define HOSTNAME_MAX 64u

/* In one command. */
#define INTERFACES_MAX 256u
#define ROUTES_MAX     1024u
/* A container's mapped ports. */
#define PORTS_MAX 256u
/* Its devices: what its fsmap names. */
#define DEVICES_MAX 64u
/* How long the agent waits for a disk or network interface that a command names, unless the kernel command
 * line says otherwise; less if the deadline is shorter. */
#define DEVICE_WAIT_MS 10000u

/* A pty's buffered output at its last call: FIONREAD shows only 4 KiB of it. */
#define PTY_LAST_CALL_MAX (128 * KIB)

/* For anything that is set up, unless the kernel command line says otherwise. */
#define DEADLINE_MS 60000u
/* A container that holds the agent in the kernel for this long is killed. */
#define WATCH_MS 3000u

/* Children that were killed but hang in an uninterruptible wait. */
#define ABANDONED_MAX 16u

#define ERROR_TEXT_MAX 512u

/* How deep the directories of an image may nest that are copied into a volume. */
#define COPY_DEPTH_MAX 1000u
/* Cgroups that a container may make below its own, and how deep. */
#define CGROUPS_BELOW_MAX 512u
#define CGROUP_DEPTH_MAX  16u
/* Of the pod's /dev/shm, until a container asks for more. */
#define SHM_BYTES (64 * MIB)

/* A line of the log, and how many of them a second. */
#define LOG_LINE_MAX 512u
#define LOG_BURST    100u

/* A record on the report pipe is written with one write: it must stay below PIPE_BUF. */
#define REPORT_RECORD_MAX 1024u
/* READFILE's file, WRITEFILE's data, and with them a worker's result; PSCONTAINER's text is less. */
#define RESULT_MAX (4 * MIB)
/* A WRITEFILE: its data and the JSON in front of it. */
#define FILE_JSON_MAX (64 * KIB)
#define WRITEFILE_MAX (RESULT_MAX + FILE_JSON_MAX)

/* What a pod's cgroup leaves of the guest to the agent: its worst case below, and a third more for
 * what the kernel does on its behalf; itself, the pod's init, workers, those given up on, and the
 * kernel's own threads. */
#define RESERVED_MEMORY (32 * MIB)
#define RESERVED_PIDS   256u

/* File descriptors: a container keeps its mount namespace, its devpts and its cgroup, a process
 * up to three pipe ends and a terminal's slave; the rest is ports, namespaces, and pipes of the one child that
 * is being set up. */
#define NOFILE_NEEDED (3 * CONTAINERS_MAX + 4 * PROCESSES_MAX + 256)

/* For a process that is given no limit of its own: what container engines give it. */
#define NOFILE_SOFT 1024u
#define NOFILE_HARD 524288u

/* The worst case, everything full at once:
 *     queues          16 + 16 + 32 + 64 KiB                       0.1 MiB
 *     one message     256 KiB + 640 KiB tokens + 4 MiB arena      4.9 MiB
 *                     (or a WRITEFILE, or a READFILE's reply: less)
 *     stdin queues                                                8.0 MiB
 *     kept arenas                                                 8.0 MiB
 *     structs         4096 x 0.6 KiB + 1024 x 0.3 KiB             2.7 MiB
 * below 24 MiB; an ordinary pod stays below 0.3 MiB. */

#endif
