/* SPDX-License-Identifier: Apache-2.0 */
/* PID 1 of a VM without arguments; with them the same daemon on sockets, for the tests. */
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "boot.h"
#include "log.h"
#include "protocol.h"

static const char usage[] =
	"usage: hyperstart --control=FD --tty=FD --run=DIR [--share=DIR] [--cgroup=DIR]\n"
	"                  [--api=N] [--deadline=SECONDS] [--caps=default]\n"
	"                  [--log=LEVEL]\n"
	"As PID 1 of a virtual machine: without arguments.\n";

static _Noreturn void usage_exit(void)
{
	(void)!write(STDERR_FILENO, usage, sizeof usage - 1);
	_exit(2);
}

static uint32_t parse_number(const char *text, uint32_t max)
{
	char *end;
	unsigned long n;

	errno = 0;
	n = strtoul(text, &end, 10);
	if (errno || end == text || *end || n > max)
		usage_exit();
	return (uint32_t)n;
}

/* The host rig: listening sockets in place of the ports, directories made by the caller. */
static void parse_arguments(int argc, char **argv, struct daemon_config *config)
{
	static const struct option options[] = {
		{"control", required_argument, NULL, 'c'},
		{"tty", required_argument, NULL, 't'},
		{"run", required_argument, NULL, 'r'},
		{"share", required_argument, NULL, 's'},
		{"cgroup", required_argument, NULL, 'g'},
		{"api", required_argument, NULL, 'a'},
		{"deadline", required_argument, NULL, 'd'},
		{"caps", required_argument, NULL, 'C'},
		{"log", required_argument, NULL, 'l'},
		{NULL, 0, NULL, 0},
	};
	enum log_level level = LOG_LEVEL_INFO;
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (option) {
		case 'c':
			config->control_fd = (int)parse_number(optarg, INT_MAX);
			break;
		case 't':
			config->tty_fd = (int)parse_number(optarg, INT_MAX);
			break;
		case 'r':
			config->run_dir = optarg;
			break;
		case 's':
			config->share_dir = optarg;
			break;
		case 'g':
			config->cgroup_dir = optarg;
			break;
		case 'a':
			config->api = parse_number(optarg, UINT32_MAX);
			break;
		case 'd':
			config->deadline_ms = parse_number(optarg, 86400) * 1000;
			break;
		case 'C':
			config->docker_caps = strcmp(optarg, "default") == 0;
			if (config->docker_caps)
				break;
			usage_exit();
		case 'l':
			if (log_level_parse(optarg, &level) == 0)
				break;
			usage_exit();
		default:
			usage_exit();
		}
	}
	if (config->control_fd < 0 || config->tty_fd < 0 || !config->run_dir || optind != argc)
		usage_exit();
	log_open(STDERR_FILENO, 0, level);
}

int main(int argc, char **argv)
{
	struct daemon_config config = {
		.control_fd = -1,
		.tty_fd = -1,
		.api = PROTOCOL_API,
		.deadline_ms = 60000,
	};
	struct error err;

	if (argc > 1) {
		/* What our parent ignores, our children should not. */
		for (int sig = 1; sig < NSIG; sig++)
			signal(sig, SIG_DFL);
		config.listening = true;
		parse_arguments(argc, argv, &config);
		boot_raise_nofile(&config);
	} else if (getpid() == 1) {
		boot_start(&config);
	} else {
		usage_exit();
	}
	if (daemon_run(&config, &err) < 0)
		log_error("daemon: %s", err.text);
	if (getpid() != 1)
		return 0;
	boot_power_off();
}
