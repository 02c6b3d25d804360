# SPDX-License-Identifier: Apache-2.0
"""DESTROYPOD in bad times: acknowledged within 5 s, off within 10 s of the command, whatever the
processes or the host do; and a host that reads gets all that was owed to it first."""

import ctypes
import os
import time

import pytest

from rig import pace
from rig.host import Digest
from rig.wire import Code

pytestmark = pytest.mark.options(fresh=True)

STUBBORN = ["sh", "-c", "trap '' TERM HUP INT; setsid sleep 1000 & echo go; "
            "while :; do sleep 1; done"]
FORK_BOMB = ["sh", "-c", "trap '' TERM; echo go; fork() { while :; do sleep 0.1 & sleep 0.05; done; "
             "}; fork & fork & fork & fork"]
FLOOD = ["pattern", "1", str(1 << 30)]


class Destroy:
    """A DESTROYPOD that was just sent, and the two limits it has to keep."""

    def __init__(self, host):
        self.host, self.start, self.written = host, time.monotonic(), pace.pages_written()
        self.command = host.send(Code.DESTROYPOD)

    def acknowledged(self, seconds=5):
        self.host.wait_for(lambda: self.command.kind is not None, "the ACK", 20 + self.host.guest.sync_seconds)
        assert self.command.kind == Code.ACK
        self.check_time(seconds)

    def powered_off(self, seconds=10):
        assert self.host.guest.wait_end(self.host) == "power-off"
        self.check_time(seconds)

    def check_time(self, seconds):
        sync = pace.sync(self.written) if self.host.guest.sync_seconds else 0
        assert time.monotonic() - self.start <= pace.late(seconds) + sync


class Tracer:
    """Of a process, which stops in its exit until it is let go."""

    SEIZE, DETACH, TRACEEXIT = 0x4206, 17, 0x40

    def __init__(self, pid):
        self.pid, self.libc = pid, ctypes.CDLL(None, use_errno=True)
        self._call(self.SEIZE, self.TRACEEXIT)

    def _call(self, request, data):
        word = ctypes.c_long
        assert self.libc.ptrace(word(request), word(self.pid), word(0), word(data)) == 0, \
            os.strerror(ctypes.get_errno())

    def has_stopped(self):
        pid, _ = os.waitpid(self.pid, os.WNOHANG | 0x40000000)  # __WALL
        return pid == self.pid

    def detach(self):
        self._call(self.DETACH, 0)


def started(host, args, name="stubborn", **process):
    """A container that has begun to ignore what it ignores."""
    first = host.newcontainer(name, args, **process).started()
    first.wait_output(b"go")
    return first


def floods(host):
    """Two containers, one for each form of an end, that write until nothing moves: the host does
    not read."""
    host.tty.reading = False
    both = [host.newcontainer(f"flood{len(identity)}", FLOOD, out=Digest(), **identity).started()
            for identity in ({}, {"id": "init"})]
    host.guest.watch_idle(host)()
    return both


def taken(host):
    """Waits until the agent has the command: what is on its way may go with the host."""
    host.wait_for(lambda: not host.control.chunks and host.control.taken == host.control.sent,
                  "its NEXT")


def test_processes_that_ignore_sigterm_are_killed_and_told_before_the_ack(pod):
    stubborn = [started(pod, STUBBORN), started(pod, STUBBORN, name="named", id="init")]
    for identity in ({}, {"id": "one"}, {"terminal": True}):
        stubborn.append(pod.execcmd("named", STUBBORN, **identity).started())
        stubborn[-1].wait_output(b"go")
    destroy = Destroy(pod)
    destroy.acknowledged()
    if pod.guest.ordered:
        pod.pump(0)  # what was written to tty before the ACK is here by now
        assert all(process.ended for process in stubborn)
    assert [process.wait() for process in stubborn] == [137] * 5
    destroy.powered_off()
    pod.guest.describe()
    log = pod.guest.log.splitlines()
    assert not [line for line in log if "hyperstart: error" in line or "hyperstart: warn" in line]


def test_processes_that_end_at_sigterm_are_waited_for_and_then_a_grace_begins(pod):
    polite = started(pod, ["sh", "-c", "trap 'echo bye; exit 9' TERM; echo go; "
                           "while :; do sleep 0.05; done"])
    destroy = Destroy(pod)
    destroy.acknowledged()
    acknowledged = time.monotonic()
    assert pod.guest.is_vm or acknowledged - destroy.start < pace.late(1.5)
    assert polite.wait() == 9
    assert polite.out == b"go\nbye\n"
    destroy.powered_off()
    assert time.monotonic() - acknowledged > 1


@pytest.mark.only("host", "takes the agent its forks from outside")
def test_where_no_child_can_be_had_the_agent_itself_sends_sigterm(pod):
    if not pod.guest.pids:
        pytest.skip("no pids controller of cgroup v1")
    # The other one ends first: the end of a first process is the end of its container.
    wait = "read pid </dev/shm/pid; while kill -0 $pid 2>/dev/null; do :; done; exit 9"
    polite = [started(pod, ["sh", "-c", f"trap '{wait}' TERM; echo go; while :; do read x; done"]),
              pod.execcmd("stubborn", ["sh", "-c", "echo $$ >/dev/shm/pid; trap 'exit 8' TERM; echo go; "
                                       "read x"]).started()]
    polite[1].wait_output(b"go")
    (pod.guest.pids / "pids.max").write_text("1")
    destroy = Destroy(pod)
    destroy.acknowledged(9)
    assert [process.wait() for process in polite] == [9, 8]
    destroy.powered_off(13)
    assert "warn: pod: SIGTERM: fork: " in pod.guest.log


def test_a_fork_bomb_ends_with_its_pod(pod):
    first = started(pod, FORK_BOMB)
    destroy = Destroy(pod)
    destroy.acknowledged()
    assert first.wait() == 137
    destroy.powered_off()


@pytest.mark.only("host", "holds a process in its exit, as its tracer")
def test_what_dies_slowly_is_waited_for_and_no_cgroup_is_left(pod):
    """Under load it takes its time. The end of the test sees a cgroup that is left."""
    first = started(pod, ["sh", "-c", "trap '' TERM; sleep 1000 & echo go; wait; sleep 1000"])
    dying = int(pod.guest.look(pod, "pgrep -P $(pgrep -P $AGENT -x sh) -x sleep")[0])
    tracer = Tracer(dying)
    destroy = Destroy(pod)
    pod.wait_seen(tracer.has_stopped, "the exit of what is killed")
    pod.pump_for(3)
    assert destroy.command.kind is None
    tracer.detach()
    destroy.acknowledged(9)
    assert first.wait() == 137
    destroy.powered_off(13)
    assert ": warn" not in pod.guest.log and ": error" not in pod.guest.log


def test_a_host_that_does_not_read_tty_gets_the_ack_and_the_power_goes(pod):
    both = floods(pod)
    destroy = Destroy(pod)
    destroy.acknowledged()
    assert not any(process.ended for process in both)
    destroy.powered_off()


@pytest.mark.parametrize("when", ["before the ACK", "behind it"])
def test_a_host_that_reads_tty_again_gets_all_that_was_owed(pod, when):
    both = floods(pod)
    destroy = Destroy(pod)
    pod.tty.read_size = 4096  # in small bites
    pod.tty.reading = when == "before the ACK"
    destroy.acknowledged()
    pod.tty.reading = True
    pod.wait_for(lambda: all(process.ended for process in both), "the ends", closing=True)
    assert {process.code for process in both} <= {137, 143}
    destroy.powered_off()


def test_without_a_pod_every_destroypod_is_acknowledged(host):
    destroys = [Destroy(host) for _ in range(20)]
    for destroy in destroys:
        destroy.acknowledged()
    destroys[0].powered_off()


def test_more_destroypods_while_the_first_waits_are_acknowledged_behind_it(pod):
    first = started(pod, STUBBORN)
    destroys = [Destroy(pod) for _ in range(3)]
    for destroy in destroys:
        destroy.acknowledged()
    assert first.wait() == 137
    Destroy(pod).acknowledged()
    assert "power" in pod.error(Code.GETPOD)
    destroys[0].powered_off()


def test_a_second_host_that_asks_as_well_is_acknowledged(pod):
    """cc21: its shim asks, and then its runtime, over a connection that may be another one."""
    started(pod, STUBBORN)
    destroy = Destroy(pod)
    taken(pod)
    gone = pod.guest.log.count("port control: host gone")
    pod.disconnect_control()
    pod.wait_log("port control: host gone", gone + 1)
    pod.connect_control()
    Destroy(pod).acknowledged()
    destroy.powered_off()


@pytest.mark.parametrize("ports, load", [("control", "stubborn"), ("tty", "floods"),
                                         ("control and tty", "floods")])
def test_a_host_that_goes_right_behind_the_command_is_not_waited_for(pod, ports, load):
    started(pod, STUBBORN) if load == "stubborn" else floods(pod)
    destroy = Destroy(pod)
    taken(pod)
    if "tty" in ports:
        pod.disconnect_tty()
    if "control" in ports:
        pod.disconnect_control()
    destroy.powered_off()


def test_two_hundred_processes_are_all_told(pod, box):
    crowd = [pod.execcmd(box.name, ["sleep", "100000"], **({"id": f"p{n}"} if n % 2 else {}))
             for n in range(200)]
    for process in crowd:
        process.started()
    destroy = Destroy(pod)
    destroy.acknowledged()
    assert {process.wait() for process in crowd} <= {137, 143}
    assert box.wait() in (137, 143)
    destroy.powered_off()


@pytest.mark.only("host", "holds a process in its exit, as its tracer")
@pytest.mark.options(fresh=True, deadline=60, devices=60)
def test_a_startpod_after_one_that_failed_is_refused_until_the_pods_init_is_gone(host):
    """A process that hangs in the kernel keeps the init of its PID namespace. Here a tracer does."""
    absent = {"id": "c", "image": "box", "rootfs": "rootfs",
              "volumes": [{"device": "vdz", "mount": "/v", "fstype": "ext4"}],
              "process": {"args": ["true"], "stdio": 4711, "stderr": 4712}}
    host.guest.share.image("box")
    failing = host.send(Code.STARTPOD, {"shareDir": "share", "containers": [absent]})
    look = host.guest.shell(host, "pgrep -P $AGENT -x pod-init")
    host.wait_seen(look, "the pod's init")
    tracer = Tracer(int(look()))
    host.wait_seen(host.guest.shell(host, "pkill -P $AGENT -x hyperstart && echo told"), "its child")
    assert "killed by signal 15" in host.reply_to(failing).text
    assert tracer.has_stopped()
    text = host.error(Code.STARTPOD, {})
    assert text == "startpod: an earlier pod still hangs in the kernel"
    tracer.detach()
    host.wait_seen(lambda: not look(), "its end")
    host.startpod()
    assert host.newcontainer("next", ["true"]).started().wait() == 0
