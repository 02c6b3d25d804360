/* SPDX-License-Identifier: Apache-2.0 */
/* The initrd's kernel modules. What not every guest needs is loaded on first use: /modules/NAME.order lists
 * the paths for NAME, which is "block", "vsock" or a file system, one per line. */
#ifndef MODULE_H
#define MODULE_H

/* 0, also when it was loaded already; or -1 with errno. */
int module_load(const char *path);

/* Loads those for `name`. Reports no error: the caller then tries again what needs them. */
void module_load_for(const char *name);

#endif
