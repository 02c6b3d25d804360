#!/usr/bin/python3 -B
# SPDX-License-Identifier: Apache-2.0
"""Prints what of each room unit tests and host rig execute.

The programs are in build/coverage, where `make coverage` has built them. The exit code is 1 where lines
of all rooms, or branches of those that hold the invariants, are fewer than they should be. A branch of
an assertion does not count: one side of it is never taken.
"""

import json
import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

import common  # noqa: E402

COUNTS = ROOT / "build/coverage"

LINES = 90
BRANCHES = 85
BRANCHY = ("wire/control", "wire/mux", "spec/json", "pod/process", "child/path")


def run(arguments):
    """All of it, as any user: containers write their counts, too."""
    for file in COUNTS.rglob("*.gcda"):
        file.unlink()
    for directory in COUNTS, *filter(pathlib.Path.is_dir, COUNTS.rglob("*")):
        directory.chmod(0o777)
    for source in sorted(ROOT.glob("tests/unit/test_*.c")):
        test = COUNTS / "unit" / source.stem.removeprefix("test_")
        with open(f"{test}.log", "wb") as log:
            if subprocess.run([test], cwd=ROOT, stdout=log, stderr=log, umask=0).returncode:
                print(f"{test} failed")
    for file in COUNTS.rglob("*.gcda"):
        file.chmod(0o666)
    subprocess.run([sys.executable, "-m", "pytest", "tests/scenarios", "--rig=host", "-q", *arguments],
                   cwd=ROOT, env=os.environ | {"FAULTS_STEP": "1", "COVERAGE": str(COUNTS)})


def counted(room):
    """(lines, of them executed, branches, of them taken); and the numbers of lines that were not."""
    source = ROOT / "src" / f"{room}.c"
    asserted = [("assert(" in line) for line in source.read_text().splitlines()]
    lines, branches = {}, {}
    # Some are part of their unit test, too: its notes are named after both.
    for notes in [COUNTS / f"{room}.gcno", *COUNTS.glob(f"unit/*{source.stem}.gcno")]:
        text = subprocess.run(["gcov", "--json-format", "--stdout", "--branch-probabilities", notes],
                              cwd=ROOT, check=True, capture_output=True).stdout
        for file in json.loads(text)["files"]:
            if pathlib.Path(file["file"]).name != source.name:
                continue
            for line in file["lines"]:
                number = line["line_number"]
                lines[number] = lines.get(number, 0) + line["count"]
                for at, branch in enumerate(line["branches"]):
                    taken = branches.get((number, at), False)
                    branches[number, at] = taken or branch["count"] > 0
    missed = [number for number, count in sorted(lines.items()) if not count]
    taken = [taken for (number, _), taken in branches.items() if not asserted[number - 1]]
    return (len(lines), len(lines) - len(missed), len(taken), sum(taken)), missed


def percent(part, whole):
    return 100 * part / whole if whole else 100


def ranges(numbers):
    """[1, 2, 3, 7] as 1-3 7."""
    spans = []
    for number in numbers:
        if spans and number == spans[-1][1] + 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    return " ".join(f"{a}-{b}" if a < b else str(a) for a, b in spans)


def main():
    parser = common.parser(__doc__)
    parser.add_argument("arguments", nargs="*", metavar="PYTEST-ARGUMENT", help="after --")
    run(parser.parse_args().arguments)
    total, low = [0] * 4, []
    print(f"{'room':20} {'lines':>12} {'branches':>14}   not executed")
    for source in [*sorted(ROOT.glob("src/*.c")), *sorted(ROOT.glob("src/*/*.c"))]:
        room = str(source.relative_to(ROOT / "src").with_suffix(""))
        counts, missed = counted(room)
        total = [a + b for a, b in zip(total, counts)]
        lines, executed, branches, taken = counts
        print(f"{room:20} {percent(executed, lines):5.1f} % {lines:4} "
              f"{percent(taken, branches):7.1f} % {branches:4}   {ranges(missed)}")
        if room in BRANCHY and percent(taken, branches) < BRANCHES:
            low.append(f"branches of {room}")
    lines, executed, branches, taken = total
    print(f"{'all':20} {percent(executed, lines):5.1f} % {lines:4} "
          f"{percent(taken, branches):7.1f} % {branches:4}")
    if percent(executed, lines) < LINES:
        low.append("lines")
    if low:
        print(f"too few: {', '.join(low)}")
    return 1 if low else 0


common.run(main)
