# SPDX-License-Identifier: Apache-2.0
"""The golden sessions: what three real hosts sent, byte for byte, with this agent's answers.

tests/golden holds them chunk by chunk (`seconds channel direction bytes hex`), recorded with older
agents. Replies, streams and ends are the recorded ones, in this agent's form: a program that is
missing is an ERROR without stream frames, a killed process tells its signal. Commands that are not
there yet are an ERROR.
"""

import json

import pytest

from rig.scripts import ROOT
from rig.wire import ControlFrame, Code, control_decoder


class Golden:
    """What C sends in a recording, in its order."""

    def __init__(self, host, name):
        self.host = host
        self.chunks = []
        for line in (ROOT / "tests/golden" / f"{name}.txt").read_text().splitlines():
            _, channel, direction, length, text = line.split()
            data = bytes.fromhex(text)
            assert len(data) == int(length)
            if direction == "C->A":
                self.chunks.append((channel, data))

    def _next(self, channel):
        recorded, data = self.chunks.pop(0)
        assert recorded == channel, f"the recording goes on with {recorded}: {data!r}"
        return data

    def input(self):
        """The next chunk on tty."""
        self.host.tty.send(self._next("tty"))

    def command(self, code):
        """The next command, which is of that code."""
        data = self._next("ctl")
        (frame,) = control_decoder().feed(data)
        assert frame.code == code
        (cmd,) = self.host.send_raw(data, replies=1)
        cmd.code = code
        return cmd

    def ack(self, code):
        cmd = self.host.reply_to(self.command(code))
        assert cmd.kind == Code.ACK, cmd.text
        return cmd.payload

    def error(self, code):
        cmd = self.host.reply_to(self.command(code))
        assert cmd.kind == Code.ERROR
        return cmd.text

    def process(self, code):
        """The next command, which starts a process."""
        spec = json.loads(self.chunks[0][1][ControlFrame.HEADER.size :])
        self.host.guest.share.image(spec.get("image", "box").strip("/"))
        container = spec["id"] if code == Code.NEWCONTAINER else spec["container"]
        process = self.host.expect_process(container, spec["process"])
        process.start = self.command(code)
        process.start.process = process
        return process

    def power_off(self):
        assert not self.chunks
        assert self.host.guest.wait_end(self.host) == "power-off"


@pytest.mark.options(fresh=True, tag="rootfs")
def test_the_session_of_clear_containers_2_1(host):
    golden = Golden(host, "cc21")
    golden.ack(Code.STARTPOD)
    first = golden.process(Code.NEWCONTAINER)
    golden.input()  # EOF, before the ACK
    first.started()

    cat = golden.process(Code.EXECCMD).started()
    golden.input()
    first.wait_output(b"started\n")
    cat.wait_output(b"line1\nline2\n")
    golden.input()  # EOF
    assert cat.wait() == 3
    assert (cat.out, cat.err) == (b"line1\nline2\n", b"done\n")

    golden.input()  # EOF for what will not start
    assert "/no/such" in golden.process(Code.EXECCMD).refused()

    terminal = golden.process(Code.EXECCMD).started()
    golden.ack(Code.WINSIZE)
    terminal.wait_output(b"33 101\r\n")
    golden.input()
    assert terminal.wait() == 4
    assert (terminal.out, terminal.err) == (b"33 101\r\ngo\r\n", b"x=go\n")

    golden.ack(Code.PING)
    golden.ack(Code.KILLCONTAINER)
    assert first.wait() == 9
    assert first.out == b"started\nbye\n"
    golden.ack(Code.DESTROYPOD)
    golden.command(Code.DESTROYPOD)
    golden.power_off()


@pytest.mark.options(fresh=True, tag="hyperShared")
def test_the_session_of_clear_containers_3_0(host):
    golden = Golden(host, "cc30")
    golden.ack(Code.STARTPOD)
    first = golden.process(Code.NEWCONTAINER).started()
    golden.input()  # EOF
    cat = golden.process(Code.EXECCMD).started()
    golden.input()
    cat.wait_output(b"line1\nline2\n")
    golden.input()  # EOF
    assert cat.wait() == 3
    assert (cat.out, cat.err) == (b"line1\nline2\n", b"done\n")
    assert "/no/such" in golden.process(Code.EXECCMD).refused()

    terminal = golden.process(Code.EXECCMD).started()
    golden.ack(Code.WINSIZE)
    terminal.wait_output(b"33 101\r\n")
    golden.input()
    assert terminal.wait() == 4
    assert terminal.out == b"33 101\r\ngo\r\nx=go\r\n"

    header, *lines = golden.ack(Code.PSCONTAINER).decode().splitlines()
    assert "PID" in header
    assert any("trap 'echo bye; exit 9' TERM" in line for line in lines)
    golden.ack(Code.KILLCONTAINER)
    assert first.wait() == 9
    assert first.out == b"started\nbye\n"
    golden.ack(Code.KILLCONTAINER)  # all processes of one that has exited
    golden.ack(Code.REMOVECONTAINER)
    second = golden.process(Code.NEWCONTAINER).started()
    golden.input()  # EOF
    golden.ack(Code.KILLCONTAINER)
    assert second.wait() == 137
    golden.ack(Code.DESTROYPOD)
    golden.power_off()


@pytest.mark.options(fresh=True, tag="share_dir")
def test_the_session_of_runv(host):
    golden = Golden(host, "runv")
    for _ in range(2):
        assert int.from_bytes(golden.ack(Code.GETVERSION), "big") == 4244
    golden.ack(Code.STARTPOD)
    big = golden.process(Code.NEWCONTAINER).started()
    one = golden.process(Code.NEWCONTAINER).started()
    golden.input()
    big.wait_output(b"started\n")
    assert one.wait() == 7
    assert (one.out, one.err) == (b"out-bar-labhost\ngot hello\n", b"err\n")

    cat = golden.process(Code.EXECCMD).started()
    golden.input()
    golden.input()
    assert cat.wait() == 3
    assert cat.out == b"line1\nline2\nthis line is longer than sixteen bytes for the chunking\n"
    assert cat.err == b"done\n"
    assert "/no/such/cmd" in golden.process(Code.EXECCMD).refused()

    terminal = golden.process(Code.EXECCMD).started()
    golden.ack(Code.WINSIZE)
    host.wait_for(lambda: terminal.out.count(b"\n") == 2, "its name and its size")
    golden.input()
    assert terminal.wait() == 4
    assert terminal.out.startswith(b"/dev/pts/")
    assert terminal.out.endswith(b"33 101\r\nx=go\r\n")

    guest = golden.process(Code.EXECCMD).started()  # in container "hyperstart"
    assert guest.wait() == 0
    assert guest.out.startswith(b"pid1=")
    golden.error(Code.SETUPROUTE)  # not there yet
    golden.error(Code.SETUPINTERFACE)  # not there yet
    golden.ack(Code.ONLINECPUMEM)
    assert "nope" in golden.error(Code.WINSIZE)
    golden.ack(Code.SIGNALPROCESS)
    assert big.wait() == 9
    two = golden.process(Code.NEWCONTAINER).started()
    golden.ack(Code.SIGNALPROCESS)
    assert two.wait() == 137
    three = golden.process(Code.NEWCONTAINER).started()
    golden.ack(Code.DESTROYPOD)
    assert three.wait() == 143
    golden.power_off()
