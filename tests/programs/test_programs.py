# SPDX-License-Identifier: Apache-2.0
"""Servers of Debian, in containers whose root is on a disk, used by their own clients through exec,
before and after a power cut.

A writer prints a line when the server has reported a commit to it. The power goes off while it
writes, and what the host read of its lines must be there after a second boot. QEMU is killed with
SIGKILL: its writes are in the host's page cache and stay; what the guest's kernel had not written
yet is lost.
"""

import dataclasses
import subprocess
import tempfile

import pytest

from rig.scripts import ROOT
from rig.wire import Code

pytestmark = [pytest.mark.only("vm", "there are no disks"), pytest.mark.limit(600)]

COMMITS = 100  # that are reported, at least, before the power goes off


@dataclasses.dataclass
class Program:
    server: str  # the container's first process
    is_ready: str
    prepare: str
    write: str  # for longer than the guest lives, prints 1, 2, 3, …
    read: str  # prints what was written, in that order
    user: str = "root"


PROGRAMS = {
    "postgres": Program(
        user="postgres",
        server="exec pg_ctlcluster --foreground 15 main start",
        is_ready="pg_isready -q",
        prepare="psql -qc 'CREATE TABLE kept (n int)'",
        write=r"seq 1000000 | sed 's/.*/BEGIN; INSERT INTO kept VALUES (&); COMMIT;\n\\echo &/' |"
              " psql -q -v ON_ERROR_STOP=1",
        read="psql -Atc 'SELECT n FROM kept ORDER BY n'"),
    "redis": Program(
        user="redis",
        server="exec redis-server --dir /var/lib/redis --appendonly yes --appendfsync always",
        is_ready="redis-cli ping | grep PONG",
        prepare="true",
        write="seq 1000000 | sed 's/^/RPUSH kept /' | redis-cli",  # the reply is the list's length
        read="redis-cli LRANGE kept 0 -1"),
    "nginx": Program(
        server="exec nginx -g 'daemon off;'",
        is_ready="curl -sf http://127.0.0.1/",
        prepare="mkdir /var/www/html/kept",
        write="cd /var/www/html/kept; for n in $(seq 1000000); do"
              " echo $n >$n && sync $n && curl -sf http://127.0.0.1/kept/$n || exit; done",
        read="ls /var/www/html/kept | sort -n |"
             " sed 's,^,url=http://127.0.0.1/kept/,' | curl -sf -K -"),
    "sshd": Program(
        server="mkdir -p /run/sshd; exec /usr/sbin/sshd -D -e",
        is_ready="ssh-keyscan 127.0.0.1 | grep .",
        prepare="cd; mkdir -m 700 -p .ssh; ssh-keygen -q -t ed25519 -N '' -f .ssh/id_ed25519 &&"
                " cp .ssh/id_ed25519.pub .ssh/authorized_keys &&"
                " ssh-keyscan -t ed25519 127.0.0.1 >.ssh/known_hosts && sync",
        write="ssh -o BatchMode=yes 127.0.0.1 'for n in $(seq 1000000); do"
              " echo $n >>kept && sync kept && echo $n || exit; done'",
        read="ssh -o BatchMode=yes 127.0.0.1 cat kept"),
}


@pytest.fixture
def disk():
    with tempfile.TemporaryDirectory(prefix="hyperstart-programs-") as directory:
        disk = f"{directory}/disk"
        subprocess.run(["cp", "--sparse=always", ROOT / "build/programs.ext4", disk], check=True)
        yield disk


@pytest.fixture
def boot(request, rig, disk):
    """Boots a guest from the disk as it is; returns its host, whose pod stands."""
    hosts = []

    def boot():
        host = rig.start(arguments=(
            "-m", "512", "-drive", f"file={disk},format=raw,if=virtio,cache=writeback"))
        hosts.append(host)
        request.node.guest = host.guest
        host.connect().wait_ready()
        host.startpod()
        return host
    yield boot
    for host in hosts:
        host.disconnect()
        host.guest.stop()


def execute(host, program, script):
    return host.execcmd("server", ["sh", "-c", script], user=program.user)


def lines(host, program, script):
    """What the script printed; it succeeded."""
    done = execute(host, program, script).started()
    assert done.wait() == 0, (done.out + done.err).decode()
    return done.out.decode().splitlines()


def serve(host, program):
    """Starts the server; returns once its own client says that it serves."""
    server = host.newcontainer(
        "server", ["sh", "-c", program.server], user=program.user,
        container={"image": "vda", "fstype": "ext4", "rootfs": ""}).started()
    client = execute(host, program, f"until {program.is_ready}; do sleep 0.1; done >&2").started()
    try:
        host.wait_for(lambda: client.ended or server.ended, "the server to serve")
        assert not server.ended
    except (AssertionError, TimeoutError):
        pytest.fail((server.out + server.err + client.err[-1000:]).decode())


@pytest.mark.parametrize("name", PROGRAMS)
def test_what_was_reported_as_committed_is_there_after_a_power_cut(boot, name, record_property):
    program = PROGRAMS[name]
    host = boot()
    serve(host, program)
    lines(host, program, program.prepare)
    writer = execute(host, program, program.write).started()
    host.wait_for(lambda: writer.out.count(b"\n") >= COMMITS or writer.ended, "commits")
    assert not writer.ended, writer.err.decode()
    host.guest.vm.qemu.kill()
    host.wait_for(lambda: not host.tty, "all that was printed", closing=True)
    reported = writer.out.decode().split("\n")[:-1]
    assert reported == [str(n + 1) for n in range(len(reported))]
    assert not host.guest.complaints()

    host = boot()
    serve(host, program)
    kept = lines(host, program, program.read)
    assert kept[: len(reported)] == reported
    record_property("figure", f"{name}: {len(reported)} commits reported, {len(kept)} kept")
    host.ack(Code.DESTROYPOD)
    assert host.guest.wait_end(host) == "power-off"
    assert not host.guest.complaints()
