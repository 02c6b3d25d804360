/* SPDX-License-Identifier: Apache-2.0 */
/* Levelled one-line messages: subject first, never a payload. */
#ifndef LOG_H
#define LOG_H

#include <stdbool.h>

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

/* Where lines go: an fd of /dev/kmsg (each line gets a "<n>" priority) or any other. Not owned. */
void log_open(int fd, bool is_kmsg, enum log_level level);
/* The fd. */
int log_where(void);

/* "error", "warn", "info" or "debug"; -1 on anything else. */
int log_level_parse(const char *name, enum log_level *level);

/* One line, no trailing newline in fmt. Preserves errno. Never blocks: what the fd does not take is lost. Of
 * info and debug at most LOG_BURST lines a second are written; how many were lost is logged. */
void log_write(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Skips formatting below the level. */
extern enum log_level log_threshold;

#define log_at(level, ...) ((level) <= log_threshold ? log_write((level), __VA_ARGS__) : (void)0)
#define log_error(...)     log_at(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warn(...)      log_at(LOG_LEVEL_WARN, __VA_ARGS__)
#define log_info(...)      log_at(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...)     log_at(LOG_LEVEL_DEBUG, __VA_ARGS__)

#endif
