/* SPDX-License-Identifier: Apache-2.0 */
/* The files of /etc that a container has from its pod: resolv.conf, hosts, hostname. */
#ifndef CHILD_ETC_H
#define CHILD_ETC_H

/* Binds what STARTPOD wrote into `run`, the pod's run_dir, over what the image at `root` has; to read
 * only. An image that cannot have a file goes without, except for name servers: there it dies. */
void child_etc_bind(int root, int run);

/* Empty ones where the image has none, and mtab: what Docker lays over an image. One that cannot be
 * written to stays as it is. */
void child_etc_make(int root);

#endif
