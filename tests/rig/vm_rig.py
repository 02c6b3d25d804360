# SPDX-License-Identifier: Apache-2.0
"""The VM rig: the same daemon as /init of a guest, or as a service of Debian's systemd, over QEMU's
ports and 9p.

The agent as /init is PID 1 there, and no container sees it. What looks at it is a core dump handler: the
kernel runs that outside of all containers when a process crashes. It finds its script on the share
and leaves its output there, so the agent has no part in being measured but to have passed one line
to the process that crashes.
"""

import atexit
import os
import pathlib
import shutil
import subprocess
import tempfile
import time

from fakeproxy import vm as qemu
from rig import pace, vsock
from rig.inspect import Inspected
from rig.rootfs import BUSYBOX
from rig.scripts import ROOT

APPLETS = ("sh", "cat", "grep", "id", "ls", "mkdir", "mount", "rm", "sleep", "true",
           "unshare", "wc")

# look NUMBER: runs that script of the share's .rig directory, and leaves its output beside it. It
# starts in the kernel's own root, with nothing mounted.
LOOK = """#!/bin/sh
export PATH=/bin
[ "$2" ] || exec unshare -m /bin/look "$1" inside
mount -t proc proc /proc
mount -t devtmpfs dev /dev
export AGENT=1 CGROUP=/proc/1/root/sys/fs/cgroup
cd /proc/1/root/run/hyperstart/share/.rig || exit
sh "./$1" >"$1.part" 2>&1
echo done >>"$1.part"
"""

# Its lines are `DELAY NUMBER`: each has the kernel run look.
OPERATOR = """
while read delay number; do
	sleep $delay
	echo "|/bin/look $number" >/proc/sys/kernel/core_pattern
	sh -c 'kill -SEGV $$'
done 2>/dev/null
"""


# /init of a guest whose init is systemd: from the initrd, which stays below, to Debian's disk.
DEBIAN = ROOT / "build/debian.ext4"
DEBIAN_INIT = """#!/bin/busybox sh
export PATH=/bin
mount -t devtmpfs dev /dev
for module in $(cat /modules/order /modules/block.order /modules/ext4.order); do
	busybox insmod $module 2>/dev/null
done
mkdir -p /proc /root
until mount -t ext4 /dev/vda /root 2>/dev/null; do sleep 0.1; done
cd /root
busybox cp /service/hyperstart usr/sbin/hyperstart
busybox cp /service/hyperstart.service etc/systemd/system/hyperstart.service
busybox ln -s /etc/systemd/system/hyperstart.service etc/systemd/system/multi-user.target.wants/
mount --move . /
exec busybox chroot . /sbin/init
"""
# Before a script: Debian itself has what it takes to look at the agent.
DEBIAN_LOOK = """sleep {delay}
AGENT=$(systemctl show --property=MainPID --value hyperstart)
CGROUP=$(dirname /sys/fs/cgroup$(sed -n s/^0:://p /proc/$AGENT/cgroup))
{script}
"""
# A terminal on the console would hang it up below the journal's lines.
DEBIAN_WORDS = "systemd.mask=serial-getty@ttyS0.service systemd.show_status=0"

# What the agent listens at over vsock.
VSOCK_PORTS = {"control": 2718, "tty": 2719}


def build_initrd(directory, *options, start="init"):
    """The product's initrd, or one that leads to Debian, and what it takes to look at the agent."""
    directory = pathlib.Path(directory)
    init = ROOT / "build/musl/hyperstart"
    if start == "service":
        service = directory / "service"
        service.mkdir()
        for file in init, ROOT / "scripts/hyperstart.service":
            shutil.copy(file, service)
        init = directory / "init"
        init.write_text(DEBIAN_INIT)
        options = "--add", f"service={service}", *options
    tools = directory / "bin"
    tools.mkdir()
    for applet in APPLETS:
        (tools / applet).symlink_to("busybox")
    (tools / "busybox").write_bytes(pathlib.Path(BUSYBOX).read_bytes())
    (tools / "look").write_text(LOOK)
    modules = directory / "modules"
    modules.mkdir()
    (modules / "modules.dep").write_text("of the guest\n")
    etc = directory / "etc"
    etc.mkdir()
    (etc / "passwd").write_text("root:x:0:0::/:/bin/sh\ndaemon:x:1:1::/:/bin/sh\n")
    for program in ("busybox", "look"):
        (tools / program).chmod(0o755)
    output = directory / "initrd.cpio"
    subprocess.run([ROOT / "scripts/build-initrd", "--kernel", ROOT / "build/kernel",
                    "--init", init, "--add", f"bin={tools}", "--add", f"etc={etc}",
                    "--add", f"lib/modules={modules}", *options, output], check=True)
    return output


class Templates:
    """Guests as they were at READY, before any host came: one is booted, saved, and started anew from there
    for each test that wants the same. Not one with devices of its own, whose state is elsewhere, too."""

    MAX = 8  # some 80 MB each

    def __init__(self):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="hyperstart-templates-"))
        atexit.register(shutil.rmtree, self.directory)
        self.saved = {}  # by what the guest is made of: the file, and what it wrote to its console
        self.count = 0

    def start(self, make, key):
        """Of make(arguments), a Vm that is to be started, one that is at READY, with what it wrote so far."""
        if key not in self.saved:
            self.saved[key] = self.save(make([]))
            for old in list(self.saved)[: -self.MAX]:
                self.saved.pop(old)[0].unlink()
        path, console = self.saved[key] = self.saved.pop(key)  # the last to be given up
        vm = make(["-incoming", f"exec:cat {path}"])
        vm.start()
        while vm.qmp("query-status")["status"] == "inmigrate":
            time.sleep(0.02)
        vm.qmp("cont")
        return vm, console

    def save(self, vm):
        self.count += 1
        path = self.directory / str(self.count)
        with vm:
            start = time.monotonic()
            while "READY" not in (console := vm.console()):
                if not vm.is_running():
                    raise qemu.VmError(f"the guest ended: {console}{vm.output()}")
                time.sleep(0.05)
            pace.saw("boot", time.monotonic() - start)
            vm.qmp("stop")
            vm.qmp("migrate", uri=f"exec:cat >{path}")
            while (status := vm.qmp("query-migrate")["status"]) != "completed":
                assert status in ("setup", "active", "device"), status
                time.sleep(0.02)
        return path, console


TEMPLATES = Templates()


class VmGuest(Inspected):
    """One guest, with the interface of HostGuest."""

    ordered = False  # QEMU serves the two ports as it likes
    is_vm = True
    binary = "musl"
    greets = False  # READY is the first host's alone, but over vsock
    sync_seconds = 0  # its disks are its own
    tick = 0.05  # its console is a file: nothing wakes us when it grows

    def __init__(self, share, initrd, binary=None, deadline=None, devices=None, api=None, caps=None,
                 watch=None, level="info", tag="share", transport="virtio", vsock_cid=vsock.HOST_CID, start="init",
                 accel=None, arguments=()):
        self.share = share
        self.transport, self.start = transport, start
        self.greets = transport == "vsock"
        words = [f"hyperstart.log={level}"]
        if start == "init":  # what the kernel does not know is an argument of it
            words.append("-s")
        self.deadline = deadline and pace.late(deadline)
        if deadline:
            words.append(f"hyperstart.deadline={self.deadline}")
        if devices:
            words.append(f"hyperstart.devices={devices}")
        if api:
            words.append(f"hyperstart.api={api}")
        if caps:
            words.append(f"hyperstart.caps={caps}")
        if watch is not None:
            words.append(f"hyperstart.watch={watch}")
        self.host_cid = vsock_cid or vsock.HOST_CID
        if transport == "vsock" and vsock_cid:
            words.append(f"hyperstart.vsock={vsock_cid}")
        # With neither there is nothing: transport=None.
        options = {"transport": transport} if transport in qemu.TRANSPORTS else {"ports": {}}
        if start == "service":
            arguments = ["-drive", f"file={DEBIAN},format=raw,if=virtio,snapshot=on", *arguments]
            words.append(DEBIAN_WORDS)

        def make(more):
            return qemu.Vm(initrd=initrd, share=share.directory, tag=tag, accel=accel,
                               append=" ".join(words), arguments=[*arguments, *more], **options)
        self.before = ""  # written to the console before this guest began
        if (transport, start) == ("virtio", "init") and level in ("info", "debug") and \
                all(word == "-smp" or word.isdigit() for word in arguments):
            self.vm, self.before = TEMPLATES.start(
                make, str((initrd, share.directory, tag, accel, words, arguments)))
        else:
            self.vm = make([])
            if transport == "vsock":
                self.device = vsock.Device(self.vm.directory / "vsock.sock")
                self.vm.arguments += self.device.arguments(self.vm.memory)
            self.vm.start()
        self.vm.monitor.TIMEOUT = pace.scaled(self.vm.monitor.TIMEOUT)
        self.reason = None
        self.operator = None  # the process that starts scripts
        self.scripts = 0

    def connect(self, name, cid=None):
        """Over vsock from that CID, or the host's."""
        if self.transport == "vsock":
            cid = self.host_cid if cid is None else cid
            return self.device.connect(VSOCK_PORTS[name], cid)
        return self.vm.connect(name)

    def connect_control(self):
        return self.connect("control")

    def connect_tty(self):
        return self.connect("tty")

    # Its log

    def log_fd(self):
        return None

    @property
    def log(self):
        return self.before + self.vm.console()

    def describe(self):
        return "the guest's console:\n" + "\n".join((self.log + self.vm.output()).splitlines()[-40:])

    def complaints(self):
        log = self.log
        for word in ("Kernel panic", "BUG:", "Call Trace:", "segfault"):
            if word in log:
                return log[max(0, log.index(word) - 500) :][:3000]
        return None

    # What can be seen of it

    def shell(self, host, script, delay=0):
        """Starts the script, after a delay; call the result for its output."""
        if self.start == "service":
            args = ["sh", "-c", DEBIAN_LOOK.format(delay=delay, script=script)]
            process = host.execcmd("hyperstart", args)
            return lambda: process.wait() * "failed " + process.out.decode()
        if not self.operator:
            self.operator = host.start_operator(["sh", "-c", OPERATOR])
        self.scripts += 1
        directory = self.share.directory / ".rig"
        directory.mkdir(exist_ok=True)
        name = f"{os.getpid()}-{id(self)}-{self.scripts}"
        (directory / name).write_text(script)
        self.operator.write(f"{delay} {name}\n".encode())
        output = directory / f"{name}.part"
        has_ended = lambda: output.exists() and output.read_text().endswith("done\n")

        def result():
            host.wait_for(has_ended, "the output of a script in the guest")
            return output.read_text().removesuffix("done\n")
        host.wait_for(lambda: not host.tty.chunks, "the script to leave")
        return result

    # Its end

    def has_ended(self):
        return not self.vm.is_running()

    def wait_end(self, host, timeout=60):
        if self.reason is None:
            host.wait_for(self.has_ended, "the guest's power-off", timeout, closing=True)
            reason = self.vm.wait_shutdown_reason(pace.scaled(10))
            self.reason = "power-off" if reason == "guest-shutdown" else str(reason)
        return self.reason

    def stop(self):
        self.vm.kill()
