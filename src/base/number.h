/* SPDX-License-Identifier: Apache-2.0 */
/* Numbers in text: decimal digits and nothing else. */
#ifndef NUMBER_H
#define NUMBER_H

#include <stdbool.h>
#include <stdint.h>

/* Takes the digits at the start of *text and moves it past them. False, and *text not moved, when there are
 * none or the number is above `most`. */
bool number_take(const char **text, uint64_t most, uint64_t *number);

/* The same, but they must be all of the text. */
bool number_parse(const char *text, uint64_t most, uint64_t *number);

#endif
