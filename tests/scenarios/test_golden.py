# SPDX-License-Identifier: Apache-2.0
"""The golden sessions: what real hosts sent, byte for byte, and what they were answered.

tests/golden holds them chunk by chunk (`seconds channel direction bytes hex`), recorded with older
agents. A session is replayed in its order: a chunk of the host's goes when all that the old agent
had said by then has been said by this one. In the end every reply, stream and end is the recorded
one, but for what stands in DIFFERENCES.
"""

import collections
import dataclasses
import json
import re
import subprocess

import pytest

from fakeproxy.wire import FRAME_MAX
from rig.scripts import ROOT
from rig.wire import Code, control_decoder, tty_decoder


def as_many_bytes(ours, recorded):
    return len(ours) >= len(recorded)


def as_many_lines(ours, recorded):
    return ours.count(b"\n") >= recorded.count(b"\n")


def anything(ours, recorded):
    return True


@dataclasses.dataclass
class Differences:
    """Where this agent's form is another, by the number of the command and by seq."""

    tag: str  # of the share
    replies: dict  # number of the command -> (kind, pattern)
    refused: tuple  # the seqs of what could not be started: it has no streams and no end
    output: dict = dataclasses.field(default_factory=dict)  # seq -> pattern
    enough: dict = dataclasses.field(default_factory=dict)  # seq -> what to wait for instead
    codes: dict = dataclasses.field(default_factory=dict)  # stdio seq -> exit code
    mac: str = ""  # of the NIC that it sets up


NO_SUCH = rb"execcmd: container '\w+': exec '/no/such(/cmd)?': no such file or directory"

DIFFERENCES = {
    "cc21": Differences(
        tag="rootfs",
        replies={
            3: (Code.ERROR, NO_SUCH),
            9: (Code.ACK, b""),  # the second DESTROYPOD: the recorded guest was off already
        },
        refused=(5, 6)),
    "cc21-2.1.12": Differences(
        tag="rootfs",
        mac="72:2d:11:f2:55:1e",
        replies={},
        refused=(),
        # The shell draws its prompt again when its size changes, if it has drawn it by then; and what is
        # typed may be echoed at any time.
        output={7: rb"(?s).*/ # .*stty size; echo \$TERM\r\n.*\nxterm(?:stty size)?\r\n"
                   rb".*\r\n33 111\r\n.*exit 5\r\n"},
        enough={7: as_many_lines}),
    "cc30": Differences(
        tag="hyperShared",
        replies={
            0: (Code.ACK, b""),  # the old agent had trouble with its network
            3: (Code.ERROR, NO_SUCH),
            # The old one had other columns; docker looks for the one that is named PID.
            6: (Code.ACK, rb"UID +PID .*CMD\n(.*\n)*.*trap 'echo bye; exit 9' TERM(.*\n)*"),
            12: (Code.ACK, b""),  # as 0
        },
        refused=(7, 8),
        # The recorded host types as soon as it has seen the size: the echo may come before the
        # end of that line.
        output={9: b"33 101(\r\ngo|go\r\n)\r\nx=go\r\n"}),
    "runv": Differences(
        tag="share_dir",
        replies={
            6: (Code.ERROR, NO_SUCH),  # ACK, and then the text on stderr
            13: (Code.ERROR, b"winsize: container 'cbig' has no process 'nope'"),
        },
        refused=(7, 8),
        output={
            2: b"(User defined signal 1\n)?",  # the shell's word, if its sleep was hit as well
            # Its first look races with WINSIZE; of no size at all busybox has no good word.
            9: b"/dev/pts/[0-9]+\r\n(0 0|33 101|stty: [^\r]*)\r\ngo\r\n33 101\r\nx=go\r\n",
            10: b"pid1=[a-z]+\n",
        },
        enough={2: anything, 9: as_many_lines},
        codes={12: 137, 14: 143}),  # a signal was 0
}


def recorded(name):
    """What happened in its order: (what, …)."""
    decoders = {"ctl": control_decoder(), "tty": tty_decoder(FRAME_MAX)}
    for line in (ROOT / f"tests/golden/{name}.txt").read_text().splitlines():
        _, channel, direction, length, text = line.split()
        data = bytes.fromhex(text)
        assert len(data) == int(length)
        if direction == "C->A":
            yield "host_chunk", channel, data
            continue
        for frame in decoders[channel].feed(data):
            if channel == "tty":
                yield "frame", frame.seq, frame.payload
            elif frame.code in (Code.ACK, Code.ERROR):
                yield "reply", Code(frame.code), frame.payload
            elif frame.code == Code.PROCESSASYNCEVENT:
                yield "event", json.loads(frame.payload)


class Replay:
    def __init__(self, host, name):
        self.host, self.name, self.differences = host, name, DIFFERENCES[name]
        self.commands = []
        self.processes = {}  # by stdio seq
        # As recorded so far.
        self.replies = []
        self.output = collections.defaultdict(bytes)  # by seq
        self.codes = {}  # by stdio seq
        self.events = []

    def run(self):
        for what, *how in recorded(self.name):
            getattr(self, what)(*how)
        self.host.wait_for(lambda: all(cmd.kind is not None for cmd in self.commands), "a reply")
        self.host.wait_for(self.has_caught_up, "the last of the recording")

    def has_caught_up(self):
        return (all(cmd.kind is not None for cmd in self.commands[:len(self.replies)]) and
                all(self.has_come(seq, data) for seq, data in self.output.items()) and
                all(self.processes[seq].ended for seq in self.codes))

    def has_come(self, seq, data):
        return self.differences.enough.get(seq, as_many_bytes)(self.ours(seq), data)

    def ours(self, seq):
        process = self.processes.get(seq)
        return bytes(process.out if process else self.processes[seq - 1].err)

    # What was recorded

    def host_command(self, data):
        (frame,) = control_decoder().feed(data)
        process = None
        if frame.code in (Code.NEWCONTAINER, Code.EXECCMD):
            spec = json.loads(frame.payload)
            if spec.get("image") == "":  # the share is the root itself
                self.host.guest.share.fill(self.host.guest.share.directory)
            elif "image" in spec:
                self.host.guest.share.image(spec["image"].strip("/"))
            process = self.host.expect_process(spec.get("id") or spec["container"], spec["process"])
            self.processes[process.stdio] = process
        (cmd,) = self.host.send_raw(data, replies=1)
        cmd.code, cmd.process = frame.code, process
        self.commands.append(cmd)

    def host_chunk(self, channel, data):
        self.host.wait_for(self.has_caught_up, f"what was said before {data!r}")
        if channel == "ctl":
            self.host_command(data)
        else:
            self.host.tty.send(data)

    def reply(self, kind, payload):
        self.replies.append((kind, payload))

    def frame(self, seq, payload):
        if seq in self.differences.refused:
            return
        if payload and seq in self.codes:
            self.codes[seq] = payload[0]
        elif payload:
            self.output[seq] += payload
        elif self.processes[seq].key is None:
            self.codes[seq] = None  # the exit frame tells

    def event(self, event):
        key = event["container"], event["process"]
        for seq, process in self.processes.items():
            if process.key == key and seq not in self.differences.refused and seq not in self.codes:
                self.codes[seq] = event["status"]
                self.events.append({**event, "status": self.differences.codes.get(seq,
                                                                                 event["status"])})

    # The comparison

    def check(self):
        assert len(self.commands) - len(self.replies) in (0, 1)
        for at, cmd in enumerate(self.commands):
            if at in self.differences.replies:
                kind, pattern = self.differences.replies[at]
                assert cmd.kind == kind, (at, cmd.payload)
                assert re.fullmatch(pattern, cmd.payload), (at, cmd.payload)
            else:
                assert (cmd.kind, cmd.payload) == self.replies[at], at
        for seq, data in self.output.items():
            if seq in self.differences.output:
                assert re.fullmatch(self.differences.output[seq], self.ours(seq)), self.ours(seq)
            else:
                assert self.ours(seq) == data, seq
        for seq, process in self.processes.items():
            assert not process.out or seq in self.output, (seq, process.out)
            assert not process.err or seq + 1 in self.output, (seq, process.err)
            if seq in self.codes:
                assert process.code == self.differences.codes.get(seq, self.codes[seq]), seq
            else:
                assert seq in self.differences.refused, f"{seq} did not end"
        # To the order of the keys.
        assert [list(event.items()) for event in self.host.events] == \
            [list(event.items()) for event in self.events]


def plug_in(host, mac):
    """A NIC with nobody at its other end."""
    if host.guest.is_vm:
        host.guest.vm.qmp("netdev_add", type="hubport", hubid=0, id="golden")
        host.guest.vm.qmp("device_add", driver="virtio-net-pci", netdev="golden", mac=mac)
        return
    command = f"ip link add golden0 address {mac} type veth peer name golden1"
    try:
        subprocess.run(["nsenter", "-t", str(host.guest.pid), "-n", *command.split()], check=True)
    except subprocess.CalledProcessError:
        pytest.skip("no veth devices here")


@pytest.mark.parametrize("name", [
    pytest.param(name, marks=pytest.mark.options(fresh=True, tag=differences.tag))
    for name, differences in DIFFERENCES.items()])
def test_a_golden_session_is_answered_as_it_was(host, name):
    if mac := DIFFERENCES[name].mac:
        plug_in(host, mac)
    replay = Replay(host, name)
    replay.run()
    replay.check()
    assert host.guest.wait_end(host) == "power-off"
