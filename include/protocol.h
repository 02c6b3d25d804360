/* SPDX-License-Identifier: Apache-2.0 */
/* The wire on one page: both headers, all numbers. Everything is big-endian.
 *
 *     control:  u32 code | u32 length, header included | payload
 *     tty:      u64 seq  | u32 length, header included | payload
 */
#ifndef PROTOCOL_H
#define PROTOCOL_H

#define CONTROL_HEADER 8u
#define TTY_HEADER     12u

/* GETVERSION's answer, unless hyperstart.api= says otherwise. */
#define PROTOCOL_API 4244u

enum command_code {
	GETVERSION = 0,
	STARTPOD = 1,
	GETPOD = 2,
	DESTROYPOD = 4,
	EXECCMD = 6,
	READY = 8, /* host to guest: rescan; guest to host: the very first message */
	ACK = 9,
	ERROR = 10,
	WINSIZE = 11,
	PING = 12,
	NEXT = 14, /* guest to host: u32 bytes taken from control */
	WRITEFILE = 15,
	READFILE = 16,
	NEWCONTAINER = 17,
	KILLCONTAINER = 18,
	ONLINECPUMEM = 19,
	SETUPINTERFACE = 20,
	SETUPROUTE = 21,
	REMOVECONTAINER = 22,
	PSCONTAINER = 23,
	PROCESSASYNCEVENT = 23, /* guest to host, only for a process with an id */
	SIGNALPROCESS = 24,
	DELETEINTERFACE = 25,
};

#endif
