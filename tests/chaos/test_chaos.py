# SPDX-License-Identifier: Apache-2.0
"""Random lives of whole daemons: commands as they should be, mutated, cut, too long and with lengths that
cannot be, on both ports, from hosts that come and go, while programs of eight kinds out of 25 misbehave in
the containers.

Each round is one agent. Always checked: what the rig's strict host checks of every byte; one reply to each
command, in order (unknown numbers, each its own, come back in their ERRORs); PINGs are answered; ends are
true; DESTROYPOD is in time and leaves nothing; the sanitizers are silent. `make chaos ARGS=--seed=N` plays
one round again: the same steps, though what they meet may have come another way.

In builds made for it it has found a reply sent twice, one that outlives its host, an EOF that is not sent,
output that is lost, a cgroup and a mount namespace that stay: each in 80 s or less; and waits without a
bound in three minutes.
"""

import collections
import json
import random
import re
import struct
import time
from pathlib import Path

import pytest

from model.oracle import ACK, ERROR, Oracle
from rig import pace
from rig.host import Host, check
from rig.host_rig import PIDS_V1, HostGuest
from rig.programs import pattern
from rig.rootfs import Share
from rig.wire import Code, TtyFrame, command, tty_frames
from scenarios.test_privileges import DOCKER, NONE, sets

CAPABILITIES = [sets(DOCKER, DOCKER, DOCKER, DOCKER, NONE), sets(*[NONE] * 5)]
NAMES = ["web", "db", "a}b", "caf\u00e9"]
ROOM = (300, 4000)  # processes that a guest may have; in a small one the agent's own forks fail, too
STREAMS_MAX = 100
ACK_SECONDS, OFF_SECONDS = 9, 3 + 1  # wait_end looks once a second
KEPT = 100_000  # bytes of an output that are looked at
LAST = 30
MISBEHAVING = [
    "exec storm forks", "exec storm orphans", "exec attack siblings 2000 3", "exec attack children 40 2",
    "exec attack traceme 10", "exec attack traceme 19", "exec attack trace-exec /bin/true",
    "exec attack tracer", "exec attack stopper", "exec attack steal 50", "exec attack convoy 20 64",
    "sleep 0.5; kill -9 -1; sleep 0.5; kill -9 -1", "sleep 0.5; kill -STOP -1; sleep 1; kill -CONT -1",
    "trap '' TERM HUP INT; sleep 1000 & sleep 1000", "kill -STOP $$", "kill -9 $$", "exec yes", "exec cat",
    "exec <&- >&- 2>&-; exec sleep 1000", "(sleep 1000 &) & exec true", "exec setsid sleep 1000",
    "while :; do (sleep 0.1 &) & wait; done", "exec cat /dev/zero >&2",
    "while read line; do echo $line; done", "exec sh -c 'kill -9 $PPID; kill -9 1; exec sleep 1000'",
]
MALFORMED = [b"", b"{", b"[]", b"{}x", b"\xff\xfe", b"[" * 4000, b'{"a":' * 500, b'{"a":01}', b'"\\ud800"']
TOO_LONG = (256 << 10) + 1
NO_LENGTHS = (0, 4, 7, (16 << 20) + 1, 0x40000000, 0xFFFFFFFF)


class Head(bytearray):
    """The first of an output."""

    def extend(self, data):
        super().extend(data[: KEPT - len(self)])


def parsed(payload):
    """As JSON; None where it is none."""
    try:
        return json.loads(payload.decode())
    except (ValueError, RecursionError):
        return None


def identity(stat):
    """When that process began, of its line in /proc: with its pid, no other is the same."""
    return stat.rpartition(")")[2].split()[19]


class Chaos(Oracle):
    def __init__(self, host, seed):
        super().__init__(host, seed)
        self.processes, self.sent, self.markers = [], 0, 100
        self.names = [*NAMES]  # and what mutations made of them
        self.signals = {9, 15}  # that somebody may have got
        self.menu = self.rng.sample(MISBEHAVING, 8)
        self.room = self.rng.choice(ROOM)
        (host.guest.pids / "pids.max").write_text(str(self.room))

    def live(self):
        steps, weights = zip(*STEPS)
        for number in range(self.rng.randrange(40, 200)):
            self.rng = random.Random(f"{self.seed}/{number}")
            step = self.rng.choices(steps, weights)[0]
            self.trace.append(f"{number}: {step}")
            getattr(self, f"step_{step}")()
            self.host.pump_for(self.rng.choice((0, 0.001, 0.02, 0.05)))
            check(not self.host.closed_by_agent, "the agent hung up")
            self.verify()

    def expect(self, *args):
        self.sent += 1
        return super().expect(*args)

    # --- Commands ---

    def mutate(self, payload):
        """Some bytes are changed, or it is cut."""
        rng, broken = self.rng, bytearray(payload)
        if rng.random() < 0.3:
            return payload[: rng.randrange(len(payload))]
        for _ in range(rng.randrange(1, 5)):
            at = rng.randrange(len(broken) - 1)
            broken[at : at + rng.randrange(2)] = rng.choice(
                (b"", bytes([rng.randrange(256)]), bytes([rng.choice(b'{}[]",:\\0 ut\xc3')])))
        return bytes(broken)

    def say(self, code, spec, data=b""):
        """A command with JSON, mutated now and then."""
        whole = payload = json.dumps(spec).encode()
        if self.rng.random() < 0.2:
            payload = self.mutate(payload)
        value = parsed(payload)
        # What is no JSON may be taken where nobody reads it; what is cut never is.
        kinds = (ERROR,) if value is None and whole.startswith(payload) and not data else (ACK, ERROR)
        self.signals |= {int(number) for number in re.findall(rb'"signal"[^0-9]*([0-9]+)', payload)}
        self.send(f"{code.name} {payload[:60]}", code, payload + data, kinds=kinds)

    def start(self, script, code=None, out=None):
        """A container or an exec; `code` is how it exits if nobody kills it. A misbehaving one is nice:
        what it takes by running is no attack, and the machine has other work."""
        self.attend("control", read=False)
        rng, host = self.rng, self.host
        if sum(map(len, host.streams.values())) > STREAMS_MAX:
            return
        name = rng.choice(NAMES)
        first = self.containers.get(name)
        kind, is_gone = Code.EXECCMD, not first or first.ended or first.start.kind == ERROR
        if is_gone or rng.random() < 0.1:
            kind = Code.NEWCONTAINER
            self.say(Code.REMOVECONTAINER, {"container": name})
            if rng.random() < 0.7:
                script, code = "exec sleep 1000", None
        terminal = code is None and rng.random() < 0.2
        fields = {"stdio": host.fresh_seq(), "stderr": 0 if terminal else host.fresh_seq(),
                  "terminal": terminal,
                  "args": ["sh", "-c", "read stat </proc/$$/stat; echo $stat; "
                           f"{'renice 19 $$; ' if code is None else ''}{script}"],
                  "user": rng.choice(("root", "alice")), "capabilities": rng.choice(CAPABILITIES)}
        if "storm" in script and (self.room > ROOM[0] or rng.random() < 0.9):  # or the guest is full
            fields |= {"user": "alice", "rlimits": [{"type": "RLIMIT_NPROC", "hard": 200, "soft": 200}]}
        if rng.random() < 0.5:
            fields["id"] = f"p{fields['stdio']}"
        spec = {"container": name, "process": fields}
        if kind == Code.NEWCONTAINER:
            spec = {"id": name, "image": "box", "rootfs": "rootfs", "process": fields}
        payload = json.dumps(spec).encode()
        if rng.random() < 0.15:
            whole, payload, code = payload, self.mutate(payload), None
            value = parsed(payload)
            mutated = value.get("process") if isinstance(value, dict) else None
            if isinstance(mutated, dict):
                if any(mutated.get(key, fields[key]) != fields[key] for key in ("stdio", "stderr")):
                    return  # another's streams: the host could not tell
                # What is no string is an ERROR.
                fields["id"] = str(mutated.get("id") or "")
                name = str(value.get("id" if kind == Code.NEWCONTAINER else "container"))
                self.names.append(name)
            elif value is None:
                if whole.startswith(payload):
                    self.send(f"{kind.name} that is none", kind, payload, kinds=(ERROR,))
                return  # else what jsmn makes of it the host could not tell
        process = host.expect_process(name, fields, Head(), Head())
        process.expected, process.expected_out, process.is_sure = code, out, True
        process.script = script
        self.processes.append(process)

        def lost():
            process.is_sure = False
        process.start = self.send(f"{kind.name} {name} {fields.get('id')} {script}", kind, payload,
                                  kinds=(ACK, ERROR), lost=lost)
        process.start.process = process
        if is_gone:
            self.containers[name] = process

    def step_misbehave(self):
        self.start(self.rng.choice(self.menu))

    def step_behave(self):
        number = len(self.processes) % 100 + 1
        if self.rng.random() < 0.5:
            size = self.rng.randrange(KEPT // 2)
            self.start(f"exec pattern {number} {size}", 0, pattern(number, size))
        else:
            self.start(f"exec say out err {number}", number, b"out")

    def step_command(self):
        rng, name = self.rng, self.rng.choice(self.names)
        self.say(*rng.choice((
            (Code.REMOVECONTAINER, {"container": name}),
            (Code.PSCONTAINER, {"container": name, "format": rng.choice(("json", "table"))}),
            (Code.READFILE, {"container": name, "file": "/tmp/chaos"}),
            (Code.WRITEFILE, {"container": name, "file": "/tmp/chaos"}, rng.randbytes(9000)),
            (Code.WINSIZE, {"seq": rng.randrange(1000, self.host.next_seq + 2), "row": 5, "column": 7}),
            (Code.STARTPOD, {"hostname": "again", "shareDir": "share"}), (Code.SETUPROUTE, {"routes": []}),
            (Code.DELETEINTERFACE, {"device": "chaos0"}))))

    def step_signal(self):
        rng, process = self.rng, self.rng.choice([*self.processes, None])
        number = rng.choice((0, 2, 9, 10, 15, 18, 19))
        if process and process.key and rng.random() < 0.7:
            name, ident = process.key
            self.say(Code.SIGNALPROCESS, {"container": name, "process": ident, "signal": number})
        else:
            self.say(Code.KILLCONTAINER, {"container": rng.choice(NAMES), "signal": number,
                                          "allProcesses": rng.random() < 0.3})

    def step_marker(self):
        """No other has this reply."""
        for _ in range(self.rng.choice((1, 1, 30))):
            self.markers += 1
            self.send("marker", self.markers, b"{}", kinds=(ERROR,), text=f"unknown command {self.markers}")
            self.send("GETVERSION", Code.GETVERSION, reply=struct.pack(">I", 4244))

    def step_broken(self):
        rng = self.rng
        code = rng.choice((Code.EXECCMD, Code.NEWCONTAINER, Code.KILLCONTAINER, Code.STARTPOD))
        self.attend("control", read=False)
        raw = rng.choice((struct.pack(">II", code, rng.choice(NO_LENGTHS)),
                          command(code, rng.choice(MALFORMED)),
                          command(code, bytes(rng.randrange(TOO_LONG, 2 * TOO_LONG)))))
        (cmd,) = self.host.send_raw(raw, 1, self.split_short(raw))
        self.expect(f"broken {raw[:20]}", cmd, (ERROR,))

    def step_ping(self):
        self.answered(self.send("PING", Code.PING, reply=b""))

    # --- Hosts ---

    def step_tty(self):
        rng = self.rng
        self.attend("tty", read=False)
        if len(self.host.tty.chunks) > 100:  # somebody does not read
            return
        seq = rng.choice((rng.randrange(1000, self.host.next_seq + 1), rng.randrange(1 << 64)))
        data = rng.randbytes(rng.randrange(30000))
        raw = rng.choice((tty_frames(seq, data), TtyFrame(seq, data * 9).build(), TtyFrame(seq).build(),
                          struct.pack(">QI", seq, rng.choice(NO_LENGTHS))))
        self.host.tty.send(raw, self.split_short(raw))

    def step_pause(self):
        port = self.rng.choice(("control", "tty"))
        if self.here[port]:
            getattr(self.host, port).reading = False

    def step_read_on(self):
        self.attend()

    def step_leave(self):
        port = self.rng.choice(("control", "tty"))
        self.attend(port, read=False)
        raw = command(Code.KILLCONTAINER, {"container": "web", "signal": 9}) if port == "control" else \
            TtyFrame(self.host.next_seq, bytes(1000)).build()
        getattr(self.host, port).send(raw[: self.rng.randrange(len(raw))])  # half of it
        self.host.pump(0)
        self.leave(port)

    # --- The end ---

    def is_over(self):
        """Every end was told. Where the reply of a start was lost nobody knows whether there is one."""
        living = [*sum(self.host.streams.values(), []), *self.host.by_key.values()]
        return not self.host.exit_due and not any(process.is_sure for process in living)

    def check_ends(self):
        """Who was told to have ended is not there any more, and ended so."""
        ended = [process for process in self.processes if process.ended]
        there = set()
        for pid in (self.host.guest.pids / "cgroup.procs").read_text().split():
            try:
                status, stat = (Path(f"/proc/{pid}/{name}").read_text(errors="replace")
                                for name in ("status", "stat"))
            except OSError:
                continue
            there.add((status.partition("NSpid:")[2].split("\n")[0].split()[-1], identity(stat)))
        for process in ended:
            line, _, out = bytes(process.out).partition(b"\n")
            # A mutated command may say anything.
            if stat := re.fullmatch(r"(\d+) \(.*\) \S( -?\d+)+", line.decode(errors="replace")):
                check((stat[1], identity(stat[0])) not in there,
                      f"told to have ended, with {process.code}, but there: {process.script}")
            if process.expected is not None:
                killed = {128 + number for number in self.signals}
                check(process.code in {process.expected, *killed}, f"{process.script}: {process.code}")
                check(process.code != process.expected or out == process.expected_out,
                      f"{process.script}: {len(out)} bytes of its output, not {len(process.expected_out)}")

    def held(self):
        """What a pod without containers has."""
        guest = self.host.guest
        return {"cgroups": sorted(path.name for path in guest.cgroup.rglob("*") if path.is_dir()),
                "mounts": Path(f"/proc/{guest.pid}/mountinfo").read_text().count("\n"),
                "fds": guest.stat(self.host).fds, "children": len(guest.children(self.host)),
                "zombies": guest.zombies(self.host)}

    def calm_down(self, before):
        """All containers are killed and removed: then all is as it was."""
        for name in self.names:
            self.send(f"kill {name}", Code.KILLCONTAINER,
                      {"container": name, "signal": 9, "allProcesses": True}, kinds=(ACK, ERROR))
        self.catch_up()
        self.host.wait_for(self.is_over, "the end of every process")
        for name in self.names:
            self.send(f"remove {name}", Code.REMOVECONTAINER, {"container": name}, kinds=(ACK, ERROR))
        self.catch_up()
        if "fork: resource" in self.host.guest.log:
            del before["fds"]  # what could not be unmounted is kept until its name is used again
        try:
            self.host.wait_seen(lambda: before.items() <= self.held().items(), "all to be as it was")
        except TimeoutError as late:
            raise TimeoutError(f"{self.held()}, not {before}") from late

    def end(self, before):
        self.rng = random.Random(f"{self.seed}/end")
        self.trace.append("the end:")
        self.attend()
        if self.rng.random() < 0.5:
            self.catch_up()
            self.host.settle()
            self.check_ends()
            if self.rng.random() < 0.7:
                self.calm_down(before)
        host, began, written = self.host, time.monotonic(), pace.pages_written()
        destroy = self.send("DESTROYPOD", Code.DESTROYPOD)
        host.wait_for(lambda: destroy.kind is not None, "the ACK of DESTROYPOD")
        self.verify()
        self.took = time.monotonic() - began
        # What others write to this machine's disks is waited for as well, as long as it goes on.
        check(self.took <= pace.late(ACK_SECONDS) + pace.sync(written),
              f"DESTROYPOD took {self.took:.1f} s; {written} pages were written")
        host.pump(0)
        check(self.is_over(), "DESTROYPOD was acknowledged before all ends were told")
        self.check_ends()
        if self.rng.random() < 0.5:
            host.disconnect_control()
        began = time.monotonic()
        reason = host.guest.wait_end(host)
        self.off = time.monotonic() - began
        check(self.off <= pace.late(OFF_SECONDS), f"the end took {self.off:.1f} s")
        check(reason == "power-off", f"the agent ended with {reason}")


STEPS = [("misbehave", 30), ("behave", 20), ("command", 15), ("signal", 5), ("marker", 10), ("broken", 6),
         ("ping", 6), ("tty", 10), ("pause", 4), ("read_on", 3), ("leave", 4)]


def play(share, seed):
    """One round."""
    pace.look()
    guest = HostGuest(share, caps="default", deadline=3)
    host, chaos = Host(guest, 30), None
    try:
        host.connect().wait_ready()
        host.startpod()
        host.newcontainer("first", ["true"]).wait()  # what is opened once is opened
        host.ack(Code.REMOVECONTAINER, {"container": "first"})
        chaos = Chaos(host, seed)
        before = chaos.held()
        chaos.live()
        chaos.end(before)
        assert not (complaints := guest.complaints()), complaints
    except BaseException:
        print(*(chaos.trace[-LAST:] if chaos else ()), guest.describe(), guest.complaints() or "",
              f"make chaos ARGS=--seed={seed}", sep="\n")
        raise
    finally:
        host.disconnect()
        guest.stop()
    return chaos


@pytest.mark.skipif(not PIDS_V1.exists(), reason="needs cgroup v1's pids, for the storms")
def test_chaos(request, record_property, tmp_path):
    option, totals = request.config.getoption, collections.Counter()
    share = Share(tmp_path / "share")
    share.image("box")
    end = time.monotonic() + option("--seconds")
    while not totals["rounds"] or option("--seed") is None and time.monotonic() < end:
        seed = option("--seed")
        seed = random.SystemRandom().randrange(1 << 32) if seed is None else seed
        began = time.monotonic()
        chaos = play(share, seed)
        totals.update(rounds=1, commands=chaos.sent, processes=len(chaos.processes))
        print(f"seed {seed}: {chaos.sent} commands, {len(chaos.processes)} processes, "
              f"{time.monotonic() - began:.1f} s; DESTROYPOD: {chaos.took:.1f} s, "
              f"off {chaos.off:.1f} s", flush=True)
    figures = "chaos: " + ", ".join(f"{count} {name}" for name, count in totals.items())
    print(figures)
    record_property("chaos", figures)
