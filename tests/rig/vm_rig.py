# SPDX-License-Identifier: Apache-2.0
"""The VM rig: the same daemon as /init of a guest, over QEMU's virtio-serial ports and 9p.

Its figures are read inside the guest, by a process in container "hyperstart": the agent's own
namespaces, where /proc/1 is the agent.
"""

import pathlib
import subprocess

from rig.inspect import IDLE_SCRIPT, STAT_SCRIPT, ZOMBIES_SCRIPT, parse_idle, parse_stat
from rig.rootfs import BUSYBOX
from rig.scripts import ROOT, load_script

AGENT = "hyperstart"
APPLETS = ("sh", "cat", "cut", "grep", "ls", "sleep", "wc")


class NoInspection(Exception):
    """This daemon lets nobody look into its own namespaces."""


run_qemu = load_script("run-qemu")


def build_initrd(directory):
    """The product's initrd, and a busybox for the inspections."""
    tools = pathlib.Path(directory) / "bin"
    tools.mkdir()
    for applet in APPLETS:
        (tools / applet).symlink_to("busybox")
    (tools / "busybox").write_bytes(pathlib.Path(BUSYBOX).read_bytes())
    (tools / "busybox").chmod(0o755)
    output = pathlib.Path(directory) / "initrd.cpio"
    subprocess.run([ROOT / "scripts/build-initrd", "--kernel", ROOT / "build/kernel",
                    "--init", ROOT / "build/musl/hyperstart", "--add", f"bin={tools}", output],
                   check=True)
    return output


class VmGuest:
    """One guest, with the interface of HostGuest."""

    ordered = False  # QEMU serves the two ports as it likes
    is_vm = True
    binary = "musl"
    tick = 0.05  # its console is a file: nothing wakes us when it grows

    def __init__(self, share, initrd, binary=None, deadline=None, api=None, level="info",
                 tag="share", arguments=()):
        self.share = share
        words = [f"hyperstart.log={level}"]
        if deadline:
            words.append(f"hyperstart.deadline={deadline}")
        if api:
            words.append(f"hyperstart.api={api}")
        self.vm = run_qemu.Vm(initrd=initrd, share=share.directory, tag=tag, append=" ".join(words),
                              arguments=arguments)
        self.vm.start()
        self.reason = None

    def connect_control(self):
        return self.vm.connect("control")

    def connect_tty(self):
        return self.vm.connect("tty")

    # Its log

    def log_fd(self):
        return None

    @property
    def log(self):
        return self.vm.console()

    def describe(self):
        return "the guest's console:\n" + "\n".join((self.log + self.vm.output()).splitlines()[-40:])

    def complaints(self):
        log = self.log
        for word in ("Kernel panic", "BUG:", "Call Trace:", "segfault"):
            if word in log:
                return log[max(0, log.index(word) - 500) :][:3000]
        return None

    # What can be seen of it

    def _inspect(self, host, script, *args):
        process = host.execcmd(AGENT, ["/bin/sh", "-c", script, "sh", *args])
        host.reply_to(process.start)
        if process.start.text and process.code is None:
            raise NoInspection(process.start.text)
        return process

    def _inspect_now(self, host, script, *args):
        process = self._inspect(host, script, *args)
        assert process.wait() == 0, process.err
        return process.out.decode()

    def stat(self, host):
        return parse_stat(self._inspect_now(host, STAT_SCRIPT, "1"))

    def watch_idle(self, host):
        process = self._inspect(host, IDLE_SCRIPT, "1", "1")
        # Its answer may have to wait until the host reads tty again; let it watch first.
        host.pump_for(5)

        def result():
            assert process.wait() == 0, process.err
            return parse_idle(process.out.decode())
        return result

    def zombies(self, host):
        return self._inspect_now(host, ZOMBIES_SCRIPT).split()

    # Its end

    def has_ended(self):
        return not self.vm.is_running()

    def wait_end(self, host, timeout=60):
        if self.reason is None:
            host.wait_for(self.has_ended, "the guest's power-off", timeout, closing=True)
            reason = self.vm.wait_shutdown_reason(10)
            self.reason = "power-off" if reason == "guest-shutdown" else str(reason)
        return self.reason

    def stop(self):
        self.vm.kill()
