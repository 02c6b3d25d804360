# SPDX-License-Identifier: Apache-2.0
"""The share by virtiofs, and a server of it that stops answering."""

import os
import signal
import socket
import subprocess
import time

import pytest

from rig import pace
from rig.wire import Code

pytestmark = pytest.mark.only("vm", "there is no virtiofs")

VIRTIOFSD = "/usr/lib/qemu/virtiofsd"
DEADLINE = 2


class Server:
    """virtiofsd for one QEMU."""

    def __init__(self, directory, socket_path):
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(socket_path)
        listener.listen(1)
        self.process = subprocess.Popen(
            [VIRTIOFSD, f"--fd={listener.fileno()}", "-o", f"source={directory}", "-o",
             "cache=none", "-o", "sandbox=chroot"], pass_fds=[listener.fileno()],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        listener.close()

    def signal(self, number):
        if self.process.poll() is None:
            os.killpg(self.process.pid, number)

    def stop(self):
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGKILL)
        self.process.wait()


@pytest.fixture
def server(rig, tmp_path):
    server = Server(os.path.realpath(rig.share.directory), f"{tmp_path}/fs.sock")
    yield server
    server.stop()


@pytest.fixture
def options(server, tmp_path):
    return {"fresh": True, "deadline": DEADLINE, "arguments": (
        "-object", "memory-backend-memfd,id=memory,size=256M,share=on", "-numa",
        "node,memdev=memory", "-chardev", f"socket,id=fs,path={tmp_path}/fs.sock",
        "-device", "vhost-user-fs-pci,chardev=fs,tag=byvirtiofs")}


def test_a_virtiofs_share_and_its_server_that_stops_answering(host, server):
    assert "nobodys" in host.error(Code.STARTPOD, {"hostname": "pod", "shareDir": "nobodys"})
    host.startpod(shareDir="byvirtiofs")
    alive = host.newcontainer("alive", ["cat"], container={
        "fsmap": [{"source": "box/rootfs/etc", "path": "/mapped", "readOnly": True}]}).started()
    assert "alice" in host.run("alive", ["cat", "/mapped/passwd"]).out.decode()
    assert b"virtiofs" in host.run("alive", ["cat", "/proc/mounts"]).out

    server.signal(signal.SIGSTOP)
    start = time.monotonic()
    text = host.newcontainer("late", ["true"]).refused()
    assert "late" in text and "deadline" in text, text
    assert time.monotonic() - start < 5 * host.guest.deadline
    host.ping()
    alive.write(b"still here")
    alive.wait_output(b"still here")

    start = time.monotonic()
    host.ack(Code.DESTROYPOD)
    host.wait_log("daemon: done")
    assert time.monotonic() - start < pace.late(15)
    # Now the guest's kernel shuts its devices down, and with them QEMU itself waits for the server.
    host.guest.vm.monitor.TIMEOUT = 1
    for _ in range(10):
        host.pump_for(0.5)
        try:
            host.guest.vm.qmp("query-status")
        except TimeoutError:
            break
    else:
        pytest.fail("the guest does not power off")
    server.signal(signal.SIGCONT)
    assert host.guest.wait_end(host) == "power-off"
