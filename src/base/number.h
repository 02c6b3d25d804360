/* SPDX-License-Identifier: Apache-2.0 */
/* Numbers as text has them: decimal digits and nothing else. */
#ifndef NUMBER_H
#define NUMBER_H

#include <stdbool.h>
#include <stdint.h>

/* The digits at the head of *text, which is then behind them. False when there are none, or more
 * than `most`. */
bool number_take(const char **text, uint64_t most, uint64_t *number);

/* All of the text. */
bool number_parse(const char *text, uint64_t most, uint64_t *number);

#endif
