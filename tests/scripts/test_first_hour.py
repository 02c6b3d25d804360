# SPDX-License-Identifier: Apache-2.0
"""What a new user meets: errors that say what to do, and programs that were started with nothing
open."""

import os
import pathlib
import re
import shutil
import signal
import subprocess

import pytest

from rig.scripts import ROOT

SECONDS = 120
SCRIPTS = ROOT / "scripts"


def run(*command, **options):
    return subprocess.run(list(map(str, command)), stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, timeout=SECONDS, **options)


# --- Nothing open ---------------------------------------------------------------------------------

# As a shell does it, and a shell that has it there.
CLOSED = ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"]
NULL = ["</dev/null", ">/dev/null", "2>/dev/null", "</dev/null >/dev/null 2>/dev/null"]


@pytest.fixture(scope="module")
def web(tmp_path_factory):
    """An environment with a VM that has a container named web."""
    directory = tmp_path_factory.mktemp("vm")
    environment = os.environ | {"HYPERSTART_VM": str(directory)}
    started = run(SCRIPTS / "fake-proxy", "run", "-d", "--name", "web", ROOT / "build/rootfs",
                  "sleep", "100000", env=environment)
    assert (started.returncode, started.stderr) == (0, "")
    yield environment
    run(SCRIPTS / "fake-proxy", "stop", env=environment)


@pytest.mark.parametrize("closed, null", zip(CLOSED, NULL))
@pytest.mark.parametrize("words", [
    "exec -i web cat", "exec web sh -c 'echo out; echo err >&2; exit 7'", "exec nobody true",
    "exec -t web sh", f"run -i {ROOT}/build/rootfs wc -c", "run -d --rm /usr", "ps", "ps web",
    "kill -s CONT web", "kill nobody", "cp /etc/hostname web:/dev/shm/", "cp web:/etc/passwd copy",
    "stats nobody", "console web", "completion -- s", "stop --vm /no/such", "session --as nobody",
    "--help",
])
def test_what_is_closed_is_as_dev_null(web, tmp_path, words, closed, null):
    def outcome(redirections):
        done = subprocess.run(f"{SCRIPTS}/fake-proxy {words} {redirections}", shell=True, env=web,
                              cwd=tmp_path, capture_output=True, text=True, stdin=subprocess.DEVNULL,
                              timeout=SECONDS)
        # Columns that differ from one moment to the next.
        return done.returncode, re.sub(r"\d+(:\d+)*", "N", done.stdout), done.stderr
    assert outcome(closed) == outcome(null)


def test_a_session_and_a_stop_need_nothing_open(tmp_path):
    for words in ("session --as runv", "run -d --name web", "stop"):
        subprocess.run(f"{SCRIPTS}/fake-proxy {words} <&- >&- 2>&-", shell=True, check=True, cwd=ROOT,
                       env=os.environ | {"HYPERSTART_VM": str(tmp_path)}, timeout=SECONDS)


def test_a_guest_of_run_qemus_needs_nothing_open(tmp_path):
    # The kernel has no init: it panics, which is a failure.
    done = subprocess.run(f"{SCRIPTS}/run-qemu --append 'rdinit=/no/such root=/no/such' "
                          f"--dir {tmp_path} <&- >&- 2>&-", shell=True, timeout=SECONDS)
    assert done.returncode == 1
    assert "Kernel panic" in (tmp_path / "console.log").read_text()


# --- A start that fails ---------------------------------------------------------------------------


@pytest.fixture
def tree(tmp_path):
    """The scripts in a tree of their own, with a build directory where nothing was built but the
    root, and an environment."""
    tree = tmp_path / "tree"
    shutil.copytree(SCRIPTS, tree / "scripts")
    shutil.copy(ROOT / "Makefile", tree)
    (tree / "build").mkdir()
    (tree / "build/rootfs").symlink_to(ROOT / "build/rootfs")
    return tree, os.environ | {"HYPERSTART_VM": str(tmp_path / "vm")}


def make_files(tree, *names):
    for name in names:
        (tree / name).parent.mkdir(exist_ok=True)
        (tree / name).write_text("not what it should be")


STARTS = [["fake-proxy", "run"], ["fake-proxy", "session", "--as", "runv"], ["run-qemu"]]


@pytest.mark.parametrize("start", STARTS, ids=" ".join)
@pytest.mark.parametrize("there, arguments, complaint", [
    ([], [], r"there is no \S+/build/kernel/vmlinux: `make build/kernel/vmlinux` makes it"),
    (["build/kernel/vmlinux"], [],
     r"there is no \S+/build/initrd.cpio: `make build/initrd.cpio` makes it"),
    (["build/kernel/vmlinux", "build/initrd.cpio"], ["--accel", "tcg"], r"QEMU failed: .*kernel.*"),
])
def test_a_start_says_what_is_missing(tree, start, there, arguments, complaint):
    tree, environment = tree
    make_files(tree, *there)
    done = run(tree / "scripts" / start[0], *start[1:], *arguments, env=environment)
    said = done.stdout if start == ["run-qemu"] and arguments else done.stderr
    assert done.returncode in (1, 125)
    assert re.fullmatch(f"{start[0]}: {complaint}", said.strip().splitlines()[-1])


@pytest.mark.parametrize("start", STARTS, ids=" ".join)
def test_a_start_without_qemu_names_the_package(tree, start):
    tree, environment = tree
    done = run(tree / "scripts" / start[0], *start[1:], env=environment | {"PATH": "/nowhere"})
    assert done.returncode == (1 if start == ["run-qemu"] else 125)
    assert done.stderr == f"{start[0]}: qemu-system-x86_64 is not installed; as root: " \
        "apt-get install qemu-system-x86\n"


@pytest.mark.parametrize("option", ["--kernel", "--initrd"])
def test_a_file_that_an_option_names_is_named(option):
    done = run(SCRIPTS / "fake-proxy", "run", option, "/no/such")
    assert done.returncode == 125
    assert done.stderr.endswith(f"\nfake-proxy: argument {option}: /no/such: no such file\n")


def child_of(pid):
    return int(pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[-1])


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM])
def test_a_qemu_that_was_killed_is_said_to_be(tmp_path, number):
    environment = os.environ | {"HYPERSTART_VM": str(tmp_path)}
    with subprocess.Popen([SCRIPTS / "fake-proxy", "run", ROOT / "build/rootfs", "sh", "-c",
                           "echo in; sleep 1000"], env=environment, text=True,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE) as client:
        assert client.stdout.readline() == "in\n"
        os.kill(child_of(child_of(client.pid)), number)  # its holder's
        assert client.wait(SECONDS) == 125
        assert client.stderr.read() == f"fake-proxy: QEMU was killed by {number.name}\n"


# --- Words that are wrong -------------------------------------------------------------------------


@pytest.mark.parametrize("words, complaint", [
    (["run", "-p", "80:80", "/usr", "true"], "no such option: -p"),
    (["run", "-itp", "80:80", "/usr", "true"], "no such option: -p"),
    (["exec", "--rm"], "no such option: --rm"),
    (["kill", "-9", "web"], "no such option: -9"),
    (["exec", "web"], "which command?"),
])
def test_words_that_are_wrong_are_named_beside_the_usage(words, complaint):
    done = run(SCRIPTS / "fake-proxy", *words)
    assert (done.returncode, done.stdout) == (125, "")
    assert done.stderr.startswith(f"usage: fake-proxy {words[0]} ")
    assert done.stderr.endswith(f"\nfake-proxy: {complaint}\n")
