# SPDX-License-Identifier: Apache-2.0
"""Images that want out: each ends in a clear ERROR or in a harmless container, and nothing outside of
the image has changed."""

import itertools
import os
import subprocess

import pytest

from rig.wire import Code

numbers = itertools.count(1)

# The names in the guest's own root, and what an image could want to write to.
CANARY = "cd /proc/$AGENT/root && ls -a1 . etc 2>&1; cat etc/passwd etc/hosts etc/resolv.conf 2>&1"


class Image:
    def __init__(self, pod):
        self.name = f"hostile{next(numbers)}"
        self.root = pod.guest.share.image(self.name)

    def replace(self, path, target):
        """A symlink in place of what is there."""
        at = self.root / path
        at.parent.mkdir(parents=True, exist_ok=True)
        if at.is_dir() and not at.is_symlink():
            at.rename(at.with_name(at.name + "-was"))
        else:
            at.unlink(missing_ok=True)
        at.symlink_to(target)


@pytest.fixture
def image(pod):
    return Image(pod)


@pytest.fixture
def unharmed(pod):
    """Call it when the deed is done."""
    before = pod.guest.shell(pod, CANARY)()

    def check():
        pod.ping()
        assert pod.guest.shell(pod, CANARY)() == before
    return check


def attempt(pod, image, **container):
    """The text of the ERROR, or None: then the container ran, and was removed."""
    process = pod.newcontainer(image.name, ["true"], container={"image": image.name, **container})
    pod.reply_to(process.start)
    if process.start.kind == Code.ERROR:
        return process.start.text
    process.wait()
    pod.ack(Code.REMOVECONTAINER, {"container": image.name})
    return None


@pytest.mark.parametrize("path, target, word", [
    ("etc", "/", None),
    ("etc", "../../../..", None),
    ("etc/resolv.conf", "/canary", None),
    ("etc/hosts", "../../../../canary", None),
    ("etc/mtab", "/canary", None),
    ("dev", "/tmp", "'dev'"),
    ("dev", "/", "'dev'"),
    ("proc", "/etc", "'proc'"),
    ("sys", "/", "'sys'"),
    ("dev/pts", "/tmp", None),
    ("dev/null", "/etc/passwd", None),
    ("lib/modules", "/canary", None),
    ("lib", "/../../..", None),
    ("lib", "/etc/passwd", None),
    ("lib", "/no/such", None),
    ("etc/passwd", "/proc/self/root/etc/passwd", "etc/passwd"),
    ("etc/group", "loop", None),
    ("loop", "loop", None),
])
def test_a_symlink_in_the_image_leads_nowhere(pod, image, unharmed, path, target, word):
    image.replace(path, target)
    text = attempt(pod, image, initialize=True)
    assert text is None if word is None else word in text, text
    unharmed()


def test_a_file_in_place_of_a_directory_is_an_error(pod, image, unharmed):
    for path in ("sys", "proc", "dev"):
        at = image.root / path
        at.rmdir()
        at.write_text("")
        assert f"'{path}'" in attempt(pod, image)
        at.unlink()
        at.mkdir()
    unharmed()


def test_a_fifo_in_place_of_a_file_holds_nobody_up(pod, image, unharmed):
    for path in ("etc/hosts", "etc/hostname"):
        (image.root / path).unlink(missing_ok=True)
        os.mkfifo(image.root / path)
    attempt(pod, image, initialize=True)
    unharmed()


@pytest.mark.parametrize("target, word", [
    ("/", "root"), ("../../..", "root"), ("/etc", None), ("/dev", None), ("point", "point"),
    ("/no/such", None), ("/proc/self/root", "point"), ("/" + "x/" * 200, None),
    ("../../../../canary/deep", None), ("/proc/no/such", "point"), ("/sys/no/such", "point"),
    ("other", "point"),
])
def test_a_mount_point_that_is_a_symlink_stays_inside(pod, image, unharmed, target, word):
    source = pod.guest.share.directory / f"source{next(numbers)}"
    source.mkdir()
    image.replace("point", target)
    image.replace("other", "point")
    text = attempt(pod, image, fsmap=[{"source": source.name, "path": "/point"}])
    assert text is None if word is None else word in text, text
    unharmed()


def test_what_a_symlink_of_an_honest_image_leads_to_is_made(pod, image, unharmed):
    """As container engines do: of /var/run, /etc/localtime and their like the target may be missing."""
    share = pod.guest.share.directory
    (share / f"{image.name}-directory").mkdir()
    (share / f"{image.name}-file").write_text("UTC")
    image.replace("var/run", "/run")
    image.replace("etc/localtime", "../usr/share/zoneinfo/Etc/UTC")
    image.replace("work", "deep/down")
    fsmap = [{"source": f"{image.name}-directory", "path": "/var/run/secrets"},
             {"source": f"{image.name}-file", "path": "/etc/localtime"}]
    process = pod.newcontainer(
        image.name, ["sh", "-c", "touch /run/secrets/made; cat /usr/share/zoneinfo/Etc/UTC; pwd; read x"],
        image=image.name, workdir="/work/here", container={"initialize": True, "fsmap": fsmap}).started()
    process.wait_output(b"UTC/deep/down/here\n")
    assert (share / f"{image.name}-directory/made").exists()
    image.replace("var/state", "/srv/state/current")
    pod.ack(Code.WRITEFILE, b'{"container":"%s","file":"/var/state/f"}data' % image.name.encode())
    assert (image.root / "srv/state/current/f").read_text() == "data"
    text = pod.error(Code.WRITEFILE, b'{"container":"%s","file":"/srv/none/f"}' % image.name.encode())
    assert "no such file or directory" in text
    unharmed()


@pytest.mark.parametrize("target, there", [("/", "/"), ("../../../etc", "/etc"), ("/..", "/")])
def test_a_workdir_through_a_symlink_is_inside(pod, image, unharmed, target, there):
    image.replace("work", target)
    process = pod.newcontainer(image.name, ["pwd"], image=image.name, workdir="/work").started()
    process.wait()
    assert process.out.decode() == there + "\n"
    unharmed()


def test_a_workdir_to_be_made_behind_a_symlink_is_made_inside(pod, image, unharmed):
    image.replace("work", "/")
    pod.newcontainer(image.name, ["true"], image=image.name, workdir="/work/made",
                     container={"initialize": True}).started().wait()
    assert (image.root / "made").is_dir()
    unharmed()


def test_a_rootfs_that_is_a_symlink_is_below_its_image(pod, image, unharmed):
    directory = image.root.parent
    (directory / "rootfs").rename(directory / "real")
    (directory / "rootfs").symlink_to("/real")
    assert attempt(pod, image) is None
    for target in ("/", "../../..", "/no/such", "rootfs"):
        (directory / "rootfs").unlink()
        (directory / "rootfs").symlink_to(target)
        assert attempt(pod, image) is not None, target
    unharmed()


def test_the_names_of_image_and_rootfs_cannot_leave_the_share(pod, image, unharmed):
    for fields in ({"image": "../../../../etc"}, {"image": "/.."}, {"image": "x" * 4096},
                   {"rootfs": "../../../../../etc/x"}, {"rootfs": "x/" * 2048}):
        process = pod.newcontainer("c", ["true"], image=image.name, container=fields)
        assert process.refused()
    unharmed()


def test_data_that_is_a_symlink_is_refused(pod, image, unharmed):
    source = pod.guest.share.directory / f"source{next(numbers)}"
    source.mkdir()
    (source / "_data").symlink_to("/")
    assert "_data" in attempt(pod, image, fsmap=[
        {"source": source.name, "path": "/v", "dockerVolume": True}])
    unharmed()


def test_population_follows_no_symlink(pod, image, unharmed):
    source = pod.guest.share.directory / f"source{next(numbers)}"
    source.mkdir()
    (source / "_data.new").symlink_to("/")
    seed = image.root / "seed"
    seed.mkdir()
    for name, target in (("out", "/"), ("up", "../../.."), ("self", "/proc/self/root")):
        (seed / name).symlink_to(target)
    assert attempt(pod, image, initialize=True, fsmap=[
        {"source": source.name, "path": "/seed", "dockerVolume": True}]) is None
    assert {entry.name for entry in (source / "_data").iterdir()} == {"out", "up", "self"}
    assert os.readlink(source / "_data/out") == "/"
    unharmed()


@pytest.mark.parametrize("target", ["/dev", "/sys/kernel", "/proc/self"])
def test_a_volume_is_populated_from_the_image_not_from_what_is_mounted_in_it(
        pod, image, unharmed, target):
    source = pod.guest.share.directory / f"source{next(numbers)}"
    source.mkdir()
    image.replace("seed", target)
    (image.root / "dev/of-the-image").write_text("")
    text = attempt(pod, image, initialize=True, fsmap=[
        {"source": source.name, "path": "/seed", "dockerVolume": True}])
    assert text is None, text
    wanted = ["of-the-image"] if target == "/dev" else []
    assert [entry.name for entry in (source / "_data").iterdir()] == wanted
    unharmed()


@pytest.mark.only("host", "QEMU's 9p server takes minutes for paths of that length")
def test_directories_nested_too_deep_are_an_error(pod, image, unharmed):
    source = pod.guest.share.directory / f"source{next(numbers)}"
    source.mkdir()
    (image.root / "seed").mkdir()
    at = os.open(image.root / "seed", os.O_DIRECTORY)
    for _ in range(1100):
        os.mkdir("d", dir_fd=at)
        below = os.open("d", os.O_DIRECTORY, dir_fd=at)
        os.close(at)
        at = below
    os.close(at)
    fsmap = [{"source": source.name, "path": "/seed", "dockerVolume": True}]
    assert "populate" in attempt(pod, image, initialize=True, fsmap=fsmap)
    assert list(source.iterdir()) == []
    subprocess.run(["rm", "-r", image.root / "seed"], check=True)  # Python's own cannot
    unharmed()


# --- From inside ----------------------------------------------------------------------------------


# Docker's, but for the one that makes devices.
CAPABILITIES = [f"CAP_{name}" for name in """CHOWN DAC_OVERRIDE FSETID FOWNER NET_RAW SETGID SETUID
    SETFCAP SETPCAP NET_BIND_SERVICE SYS_CHROOT KILL AUDIT_WRITE""".split()]


def limited(names):
    return {"capabilities": {key: names for key in ("bounding", "effective", "permitted")}}


@pytest.mark.parametrize("who", [
    {"user": "alice"}, {"user": "alice", **limited([])}, limited([]), limited(CAPABILITIES),
], ids=["user", "user-without", "root-without", "docker"])
def test_nothing_of_the_guest_or_of_another_container_is_in_reach(pod, image, unharmed, who):
    """What is not there by name cannot be made, mounted or looked at through another process."""
    other, inner = Image(pod), f"inner{next(numbers)}"
    (other.root / "secret").write_text("of another image")
    (pod.guest.share.directory / inner).mkdir()
    (pod.guest.share.directory / "mark-of-the-share").write_text("")
    twin = Image(pod)
    if "capabilities" in who:  # with the full set in its bounding set it may become anything
        (twin.root / "secret").write_text("of an image like this")
    for name in (other.name, twin.name, image.name):
        pod.newcontainer(name, ["sleep", "100000"], image=name, container={
            "fsmap": [{"source": inner, "path": "/shared"}]},
            **({} if name == other.name else who)).started()

    def words(script):
        return pod.run(image.name, ["sh", "-c", f"{script} 2>/dev/null"], **who).out.decode().split()
    devices = words("find /dev")
    assert "/dev/null" in devices
    for name in devices:
        assert not name.rpartition("/")[2].startswith(
            ("vport", "vd", "sd", "kmsg", "mem", "port", "hvc", "console", "hwrng", "rtc")), name
    assert words("mknod /tmp/mem c 1 1; mknod /tmp/disk b 254 0; ls /tmp") == []
    assert words("mkdir /tmp/m; mount -t 9p share /tmp/m; mount -t devtmpfs dev /tmp/m; ls /tmp/m; "
                 "mount -o bind /proc /tmp/m; ls /tmp/m; rmdir /tmp/m") == []
    assert words("find / -name mark-of-the-share -o -name '*.sock' -o -path /run/hyperstart") == []
    # The pod's init has an empty root, and nobody may look through a process of another container.
    assert words("ls -A /proc/1/root/ /proc/1/cwd/") in ([], ["/proc/1/cwd/:", "/proc/1/root/:"])
    assert words("cat /proc/[0-9]*/root/secret /proc/[0-9]*/cwd/secret") == []
    assert words("cat secret; cd /shared/..; cat secret ../secret") == []
    points = words("cut -d' ' -f5 /proc/self/mountinfo")
    assert all(point in ("/", "/shared") or
               point.startswith(("/proc", "/sys", "/dev", "/etc/", "/lib/modules"))
               for point in points), points
    for path in ("/proc/sysrq-trigger", "/proc/sys/kernel/core_pattern", "/sys/kernel/uevent_helper"):
        assert words(f"echo x >{path} && echo written") == []
    for name in (other.name, twin.name, image.name):
        pod.kill(name)
    unharmed()


# --- Races ----------------------------------------------------------------------------------------

RACER = """
cd /shared
mkdir -p real/deep other; ln -s / link
while true; do mv real kept; mv link real; mv real link; mv kept real; done 2>/dev/null
"""


@pytest.mark.only("host", "the VM's time is for what needs a VM")
@pytest.mark.limit(200)
def test_200_containers_beside_one_that_swaps_their_mount_points(pod, image, unharmed):
    """The racer and the others share a directory; their mount points lie below it."""
    shared = pod.guest.share.directory / f"swapped{next(numbers)}"
    shared.mkdir()
    fsmap = [{"source": shared.name, "path": "/shared"}]
    racer = pod.newcontainer("racer", ["sh", "-c", RACER], image=Image(pod).name,
                             container={"fsmap": fsmap}).started()
    inner = pod.guest.share.directory / f"inner{next(numbers)}"
    inner.mkdir()
    outcomes = set()
    for _ in range(200):
        text = attempt(pod, image, fsmap=fsmap + [
            {"source": inner.name, "path": "/shared/real/deep/made/by/setup"}])
        outcomes.add(text is None)
    assert outcomes  # either is fine
    assert racer.code is None
    unharmed()
