/* SPDX-License-Identifier: Apache-2.0 */
/* Without options the agent is PID 1 of a VM, or a service in one; with options it runs on sockets, for
 * the tests. */
#include <limits.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/format.h"
#include "base/log.h"
#include "base/number.h"
#include "boot.h"
#include "protocol.h"
#include "version.h"

static const char usage[] =
	"usage: hyperstart --control=FD --tty=FD --run=DIR [--share=DIR] [--cgroup=DIR]\n"
	"                  [--api=N] [--deadline=SECONDS] [--devices=SECONDS]\n"
	"                  [--watch=SECONDS] [--caps=default] [--log=LEVEL]\n"
	"       hyperstart --help | --version\n"
	"As PID 1 of a virtual machine, or as a service in one: without arguments.\n"
	"See hyperstart(8).\n";

static _Noreturn void usage_exit(int fd, int code)
{
	(void)!write(fd, usage, sizeof(usage) - 1);
	_exit(code);
}

static bool option_apply(struct settings *settings, const char *key, const char *value)
{
	const bool is_control = strcmp(key, "control") == 0;
	uint64_t number;

	if (is_control || strcmp(key, "tty") == 0) {
		if (!number_parse(value, INT_MAX, &number))
			return false;
		*(is_control ? &settings->control_fd : &settings->tty_fd) = (int)number;
		return true;
	}
	if (strcmp(key, "run") == 0)
		settings->run_dir = value;
	else if (strcmp(key, "share") == 0)
		settings->share_dir = value;
	else if (strcmp(key, "cgroup") == 0)
		settings->cgroup_dir = value;
	else
		return boot_option(settings, key, value);
	return true;
}

/* The host rig: listening sockets in place of the ports, directories made by the caller. */
static void parse_arguments(char **argv, struct settings *settings)
{
	while (*++argv) {
		char *key = *argv, *value = strchr(key, '=');
		char id[BUILD_ID_SIZE];

		if (strcmp(key, "--help") == 0)
			usage_exit(STDOUT_FILENO, 0);
		if (strcmp(key, "--version") == 0) {
			version_build_id(id);
			dformat(STDOUT_FILENO, "hyperstart %s, API %u, build %s\n", VERSION,
				PROTOCOL_API, id);
			_exit(0);
		}
		if (strncmp(key, "--", 2) != 0 || !value)
			usage_exit(STDERR_FILENO, 2);
		*value++ = '\0';
		if (!option_apply(settings, key + 2, value))
			usage_exit(STDERR_FILENO, 2);
	}
	if (settings->control_fd < 0 || settings->tty_fd < 0 || !settings->run_dir)
		usage_exit(STDERR_FILENO, 2);
	log_open(STDERR_FILENO, false, log_threshold);
}

int main(int argc, char **argv)
{
	struct settings settings = {
		.control_fd = -1,
		.tty_fd = -1,
		.api = PROTOCOL_API,
		.deadline_ms = DEADLINE_MS,
		.devices_ms = DEVICE_WAIT_MS,
		.watch_ms = WATCH_MS,
		.last_command = -1,
	};
	/* The kernel passes words of its command line that it does not know to init, "-s" too. */
	const char *first = argc > 1 ? argv[1] : "", *control = "--control=";
	const bool is_init = getpid() == 1;
	const bool is_rig =
		is_init ? strncmp(first, control, strlen(control)) == 0 : first[0] == '-';
	struct error err;
	int rc;

	if (is_rig || !is_init) {
		/* A signal that our parent ignores would stay ignored in our children. */
		for (int sig = 1; sig < NSIG; sig++)
			signal(sig, SIG_DFL);
		/* Only PID 1 gets orphans without asking. */
		prctl(PR_SET_CHILD_SUBREAPER, 1);
	}
	if (is_rig) {
		settings.listening = true;
		parse_arguments(argv, &settings);
		boot_raise_nofile(&settings);
	} else if (is_init || getppid() == 1) {
		boot_start(&settings);
	} else {
		usage_exit(STDERR_FILENO, 2);
	}
	rc = daemon_run(&settings, &err);
	if (rc < 0)
		log_error("daemon: %s", err.text);
	if (is_rig && !is_init)
		_exit(rc < 0); /* not in a VM: no power-off */
	boot_power_off();
}
