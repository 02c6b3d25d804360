# SPDX-License-Identifier: Apache-2.0
"""What a container finds in its root: the base mounts, what the share adds, and nothing else."""

import itertools
import os

import pytest

from rig.wire import Code


numbers = itertools.count(1)  # of names: the share outlives a daemon


def read(pod, name, script, user=None):
    """What a shell script in the container writes."""
    fields = {"user": user} if user else {}
    done = pod.run(name, ["sh", "-c", script], **fields)
    assert done.code == 0, done.err.decode()
    return done.out.decode()


def start(pod, name, image="box", **container):
    return pod.newcontainer(name, ["sleep", "100000"], image=image, container=container).started()


def remove(pod, name, process):
    pod.kill(name)
    process.wait()
    pod.ack(Code.REMOVECONTAINER, {"container": name})


@pytest.fixture
def fresh(pod):
    """A name for a container and an image of its own, and the image's root on the share."""
    name = f"root{next(numbers)}"
    return name, pod.guest.share.image(name)


@pytest.fixture
def fresh_image(host):
    """The same before there is a pod."""
    name = f"root{next(numbers)}"
    return name, host.guest.share.image(name)


AGENT = """
grep -v ' /proc/' /proc/$AGENT/mountinfo | cut -d' ' -f4- | sort
ls "$CGROUP/pod" /proc/$AGENT/root/run/hyperstart
ls /proc/$AGENT/fd | wc -l
"""


def agent(pod):
    """All that a container could leave behind."""
    return pod.guest.shell(pod, AGENT)()


# --- The base mounts ------------------------------------------------------------------------------


def test_the_base_file_systems_are_there_with_their_limits(pod, box):
    mounts = {}
    for line in read(pod, box.name, "cat /proc/self/mountinfo").splitlines():
        before, after = line.split(" - ")
        mounts[before.split()[4]] = (after.split()[0], set(before.split()[5].split(",")))
    nothing = {"nosuid", "nodev", "noexec"}
    for path, fstype, wanted in (
            ("/proc", "proc", nothing), ("/sys", "sysfs", nothing | {"ro"}),
            ("/dev", "tmpfs", {"nosuid", "noexec"}), ("/dev/pts", "devpts", {"nosuid", "noexec"}),
            ("/dev/shm", "tmpfs", nothing), ("/dev/mqueue", "mqueue", nothing),
            ("/sys/fs/cgroup", "cgroup2", nothing | {"ro"})):
        assert mounts[path][0] == fstype, path
        assert wanted <= mounts[path][1], path
    assert "nodev" in mounts["/"][1]
    assert not any("hyperstart" in path for path in mounts)


def test_dev_holds_what_programs_need_and_nothing_of_the_guest(pod, box):
    names = read(pod, box.name, "cd /dev; ls -a | sort").split()
    assert set(names) - {".", ".."} == {
        "fd", "full", "mqueue", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin", "stdout",
        "tty", "urandom", "zero"}
    assert read(pod, box.name, "head -c3 /dev/zero | wc -c; echo x >/dev/null; echo y >/dev/stdout"
                ).split() == ["3", "y"]


def test_a_terminal_is_dev_console_too_and_its_user_owns_it(pod, fresh):
    name, _ = fresh
    process = pod.newcontainer(name, ["sh", "-c", "tty; stat -c '%U %G %a' $(tty); "
                                      "echo to-console >/dev/console; read x"],
                               image=name, terminal=True, user="alice").started()
    process.wait_output(b"to-console")
    process.write(b"\n")
    process.wait()
    assert process.out.startswith(b"/dev/pts/0\r\nalice tty 620\r\nto-console\r\n")


def test_all_containers_of_a_pod_have_one_shm_and_none_shrinks_it(pod, fresh):
    size = "df -k /dev/shm | tail -n1 | awk '{print $2}'"
    name, _ = fresh
    first = start(pod, name + "a")
    before = int(read(pod, name + "a", size))
    assert before >= 65536
    larger = (before + 4096) * 1024
    second = start(pod, name + "b", systemMountsInfo={"bindMountDev": False, "devShmSize": larger})
    third = start(pod, name + "c", systemMountsInfo={"devShmSize": 1 << 20})
    sizes = {int(read(pod, name + letter, size)) * 1024 for letter in "abc"}
    assert sizes == {larger}
    read(pod, name + "a", "echo together >/dev/shm/file")
    assert read(pod, name + "b", "cat /dev/shm/file; rm /dev/shm/file") == "together\n"
    assert read(pod, name + "b", "stat -c %a /dev/shm") == "1777\n"
    for letter, process in zip("abc", (first, second, third)):
        remove(pod, name + letter, process)


def test_a_start_that_fails_leaves_shm_as_it_was(pod, box):
    size = "df -k /dev/shm | tail -n1"
    before = read(pod, box.name, size)
    pod.newcontainer("c", ["true"], container={
        "systemMountsInfo": {"devShmSize": 1 << 30},
        "fsmap": [{"source": "no-such", "path": "/x"}]}).refused()
    assert read(pod, box.name, size) == before


def test_a_container_sees_its_own_cgroup_and_cannot_write_there(pod, box):
    if "cgroup2" not in read(pod, box.name, "cat /proc/self/mounts"):
        pytest.skip("there are no cgroups")
    assert read(pod, box.name, "wc -l </sys/fs/cgroup/cgroup.procs").strip() != "0"
    assert read(pod, box.name, "ls -d /sys/fs/cgroup/c-* 2>/dev/null || echo none") == "none\n"
    assert "Read-only" in read(pod, box.name, "mkdir /sys/fs/cgroup/x 2>&1 || true")


def test_a_read_only_root_is_read_only_and_its_dev_is_not(pod, fresh):
    name, _ = fresh
    process = start(pod, name, image=name, readOnly=True)
    assert "Read-only" in read(pod, name, "touch /x 2>&1 || true")
    assert read(pod, name, "echo x >/dev/shm/x; rm /dev/shm/x; echo y") == "y\n"
    remove(pod, name, process)


@pytest.mark.only("vm", "this machine has no modules to show")
def test_the_guests_modules_are_there_to_be_read(pod, fresh):
    name, _ = fresh
    process = start(pod, name, image=name)
    assert read(pod, name, "cat /lib/modules/modules.dep") == "of the guest\n"
    assert "Read-only" in read(pod, name, "touch /lib/modules/x 2>&1 || true")
    remove(pod, name, process)


# --- The first start ------------------------------------------------------------------------------


def test_the_first_start_makes_the_init_layer_and_the_workdir(pod, fresh):
    name, root = fresh
    process = pod.newcontainer(name, ["sh", "-c", "pwd; sleep 100000"], image=name,
                               container={"initialize": True}, workdir="/made/on/start").started()
    process.wait_output(b"/made/on/start\n")
    for file in ("hosts", "hostname", "resolv.conf"):
        assert (root / "etc" / file).is_file()
    assert os.readlink(root / "etc/mtab") == "/proc/mounts"
    remove(pod, name, process)


def test_no_later_start_makes_a_workdir(pod, fresh):
    name, root = fresh
    process = pod.newcontainer(name, ["true"], image=name, workdir="/not/there")
    assert "/not/there" in process.refused()
    assert not (root / "not").exists()


@pytest.mark.only("host", "the guest of a module has one pod, which has no name servers")
@pytest.mark.parametrize("target", ["../run/systemd/resolve/stub-resolv.conf", "/run/dns/conf",
                                    "/canary-{pid}", "../../../../canary-{pid}"])
def test_a_resolv_conf_that_leads_to_nothing_yet_is_the_pods(host, fresh_image, target):
    """As in an image with systemd's resolved."""
    name, root = fresh_image
    (root / "etc/resolv.conf").symlink_to(target.format(pid=os.getpid()))
    host.startpod(dns=["192.0.2.1"])
    process = start(host, name, image=name)
    assert read(host, name, "cat /etc/resolv.conf") == "nameserver 192.0.2.1\n"
    assert not os.path.exists(f"/canary-{os.getpid()}")
    remove(host, name, process)


@pytest.mark.only("host", "the guest of a module has one pod, which has no name servers")
def test_name_servers_that_cannot_be_told_are_an_error(host, fresh_image):
    name, root = fresh_image
    (root / "etc/resolv.conf").symlink_to("resolv.conf")
    host.startpod(dns=["192.0.2.1"])
    text = host.newcontainer(name, ["true"], image=name).refused()
    assert "/etc/resolv.conf" in text, text


# --- Sysctls --------------------------------------------------------------------------------------


def test_sysctls_are_set_with_dots_and_with_slashes(pod, fresh):
    name, _ = fresh
    process = start(pod, name, sysctl={"kernel.shm_rmid_forced": "1", "kernel/msgmax": "9000",
                                       "net.ipv4.ip_unprivileged_port_start": "512",
                                       "fs.mqueue.msg_max": None})
    assert read(pod, name, "cd /proc/sys; cat kernel/shm_rmid_forced kernel/msgmax "
                "net/ipv4/ip_unprivileged_port_start").split() == ["1", "9000", "512"]
    remove(pod, name, process)


@pytest.mark.parametrize("name, value, why", [
    ("kernel.core_pattern", "|/bin/sh", "a container may not set it"),
    ("kernel/modprobe", "/bin/sh", "a container may not set it"),
    ("kernel.panic", "1", "a container may not set it"),
    ("vm.panic_on_oom", "1", "a container may not set it"),
    ("vm/./panic_on_oom", "1", "a container may not set it"),
    ("vm/../kernel/core_pattern", "x", "a container may not set it"),
    ("/etc/passwd", "x", "a container may not set it"),
    ("", "1", "a container may not set it"),
    ("net.no.such", "1", "no such sysctl"),
    ("kernel.msgmax", "much", "msgmax"),
    ("kernel.msgmax", "", "msgmax"),
])
def test_a_sysctl_that_cannot_be_is_an_error_that_names_it(pod, name, value, why):
    text = pod.newcontainer("c", ["true"], container={"sysctl": {name: value}}).refused()
    assert why in text and name in text, text


# --- fsmap ----------------------------------------------------------------------------------------


@pytest.fixture
def shared(pod):
    """A directory of the share beside the images."""
    directory = pod.guest.share.directory / f"shared{next(numbers)}"
    directory.mkdir()
    (directory / "file").write_text("from the share\n")
    return directory


def test_a_directory_and_a_file_of_the_share_are_mounted(pod, fresh, shared):
    name, root = fresh
    process = start(pod, name, image=name, fsmap=[
        {"source": shared.name, "path": "/new/place"},
        {"source": f"/{shared.name}/file", "path": "etc/hosts"},
        {"source": shared.name, "path": "/ro", "readOnly": True},
    ])
    assert read(pod, name, "cat /new/place/file /etc/hosts") == "from the share\n" * 2
    read(pod, name, "echo more >/new/place/made")
    assert (shared / "made").exists()
    assert "Read-only" in read(pod, name, "touch /ro/x 2>&1 || true")
    remove(pod, name, process)
    assert (root / "new/place").is_dir() and not any((root / "new/place").iterdir())


@pytest.mark.parametrize("upper, lower", [
    ("/d", "/d/sub"), ("d/", "//d/./sub"), ("/d", "/x/../d/sub"), ("/d/one/..", "/d/sub/deeper")])
@pytest.mark.parametrize("turned", [False, True], ids=["in-order", "deeper-first"])
def test_what_is_mounted_deeper_is_not_hidden_by_what_is_above(
        pod, fresh, shared, upper, lower, turned):
    name, _ = fresh
    (shared / "below").mkdir()
    (shared / "below/it").write_text("below\n")
    fsmap = [{"source": shared.name, "path": upper},
             {"source": f"{shared.name}/below", "path": lower}]
    if lower.startswith("/x"):
        (pod.guest.share.directory / name / "rootfs/x").mkdir()
    start(pod, name, image=name, fsmap=fsmap[::-1] if turned else fsmap)
    assert read(pod, name, f"cat /d/file {lower}/it") == "from the share\nbelow\n"


def test_what_is_mounted_twice_at_one_place_is_the_last_of_the_list(pod, fresh, shared):
    name, _ = fresh
    (shared / "last").mkdir()
    start(pod, name, image=name, fsmap=[{"source": shared.name, "path": "/d"},
                                        {"source": f"{shared.name}/last", "path": "/d"}])
    assert read(pod, name, "ls /d") == ""


def test_a_docker_volume_is_its_data_directory_which_is_made(pod, fresh, shared):
    name, _ = fresh
    process = start(pod, name, image=name, fsmap=[
        {"source": shared.name, "path": "/v", "dockerVolume": True}])
    assert read(pod, name, "ls -A /v; stat -c %a /v") == "777\n"
    read(pod, name, "echo in >/v/made")
    assert (shared / "_data/made").read_text() == "in\n"
    remove(pod, name, process)


def test_a_new_docker_volume_is_populated_from_the_image_once(pod, fresh, shared):
    name, root = fresh
    (root / "seed/deep").mkdir(parents=True)
    (root / "seed/deep/one").write_text("1")
    (root / "seed").chmod(0o751)
    fsmap = [{"source": shared.name, "path": "/seed", "dockerVolume": True}]
    process = start(pod, name, image=name, fsmap=fsmap, initialize=True)
    assert read(pod, name, "cat /seed/deep/one; stat -c ' %a' /seed; rm /seed/deep/one") == "1 751\n"
    remove(pod, name, process)
    process = start(pod, name, image=name, fsmap=fsmap, initialize=True)
    assert read(pod, name, "ls /seed/deep | wc -l") == "0\n"
    remove(pod, name, process)
    assert (root / "seed/deep/one").exists()
    assert [entry.name for entry in shared.iterdir() if entry.name.startswith("_")] == ["_data"]


def test_a_volume_that_another_container_has_is_populated_under_it(pod, fresh, shared):
    name, root = fresh
    (root / "seed/deep").mkdir(parents=True)
    (root / "seed/deep/one").write_text("1")
    (root / "seed").chmod(0o751)
    fsmap = lambda path: [{"source": shared.name, "path": path, "dockerVolume": True}]
    first = start(pod, f"{name}-first", image=name, fsmap=fsmap("/v"), initialize=True)
    second = start(pod, name, image=name, fsmap=fsmap("/seed"), initialize=True)
    assert read(pod, f"{name}-first", "cat /v/deep/one; stat -c ' %a' /v; echo 2 >/v/two") == "1 751\n"
    assert read(pod, name, "cat /seed/two") == "2\n"
    remove(pod, f"{name}-first", first)
    remove(pod, name, second)
    assert [entry.name for entry in shared.iterdir() if entry.name.startswith("_")] == ["_data"]


def test_a_path_of_the_guest_is_mounted(pod, fresh):
    name, _ = fresh
    process = start(pod, name, image=name, fsmap=[
        {"source": "/dev/zero", "path": "/dev/more", "absolutePath": True},
        {"source": "/dev", "path": "/guest", "absolutePath": True, "readOnly": True}])
    assert read(pod, name, "head -c5 /dev/more | wc -c; ls -d /guest/null").split() == [
        "5", "/guest/null"]
    # The directory came along, its devices did not.
    assert pod.run(name, ["head", "-c1", "/guest/zero"]).code != 0
    remove(pod, name, process)


@pytest.mark.parametrize("entry, words", [
    ({"source": "no-such", "path": "/x"}, ["/x", "no-such"]),
    ({"source": "/no/such", "path": "/x", "absolutePath": True}, ["/x", "/no/such"]),
    ({"source": "{shared}", "path": "/etc/passwd"}, ["/etc/passwd"]),
    ({"source": "{shared}/file", "path": "/tmp"}, ["/tmp", "directory"]),
    ({"source": "{shared}", "path": "/"}, ["root"]),
    ({"source": "{shared}", "path": "/" + "x/" * 2048}, ["name too long"]),
    ({"source": "{shared}", "path": "/" + "x" * 300}, ["name too long"]),
    ({"path": "/x"}, ["fsmap[0]", "source"]),
    ({"source": "x"}, ["fsmap[0].path"]),
    ({"scsiAddr": "1:2:3", "path": "/x"}, ["scsiAddr", "1:2:3"]),
])
def test_an_fsmap_that_cannot_be_is_an_error_and_leaves_nothing(pod, box, fresh, shared, entry, words):
    name, _ = fresh
    entry = {key: value.format(shared=shared.name) if isinstance(value, str) else value
             for key, value in entry.items()}
    before = agent(pod)
    text = pod.newcontainer(name, ["true"], image=name, container={"fsmap": [entry]}).refused()
    assert all(word.lower() in text.lower() for word in words), text
    assert agent(pod) == before
    remove(pod, name, start(pod, name, image=name))


@pytest.mark.parametrize("volume, words", [
    ({"device": "vdx/y", "mount": "/v", "fstype": "ext4"}, ["volumes[0]", "vdx/y"]),
    ({"device": "..", "mount": "/v", "fstype": "ext4"}, ["volumes[0]", ".."]),
    ({"mount": "/v", "fstype": "ext4"}, ["volumes[0]", "device"]),
    ({"device": "vdx", "mount": "/v"}, ["volumes[0].fstype"]),
    ({"device": "vdx", "mount": "/v", "fstype": "../x"}, ["volumes[0]", "../x"]),
    ({"device": "vdx", "fstype": "ext4"}, ["volumes[0].mount"]),
])
def test_a_volume_that_makes_no_sense_is_an_error(pod, volume, words):
    text = pod.newcontainer("c", ["true"], container={"volumes": [volume]}).refused()
    assert all(word in text for word in words), text


@pytest.mark.parametrize("fields, word", [
    ({"image": ""}, "image"), ({"image": "", "addr": "0:1"}, "fstype"),
    ({"image": "a/b", "fstype": "ext4"}, "a/b"), ({"addr": "x", "fstype": "ext4"}, "addr"),
])
def test_an_image_that_makes_no_sense_is_an_error(pod, fields, word):
    assert word in pod.newcontainer("c", ["true"], container=fields).refused()


# --- What is left ---------------------------------------------------------------------------------


def test_nothing_is_left_of_a_removed_container(pod, box, fresh, shared):
    before = agent(pod)
    for number in range(3):
        process = start(pod, f"gone{number}", image=fresh[0],
                        fsmap=[{"source": shared.name, "path": "/tmp/x"}])
        remove(pod, f"gone{number}", process)
    assert agent(pod) == before


@pytest.mark.only("host", "the VM's time is for what needs a VM")
@pytest.mark.limit(300)
@pytest.mark.options(binary="musl")
def test_500_containers_with_three_mounts_leave_nothing(pod, box, fresh, shared):
    """What each costs, `make bench` counts."""
    fsmap = [{"source": shared.name, "path": f"/tmp/{at}"} for at in "abc"]
    before = agent(pod)
    many = {f"many{number}": start(pod, f"many{number}", fresh[0], fsmap=fsmap)
            for number in range(500)}
    for name, process in many.items():
        remove(pod, name, process)
    assert agent(pod) == before
