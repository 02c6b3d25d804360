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

import functools
import hashlib
import itertools
import json
import mmap
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from statistics import median
from typing import NamedTuple

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = map(str, (TESTS, TESTS.parent / "scripts"))

import common  # noqa: E402
from fakeproxy.vm import Vm  # noqa: E402
from rig.host import Digest, Host  # noqa: E402
from rig.scripts import ROOT  # noqa: E402
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
FLOODS = 4
GUESTS = 3

CPU = "qemu64,+rdrand"
BOARD = struct.Struct("5Q")  # tests/bench/profile.c: the phase, and what these have counted
COUNTED = ("agent", "children", "bare", "kernel")
COUNTING = ["-icount", "shift=0,sleep=off", "-rtc", "base=2040-01-01,clock=vm"]
# The deadline: virtual time flies while the guest waits for its host.
APPEND = "nokaslr norandmaps tsc=reliable hyperstart.deadline=86400"


# --- The guest ------------------------------------------------------------------------------------


class Share:
    """One image: the workloads, and what every image has."""

    def __init__(self, directory):
        self.directory = directory
        root = directory / "box/rootfs"
        for name in ("bin", "dev", "etc", "proc", "root", "sys", "tmp", *"abc"):
            (root / name).mkdir(parents=True)
        for name in "abc":
            (directory / name).mkdir()
        for name in ("true", "load"):
            shutil.copy(PROGRAMS / name, root / "bin")
        (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
        (root / "etc/group").write_text("root:x:0:\n")

    def image(self, name):
        """It is there."""


class Guest(VmGuest):
    """A guest whose every instruction counts, once it has been told which symbols there are."""

    transport = "virtio"

    def __init__(self, share, initrd, symbols, measured, *words, phase=0):
        self.share, self.reason = share, None
        self.vm = Vm(initrd=initrd, share=share.directory, cpu=CPU, accel="tcg,thread=single",
                     arguments=COUNTING, append=" ".join([APPEND, f"measured={measured}", *words]))
        for name in ("probe", "data"):
            self.vm.arguments += [
                "-chardev", f"socket,id={name},path={self.vm.directory}/{name}.sock,"
                            "server=on,wait=off",
                "-device", f"virtserialport,chardev={name},name=bench.{name}"]
        if symbols:
            board = self.vm.directory / "board"
            board.write_bytes(BOARD.pack(phase, 0, 0, 0, 0))
            with open(board, "r+b") as file:
                self.board = mmap.mmap(file.fileno(), 0)
            self.vm.arguments += ["-plugin", f"{PROGRAMS}/profile.so,symbols={symbols},"
                                             f"board={board},out={self.vm.directory}/profile"]
        self.vm.start()
        self.host = Host(self, 120).connect()
        self.host.wait_ready()
        self.probe = self.vm.connect("probe")
        self.probe.settimeout(120)
        self.answers = self.probe.makefile("rb")
        self.ready = self.trace_ready()
        if symbols and not self.agent():
            raise RuntimeError("the plugin counts nothing; has another kernel other names?")

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.host.disconnect()
        self.stop()

    def ask(self, *words):
        """The observer: a line of words, answered by a length and so many bytes."""
        self.probe.sendall(" ".join(map(str, words)).encode() + b"\n")
        return self.answers.read(int(self.answers.readline())).decode(errors="replace")

    # Figures

    def counted(self, *names):
        """Instructions of these tasks so far. The observer sleeps first, until they are at rest."""
        self.ask("sleep", 50)
        _, *counts = BOARD.unpack(self.board)
        return sum(counts[COUNTED.index(name)] for name in names)

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

    def second(self, *names):
        """What these, or PID 1, run in a second in which nothing is asked of it."""
        self.rest()
        count = functools.partial(self.counted, *names or ["agent"])
        return cost(count, lambda: self.ask("sleep", 1000))

    def free(self):
        """KiB of memory that nobody uses."""
        return int(re.search(r"^MemFree: +(\d+)", self.ask("read", "/proc/meminfo"), re.M)[1])

    def bare(self, *words):
        """Runs a bare program; what it counted."""
        def run():
            if text := self.ask("run", "/bare", *words):
                raise RuntimeError(text)
        return cost(functools.partial(self.counted, "bare"), run)

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

    # Traces: when PID 1 was on the CPU, and what else happened

    def trace_set(self, name, text):
        if problem := self.ask("write", f"{TRACE}/{name}", text):
            raise RuntimeError(problem)

    def trace_also(self, **filters):
        """These events, too: system__name=filter."""
        for name, text in {"sched__sched_switch": "prev_pid==1||next_pid==1", **filters}.items():
            event = f"events/{name.replace('__', '/')}"
            self.trace_set(f"{event}/filter", text)
            self.trace_set(f"{event}/enable", 1)

    def traced(self, act):
        """What happened meanwhile."""
        self.trace_set("trace", 0)
        self.trace_set("tracing_on", 1)
        act()
        return self.trace_read()

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


class Event(NamedTuple):
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


def prepare(directory):
    """How to start a guest: Guest, but for what is measured in it. The plugin knows the kernel's
    functions, as a guest of this configuration has them, and the agent's."""
    initrd, symbols = directory / "initrd.cpio", directory / "symbols"
    subprocess.run([ROOT / "scripts/build-initrd", "--kernel", BUILD / "kernel",
                    "--init", PROGRAMS / "probe", "--add", f"agent={AGENT}",
                    "--add", f"bare={PROGRAMS}/bare", "--add", f"load={PROGRAMS}/load", initrd],
                   check=True)
    share = Share(directory / "share")
    with Guest(share, initrd, None, "/agent") as guest:
        guest.ask("sleep", 5000)  # until all modules are there
        text = guest.ask("read", "/proc/kallsyms")
    text += subprocess.run(["nm", PROGRAMS / "agent"], check=True, text=True,
                           stdout=subprocess.PIPE).stdout
    named = {0: "program", 1 << 40: "vdso"}
    for address, kind, name in (line.split()[:3] for line in text.splitlines()):
        # A system call has names for each way to it.
        if kind in "tTwW" and not named.get(int(address, 16), "").startswith("__x64_sys_"):
            named[int(address, 16)] = name
    symbols.write_text("".join(f"{address:x} {named[address]}\n" for address in sorted(named)))
    return functools.partial(Guest, share, initrd, symbols)


# Docker's capabilities, as virtcontainers describes them.
FOURTEEN = {"capabilities": dict.fromkeys(
    ("bounding", "effective", "inheritable", "permitted"),
    [f"CAP_{name}" for name in """CHOWN DAC_OVERRIDE FSETID FOWNER MKNOD NET_RAW SETGID SETUID SETFCAP
     SETPCAP NET_BIND_SERVICE SYS_CHROOT KILL AUDIT_WRITE""".split()])}


# --- Jobs, and what they cost -----------------------------------------------------------------------


def cost(count, act):
    before = count()
    act()
    return count() - before


def usual(times, count, act):
    """The median, but of the first, which touches pages."""
    act()
    return median(cost(count, act) for _ in range(times))


def per_mib(run):
    """What one MiB more costs: run(bytes) counts a run with so many."""
    run(MIB)
    return median((run(20 * MIB) - run(4 * MIB)) / 16 for _ in range(ROUNDS))


def start_flood(guest, size):
    return guest.host.execcmd("box0", ["/bin/load", "flood", str(size)], out=Digest()).started()


def flood(guest, size):
    process = start_flood(guest, size)
    process.wait()
    assert len(process.out) == size


def sink(guest, size):
    process = guest.host.execcmd("box0", ["/bin/load", "sink"]).started()
    process.write(bytes(size))
    process.close_stdin()
    process.wait()


def exec_true(guest, **process):
    guest.host.run("box0", ["/bin/true"], **process)


def bare_beside(guest, peer, *words):
    """A bare program, with its host."""
    thread = threading.Thread(target=peer)
    thread.start()
    try:
        return guest.bare(*words)
    finally:
        thread.join()


def receive(connection, size):
    while size > 0:
        size -= len(connection.recv(min(size, 1 << 18)))


def bare_out(guest, data, size):
    return bare_beside(guest, lambda: receive(data, size),
                       "out", "bench.data", "/load", "flood", size)


def bare_in(guest, data, size):
    return bare_beside(guest, lambda: data.sendall(bytes(size)),
                       "in", "bench.data", size, "/load", "sink")


def bare_echo(guest, data):
    def peer():
        for _ in range(PINGS):
            data.sendall(bytes(8))
            receive(data, 8)
    return bare_beside(guest, peer, "echo", "bench.data", PINGS)


def kib_container(name):
    """More fields of a NEWCONTAINER of 1 KiB."""
    spec = {"id": name, "image": "box", "rootfs": "rootfs",
            "process": {"stdio": 1000, "stderr": 1001, "args": ["/bin/load", "cat"],
                        "envs": [{"env": "PAD", "value": ""}]}}
    size = len(command(Code.NEWCONTAINER, spec)) - len(command(Code.NEWCONTAINER))
    return {}, {"envs": [{"env": "PAD", "value": "x" * (1024 - size)}]}


def cc30_container(_name):
    """More fields of the NEWCONTAINER that cc30 sent in the recorded session."""
    recorded = re.search(r" ctl C->A .*?\b(00000011[0-9a-f]*)$",
                         (TESTS / "golden/cc30.txt").read_text(), re.MULTILINE)[1]
    container = json.loads(bytes.fromhex(recorded)[8:])
    process = container.pop("process")
    for key in ("id", "image", "rootfs"):
        del container[key]
    for key in ("args", "stdio", "stderr"):
        del process[key]
    return container, process


def mounts_container(_name):
    return {"fsmap": [{"source": name, "path": f"/{name}"} for name in "abc"]}, {}


def start_containers(guest, numbers, describe):
    for number in numbers:
        container, process = describe(f"box{number}")
        guest.host.newcontainer(f"box{number}", ["/bin/load", "cat"], container=container,
                                **process).started()


def usual_container(guest, describe, number):
    """The usual cost of one, from that number on."""
    numbers = itertools.count(number)
    return usual(CONTAINERS, guest.family,
                 lambda: start_containers(guest, [next(numbers)], describe))


def rss_per_container(guest, describe, have):
    """KiB for each of MANY containers, of which `have` are there."""
    return cost(guest.rss, lambda: start_containers(guest, range(have, MANY), describe)) \
        / (MANY - have)


def unread_second(guest):
    """A second in which a process floods and the host does not read."""
    guest.host.tty.reading = False
    process = start_flood(guest, 16 * MIB)
    counted = guest.second()
    guest.host.tty.reading = True
    process.wait()
    return counted


def latencies(guest):
    """Beside FLOODS floods: (frames of theirs, instructions of PID 1) from the write of an echo and
    from the end of a process, until the agent has read the one and learnt of the other."""
    host = guest.host
    floods = [start_flood(guest, 1 << 40) for _ in range(FLOODS)]
    guest.trace_also(syscalls__sys_exit_readv="common_pid==1",
                     syscalls__sys_exit_wait4="common_pid==1&&ret>0",
                     syscalls__sys_exit_write="ret==1",
                     signal__signal_generate="sig==17&&pid==1")
    echo = host.execcmd("box0", ["/bin/load", "cat"]).started()
    echoes, exits = [], []
    for count in range(1, ECHOES + 1):
        def answered():
            echo.write(b"x")
            echo.wait_output(b"x" * count)
        echoes.append(between(guest.traced(answered),
                              lambda event: event.name == "sys_write" and event.pid != 1,
                              lambda event: event.name == "sys_readv" and event.rest == "0x1"))
    echo.close_stdin()
    echo.wait()
    for _ in range(ECHOES):
        short = host.execcmd("box0", ["/bin/load", "sink"]).started()

        def ended():
            short.close_stdin()
            short.wait()
        exits.append(between(guest.traced(ended), lambda event: event.name == "signal_generate",
                             lambda event: event.name == "sys_wait4"))
    guest.trace_set("events/enable", 0)
    host.kill("box0", allProcesses=True)
    for process in floods:
        process.wait()
    return [tuple(map(max, zip(*samples))) for samples in (echoes, exits)]


def between(events, is_start, is_end):
    """The flood's frames, and the instructions of PID 1, from the last start to the first end."""
    end = next(event.at for event in events if is_end(event))
    start = max(event.at for event in events if event.at < end and is_start(event))
    payload = TTY_FRAME_MAX - TTY_HEADER
    read = [int(event.rest, 16) for event in events
            if event.name == "sys_readv" and start < event.at < end]
    frames = sum(-(-size // payload) for size in read if size < 1 << 32)  # above: an error
    return frames, oncpu(events, start, end)


def strings(count, size):
    """An EXECCMD that is refused only when all of it is decoded."""
    process = {"stdio": 1, "stderr": 2, "args": ["x" * size] * count}
    return Code.EXECCMD, json.dumps({"container": "none", "process": process}).encode()


BIG_FILE = json.dumps({"container": "box0", "file": "/dev/shm/big"}).encode()
TURNS = {
    "200 KB of 100-byte strings": [strings(2000, 96)],
    "200 KB of 12-byte strings": [strings(16000, 8)],
    "1,000 commands at once": [(Code.PING, b"")] * 1000,
    "WRITEFILE of 4 MiB": [(Code.WRITEFILE, BIG_FILE + bytes(4 * MIB))],
    "READFILE of 4 MiB": [(Code.READFILE, BIG_FILE)],
}


def longest_turns(guest):
    """Of the loop, from its waking to its next sleep: instructions, whatever a host may send."""
    of_the_loop = f"id=={EPOLL_PWAIT}&&common_pid==1"
    guest.trace_also(raw_syscalls__sys_enter=of_the_loop, raw_syscalls__sys_exit=of_the_loop)
    for commands in TURNS.values():
        def answered():
            for reply in [guest.host.send(*each) for each in commands]:
                guest.host.reply_to(reply)
            guest.host.ping()  # the turn that answered is over, too
        yield max(turns_of(guest.traced(answered)))
    guest.trace_set("events/enable", 0)


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


# --- The table ------------------------------------------------------------------------------------


class Row(NamedTuple):
    """One line of the table: a name, a figure, the figure of a bare program, and what the figure may
    be: so many times the bare one, or so much. Then what both old agents took, when they were measured
    once: whole guests, without +rdrand."""

    name: str
    unit: str
    figure: str
    limit: str = None
    times: float = None
    most: float = None
    old: tuple = ("", "")


ROWS = [
    Row("exec of the agent to READY and idle", "k", "start", "bare start", most=600, old=(893, 1625)),
    Row(".. to READY, with all modules there", "k", "bound", "bare bound"),
    Row("STARTPOD", "k", "pod", "bare pod", most=1700, old=(2109, 2190)),
    Row("NEWCONTAINER", "k", "container", "bare container", most=1750, old=(3344, 3850)),
    Row(f".. the {LATE}th with three mounts", "k", "late", "early", times=1.3),
    Row("exec of true", "k", "exec", "bare exec", most=690),
    Row(".. of it PID 1", "k", "exec, PID 1"),
    Row(".. with Docker's fourteen capabilities", "k", "exec, fourteen", "exec", times=1.2),
    Row(f".. beside {MANY} containers", "k", "exec beside many", "exec", times=1.05,
        old=("3.2x", "1.26x")),
    Row("stdout, a MiB", "k", "out", "bare out", times=1.15, old=(15399, 11313)),
    Row("stdin, a MiB", "k", "in", "bare in", times=1.25, old=("loses 94 %", "")),
    Row("PING", "k", "ping", "bare echo"),
    Row("an idle second", "", "idle", most=0),
    Row(".. of the kernel", "k", "idle, kernel", "bare idle, kernel", most=66, old=(65, 66)),
    Row("a second with the host not reading", "", "unread", most=0),
    Row(f"echo beside {FLOODS} floods", "frames", "echo frames", most=3 * FLOODS),
    Row("..", "k", "echo"),
    Row(f"exit report beside {FLOODS} floods", "frames", "exit frames", most=3 * FLOODS),
    Row("..", "k", "exit"),
    # 10 ms at an instruction a nanosecond.
    *(Row(f"longest turn: {name}", "k", name, most=10000) for name in TURNS),
    Row("RSS at READY", "KiB", "RSS", "bare RSS", most=136, old=(208, "")),
    Row(".. with a container", "KiB", "RSS, one"),
    Row(f".. with {MANY} containers", "KiB", "RSS, many"),
    Row(".. for each, described in 1 KiB", "KiB", "RSS, each", most=4),
    Row(".. for each, as cc30 describes it", "KiB", "RSS, each of cc30", most=8),
    Row(f"guest's memory for each of {MANY}", "KiB", "memory, each", most=110, old=(136, 132)),
    Row("size of the binary", "kB", "size", most=149.728, old=(170, "")),
]


def measure_one(guest):
    """A pod and its first container: these figures are medians of three guests."""
    guest.rest()
    found = {"pod": cost(guest.family, guest.host.startpod)}
    start_containers(guest, [0], kib_container)
    found["RSS, one"] = guest.rss()
    for name, count, process in (("exec", guest.family, {}), ("exec, PID 1", guest.agent, {}),
                                 ("exec, fourteen", guest.family, FOURTEEN)):
        found[name] = usual(EXECS, count, lambda: exec_true(guest, **process))
    return found | {"container": usual_container(guest, kib_container, 1)}


def measure(start, show):
    """All figures: instructions, KiB, or bytes."""
    found = {"size": AGENT.stat().st_size}
    show("READY")
    for name, before in ("/bare", "bare "), ("/agent", ""):
        with start(name, "preload=1") as guest:
            guest.rest()
            found |= {f"{before}bound": guest.ready, f"{before}start": guest.agent(),
                      f"{before}RSS": guest.rss(),
                      f"{before}idle, kernel": min(guest.second("kernel") for _ in range(ROUNDS))}
            if before:
                found["bare pod"] = guest.bare("pod", "share")

    show(f"{MANY} containers as cc30 describes them")
    with start("/agent") as guest:
        guest.host.startpod()
        start_containers(guest, [0], cc30_container)
        found["RSS, each of cc30"] = rss_per_container(guest, cc30_container, 1)

    show(f"{LATE} containers with three mounts")
    with start("/agent") as guest:
        guest.host.startpod()
        start_containers(guest, range(EARLY - 2), mounts_container)
        found["early"] = usual_container(guest, mounts_container, EARLY - 2)
        start_containers(guest, range(EARLY - 1 + CONTAINERS, LATE - 2), mounts_container)
        found["late"] = usual_container(guest, mounts_container, LATE - 2)

    show("one container")
    several = []
    for _ in range(GUESTS - 1):
        with start("/agent") as guest:
            several.append(measure_one(guest))
    with start("/agent") as guest:
        assert "erms" not in guest.ask("read", "/proc/cpuinfo"), "the CPU model has ERMS"
        several.append(measure_one(guest))
        found |= {name: median(one[name] for one in several) for name in several[0]}
        found["idle"] = guest.second()
        found["bare exec"] = median(guest.bare("exec", f"{SHARED}/bin/true", EXECS)
                                    for _ in range(ROUNDS)) / EXECS
        show("streams")
        data = guest.vm.connect("data")
        for name, agent, bare in ("out", flood, bare_out), ("in", sink, bare_in):
            found[name] = per_mib(lambda size: cost(guest.agent, lambda: agent(guest, size)))
            found[f"bare {name}"] = per_mib(lambda size: bare(guest, data, size))
        found["ping"] = usual(ROUNDS, guest.agent,
                              lambda: [guest.host.ping() for _ in range(PINGS)]) / PINGS
        found["bare echo"] = median(bare_echo(guest, data) for _ in range(ROUNDS)) / PINGS
        found["unread"] = unread_second(guest)
        show(f"{MANY} containers")
        found["bare container"] = median(guest.bare("container", SHARED, "/bin/load", "cat")
                                         for _ in range(CONTAINERS))
        free = guest.free()
        found["RSS, each"] = rss_per_container(guest, kib_container, CONTAINERS + 2)
        found["memory, each"] = (free - guest.free()) / (MANY - CONTAINERS - 2)
        found["RSS, many"] = guest.rss()
        found["exec beside many"] = usual(EXECS, guest.family, lambda: exec_true(guest))
        show("latencies")
        for name, (frames, instructions) in zip(("echo", "exit"), latencies(guest)):
            found |= {name: instructions, f"{name} frames": frames}
        show("the loop's turns")
        return found | dict(zip(TURNS, longest_turns(guest)))


def number(value):
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:,.1f}"


def table(found, last):
    """Prints the rows. Their figures by number and name, in their units, and whether each target is
    met."""
    def line(name, figure, unit, limit, ratio, target, met, old, change):
        print(f"{name:40} {figure:>7} {unit:6} {limit:>7} {ratio:>6} {target:>8} {met:>4} "
              f"{old[0]:>10} {old[1]:>7} {change:>9}")

    figures, targets = {}, []
    line("", "figure", "", "limit", "ratio", "target", "met", ("old 4242*", "4244*"), "last run")
    for place, row in enumerate(ROWS):
        figure, limit = (found[name] / 1000 if name and row.unit in ("k", "kB") else found.get(name)
                         for name in (row.figure, row.limit))
        target, met = "", None
        if row.times is not None:
            target, met = f"<= {row.times}x", figure <= row.times * limit
        elif row.most is not None:
            target, met = f"<= {row.most:g}", figure <= row.most
        before = last.get(f"{place} {row.name}")
        change = "" if before is None else "same" if before == figure else (
            f"{100 * (figure / before - 1):+.2f} %" if before else number(before))
        line(row.name, number(figure), row.unit, number(limit),
             f"{figure / limit:.2f}x" if limit else "", target,
             {True: "yes", False: "NO", None: ""}[met], row.old, change)
        figures[f"{place} {row.name}"] = figure
        targets += [] if met is None else [met]
    return figures, targets


def bench(start, show):
    began = time.monotonic()
    found = measure(start, show)
    binary = hashlib.sha256(AGENT.read_bytes()).hexdigest()
    try:
        last = json.loads(LAST.read_text())
    except (FileNotFoundError, ValueError):
        last = {"binary": None, "figures": {}}
    print("\nInstructions on the CPU (k: thousands of them), resident memory, size;"
          " limits by bare programs.")
    if last["figures"]:
        print("The last run was of", "this binary." if last["binary"] == binary else "another one.")
    figures, targets = table(found, last["figures"])
    print("* Constants of this page: measured once, whole guests without +rdrand.")
    print(f"{targets.count(False)} of {len(targets)} targets missed,"
          f" {time.monotonic() - began:.0f} s")
    LAST.write_text(json.dumps({"binary": binary, "figures": figures}, indent=1) + "\n")


# --- The profile ----------------------------------------------------------------------------------

JOBS = {"exec": exec_true,
        "newcontainer": lambda guest: start_containers(guest, [next(guest.numbers)], kib_container),
        "startpod": lambda guest: guest.host.startpod(),
        "boot": lambda guest: None,
        "stdin": lambda guest: sink(guest, 4 * MIB),
        "stdout": lambda guest: flood(guest, 4 * MIB)}


def run_job(guest, what):
    """Runs of the job, each a phase; how many."""
    guest.rest()
    act = functools.partial(JOBS[what], guest)
    if what in ("boot", "startpod"):
        guest.phase(what == "startpod", act)
        return 1
    guest.host.startpod()
    guest.numbers = itertools.count()
    start_containers(guest, [next(guest.numbers)], kib_container)
    act()  # once, for the pages touched first
    for phase in range(1, ROUNDS + 1):
        guest.phase(phase, act)
    return ROUNDS


def profile(start, show, what):
    runs = []
    for guest_number in range(1, GUESTS + 1):
        show(f"{what}: guest {guest_number} of {GUESTS}")
        with start("/agent", phase=what == "boot") as guest:
            runs += guest.profile(run_job(guest, what))

    def rows(title, name_of, is_wanted=re.compile("agent|child|older").match):
        """By name: the median, the least, and the most of the runs."""
        sums = [Counter() for _ in runs]
        for total, run in zip(sums, runs):
            for task, context, symbol, count in run:
                if is_wanted(task):
                    total[name_of(task, context, symbol)] += count
        found = [(median(counts), min(counts), max(counts), name)
                 for name in set().union(*sums) for counts in [[each[name] for each in sums]]]
        shown = sum(row[0] for row in found) / 100
        print(f"\n{title:60} {'median':>9} {'least':>9} {'most':>9}")
        for *figures, name in sorted(found, reverse=True):
            if figures[0] >= shown:
                print(f"{name:60} " + " ".join(f"{each / 1000:9.1f}" for each in figures))

    print(f"\n{what}: k instructions, {len(runs)} runs in {GUESTS} guests; rows from 1 % on")
    rows("the agent and its children", lambda *key: "all")
    rows("task", lambda task, context, symbol: task, bool)
    rows("task: system call or fault", lambda task, context, symbol: f"{task}: {context}")
    rows("symbol", lambda task, context, symbol: symbol)


def main():
    parser = common.parser(__doc__)
    parser.add_argument("what", nargs="?", choices=JOBS, metavar="WHAT", help=" ".join(JOBS))
    what = parser.parse_args().what
    began = time.monotonic()

    def show(text):
        print(f"[{time.monotonic() - began:5.1f} s] {text}", file=sys.stderr, flush=True)

    with tempfile.TemporaryDirectory(prefix="hyperstart-bench-") as directory:
        show("the symbols")
        start = prepare(Path(directory))
        profile(start, show, what) if what else bench(start, show)


common.run(main)
