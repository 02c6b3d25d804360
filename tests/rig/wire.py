# SPDX-License-Identifier: Apache-2.0
"""The wire: command numbers, and fake-proxy's frames and decoders, which take nothing but frames
that the page allows."""

import enum
import json

from rig.scripts import load_script

proxy = load_script("fake-proxy")
ControlFrame, TtyFrame = proxy.ControlFrame, proxy.TtyFrame
control_decoder, tty_decoder = proxy.control_decoder, proxy.tty_decoder
TTY_FRAME_MAX = proxy.TTY_FRAME_MAX
TTY_HEADER = TtyFrame.HEADER.size


class Code(enum.IntEnum):
    GETVERSION = 0
    STARTPOD = 1
    GETPOD = 2
    DESTROYPOD = 4
    EXECCMD = 6
    READY = 8
    ACK = 9
    ERROR = 10
    WINSIZE = 11
    PING = 12
    NEXT = 14
    WRITEFILE = 15
    READFILE = 16
    NEWCONTAINER = 17
    KILLCONTAINER = 18
    ONLINECPUMEM = 19
    SETUPINTERFACE = 20
    SETUPROUTE = 21
    REMOVECONTAINER = 22
    PSCONTAINER = 23
    PROCESSASYNCEVENT = 23  # the same number, from the guest
    SIGNALPROCESS = 24
    DELETEINTERFACE = 25


class Violation(AssertionError):
    """The agent sent what no host may be sent."""


def command(code, payload=b""):
    """A control frame; a payload that is not bytes is sent as JSON."""
    if not isinstance(payload, bytes):
        payload = json.dumps(payload, separators=(",", ":")).encode()
    return ControlFrame(code, payload).build()


def tty_frames(seq, data, size=TTY_FRAME_MAX):
    """`data` in frames of at most `size` bytes, header included."""
    step = size - TTY_HEADER
    return b"".join(TtyFrame(seq, data[i : i + step]).build() for i in range(0, len(data), step))
