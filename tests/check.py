#!/usr/bin/python3 -B
# SPDX-License-Identifier: Apache-2.0
"""Runs every test there is and sums up: what `make check` is.

Each step is a make target with its log in build/check/. Two go side by side, the longest first.
The last line is "N passed, N failed, N skipped"; the exit code is 1 if any failed.
"""

import os
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "scripts"))

import common  # noqa: E402

LOGS = ROOT / "build/check"
LOG_TAIL = 25
SILENT_SECONDS = 2700  # nothing is written: it hangs, on however slow a machine
STOP_SECONDS = 600
FUZZ_SECONDS = 5
SOAK = "--execs=2000 --containers=100 --large=100"
WORKERS = 2


class Step:
    """One make target: it passes or fails as a whole."""

    def __init__(self, target, *variables):
        self.target = target
        self.variables = variables
        self.log = LOGS / f"{target}.log"
        self.process = None
        self.passed = 0
        self.failed = []
        self.skipped = []  # (name, reason)
        self.seconds = 0.0

    def run(self):
        start = time.monotonic()
        # Variables and jobs of the outer make are not for the inner one.
        environment = {name: value for name, value in os.environ.items() if "MAKE" not in name}
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                ["make", "--no-print-directory", "-k", self.target, *self.variables], cwd=ROOT,
                env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True)
        try:
            code = self.wait()
        except subprocess.TimeoutExpired:
            self.interrupt()
            code = f"stopped, as it said nothing for {SILENT_SECONDS} s"
        self.seconds = time.monotonic() - start
        self.count(code == 0)
        if isinstance(code, str) or (code != 0 and not self.failed):
            self.failed.append(f"{self.target} (ended with {code})")

    def wait(self):
        """For as long as it goes on writing."""
        size, end = -1, 0
        while (code := self.process.poll()) is None:
            if size != (size := self.log.stat().st_size):
                end = time.monotonic() + SILENT_SECONDS
            elif time.monotonic() > end:
                raise subprocess.TimeoutExpired(self.target, SILENT_SECONDS)
            time.sleep(0.2)
        return code

    def interrupt(self):
        """The scenarios then write down how each test ended that has been run, maybe behind make's end."""
        deadline = time.monotonic() + STOP_SECONDS
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGTERM)
            while time.monotonic() < deadline:
                self.process.poll()
                os.killpg(self.process.pid, 0)
                time.sleep(0.1)
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def stop(self):
        """Ends it, and all that it started, if it still runs."""
        if self.process and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def count(self, succeeded):
        self.passed = int(succeeded)

    def summary(self):
        text = f"{self.passed} passed, {len(self.failed)} failed, {len(self.skipped)} skipped"
        return f"{self.target:16} {text:36} {self.seconds:6.1f} s"


class Unit(Step):
    """cmocka's TAP, one plan a program."""

    def count(self, succeeded):
        planned = seen = 0
        program = None
        for line in self.log.read_text(errors="replace").splitlines():
            if plan := re.match(r"1\.\.(\d+)", line):
                planned += int(plan[1])
            elif start := re.match(r"# (build/.*)", line):
                program = start[1]
            elif line.startswith("SUMMARY: "):  # a sanitizer's, also of leaks when all is over
                self.failed.append(f"{program}: {line.removeprefix('SUMMARY: ')}")
            elif skip := re.match(r"ok \d+ # SKIP (?:- )?(.*)", line):
                seen += 1
                self.skipped.append((skip[1], "skipped by itself"))
            elif result := re.match(r"(not )?ok \d+ - (.*)", line):
                seen += 1
                if result[1]:
                    self.failed.append(result[2])
                else:
                    self.passed += 1
        if seen < planned:
            self.failed.append(f"{planned - seen} unit tests that never ended: a program crashed")


class Scenarios(Step):
    """pytest's own XML; the figures of tests that measure are shown."""

    def __init__(self, target):
        super().__init__(target)
        for report in self.reports():
            report.unlink()
        self.figures = []

    def reports(self):
        """One by each pytest that shares in it."""
        return [*LOGS.glob(f"{self.target}.xml"), *LOGS.glob(f"{self.target}.*.xml")]

    def cases(self):
        for report in self.reports():
            yield from ElementTree.parse(report).iterfind(".//testcase[@name]")  # else: cut off

    def count(self, succeeded):
        for case in self.cases():
            name = f"{case.get('classname').rpartition('.')[2]}::{case.get('name')}"
            skip = case.find("skipped")
            if case.find("failure") is not None or case.find("error") is not None:
                self.failed.append(name)
            elif skip is not None:
                self.skipped.append((name, skip.get("message")))
            else:
                self.passed += 1
            self.figures += [figure.get("value") for figure in case.iter("property")]

    def summary(self):
        return "\n  ".join([super().summary(), *self.figures])


class Soak(Step):
    """One that measures: its figures are shown."""

    def summary(self):
        figures = re.findall(r"^soak: .*", self.log.read_text(errors="replace"), re.MULTILINE)
        return "\n  ".join([super().summary(), *figures])


def run_all(steps):
    """Two at a time, in order."""
    def work(step):
        step.run()
        print(step.summary(), flush=True)

    pool = ThreadPoolExecutor(WORKERS)
    try:
        list(pool.map(work, steps))
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        for step in steps:
            step.stop()  # after Ctrl-C; else there is nothing to stop


def report(steps):
    for step in steps:
        if not step.failed:
            continue
        print(f"\nFAILED in {step.target} ({step.log}):")
        for name in step.failed:
            print(f"  {name}")
        for line in step.log.read_text(errors="replace").splitlines()[-LOG_TAIL:]:
            print(f"  | {line}")
    reasons = {}
    for step in steps:
        for name, reason in step.skipped:
            reasons.setdefault((step.target, reason), []).append(name)
    if reasons:
        print("\nSkipped:")
    for (target, reason), names in reasons.items():
        print(f"  {target}: {reason}: {', '.join(names)}")
    passed = sum(step.passed for step in steps)
    failed = sum(len(step.failed) for step in steps)
    skipped = sum(len(step.skipped) for step in steps)
    print(f"\n{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed else 0


def main():
    common.parser(__doc__).parse_args()
    LOGS.mkdir(parents=True, exist_ok=True)
    fuzzers = [file.stem.removeprefix("fuzz_") for file in sorted(ROOT.glob("tests/fuzz/fuzz_*.c"))]
    lints = [Step(f"lint-{name}") for name in
             ("tidy", "clang", "cppcheck", "format", "layers", "python", "shell", "spelling")]
    tests = [Scenarios(name) for name in ("vm-rig", "host-rig", "vm-vsock", "vm-service", "vm-isa",
                                          "host-service", "script-tests", "chaos")]
    tests += [Unit("unit"), Soak("soak", f"ARGS={SOAK}")]
    tests += [Step(f"run-fuzz-{name}", f"SECONDS={FUZZ_SECONDS}") for name in fuzzers]
    build = Step("check-build", f"-j{WORKERS}")

    run_all([build])
    if build.failed:
        for step in tests:
            step.skipped.append((step.target, "the build failed"))
        run_all(lints)
    else:
        run_all(tests + lints)
    return report([build, *lints, *tests])


if __name__ == "__main__":
    common.run(main)
