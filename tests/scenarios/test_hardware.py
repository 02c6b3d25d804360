# SPDX-License-Identifier: Apache-2.0
"""Disks and hot-plug where there is no machine: loop devices, and a sysfs that the test writes.

What a guest's kernel has to say to it is test_disks.py's matter.
"""

import os
import pathlib
import stat
import time

import pytest

from rig.wire import Code
from test_disks import Container, make_ext4, tool

pytestmark = pytest.mark.only("host", "a sysfs of the test's own")

FILE_VOLUME = "_data/.hyper_file_volume_data_do_not_create_on_your_own"


@pytest.fixture
def options():
    return {"deadline": 3}


@pytest.fixture(scope="module")
def disks(rig, tmp_path_factory):
    """Names of block devices, by what is on them."""
    if not os.path.exists("/dev/loop-control"):
        pytest.skip("no loop devices here")
    directory = tmp_path_factory.mktemp("disks")
    trees = {"empty": {}, "new": {}, "file": {FILE_VOLUME: "a file\n"}, "old": {"_data/here": "before\n"}}
    loops = {}
    try:
        for name, files in trees.items():
            tree = tmp_path_factory.mktemp(name)
            for path, text in files.items():
                (tree / path).parent.mkdir(parents=True, exist_ok=True)
                (tree / path).write_text(text)
            make_ext4(directory / name, 4, tree)
        make_ext4(directory / "root", 64, rig.share.image("box").parent)
        (directory / "raw").write_bytes(bytes(1 << 20))
        for name in (*trees, "root", "raw"):
            loops[name] = tool("losetup", "-f", "--show", str(directory / name)).strip()
        yield {name: loop.removeprefix("/dev/") for name, loop in loops.items()}
    finally:
        for loop in loops.values():
            tool("losetup", "-d", loop)


class Sysfs:
    """The daemon's /sys, which the rig leaves empty."""

    def __init__(self, guest):
        self.root = pathlib.Path(f"/proc/{guest.pid}/root/sys")

    def write(self, path, text=""):
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(text)

    def read(self, path):
        return (self.root / path).read_text()

    def disk(self, address, name):
        (self.root / f"class/scsi_disk/0:0:{address}/device/block/{name}").mkdir(parents=True)


@pytest.fixture
def sysfs(pod):
    return Sysfs(pod.guest)


def volume(device, mount, **fields):
    return {"device": device, "mount": mount, "fstype": "ext4", **fields}


def test_a_disk_is_a_root(pod, disks):
    with Container(pod, image=disks["root"], fstype="ext4") as container:
        assert container.sh("touch /new; ls /new") == "/new\n"
    with Container(pod, image="/dev/" + disks["root"], fstype="ext4", readOnly=True) as container:
        assert "Read-only" in container.sh("ls /new; touch /new")


def test_a_node_without_a_disk_is_a_disk_that_is_yet_to_come(pod, box):
    """So it is for a moment when one is plugged."""
    name = "hyperstart-test"
    os.mknod(f"/dev/{name}", stat.S_IFBLK | 0o600, os.makedev(60, 1))
    try:
        late = pod.newcontainer("late", ["true"], image=name, container={"fstype": "ext4"})
        assert f"no disk {name} came within " in late.refused()
    finally:
        os.unlink(f"/dev/{name}")


def test_a_disk_is_a_volume_by_its_name_or_its_address(pod, disks, sysfs):
    sysfs.disk("0:7", disks["empty"])
    with Container(pod, volumes=[volume(disks["empty"], "/one"),
                                 volume("", "/ro", addr="0:7", readOnly=True)]) as container:
        assert container.sh("echo shared >/one/file; cat /ro/file") == "shared\n"
        assert "Read-only" in container.sh("touch /ro/x")


def test_a_disk_holds_the_one_file_of_a_volume_for_a_file(pod, disks):
    with Container(pod, volumes=[volume(disks["file"], "/etc/motd")]) as container:
        container.sh("echo more >>/etc/motd")
        assert container.sh("cat /etc/motd") == "a file\nmore\n"


def test_a_new_docker_volume_is_populated_and_an_old_one_is_not(pod, disks):
    with Container(pod, initialize=True, volumes=[
            volume(disks["new"], "/etc", dockerVolume=True),
            volume(disks["old"], "/home", dockerVolume=True)]) as container:
        assert "alice" in container.sh("cat /etc/passwd")
        assert container.sh("ls /home; cat /home/here") == "here\nbefore\n"


def test_a_disk_is_a_device_node(pod, disks, sysfs):
    sysfs.disk("1:2", disks["raw"])
    with Container(pod, fsmap=[{"source": "x", "path": "/dev/disk", "scsiAddr": "1:2"}]) as one:
        assert one.sh("[ -b /dev/disk ] && head -c 1 /dev/disk | wc -c") == "1\n"


@pytest.mark.parametrize("fields, words", [
    ({"addr": "5:1"}, "no disk at SCSI address 5:1 came within"),
    ({"device": "nodisk"}, "no disk nodisk came within"),
    ({"device": "nodisk", "fstype": "nofs"}, "file system 'nofs': neither in the kernel nor a module"),
    ({"device": "raw"}, "no ext4 file system, or a damaged one"),
    ({"mount": "/etc/passwd"}, "/etc/passwd"),
])
def test_a_volume_that_cannot_be_is_an_error(pod, disks, fields, words):
    fields = volume(disks["old"], "/v") | fields
    fields["device"] = disks.get(fields["device"], fields["device"])
    assert words in Container(pod, volumes=[fields]).refused()
    pod.ping()


@pytest.mark.options(deadline=600, devices=1)
def test_a_disk_is_not_waited_for_as_long_as_the_deadline(pod):
    began = time.monotonic()
    assert "no disk nodisk came within" in Container(pod, volumes=[volume("nodisk", "/v")]).refused()
    assert time.monotonic() - began < 300


def test_what_is_offline_is_brought_online(pod, sysfs):
    files = {"cpu/cpu1/online": "0", "cpu/cpu2/online": "1\n", "memory/memory32/online": "0",
             "cpu/possible": "0"}
    for path, text in files.items():
        sysfs.write(f"devices/system/{path}", text)
    sysfs.write("devices/system/cpu/cpu0/topology/core_id", "0")
    pod.ack(Code.ONLINECPUMEM)
    assert {path: sysfs.read(f"devices/system/{path}") for path in files} == {
        "cpu/cpu1/online": "1", "cpu/cpu2/online": "1\n", "memory/memory32/online": "1",
        "cpu/possible": "0"}


def test_hardware_that_does_not_come_online_is_an_error_that_names_it(pod, sysfs):
    sysfs.write("devices/system/cpu/cpu1/online", "0")
    sysfs.write("devices/system/memory")
    assert "'/sys/devices/system/memory'" in pod.error(Code.ONLINECPUMEM)


def test_a_rescan_asks_pci_and_every_scsi_host(pod, sysfs):
    for path in ("bus/pci/rescan", "class/scsi_host/host0/scan", "class/scsi_host/host1/scan"):
        sysfs.write(path)
    pod.ack(Code.READY)
    assert sysfs.read("bus/pci/rescan") == "1"
    assert [sysfs.read(f"class/scsi_host/host{n}/scan") for n in (0, 1)] == ["- - -"] * 2
