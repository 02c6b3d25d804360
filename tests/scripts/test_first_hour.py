# SPDX-License-Identifier: Apache-2.0
"""What a new user meets: help that does nothing else, errors that say what to do, programs that were
started with nothing open, and downloads that were cut off."""

import contextlib
import os
import pathlib
import re
import shutil
import signal
import subprocess
import time

import pytest

from rig import pace
from rig.scripts import ROOT

SECONDS = 120
SCRIPTS = ROOT / "scripts"
EXECUTABLES = sorted(str(path.relative_to(ROOT)) for part in ("scripts", "tests")
                     for path in (ROOT / part).rglob("*")
                     if os.access(path, os.X_OK) and path.is_file() and path.suffix in ("", ".py"))
CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache",
                     "hyperstart")


def run(*command, **options):
    return subprocess.run(list(map(str, command)), stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, timeout=pace.scaled(SECONDS), **options)


def fake_programs(directory, **programs):
    """An environment in which these come first: name -> what sh does for it."""
    directory.mkdir(exist_ok=True)
    for name, script in programs.items():
        program = directory / name.replace("_", "-")
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
    return os.environ | {"PATH": f"{directory}:{os.environ['PATH']}"}


# --- Help -----------------------------------------------------------------------------------------


def listing(directory):
    return {path: path.lstat().st_mtime_ns for path in directory.rglob("*")}


@pytest.mark.parametrize("flag", ["-h", "--help"])
@pytest.mark.parametrize("name", EXECUTABLES)
def test_help_is_printed_and_nothing_else_done(tmp_path, name, flag):
    tree, work, programs = (tmp_path / part for part in ("tree", "work", "programs"))
    for part in "scripts", "tests", "include":
        shutil.copytree(ROOT / part, tree / part, symlinks=True,
                        ignore=shutil.ignore_patterns("__pycache__", "corpus", "golden"))
    work.mkdir()
    used = tmp_path / "used"
    environment = fake_programs(programs, **dict.fromkeys(
        ("apt_get", "apt_cache", "curl", "debootstrap", "dpkg", "dpkg_query", "make",
         "qemu_system_x86_64"), f"echo $0 $* >>{used}"))
    environment |= {"XDG_CACHE_HOME": str(work / "cache"), "HYPERSTART_VM": str(work / "vm")}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    before = listing(tmp_path)
    done = run(tree / name, flag, cwd=work, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.match(r"usage: |[A-Z].*: scripts/", done.stdout)
    assert listing(tmp_path) == before


@pytest.mark.parametrize("name", EXECUTABLES)
def test_an_option_that_there_is_not_is_named(tmp_path, name):
    done = run(ROOT / name, "--nosuch", cwd=tmp_path)
    assert done.returncode == (125 if name == "scripts/fake-proxy" else 2)
    assert re.search(f"^{pathlib.Path(name).stem}: (no such option: |no group ')--nosuch", done.stderr, re.MULTILINE)
    assert not list(tmp_path.iterdir())


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
                              timeout=pace.scaled(SECONDS))
        # Columns that differ from one moment to the next.
        return done.returncode, re.sub(r"\d+(:\d+)*", "N", done.stdout), done.stderr
    assert outcome(closed) == outcome(null)


def test_a_session_and_a_stop_need_nothing_open(tmp_path):
    for words in ("session --as runv", "run -d --name web", "stop"):
        subprocess.run(f"{SCRIPTS}/fake-proxy {words} <&- >&- 2>&-", shell=True, check=True, cwd=ROOT,
                       env=os.environ | {"HYPERSTART_VM": str(tmp_path)}, timeout=pace.scaled(SECONDS))


def test_a_guest_of_run_qemus_needs_nothing_open(tmp_path):
    # The kernel has no init: it panics, which is a failure.
    done = subprocess.run(f"{SCRIPTS}/run-qemu --append 'rdinit=/no/such root=/no/such' "
                          f"--dir {tmp_path} <&- >&- 2>&-", shell=True, timeout=pace.scaled(SECONDS))
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
        assert client.wait(pace.scaled(SECONDS)) == 125
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


# --- What was cut off -----------------------------------------------------------------------------

HANG = "echo $$ >{reached}.new; mv {reached}.new {reached}; exec sleep 100000"
# For a kernel of Debian's source: what each program leaves in the tree.
SOURCE = {
    "dpkg": 'case $1 in -x) mkdir -p "$3" ;; *) exec /usr/bin/dpkg "$@" ;; esac',
    "tar": 'mkdir "$4/linux-source-6.1"',
    "make": 'case $* in *allnoconfig) cp {scripts}/kernel.config "$3/.config" ;; '
            '*) {hang}; echo kernel >"$3/vmlinux" ;; esac',
    "strip": "",
}
UNPACKING = {"dpkg": 'case $1 in -x) {hang} ;; esac; exec /usr/bin/dpkg "$@"'}
# Each: further words, and where it hangs.
CUT_OFF = {
    "get-kernel": ([], UNPACKING),
    "get-iptables": ([], UNPACKING),
    "get-sysroot": (["aarch64"], UNPACKING),
    "get-debian": ([], {"debootstrap": "mkdir -p \"$4/var\"; {hang}",
                        "mkfs_ext4": ""}),
    "get-iptables download": ([], {"apt_get": """for package; do :; done
case $* in
*--print-uris*) echo "'http://x/' $(basename {cache}/${package}_*) 1 SHA256:0" ;;
*) echo half >half; {hang}; cp {cache}/${package}_* .; esac"""}),
    "build-rootfs": ([], {"busybox": '{hang}; exec /usr/bin/busybox "$@"'}),
    "build-kernel": ([], SOURCE),
}


def is_of_apt(path):
    return path.suffix == ".deb" or path.name.startswith("apt-")


@pytest.fixture
def cut_off(tmp_path):
    """A directory to work in, with a cache that has all packages but nothing that was made."""
    cache = tmp_path / "cache/hyperstart"
    cache.mkdir(parents=True)
    if not list(CACHE.glob("iptables_*")):  # "download" plays apt with it
        subprocess.run([SCRIPTS / "get-iptables", tmp_path / "iptables"], check=True)
    for path in CACHE.iterdir():
        if is_of_apt(path):
            (cache / path.name).symlink_to(path)
    return tmp_path


def start(name, directory, hang):
    words, programs = CUT_OFF[name]
    reached = directory / "reached"
    hang = HANG.format(reached=reached) if hang else ":"
    environment = fake_programs(directory / "programs", **{
        program: script.replace("{hang}", hang).replace("{scripts}", str(SCRIPTS))
        .replace("{cache}", str(CACHE))
        for program, script in programs.items()})
    (directory / "work").mkdir(exist_ok=True)
    return subprocess.Popen([SCRIPTS / name.split()[0], directory / "work/target", *words],
                            start_new_session=True,
                            # What runs in the background may have it ignored.
                            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
                            env=environment | {"XDG_CACHE_HOME": str(directory / "cache")},
                            cwd=directory / "work", stdin=subprocess.DEVNULL,
                            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def made(directory):
    """What is there, but for the packages: the cache may not have had them all."""
    return sorted(path.name for part in ("work", "cache/hyperstart")
                  for path in (directory / part).iterdir() if part == "work" or not is_of_apt(path))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("name", CUT_OFF)
def test_what_was_cut_off_leaves_nothing_behind(cut_off, name, number):
    if "download" in name:
        for package in (cut_off / "cache/hyperstart").glob("iptables_*"):
            package.unlink()
    with start(name, cut_off, hang=True) as program:
        deadline = time.monotonic() + pace.scaled(SECONDS)
        while not (cut_off / "reached").exists():
            assert program.poll() is None, program.stderr.read()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        os.kill(program.pid, number)
        try:
            program.wait(pace.scaled(SECONDS))
        finally:
            program.kill()
        program.stderr.close()
        # What it had started has ended with it.
        hung = pathlib.Path("/proc", (cut_off / "reached").read_text().strip(), "stat")
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            while hung.read_text().split()[2] != "Z":
                assert time.monotonic() < deadline
                time.sleep(0.01)
        if number == signal.SIGKILL:
            assert any(left.startswith(".hyperstart-new-") for left in made(cut_off))
        else:
            assert program.returncode == 128 + number
            assert made(cut_off) == []
    with start(name, cut_off, hang=False) as program:
        said = program.stderr.read()
        assert program.wait(pace.scaled(SECONDS)) == 0, said
    assert not any(left.startswith(".") for left in made(cut_off))
    assert (cut_off / "work/target").exists()
