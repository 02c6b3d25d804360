# SPDX-License-Identifier: Apache-2.0
"""Disks that take long, and disks that stop answering: what was written is waited for, and nothing
else."""

import os
import subprocess
import time

import pytest

from rig import pace
from rig.wire import Code

pytestmark = [pytest.mark.only("vm", "there are no disks to plug"), pytest.mark.limit(60)]

DISKS = ("slow", "held", "hung")
CHILDREN = 16  # that may hang in the kernel: ABANDONED_MAX


def tool(*command):
    """What it writes. They are not on a user's PATH."""
    environment = {**os.environ, "PATH": os.environ["PATH"] + ":/usr/sbin:/sbin"}
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                          text=True, env=environment).stdout


@pytest.fixture
def disks(tmp_path):
    (tmp_path / "tree/_data/unread").mkdir(parents=True)
    for name in DISKS:
        with open(tmp_path / name, "wb") as file:
            file.truncate(64 << 20)
        tool("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0", "-d", str(tmp_path / "tree"),
             str(tmp_path / name))
    return tmp_path


@pytest.fixture
def options(request, disks):
    arguments = []
    for name in DISKS:
        arguments += ["-drive", f"if=none,id={name},format=raw,file={disks}/{name}",
                      "-device", f"virtio-blk-pci,drive={name}"]
    mark = request.node.get_closest_marker("options")
    return {"fresh": True, "arguments": tuple(arguments), **mark.kwargs}


def volume(name, mount="/v", **fields):
    return {"device": "vd" + "abc"[DISKS.index(name)], "mount": mount, "fstype": "ext4", **fields}


def throttle(pod, name, bytes_per_second):
    """1: whatever is asked of it from now on takes minutes."""
    pod.guest.vm.qmp("block_set_io_throttle", device=name, bps=bytes_per_second, bps_rd=0, bps_wr=0,
                     iops=0, iops_rd=0, iops_wr=0)


def start(pod, name, script="true", **container):
    process = pod.newcontainer(name, ["sh", "-c", f"{script}; echo up; sleep 100000"],
                               container=container).started()
    process.wait_output(b"up\n")
    return process


def destroy(pod, at_most):
    began = time.monotonic()
    pod.ack(Code.DESTROYPOD)
    took = time.monotonic() - began
    assert took < pace.late(at_most)
    assert pod.guest.wait_end(pod) == "power-off"
    return took


@pytest.mark.options(deadline=60)
def test_what_a_slow_disk_has_yet_to_take_is_written_before_the_ack(pod, disks):
    start(pod, "writer", "head -c 16000000 /dev/zero | tr '\\0' x >/v/file", volumes=[volume("slow")])
    throttle(pod, "slow", 2 << 20)
    (slow,) = [disk for disk in pod.guest.vm.qmp("query-blockstats") if disk["device"] == "slow"]
    left = 16000000 - slow["stats"]["wr_bytes"]  # a slow machine's kernel has begun to write it
    assert destroy(pod, 30) > 0.7 * left / (2 << 20)
    assert "needs_recovery" not in tool("dumpe2fs", "-h", disks / "slow")
    assert tool("debugfs", "-R", "cat /_data/file", disks / "slow") == "x" * 16000000


@pytest.mark.options(deadline=600, devices=600)
def test_a_destroypod_behind_a_start_on_a_hung_disk_does_not_wait_for_its_deadline(pod):
    start(pod, "other")
    waiting = pod.newcontainer("late", ["true"], container={"volumes": [
        volume("held"), {**volume("hung", "/w"), "device": "vdz"}]})
    pod.pump_for(pace.scaled(3))
    throttle(pod, "held", 1)
    began = time.monotonic()
    destroyed = pod.send(Code.DESTROYPOD)
    assert "cut short" in waiting.refused()
    assert pod.reply_to(destroyed).kind == Code.ACK
    assert time.monotonic() - began < pace.late(20)
    assert pod.guest.wait_end(pod) == "power-off"


@pytest.mark.options(deadline=3)
def test_a_container_whose_unmount_hangs_is_removed_when_it_has_ended(pod):
    """A second child finds nothing mounted, though the disk is in use; and what is its root then is the
    agent's."""
    holder = start(pod, "holder", "echo x >/v/file", volumes=[volume("held")])
    throttle(pod, "held", 1)
    pod.kill("holder")
    holder.wait()
    remove = {"container": "holder"}
    assert "deadline" in pod.error(Code.REMOVECONTAINER, remove, timeout=40)
    for _ in range(2):
        assert pod.error(Code.REMOVECONTAINER, remove) == \
            "removecontainer: container 'holder': an earlier unmount still hangs in the kernel"
    for code in Code.READFILE, Code.WRITEFILE:
        assert "no root of its own" in pod.error(code, {"container": "holder", "file": "/init"})
    throttle(pod, "held", 0)
    pod.wait_log("has exited")
    pod.ack(Code.REMOVECONTAINER, remove)
    start(pod, "next", "grep x /v/file", volumes=[volume("held")])


@pytest.mark.options(deadline=1)
def test_as_many_children_as_may_hang_and_then_the_end(pod):
    """One disk does not answer who would mount it, another not who has it."""
    alive = pod.newcontainer("alive", ["cat"]).started()
    holder = start(pod, "holder", "echo x >/v/file", volumes=[volume("held")])
    throttle(pod, "held", 1)
    throttle(pod, "hung", 1)
    commands = [lambda: pod.newcontainer("late", ["true"], container={"volumes": [volume("hung")]}).start] * 2
    commands += [lambda: pod.send(Code.READFILE, {"container": "holder", "file": "/v/unread/x"})] * 14
    assert len(commands) == CHILDREN
    for number, command in enumerate(commands):
        began = time.monotonic()
        assert "deadline" in pod.reply_to(command()).text
        assert time.monotonic() - began < pace.late(pod.guest.deadline + 12)
        alive.write(b"%d\n" % number)
        alive.wait_output(b"%d\n" % number)
    text = pod.newcontainer("last", ["true"]).refused()
    assert "hang in the kernel" in text
    pod.kill("holder")
    holder.wait()
    assert "hang in the kernel" in pod.error(Code.REMOVECONTAINER, {"container": "holder"})
    pod.ping()
    destroy(pod, 15)
