# SPDX-License-Identifier: Apache-2.0
"""The oracle: what protocol.md 3 to 7 lets the daemon answer to what was sent.

It knows what it sent, never what has arrived, so that a seed always plays the same schedule, though
the daemon may interleave it in other ways. It waits only where what is sent next is right behind
something alone: an ACK, a process that sleeps. The rig's strict host checks frames, NEXTs, and the
order of replies and ends by itself; what they say is checked here.

Where the host hangs up it first tells the kernel to take no more, then takes what the socket holds:
so it knows exactly what the daemon has got rid of, and nothing may be missing or come twice.
"""

import dataclasses
import random
import socket
import time
from contextlib import suppress

from fakeproxy.host import Disconnected
from model.puppet import Puppet
from rig.host import check
from rig.wire import Code, tty_frames

# What a sleeper's pipe and queue hold for certain.
BACKLOG_MAX = 150_000
ACK, ERROR = Code.ACK, Code.ERROR


@dataclasses.dataclass
class Expected:
    """A command on its way, which replies are right, and what to do when its reply is lost."""
    what: str
    cmd: object
    kinds: tuple
    text: str = ""
    payload: bytes = None
    lost: object = None

    def check(self):
        kind, payload = self.cmd.kind, self.cmd.payload
        check(kind in self.kinds, f"{self.what}: {kind!r} {payload[:200]!r}")
        if kind == ERROR:
            check(self.text in self.cmd.text, f"{self.what}: {self.cmd.text!r}, not {self.text!r}")
        elif self.payload is not None:
            check(payload == self.payload, f"{self.what}: {payload[:100]!r}")


class Container:
    def __init__(self, name, first):
        self.name, self.first = name, first
        self.execs = []
        self.stopped = False

    @property
    def puppets(self):
        return [self.first, *self.execs]


class Oracle:
    def __init__(self, host, seed):
        self.host, self.seed = host, seed
        self.containers = {}  # by name, until they are gone
        self.expected = []
        self.files = {}  # by container name: what WRITEFILE left there
        self.trace = []
        self.unique = 0
        self.here = {"control": True, "tty": True}
        self.rng = random.Random(seed)

    def note(self, text):
        self.trace[-1] += f" {text}"

    # --- What is expected ---

    def send(self, what, code, payload=b"", *, kinds=(ACK,), text="", reply=None, lost=None):
        self.attend("control", read=False)
        cmd = self.host.send(code, payload, self.split())
        return self.expect(what, cmd, kinds, text, reply, lost)

    def expect(self, what, cmd, kinds, text="", reply=None, lost=None):
        self.expected.append(Expected(what, cmd, kinds, text, reply, lost))
        self.note(what)
        return cmd

    def verify(self):
        """What has been answered was answered right."""
        for expected in self.expected:
            if expected.cmd.kind is not None:
                expected.check()
        self.expected = [expected for expected in self.expected if expected.cmd.kind is None]

    def answered(self, cmd):
        """Waits for the reply; False when a hang-up has swallowed it."""
        self.attend("control")
        if any(expected.cmd is cmd for expected in self.expected):
            self.host.reply_to(cmd)
            self.verify()
        return cmd.kind is not None

    def catch_up(self):
        """Until every command is answered: the end of a process must not overtake one to it."""
        if self.expected:
            self.answered(self.expected[-1].cmd)

    def split(self):
        """Now and then bytes are written few at a time."""
        return self.rng.choice((None, None, None, None, 1, 7, 512))

    # --- Both ports ---

    def attend(self, *ports, read=True):
        """The host is there, and reads; both ports when none is named."""
        for port in ports or ("control", "tty"):
            if not self.here[port]:
                self.come_back(port)
        if read:
            # An event waits for its EOF to leave, a reply for room: so always both.
            for connection in (self.host.control, self.host.tty):
                if connection:
                    connection.reading = True

    def wait_connected(self, port, connected):
        """By its descriptors: its log has a line for each, but not a hundred in a second."""
        def is_so():
            try:
                self.host.guest.agent_socket(port).close()
            except LookupError:
                return not connected
            return connected
        end = time.monotonic() + self.host.timeout
        while not is_so():
            check(time.monotonic() < end, f"{port}: the daemon does not notice")
            self.host.pump(0.001)

    def leave(self, port):
        host = self.host
        connection = getattr(host, port)
        take = getattr(host, f"on_{port}")
        connection.sock.shutdown(socket.SHUT_RD)
        with suppress(Disconnected):
            while data := connection.read():
                for frame in connection.decoder.feed(data):
                    take(frame)
        getattr(host, f"disconnect_{port}")()
        self.here[port] = False
        self.wait_connected(port, False)
        self.verify()

    def come_back(self, port):
        host = self.host
        getattr(host, f"connect_{port}")()
        self.here[port] = True
        self.wait_connected(port, True)
        if self.rng.random() < 0.3:
            host.guest.shrink_send_buffer(port)
        if self.rng.random() < 0.3:
            getattr(host, port).read_size = self.rng.choice((97, 1013))
        if port == "control":
            check(len(host.ack(Code.GETVERSION)) == 4, "the first reply is another's")
            lost, self.expected = self.expected, []
            for expected in lost:
                if expected.lost:
                    expected.lost()

    # --- Puppets ---

    def puppets(self, test=lambda puppet: True):
        """Those of which no end is certain."""
        return [puppet for container in self.containers.values() if not container.stopped
                for puppet in container.puppets if not puppet.ending and test(puppet)]

    def pick(self, test=lambda puppet: True):
        """One of them that has started, or None."""
        if not (puppets := self.puppets(test)):
            return None
        puppet = self.rng.choice(puppets)
        self.answered(puppet.process.start)
        return puppet if puppet in self.puppets(test) else None

    def is_first(self, puppet):
        container = self.containers.get(puppet.container)
        return container is not None and container.first is puppet

    def can_be_signalled(self, puppet):
        return puppet.ident or self.is_first(puppet)

    def signal(self, puppet, number, everyone=False):
        """One of the ways there are to send it: a command's code and payload."""
        if puppet.ident and not everyone and (not self.is_first(puppet) or self.rng.random() < 0.5):
            return Code.SIGNALPROCESS, {"container": puppet.container, "process": puppet.ident,
                                        "signal": number}
        return Code.KILLCONTAINER, {"container": puppet.container, "signal": number,
                                    "allProcesses": everyone}

    def write(self, puppet, data):
        self.attend("tty", read=False)
        if puppet.terminal:
            self.wait_begun(puppet)  # until it has made its terminal raw, that echoes
        frame = self.rng.choice((13, 40, 8204, 10240)) if len(data) < 2000 else 10240
        self.host.tty.send(tty_frames(puppet.process.stdio, data, frame), self.split_short(data))

    def split_short(self, data):
        return self.split() if len(data) < 2000 else None

    def wait_begun(self, puppet):
        if not puppet.out.length:
            self.attend()
            self.host.wait_for(lambda: puppet.out.length, f"{puppet.name} to begin")

    def wait_said(self, puppet):
        """Until it has obeyed all that it is awake for. False when it has to die meanwhile."""
        self.unjam(puppet)
        if puppet.ending:
            return False
        self.attend()
        self.host.wait_for(puppet.has_said_all,
                           f"{puppet.name} to say {puppet.due_out} and {puppet.due_err} bytes")
        puppet.check_said()
        return True

    def unjam(self, but=None):
        """A sleeper with more input than there is room for holds up the input of all others."""
        for puppet in self.puppets(lambda puppet: puppet.backlog > BACKLOG_MAX):
            if puppet is not but:
                self.kill(puppet, 9)

    def fence(self):
        """Until the daemon has taken all that was written to tty: what goes first comes first.
        False when nobody can tell."""
        self.unjam()
        puppet = self.pick(lambda puppet: not puppet.nap)
        if puppet:
            self.write(puppet, puppet.line(b"o", 1))
            self.wait_said(puppet)
        return bool(puppet)

    def kill(self, puppet, number):
        """A signal that ends it, and what else ends with it."""
        self.attend("control", read=False)
        container = self.containers[puppet.container]
        for other in [*container.puppets]:  # a probe could not tell its end from no start
            self.answered(other.process.start)
        everyone = puppet is container.first and self.rng.random() < 0.3
        code, payload = self.signal(puppet, number, everyone)

        def lost():
            self.expect("kill again", self.host.send(code, payload), (ACK, ERROR))
        self.send(f"{code.name} {puppet.name} {number}", code, payload, lost=lost)
        puppet.kill(number)
        if puppet is container.first:
            self.first_ends(container, number if everyone else None)

    def first_ends(self, container, number=None):
        for puppet in container.execs:
            puppet.kill(9)
            if number:
                puppet.kill(number)

    def may_have_ended(self, puppet):
        """After a line: the rest of its container ends with a first process."""
        if puppet.ending and self.is_first(puppet):
            self.first_ends(self.containers[puppet.container])

    def reap(self, container):
        """All ends that are due: what was said, and the code."""
        self.unjam()
        ending = [puppet for puppet in container.puppets if puppet.ending]
        for puppet in ending:
            self.answered(puppet.process.start)
        self.attend()
        for puppet in ending:
            self.host.wait_for(lambda: puppet.process.ended, f"the end of {puppet.name}")
            puppet.check_end()
        container.execs = [puppet for puppet in container.execs if not puppet.ending]
        if container.first.ending:
            container.stopped = True
            if container.first.ident:
                del self.containers[container.name]

    # --- Starts ---

    def describe(self, container, ident):
        """A new puppet, and the fields of its process."""
        self.unique += 1
        terminal = self.rng.random() < 0.25
        has_stderr = not terminal or self.rng.random() < 0.3
        puppet = Puppet(container, ident, self.unique * 7919, terminal, has_stderr)
        fields = {"stdio": self.fresh_seq(), "stderr": self.fresh_seq() if has_stderr else 0,
                  "args": ["puppet", str(puppet.seed)], "out": puppet.out, "err": puppet.err}
        if ident:
            fields["id"] = ident
        if terminal:
            puppet.size = self.rng.randrange(1, 60), self.rng.randrange(1, 100)
            fields |= {"terminal": True, "rows": puppet.size[0], "columns": puppet.size[1]}
        return puppet, fields

    def fresh_seq(self):
        """Some need all 64 bits."""
        return self.host.fresh_seq() + self.rng.choice((0, 0, 1 << 32, (1 << 64) - (1 << 20)))

    def start(self, puppet, fields, *, kinds=(ACK,), text="", lost=None):
        """Sends the command that fields["code"] names."""
        self.attend("control", read=False)
        args = fields.pop("args")
        host, container = self.host, puppet.container
        code = fields.pop("code")
        begin = host.newcontainer if code == Code.NEWCONTAINER else host.execcmd
        puppet.process = begin(container, args, **fields)
        what = f"{code.name} {puppet.name}{'' if ACK in kinds else ' (refused)'}"
        self.expect(what, puppet.process.start, kinds, text, b"",
                    lost or (lambda: self.forget(puppet)))

    def forget(self, puppet):
        """It never was."""
        if puppet.process.start.kind is None:
            self.host._forget(puppet.process)
        container = self.containers.get(puppet.container)
        if container and container.first is puppet:
            del self.containers[puppet.container]
        elif container and puppet in container.execs:
            container.execs.remove(puppet)

    def probe(self, puppet):
        """Its start may have been the old host's last command: does it live?"""
        if puppet.ident:
            cmd = self.host.send(Code.SIGNALPROCESS, {
                "container": puppet.container, "process": puppet.ident, "signal": 0})
        else:
            cmd = self.host.send(Code.KILLCONTAINER, {"container": puppet.container, "signal": 0})
        self.host.reply_to(cmd)
        if cmd.kind == ERROR:
            check(not puppet.out.length, f"{puppet.name} spoke, but is not")
            self.forget(puppet)
        else:
            puppet.process.start.kind = ACK
            if puppet.ident:
                self.host.by_key[puppet.process.key] = puppet.process

    # --- The end ---

    def end(self):
        """Everything that lives is ended, every end told, and the daemon is as it was."""
        self.trace.append("the end:")
        self.rng = random.Random(f"{self.seed}/end")
        for name in [*self.containers]:
            container = self.containers[name]
            self.answered(container.first.process.start)
            if name in self.containers and not container.stopped and not container.first.ending:
                self.kill(container.first, 9)
        for name, container in [*self.containers.items()]:
            if not container.stopped:
                self.reap(container)
            if container.first.ident is None:
                self.answered(self.send(f"REMOVECONTAINER {name}", Code.REMOVECONTAINER,
                                        {"container": name}))
        self.attend()
        self.host.containers.clear()
        self.host.settle()
        self.verify()
        check(not self.expected, f"no reply to {[expected.what for expected in self.expected]}")
