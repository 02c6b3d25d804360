/* SPDX-License-Identifier: Apache-2.0 */
/* What only the agent of a whole VM does, as its PID 1 or as a service of its init, before and after
 * daemon_run(). */
#ifndef BOOT_H
#define BOOT_H

#include "daemon.h"

/* Mounts what READY needs (devtmpfs, proc, sysfs) and is not mounted yet, reads the kernel command
 * line, raises RLIMIT_NOFILE, loads the modules that /modules/order lists up to its first empty line
 * (one path per line, finit_module in order), waits without a limit for the channels (transport.h),
 * and fills settings. Strings in settings live as long as the program. Boot may die: it writes why to the
 * console, or a service's stderr, and powers off. */
void boot_start(struct settings *settings);

/* "api", "deadline", "devices", "watch", "caps", "log", on the kernel command line and among the host rig's
 * options; false for any other key, or a bad value. */
bool boot_option(struct settings *settings, const char *key, const char *value);

/* Raises RLIMIT_NOFILE to what limits.h needs, and sets settings->nofile. */
void boot_raise_nofile(struct settings *settings);

/* What READY does not need, done after it is queued: the other modules; /run, cgroup2 (favordynmods,
 * without on EINVAL), what is not mounted yet; takes a cgroup; says on the console what the
 * kernel lacks. Called once by the daemon. */
void boot_finish(struct settings *settings);

/* Sync and RB_POWER_OFF. In a PID namespace that ends its init with SIGINT. Never returns. */
_Noreturn void boot_power_off(void);

#endif
