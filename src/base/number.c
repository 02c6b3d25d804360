/* SPDX-License-Identifier: Apache-2.0 */
/* Numbers in text: decimal digits and nothing else. */
#include "base/number.h"

bool number_take(const char **text, uint64_t most, uint64_t *number)
{
	const char *at = *text;
	uint64_t value = 0;

	for (; *at >= '0' && *at <= '9'; at++) {
		uint64_t digit = (uint64_t)(*at - '0');

		if (digit > most || value > (most - digit) / 10)
			return false;
		value = value * 10 + digit;
	}
	if (at == *text)
		return false;
	*text = at;
	*number = value;
	return true;
}

bool number_parse(const char *text, uint64_t most, uint64_t *number)
{
	return number_take(&text, most, number) && *text == '\0';
}
