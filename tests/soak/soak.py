#!/usr/bin/python3 -B
# SPDX-License-Identifier: Apache-2.0
"""Does the same thing very often to one daemon on the host rig, and looks whether it is as it was.

Execs in one container, containers that are made, stopped and removed, and containers whose
description is as large as a message may nearly be. The daemon is the product's binary. Prints what it
held before and behind each of them; the exit code is 1 if that is not what it must be.
"""

import collections
import dataclasses
import sys
import tempfile
import time
from pathlib import Path

TESTS = Path(__file__).resolve().parent.parent
sys.path[:0] = map(str, (TESTS, TESTS.parent / "scripts"))

import common  # noqa: E402
from rig import pace  # noqa: E402
from rig.host import Host  # noqa: E402
from rig.host_rig import HostGuest  # noqa: E402
from rig.rootfs import Share  # noqa: E402
from rig.wire import Code  # noqa: E402

CONCURRENT = 16
WARM_UP = 100  # of each: what is allocated once is no growth
BULK = 200 << 10
PIECE = 100 << 10  # an argument, or a variable: Linux takes 128 KiB of each
RSS_SLACK_KIB = 64
KEPT_MAX = 8 << 20  # limits.h, KEPT_ARENAS_MAX
WORST_KIB = 24 << 10  # limits.h, the worst case


@dataclasses.dataclass
class Held:
    rss_kib: int
    fds: int
    cgroups: int
    mounts: int
    children: int
    zombies: int


class Soak:
    def __init__(self, host):
        self.host = host
        self.failures = []

    def held(self):
        host, guest = self.host, self.host.guest
        stat = guest.stat(host)
        return Held(stat.rss_kib, stat.fds, sum(path.is_dir() for path in guest.cgroup.rglob("*")),
                    len(Path(f"/proc/{guest.pid}/mountinfo").read_text().splitlines()),
                    len(guest.children(host)), len(guest.zombies(host)))

    def held_at_rest(self):
        """Orphans die a little later than they are told."""
        before, now = None, self.held()
        while now != before:
            self.host.pump_for(0.1)
            before, now = now, self.held()
        return now

    def peak_kib(self):
        for line in Path(f"/proc/{self.host.guest.pid}/status").read_text(errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1])
        raise LookupError("VmHWM")

    def check(self, condition, text):
        if not condition:
            self.failures.append(text)

    def compare(self, what, before, begin):
        """What there is now must be what there was, memory but for what a heap keeps."""
        seconds = time.monotonic() - begin
        after = self.held_at_rest()
        self.show(what, before, after, seconds)
        self.check(dataclasses.replace(after, rss_kib=before.rss_kib) == before,
                   f"{what}: {after}, before: {before}")
        self.check(after.rss_kib <= before.rss_kib + RSS_SLACK_KIB,
                   f"{what}: RSS grew from {before.rss_kib} to {after.rss_kib} KiB")

    def show(self, what, before, after, seconds):
        figures = (f"{name.removesuffix('_kib')} {old} -> {new}" for (name, old), new in
                   zip(dataclasses.asdict(before).items(), dataclasses.asdict(after).values()))
        print(f"soak: {what} in {seconds:.0f} s: {', '.join(figures)}", flush=True)

    def execs(self, count):
        """Processes that write to both streams and exit, several at a time, in both forms."""
        self.host.newcontainer("soak", ["sleep", "100000"]).started()
        self.some_execs(WARM_UP)
        before, begin = self.held_at_rest(), time.monotonic()
        self.some_execs(count)
        self.compare(f"{count} execs", before, begin)
        self.host.kill("soak")
        self.host.containers.pop("soak").wait()
        self.host.ack(Code.REMOVECONTAINER, {"container": "soak"})

    def some_execs(self, count):
        running = collections.deque()
        for n in range(count):
            identity = {"id": f"p{n}"} if n % 2 else {}
            running.append((n, self.host.execcmd("soak", ["say", f"{n}", "err", str(n % 256)],
                                                 **identity)))
            if len(running) >= CONCURRENT or n + 1 == count:
                while running and (len(running) >= CONCURRENT or n + 1 == count):
                    at, process = running.popleft()
                    self.check(process.started().wait() == at % 256 and
                               (process.out, process.err) == (b"%d" % at, b"err"), f"exec {at}")
        self.host.events.clear()

    def lives(self, count):
        """Containers that are started, stopped and removed, or go by themselves."""
        self.some_lives(WARM_UP)
        before, begin = self.held_at_rest(), time.monotonic()
        self.some_lives(count)
        self.compare(f"{count} containers", before, begin)

    def some_lives(self, count):
        for n in range(count):
            name = f"life{n}"
            identity = {"id": "init"} if n % 2 else {}
            terminal = {"terminal": True} if n % 3 == 0 else {}
            process = self.host.newcontainer(name, ["sh", "-c", "sleep 1000 & read x"], **identity,
                                             **terminal).started()
            self.host.kill(name, 9, allProcesses=True)
            self.check(process.wait() == 137, f"container {n} ended with {process.code}")
            if not identity:
                self.host.ack(Code.REMOVECONTAINER, {"container": name})
            del self.host.containers[name]
        self.host.events.clear()

    def large(self, count):
        """Half of them have their bulk in the arguments, which are not kept, half in the
        environment, which is: up to a cap."""
        before, begin = self.held_at_rest(), time.monotonic()
        bulk = ["x" * PIECE] * (BULK // PIECE)
        refused = []
        for n in range(count):
            envs = [{"env": f"BULK{i}", "value": text} for i, text in enumerate(bulk)]
            process = self.host.newcontainer(
                f"large{n}", ["sh", "-c", "exec cat", *(bulk if n % 2 else ())],
                envs=[] if n % 2 else envs)
            self.host.reply_to(process.start)
            if process.start.kind == Code.ERROR:
                refused.append(process.start.text)
                del self.host.containers[f"large{n}"]
        held = self.held()
        self.show(f"{count} of {BULK >> 10} KiB, {len(refused)} refused", before, held,
                  time.monotonic() - begin)
        # With nothing left below the cap, one that keeps next to nothing is refused as well.
        self.check(all("environments" in text for text in refused), f"refused: {refused[:3]}")
        self.check(bool(refused) == (count // 2 * BULK > KEPT_MAX), f"{len(refused)} were refused")
        self.host.ping()
        for name, process in self.host.containers.items():
            self.host.kill(name)
            process.wait()
            self.host.ack(Code.REMOVECONTAINER, {"container": name})
        self.host.containers.clear()
        self.compare(f"{count} large ones removed", before, begin)
        print(f"soak: peak {self.peak_kib()} KiB of at most {WORST_KIB}", flush=True)
        self.check(self.peak_kib() <= WORST_KIB, f"a peak of {self.peak_kib()} KiB")

    def end(self):
        self.host.ack(Code.DESTROYPOD)
        self.check(self.host.guest.wait_end(self.host) == "power-off", "no power-off")
        if complaints := self.host.guest.complaints():
            self.failures.append(complaints)


def run(options, directory):
    pace.look()
    host = Host(HostGuest(Share(f"{directory}/share"), binary="musl", level="error"), 60)
    try:
        host.connect()
        host.wait_ready()
        host.startpod()
        soak = Soak(host)
        soak.execs(options.execs)
        soak.lives(options.containers)
        soak.large(options.large)
        soak.end()
    finally:
        host.disconnect()
        host.guest.stop()
    for failure in soak.failures[:10]:
        print(f"soak: FAILED: {failure}")
    return 1 if soak.failures else 0


def main():
    parser = common.parser(__doc__)
    parser.add_argument("--execs", type=int, default=100_000)
    parser.add_argument("--containers", type=int, default=1000)
    parser.add_argument("--large", type=int, default=1000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hyperstart-soak-") as directory:
        return run(options, directory)


if __name__ == "__main__":
    common.run(main)
