# SPDX-License-Identifier: Apache-2.0
"""READFILE and WRITEFILE: whatever the file is, the right answer, and the PING right behind it is
the next one. (The deadline is longer than a test waits, so it is never what ends a command.)"""

import json
import re

import pytest

from rig.programs import pattern
from rig.wire import Code

MIB = 1 << 20
CAP = 4 * MIB  # RESULT_MAX of limits.h
NAMES = ["plain", "a}b", "}", "{\"}\": \"}\"}", "back\\slash}", "\u20ac}\U0001f600", " "]


@pytest.fixture(autouse=True)
def empty_shm(pod, box):
    """/dev/shm is the pod's, and in the VM tests share a pod."""
    sh(pod, box, "mount -o remount,size=64m /dev/shm; cd /dev/shm; rm -rf -- * .[!.]*")


def ask(host, code, container, file, data=b""):
    """The command, answered; the PING that is queued behind it waits for nothing else."""
    cmd = host.send(code, json.dumps({"container": container, "file": file}).encode() + data)
    host.reply_to(host.send(Code.PING))
    return cmd


def read(host, container, file):
    cmd = ask(host, Code.READFILE, container, file)
    assert cmd.kind == Code.ACK, cmd.text
    return cmd.payload


def write(host, container, file, data):
    cmd = ask(host, Code.WRITEFILE, container, file, data)
    assert cmd.kind == Code.ACK, cmd.text
    assert cmd.payload == b""


def refused(host, code, container, file, data=b""):
    """The text of the ERROR, without the name of the command."""
    cmd = ask(host, code, container, file, data)
    assert cmd.kind == Code.ERROR, f"{len(cmd.payload)} bytes"
    command, _, text = cmd.text.partition(": ")
    assert command == code.name.lower()
    return text


def sh(host, box, script):
    done = host.run(box.name, ["sh", "-c", script])
    assert done.code == 0, done.err
    return done.out.decode()


both = pytest.mark.parametrize("code", [Code.READFILE, Code.WRITEFILE], ids=["read", "write"])


# Sizes

@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 65537, CAP])
def test_a_file_of_any_size_up_to_the_cap_is_written_and_read(pod, box, size):
    data = pattern(size, size)
    write(pod, box.name, "/tmp/file", data)
    assert sh(pod, box, "stat -c '%s %a' /tmp/file") == f"{size} 644\n"
    assert read(pod, box.name, "/tmp/file") == data
    sh(pod, box, "rm /tmp/file")


def test_a_file_over_the_cap_is_not_read(pod, box):
    sh(pod, box, f"head -c {CAP + 1} /dev/zero >/dev/shm/large")
    assert refused(pod, Code.READFILE, box.name, "/dev/shm/large") == \
        f"'/dev/shm/large': larger than {CAP} bytes"


def test_data_over_the_cap_is_not_written(pod, box):
    assert refused(pod, Code.WRITEFILE, box.name, "/dev/shm/large", bytes(CAP + 1)) == \
        f"'/dev/shm/large': larger than {CAP} bytes"
    assert sh(pod, box, "ls /dev/shm") == ""


def test_a_writefile_that_no_cap_allows_is_skipped(pod, box):
    cmd = ask(pod, Code.WRITEFILE, box.name, "/dev/shm/large", bytes(CAP + MIB))
    assert cmd.kind == Code.ERROR and "bytes of payload are more than" in cmd.text
    assert sh(pod, box, "ls /dev/shm") == ""


def test_the_json_in_front_of_data_has_a_bound_of_its_own(pod, box):
    """What is decoded of it is memory beside the data."""
    fields = {"container": box.name, "file": "/dev/shm/x", "unknown": "y" * (64 << 10)}
    text = pod.error(Code.WRITEFILE, json.dumps(fields).encode() + b"data")
    assert "bytes of JSON are more than 65536" in text


def test_a_shorter_file_takes_the_place_of_a_longer_one_and_keeps_its_mode(pod, box):
    sh(pod, box, "echo 'a longer text' >/tmp/file; chmod 600 /tmp/file")
    write(pod, box.name, "/tmp/file", b"short")
    assert sh(pod, box, "cat /tmp/file; stat -c ' %a' /tmp/file") == "short 600\n"


# Names

@pytest.mark.parametrize("name", NAMES)
def test_a_name_may_hold_anything_and_the_json_ends_where_its_object_ends(pod, box, name):
    data = b'} {"container":"x"} }' + bytes(range(256))
    write(pod, box.name, f"/dev/shm/{name}", data)
    assert read(pod, box.name, f"/dev/shm/{name}") == data
    assert sh(pod, box, "cd /dev/shm; for file in *; do echo \"$file\"; done") == name + "\n"


def test_a_name_without_a_slash_is_one_in_the_root(pod, box):
    assert b"alice" in read(pod, box.name, "etc/passwd")


@both
def test_a_directory_that_is_missing_is_named(pod, box, code):
    assert refused(pod, code, box.name, "/no/where") == "'/no/where': no such file or directory"


def test_a_file_that_is_missing_is_named(pod, box):
    assert refused(pod, Code.READFILE, box.name, "/tmp/none") == \
        "'/tmp/none': no such file or directory"


# What is no regular file

@pytest.mark.parametrize("file, make", [
    ("/dev/shm/it", "mkfifo /dev/shm/it"),
    ("/dev/shm/it", "mkfifo /dev/shm/it; cat /dev/shm/it >/dev/null & echo >/dev/shm/it; "
                    "sleep 100000 >/dev/null 2>&1 <>/dev/shm/it &"),
    ("/dev/shm/it", "ln -s /dev/zero /dev/shm/it"),
    ("/dev/zero", ":"), ("/dev/null", ":"), ("/dev/tty", ":"), ("/dev/pts/ptmx", ":"),
    ("/tmp", ":"), ("/", ":"), ("/proc", ":"),
], ids=["fifo", "open-fifo", "link-to-zero", "zero", "null", "tty", "ptmx", "directory", "root",
        "proc"])
@both
def test_what_is_no_regular_file_is_refused_and_stays(pod, box, code, file, make):
    sh(pod, box, make)
    look = f"stat -c '%F %a' {file}"
    before = sh(pod, box, look)
    assert re.fullmatch(f"'{file}': (not a regular file|is a directory|no such device or address)",
                        refused(pod, code, box.name, file, b"data"))
    assert sh(pod, box, look) == before


def test_a_file_of_procfs_that_shows_no_size_is_read(pod, box):
    assert re.fullmatch(rb"\d+\.\d+ \d+\.\d+\n", read(pod, box.name, "/proc/uptime"))
    assert re.fullmatch(rb"\d+\n", read(pod, box.name, "/proc/sys/kernel/pid_max"))


# Ways out

@pytest.mark.parametrize("target", ["/etc/passwd", "../" * 9 + "etc/passwd",
                                    "/tmp/../../../etc/passwd"])
def test_a_symlink_that_leads_out_of_the_root_stays_in_it(pod, box, target):
    sh(pod, box, f"cp /etc/passwd /tmp/kept; ln -sf {target} /dev/shm/link")
    passwd = read(pod, box.name, "/dev/shm/link")
    assert passwd == sh(pod, box, "cat /etc/passwd").encode() and b"alice" in passwd
    write(pod, box.name, "/dev/shm/link", passwd + b"eve:x:7:7::/:\n")
    assert b"eve" in sh(pod, box, "cat /etc/passwd").encode()
    sh(pod, box, "cat /tmp/kept >/etc/passwd")


@both
def test_what_lies_beside_the_root_is_not_found_through_it(pod, box, code):
    """The share's own directory, of which the image is a part."""
    canary = pod.guest.share.directory / "canary"
    canary.write_text("secret")
    sh(pod, box, "ln -s ../../../canary /dev/shm/up; ln -s ../../canary /tmp/up")
    for file in ("/dev/shm/up", "/tmp/up", "/../../canary"):
        answer = ask(pod, code, box.name, file, b"overwritten")
        assert code == Code.WRITEFILE or answer.kind == Code.ERROR
    assert canary.read_text() == "secret"
    # A link that leads nowhere is followed: inside.
    sh(pod, box, "rm -f /canary /tmp/up")


@pytest.mark.parametrize("file", [
    "/proc/1/root/etc/passwd", "/proc/1/cwd/etc/passwd", "/proc/self/root/etc/passwd",
    "/proc/self/exe", "/proc/self/fd/0", "/proc/thread-self/root/etc/passwd", "/dev/stdin",
    "/dev/fd/0", "/dev/shm/first/root/etc/passwd", "/dev/shm/first/exe", "/dev/shm/first/fd/0"])
@both
def test_a_magic_link_is_not_followed(pod, box, code, file):
    neighbour = pod.execcmd(box.name, ["sh", "-c", "ln -s /proc/$$ /dev/shm/first; echo go; "
                                       "exec sleep 100000"]).started()
    neighbour.wait_output(b"go")
    text = refused(pod, code, box.name, file, b"data")
    assert text in (f"'{file}': too many symlinks, or a magic one of /proc",
                    f"'{file}': no such file or directory")


# Files that change, and that cannot

def test_a_link_into_procfs_does_not_write_the_agents_kernel_settings(pod, box):
    """The container may not write them, but what writes for the host may."""
    pod.run(box.name, ["ln", "-s", "/proc/sys/kernel/domainname", "/dev/shm/resolv.conf"])
    before = read(pod, box.name, "/proc/sys/kernel/domainname")
    text = refused(pod, Code.WRITEFILE, box.name, "/dev/shm/resolv.conf", b"bait")
    assert text == "'/dev/shm/resolv.conf': files of procfs and sysfs are not written"
    assert read(pod, box.name, "/proc/sys/kernel/domainname") == before


def test_a_link_into_sysfs_does_not_write_it_either(pod, box):
    """Root in the container has made it writable for itself. What is written here it refuses."""
    file = "/dev/shm/sys/kernel/mm/transparent_hugepage/enabled"
    sh(pod, box, "mkdir /dev/shm/sys && mount -t sysfs sysfs /dev/shm/sys")
    text = refused(pod, Code.WRITEFILE, box.name, file, b"bait")
    assert text == f"'{file}': files of procfs and sysfs are not written"


def test_a_file_that_shrinks_while_it_is_read_is_as_long_as_it_was(pod, box):
    script = """
        head -c 4000000 /dev/zero | tr '\\0' x >/dev/shm/whole
        echo go
        while :; do cat /dev/shm/whole >/dev/shm/it; : >/dev/shm/it; done"""
    writer = pod.execcmd(box.name, ["sh", "-c", script]).started()
    writer.wait_output(b"go")
    lengths = set()

    def seen_at_work():
        data = ask(pod, Code.READFILE, box.name, "/dev/shm/it")
        if data.kind == Code.ERROR:  # not made yet
            return False
        assert data.payload == b"x" * len(data.payload)
        lengths.add(len(data.payload))
        return len(lengths) >= 5
    while not seen_at_work():
        pass
    assert max(lengths) <= 4000000


def test_a_full_file_system_is_an_error_that_says_so(pod, box):
    sh(pod, box, "mount -o remount,size=64k /dev/shm")
    assert refused(pod, Code.WRITEFILE, box.name, "/dev/shm/file", bytes(MIB)) == \
        "write '/dev/shm/file': no space left on device"
    sh(pod, box, "rm /dev/shm/file")
    write(pod, box.name, "/dev/shm/file", bytes(32 << 10))
    assert read(pod, box.name, "/dev/shm/file") == bytes(32 << 10)


def test_a_read_only_root_is_read_and_not_written(pod):
    name = f"ro{pod.fresh_seq()}"
    pod.newcontainer(name, ["sleep", "100000"], container={"readOnly": True}).started()
    assert b"alice" in read(pod, name, "/etc/passwd")
    for file in ("/etc/passwd", "/new"):
        assert refused(pod, Code.WRITEFILE, name, file, b"x") == \
            f"'{file}': read-only file system"
    assert b"alice" in read(pod, name, "/etc/passwd")
    write(pod, name, "/dev/shm/file", b"x")


def test_a_running_program_is_not_overwritten(pod, box):
    sh(pod, box, "cp /bin/sleep /tmp/sleep")
    sleeper = pod.execcmd(box.name, ["/tmp/sleep", "100000"], id="sleeper").started()
    assert refused(pod, Code.WRITEFILE, box.name, "/tmp/sleep", b"x") == \
        "'/tmp/sleep': text file busy"
    pod.ack(Code.SIGNALPROCESS, {"container": box.name, "process": "sleeper", "signal": 9})
    sleeper.wait()
    sh(pod, box, "rm /tmp/sleep")


# Containers

def test_a_stopped_container_still_has_its_files(pod):
    name = f"stopped{pod.fresh_seq()}"
    pod.newcontainer(name, ["sh", "-c", "echo left >/dev/shm/file"]).started().wait()
    assert read(pod, name, "/dev/shm/file") == b"left\n"
    write(pod, name, "/dev/shm/file", b"written")
    assert read(pod, name, "/dev/shm/file") == b"written"
    pod.ack(Code.REMOVECONTAINER, {"container": name})
    assert refused(pod, Code.READFILE, name, "/dev/shm/file") == f"no such container '{name}'"


@both
def test_an_unknown_container_is_named(pod, code):
    assert refused(pod, code, "nobody", "/etc/passwd") == "no such container 'nobody'"


@both
def test_the_agents_own_place_has_no_files_to_give(pod, code):
    pod.run("hyperstart", ["/bin/true"]) if not pod.guest.is_vm else \
        pod.execcmd("hyperstart", ["/init", "--no-such-option"]).started().wait()
    assert "root of its own" in refused(pod, code, "hyperstart", "/init", b"x")


@pytest.mark.parametrize("payload", [b"", b"{}", b"{", b'{"container":"x"}', b'{"file":"/x"}',
                                     b'{"container":"x","file":""}', b'{"container":1,"file":"/x"}',
                                     b'{"container":"x","file":"/x\\u0000y"}'])
@both
def test_a_description_that_is_none_is_refused(pod, code, payload):
    assert re.match(f"{code.name.lower()}: ", pod.error(code, payload))


def test_streams_go_on_while_files_are_moved(pod, box):
    """A hundred large files in the queue, and an echo for each of them."""
    write(pod, box.name, "/dev/shm/file", bytes(CAP))
    cat = pod.execcmd(box.name, ["cat"]).started()
    reads = [pod.send(Code.READFILE, {"container": box.name, "file": "/dev/shm/file"})
             for _ in range(20)]
    echoes = 0
    while reads[-1].kind is None:
        cat.write(b"x")
        echoes += 1
        pod.wait_for(lambda: len(cat.out) == echoes, "an echo")
    assert all(cmd.kind == Code.ACK and len(cmd.payload) == CAP for cmd in reads)
    assert echoes >= 20
