#!/usr/bin/python3 -B
# SPDX-License-Identifier: Apache-2.0
"""Changes the source in COUNT small ways, one at a time, and lists those that no test notices.

SEED chooses them; what does not compile, or to the same product, is replaced by the next. A change
is killed by a test that fails with it, twice, and passes without it; fewer than 90 % are a failure.
tests/mutants/equivalent has those that no test can notice, as listed here, with the reason below.
"""

import filecmp
import functools
import os
import random
import re
import subprocess
import sys
import threading
from collections import Counter
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

import common  # noqa: E402

PRISTINE = ROOT / "build/mutants/pristine"
LOCK = threading.Lock()
# A change may make a path a wrong one: only the tree's own build/ can be written, /tmp is in it.
GUARD = ("unshare", "--mount", "sh", "-ec", """
    mkdir -p build/tmp; mount --bind build build; mount --bind build/tmp /tmp
    mount -o remount,bind,ro /; mount -o remount,bind,ro /dev; exec "$@" """, "sh")

# The scenarios that most likely notice, by room: those of the first pattern that matches.
LANES = (
    ("transport", "vm:setup vm:transport isa:hosts"),
    ("boot|module|uevent|version|child_(clock|hotplug)", "hardware vm:setup vm:stay"),
    (".*network.*|child_(journal|netlink|route)|address", "vm:network network_input"),
    (".*portmap", "portmap_programs vm:portmap"),
    ("child_(device|volume)", "hardware vm:disks rootfs"),
    ("child_(copy|mount|path|rootfs)|mount", "rootfs hostile_images setup errors"),
    ("child_(ps.*|files)", "ps files"),
    ("child_unmount|container|containers|request", "remove session exits cgroups"),
    ("child_(exec|privileges|s.*|user)|privilege|device_filter", "privileges vm:guard session"),
    (".*cgroup.*", "cgroups vm:limits session"),
    ("loop|mux|port|queue|watch", "input output guard reconnect framing"),
    ("commands|control|json|spec", "errors framing session"),
    (".*pod|daemon|main|log|writeback", "setup destroy errors vm:virtiofs session"),
    ("spawn|process|report|child|fork", "agents_own_place session exits output attacks"),
    (".*", "session"))

INFIX = "< <=, <= <, > >=, >= >, < >, == !=, != ==, && ||, || &&, | &, & |, + -, - +, * +, += -="
ARGUMENT = r"([a-z&*][\w>.-]*|\d+)"
OPERATORS = [(re.compile(pattern), new) for pattern, new in (
    *((f" {re.escape(old)} ", f" {new} ") for old, new in map(str.split, INFIX.split(","))),
    (r"\+\+", "--"), (r"\b1\b", "0"), (r"\b0\b", "1"), (r"(?<!-)\b([1-9]\d*)\b", r"(\1 + 1)"),
    (r"\b[A-Z_]+_MAX\b", r"(\g<0> - 1)"), (r"\btrue\b", "false"), (r"\bfalse\b", "true"),
    (r"\bif \((.*)\)$", r"if (!(\1))"), (r"\breturn (?!true|false)([a-z]\w*);", r"return !\1;"),
    (r"\breturn -1;", "return 0;"), (r"\breturn 0;", "return -1;"),
    (r"^(\t+)[a-z]\w*\([^;]*\);$", r"\1;"),
    (r"^(\t+)[a-z*][\w>.*\[\]-]* [-+|&]?= [^;]*;$", r"\1;"),
    (r"^(\t+)(break|continue|return|goto \w+);$", r"\1;"),
    (rf"(?<=[(, ]){ARGUMENT}, {ARGUMENT}(?=[,)])", r"\2, \1"))]
# What is not changed: what is no statement, what cannot fail without another fault, and the log.
KEPT = re.compile(r"^(?!\t|#define)|\b(static_)?assert\(|\blog_(debug|info)\(")
TOKEN = re.compile(r'"(?:\\.|[^"\\])*"|\'(?:\\.|[^\'\\])*\'|/\*.*?\*/|//[^\n]*', re.DOTALL)


def changes(seed):
    """(file, line number, old line, new line), each once; all operators are as frequent."""
    sites = [set() for _ in OPERATORS]
    for file in sorted((ROOT / "src").rglob("*.c")):
        text = file.read_text()
        # Strings and comments are no code, but keep their place.
        code = TOKEN.sub(lambda token: re.sub(r"[^\n]", "\x01", token[0]), text)
        for number, (line, masked) in enumerate(zip(text.splitlines(), code.splitlines()), 1):
            for some, (pattern, new) in zip(sites, () if KEPT.search(line) else OPERATORS):
                for match in pattern.finditer(masked):
                    # Once more in the line itself: what the new one takes over may be a string.
                    if there := pattern.match(line, match.start()):
                        changed = line[:match.start()] + there.expand(new) + line[there.end():]
                        some.add((file.relative_to(ROOT), number, line, changed))
    random.seed(seed)
    sites = [random.sample(sorted(some), len(some)) for some in sites]
    while sites := [some for some in sites if some]:
        yield random.choice(sites).pop()


def run(tree, *command):
    """Its exit code; what it prints is in the tree's build/log. One that hangs has failed."""
    with open(tree / "build/log", "w") as log, suppress(subprocess.TimeoutExpired):
        return subprocess.run(command, cwd=tree, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                              preexec_fn=common.die_with_parent, timeout=900).returncode
    return 1


def make(tree, *targets):
    """Nothing warns but where a change has swapped arguments of two types."""
    return run(tree, "make", *targets, "WARNINGS="
               "-Werror=int-conversion -Werror=incompatible-pointer-types") == 0


def failing(tree, rig, name, *arguments):
    """The first test that fails, of a unit test, of a file of scenarios, or of itself alone."""
    if rig == "unit":
        target = f"build/unit/test_{name}"
        return None if make(tree, target) and run(tree, *GUARD, target) == 0 else name
    if not make(tree, "build/host/hyperstart", "build/initrd.cpio"):
        return name
    rigs = {"": ["--rig=host"], "vm": ["--rig=vm"], "isa": ["--rig=vm", "--transport=isa"]}
    code = run(tree, *GUARD, sys.executable, "-m", "pytest", "-qx", *rigs[rig],
               name if "." in name else f"tests/scenarios/test_{name}.py", *arguments)
    failed = re.search(r"^(?:FAILED|ERROR) (\S+::.*?)(?: - |$)", (tree / "build/log").read_text(),
                       re.MULTILINE)
    return failed[1] if failed else None if code in (0, 5) else name


@functools.cache
def passes(rig, name):
    """Without a change: one that does not tells nothing."""
    with LOCK:
        if not failing(PRISTINE, rig, name):
            return True
    common.say(f"fails without a change: {name}")
    return False


def killer(tree, file):
    """The test that notices the change of the file in that tree, else None."""
    room = file.stem
    if file.parent.name == "child" and room != "child":  # as its unit test has it
        room = f"child_{room}"
    header = f'"{file.relative_to("src").with_suffix(".h")}"'
    units = {file.stem[5:]: file.read_text() for file in tree.glob("tests/unit/test_*.c")}
    units = sorted((unit != room, f"unit:{unit}") for unit, text in units.items()
                   if room.startswith(unit) or header in text)
    lanes = next(lanes.split() for rooms, lanes in LANES if re.fullmatch(rooms, room))
    for rig, _, name in (lane.rpartition(":") for lane in [unit for _, unit in units] + lanes):
        skipped = set()
        while (test := failing(tree, rig, name, *skipped)) and (
                skip := f"--deselect={test.removeprefix('tests/')}") not in skipped:
            if failing(tree, rig, test) and passes(rig, test):
                return test
            skipped.add(skip)


def judge(tree, file, number, new):
    """What kills the change, None if nothing does; "" if it is none."""
    original = (tree / file).read_text()
    lines = original.splitlines()
    lines[number - 1] = new
    (tree / file).write_text("\n".join(lines) + "\n")
    product = f"build/musl/{file.relative_to('src').with_suffix('.o')}"
    try:
        is_one = make(tree, product) and not filecmp.cmp(tree / product, PRISTINE / product, False)
        return killer(tree, file) if is_one else ""
    finally:
        (tree / file).write_text(original)


def copy(tree, built):
    """The source as it is now, and what is built of it, with all times: nothing is built again."""
    common.call("sh", "-ec", """
        rm -rf "$1"; mkdir -p "$1/build"; ln -s "$PWD/build/kernel" "$1/build"
        git ls-files -z | xargs -0 cp -a --parents -t "$1"; cd "$2"
        cp -a -t "$1/build" host kh musl prog rootfs setup-build setup-run setup-test
    """, "sh", tree, built, cwd=ROOT)


def work(number, order, results, count):
    tree = PRISTINE.with_name(str(number))
    copy(tree, PRISTINE / "build")
    known = re.findall(r"^(?:\S*/)?(\S+?):.*\n- (.*)\n\+ (.*)$",
                       (tree / "tests/mutants/equivalent").read_text(), re.MULTILINE)
    while len(results) < count:
        with LOCK:
            place, (file, number, old, new) = next(order)
        if (test := judge(tree, file, number, new)) == "":
            continue
        change = f"{file}:{number}\n- {old.strip()}\n+ {new.strip()}"
        is_known = (file.name, old.strip(), new.strip()) in known  # wherever its line is now
        verdict = "killed" if test else "equivalent" if is_known else "survived"
        results.append((place, verdict, change))
        common.say(f"{len(results)} {verdict}: {change}\n{test or ''}")


def main():
    parser = common.parser(__doc__)
    parser.add_argument("seed", type=int, metavar="SEED")
    parser.add_argument("count", type=int, metavar="COUNT")
    options = parser.parse_args()
    seed, count = options.seed, options.count
    copy(PRISTINE, ROOT / "build")
    if not make(PRISTINE, "all", "build/host/hyperstart"):
        raise OSError(f"the tree does not build: {PRISTINE}/build/log")
    order, results = enumerate(changes(seed)), []
    workers = [threading.Thread(target=work, args=(number, order, results, count), daemon=True)
               for number in range(os.cpu_count())]
    for step in threading.Thread.start, threading.Thread.join:
        for worker in workers:
            step(worker)
    # All that come before the last one are judged: these are the same each time.
    results = sorted(results)[:count]
    verdicts = Counter(verdict for _, verdict, _ in results)
    print(*(change for _, verdict, change in results if verdict == "survived"), sep="\n\n")
    print(dict(verdicts))
    return 0 if len(results) == count and verdicts["survived"] <= verdicts["killed"] / 9 else 1


if __name__ == "__main__":
    common.run(main)
