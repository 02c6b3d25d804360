/* SPDX-License-Identifier: Apache-2.0 */
/* An error with its story: errno and a text for the operator, who reads it in the ERROR reply. */
#include "error.h"

#include <ctype.h>
#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "count.h"
#include "format.h"

/* EHWPOISON: the last one that programs know. */
#define ERRNO_MAX 133

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

/* What musl has no text for, in the kernel's own word. */
#define TEXT(number) #number
#define NAMED(number)                                    \
	{                                                \
		number, #number " (" TEXT_OF(number) ")" \
	}
#define TEXT_OF(number) TEXT(number)
static const struct {
	uint8_t code;
	char name[20];
} named[] = {
	/* clang-format off */
	NAMED(ECHRNG), NAMED(EL2NSYNC), NAMED(EL3HLT), NAMED(EL3RST), NAMED(ELNRNG), NAMED(EUNATCH),
	NAMED(ENOCSI), NAMED(EL2HLT), NAMED(EBADE), NAMED(EBADR), NAMED(EXFULL), NAMED(ENOANO),
	NAMED(EBADRQC), NAMED(EBADSLT), NAMED(EBFONT), NAMED(ENONET), NAMED(ENOPKG), NAMED(EREMOTE),
	NAMED(EADV), NAMED(ESRMNT), NAMED(ECOMM), NAMED(EDOTDOT), NAMED(ENOTUNIQ), NAMED(EREMCHG),
	NAMED(ELIBACC), NAMED(ELIBBAD), NAMED(ELIBSCN), NAMED(ELIBMAX), NAMED(ELIBEXEC), NAMED(ERESTART),
	NAMED(ESTRPIPE), NAMED(EUSERS), NAMED(EUCLEAN), NAMED(ENOTNAM), NAMED(ENAVAIL), NAMED(EISNAM),
	NAMED(ERFKILL), NAMED(EHWPOISON), NAMED(ETOOMANYREFS),
	/* clang-format on */
};

static void text_append(char *text, const char *more)
{
	size_t used = strlen(text);

	format(text + used, ERROR_TEXT_MAX - used, "%s", more);
}

int error_vset(struct error *err, int code, const char *fmt, va_list args)
{
	err->code = code;
	vformat(err->text, sizeof(err->text), fmt, args);
	text_trim(err->text);
	return -1;
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
	for (size_t i = 0; i < COUNT(named); i++)
		if (named[i].code == code)
			return named[i].name;
	/* Of the kernel's own, which should not be seen. */
	if (code < 0 || code > ERRNO_MAX) {
		format(text, ERROR_REASON_MAX, "errno %d", code);
		return text;
	}
	return strerror(code);
}

int error_verrno(struct error *err, const char *fmt, va_list args)
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
	return -1;
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
