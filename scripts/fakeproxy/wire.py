# SPDX-License-Identifier: Apache-2.0
"""The wire: command numbers, frames and their decoders."""

import enum
import json
import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

# What include/protocol.h has. PROCESSASYNCEVENT has the number of PSCONTAINER: from the guest.
Code = enum.IntEnum("Code", [(name, int(number)) for name, number in re.findall(
    r"^\t(\w+) = (\d+),", Path(__file__).with_name("protocol.h").read_text(), re.MULTILINE)])

# What cc hosts send at most in a frame, header included, and what cc-shim 2.1 takes at most.
TTY_FRAME_MAX = 10240
FRAME_MAX = 16 << 20


class ProtocolError(Exception):
    """The agent broke the protocol."""


@dataclass(frozen=True)
class ControlFrame:
    code: int
    payload: bytes = b""
    HEADER: ClassVar = struct.Struct(">II")

    def build(self):
        return self.HEADER.pack(self.code, self.HEADER.size + len(self.payload)) + self.payload


@dataclass(frozen=True)
class TtyFrame:
    seq: int
    payload: bytes = b""
    HEADER: ClassVar = struct.Struct(">QI")

    def build(self):
        return self.HEADER.pack(self.seq, self.HEADER.size + len(self.payload)) + self.payload


class Decoder:
    """Takes bytes in any split, gives whole frames of one kind."""

    def __init__(self, kind, length_max):
        self.kind = kind
        self.length_max = length_max
        self.pending = bytearray()

    def feed(self, data):
        self.pending += data
        frames, at, header = [], 0, self.kind.HEADER
        while len(self.pending) - at >= header.size:
            first, length = header.unpack_from(self.pending, at)
            if not header.size <= length <= self.length_max:
                raise ProtocolError(f"{self.kind.__name__} {first} of length {length}")
            if len(self.pending) - at < length:
                break
            frames.append(self.kind(first, bytes(self.pending[at + header.size:at + length])))
            at += length
        del self.pending[:at]
        return frames


def control_decoder():
    return Decoder(ControlFrame, FRAME_MAX)


def tty_decoder(frame_max=TTY_FRAME_MAX):
    return Decoder(TtyFrame, frame_max)


def go_json(value):
    """As all three hosts write it: what HTML could stumble over is escaped."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text.encode()
