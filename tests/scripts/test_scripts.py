# SPDX-License-Identifier: Apache-2.0
"""What make and the scripts promise: the build, `make run`, and the check of the layers."""

import fcntl
import hashlib
import os
import pty
import random
import re
import select
import shutil
import struct
import subprocess
import sys
import termios
import time

import pytest

import check
from mutants import mutants
from rig import pace
from rig.scripts import ROOT

PRODUCT = ROOT / "build/musl/hyperstart"
RUN_SECONDS = 120


# --- The build ------------------------------------------------------------------------------------


def test_the_product_is_static_and_small():
    # musl-gcc -static-pie, for one, asks for a dynamic linker that no initrd has.
    headers = subprocess.run(["readelf", "-lW", PRODUCT], check=True, text=True,
                             capture_output=True).stdout
    assert "INTERP" not in headers
    assert "DYNAMIC" not in headers
    assert PRODUCT.stat().st_size <= 156_000


def test_the_product_and_the_initrd_are_the_same_in_any_directory(tmp_path):
    # Both from one copy of the source, which may be worked on while the tests run.
    names = "build/musl/hyperstart", "build/initrd.cpio"
    directories = tmp_path / "a", tmp_path / "another with a longer name"
    (directories[0] / "build").mkdir(parents=True)
    (directories[0] / "build/kernel").symlink_to(ROOT / "build/kernel")
    shutil.copy2(ROOT / "Makefile", directories[0])
    for part in "include", "scripts", "src":
        shutil.copytree(ROOT / part, directories[0] / part)
    shutil.copytree(*directories, symlinks=True)
    for directory in directories:
        subprocess.run(["make", "-s", *names], cwd=directory, check=True,
                       stdout=subprocess.DEVNULL)
    for name in names:
        first, second = (directory / name for directory in directories)
        assert first.read_bytes() == second.read_bytes(), name


# --- make run -------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def vm_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setenv("HYPERSTART_VM", str(tmp_path))
    for name in "MAKEFLAGS", "ARGS":  # of a `make script-tests ARGS=…`
        monkeypatch.delenv(name, raising=False)


def make_run(stdin=b"", **variables):
    words = [f"{name}={text}" for name, text in variables.items()]
    return subprocess.run(["make", "-s", "run", *words], cwd=ROOT, input=stdin,
                          capture_output=True, timeout=pace.scaled(RUN_SECONDS))


def test_run_prints_the_output_of_a_command_and_fails_with_its_code():
    result = make_run(CMD="echo \"hi $((40 + 2))\"; echo 'no $HOME' >&2; exit 3")
    assert result.stdout == b"hi 42\n"
    assert b"no $HOME\n" in result.stderr
    assert b"Error 3" in result.stderr
    assert result.returncode == 2  # make's own, whatever a recipe failed with


def test_run_hands_stdin_to_the_container_and_ends_it_where_it_ends():
    data = random.Random(2).randbytes(3 << 20)
    result = make_run(stdin=data, CMD="sha256sum; sha256sum >&2")
    assert result.stdout.split()[0] == hashlib.sha256(data).hexdigest().encode()
    assert result.returncode == 0


def test_run_without_a_command_reads_a_script():
    result = make_run(stdin=b"echo one\necho two\n")
    assert (result.stdout, result.returncode) == (b"one\ntwo\n", 0)


def test_run_takes_any_directory_and_says_what_it_lacks(tmp_path):
    (tmp_path / "bin").mkdir()
    result = make_run(ROOTFS=tmp_path, CMD="true")
    assert b"exec 'sh': not found in PATH" in result.stderr
    assert b"Error 127" in result.stderr


class Terminal:
    """A program on a terminal of 30 rows and 100 columns."""

    def __init__(self, *command):
        self.output = b""
        self.master, self.slave = pty.openpty()
        self.resize(30, 100)
        self.modes = termios.tcgetattr(self.slave)
        self.program = subprocess.Popen(
            command, cwd=ROOT, stdin=self.slave, stdout=self.slave, stderr=self.slave,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
        self.ended = os.pidfd_open(self.program.pid)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        """Takes the terminal away, which ends what runs on it."""
        for fd in self.slave, self.master:
            os.close(fd)
        self.wait()
        os.close(self.ended)

    def resize(self, rows, columns):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, text):
        os.write(self.master, text)

    def wait_for(self, text):
        """Reads until the program has written it; what comes later is looked at from there."""
        deadline = time.monotonic() + pace.scaled(RUN_SECONDS)
        while text not in self.output:
            left = max(0, deadline - time.monotonic())
            readable = select.select([self.master, self.ended], [], [], left)[0]
            assert self.master in readable, (text, self.output)
            self.output += os.read(self.master, 4096)
        self.output = self.output.partition(text)[2]

    def wait(self):
        return self.program.wait(pace.scaled(RUN_SECONDS))


def test_run_on_a_terminal_is_a_shell_in_the_container():
    with Terminal("make", "-s", "run") as terminal:
        terminal.wait_for(b"Ctrl-] leaves")
        terminal.type(b"tty; stty size\r")
        terminal.wait_for(b"/dev/pts/0\r\n30 100\r\n")
        terminal.resize(11, 22)
        terminal.type(b"until [ \"$(stty size)\" = '11 22' ]; do :; done\r")
        # The job itself says that it runs: a Ctrl-C before it is born would be the shell's.
        terminal.type(b"sh -c 'echo o\"\"k; exec sleep 99'\r")
        terminal.wait_for(b"ok\r\n")
        terminal.type(b"\x03")  # the container's, not make's
        terminal.type(b"exit 7\r")
        terminal.wait_for(b"Error 7")
        assert terminal.wait() == 2
        assert termios.tcgetattr(terminal.slave) == terminal.modes


def test_leaving_a_run_gives_the_terminal_back_and_ends_the_guest():
    with Terminal("scripts/fake-proxy", "run", "-it", "build/rootfs") as terminal:
        terminal.wait_for(b"# ")
        terminal.type(b"\x1d")
        assert terminal.wait() == 130
        assert termios.tcgetattr(terminal.slave) == terminal.modes


def test_a_terminal_that_goes_away_ends_the_run():
    with Terminal("make", "-s", "run") as terminal:
        terminal.wait_for(b"# ")
    assert terminal.wait() != 0


# --- The check of the layers ----------------------------------------------------------------------

TABLE = """
| folder | file | responsibility |
|---|---|---|
| `src/` | `main` | |
| `src/wire/` | `port`, `mux` | |
| `src/base/` | `loop` `list.h` | |
| `include/` | `limits.h` | |
"""


@pytest.mark.parametrize("file, includes, complaint", [
    ("src/wire/port.c", "base/loop.h", None),
    ("src/main.c", "wire/mux.h", None),
    ("src/wire/port.c", "limits.h", None),
    ("src/base/loop.c", "wire/mux.h", "src/base/loop.c: includes src/wire/mux.h, which stands above it"),
    ("include/limits.h", "base/list.h", "include/limits.h: includes src/base/list.h, which stands above"),
    ("src/wire/stray.c", "limits.h", "src/wire/stray.c: not in the table's rows of src/wire/"),
    ("src/wire/port.c", "stray.h", "src/wire/port.c: includes stray.h, which is not in the table"),
    ("src/wire/mux.h", "wire/port.h", "a cycle: src/wire/mux → src/wire/port → src/wire/mux"),
])
def test_an_include_goes_down_the_table_only(tmp_path, file, includes, complaint):
    for name in ("doc/architecture.md", "include/limits.h", "src/main.c", "src/wire/port.c", "src/wire/port.h", "src/wire/mux.c",
                 "src/wire/mux.h", "src/base/loop.c", "src/base/loop.h", "src/base/list.h"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    (tmp_path / "doc/architecture.md").write_text(TABLE)
    (tmp_path / "src/wire/port.h").write_text('#include "wire/mux.h"\n')
    (tmp_path / file).write_text(f'#include "{includes}"\n')
    result = subprocess.run([ROOT / "scripts/check-layers", tmp_path], text=True,
                            capture_output=True)
    assert (result.returncode == 0) == (complaint is None), result.stderr
    assert (complaint or "") in result.stderr


def test_a_lane_that_takes_too_long_keeps_what_has_been_run(tmp_path, monkeypatch):
    monkeypatch.setattr(check, "ROOT", tmp_path)
    monkeypatch.setattr(check, "LOGS", tmp_path)
    monkeypatch.setattr(check, "SILENT_SECONDS", 20)
    (tmp_path / "conftest.py").symlink_to(ROOT / "tests/scenarios/conftest.py")
    (tmp_path / "test_lane.py").write_text(
        "import time\n\ndef test_fast():\n    pass\n\ndef test_bad():\n    assert False\n\n"
        "def test_slow():\n    time.sleep(1000)\n")
    (tmp_path / "Makefile").write_text(
        f"lane:\n\tPYTHONPATH={ROOT}/tests:{ROOT}/scripts {sys.executable} -m pytest -p no:cacheprovider "
        "--junitxml=lane.xml test_lane.py\n")
    step = check.Scenarios("lane")
    step.run()
    assert step.passed == 1
    assert step.failed == ["test_lane::test_bad", "lane (ended with stopped, as it said nothing for 20 s)"]


def test_two_that_share_a_lane_run_each_module_once(tmp_path):
    (tmp_path / "conftest.py").symlink_to(ROOT / "tests/conftest.py")
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared/test_b").touch()  # the other one is there already
    for name in "abc":
        (tmp_path / f"test_{name}.py").write_text(f"def test_{name}():\n    pass\n")

    def run(*options):
        result = subprocess.run(
            [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-v", *options], cwd=tmp_path, text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT / "tests")}, capture_output=True, check=True)
        return re.findall(r"::test_(.) PASSED", result.stdout)
    assert run("--shared=shared", "--backward") == ["c", "a"]
    assert run("--shared=shared") == []
    assert run() == ["a", "b", "c"]


def test_a_machine_that_was_slow_a_moment_ago_has_more_time(monkeypatch):
    monkeypatch.setattr(pace, "_seen", {"loop": 1.4})
    assert (pace.scaled(10), pace.late(10)) == (10, 10)
    pace.saw("boot", 4 * pace.IDLE["boot"])
    assert (pace.scaled(10), pace.late(10)) == (40, 16)
    for factor in 2, 2, 1:
        pace.saw("boot", pace.IDLE["boot"])
        assert pace.factor() == factor


SOURCE = """\
/* Two
 * lines. */
static const char *text = "/* none */"; /* what it says */

static int zero(void)
{
	return 0 + sizeof("1 < 2"); // 3 < 4
}

void longer(void)
{
	/* Calls. */
	zero();

	zero();
}
"""


def tree_with(tmp_path, *scripts):
    for directory in "scripts", "include", "src/low", "build/musl":
        (tmp_path / directory).mkdir(parents=True)
    for name in "common.py", *scripts:
        shutil.copy(ROOT / "scripts" / name, tmp_path / "scripts")
    (tmp_path / "src/low/file.c").write_text(SOURCE)


def test_size_counts_code_comments_and_functions_by_folder(tmp_path):
    tree_with(tmp_path, "size")
    (tmp_path / "include/file.h").write_text("int zero(void);\n")
    (tmp_path / "Makefile").write_text("all:\n")
    (tmp_path / "build/musl/hyperstart").write_bytes(bytes(1234))
    printed = subprocess.run([tmp_path / "scripts/size"], check=True, text=True, capture_output=True)
    rows = [line.split() for line in printed.stdout.splitlines()]
    # files, lines, code, comments, functions, the median of their bodies, the longest
    assert ["src/low", "1", "16", "10", "3", "2", "2", "4"] in rows
    assert ["include", "1", "1", "1", "0", "0", "0", "0"] in rows
    assert ["all", "2", "17", "11", "3", "2", "2", "4"] in rows
    assert "Makefile: 1 lines" in printed.stdout
    assert "binary: 1,234 bytes; RSS at READY: unknown" in printed.stdout


def test_a_mutant_is_one_change_of_a_statement_and_a_seed_always_has_the_same(tmp_path, monkeypatch):
    tree_with(tmp_path)
    monkeypatch.setattr(mutants, "ROOT", tmp_path)
    changes = list(mutants.changes(7))
    assert changes == list(mutants.changes(7))
    at = [(number, new.strip()) for _, number, _, new in changes]
    assert sorted(at) == [
        (7, 'return 0 - sizeof("1 < 2"); // 3 < 4'), (7, 'return 1 + sizeof("1 < 2"); // 3 < 4'),
        (13, ";"), (15, ";")]
