/* SPDX-License-Identifier: Apache-2.0 */
/* ps's arguments, stat, status and cmdline, separated by lines of "--": whatever they hold, a line
 * is one line of UTF-8 that can be printed, within its size. The first byte chooses that size. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "child/ps.h"
#include "spec/json.h"

#define SEPARATOR "\n--\n"
#define ARGS_MAX  8

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Cuts the next part off, as a copy of just its size. */
static char *part_next(const char **at, const char *end, size_t *length)
{
	const char *stop = memmem(*at, (size_t)(end - *at), SEPARATOR, strlen(SEPARATOR));
	char *part;

	*length = (size_t)((stop ? stop : end) - *at);
	part = malloc(*length + 1);
	memcpy(part, *at, *length);
	part[*length] = '\0';
	*at = stop ? stop + strlen(SEPARATOR) : end;
	return part;
}

/* One argument a line. */
static void arguments_split(char *text, const char *psargs[ARGS_MAX + 1])
{
	size_t count = 0;

	while (text && count < ARGS_MAX) {
		psargs[count++] = text;
		text = strchr(text, '\n');
		if (text)
			*text++ = '\0';
	}
	psargs[count] = NULL;
}

static void check_line(const char *line, size_t length, size_t size)
{
	const char *end = line + length - 1;

	assert(length >= 1 && length <= size && *end == '\n');
	while (line < end) {
		size_t one = utf8_length(line, end);

		assert(one > 0);
		assert((unsigned char)*line >= ' ' && *line != 0x7f);
		line += one;
	}
}

/* How many words stand in front of the last column's. */
static size_t words(const char *line, size_t length)
{
	size_t count = 0;

	for (size_t i = 0; i < length; i++)
		count += line[i] > ' ' && (i == 0 || line[i - 1] == ' ');
	return count;
}

static void check_format(
	const struct ps_format *format, const struct ps_process *process, size_t size)
{
	static char long_line[PS_LINE_MAX * 8];
	char *line = malloc(size);
	struct ps_format counted = *format, last;
	struct error err;
	size_t length = ps_line(format, NULL, line, size);

	if (length > 0)
		check_line(line, length, size);
	length = ps_line(format, process, line, size);
	if (length > 0)
		check_line(line, length, size);
	free(line);

	/* A number as the last column: then each is one word, none is missing. */
	if (length > 0 && format->count < PS_COLUMNS_MAX) {
		assert(ps_format_parse(&last, (const char *const[]){"-opid=", NULL}, &err) == 0);
		counted.fields[counted.count++] = last.fields[0];
		length = ps_line(&counted, process, long_line, sizeof(long_line));
		check_line(long_line, length, sizeof(long_line));
		assert(words(long_line, length) == counted.count);
	}
}

static void text_set(char *text, size_t size, const char *part, size_t length)
{
	length = length < size ? length : size - 1;
	memcpy(text, part, length);
	text[length] = '\0';
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct ps_process process;
	const char *at = (const char *)data, *end = at + size, *psargs[ARGS_MAX + 1];
	struct ps_format format;
	struct error err = {.text = ""};
	char *arguments, *stat, *status, *args;
	size_t length, line_size;

	if (size == 0)
		return 0;
	process.now = 1772445600;
	process.machine.uptime = 864000;
	process.machine.totalram = 1 << 30;
	process.passwd = "web:x:1000:1000::/:\n";
	process.passwd_length = strlen(process.passwd);
	process.pid = 5054;
	line_size = 1 + (size_t)(unsigned char)*at++ * 17;
	arguments = part_next(&at, end, &length);
	arguments_split(arguments, psargs);
	stat = part_next(&at, end, &length);
	text_set(process.stat, sizeof(process.stat), stat, length);
	status = part_next(&at, end, &length);
	text_set(process.status, sizeof(process.status), status, length);
	args = part_next(&at, end, &length);
	text_set(process.args, sizeof(process.args), args, length);

	if (ps_format_parse(&format, psargs, &err) < 0) {
		assert(err.code != 0 && err.text[0] != '\0');
	} else {
		assert(format.count > 0 && err.text[0] == '\0');
		check_format(&format, &process, line_size);
	}
	free(arguments);
	free(stat);
	free(status);
	free(args);
	return 0;
}
