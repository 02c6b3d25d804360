# SPDX-License-Identifier: Apache-2.0
"""A guest in QEMU; `scripts/run-qemu --help` names what is in its directory."""

import collections
import json
import os
import platform
import re
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import common

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build"
PORTS = {"control": "sh.hyper.channel.0", "tty": "sh.hyper.channel.1"}
# How the sockets of the ports are devices of the guest. ISA: ttyS1 and ttyS2.
TRANSPORTS = {
    "virtio": lambda channel, name: ["-device", f"virtserialport,chardev={channel},name={name}"],
    "isa": lambda channel, name: ["-device", f"isa-serial,chardev={channel}"],
}
ISA_WORD = "hyper_use_serial"
APPEND = "panic=-1 quiet"
# By architecture: the machine, a CPU of it that is fast under TCG, where its console is, and the
# package that has QEMU for it.
MACHINES = {"x86_64": ("pc", "max", "ttyS0", "qemu-system-x86"),
            "aarch64": ("virt", "cortex-a57", "ttyAMA0", "qemu-system-arm")}
PROBE_SECONDS = 20
END_SECONDS = 2  # of QEMU's process, once its sockets are closed


class VmError(OSError):
    pass


def how_to_make(path):
    if path.is_relative_to(BUILD) and (ROOT / "Makefile").exists():
        return f"`make {path.relative_to(ROOT)}` makes it"
    return "get-kernel and build-initrd make what --kernel and --initrd name"


def option_value(path):
    """As it stands among QEMU's options, which commas separate."""
    return str(path).replace(",", ",,")


class Vm:
    """One guest. start() returns at once: connect() to the ports and wait for READY there."""

    def __init__(self, *, directory=None, kernel=BUILD / "kernel/vmlinux",
                 initrd=BUILD / "initrd.cpio", share=None, tag="share", memory=256, cpu=None,
                 append="", accel=None, transport="virtio", ports=PORTS, arguments=(),
                 arch="x86_64"):
        self.machine, fast, self.console_device, package = MACHINES[arch]
        self.program = f"qemu-system-{arch}"
        if not shutil.which(self.program):
            raise VmError(f"{self.program} is not installed; as root: apt-get install {package}")
        for path in filter(None, (kernel, initrd, share)):
            if not Path(path).exists():
                raise VmError(f"there is no {path}: {how_to_make(Path(path))}")
        self.owns_directory = directory is None
        # Not below build/: a socket's path is at most 107 bytes.
        self.directory = Path(directory or tempfile.mkdtemp(prefix="hyperstart-"))
        self.kernel = kernel
        self.initrd = initrd
        self.share = share
        self.tag = tag
        self.memory = memory
        self.arch = arch
        self.cpu = cpu or fast
        self.append = f"{append} {ISA_WORD}" if transport == "isa" else append
        self.transport = TRANSPORTS[transport]
        self.ports = ports
        self.accel = accel or choose_accel(kernel, arch)
        self.arguments = list(arguments)
        self.qemu = None
        self.monitor = None

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *exception):
        self.kill()

    # --- Start and end ---

    def start(self):
        """Starts QEMU on sockets that listen already, so that nobody has to wait for them."""
        command = [self.program, "-M", self.machine, "-accel", self.accel,
                   "-cpu", self.cpu, "-m", str(self.memory), "-nodefaults", "-no-user-config",
                   "-display", "none", "-no-reboot", "-kernel", str(self.kernel),
                   "-append", f"{APPEND} console={self.console_device} {self.append}".strip(),
                   "-chardev", f"file,id=console,path={option_value(self.directory)}/console.log",
                   "-serial", "chardev:console", "-device", "virtio-serial-pci"]
        if self.initrd:
            command += ["-initrd", str(self.initrd)]
        listeners = {name: self.listen(name) for name in (*self.ports, "qmp")}
        for name, listener in listeners.items():
            command += ["-chardev",
                        f"socket,id={name},fd={listener.fileno()},server=on,wait=off"]
        for name, port in self.ports.items():
            command += self.transport(name, port)
        command += ["-mon", "chardev=qmp,mode=control"]
        if self.share:
            # security_model=none: files keep the owners and modes they have on the host.
            path = option_value(os.path.realpath(self.share))
            command += ["-fsdev", f"local,id=share,path={path},"
                                  "security_model=none,multidevs=remap",
                        "-device", f"virtio-9p-pci,fsdev=share,mount_tag={self.tag}"]
        command += self.arguments
        with open(self.directory / "qemu.log", "wb") as log:
            # A session of its own: the terminal's Ctrl-C is for the host program to handle.
            self.qemu = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                pass_fds=[listener.fileno() for listener in listeners.values()],
                preexec_fn=common.die_with_parent)
        for listener in listeners.values():
            listener.close()
        self.monitor = Monitor(self.connect("qmp"))

    def listen(self, name):
        path = self.directory / f"{name}.sock"
        path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(path))
        listener.listen(1)
        return listener

    def wait_shutdown_reason(self, timeout=None):
        """Waits until QEMU has ended: "guest-shutdown" is a power-off, "guest-reset" a panic.
        None: QEMU itself broke down; output() says why."""
        event = self.monitor.wait_event("SHUTDOWN", timeout)
        self.qemu.wait(timeout)
        return event["data"]["reason"] if event else None

    def await_power_off(self, timeout):
        reason = self.wait_shutdown_reason(timeout)
        if reason != "guest-shutdown":
            raise VmError(f"the guest did not power off but ended by {reason}")

    def breakdown(self):
        """How QEMU itself broke down; None if it runs, or the guest's end was its own."""
        try:
            code = self.qemu.wait(END_SECONDS) if self.qemu else 0
        except subprocess.TimeoutExpired:
            return None
        # QEMU ends by itself for a signal that it can catch.
        caught = re.search(r"terminating on signal (\d+)", self.output())
        if code < 0 or caught:
            return f"QEMU was killed by {signal.Signals(int(caught[1]) if caught else -code).name}"
        return f"QEMU failed: {(self.output().splitlines() or [code])[-1]}" if code else None

    def is_running(self):
        return self.qemu is not None and self.qemu.poll() is None

    def kill(self):
        """Ends QEMU if it runs, and takes the directory away if it is this object's own."""
        if self.is_running():
            self.qemu.kill()
            self.qemu.wait()
        if self.monitor:
            self.monitor.close()
        if self.owns_directory:
            shutil.rmtree(self.directory, ignore_errors=True)

    # --- While it runs ---

    def connect(self, name):
        """A new connection to "control" or "tty". QEMU serves one at a time on each."""
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(str(self.directory / f"{name}.sock"))
        return connection

    def qmp(self, command, **arguments):
        return self.monitor.execute(command, arguments)

    def console(self):
        """What the guest wrote to its console so far."""
        return self.read("console.log").replace("\r", "")

    def output(self):
        """What QEMU itself had to say."""
        return self.read("qemu.log")

    def read(self, name):
        try:
            return (self.directory / name).read_text(errors="replace")
        except FileNotFoundError:
            return ""


class Monitor:
    """QEMU's QMP monitor: JSON objects, one a line, replies and events mixed."""

    TIMEOUT = 30

    def __init__(self, connection):
        self.connection = connection
        self.buffer = b""
        self.requests = 0
        self.replies = {}
        self.events = collections.defaultdict(list)
        self.send("qmp_capabilities", {})  # before it QEMU tells no events

    def close(self):
        self.connection.close()

    def send(self, command, arguments):
        self.requests += 1
        request = {"execute": command, "arguments": arguments, "id": self.requests}
        try:
            self.connection.sendall(json.dumps(request).encode() + b"\n")
        except BrokenPipeError:
            pass  # receive() tells that QEMU is gone
        return self.requests

    def receive(self, deadline):
        """Takes one message in. False: QEMU is gone."""
        while b"\n" not in self.buffer:
            left = None if deadline is None else max(0, deadline - time.monotonic())
            if not select.select([self.connection], [], [], left)[0]:
                raise TimeoutError("QEMU's monitor is silent")
            try:
                data = self.connection.recv(65536)
            except ConnectionResetError:
                data = b""
            if not data:
                return False
            self.buffer += data
        line, _, self.buffer = self.buffer.partition(b"\n")
        message = json.loads(line)
        if "event" in message:
            self.events[message["event"]].append(message)
        elif "id" in message:
            self.replies[message["id"]] = message
        return True

    def execute(self, command, arguments):
        number = self.send(command, arguments)
        deadline = time.monotonic() + self.TIMEOUT
        while number not in self.replies:
            if not self.receive(deadline):
                raise VmError(f"{command}: QEMU is gone")
        reply = self.replies.pop(number)
        if "error" in reply:
            raise VmError(f"{command}: {reply['error']['desc']}")
        return reply["return"]

    def wait_event(self, name, timeout=None):
        """The first event of that name that was not taken yet; None when QEMU is gone."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self.events[name]:
            if not self.receive(deadline):
                return None
        return self.events[name].pop(0)


def choose_accel(kernel, arch):
    """"kvm" where a guest gets as far as its own reset with it, else "tcg"; build/accel, where there
    is a build directory, remembers.
    /dev/kvm alone proves nothing: nested in another machine it may be there and hang."""
    if arch != platform.machine() or not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return "tcg"
    remembered = BUILD / "accel"
    if remembered.exists():
        return remembered.read_text().strip()
    # No initrd: the kernel panics for want of a root, and panic=-1 resets.
    with Vm(kernel=kernel, initrd=None, accel="kvm") as vm:
        try:
            works = vm.wait_shutdown_reason(PROBE_SECONDS) is not None
        except (TimeoutError, VmError):
            works = False
    accel = "kvm" if works else "tcg"
    if BUILD.is_dir():
        remembered.write_text(accel + "\n")
    return accel
