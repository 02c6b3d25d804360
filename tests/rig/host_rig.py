# SPDX-License-Identifier: Apache-2.0
"""The host rig: the daemon as PID 1 of fresh namespaces on this machine, 0.03 s a start; or, as a
service, as a child of that PID 1."""

import ctypes
import fcntl
import os
import pathlib
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import traceback

from rig import pace
from rig.inspect import Inspected
from rig.scripts import ROOT

BINARIES = {"asan": ROOT / "build/host/hyperstart", "musl": ROOT / "build/musl/hyperstart",
            "faults": ROOT / "build/faults/hyperstart"}
COVERAGE = os.environ.get("COVERAGE")  # where the counts of its binaries go
if COVERAGE:
    BINARIES |= {"asan": pathlib.Path(COVERAGE) / "hyperstart",
                 "faults": pathlib.Path(COVERAGE) / "faults"}
NEW_PID = 0x20000000  # CLONE_NEWPID
NEW_REST = 0x00020000 | 0x40000000 | 0x04000000 | 0x08000000  # mount, net, uts, ipc
PIDS_V1 = pathlib.Path("/sys/fs/cgroup/pids")
MS_BIND, MS_REC, MS_PRIVATE = 0x1000, 0x4000, 1 << 18
PR_SET_PDEATHSIG = 1
SYS_PIDFD_GETFD = 438
SANITIZER_WORDS = ("AddressSanitizer", "LeakSanitizer", "runtime error:", "UndefinedBehavior")

libc = ctypes.CDLL(None, use_errno=True)


def call(name, *args):
    result = getattr(libc, name)(*args)
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
    return result


def mount(source, target, fstype, flags=0, data=None):
    encode = lambda text: None if text is None else os.fsencode(text)
    call("mount", encode(source), encode(target), encode(fstype), ctypes.c_ulong(flags), encode(data))


def cgroup2_mount():
    for line in pathlib.Path("/proc/self/mounts").read_text().splitlines():
        _, target, fstype, _ = line.split(maxsplit=3)
        if fstype == "cgroup2":
            return pathlib.Path(target)
    return None


def serve_as_init():
    """Returns in a child, the service, and ends with it. An agent takes care of its orphans itself."""
    service = os.fork()
    while service:
        pid, status = os.wait()
        if pid == service:
            os._exit(os.waitstatus_to_exitcode(status) % 256)
        os.write(2, b"init: an orphan came here\n")


class HostGuest(Inspected):
    """One daemon, its sockets, and everything of it that can be seen from here. Its share is bound,
    so the tag is no matter."""

    transport = "socket"
    greets = False  # READY is the first host's alone
    ordered = True  # the two connections keep the order in which the daemon wrote
    is_vm = False
    tick = None  # its log is a pipe: the host wakes for it
    started = 0

    def __init__(self, share, binary="asan", deadline=None, devices=None, api=None, caps=None,
                 watch=None, level="info", tag=None, start="init", fault=0, arguments=()):
        self.share, self.binary, self.start = share, binary, start
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="hyperstart-rig-"))
        self.log = ""
        self.status = None  # of waitpid, once it ended
        self.cgroup = self._make_cgroup()
        self.pids = self._make_pids()
        self.listeners = [self._listen(name) for name in ("control", "tty")]
        (self.dir / "run").mkdir()
        control, tty = (listener.fileno() for listener in self.listeners)
        args = [f"--control={control}", f"--tty={tty}", f"--run={self.dir}/run",
                f"--share={share.directory}", f"--log={level}"]
        if self.cgroup:
            (self.dir / "cgroup").mkdir()
            args.append(f"--cgroup={self.dir}/cgroup")
        self.deadline = deadline and pace.late(deadline)
        if deadline:
            args.append(f"--deadline={self.deadline}")
        if devices:
            args.append(f"--devices={devices}")
        if api:
            args.append(f"--api={api}")
        if caps:
            args.append(f"--caps={caps}")
        if watch:
            args.append(f"--watch={watch}")
        self._log_fd, log_end = os.pipe()
        fcntl.fcntl(self._log_fd, fcntl.F_SETPIPE_SZ, 1 << 20)
        os.set_blocking(self._log_fd, False)
        # Where a call fails an end that hangs is waited for, too.
        self.sync_seconds = 0 if fault else pace.SYNC_SECONDS
        self.fault = fault  # which call is to fail, of the binary that is made for it …
        self.fault_while = self.dir / "fault"  # … or a name of calls, while this file is there
        self.init = self._spawn([str(BINARIES[binary]), *args], log_end)
        os.close(log_end)

    @property
    def pid(self):
        """The agent's."""
        if self.start == "init":
            return self.init
        children = pathlib.Path(f"/proc/{self.init}/task/{self.init}/children").read_text()
        return int(children.split()[0])

    def _listen(self, name):
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(str(self.dir / name))
        listener.listen(8)
        listener.set_inheritable(True)
        return listener

    def _make_cgroup(self):
        mounted = cgroup2_mount()
        if not mounted:
            return None
        HostGuest.started += 1
        path = mounted / f"hyperstart-rig-{os.getpid()}-{HostGuest.started}"
        path.mkdir()
        return path

    def _make_pids(self):
        """A guest has pids.max; here its fork bombs would take the machine's. None: cgroup2 may do it."""
        if not (PIDS_V1 / "tasks").exists():
            return None
        path = PIDS_V1 / self.cgroup.name if self.cgroup else PIDS_V1 / self.dir.name
        path.mkdir()
        (path / "pids.max").write_text("8192")
        return path

    def _spawn(self, argv, log_end):
        """Steps into a new PID namespace, forks, steps out: the child is its init, and ours."""
        home = os.open("/proc/self/ns/pid", os.O_RDONLY)
        call("unshare", NEW_PID)
        try:
            pid = os.fork()
        except OSError:
            call("setns", home, NEW_PID)  # or none could be started ever after
            raise
        if pid == 0:
            try:
                if self.pids:
                    (self.pids / "cgroup.procs").write_text("0")
                os.setsid()  # a signal to its own process group is not for us
                os.umask(0)  # whoever starts it may have any
                call("prctl", PR_SET_PDEATHSIG, signal.SIGKILL)
                os.dup2(log_end, 1)
                os.dup2(log_end, 2)
                call("unshare", NEW_REST)
                mount(None, "/", None, MS_REC | MS_PRIVATE)
                mount("proc", "/proc", "proc")
                mount("tmpfs", self.dir / "run", "tmpfs", data="mode=0755")
                self._hide_hardware()
                signal.setitimer(signal.ITIMER_REAL, 0)
                if self.start == "service":
                    serve_as_init()
                os.execve(argv[0], argv, {"ASAN_OPTIONS": "exitcode=99",
                                          "UBSAN_OPTIONS": "print_stacktrace=1",
                                          "FAULT": str(self.fault),
                                          "FAULT_WHILE": str(self.fault_while),
                                          "COVERAGE": COVERAGE or ""})
            except BaseException:
                traceback.print_exc(file=sys.__stderr__)
            finally:
                os._exit(98)
        call("setns", home, NEW_PID)
        os.close(home)
        return pid

    def _hide_hardware(self):
        """This machine's buses, CPUs and clock are none of the agent's: it finds nothing to rescan."""
        if self.cgroup:
            mount(self.cgroup, self.dir / "cgroup", None, MS_BIND)
        mount("tmpfs", "/sys", "tmpfs")

    # What the host holds

    def connect_control(self):
        return self._connect("control")

    def connect_tty(self):
        return self._connect("tty")

    def _connect(self, name):
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.connect(str(self.dir / name))
        return sock

    # Its log

    def log_fd(self):
        return self._log_fd

    def read_log(self):
        try:
            while data := os.read(self._log_fd, 1 << 16):
                self.log += data.decode(errors="replace")
            os.close(self._log_fd)
            self._log_fd = None
        except BlockingIOError:
            pass

    def describe(self):
        if self._log_fd is not None:
            self.read_log()
        return "the agent's log:\n" + "\n".join(self.log.splitlines()[-40:])

    def complaints(self):
        """What the sanitizers said, or what a power-off left behind."""
        self.describe()
        lines = self.log.splitlines()
        for at, line in enumerate(lines):
            if any(word in line for word in (*SANITIZER_WORDS, "init: an orphan")):
                return "\n".join(lines[at : at + 60])
        if self.cgroup and self.has_ended() and self.end_reason() == "power-off":
            left = [path.name for path in self.cgroup.rglob("*") if path.is_dir()]
            return f"cgroups left behind: {left}" if left else None
        return None

    # What can be seen of it

    def shell(self, host, script, delay=0):
        """Call the result for the script's output. Nothing is asked of the agent for it."""
        env = {**os.environ, "AGENT": str(self.pid), "CGROUP": str(self.cgroup)}
        return lambda: subprocess.run(["sh", "-c", script], env=env, capture_output=True, text=True,
                                      timeout=pace.scaled(60)).stdout

    def agent_socket(self, name):
        """A duplicate of the daemon's own connected end of that port."""
        pidfd = os.pidfd_open(self.pid)
        try:
            for fd in os.listdir(f"/proc/{self.pid}/fd"):
                try:
                    if not os.readlink(f"/proc/{self.pid}/fd/{fd}").startswith("socket:"):
                        continue
                    copy = socket.socket(fileno=call("syscall", SYS_PIDFD_GETFD, pidfd, int(fd), 0))
                except OSError:
                    continue
                listening = copy.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
                if not listening and copy.family == socket.AF_UNIX and \
                        copy.getsockname() == str(self.dir / name):
                    return copy
                copy.close()
        finally:
            os.close(pidfd)
        raise LookupError(f"the daemon has no connection on {name}")

    def shrink_send_buffer(self, name):
        """The daemon's end of that connection takes as little at a time as the kernel allows."""
        with self.agent_socket(name) as copy:
            copy.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)

    # Its end

    def has_ended(self):
        if self.status is None:
            pid, status = os.waitpid(self.init, os.WNOHANG)
            if pid:
                self.status = status
        return self.status is not None

    def end_reason(self):
        """power-off, or what went wrong. A service on a machine that is not its own just ends."""
        if self.start == "service" and self.status == 0:
            return "power-off"
        if os.WIFSIGNALED(self.status):
            number = os.WTERMSIG(self.status)
            # reboot(RB_POWER_OFF) in a PID namespace ends its init so.
            return "power-off" if number == signal.SIGINT else f"signal {number}"
        return f"exit {os.WEXITSTATUS(self.status)}"

    def wait_end(self, host, timeout=None):
        timeout = timeout or 20 + self.sync_seconds
        pidfd = None if self.has_ended() else os.pidfd_open(self.init)
        if pidfd is not None:
            poll = select.poll()
            poll.register(pidfd, select.POLLIN)
            try:
                # The host goes on reading: the daemon drains its ports before it goes.
                host.wait_for(lambda: poll.poll(0), "the agent's end", timeout, closing=True)
            finally:
                os.close(pidfd)
            self.has_ended()
        return self.end_reason()

    def stop(self):
        if not self.has_ended():
            counts = COVERAGE and self.binary != "musl"
            os.kill(self.pid if counts else self.init,
                    signal.SIGRTMAX - 1 if counts else signal.SIGKILL)
            if self.cgroup and not counts:  # what holds the agent in the kernel holds up its end, too
                (self.cgroup / "cgroup.kill").write_text("1")
            self.status = os.waitpid(self.init, 0)[1]
        if self._log_fd is not None:
            self.read_log()
        if self._log_fd is not None:
            os.close(self._log_fd)
            self._log_fd = None
        for listener in self.listeners:
            listener.close()
        if self.cgroup:
            for directory, _, _ in os.walk(self.cgroup, topdown=False):
                os.rmdir(directory)
        if self.pids:
            os.rmdir(self.pids)
        shutil.rmtree(self.dir)
