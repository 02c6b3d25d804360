/* SPDX-License-Identifier: Apache-2.0 */
/* An error: its errno and its text. */
#include "base/error.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>

#include "base/format.h"

/* The reply is UTF-8: a text that was truncated, here or by the child that sent it, must not end within a
 * character. */
static void text_trim(char *text)
{
	size_t length = strlen(text), start = length, needed;
	unsigned char lead;

	while (start > 0 && length - start < 3 && ((unsigned char)text[start - 1] & 0xc0) == 0x80)
		start--;
	if (start == 0)
		return;
	lead = (unsigned char)text[start - 1];
	needed = lead >= 0xf0 ? 3 : lead >= 0xe0 ? 2 : lead >= 0xc0 ? 1 : 0;
	if (length - start < needed)
		text[start - 1] = '\0';
}

/* Puts "context: " before the text. */
static void text_prepend(char *text, const char *fmt, va_list args)
{
	char inner[ERROR_TEXT_MAX];
	size_t used;

	memcpy(inner, text, sizeof(inner));
	vformat(text, ERROR_TEXT_MAX, fmt, args);
	used = strlen(text);
	format(text + used, ERROR_TEXT_MAX - used, ": %s", inner);
	text_trim(text);
}

void error_vset(struct error *err, int code, const char *fmt, va_list args)
{
	err->code = code;
	vformat(err->text, sizeof(err->text), fmt, args);
	text_trim(err->text);
}

int error_set(struct error *err, int code, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	error_vset(err, code, fmt, args);
	va_end(args);
	return -1;
}

int error_memory(struct error *err)
{
	return error_set(err, ENOMEM, "out of memory");
}

const char *error_reason(int code, char text[ERROR_REASON_MAX])
{
	const char *reason = strerror(code);

	switch (code) { /* what musl has no text for */
	case EUCLEAN:   /* a damaged file system */
		return "EUCLEAN (117)";
	case ELIBBAD: /* a loader that is no ELF file */
		return "ELIBBAD (80)";
	case EHWPOISON: /* broken memory */
		return "EHWPOISON (133)";
	}
	/* strerror(0): musl does not know it. */
	if (reason != strerror(0))
		return reason;
	format(text, ERROR_REASON_MAX, "errno %d", code);
	return text;
}

void error_verrno(struct error *err, const char *fmt, va_list args)
{
	err->code = errno;
	format(err->text, sizeof(err->text), "%s", ERROR_REASON(err->code));
	/* "No such file" becomes "no such file", but "I/O error" stays. */
	if (islower((unsigned char)err->text[1]))
		err->text[0] = (char)tolower((unsigned char)err->text[0]);
	text_prepend(err->text, fmt, args);
}

int error_errno(struct error *err, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	error_verrno(err, fmt, args);
	va_end(args);
	return -1;
}

int error_wrap(struct error *err, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	text_prepend(err->text, fmt, args);
	va_end(args);
	return -1;
}
