# SPDX-License-Identifier: Apache-2.0
"""The steps: what hosts do, in an order and with figures that a seed decides."""

import json
import random
import struct

from model.oracle import ACK, BACKLOG_MAX, ERROR, Container, Expected, Oracle
from model.puppet import CLOSED, NAP
from rig.wire import Code, TtyFrame, command

NAMES = ["web", "db", "a}b", "caf\u00e9", "x" * 128]
IDENTS = ["init", "sh", "}", "p" * 100]
PUPPETS_MAX = 24
NAPPERS_MAX = 6
JAM = 500_000  # more than a sleeper's pipe and queue hold
KILLS = (9, 15)
SIGUSR1, SIGCONT, SIGSTOP = 10, 18, 19

# What of a process or container makes its start fail, and what the ERROR must name.
WRONG = [({"args": ["/bin/ngnix"]}, "/bin/ngnix"), ({"args": ["/etc"]}, "/etc"),
         ({"workdir": "/no/where"}, "/no/where"), ({"user": "mallory"}, "mallory"),
         ({"args": []}, "args"), ({"stdio": 0}, "stdio"), ({"envs": 7}, "envs")]
MALFORMED = [b"", b"{", b"[]", b'{"container":"web"', b"\xff\xfe", b"[" * 4000, b'"\\ud800"',
             b'{"container":7,"process":{}}', b'{"id":"a/b"}', b'{"container":"\\u0000"}']


class Schedule(Oracle):
    def run(self, count):
        steps, weights = zip(*STEPS)
        for number in range(count):
            self.rng = random.Random(f"{self.seed}/{number}")
            step = self.rng.choices(steps, weights)[0]
            self.trace.append(f"{number}: {step}")
            getattr(self, f"step_{step}")()
            for _ in range(self.rng.randrange(3)):
                self.host.pump(0)
            self.verify()
        self.end()

    # --- Starts ---

    def step_newcontainer(self):
        self.attend("control", read=False)
        name = self.rng.choice(NAMES)
        container = self.containers.get(name)
        if container and container.first.ending and not container.stopped:
            self.reap(container)
        ident = self.rng.choice((None, "init"))
        puppet, fields = self.describe(name, ident)
        fields["code"] = Code.NEWCONTAINER
        if name in self.containers:
            self.start(puppet, fields, kinds=(ERROR,), text="exists already")
        elif self.rng.random() < 0.2:
            wrong, text = self.rng.choice(WRONG)
            self.start(puppet, fields | wrong, kinds=(ERROR,), text=text)
        else:
            self.start(puppet, fields, lost=lambda: self.probe(puppet))
            self.containers[name] = Container(name, puppet)

    def step_exec(self):
        self.attend("control", read=False)
        name = self.rng.choice(NAMES)
        container = self.containers.get(name)
        if container and not container.stopped and container.first.ending:
            self.exec_into_ending(container)
            return
        ident = self.rng.choice((None, None, *IDENTS))
        puppet, fields = self.describe(name, ident)
        fields["code"] = Code.EXECCMD
        if not container:
            self.start(puppet, fields, kinds=(ERROR,), text="no such container")
        elif container.stopped:
            self.start(puppet, fields, kinds=(ERROR,), text="is not running")
        elif ident and any(other.ident == ident for other in container.puppets):
            # Or it was its end that came first.
            living = [other for other in container.puppets if other.ident == ident]
            if any(other.ending for other in living):
                self.reap(container)
                return
            self.start(puppet, fields, kinds=(ERROR,), text="already")
        elif self.rng.random() < 0.2:
            wrong, text = self.rng.choice(WRONG)
            self.start(puppet, fields | wrong, kinds=(ERROR,), text=text)
        elif len(self.puppets()) < PUPPETS_MAX:
            self.start(puppet, fields, lost=lambda: self.probe(puppet))
            container.execs.append(puppet)
            if not ident:  # a hang-up would leave no way to ask for it
                self.answered(puppet.process.start)

    def exec_into_ending(self, container):
        """Either its end comes first, or it takes this one along."""
        puppet, fields = self.describe(container.name, None)
        fields["code"] = Code.EXECCMD
        self.start(puppet, fields, kinds=(ACK, ERROR), text=container.name)
        puppet.kill(9)
        self.unjam()
        if self.answered(puppet.process.start) and puppet.process.start.kind == ACK:
            container.execs.append(puppet)
        self.reap(container)

    def step_shared_seqs(self):
        """cc30 gives 1 and 2 to all that have no client: input is for the one started last."""
        self.unjam()
        container = self.pick(self.is_first)
        if not container:
            return
        stack = []
        for _ in range(self.rng.randrange(2, 5)):
            puppet, fields = self.describe(container.container, None)
            if puppet.terminal or self.host.streams[1]:
                break
            stack.append((puppet, fields))
        started = []
        for puppet, fields in stack:
            fields |= {"stdio": 1, "stderr": 2, "code": Code.EXECCMD}
            self.start(puppet, fields)
            self.answered(puppet.process.start)
            self.wait_said(puppet)
            started.append(puppet)
        self.catch_up()
        while started:
            puppet = started.pop()
            self.write(puppet, puppet.line(b"d", 100) + puppet.line(b"e", 300))
            self.write(puppet, puppet.line(b"x", len(started)))
            self.attend()
            self.host.wait_for(lambda: puppet.process.ended, f"the end of {puppet.name}")
            puppet.check_end()

    # --- Talk ---

    def step_talk(self):
        puppet = self.pick(lambda puppet: puppet.backlog < BACKLOG_MAX)
        if not puppet:
            return
        rng, data = self.rng, b""
        self.note(puppet.name)
        for _ in range(rng.randrange(1, 6)):
            what = rng.choice((b"o", b"o", b"e", b"d", b"d", b"g", b"w", b"\n"))
            number = min(int(rng.expovariate(1 / 3000)), 30000)
            if what == b"\n" or (what == b"e" and not puppet.has_stderr):
                data += b"\n"
            elif what == b"w":
                if self.knows_size(puppet):
                    data += puppet.line(b"w")
            else:
                data += puppet.line(what, number)
        self.write(puppet, data)

    def knows_size(self, puppet):
        """What the daemon was told of a terminal it has by now."""
        if puppet.resizing and not self.answered(puppet.resizing):
            puppet.size = None
        puppet.resizing = None
        return puppet.terminal and puppet.size is not None

    def step_flood(self):
        puppet = self.pick(lambda puppet: not puppet.nap)
        if puppet:
            what = self.rng.choice((b"o", b"e" if puppet.has_stderr else b"o"))
            self.note(puppet.name)
            self.write(puppet, puppet.line(what, self.rng.randrange(400_000)))

    def step_pour(self):
        puppet = self.pick(lambda puppet: not puppet.nap)
        if puppet:
            self.note(puppet.name)
            self.write(puppet, puppet.line(b"d", self.rng.randrange(400_000)))

    def step_listen(self):
        puppet = self.pick(lambda puppet: not puppet.nap)
        if puppet:
            self.note(puppet.name)
            self.wait_said(puppet)

    def step_nap(self):
        """It stops to read, or closes its stdin."""
        puppet = self.pick(lambda puppet: not puppet.nap and self.can_be_signalled(puppet))
        if puppet and len(self.puppets(lambda puppet: puppet.nap)) < NAPPERS_MAX:
            what = NAP if puppet.terminal else self.rng.choice((NAP, NAP, CLOSED))
            self.note(f"{puppet.name} {what}")
            self.write(puppet, puppet.line(what, self.rng.randrange(90)))

    def step_wake(self):
        puppet = self.pick(lambda puppet: puppet.nap)
        if puppet:
            self.wake(puppet)

    def wake(self, puppet):
        self.note(puppet.name)
        if not self.wait_said(puppet):  # so it is in its nap
            return
        self.catch_up()
        self.answered(self.send("wake", *self.signal(puppet, SIGUSR1)))
        puppet.wake()
        self.may_have_ended(puppet)

    def step_jam(self):
        """More for a sleeper than there is room for: all other input waits."""
        self.unjam()
        puppet = self.pick(lambda puppet: puppet.nap and puppet.nap[0] == NAP)
        if puppet:
            self.wait_said(puppet)
            self.note(puppet.name)
            self.write(puppet, puppet.line(b"d", JAM))
            cmd = self.send("PING beside a jam", Code.PING)
            self.answered(cmd)
            if self.rng.random() < 0.5:
                self.wake(puppet)

    def step_stop_and_continue(self):
        puppet = self.pick(lambda puppet: puppet.ident and not puppet.nap)
        if puppet:
            self.note(puppet.name)
            self.wait_begun(puppet)
            for number in (SIGSTOP, SIGCONT):
                self.answered(self.send(f"signal {number}", Code.SIGNALPROCESS, {
                    "container": puppet.container, "process": puppet.ident, "signal": number}))
                self.write(puppet, puppet.line(b"d", 2000) + puppet.line(b"o", 2000))

    # --- Ends ---

    def pick_victim(self, test=lambda puppet: True):
        """Rarely a first process, for that takes all others along."""
        any_will_do = self.rng.random() < 0.2
        return self.pick(lambda puppet: test(puppet) and (any_will_do or not self.is_first(puppet)))

    def step_exit(self):
        self.catch_up()
        puppet = self.pick_victim(lambda puppet: puppet.backlog < BACKLOG_MAX)
        if not puppet:
            return
        if self.rng.random() < 0.5:
            data = puppet.line(b"o", self.rng.randrange(70000))
        else:
            data = b""
        what, number = self.rng.choice(((b"x", 0), (b"x", 3), (b"x", self.rng.randrange(256)),
                                        (b"k", 9), (b"k", 15), (b"k", 12)))
        self.note(f"{puppet.name} {what} {number}")
        self.write(puppet, data + puppet.line(what, number))
        self.may_have_ended(puppet)

    def step_end_of_input(self):
        self.catch_up()
        puppet = self.pick_victim()
        if puppet:
            self.note(puppet.name)
            self.attend("tty", read=False)
            if puppet.backlog < BACKLOG_MAX and self.rng.random() < 0.5:
                self.write(puppet, puppet.line(b"d", self.rng.randrange(100_000)))
            puppet.process.close_stdin()
            puppet.end_of_input()
            self.may_have_ended(puppet)
            if self.rng.random() < 0.3:  # what comes behind it is not for anyone
                self.write(puppet, puppet.line(b"o", 5))

    def step_kill(self):
        puppet = self.pick_victim(self.can_be_signalled)
        if puppet:
            self.kill(puppet, self.rng.choice(KILLS))

    def step_reap(self):
        endings = [container for container in self.containers.values() if not container.stopped and
                   any(puppet.ending for puppet in container.puppets)]
        if endings:
            container = self.rng.choice(endings)
            self.note(container.name)
            self.reap(container)

    def pick_settled(self):
        """One of the names, and its container or None: one that is about to end has ended."""
        self.attend("control", read=False)
        name = self.rng.choice(NAMES)
        container = self.containers.get(name)
        if container and not container.stopped and container.first.ending:
            self.reap(container)
            container = self.containers.get(name)
        return name, container

    def step_remove(self):
        name, container = self.pick_settled()
        kinds, text = (ERROR,), "is running"
        if not container:
            text = "no such container"
        elif container.stopped:
            kinds, text = (ACK,), ""
        cmd = self.send(f"REMOVECONTAINER {name}", Code.REMOVECONTAINER, {"container": name},
                        kinds=kinds, text=text)
        if container and container.stopped:
            self.answered(cmd)
            del self.containers[name]

    def step_signal_nobody(self):
        """Probes, and signals to what is not there, or not any more."""
        self.attend("control", read=False)
        name, ident = self.rng.choice(NAMES), self.rng.choice(IDENTS)
        container = self.containers.get(name)
        number = self.rng.choice((0, SIGCONT))
        alive = container and not container.stopped
        sure = not container or container.stopped or not any(
            puppet.ending for puppet in container.puppets)
        if self.rng.random() < 0.5:
            kinds = (ACK,) if alive or (container and number) else (ERROR,)
            self.send(f"KILLCONTAINER {name} {number}", Code.KILLCONTAINER,
                      {"container": name, "signal": number}, kinds=kinds if sure else (ACK, ERROR),
                      text=name)
        else:
            found = alive and any(puppet.ident == ident for puppet in container.puppets)
            self.send(f"SIGNALPROCESS {name}/{ident} {number}", Code.SIGNALPROCESS,
                      {"container": name, "process": ident, "signal": number},
                      kinds=(ACK if found else ERROR,) if sure else (ACK, ERROR), text=name)

    # --- More commands ---

    def step_resize(self):
        puppet = self.pick(lambda puppet: not puppet.nap)
        if not puppet:
            return
        if puppet.terminal and not self.wait_said(puppet):  # it was asked for the old size
            return
        size = self.rng.randrange(1, 60), self.rng.randrange(1, 100)
        payload = {"row": size[0], "column": size[1]}
        kinds = (ACK,)
        if puppet.ident and self.rng.random() < 0.5:
            payload |= {"container": puppet.container, "process": puppet.ident}
            kinds = (ACK,) if puppet.terminal else (ERROR,)
        else:
            payload["seq"] = puppet.process.stdio

        def lost():
            puppet.size = None
        cmd = self.send(f"WINSIZE {puppet.name}", Code.WINSIZE, payload, kinds=kinds,
                        text="no terminal", lost=lost)
        if puppet.terminal:
            puppet.size, puppet.resizing = size, cmd

    def step_queue(self):
        """Many commands back to back."""
        for _ in range(self.rng.choice((3, 30, 300))):
            self.host.control or self.attend("control", read=False)
            code = self.rng.choice((Code.PING, Code.GETPOD, Code.GETVERSION, 7, 99))
            known = code in (Code.PING, Code.GETPOD, Code.GETVERSION)
            cmd = self.host.send(code)
            self.expected.append(Expected(
                f"{code!r}", cmd, (ACK if known else ERROR,), f"unknown command {int(code)}",
                struct.pack(">I", 4244) if code == Code.GETVERSION else b""))

    def step_file(self):
        self.attend("control", read=False)
        name = self.rng.choice(NAMES)
        container = self.containers.get(name)
        if container and not self.answered(container.first.process.start):
            return
        if name in self.containers and container.first.ending and not container.stopped:
            self.reap(container)
        path = f"/tmp/model}}{name[:20]}"
        spec = json.dumps({"container": name, "file": path}).encode()
        if name not in self.containers:
            code = self.rng.choice((Code.READFILE, Code.WRITEFILE))
            self.send(f"{code.name} {name}", code, spec, kinds=(ERROR,), text=name)
        elif name not in self.files or self.rng.random() < 0.5:
            data = self.rng.randbytes(int(self.rng.expovariate(1 / 20000)))

            def lost():
                self.files.pop(name, None)
            self.send(f"WRITEFILE {name}", Code.WRITEFILE, spec + data, reply=b"", lost=lost)
            self.files[name] = data
        else:
            self.send(f"READFILE {name}", Code.READFILE, spec, reply=self.files[name])

    def step_ps(self):
        name, container = self.pick_settled()
        runs = container and not container.stopped
        self.send(f"PSCONTAINER {name}", Code.PSCONTAINER, {"container": name, "format": "json"},
                  kinds=(ACK,) if runs else (ERROR,), text=name)

    # --- Hosts as they should not be ---

    def step_hostile_control(self):
        rng = self.rng
        self.attend("control", read=False)
        code = rng.choice((Code.EXECCMD, Code.NEWCONTAINER, Code.KILLCONTAINER, Code.STARTPOD,
                           Code.WINSIZE, Code.READFILE, Code.WRITEFILE, Code.SIGNALPROCESS))
        raw = rng.choice((
            struct.pack(">II", code, rng.choice((0, 4, 7, (16 << 20) + 1, 0x40000000, 0xFFFFFFFF))),
            command(code, rng.choice(MALFORMED)),
            command(rng.choice((3, 5, 13, 26, 0xFFFFFFFF)), rng.randbytes(rng.randrange(3000))),
            command(Code.EXECCMD, bytes(rng.randrange(256 << 10, 400_000) + 1)),
        ))
        (cmd,) = self.host.send_raw(raw, 1, self.split_short(raw))
        self.expect(f"hostile {raw[:40]!r}", cmd, (ERROR,))

    def step_hostile_tty(self):
        rng = self.rng
        self.attend("tty", read=False)
        nobody = rng.choice((0, 5, 1 << 40, 0x7FFFFFFFFFFFFFFF))
        raw = rng.choice((
            TtyFrame(nobody, rng.randbytes(rng.randrange(20000))).build(),
            TtyFrame(nobody).build(),
            struct.pack(">QI", nobody, rng.choice((0, 4, 11, (16 << 20) + 1, 0xFFFFFFFF))),
        ))
        self.host.tty.send(raw, self.split_short(raw))

    def step_pause(self):
        """The host has other things to do."""
        for port in self.rng.choice((("control",), ("tty",), ("tty",), ("control", "tty"))):
            if self.here[port]:
                getattr(self.host, port).reading = False
                self.note(port)

    def step_read_on(self):
        self.attend()

    def step_leave_control(self):
        self.attend("control", read=False)
        if self.rng.random() < 0.3:
            self.fill_control()
        if self.rng.random() < 0.5:  # in the middle of a command
            raw = command(Code.KILLCONTAINER, {"container": self.rng.choice(NAMES), "signal": 9})
            self.host.control.send(raw[: self.rng.randrange(1, len(raw))])
            self.host.pump(0)
        self.leave("control")
        if self.rng.random() < 0.5:
            self.attend("control")

    def fill_control(self):
        """Nothing more leaves, and an event is among what stays."""
        puppet = self.pick(lambda puppet: puppet.ident and not puppet.nap and
                           not self.is_first(puppet))
        self.catch_up()
        self.unjam()
        self.host.guest.shrink_send_buffer("control")
        self.host.control.reading = False
        self.step_queue()
        if puppet and not puppet.ending:
            self.attend("tty", read=False)
            self.host.tty.reading = True
            self.write(puppet, puppet.line(b"x", 5))
            self.host.wait_for(lambda: puppet.process.eof, f"the EOF of {puppet.name}")

    def step_leave_tty(self):
        self.attend("tty", read=False)
        if not self.fence():  # what it has not taken yet goes with the host
            return
        puppet = self.pick(lambda puppet: not puppet.nap)
        if puppet and self.rng.random() < 0.5:  # in the middle of a frame of nothing
            self.wait_begun(puppet)
            raw = TtyFrame(puppet.process.stdio, b"\n" * 100).build()
            self.host.tty.send(raw[: self.rng.randrange(1, len(raw))])
            self.host.wait_for(lambda: not self.host.tty.chunks, "half a frame to leave")
        elif puppet:  # in the middle of its output
            before = puppet.due_out
            self.write(puppet, puppet.line(b"o", self.rng.randrange(1, 300_000)))
            self.attend()
            self.host.wait_for(lambda: puppet.out.length > before, "some of it")
        self.leave("tty")
        if self.rng.random() < 0.5:
            self.attend("tty")


STEPS = [
    ("newcontainer", 14), ("exec", 30), ("shared_seqs", 2),
    ("talk", 30), ("flood", 8), ("pour", 6), ("listen", 4),
    ("nap", 6), ("wake", 5), ("jam", 3), ("stop_and_continue", 3),
    ("exit", 4), ("end_of_input", 2), ("kill", 2), ("reap", 5),
    ("remove", 6), ("signal_nobody", 6), ("resize", 6), ("queue", 3),
    ("file", 5), ("ps", 2), ("hostile_control", 5), ("hostile_tty", 5),
    ("pause", 8), ("read_on", 3), ("leave_control", 4), ("leave_tty", 4),
]
