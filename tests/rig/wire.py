# SPDX-License-Identifier: Apache-2.0
"""The wire as the tests know it: fake-proxy's numbers, frames and decoders, which take nothing but
frames that the page allows."""

import json

from fakeproxy import wire

Code, ControlFrame, TtyFrame = wire.Code, wire.ControlFrame, wire.TtyFrame
control_decoder, tty_decoder = wire.control_decoder, wire.tty_decoder
TTY_FRAME_MAX = wire.TTY_FRAME_MAX
TTY_HEADER = TtyFrame.HEADER.size
Violation = wire.ProtocolError


def command(code, payload=b""):
    """A control frame; a payload that is not bytes is sent as JSON."""
    if not isinstance(payload, bytes):
        payload = json.dumps(payload, separators=(",", ":")).encode()
    return ControlFrame(code, payload).build()


def tty_frames(seq, data, size=TTY_FRAME_MAX):
    """`data` in frames of at most `size` bytes, header included."""
    step = size - TTY_HEADER
    return b"".join(TtyFrame(seq, data[i : i + step]).build() for i in range(0, len(data), step))
