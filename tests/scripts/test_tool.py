# SPDX-License-Identifier: Apache-2.0
"""fake-proxy as a tool: what its commands do in a VM, and how it behaves in a real terminal."""

import hashlib
import json
import os
import pathlib
import random
import select
import shutil
import signal
import subprocess
import tarfile
import tempfile
import time

import pytest

from rig import pace

ROOT = pathlib.Path(__file__).resolve().parents[2]
TOOL = ROOT / "scripts/fake-proxy"
SECONDS = 60
LARGE = 100 << 20


class Machine:
    """A directory for a VM, and fake-proxy with it. Two images are below what the VM sees: a copy of
    busybox's, and one that holds nothing but a single program."""

    def __init__(self):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="hyperstart-"))
        self.images = self.directory / "images"
        self.box = self.images / "box"
        shutil.copytree(ROOT / "build/rootfs", self.box, symlinks=True)
        self.bare = self.images / "bare"
        self.bare.mkdir()
        shutil.copy(self.box / "bin/busybox", self.bare / "sleep")
        self.environment = os.environ | {"HYPERSTART_VM": str(self.directory / "vm"),
                                         "PYTHONDONTWRITEBYTECODE": "1", "TERM": "screen"}

    def start(self, *words, **options):
        return subprocess.Popen([TOOL, *map(str, words)], env=self.environment, cwd=ROOT,
                                start_new_session=True, **options)

    def tool(self, *words, stdin=b""):
        """(exit code, stdout, stderr)"""
        done = subprocess.run([TOOL, *map(str, words)], env=self.environment, cwd=ROOT, input=stdin,
                              capture_output=True, timeout=pace.scaled(SECONDS))
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    def sh(self, script):
        code, out, err = self.tool("exec", "box", "sh", "-c", script)
        assert (code, err) == (0, "")
        return out

    def close(self):
        self.tool("stop")
        shutil.rmtree(self.directory)


def child_of(pid):
    """The one that was started last."""
    return int(pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[-1])


@pytest.fixture(scope="module")
def machine():
    """With a container named box."""
    machine = Machine()
    started = machine.tool("run", "-d", "--name", "box", "--share", machine.images, machine.box,
                           "sleep", "100000")
    assert started == (0, "box\n", "")
    yield machine
    machine.close()


@pytest.fixture
def empty_machine():
    machine = Machine()
    yield machine
    machine.close()


class Tmux:
    """bash in a terminal of tmux. What it shows is looked at again whenever there is output: a
    client in control mode tells."""

    def __init__(self, machine):
        self.machine = machine
        self.socket = str(machine.directory / f"tmux-{random.getrandbits(32)}")
        self.tmux("-f/dev/null", "new-session", "-d", "-x100", "-y30", "bash --norc --noprofile")
        self.tmux("set", "-g", "window-size", "manual")
        self.events = subprocess.Popen(["tmux", "-S", self.socket, "-C", "attach"],
                                       stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                       stderr=subprocess.DEVNULL)
        self.pid = int(self.tmux("display", "-p", "#{pane_pid}"))
        self.run("PS1='ready> '; PATH=scripts:$PATH; clear")
        self.await_line("ready>")

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.tmux("kill-server")
        self.events.kill()
        self.events.stdin.close()
        self.events.stdout.close()
        self.events.wait()

    def tmux(self, *words):
        return subprocess.run(["tmux", "-S", self.socket, *words], env=self.machine.environment,
                              cwd=ROOT, check=True, capture_output=True, text=True).stdout

    def type(self, text):
        self.tmux("send-keys", "-l", "--", text)

    def keys(self, *keys):
        self.tmux("send-keys", *keys)

    def run(self, line):
        self.type(line)
        self.keys("Enter")

    def screen(self):
        return [line.rstrip() for line in self.tmux("capture-pane", "-p").split("\n")]

    def wait_until(self, condition):
        deadline = time.monotonic() + pace.scaled(SECONDS)
        while not condition():
            left = max(0, deadline - time.monotonic())
            shown = "\n".join(self.screen())
            assert select.select([self.events.stdout], [], [], left)[0], shown
            assert os.read(self.events.stdout.fileno(), 65536), shown

    def await_line(self, line, last=True):
        """On the screen, as the last one that is not empty."""
        def is_there():
            lines = list(filter(None, self.screen()))
            return lines and (lines[-1] == line if last else line in lines)
        self.wait_until(is_there)

    def modes(self):
        return subprocess.run(["stty", "-a", "-F", self.tmux("display", "-p", "#{pane_tty}").strip()],
                              check=True, capture_output=True, text=True).stdout.partition("\n")[2]

    def expect_to_be_back(self, modes, code):
        """bash, the terminal as it was before, and this exit code of the tool's."""
        self.wait_until(lambda: self.screen()[-1:] == [""] and
                        list(filter(None, self.screen()))[-1:] == ["ready>"])
        self.run("code=$?; clear; echo code=$code")
        self.await_line(f"code={code}", last=False)
        self.await_line("ready>")
        assert self.modes() == modes


# --- In a real terminal ---------------------------------------------------------------------------


def enter_box(terminal):
    terminal.run("fake-proxy exec -it box sh")
    terminal.await_line("/ #")


def test_vi_in_a_shell_follows_the_window(machine):
    with Tmux(machine) as terminal:
        modes = terminal.modes()
        enter_box(terminal)
        terminal.run("vi /etc/passwd")
        terminal.wait_until(lambda: "- /etc/passwd" in terminal.screen()[29])
        terminal.tmux("resize-window", "-x120", "-y40")
        terminal.wait_until(lambda: "- /etc/passwd" in terminal.screen()[39])
        terminal.run(":q")
        terminal.await_line("/ #")
        terminal.run("clear; stty size")
        terminal.await_line("40 120", last=False)
        terminal.await_line("/ #")  # which then reads it: before, it is no end of file
        terminal.keys("C-d")
        terminal.expect_to_be_back(modes, 0)


# What it says it says as the terminal's foreground job: the shell itself heeds no Ctrl-Z.
FOREGROUND = "clear; sh -c 'echo run\"\"ning; exec sleep 1000'"


def test_control_keys_are_the_containers(machine):
    with Tmux(machine) as terminal:
        modes = terminal.modes()
        enter_box(terminal)
        terminal.run(FOREGROUND)
        terminal.await_line("running")
        terminal.keys("C-c")
        terminal.await_line("/ #")
        terminal.run("code=$?; clear; echo code=$code")
        terminal.await_line("code=130", last=False)
        terminal.run("clear; top")
        terminal.wait_until(lambda: any("Load average" in line for line in terminal.screen()))
        terminal.keys("C-c")  # which top reads by itself
        terminal.await_line("/ #")
        terminal.run(FOREGROUND)
        terminal.await_line("running")
        terminal.keys("C-z")
        terminal.await_line("/ #")
        terminal.run("clear; jobs")
        terminal.wait_until(lambda: any("Stopped" in line for line in terminal.screen()))
        terminal.run("kill -KILL %1; wait; clear; echo co''de")
        terminal.await_line("code", last=False)
        terminal.await_line("/ #")  # which then reads it: before, it is no end of file
        terminal.keys("C-d")
        terminal.expect_to_be_back(modes, 0)


def test_two_terminals_are_on_one_container(machine):
    with Tmux(machine) as one, Tmux(machine) as other:
        for terminal in one, other:
            enter_box(terminal)
        one.run("clear; until [ -e /tmp/between ]; do sleep 0.1; done; cat /tmp/between")
        other.run("clear; echo from the other >/tmp/new; mv /tmp/new /tmp/between; tty")
        one.await_line("from the other", last=False)
        machine.sh("rm /tmp/between")
        one.run("exit 3")
        other.run("exit 4")
        one.await_line("ready>")
        other.await_line("ready>")


@pytest.mark.parametrize("number, code", [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_for_the_tool_gives_the_terminal_back(machine, number, code):
    with Tmux(machine) as terminal:
        modes = terminal.modes()
        enter_box(terminal)
        # A shell at its prompt asks the terminal where the cursor is: bash would get the answer.
        terminal.run(FOREGROUND)
        terminal.await_line("running")
        os.kill(child_of(terminal.pid), number)
        terminal.expect_to_be_back(modes, code)


def test_a_tool_that_was_stopped_is_raw_again(machine):
    with Tmux(machine) as terminal:
        modes = terminal.modes()
        enter_box(terminal)
        # A shell at its prompt asks the terminal where the cursor is: bash would get the answer.
        terminal.run(FOREGROUND)
        terminal.await_line("running")
        os.kill(child_of(terminal.pid), signal.SIGSTOP)
        terminal.await_line("ready>")
        terminal.run("clear; fg")
        terminal.await_line("fake-proxy exec -it box sh", last=False)
        terminal.keys("C-c")  # would end the tool if it were not
        terminal.await_line("/ #")
        terminal.run("exit 5")
        terminal.expect_to_be_back(modes, 5)


@pytest.mark.parametrize("victim, complaint", [
    ("qemu", "fake-proxy: QEMU was killed by SIGKILL"),
    ("holder", "fake-proxy: the VM is gone"),
])
def test_the_vm_killed_under_it_gives_the_terminal_back(empty_machine, victim, complaint):
    with Tmux(empty_machine) as terminal:
        modes = terminal.modes()
        terminal.run(f"fake-proxy run -it --rm {empty_machine.box} sh")
        terminal.wait_until(lambda: any("the guest boots" in line for line in terminal.screen()))
        terminal.await_line("/ #")
        terminal.run("vi /etc/passwd")
        terminal.wait_until(lambda: "- /etc/passwd" in terminal.screen()[29])
        assert terminal.tmux("display", "-p", "#{alternate_on}") == "1\n"
        holder = child_of(child_of(terminal.pid))
        os.kill(child_of(holder) if victim == "qemu" else holder, signal.SIGKILL)
        terminal.wait_until(lambda: complaint in terminal.screen())
        terminal.expect_to_be_back(modes, 125)
        assert terminal.tmux("display", "-p", "#{alternate_on} #{cursor_flag}") == "0 1\n"


def test_tab_completes_commands_options_and_containers(machine):
    with Tmux(machine) as terminal:
        terminal.run("source <(fake-proxy completion); clear")
        terminal.await_line("ready>")
        terminal.type("fake-proxy ex")
        terminal.keys("Tab")
        terminal.await_line("ready> fake-proxy exec")
        terminal.type("--det")
        terminal.keys("Tab")
        terminal.await_line("ready> fake-proxy exec --detach")
        terminal.type("b")
        terminal.keys("Tab")
        terminal.await_line("ready> fake-proxy exec --detach box")


# --- Commands -------------------------------------------------------------------------------------


@pytest.mark.parametrize("words, code, complaint", [
    (["sh", "-c", "exit 7"], 7, ""),
    (["sh", "-c", "kill -KILL $$"], 137, ""),
    (["nosuch"], 127, "exec 'nosuch': not found in PATH"),
    (["/etc/nosuch"], 127, "exec '/etc/nosuch': "),
    (["/etc"], 126, "exec '/etc': permission denied"),
    (["/etc/passwd"], 126, "exec '/etc/passwd': permission denied"),
])
def test_the_exit_code_is_the_commands_or_tells_why_there_is_none(machine, words, code, complaint):
    result = machine.tool("exec", "box", *words)
    assert (result[0], result[1]) == (code, "")
    assert complaint in result[2]
    assert machine.tool("run", machine.box, *words)[0] == code


@pytest.mark.parametrize("words, complaint", [
    ([], "usage: "),
    (["fly"], "invalid choice: 'fly'"),
    (["run", "--memory", "much"], "invalid int value"),
    (["run", "/no/such"], "/no/such: no such directory"),
    (["run", "--name", "../x", "/"], "letters, digits"),
    (["exec", "-t", "box", "sh"], "not a terminal"),
    (["exec", "nobody", "sh"], "no such container 'nobody'"),
    (["run", "/usr", "sh"], "which is what this VM has"),
    (["run", "--name", "box"], "there is a container 'box' already"),
    (["run", "--memory", "100"], "runs already"),
    (["kill", "-s", "FOO", "box"], "no such signal: FOO"),
    (["kill", "nobody"], "no such container 'nobody'"),
    (["ps", "nobody"], "no such container 'nobody'"),
    (["cp", "/etc/passwd", "/tmp/x"], "one of the two paths"),
    (["cp", "/no/such", "box:/tmp"], "No such file"),
    (["stats", "nobody"], "no such container 'nobody'"),
    (["--vm", "/tmp"], "usage: "),
    (["ps", "--vm", "/no/such"], "no VM runs in /no/such"),
])
def test_trouble_of_the_tools_own_is_125(machine, words, complaint):
    code, out, err = machine.tool(*words)
    assert (code, out) == (125, "")
    assert complaint in err
    assert "Traceback" not in err


def test_json_is_for_programs(machine):
    box, = json.loads(machine.tool("ps", "--json")[1])
    assert (box["name"], box["state"], box["exit_code"]) == ("box", "running", None)
    used, = json.loads(machine.tool("stats", "--json", "box")[1])
    assert used["processes"] == used["threads"] == 1
    assert used["rss_bytes"] > 0 and used["cpu_seconds"] > 0
    assert len(json.loads(machine.tool("ps", "--json", "box")[1])) == 1
    code, _, err = machine.tool("kill", "--json", "nobody")
    assert code == json.loads(err)["code"] == 125


def test_a_busy_container_shows_in_stats(machine):
    with machine.start("exec", "box", "sh", "-c", "while :; do :; done") as busy:
        used, = json.loads(machine.tool("stats", "--json")[1])
        busy.send_signal(signal.SIGTERM)
        assert busy.wait(pace.scaled(SECONDS)) == 143
    assert used["cpu_percent"] > 20


def test_a_detached_container_is_listed_until_its_name_is_used_again(machine):
    for code in 3, 4:
        script = f"echo out; echo err >&2; exec sleep 1000; exit {code}"
        assert machine.tool("run", "-d", "--name", "once", machine.box, "sh", "-c", script)[0] == 0
        with machine.start("exec", "once", "sh", "-c", "echo in; exec sleep 1000",
                           stdout=subprocess.PIPE) as inside:
            assert inside.stdout.readline() == b"in\n"
            assert machine.tool("kill", "-s", "SIGTERM", "once") == (0, "", "")
            assert inside.wait(pace.scaled(SECONDS)) == 137
        once, = (row for row in json.loads(machine.tool("ps", "--json")[1]) if row["name"] == "once")
        assert (once["state"], once["exit_code"]) == ("exited", 143)
        assert sorted(machine.tool("console", "once")[1].split()) == ["err", "out"]
    machine.tool("run", "--name", "once", machine.box, "true")
    assert "once" not in machine.tool("ps")[1]


def test_environment_user_and_directory_are_options(machine):
    out = machine.tool("exec", "-e", "A=1 2", "-u", "daemon", "-w", "/etc", "box", "sh", "-c",
                       'echo "$A $(id -u) $PWD"')
    assert out == (0, "1 2 1 /etc\n", "")


def test_stdin_is_the_processs_with_i_only(machine):
    assert machine.tool("exec", "-i", "box", "cat", stdin=b"hello")[1] == "hello"
    assert machine.tool("exec", "box", "cat", stdin=b"hello")[1] == ""


def test_ctrl_c_reaches_a_process_that_does_not_read_its_stdin(machine):
    with machine.start("exec", "-i", "box", "sh", "-c", "echo there; exec sleep 1000",
                       stdin=subprocess.PIPE, stdout=subprocess.PIPE) as stuck:
        assert stuck.stdout.readline() == b"there\n"
        os.set_blocking(stuck.stdin.fileno(), False)
        while select.select([], [stuck.stdin], [], 0.5)[1]:
            os.write(stuck.stdin.fileno(), bytes(4096))
        stuck.send_signal(signal.SIGINT)
        assert stuck.wait(pace.scaled(SECONDS)) == 130
    assert machine.sh("echo fine") == "fine\n"


def test_a_client_that_does_not_read_is_waited_for_by_itself(machine):
    with machine.start("exec", "box", "sh", "-c", "head -c 4000000 /dev/zero",
                       stdout=subprocess.PIPE) as slow:
        assert slow.stdout.read(1) == b"\0"
        assert machine.sh("echo fine") == "fine\n"
        assert len(slow.stdout.read()) == 3_999_999
    assert slow.returncode == 0


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGHUP])
def test_what_a_client_had_started_ends_with_it(machine, number):
    with machine.start("exec", "-i", "box", "sh", "-c", "echo in; exec sleep 1234",
                       stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process, \
            machine.start("run", "--name", "short", machine.box, "sh", "-c",
                          "trap '' HUP; echo in; while :; do sleep 1; done",
                          stdout=subprocess.PIPE) as container:
        for client in process, container:
            assert client.stdout.readline() == b"in\n"
        for client in process, container:
            client.send_signal(number)
            client.wait(pace.scaled(SECONDS))
    machine.sh("while ps | grep -q '[s]leep 1234'; do :; done")
    deadline = time.monotonic() + pace.scaled(SECONDS)
    while "short" in machine.tool("ps")[1]:
        assert time.monotonic() < deadline


def test_a_vm_ends_with_its_last_container_and_waits_for_others(empty_machine):
    first = empty_machine.start("run", "-i", "--name", "box", empty_machine.box, "sh", "-c",
                                "echo in; cat", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with first:
        assert first.stdout.readline() == b"in\n"
        assert empty_machine.sh("echo beside") == "beside\n"
        assert empty_machine.tool("run", empty_machine.box, "echo", "second")[1] == "second\n"
        first.stdin.close()
        assert first.wait(pace.scaled(SECONDS)) == 0
    assert empty_machine.tool("ps")[0] == 125


def test_stop_ends_everything(empty_machine):
    with empty_machine.start("run", empty_machine.box, "sh", "-c", "echo in; exec sleep 1000",
                             stdout=subprocess.PIPE) as client:
        assert client.stdout.readline() == b"in\n"
        assert empty_machine.tool("stop") == (0, "", "")
        assert client.wait(pace.scaled(SECONDS)) == 143
    assert empty_machine.tool("stop")[0] == 125


def test_leaving_while_the_guest_boots_ends_it(empty_machine):
    with empty_machine.start("run", empty_machine.box, "true") as client:
        socket = empty_machine.directory / "vm/proxy.sock"
        while not socket.exists():
            time.sleep(0.01)
        client.send_signal(signal.SIGINT)
        assert client.wait(pace.scaled(SECONDS)) == 130
    assert empty_machine.tool("ps")[0] == 125


def test_a_guest_that_does_not_boot_shows_its_console(empty_machine):
    code, out, err = empty_machine.tool("run", "--append", "rdinit=/no/such root=/no/such",
                                        empty_machine.box, "true")
    assert (code, out) == (125, "")
    assert "Kernel panic" in err
    assert "to try:" in err


# --- cp -------------------------------------------------------------------------------------------


def test_100_mb_are_copied_both_ways(machine, tmp_path):
    data = random.Random(1).randbytes(LARGE)
    (tmp_path / "large").write_bytes(data)
    assert machine.tool("cp", tmp_path / "large", "box:/tmp/large") == (0, "", "")
    digest = hashlib.sha256(data).hexdigest()
    assert hashlib.sha256((machine.box / "tmp/large").read_bytes()).hexdigest() == digest
    assert machine.tool("cp", "box:/tmp/large", tmp_path / "back") == (0, "", "")
    assert hashlib.sha256((tmp_path / "back").read_bytes()).hexdigest() == digest
    machine.sh("rm /tmp/large")


def test_a_file_goes_into_a_directory_or_becomes_the_name(machine, tmp_path):
    source = tmp_path / "a $file"
    source.write_bytes(b"data")
    source.chmod(0o640)
    for target, found in ("/tmp", "/tmp/a $file"), ("/tmp/named", "/tmp/named"):
        assert machine.tool("cp", source, f"box:{target}") == (0, "", "")
        assert machine.sh(f"stat -c '%a %s' '{found}'; rm '{found}'") == "640 4\n"
    (tmp_path / "out").mkdir()
    for target, found in ("out", "out/passwd"), ("named", "named"):
        assert machine.tool("cp", "box:/etc/passwd", tmp_path / target) == (0, "", "")
        assert (tmp_path / found).read_bytes() == (machine.box / "etc/passwd").read_bytes()


def test_a_directory_is_copied_with_all_below_it(machine, tmp_path):
    tree = tmp_path / "tree"
    (tree / "deep/er").mkdir(parents=True)
    (tree / "deep/er/file").write_bytes(b"x" * 100_000)
    (tree / "link").symlink_to("deep")
    for _ in range(2):  # the second goes into the first
        assert machine.tool("cp", tree, "box:/tmp/tree") == (0, "", "")
    assert machine.sh("cd /tmp/tree; readlink link; wc -c <tree/deep/er/file") == "deep\n100000\n"
    assert machine.tool("cp", "box:/tmp/tree", tmp_path / "back") == (0, "", "")
    assert (tmp_path / "back/tree/deep/er/file").read_bytes() == b"x" * 100_000
    assert os.readlink(tmp_path / "back/link") == "deep"
    machine.sh("rm -r /tmp/tree")


def test_what_is_not_there_leaves_nothing_behind(machine, tmp_path):
    code, _, err = machine.tool("cp", "box:/no/such", tmp_path / "x")
    assert (code, err) == (1, "/no/such: no such file or directory\n")
    assert not (tmp_path / "x").exists()
    assert machine.tool("cp", ROOT / "README.md", "box:/no/such/place")[0] == 1


def test_a_container_cannot_write_outside_of_what_is_copied_out(machine, tmp_path):
    shell = machine.box / "bin/sh"
    shell.unlink()
    shell.write_text("#!/bin/busybox sh\n"
                     "case $2 in *tar*) exec cat /tmp/evil.tar ;; *) echo tree ;; esac\n")
    shell.chmod(0o755)
    (tmp_path / "victim").mkdir()
    archive = machine.box / "tmp/evil.tar"
    with tarfile.open(archive, "w") as evil:
        for name, target in ("../victim/a", None), ("link", "../../victim"), ("link/b", None):
            member = tarfile.TarInfo(name)
            if target:
                member.type, member.linkname = tarfile.SYMTYPE, target
            evil.addfile(member)
    (tmp_path / "out").mkdir()
    assert machine.tool("cp", "box:/etc", tmp_path / "out/etc")[0] != 0
    assert not list((tmp_path / "victim").iterdir())
    assert not (tmp_path / "out/victim").exists()
    for lie in "cat /tmp/evil.tar", ":":  # where it is asked what there is
        shell.write_text(f"#!/bin/busybox sh\n{lie}\n")
        code, _, err = machine.tool("cp", "box:/etc", tmp_path / "lie")
        assert (code, err) == (125, "fake-proxy: cp: the container's shell does not do what it was told\n")
    assert not (tmp_path / "lie").exists()
    shell.unlink()
    shell.symlink_to("/bin/busybox")
    archive.unlink()


def test_an_image_without_a_shell_has_files_copied_too(machine, tmp_path):
    assert machine.tool("run", "-d", "--rm", "--name", "bare", machine.bare, "/sleep",
                        "100000")[0] == 0
    (tmp_path / "file").write_bytes(b"data")
    assert machine.tool("cp", tmp_path / "file", "bare:/file") == (0, "", "")
    assert machine.tool("cp", "bare:/file", tmp_path / "back") == (0, "", "")
    assert (tmp_path / "back").read_bytes() == b"data"
    assert json.loads(machine.tool("stats", "--json", "bare")[1])[0]["processes"] == 1
    assert machine.tool("kill", "bare")[0] == 0
