# SPDX-License-Identifier: Apache-2.0
"""The fake proxy: what plays the host of small VMs. Top down: `wire` (frames and their decoders), `host`
(a host's side of a session), `vm` (QEMU); then the tool that scripts/fake-proxy is: `holder` keeps a VM
and its two ports, `terminal` is the holder's client, `commands` are what a user types. protocol.h and
hosts.py lie elsewhere in the tree, and are installed beside the rest.
"""
