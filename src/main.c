/* SPDX-License-Identifier: Apache-2.0 */
/* PID 1 of a VM without arguments; with them the same daemon on sockets, for the tests. */
#include <limits.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "boot.h"
#include "log.h"
#include "number.h"
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

static bool fd_option(const char *value, int *fd)
{
	uint64_t number;

	if (!number_parse(value, INT_MAX, &number))
		return false;
	*fd = (int)number;
	return true;
}

static bool option_apply(struct daemon_config *config, const char *key, const char *value)
{
	if (strcmp(key, "control") == 0)
		return fd_option(value, &config->control_fd);
	if (strcmp(key, "tty") == 0)
		return fd_option(value, &config->tty_fd);
	if (strcmp(key, "run") == 0)
		config->run_dir = value;
	else if (strcmp(key, "share") == 0)
		config->share_dir = value;
	else if (strcmp(key, "cgroup") == 0)
		config->cgroup_dir = value;
	else
		return boot_option(config, key, value);
	return true;
}

/* The host rig: listening sockets in place of the ports, directories made by the caller. */
static void parse_arguments(char **argv, struct daemon_config *config)
{
	while (*++argv) {
		char *key = *argv, *value = strchr(key, '=');

		if (strncmp(key, "--", 2) != 0 || !value)
			usage_exit();
		*value++ = '\0';
		if (!option_apply(config, key + 2, value))
			usage_exit();
	}
	if (config->control_fd < 0 || config->tty_fd < 0 || !config->run_dir)
		usage_exit();
	log_open(STDERR_FILENO, 0, log_threshold);
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
		parse_arguments(argv, &config);
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
