# SPDX-License-Identifier: Apache-2.0
"""The three hosts as they are, rig/hosts.py: cc21 (two versions of it), cc30 and runv, each
from READY to power-off, each choking on what it really chokes on."""

import contextlib
import json
import re
import socket
import struct

import pytest

from fakeproxy.host import CommandError, HostTimeout, Port
from fakeproxy.wire import ProtocolError, go_json
from rig import pace
from rig.hosts import HOSTS, Life
from rig.scripts import ROOT
from rig.wire import Code, ControlFrame, TtyFrame, control_decoder

each_host = pytest.mark.parametrize("name", [
    pytest.param(name, marks=pytest.mark.options(fresh=True, tag=host.SHARE))
    for name, host in HOSTS.items()])
runv = pytest.mark.options(fresh=True, tag=HOSTS["runv"].SHARE)


class Played:
    """A profile on a guest, with the rig's own host beside it for what it alone can see."""

    def __init__(self, name, guest_host):
        self.rig, self.guest = guest_host, guest_host.guest
        self.guest.share.image("box")
        if name == "cc21-2.1.12":
            self.guest.share.fill(self.guest.share.directory)
        self.host = HOSTS[name](self.guest.connect_control(), self.guest.connect_tty())
        self.host.seconds = guest_host.timeout
        self.host.PING_SECONDS = pace.late(self.host.PING_SECONDS)
        self.host.DESTROY_SECONDS = pace.late(self.host.DESTROY_SECONDS)

    def begin(self):
        self.host.begin(self.rig.timeout)
        self.host.start_pod("pod")
        return self.host

    def container(self, args, name="box", **options):
        return self.host.new_container(name, args, "box", "rootfs", **options)

    @contextlib.contextmanager
    def seen_by_the_agent(self, what):
        """It has logged it for both ports in the end."""
        lines = [f"port {port}: host {what}" for port in ("control", "tty")]
        counts = [self.guest.log.count(line) for line in lines]
        yield
        for line, count in zip(lines, counts):
            self.rig.wait_log(line, count + 1)

    def leave(self):
        with self.seen_by_the_agent("gone"):
            for port in self.host.control, self.host.tty:
                port.connection.close()

    def come_back(self):
        with self.seen_by_the_agent("connected"):
            self.host.ready = not self.guest.greets
            self.host.connect(self.guest.connect_control(), self.guest.connect_tty())
        if self.guest.greets:
            self.host.begin(self.rig.timeout)

    def end(self):
        """A host that hangs up behind the ACK: no grace is needed."""
        self.host.destroy()
        for port in self.host.control, self.host.tty:
            port.connection.close()
        assert self.guest.wait_end(self.rig) == "power-off"


@pytest.fixture
def played(request, guest_host):
    name = request.getfixturevalue("name") if "name" in request.fixturenames else "runv"
    return Played(name, guest_host)


# Whole lives

@each_host
def test_a_whole_life(played, name):
    steps = []
    try:
        played.host.begin(played.rig.timeout)
        Life(played.host, "box", "rootfs", steps.append).play()
    except Exception as error:
        raise AssertionError(f"after {steps}: {error}") from error
    played.host.await_power_off()
    assert played.guest.wait_end(played.rig) == "power-off"


@runv
def test_the_network_commands(played):
    host = played.begin()  # with SETUPROUTE and SETUPINTERFACE
    process = played.container(["sleep", "100000"])
    host.call(Code.SETUPINTERFACE, {"device": "lo", "newDeviceName": "", "mtu": 0, "ipAddresses": [
        {"ipAddress": "10.9.9.9", "netMask": "24"}, {"ipAddress": "", "netMask": ""}]})
    address = host.exec("box", ["ip", "addr", "show", "lo"], stdin=False)
    assert host.await_exit(address) == 0 and b" 10.9.9.9/24 " in address.out
    host.call(Code.SETUPROUTE, {"routes": [{"dest": "10.9.8.0/24", "device": "lo"}]})
    with pytest.raises(CommandError, match="deleteinterface: interface 'lo' is no PCI device"):
        host.call(Code.DELETEINTERFACE, {"device": "lo"})
    host.signal(process, 9)
    assert host.await_exit(process) == 137
    host.settle()
    played.end()


@pytest.mark.options(fresh=True, tag=HOSTS["cc30"].SHARE)
@pytest.mark.parametrize("name", ["cc30"])
def test_the_power_stays_until_cc30_has_its_ack_and_a_moment_longer(played, name):
    """It stops QEMU itself then, and fails if there is none to be stopped."""
    host = played.begin()
    host.destroy()
    assert not played.guest.has_ended()
    # A host that does not hang up has the whole grace: nothing is closed before.
    with pytest.raises(HostTimeout):
        host.run_until(lambda: False, 1, "nothing")
    host.await_power_off()
    assert played.guest.wait_end(played.rig) == "power-off"


# runv's window: 512 bytes on their way, and NEXTs that say exactly that

@runv
def test_a_thousand_commands_queued_at_once(played):
    host = played.begin()
    process = played.container(["sleep", "100000"])
    wanted, replies = [], []
    for n in range(250):
        for code, payload, kind in (
                (Code.PING, None, b""),
                (Code.GETVERSION, None, struct.pack(">I", 4244)),
                (Code.SIGNALPROCESS, {"container": "box", "process": "init", "signal": 0}, b""),
                (Code.WINSIZE, {"container": "box", "process": f"no-{n}", "row": 1, "column": 1},
                 f"winsize: container 'box' has no process 'no-{n}'")):
            wanted.append(kind)
            replies.append(host.command(code, payload))
    host.run_until(replies[-1].is_there, played.rig.timeout * 3, "the last reply")
    assert [reply.error or reply.payload for reply in replies] == wanted
    host.settle()
    host.signal(process, 9)
    assert host.await_exit(process) == 137
    played.end()


@runv
def test_commands_of_every_size_arrive_whole_and_are_counted_exactly(played):
    host = played.begin()
    played.container(["sleep", "100000"])
    # Over ISA serial, runv's window comes to 12 KB a second.
    sizes = 511, 512, 513, 1023, 1024, 1025, 20_000 if played.guest.transport == "isa" else 200_000
    for size in sizes:
        described = go_json({"container": "box", "file": "/tmp/file"})
        data = bytes(n * size % 251 for n in range(size - len(described) -
                                                   ControlFrame.HEADER.size))
        before = host.control.sent
        host.call(Code.WRITEFILE, described + data, played.rig.timeout * 3)
        assert host.control.sent - before == size
        host.settle()
        assert host.call(Code.READFILE, described) == data
    # The same as the text of a command, with the next one right behind it.
    for size in sizes:
        spec = {"pad": "", "container": "box", "process": {
            "id": f"size-{size}", "stdio": 1 << 40, "stderr": 1 << 41, "args": ["/no/such"]}}
        spec["pad"] = "x" * (size - ControlFrame.HEADER.size - len(go_json(spec)))
        refused, ping = host.command(Code.EXECCMD, spec), host.command(Code.PING)
        host.await_reply(ping, played.rig.timeout * 3)
        assert refused.error == ("execcmd: container 'box': exec '/no/such': "
                                 "no such file or directory")
        host.settle()
    played.end()


# A host that returns (protocol.md, 9)

returning = pytest.mark.not_over("isa", "a UART does not tell that its host went")


@returning
@each_host
def test_a_host_that_returns_finds_its_own_replies_and_exact_nexts(played, name):
    """No second READY (each profile fails on one), runv's GETVERSION answered first, and nothing of
    what the one before it had sent is counted or answered."""
    host = played.begin()
    process = played.container(["sh", "-c", "read x; echo \"got $x\"; exit 6"])
    for cut in (0, 1, 8, 300, 511, 1000):
        for _ in range(20):
            host.command(Code.PING)
        host.command(Code.KILLCONTAINER, {"pad": "x" * 1000, "container": "box", "signal": 9})
        del host.control.unsent[cut:]  # it dies with as much of that written
        host.run_until(lambda: not host.control.unsent, played.rig.timeout, "the last bytes")
        played.leave()
        played.come_back()
        assert host.control.sent == (len(ControlFrame(0, b"null").build()) if name == "runv" else 0)
        host.settle()
        assert host.is_alive(process)
    host.write_stdin(process, b"it\n")
    assert host.await_exit(process) == 6
    assert process.out == b"got it\n"
    host.remove(process)
    host.settle()
    played.end()


@returning
@runv
def test_an_end_that_came_while_no_host_was_there_is_told_to_the_next(played):
    host = played.begin()
    process = played.container(["sh", "-c", "read x; exit 6"])
    port, nobody = host.control, socket.socketpair()
    host.control = Port(nobody[0], control_decoder())
    seen = played.guest.log.count("port control: host gone")
    port.connection.close()
    played.rig.wait_log("port control: host gone", seen + 1)
    host.write_stdin(process, b"\n")
    host.run_until(lambda: process.eof, played.rig.timeout, "its EOF")
    host.control = Port(played.guest.connect_control(), control_decoder(), host.WINDOW)
    host.ready = not played.guest.greets
    host.begin(played.rig.timeout)
    assert host.await_exit(process) == 6
    host.settle()
    played.end()


# What the profiles choke on

READY = ControlFrame(Code.READY)
ACK = ControlFrame(Code.ACK)
VERSION = ControlFrame(Code.ACK, struct.pack(">I", 4244))


def next_frame(count):
    return ControlFrame(Code.NEXT, struct.pack(">I", count))


def event(**changes):
    told = {"container": "c", "process": "init", "event": "finished", "status": 0, **changes}
    return ControlFrame(Code.PROCESSASYNCEVENT, json.dumps(told).encode())


class Agent:
    """The other end of a profile: well-behaved until a container runs, then it says what it is
    told to."""

    def __init__(self, name):
        control, self.control = socket.socketpair()
        tty, self.tty = socket.socketpair()
        self.control.setblocking(False)
        self.commands = control_decoder()
        self.host = HOSTS[name](control, tty)

    def says(self, *frames):
        for frame in frames:
            end = self.tty if isinstance(frame, TtyFrame) else self.control
            end.sendall(frame.build())
        self.host.step(1)

    def answer(self):
        try:
            data = self.control.recv(4096)
        except BlockingIOError:
            return
        self.control.sendall(next_frame(len(data)).build())
        for frame in self.commands.feed(data):
            self.control.sendall((VERSION if frame.code == Code.GETVERSION else ACK).build())

    def begins(self):
        """READY, and a container that runs."""
        self.control.sendall(READY.build())
        self.host.tick = self.answer
        self.host.begin(1)
        process = self.host.new_container("c", ["true"], "image", "rootfs")
        self.host.tick = None
        return process


only_host = pytest.mark.only("host", "the profiles themselves, no agent")


@only_host
@pytest.mark.parametrize("name, frames, complaint", [
    ("cc21", [ACK], "before READY"),
    ("cc30", [ACK], "before READY"),
    ("runv", [next_frame(0)], "before READY"),
])
def test_a_profile_chokes_on_anything_before_ready(name, frames, complaint):
    with pytest.raises(ProtocolError, match=complaint):
        Agent(name).says(*frames)


def out(process, data=b""):
    return TtyFrame(process.stdio, data)


def err(process, data=b""):
    return TtyFrame(process.stderr, data)


@only_host
@pytest.mark.parametrize("name, frames, complaint", [
    ("cc21", lambda p: [READY], "unexpected"),
    ("cc30", lambda p: [READY], "unexpected"),
    ("runv", lambda p: [READY], "unexpected"),
    ("cc21", lambda p: [ACK], "unexpected"),
    ("runv", lambda p: [ACK], "unexpected"),
    ("cc21", lambda p: [event()], "unexpected"),
    ("cc30", lambda p: [event()], "unexpected"),
    ("cc30", lambda p: [ControlFrame(24)], "unexpected"),
    ("runv", lambda p: [ControlFrame(24)], "unexpected"),
    ("runv", lambda p: [next_frame(100_000)], "NEXTs sum to"),
    ("cc21", lambda p: [out(p, bytes(10240 - 12 + 1))], "of length 10241"),
    ("cc21", lambda p: [out(p), out(p)], "behind the end"),
    ("cc21", lambda p: [err(p), out(p)], "behind the end"),
    ("cc30", lambda p: [err(p), out(p)], "behind the end"),
    ("cc21", lambda p: [out(p), err(p, b"late")], "behind the end"),
    ("cc21", lambda p: [out(p), out(p, b"\3"), out(p, b"x")], "nobody's"),
    ("cc30", lambda p: [out(p), out(p, b"\3"), out(p)], "nobody's"),
    ("runv", lambda p: [err(p)], "runv crashes"),
    ("runv", lambda p: [out(p), out(p, b"\3")], "behind its end"),
    ("runv", lambda p: [event(), event()], "unexpected"),
    ("runv", lambda p: [event(process="other")], "unexpected"),
    ("runv", lambda p: [event(event="started")], "unexpected"),
    ("runv", lambda p: [TtyFrame(4711, b"x")], "nobody's"),
    ("cc21", lambda p: [TtyFrame(4711)], "nobody's"),
])
def test_a_profile_chokes_on_what_its_host_chokes_on(name, frames, complaint):
    agent = Agent(name)
    process = agent.begins()
    with pytest.raises(ProtocolError, match=complaint):
        for frame in frames(process):
            agent.says(frame)


@only_host
def test_a_profile_takes_what_its_host_takes():
    agent = Agent("cc30")
    process = agent.begins()
    agent.says(out(process, bytes(20_000)), TtyFrame(1, b"x"), TtyFrame(2), TtyFrame(1))
    agent.host.run_until(lambda: len(process.out) == 20_000, 1, "20,000 bytes")
    agent.says(out(process), out(process, b"\7"))
    assert agent.host.await_exit(process) == 7

    # cc-shim takes an empty stderr frame for the end, and what is next for the code.
    agent = Agent("cc21")
    process = agent.begins()
    agent.says(err(process), out(process, b"x"))
    assert agent.host.await_exit(process) == ord("x")


@only_host
@pytest.mark.parametrize("wrong", [-1, 1])
def test_runv_stands_still_when_the_nexts_are_off_by_one(wrong):
    agent = Agent("runv")
    agent.begins()
    agent.host.command(Code.PING, b"x" * 1000)
    agent.host.step(1)
    sent = agent.host.control.sent
    with pytest.raises((HostTimeout, ProtocolError)):
        agent.says(next_frame(512 + wrong))
        agent.host.run_until(lambda: agent.host.control.sent > sent, 0.2, "the window")


@only_host
def test_runv_writes_512_bytes_and_waits():
    agent = Agent("runv")
    agent.begins()
    for _ in range(60):
        agent.host.command(Code.PING)
    for size in (512, 720 - 512):
        agent.host.step(1)
        assert len(agent.control.recv(4096)) == size
        assert not agent.host.control.can_send()
        agent.says(next_frame(size - 100))
        assert not agent.host.control.can_send()
        agent.says(next_frame(100))


@only_host
@pytest.mark.parametrize("name", HOSTS)
def test_a_profile_says_all_that_the_recorded_host_said(name):
    """Every key that stands in the recording, with a value of the same type; but our guests have no NIC."""
    agent = Agent(name)
    host = agent.host
    host.ready = True
    ours = {}
    host.await_reply = lambda reply, seconds=None: b"\0\0\x7f\x7f"  # a version, and a text
    host.start_pod("pod")
    process = host.new_container("c", ["true"], "image", "rootfs", stdin=False)
    host.exec("c", ["true"], size=(1, 1))
    host.exec("c", ["true"])
    host.resize(process, 1, 2)
    host.signal(process, 9)
    host.remove(process)
    if name == "cc30":
        host.list_processes("c")
    for frame in control_decoder().feed(host.control.unsent):
        add_shape(ours, frame)
    for line in (ROOT / f"tests/golden/{name}.txt").read_text().splitlines():
        _, channel, direction, _, text = line.split()
        if (channel, direction) == ("ctl", "C->A"):
            for frame in control_decoder().feed(bytes.fromhex(text)):
                recorded = add_shape({}, frame)
                for key, shape in recorded.items():
                    missing = {(path, kind) for path, kind in shape - ours.get(key, set())
                               if not path.startswith((".interfaces[]", ".routes[]"))}
                    assert not missing, (key, missing)


def add_shape(shapes, frame):
    """(path, type) of every value, by command and whether it has a terminal."""
    def walk(path, value):
        if isinstance(value, dict):
            for key, inner in value.items():
                yield from walk(f"{path}.{key}", inner)
        elif isinstance(value, list):
            for inner in value:
                yield from walk(f"{path}[]", inner)
        else:
            yield path, type(value)
    if not re.match(rb"\{", frame.payload):
        return shapes
    value = json.loads(frame.payload)
    terminal = value.get("process", {}).get("terminal") if isinstance(value.get("process"), dict) \
        else None
    shapes.setdefault((frame.code, terminal), set()).update(walk("", value))
    return shapes
