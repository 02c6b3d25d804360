/* SPDX-License-Identifier: Apache-2.0 */
/* An error with its story: errno and a text for the operator, who reads it in the ERROR reply. */
#include "base/error.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>

#include "base/format.h"

/* The reply is UTF-8: a text that was cut, here or by the child that sent it, must not end within
 * a character. */
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

static void text_append(char *text, const char *more)
{
	size_t used = strlen(text);

	format(text + used, ERROR_TEXT_MAX - used, "%s", more);
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
	/* Of all others that it does not know a number has to do. */
	if (reason != strerror(0))
		return reason;
	format(text, ERROR_REASON_MAX, "errno %d", code);
	return text;
}

void error_verrno(struct error *err, const char *fmt, va_list args)
{
	size_t why;

	err->code = errno;
	vformat(err->text, sizeof(err->text), fmt, args);
	text_append(err->text, ": ");
	why = strlen(err->text);
	text_append(err->text, ERROR_REASON(err->code));
	/* "No such file" reads on as "no such file", but "I/O error" stays. */
	if (err->text[why] && islower((unsigned char)err->text[why + 1]))
		err->text[why] = (char)tolower((unsigned char)err->text[why]);
	text_trim(err->text);
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
	struct error inner = *err;
	va_list args;

	va_start(args, fmt);
	vformat(err->text, sizeof(err->text), fmt, args);
	va_end(args);
	text_append(err->text, ": ");
	text_append(err->text, inner.text);
	text_trim(err->text);
	return -1;
}
