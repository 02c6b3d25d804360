# SPDX-License-Identifier: Apache-2.0
"""The fake proxy plays the host of small VMs. `wire` has the frames and their decoders, `host` a
host's side of a session, `vm` a guest in QEMU. The rest is the tool scripts/fake-proxy: `holder`
keeps a VM and its two ports, `terminal` is a client of the holder, `commands` has the command line.

protocol.h and hosts.py are links into the tree; `make install` copies what they lead to."""
