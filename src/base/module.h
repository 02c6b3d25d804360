/* SPDX-License-Identifier: Apache-2.0 */
/* The initrd's kernel modules. What not every guest needs is loaded by who is the first to need it:
 * /modules/NAME.order lists the paths for NAME, which is "block" or a file system, one a line. */
#ifndef MODULE_H
#define MODULE_H

/* 0: it is there, also if it was already; or -1 with errno. */
int module_load(const char *path);

/* Those for `name`, before what failed is tried a second time: what is still missing then says so. */
void module_load_for(const char *name);

#endif
