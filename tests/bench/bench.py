#!/usr/bin/python3 -B
# SPDX-License-Identifier: Apache-2.0
"""Counts what the agent costs, in instructions, beside what the same job costs a bare program.

All in one run, in guests of one configuration: QEMU's TCG with -icount, where a virtual nanosecond
is an instruction, and a CPU model without ERMS (else each byte of a `rep movsb` counts as one) but
with RDRAND (else each get_random costs 9.6 k). A plugin of QEMU, tests/bench/profile.c, counts by
task and leaves out interrupts and the scheduler, whose number depends on the load of the host. With
WHAT this prints where the instructions of one job go instead: medians of runs in three guests.

The observer, tests/bench/probe.c, is /init of these guests. It executes the agent, the product's
own binary, as PID 1, and answers on a port of its own; the agent knows nothing of it. It also starts
the bare programs (tests/bench/bare.c), in the agent's own guest while the agent rests; only what is
PID 1 itself has a guest to itself. The figures are kept in build/bench/last.json, and the next run
shows how far it is from them.
"""

import dataclasses
import hashlib
import itertools
import json
import mmap
import re
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = map(str, (ROOT / "tests", ROOT / "scripts"))

import common  # noqa: E402

JOBS = ("exec", "newcontainer", "startpod", "boot", "stdin", "stdout")
parser = common.parser(__doc__)
parser.add_argument("what", nargs="?", choices=JOBS, metavar="WHAT", help=" ".join(JOBS))
WHAT = parser.parse_args().what  # before the rig, which asks for more than help does

from fakeproxy.vm import Vm  # noqa: E402
from rig.host import Digest, Host  # noqa: E402
from rig.vm_rig import VmGuest  # noqa: E402
from rig.wire import TTY_FRAME_MAX, TTY_HEADER, Code, command  # noqa: E402

BUILD = ROOT / "build"
PROGRAMS = BUILD / "bench"
LAST = PROGRAMS / "last.json"
AGENT = BUILD / "musl/hyperstart"
SHARED = "/run/hyperstart/share/box/rootfs"  # the containers' root, as PID 1 sees it
TRACE = "/sys/kernel/tracing"
MIB = 1 << 20

MANY = 200
EARLY, LATE = 10, 500  # containers of three mounts
EXECS = 20
PINGS = 40
ROUNDS = 5
ECHOES = 9
CONTAINERS = 9
EPOLL_PWAIT = 281
TURN_MAX = 10000  # k: 10 ms at an instruction a nanosecond
FLOODS = 4
GUESTS = 3

CPU = "qemu64,+rdrand"
BOARD = ("phase", "agent", "children", "bare")  # tests/bench/profile.c
COUNTING = ["-icount", "shift=0,sleep=off", "-rtc", "base=2020-01-01,clock=vm"]
# The deadline: virtual time flies while the guest waits for its host.
APPEND = "nokaslr norandmaps tsc=reliable hyperstart.deadline=86400"


# --- The guest ------------------------------------------------------------------------------------


class Share:
    """One image: the workloads, and what every image has."""

    def __init__(self, directory):
        self.directory = Path(directory)
        self.symbols = None
        root = self.image("box")
        for name in ("bin", "dev", "etc", "proc", "root", "sys", "tmp"):
            (root / name).mkdir(parents=True)
        for name in ("true", "load"):
            shutil.copy(PROGRAMS / name, root / "bin")
        for name in "abc":
            (self.directory / name).mkdir()
            (root / name).mkdir()
        (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
        (root / "etc/group").write_text("root:x:0:\n")

    def image(self, name):
        return self.directory / name / "rootfs"


class Observer:
    """The observer's port: a line of words, answered by a length and so many bytes."""

    def __init__(self, connection):
        self.connection = connection
        self.connection.settimeout(120)
        self.buffer = b""

    def ask(self, *words):
        self.connection.sendall(" ".join(map(str, words)).encode() + b"\n")
        while b"\n" not in self.buffer:
            self.receive()
        length, _, self.buffer = self.buffer.partition(b"\n")
        while len(self.buffer) < int(length):
            self.receive()
        text, self.buffer = self.buffer[:int(length)], self.buffer[int(length):]
        return text.decode(errors="replace")

    def receive(self):
        data = self.connection.recv(1 << 20)
        if not data:
            raise RuntimeError("the observer is gone")
        self.buffer += data


class Guest(VmGuest):
    """A guest whose every instruction counts."""

    transport = "virtio"

    def __init__(self, share, initrd, measured, *words):
        self.share = share
        self.vm = Vm(initrd=initrd, share=share.directory, cpu=CPU,
                              accel="tcg,thread=single", arguments=COUNTING,
                              append=" ".join([APPEND, f"measured={measured}", *words]))
        for name in ("probe", "data"):
            self.vm.arguments += [
                "-chardev", f"socket,id={name},path={self.vm.directory}/{name}.sock,"
                            "server=on,wait=off",
                "-device", f"virtserialport,chardev={name},name=bench.{name}"]
        if share.symbols:
            board = self.vm.directory / "board"
            board.write_bytes(struct.pack("4Q", WHAT == "boot", 0, 0, 0))
            with open(board, "r+b") as file:
                self.board = mmap.mmap(file.fileno(), 0)
            self.vm.arguments += ["-plugin", f"{PROGRAMS}/profile.so,symbols={share.symbols},"
                                             f"board={board},out={self.vm.directory}/profile"]
        self.vm.start()
        self.reason = None
        self.host = Host(self, 120)
        self.host.connect()
        self.host.wait_ready()
        self.observer = Observer(self.vm.connect("probe"))
        self.ready = self.trace_ready()
        if share.symbols and not self.agent():
            raise RuntimeError("the plugin counts nothing; has another kernel other names?")

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.host.disconnect()
        self.stop()

    def ask(self, *words):
        return self.observer.ask(*words)

    # Figures

    def counted(self, *names):
        """Instructions of these tasks so far. The observer sleeps first, until they are at rest."""
        self.ask("sleep", 50)
        return sum(struct.unpack("4Q", self.board[:])[BOARD.index(name)] for name in names)

    def agent(self):
        return self.counted("agent")

    def family(self):
        """PID 1, with all children it ever had."""
        return self.counted("agent", "children")

    def rss(self):
        """In KiB."""
        return int(re.search(r"^Rss: +(\d+)", self.ask("read", "/proc/1/smaps_rollup"), re.M)[1])

    def rest(self):
        """Until PID 1 has done all that it was given, and loaded its modules."""
        before = self.agent()
        while before != (before := self.agent()):
            time.sleep(0.2)  # QEMU may still be busy

    def second(self):
        """What PID 1 runs in a second in which nothing is asked of it."""
        self.rest()
        before = self.agent()
        self.ask("sleep", 1000)
        return self.agent() - before

    def bare(self, *words):
        """Runs a bare program; what it counted."""
        before = self.counted("bare")
        if text := self.ask("run", "/bare", *words):
            raise RuntimeError(text)
        return self.counted("bare") - before

    def phase(self, number, act):
        """A run of a job, as a phase of the profile."""
        self.ask("sleep", 50)
        self.board[:8] = struct.pack("Q", number)
        act()
        self.ask("sleep", 50)
        self.board[:8] = bytes(8)

    def profile(self, phases):
        """Of each phase, lists of task, context, symbol, and count. It ends the guest."""
        self.vm.qmp("quit")
        self.vm.qemu.wait()
        text = re.sub("__x64_sys_|asm_exc_|asm_", "", self.vm.read("profile"))
        lines = [line.split("\t") for line in text.splitlines()]
        return [[(*key, int(count)) for phase, *key, count in lines if int(phase) == number + 1]
                for number in range(phases)]

    # Traces: (time, what happened), and when PID 1 was on the CPU

    def trace_set(self, name, text):
        if problem := self.ask("write", f"{TRACE}/{name}", text):
            raise RuntimeError(problem)

    def trace_read(self):
        self.trace_set("tracing_on", 0)
        events = re.findall(r"-(\d+) +\[\d+\] \S+ +(\d+): (\w+)(?::| ->) (.*)",
                            self.ask("read", f"{TRACE}/trace"))
        return [Event(int(pid), int(at), name, rest) for pid, at, name, rest in events]

    def trace_ready(self):
        """What PID 1 ran from its execve to its first write of 8 bytes."""
        events = self.trace_read()
        self.trace_set("events/enable", 0)
        start = next(event.at for event in events if event.is_switch_to_init())
        written = next(event.at for event in events if event.name == "write")
        return oncpu(events, start, written)


@dataclasses.dataclass
class Event:
    """One line of a trace: at that time that process did that."""

    pid: int
    at: int
    name: str
    rest: str

    def is_switch_to_init(self):
        return self.name == "sched_switch" and "next_pid=1 " in self.rest


def oncpu(events, start, end):
    """Of the time from start to end, what PID 1 was on the CPU."""
    total, since = 0, start  # on it, if the first switch is away from it
    for event in events:
        if event.name != "sched_switch" or not start <= event.at <= end:
            continue
        if event.is_switch_to_init():
            since = event.at
        else:
            total += event.at - since
            since = end
    return total + end - since


# --- What is measured -----------------------------------------------------------------------------


class Row:
    """One line of the table: a figure, its limit, and what the figure may be."""

    def __init__(self, name, unit, figure, limit=None, *, times=None, most=None):
        self.name, self.unit, self.figure, self.limit = name, unit, figure, limit
        self.times, self.most = times, most

    @property
    def ratio(self):
        return self.figure / self.limit if self.limit else None

    @property
    def met(self):
        if self.times is not None:
            return self.ratio <= self.times
        return None if self.most is None else self.figure <= self.most


def thousands(count):
    return count / 1000


def per_mib(run):
    """What one MiB more costs: run(bytes) counts a run with so many."""
    run(MIB)  # once, for the pages touched first
    return thousands(statistics.median((run(20 * MIB) - run(4 * MIB)) / 16 for _ in range(ROUNDS)))


def usual(times, count, act):
    """The median of act()'s costs."""
    act()
    costs = []
    for _ in range(times):
        before = count()
        act()
        costs.append(count() - before)
    return thousands(statistics.median(costs))


def agent_exec(guest, count):
    """An exec of true in the first container, from command to exit report."""
    return usual(EXECS, count, lambda: guest.host.run("box0", ["/bin/true"]))


def usual_bare(guest, times, *words):
    return thousands(statistics.median(guest.bare(*words) for _ in range(times)))


def agent_out(guest, size):
    before = guest.agent()
    process = guest.host.execcmd("box0", ["/bin/load", "flood", str(size)], out=Digest()).started()
    process.wait()
    assert len(process.out) == size
    return guest.agent() - before


def agent_in(guest, size):
    before = guest.agent()
    process = guest.host.execcmd("box0", ["/bin/load", "sink"]).started()
    process.write(bytes(size))
    process.close_stdin()
    process.wait()
    return guest.agent() - before


def with_peer(peer, work):
    """work() while peer() runs beside it."""
    thread = threading.Thread(target=peer)
    thread.start()
    try:
        return work()
    finally:
        thread.join()


def receive(connection, size):
    while size > 0:
        size -= len(connection.recv(min(size, 1 << 18)))


def bare_out(guest, data, size):
    return with_peer(lambda: receive(data, size),
                     lambda: guest.bare("out", "bench.data", "/load", "flood", size))


def bare_in(guest, data, size):
    return with_peer(lambda: data.sendall(bytes(size)),
                     lambda: guest.bare("in", "bench.data", size, "/load", "sink"))


def agent_ping(guest):
    return usual(ROUNDS, guest.agent, lambda: [guest.host.ping() for _ in range(PINGS)]) / PINGS


def bare_echo(guest, data):
    def peer():
        for _ in range(PINGS):
            data.sendall(bytes(8))
            receive(data, 8)
    return thousands(statistics.median(
        with_peer(peer, lambda: guest.bare("echo", "bench.data", PINGS))
        for _ in range(ROUNDS))) / PINGS


def kib_container(name):
    """More fields of a NEWCONTAINER of 1 KiB."""
    spec = {"id": name, "image": "box", "rootfs": "rootfs",
            "process": {"stdio": 1000, "stderr": 1001, "args": ["/bin/load", "cat"],
                        "envs": [{"env": "PAD", "value": ""}]}}
    size = len(command(Code.NEWCONTAINER, spec)) - len(command(Code.NEWCONTAINER))
    return {}, {"envs": [{"env": "PAD", "value": "x" * (1024 - size)}]}


def cc30_container(_name):
    """More fields of the NEWCONTAINER that cc30 sent in the recorded session."""
    for line in (ROOT / "tests/golden/cc30.txt").read_text().splitlines():
        if " ctl C->A " in line and line.split()[-1].startswith("00000011"):
            container = json.loads(bytes.fromhex(line.split()[-1])[8:])
            process = container.pop("process")
            for key in ("id", "image", "rootfs"):
                del container[key]
            for key in ("args", "stdio", "stderr"):
                del process[key]
            return container, process
    raise RuntimeError("no NEWCONTAINER in the recording")


def mounts_container(_name):
    return {"fsmap": [{"source": name, "path": f"/{name}"} for name in "abc"]}, {}


def start_containers(guest, numbers, describe):
    for number in numbers:
        container, process = describe(f"box{number}")
        guest.host.newcontainer(f"box{number}", ["/bin/load", "cat"], container=container,
                                **process).started()


def container_costs(guest, numbers):
    """The usual cost of a container of three mounts, for each of the numbers: that and a few behind
    it."""
    have = 0
    for number in numbers:
        start_containers(guest, range(have, number - 2), mounts_container)
        started = itertools.count(number - 2)
        yield usual(CONTAINERS, guest.family,
                    lambda: start_containers(guest, [next(started)], mounts_container))
        have = next(started)


def first_costs(guest):
    """A pod; RSS with its first container; an exec of true there, and PID 1's part; a container."""
    guest.rest()
    before = guest.family()
    guest.host.startpod()
    startpod = thousands(guest.family() - before)
    start_containers(guest, [0], kib_container)
    rss = guest.rss()
    execs = [agent_exec(guest, count) for count in (guest.family, guest.agent)]
    numbers = itertools.count(1)
    container = usual(CONTAINERS, guest.family,
                      lambda: start_containers(guest, [next(numbers)], kib_container))
    return startpod, rss, *execs, container


def rss_per_container(guest, describe, have):
    """KiB for each of MANY containers, of which `have` are there."""
    before = guest.rss()
    start_containers(guest, range(have, MANY), describe)
    return (guest.rss() - before) / (MANY - have)


def unread_second(guest):
    """A second in which a process floods and the host does not read."""
    host = guest.host
    host.tty.reading = False
    process = host.execcmd("box0", ["/bin/load", "flood", str(16 * MIB)], out=Digest()).started()
    counted = guest.second()
    host.tty.reading = True
    process.wait()
    return counted


def latencies(guest):
    """Beside FLOODS floods: (frames of theirs, instructions of PID 1) from the write of an echo and
    from the end of a process, until the agent has read the one and learnt of the other."""
    host = guest.host
    floods = [host.execcmd("box0", ["/bin/load", "flood", str(1 << 40)], out=Digest()).started()
              for _ in range(FLOODS)]
    for name, events in {"sched/sched_switch": "prev_pid==1||next_pid==1",
                         "syscalls/sys_exit_readv": "common_pid==1",
                         "syscalls/sys_exit_wait4": "common_pid==1&&ret>0",
                         "syscalls/sys_exit_write": "ret==1",
                         "signal/signal_generate": "sig==17&&pid==1"}.items():
        guest.trace_set(f"events/{name}/filter", events)
        guest.trace_set(f"events/{name}/enable", 1)

    echo = host.execcmd("box0", ["/bin/load", "cat"]).started()
    echoes, exits = [], []
    for count in range(1, ECHOES + 1):
        events = traced(guest, lambda: echo.write(b"x"), lambda: len(echo.out) == count)
        echoes.append(between(events,
                              lambda event: event.name == "sys_write" and event.pid != 1,
                              lambda event: event.name == "sys_readv" and event.rest == "0x1"))
    echo.close_stdin()
    echo.wait()
    for _ in range(ECHOES):
        short = host.execcmd("box0", ["/bin/load", "sink"]).started()
        events = traced(guest, short.close_stdin, lambda: short.ended)
        exits.append(between(events, lambda event: event.name == "signal_generate",
                             lambda event: event.name == "sys_wait4"))
    guest.trace_set("events/enable", 0)
    host.kill("box0", allProcesses=True)
    for flood in floods:
        flood.wait()
    return [tuple(map(max, zip(*samples))) for samples in (echoes, exits)]


def longest_turn(guest):
    """Of the loop, from its waking to its next sleep: instructions, whatever a host may send."""
    host = guest.host
    for name, events in {"sched/sched_switch": "prev_pid==1||next_pid==1",
                         "raw_syscalls/sys_enter": f"id=={EPOLL_PWAIT}&&common_pid==1",
                         "raw_syscalls/sys_exit": f"id=={EPOLL_PWAIT}&&common_pid==1"}.items():
        guest.trace_set(f"events/{name}/filter", events)
        guest.trace_set(f"events/{name}/enable", 1)
    def description(count, size):
        """Refused only when all of it is decoded."""
        process = {"stdio": 1, "stderr": 2, "args": ["x" * size] * count}
        return json.dumps({"container": "none", "process": process}).encode()

    file = json.dumps({"container": "box0", "file": "/dev/shm/big"}).encode()
    turns = {}
    for name, commands in {
            "200 KB of 100-byte strings": [(Code.EXECCMD, description(2000, 96))],
            "200 KB of 12-byte strings": [(Code.EXECCMD, description(16000, 8))],
            "1,000 commands at once": [(Code.PING, b"")] * 1000,
            "WRITEFILE of 4 MiB": [(Code.WRITEFILE, file + bytes(4 * MIB))],
            "READFILE of 4 MiB": [(Code.READFILE, file)]}.items():
        guest.trace_set("trace", 0)
        guest.trace_set("tracing_on", 1)
        sent = [host.send(code, payload) for code, payload in commands]
        host.wait_for(lambda: all(each.kind is not None for each in sent), name)
        host.ping()  # the turn that answered is over, too
        turns[name] = max(turns_of(guest.trace_read()))
    guest.trace_set("events/enable", 0)
    return turns


def turns_of(events):
    """On-CPU instructions from each return of the loop's own epoll_pwait to its next call. A gate's,
    in between, has another fd and does not wait."""
    since = None
    for event in events:
        if event.name == "sys_exit" and since is None:
            since = event.at
        elif event.name == "sys_enter" and since and not re.search(r", 0, 0, 8\)$", event.rest):
            yield oncpu(events, since, event.at)
            since = None


def traced(guest, act, done):
    guest.trace_set("trace", 0)
    guest.trace_set("tracing_on", 1)
    act()
    guest.host.wait_for(done, "the answer beside floods")
    return guest.trace_read()


def between(events, is_start, is_end):
    """The flood's frames, and the instructions of PID 1, from the last start to the first end."""
    end = next(event.at for event in events if is_end(event))
    start = max(event.at for event in events if event.at < end and is_start(event))
    payload = TTY_FRAME_MAX - TTY_HEADER
    read = [int(event.rest, 16) for event in events
            if event.name == "sys_readv" and start < event.at < end]
    frames = sum(-(-size // payload) for size in read if size < 1 << 32)  # above: an error
    return frames, thousands(oncpu(events, start, end))


# --- The table ------------------------------------------------------------------------------------


def symbols_write(guest, path):
    """The kernel's functions, as a guest of this configuration has them, and the agent's."""
    named = {0: "program", 1 << 40: "vdso"}
    text = subprocess.run(["nm", PROGRAMS / "agent"], check=True, stdout=subprocess.PIPE).stdout
    for line in guest.ask("read", "/proc/kallsyms").splitlines() + text.decode().splitlines():
        address, kind, name = line.split()[:3]
        # A system call has names for each way to it.
        if kind in "tTwW" and not named.get(int(address, 16), "").startswith("__x64_sys_"):
            named[int(address, 16)] = name
    path.write_text("".join(f"{address:x} {named[address]}\n" for address in sorted(named)))


def prepare(directory):
    """What every guest is given: the share and the initrd."""
    share = Share(directory / "share")
    initrd = directory / "initrd.cpio"
    subprocess.run([ROOT / "scripts/build-initrd", "--kernel", BUILD / "kernel",
                    "--init", PROGRAMS / "probe", "--add", f"agent={AGENT}",
                    "--add", f"bare={PROGRAMS}/bare", "--add", f"load={PROGRAMS}/load", initrd],
                   check=True)
    with Guest(share, initrd, "/agent") as guest:
        guest.ask("sleep", 5000)  # until all modules are there
        symbols_write(guest, directory / "symbols")
    share.symbols = directory / "symbols"
    return share, initrd


def measure(directory, show):
    show("the symbols")
    share, initrd = prepare(directory)
    show("READY")
    with Guest(share, initrd, "/bare") as guest:
        bare_ready = guest.ready
    with Guest(share, initrd, "/bare", "preload=1") as guest:
        bare_bound, bare_rss = guest.ready, guest.rss()
        bare_pod = thousands(guest.bare("pod", "share"))
    with Guest(share, initrd, "/agent", "preload=1") as guest:
        bound = guest.ready

    show(f"{MANY} containers as cc30 describes them")
    with Guest(share, initrd, "/agent") as guest:
        guest.host.startpod()
        start_containers(guest, [0], cc30_container)
        cc30_each = rss_per_container(guest, cc30_container, 1)

    show(f"{LATE} containers with three mounts")
    with Guest(share, initrd, "/agent") as guest:
        guest.host.startpod()
        early, late = container_costs(guest, [EARLY, LATE])

    show("one container")
    several = []
    for _ in range(GUESTS - 1):
        with Guest(share, initrd, "/agent") as guest:
            several.append(first_costs(guest))
    with Guest(share, initrd, "/agent") as guest:
        assert "erms" not in guest.ask("read", "/proc/cpuinfo"), "the CPU model has ERMS"
        yield Row("exec of the agent to READY", "k", thousands(guest.ready), thousands(bare_ready))
        yield Row(".. with all modules there", "k", thousands(bound), thousands(bare_bound))
        rss_ready = guest.rss()
        several.append(first_costs(guest))
        startpod, rss_one, execs, own, container = map(statistics.median, zip(*several))
        idle = guest.second()
        bare = usual_bare(guest, ROUNDS, "exec", f"{SHARED}/bin/true", EXECS) / EXECS
        yield Row("exec of true", "k", execs, bare, times=2.0)
        yield Row(".. of it PID 1", "k", own)
        data = guest.vm.connect("data")
        show("streams")
        yield Row("stdout, a MiB", "k", per_mib(lambda size: agent_out(guest, size)),
                  per_mib(lambda size: bare_out(guest, data, size)), times=1.3)
        yield Row("stdin, a MiB", "k", per_mib(lambda size: agent_in(guest, size)),
                  per_mib(lambda size: bare_in(guest, data, size)), times=1.5)
        yield Row("PING", "k", agent_ping(guest), bare_echo(guest, data))
        unread = unread_second(guest)
        show(f"{MANY} containers")
        bare = usual_bare(guest, CONTAINERS, "container", SHARED, "/bin/load", "cat")
        yield Row("NEWCONTAINER", "k", container, bare)
        yield Row(f".. the {LATE}th with three mounts", "k", late, early, times=1.3)
        yield Row("STARTPOD", "k", startpod, bare_pod)
        each = rss_per_container(guest, kib_container, CONTAINERS + 2)
        rss_many = guest.rss()
        many = agent_exec(guest, guest.family)
        yield Row(f"exec of true beside {MANY} containers", "k", many, execs, times=1.1)
        show("latencies")
        echo, end = latencies(guest)
        show("the loop's turns")
        turns = longest_turn(guest)

    yield Row("an idle second", "", idle, most=0)
    yield Row("a second with the host not reading", "", unread, most=0)
    yield Row(f"echo beside {FLOODS} floods", "frames", echo[0], most=3 * FLOODS)
    yield Row("..", "k", echo[1])
    yield Row(f"exit report beside {FLOODS} floods", "frames", end[0], most=3 * FLOODS)
    yield Row("..", "k", end[1])
    for name, turn in turns.items():
        yield Row(f"longest turn: {name}", "k", thousands(turn), most=TURN_MAX)
    yield Row("RSS at READY", "KiB", rss_ready, bare_rss, most=200)
    yield Row(".. with a container", "KiB", rss_one)
    yield Row(f".. with {MANY} containers", "KiB", rss_many)
    yield Row(".. for each, described in 1 KiB", "KiB", each, most=4)
    yield Row(".. for each, as cc30 describes it", "KiB", cc30_each, most=8)
    yield Row("size of the binary", "kB", AGENT.stat().st_size / 1000, most=156)


def number(value):
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:,.1f}"


def line(name, figure, unit, limit, ratio, target, met, change):
    return f"{name:37} {figure:>9} {unit:6} {limit:>9} {ratio:>6} {target:>8} {met:>6} {change:>9}"


def table(rows, last):
    yield line("", "figure", "", "limit", "ratio", "target", "met", "last run")
    for name, row in rows.items():
        target = (f"<= {row.times}x" if row.times is not None
                  else "" if row.most is None else f"<= {row.most:g}")
        met = {True: "yes", False: "NO", None: ""}[row.met]
        before = last.get(name)
        change = "" if before is None else "same" if before == row.figure else (
            f"{100 * (row.figure / before - 1):+.2f} %" if before else number(before))
        yield line(row.name, number(row.figure), row.unit, number(row.limit),
                   f"{row.ratio:.2f}x" if row.limit else "", target, met, change)


# --- The profile ----------------------------------------------------------------------------------


def run_job(guest):
    """Runs of the job WHAT, each a phase; how many."""
    host = guest.host
    guest.rest()
    if WHAT == "boot":
        guest.phase(0, lambda: None)
        return 1
    if WHAT == "startpod":
        guest.phase(1, host.startpod)
        return 1
    host.startpod()
    start_containers(guest, [0], kib_container)
    numbers = itertools.count(1)
    act = {"exec": lambda: host.run("box0", ["/bin/true"]),
           "newcontainer": lambda: start_containers(guest, [next(numbers)], kib_container),
           "stdin": lambda: agent_in(guest, 4 * MIB),
           "stdout": lambda: agent_out(guest, 4 * MIB)}[WHAT]
    act()  # once, for the pages touched first
    for number in range(ROUNDS):
        guest.phase(number + 1, act)
    return ROUNDS


def profile(directory, show):
    share, initrd = prepare(directory)
    runs = []
    for number in range(GUESTS):
        show(f"{WHAT}: guest {number + 1} of {GUESTS}")
        with Guest(share, initrd, "/agent") as guest:
            runs += guest.profile(run_job(guest))

    def rows(title, name_of, is_wanted=re.compile("agent|child|older").match):
        """By name: the median, the least, and the most of the runs."""
        sums = [Counter() for _ in runs]
        for total, run in zip(sums, runs):
            for task, context, symbol, count in run:
                if is_wanted(task):
                    total[name_of(task, context, symbol)] += count
        found = [(statistics.median(counts), min(counts), max(counts), name)
                 for name in set().union(*sums) for counts in [[each[name] for each in sums]]]
        shown = sum(median for median, *_ in found) / 100
        print(f"\n{title:60} {'median':>9} {'least':>9} {'most':>9}")
        for *figures, name in sorted(found, reverse=True):
            if figures[0] >= shown:
                print(f"{name:60} " + " ".join(f"{thousands(each):9.1f}" for each in figures))

    print(f"\n{WHAT}: k instructions, {len(runs)} runs in {GUESTS} guests; rows from 1 % on")
    rows("the agent and its children", lambda *key: "all")
    rows("task", lambda task, context, symbol: task, bool)
    rows("task: system call or fault", lambda task, context, symbol: f"{task}: {context}")
    rows("symbol", lambda task, context, symbol: symbol)


def main():
    directory = Path(tempfile.mkdtemp(prefix="hyperstart-bench-"))
    start = time.monotonic()

    def show(what):
        print(f"[{time.monotonic() - start:5.1f} s] {what}", file=sys.stderr, flush=True)

    rows = {}
    try:
        if WHAT:
            return profile(directory, show)
        for row in measure(directory, show):
            rows[len(rows), row.name] = row
    finally:
        shutil.rmtree(directory)
    rows = {f"{number} {name}": row for (number, name), row in rows.items()}
    binary = hashlib.sha256(AGENT.read_bytes()).hexdigest()
    try:
        last = json.loads(LAST.read_text())
    except (FileNotFoundError, ValueError):
        last = {"binary": None, "figures": {}}
    print("\nInstructions on the CPU (k: thousands of them), resident memory, size;"
          " limits by bare programs.")
    if last["figures"]:
        print("The last run was of", "this binary." if last["binary"] == binary else "another one.")
    print("\n".join(table(rows, last["figures"])))
    missed = sum(row.met is False for row in rows.values())
    print(f"{missed} of {sum(row.met is not None for row in rows.values())} targets missed,"
          f" {time.monotonic() - start:.0f} s")
    figures = {name: row.figure for name, row in rows.items()}
    LAST.write_text(json.dumps({"binary": binary, "figures": figures}, indent=1) + "\n")


common.run(main)
