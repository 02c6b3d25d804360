# SPDX-License-Identifier: Apache-2.0
"""What a container must not see, write or learn."""

import errno

import pytest

from test_privileges import CAPABILITIES, DOCKER, NONE, sets

USUAL = sets(DOCKER, DOCKER, DOCKER, DOCKER, NONE)
MASKED = """/proc/acpi /proc/kcore /proc/keys /proc/latency_stats /proc/timer_list /proc/timer_stats
    /proc/sched_debug /proc/scsi /sys/firmware""".split()
READ_ONLY = """/proc/1 /proc/bus /proc/dynamic_debug /proc/fs /proc/irq /proc/pressure /proc/sys
    /proc/sysrq-trigger""".split()


def shell(pod, container, script, **process):
    done = pod.run(container, ["sh", "-c", script], **process)
    return done.out.decode() + done.err.decode()


@pytest.fixture
def guarded(pod):
    """A container like Docker's."""
    name = f"guarded{pod.fresh_seq()}"
    pod.newcontainer(name, ["sleep", "100000"], capabilities=USUAL).started()
    return name


@pytest.fixture
def mounting(pod):
    """One whose process may mount."""
    name = f"mounting{pod.fresh_seq()}"
    admin = sets(*[DOCKER + ["SYS_ADMIN"]] * 4, NONE)
    pod.newcontainer(name, ["sleep", "100000"], capabilities=admin).started()
    return name


def mounted_on(pod, container):
    lines = shell(pod, container, "cat /proc/self/mounts").splitlines()
    return {line.split()[1]: line.split()[3].split(",") for line in lines}


def need(pod, box, path):
    """Skips where this kernel has no such path."""
    if shell(pod, box.name, f"[ -e {path} ] && echo yes") != "yes\n":
        pytest.skip(f"this kernel has no {path}")


@pytest.mark.parametrize("path", MASKED)
def test_what_tells_of_the_whole_guest_is_not_seen_in_a_container(pod, box, guarded, path):
    need(pod, box, path)
    mounts = mounted_on(pod, guarded)
    # A directory has no entry, a file no byte.
    assert shell(pod, guarded, f"[ -d {path} ] && ls -A {path} || head -c1 {path}") == ""
    assert "ro" in mounts[path] or not shell(pod, guarded, f"[ -d {path} ] && echo yes")


@pytest.mark.parametrize("path", READ_ONLY)
def test_what_works_on_the_whole_guest_is_read_only_in_a_container(pod, box, guarded, path):
    need(pod, box, path)
    assert "ro" in mounted_on(pod, guarded)[path]


@pytest.mark.parametrize("path", ["/proc/1/oom_score_adj", "/proc/sysrq-trigger",
                                  "/proc/sys/kernel/core_pattern", "/proc/sys/kernel/hostname"])
def test_a_file_that_works_on_the_whole_guest_cannot_be_opened_for_writing(pod, box, guarded, path):
    need(pod, box, path)
    assert "Read-only file system" in shell(pod, guarded, f"echo x >{path}")


def namespaces(pod, container, **process):
    """What tests/prog/namespaces says: the errno of each call, 0 for one that works."""
    done = pod.run(container, ["namespaces"], **process)
    return {name: int(number) for name, number in map(str.split, done.out.decode().splitlines())}


def test_a_process_without_cap_sys_admin_gets_no_namespace(pod, box, guarded):
    free, limited = namespaces(pod, box.name), namespaces(pod, guarded, capabilities=USUAL)
    refused = {"unshare-user", "unshare-mount", "setns", "clone-user", "clone-parent", "i386-unshare", "i386-setns",
               "i386-clone"}
    assert {name: limited[name] for name in refused & {*free}} == \
        {name: errno.EPERM for name in refused & {*free}}
    for name in {"clone3", "i386-clone3", "x32-unshare"} & {*free}:
        assert limited[name] == errno.ENOSYS, name
    for name in "unshare-files", "clone", "i386-getpgid":
        assert limited.get(name) == free.get(name), name
    assert free["unshare-user"] == free["unshare-mount"] == 0
    user = {"capabilities": sets(*[NONE] * 5), "user": "alice"}
    assert namespaces(pod, guarded, **user) == limited


# Bounded reads: what a device is asked for here does nothing.
OPEN = """cd /dev; for number in {}; do
    mknod node ${{number%%:*}} $(echo ${{number#*:}} | tr : " ") && (: <node) && echo $number; rm node
done"""
GUESTS_OWN = ["c:1:1", "c:1:11", "c:4:64", "c:5:1", "c:10:{userfaultfd}", "b:{disk}:0"]
EVERYBODYS = ["c:1:3", "c:1:5", "c:1:7", "c:1:8", "c:1:9"]


def device_numbers(pod, box):
    """Those of the guest's own devices that this kernel has."""
    misc = shell(pod, box, "sed -n 's/ userfaultfd$//p' /proc/misc").strip() or "99"
    disk = shell(pod, box, "sed -n 's/ virtblk$//p' /proc/devices").strip() or "254"
    return [number.format(userfaultfd=misc, disk=disk) for number in GUESTS_OWN]


def test_a_container_opens_no_device_of_the_guest(pod, box, guarded):
    """Though with CAP_MKNOD, one of the fourteen, it can make a node for each."""
    everything = sets(*[CAPABILITIES] * 4, NONE)
    guests = device_numbers(pod, box.name)
    for capabilities in USUAL, everything:
        text = shell(pod, guarded, OPEN.format(" ".join(guests)), capabilities=capabilities)
        assert text.count("Operation not permitted") == len(guests), text
        text = shell(pod, guarded, OPEN.format(" ".join(EVERYBODYS)), capabilities=capabilities)
        assert text.split() == EVERYBODYS
    assert "c:1:11" in shell(pod, box.name, OPEN.format("c:1:11")).split()


def nulls(count):
    return [{"source": "/dev/null", "path": f"/dev/null{number}", "absolutePath": True}
            for number in range(count)]


def test_a_container_opens_the_devices_that_its_host_names(pod):
    name = f"kmsg{pod.fresh_seq()}"
    fsmap = [*nulls(63), {"source": "/dev/kmsg", "path": "/dev/log", "absolutePath": True}]
    pod.newcontainer(name, ["sleep", "100000"], capabilities=USUAL,
                     container={"fsmap": fsmap}).started()
    everything = sets(*[CAPABILITIES] * 4, NONE)  # the kernel itself asks for CAP_SYSLOG
    text = shell(pod, name, "(: </dev/log) && echo open", capabilities=everything)
    assert text.split() == ["open"]
    numbers = OPEN.format("c:1:11 c:1:1")
    assert "c:1:11" in (text := shell(pod, name, numbers, capabilities=everything)).split()
    assert "Operation not permitted" in text


@pytest.mark.parametrize("capabilities, refused", [(USUAL, True), (None, False)],
                         ids=["limited", "unlimited"])
def test_only_a_container_that_is_limited_has_a_limit_of_devices(pod, capabilities, refused):
    process = pod.newcontainer(f"many{pod.fresh_seq()}", ["true"], capabilities=capabilities,
                               container={"fsmap": nulls(65)})
    if refused:
        assert "fsmap '/dev/null64': more than 64 devices" in process.refused()
    else:
        assert process.started().wait() == 0


def test_a_container_with_the_guests_dev_opens_what_is_in_it(pod):
    name = f"dev{pod.fresh_seq()}"
    mounts = {"systemMountsInfo": {"bindMountDev": True}}
    pod.newcontainer(name, ["sleep", "100000"], capabilities=USUAL, container=mounts).started()
    text = shell(pod, name, "(: </dev/kmsg) && echo open",
                 capabilities=sets(*[CAPABILITIES] * 4, NONE))
    assert text.split() == ["open"]


def test_a_container_that_may_mount_sees_everything(pod, box, mounting):
    for container in (box.name, mounting):
        assert not set(mounted_on(pod, container)) & {*MASKED, *READ_ONLY}


def test_the_guard_holds_for_every_later_process(pod, guarded):
    everything = sets(*[CAPABILITIES] * 4, NONE)
    for capabilities in (USUAL, everything, None):
        text = shell(pod, guarded, "echo x >/proc/sys/kernel/hostname", capabilities=capabilities)
        assert "Read-only file system" in text


def test_the_pods_init_shows_nothing(pod, guarded):
    for name in ("root/", "cwd/", "fd/", "exe", "environ", "maps", "mem", "ns/mnt", "map_files/"):
        text = shell(pod, guarded, f"[ -h /proc/1/{name} ] && readlink /proc/1/{name} || "
                     f"{'ls -A' if name[-1] == '/' else 'head -c1'} /proc/1/{name}",
                     capabilities=USUAL)
        empty = name in ("fd/", "map_files/") and text == ""
        assert "ermission denied" in text or empty, (name, text)


def test_the_pods_init_shows_nothing_to_who_may_look(pod, box):
    """A full set of capabilities opens the door: there is nothing behind it."""
    for directory in ("root", "cwd", "fd"):
        assert shell(pod, box.name, f"ls -A /proc/1/{directory}/") == "", directory
    assert "Read-only file system" in shell(pod, box.name, "echo x >/proc/1/root/x")


def test_a_container_has_no_fd_but_its_stdio(pod, box, guarded):
    for container in (box.name, guarded):
        # 3 is that of ls itself.
        assert shell(pod, container, "exec ls /proc/self/fd").split() == ["0", "1", "2", "3"]


def test_what_shuts_out_other_containers_shuts_out_nothing_else(pod, guarded):
    """A Landlock domain has rules about links and renames between directories: ours allows all."""
    script = """cd /tmp && mkdir from to && echo x >from/f && mv from/f to && ln to/f from/g &&
        mv from to/d && mv to /dev/shm/t && cat /dev/shm/t/d/g && rm -r /dev/shm/t &&
        unnamed /dev/shm /dev/shm/named && cat /dev/shm/named && rm /dev/shm/named"""
    assert shell(pod, guarded, script).split() == ["x", "unnamed"]
    # Its own children stay in sight, as with gdb or strace.
    assert shell(pod, guarded, "sleep 9 & readlink /proc/$!/root; kill $!").strip() == "/"


@pytest.mark.only("vm", "a file of the machine's own serves as agent on the other")
@pytest.mark.parametrize("write", [": >/proc/1/exe", "chmod 777 /proc/1/exe"])
def test_the_agents_file_cannot_be_written(pod, box, write):
    """Not even by who may all, and not by the mere luck that it is running ("text file busy")."""
    assert "Read-only file system" in shell(pod, box.name, write, id="p")


@pytest.mark.only("vm", "a binary with sanitizers needs its libraries")
def test_the_agents_file_does_nothing_in_a_container(pod, box):
    done = pod.run(box.name, ["/proc/self/exe"])
    assert done.code == 2 and b"usage" in done.err
    pod.ping()


@pytest.mark.only("host", "9p has no leases")
def test_a_process_on_its_way_into_a_container_cannot_be_opened(pod):
    """It has the container's privileges already and the agent's memory still: execve has stopped at
    a lease that a process in the container holds on the program."""
    # With CAP_SYS_ADMIN no Landlock domain is in the way, without CAP_SYS_PTRACE dumpable is.
    caps = sets(*[[*DOCKER, "SYS_ADMIN"]] * 4, NONE)
    name = f"lease{pod.fresh_seq()}"
    pod.newcontainer(name, ["sleep", "100000"], capabilities=caps).started()
    shell(pod, name, "cp /bin/say /tmp/slow")
    lease = pod.execcmd(name, ["lease", "/tmp/slow"], capabilities=caps).started()
    lease.wait_output(b"held")
    late = pod.execcmd(name, ["/tmp/slow", "x", "", "0"], capabilities=caps)
    lease.wait_output(b"done")
    late.started()
    assert late.wait() == 0
    seen = [line.split() for line in lease.out.decode().splitlines() if len(line.split()) == 4]
    # Its environ, which is empty, is for CAP_SYS_ADMIN to read in newer kernels.
    agent = [line[:3] for line in seen if line[0] == "hyperstart"]
    assert agent == [["hyperstart"] + [str(errno.EACCES)] * 2], seen
    assert ["sleep", "0", "0", "0"] in seen, "who has the same privileges can be opened"


@pytest.mark.options(level="debug")
def test_nothing_that_may_be_secret_is_in_the_log(pod, box):
    secret = "hunter2"
    done = pod.execcmd(box.name, ["sh", "-c", f"cat; echo {secret}-out; : {secret}-args"],
                       envs=[{"env": "PASSWORD", "value": f"{secret}-env"}]).started()
    done.write(f"{secret}-stdin".encode())
    done.close_stdin()
    assert done.wait() == 0
    pod.ack(15, b'{"container":"%s","file":"/tmp/f"}' % box.name.encode() + secret.encode())
    assert secret.encode() in pod.ack(16, {"container": box.name, "file": "/tmp/f"})
    pod.error(17, {"id": secret + "/", "image": "box", "rootfs": "rootfs",
                   "process": {"args": [secret], "stdio": 1, "stderr": 2}})
    pod.run(box.name, ["true"])
    pod.ping()
    assert "exited with 0" in pod.guest.log
    assert f"{secret}-" not in pod.guest.log
