# SPDX-License-Identifier: Apache-2.0
"""Block devices: roots and volumes on them, plugged in and out while the guest runs."""

import itertools
import os
import stat
import subprocess
import time

import pytest

from rig import pace
from rig.rootfs import BUSYBOX
from rig.wire import Code

pytestmark = pytest.mark.only("vm", "there are no disks to plug")

numbers = itertools.count(1)
DEADLINE = 6

# In the order of their addresses; the letters are the guest's: vda, vdb, …
VIRTIO = ("root", "volume", "second", "old", "file", "broken", "small", "protected",
          "damaged")


def tool(*command):
    """What it writes. They are not on a user's PATH."""
    environment = {**os.environ, "PATH": os.environ["PATH"] + ":/usr/sbin:/sbin"}
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                          text=True, env=environment).stdout


def make_tree(directory):
    """A root below `rootfs`, with a busybox and little else."""
    root = directory / "rootfs"
    for name in ("bin", "dev", "etc", "proc", "sys", "tmp"):
        (root / name).mkdir(parents=True)
    (root / "bin/busybox").write_bytes(open(BUSYBOX, "rb").read())
    (root / "bin/busybox").chmod(0o755)
    for applet in ("sh", "cat", "sleep", "touch", "true", "ls", "find", "sort", "tr",
                   "xargs", "stat", "md5sum", "readlink", "du", "rm"):
        os.link(root / "bin/busybox", root / "bin" / applet)
    (root / "marker").write_text("on a disk\n")
    seed = root / "seed"
    (seed / "deep/er").mkdir(parents=True)
    for number in range(490):
        file = seed / f"f{number}"
        file.write_text(str(number) * number)
        os.chown(file, number % 7, number % 5 * 1000)
        file.chmod(0o600 + number % 64)
        os.utime(file, (1e9 + number, 1e9 + 2 * number))
    (seed / "f2").chmod(0o4751)
    os.setxattr(seed / "f5", "user.note", b"kept")
    os.link(seed / "f4", seed / "deep/hard")
    for name, target in (("deep/soft", "../f5"), ("dangling", "nowhere")):
        (seed / name).symlink_to(target)
        os.lchown(seed / name, 3, 4)
    os.mknod(seed / "null", 0o640 | stat.S_IFCHR, os.makedev(1, 3))
    os.mkfifo(seed / "fifo")
    with open(seed / "hole", "wb") as file:
        file.truncate(5000000)
        file.write(b"x")
    (seed / " odd  name").mkdir()
    (seed / "deep").chmod(0o1770)
    os.chown(seed / "deep", 7, 8)
    for name in ("deep/er", "deep", ""):
        os.utime(seed / name, (1e9, 981173106))
    return directory


def make_ext4(path, mib, tree=None):
    with open(path, "wb") as file:
        file.truncate(mib << 20)
    tool("mkfs.ext4", "-q", "-F", *(["-d", str(tree)] if tree else []), str(path))


def make_xfs(path, directory):
    """With the root of make_tree: mkfs.xfs reads a list of files."""
    root = directory / "rootfs"
    lines = ["/", "0 0", "d--755 0 0", "rootfs d--755 0 0"]
    for name in sorted(os.listdir(root)):
        lines.append(f"{name} d--755 0 0" if (root / name).is_dir()
                     else f"{name} ---644 0 0 {root / name}")
        if name == "bin":
            lines += [f"{applet} ---755 0 0 {root / 'bin/busybox'}" for applet in ("sh", "cat")]
        if (root / name).is_dir():
            lines.append("$")
    (directory / "proto").write_text("\n".join(lines + ["$", "$"]) + "\n")
    with open(path, "wb") as file:
        file.truncate(320 << 20)
    tool("mkfs.xfs", "-q", "-p", str(directory / "proto"), str(path))


@pytest.fixture(scope="module")
def disks(tmp_path_factory):
    """The image files, by name."""
    directory = tmp_path_factory.mktemp("disks")
    tree = make_tree(tmp_path_factory.mktemp("tree"))
    old = tmp_path_factory.mktemp("old")
    (old / "_data").mkdir()
    (old / "_data/here").write_text("before\n")
    file = tmp_path_factory.mktemp("file")
    (file / "_data").mkdir()
    (file / "_data/.hyper_file_volume_data_do_not_create_on_your_own").write_text("a file\n")

    make_ext4(directory / "root", 32, tree)
    make_ext4(directory / "volume", 64)
    make_ext4(directory / "second", 16)
    make_ext4(directory / "old", 16, old)
    make_ext4(directory / "file", 16, file)
    make_ext4(directory / "broken", 16)
    with open(directory / "broken", "r+b") as image:
        image.seek(2048)  # group descriptors and bitmaps
        image.write(b"\xa5" * (1 << 20))
    make_ext4(directory / "small", 1)
    make_ext4(directory / "protected", 16, old)
    make_ext4(directory / "damaged", 16, old)
    tool("debugfs", "-w", "-R", "clri _data", str(directory / "damaged"))
    make_xfs(directory / "xfs", tree)
    tool("cp", "--sparse=always", str(directory / "xfs"), str(directory / "clone"))
    make_ext4(directory / "plugged", 16)
    (directory / "raw").write_bytes(b"raw bytes of a disk".ljust(1 << 20, b"\0"))
    return directory


@pytest.fixture
def options(rig, disks):
    arguments = ["-device", "virtio-scsi-pci,id=scsi"]
    for name in VIRTIO:
        readonly = ",readonly=on" if name == "protected" else ""
        arguments += ["-drive", f"if=none,id={name},format=raw,file={disks}/{name}{readonly}",
                      "-device", f"virtio-blk-pci,drive={name}"]
    # The same share once more, with owners and nodes kept in attributes.
    arguments += ["-fsdev", f"local,id=mapped,path={os.path.realpath(rig.share.directory)},"
                  "security_model=mapped-xattr,multidevs=remap",
                  "-device", "virtio-9p-pci,fsdev=mapped,mount_tag=mapped"]
    return {"arguments": tuple(arguments), "deadline": DEADLINE}


@pytest.fixture
def pod(host):
    if not host.pod:
        host.startpod(shareDir="mapped")
    return host


def device(name):
    return "vd" + chr(ord("a") + VIRTIO.index(name))


def volume(name, mount, **fields):
    return {"device": device(name), "mount": mount, "fstype": "ext4", **fields}


class Container:
    """A container that stays until its test is over."""

    def __init__(self, pod, image="box", args=("sleep", "100000"), **container):
        self.pod, self.name = pod, f"disk{next(numbers)}"
        self.process = pod.newcontainer(self.name, list(args), container=dict(
            {"image": image} if "image" not in container else {}, **container))

    def __enter__(self):
        self.process.started()
        return self

    def __exit__(self, *exception):
        self.pod.kill(self.name)
        self.process.wait()
        self.pod.ack(Code.REMOVECONTAINER, {"container": self.name})

    def sh(self, script):
        done = self.pod.run(self.name, ["sh", "-c", script])
        return (done.out + done.err).decode()

    def refused(self):
        return self.process.refused()


LEFT = "grep -v ' /proc/' /proc/1/mountinfo; ls $CGROUP/pod; ls /proc/1/fd | wc -l"


@pytest.fixture
def nothing_left(pod):
    before = pod.guest.shell(pod, LEFT)()
    yield
    assert pod.guest.shell(pod, LEFT)() == before


def plug(pod, disks, name, lun):
    """A disk on the SCSI bus, at 0:lun."""
    vm = pod.guest.vm
    vm.qmp("blockdev-add", **{"driver": "raw", "node-name": f"n{lun}",
                              "file": {"driver": "file", "filename": str(disks / name)}})
    vm.qmp("device_add", driver="scsi-hd", bus="scsi.0", id=f"d{lun}", drive=f"n{lun}",
           **{"scsi-id": 0, "lun": lun})


def unplug(pod, lun):
    """Waits until the guest has let go of it."""
    vm = pod.guest.vm
    vm.qmp("device_del", id=f"d{lun}")
    while vm.monitor.wait_event("DEVICE_DELETED", pace.scaled(30))["data"].get("device") != f"d{lun}":
        pass
    vm.qmp("blockdev-del", **{"node-name": f"n{lun}"})


# --- Roots ----------------------------------------------------------------------------------------


def test_a_root_on_a_virtio_disk_read_only_and_writable(pod, nothing_left):
    with Container(pod, image=device("root"), fstype="ext4", readOnly=True) as container:
        assert container.sh("cat /marker") == "on a disk\n"
        assert "Read-only" in container.sh("touch /new")
    with Container(pod, image="/dev/" + device("root"), fstype="ext4", rootfs="/rootfs") as container:
        assert container.sh("touch /new; ls /new") == "/new\n"
        assert "ext4" in container.sh("cat /proc/mounts").splitlines()[0]


def test_a_root_on_a_scsi_disk_that_comes_later_and_goes(pod, disks, nothing_left):
    """xfs, and its clone with the same UUID beside it."""
    plug(pod, disks, "clone", 2)
    waiting = Container(pod, args=["sh", "-c", "cat /marker; read x"], image="", fstype="xfs",
                        scsiAddr="0:3", addr="7:7")
    pod.pump_for(1)
    assert waiting.process.start.kind is None
    plug(pod, disks, "xfs", 3)
    waiting.process.started()
    waiting.process.wait_output(b"on a disk\n")
    beside = pod.newcontainer("clone", ["cat", "/marker"], container={
        "image": "sdz", "fstype": "xfs", "addr": "0:2"}).started()
    assert beside.wait() == 0
    assert beside.out == b"on a disk\n"
    waiting.process.write(b"\n")
    waiting.process.wait()
    for name, lun in ((waiting.name, 3), ("clone", 2)):
        pod.ack(Code.REMOVECONTAINER, {"container": name})
        unplug(pod, lun)
    assert "sd" not in pod.guest.shell(pod, "ls /sys/class/block")()
    assert "I/O error" not in pod.guest.log


@pytest.mark.parametrize("fields, words", [
    ({"image": "", "scsiAddr": "5:1", "fstype": "ext4"}, ["5:1", "came"]),
    ({"image": device("broken"), "fstype": "ext4"}, [device("broken"), "ext4"]),
    ({"image": device("root"), "fstype": "xfs"}, [device("root"), "xfs"]),
    ({"image": device("root"), "fstype": "nofs"}, ["nofs"]),
    ({"image": device("root"), "fstype": "ext4", "rootfs": "none"}, ["none"]),
    ({"image": device("protected"), "fstype": "ext4"}, [device("protected")]),
])
def test_a_root_that_cannot_be_mounted_is_an_error_in_time(pod, nothing_left, fields, words):
    start = time.monotonic()
    text = Container(pod, **fields).refused()
    assert all(word in text for word in words), text
    assert "deadline" not in text
    assert time.monotonic() - start < pod.guest.deadline
    pod.ping()


def test_a_share_with_mapped_owners_takes_them_all(pod, nothing_left):
    with Container(pod) as container:
        assert container.sh("cd /tmp; touch file; chown 1000:5 file; chmod 4711 file; "
                            "mknod node c 1 3; stat -c '%u %g %a %F' file node") == \
            "1000 5 4711 regular empty file\n0 0 644 character special file\n"
        # An image brings no devices.
        assert "denied" in container.sh("cat /tmp/node; rm /tmp/node /tmp/file")


# --- Volumes --------------------------------------------------------------------------------------


def test_a_volume_is_its_data_directory_for_all_who_have_it(pod, nothing_left):
    with Container(pod, volumes=[volume("second", "/a/b"),
                                 volume("second", "/ro", readOnly=True)]) as one:
        assert one.sh("stat -c %a /a/b; ls -A /a/b") == "777\n"
        with Container(pod, volumes=[volume("second", "/v")]) as two:
            two.sh("echo shared >/v/file")
            assert one.sh("cat /a/b/file /ro/file") == "shared\n" * 2
            assert "Read-only" in one.sh("touch /ro/x")
        assert one.sh("cat /a/b/file") == "shared\n"


def test_a_volume_is_not_hidden_by_what_the_share_has_above_it(pod, nothing_left):
    (pod.guest.share.directory / "above").mkdir(exist_ok=True)
    with Container(pod, volumes=[volume("second", "/d/sub")],
                   fsmap=[{"source": "above", "path": "/d"}]) as container:
        container.sh("touch /d/sub/x")
        assert "/d/sub ext4" in container.sh("cat /proc/self/mounts")
    assert not any((pod.guest.share.directory / "above/sub").iterdir())


def test_a_file_volume_is_mounted_on_a_file(pod, nothing_left):
    with Container(pod, volumes=[volume("file", "/etc/motd"),
                                 volume("protected", "/p", readOnly=True)]) as container:
        assert container.sh("cat /etc/motd /p/here") == "a file\nbefore\n"
        container.sh("echo more >>/etc/motd")
        assert container.sh("cat /etc/motd") == "a file\nmore\n"


# Names, modes, owners, times, links and devices of all; targets; checksums.
TREE = """
cd /seed
find . | sort | tr '\\n' '\\0' | xargs -0 stat -c '%n %A %u %g %Y %h %t,%T'
find . -type l | sort | xargs -n1 readlink
find . -type f | sort | tr '\\n' '\\0' | xargs -0 md5sum
"""


def test_a_new_docker_volume_is_populated_with_all_that_the_image_has(pod, disks, nothing_left):
    """500 files, after a lost+found that does not make the volume old."""
    root = {"image": device("root"), "fstype": "ext4"}
    seed = volume("volume", "/seed", dockerVolume=True)
    with Container(pod, **root) as container:
        wanted = container.sh(TREE)
    assert wanted.count("\n") > 980
    with Container(pod, **root, initialize=True, volumes=[seed]) as container:
        assert container.sh(TREE) == wanted
        assert container.sh("du -k /seed/hole").split()[0] in ("4", "8")
        container.sh("rm /seed/f1")
    # Not new any more.
    with Container(pod, **root, initialize=True, volumes=[seed]) as container:
        assert "No such" in container.sh("cat /seed/f1")
    shown = tool("debugfs", "-R", "ea_get /_data/f5 user.note", disks / "volume")
    assert "kept" in shown


def test_a_volume_that_is_full_is_its_containers_trouble_alone(pod, nothing_left):
    with Container(pod, volumes=[volume("small", "/v")]) as container, Container(pod) as other:
        assert "No space" in container.sh("cat /dev/zero >/v/file")
        assert other.sh("echo alive") == "alive\n"
        container.sh("rm /v/file")


def test_an_old_docker_volume_is_left_as_it_is(pod, nothing_left):
    with Container(pod, initialize=True,
                   volumes=[volume("old", "/etc", dockerVolume=True)]) as container:
        assert container.sh("cat /etc/here; ls /etc | grep -c passwd") == "before\n0\n"


def test_a_volume_too_small_for_the_image_is_an_error_and_still_new(pod, nothing_left):
    small = volume("small", "/bin", dockerVolume=True)
    for _ in range(2):
        text = Container(pod, initialize=True, volumes=[small]).refused()
        assert "/bin" in text and "space" in text.lower(), text
    with Container(pod, volumes=[volume("small", "/v")]) as container:
        assert container.sh("ls -A /v | wc -l; df -k /v | tail -n1 | awk '{ print $3 < 200 }'"
                            ).split() == ["0", "1"]


@pytest.mark.parametrize("fields, word", [
    ({"device": "vdz", "mount": "/v", "fstype": "ext4"}, "vdz"),
    ({"device": device("broken"), "mount": "/v", "fstype": "ext4"}, device("broken")),
    ({"device": device("damaged"), "mount": "/v", "fstype": "ext4"}, "_data"),
    ({"device": device("second"), "mount": "/v", "fstype": "xfs"}, "xfs"),
    ({"device": device("second"), "mount": "/etc/passwd", "fstype": "ext4"}, "/etc/passwd"),
    ({"device": device("protected"), "mount": "/v", "fstype": "ext4"}, device("protected")),
])
def test_a_volume_that_cannot_be_is_an_error(pod, nothing_left, fields, word):
    assert word in Container(pod, volumes=[fields]).refused()


def test_a_scsi_disk_is_a_volume_a_device_node_and_unplugged(pod, disks, nothing_left):
    plug(pod, disks, "plugged", 4)
    plug(pod, disks, "raw", 5)
    with Container(pod, volumes=[{"device": "", "addr": "0:4", "mount": "/v", "fstype": "ext4"}],
                   fsmap=[{"source": "x", "path": "/dev/disk", "scsiAddr": "0:5"},
                          {"path": "/other/disk", "scsiAddr": "0:5"}]) as container:
        assert container.sh("head -c19 /dev/disk; echo; head -c3 /other/disk") == \
            "raw bytes of a disk\nraw"
        container.sh("seq 100000 >/v/numbers")
    unplug(pod, 5)
    unplug(pod, 4)
    # All is on the disk, which was let go of in good order.
    state = tool("dumpe2fs", "-h", str(disks / "plugged"))
    assert "needs_recovery" not in state
    listed = tool("debugfs", "-R", "cat /_data/numbers", str(disks / "plugged"))
    assert listed.splitlines()[-1] == "100000"


# --- /dev -----------------------------------------------------------------------------------------


def test_the_guests_dev_is_a_containers_that_asks_for_it(pod, nothing_left):
    with Container(pod, systemMountsInfo={"bindMountDev": True}) as container:
        assert "vport0p1" in container.sh("ls /dev")
        assert container.sh("head -c3 /dev/zero | wc -c; echo x >/dev/shm/x; rm /dev/shm/x") == "3\n"
        terminal = pod.execcmd(container.name, ["tty"], terminal=True).started()
        terminal.wait()
        assert terminal.out == b"/dev/pts/0\r\n"
    with Container(pod) as container:
        assert "vport" not in container.sh("ls /dev")


# --- The end --------------------------------------------------------------------------------------


def test_destroypod_leaves_the_disks_in_good_order(pod, disks):
    """One of a running container, one of a container that has stopped."""
    pod.newcontainer("last", ["sh", "-c", "seq 100000 >/v/last; echo x; sleep 100000"], container={
        "volumes": [volume("volume", "/v")]}).started().wait_output(b"x\n")
    pod.newcontainer("stopped", ["true"], container={
        "volumes": [volume("second", "/v")]}).started().wait()
    pod.ack(Code.DESTROYPOD)
    assert pod.guest.wait_end(pod) == "power-off"
    for name in ("volume", "second"):
        state = tool("dumpe2fs", "-h", str(disks / name))
        assert "needs_recovery" not in state, name
