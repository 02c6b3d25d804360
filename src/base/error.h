/* SPDX-License-Identifier: Apache-2.0 */
/* An error: its errno, and the text that the operator reads in the ERROR reply. */
#ifndef ERROR_H
#define ERROR_H

#include <stdarg.h>

#include "limits.h"

/* Untouched on success; set once where it failed, wrapped with context on the way up. */
struct error {
	int code; /* errno, 0 where there is none */
	char text[ERROR_TEXT_MAX];
};

/* Lower case, no full stop: what, which, why. Returns -1, so that callers can return it. A text
 * that does not fit is truncated at a character. */
int error_set(struct error *err, int code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
void error_vset(struct error *err, int code, const char *fmt, va_list args);

/* For a call that has just failed: its errno, and the text followed by ": " and what that means. `args` must
 * not point into err. Returns -1. */
int error_errno(struct error *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void error_verrno(struct error *err, const char *fmt, va_list args);

/* What an errno means: strerror()'s text; where musl has none its name, "EUCLEAN (117)", or, in `text`, its
 * number. */
#define ERROR_REASON_MAX 20u
const char *error_reason(int code, char text[ERROR_REASON_MAX]);
#define ERROR_REASON(code) error_reason(code, (char[ERROR_REASON_MAX]){0})

/* ENOMEM, "out of memory". Returns -1. */
int error_memory(struct error *err);

/* Puts "context: " before the text. Returns -1. */
int error_wrap(struct error *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
