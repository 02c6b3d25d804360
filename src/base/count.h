/* SPDX-License-Identifier: Apache-2.0 */
#ifndef COUNT_H
#define COUNT_H

/* How many elements an array has; not for a pointer to the first. */
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

#endif
