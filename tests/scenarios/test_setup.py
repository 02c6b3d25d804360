# SPDX-License-Identifier: Apache-2.0
"""A set-up that takes long, never ends or dies: only its own command waits for it.

The child that sets a process up joins its container's cgroup first; where that is frozen already, it
stops right there.
"""

import os
import pathlib
import select
import signal
import time

import pytest

from rig.wire import Code

pytestmark = pytest.mark.only("host", "only here can the set-up of a process be stopped")


class Cgroup:
    """The cgroup of a container, which may not be there yet."""

    def __init__(self, host, container):
        self.path = pathlib.Path(host.guest.cgroup) / "pod" / f"c-{container}"
        self.path.mkdir(exist_ok=True)

    def freeze(self, frozen=True):
        (self.path / "cgroup.freeze").write_text("1" if frozen else "0")

    def members(self):
        return [int(pid) for pid in (self.path / "cgroup.procs").read_text().split()]

    def wait_frozen(self, count):
        """Until that many processes are in it, and stopped. Returns them."""
        with open(self.path / "cgroup.events", encoding="ascii") as events:
            poll = select.poll()
            poll.register(events, select.POLLPRI)
            while True:
                events.seek(0)
                if "frozen 1" in events.read() and len(self.members()) == count:
                    return self.members()
                assert poll.poll(20000), "no process joined the cgroup"


def begin_slow(pod):
    """A container whose set-up has stopped; its cgroup and the Process."""
    cgroup = Cgroup(pod, "slow")
    cgroup.freeze()
    slow = pod.newcontainer("slow", ["say", "slow", "", "0"])
    pod.wait_for(lambda: not pod.control.chunks, "the command to leave")
    cgroup.wait_frozen(1)
    return cgroup, slow


def check_others_go_on(pod, box, cat, exiting):
    cat.write(b"echo")
    cat.wait_output(b"echo")
    cat.close_stdin()
    assert cat.wait() == 0
    exiting.write(b"\n")
    assert exiting.wait() == 8


def start_others(pod, box):
    return (pod.execcmd(box.name, ["cat"]).started(),
            pod.execcmd(box.name, ["sh", "-c", "read x; exit 8"]).started())


@pytest.mark.options(deadline=3)
def test_a_set_up_that_never_ends_is_an_error_at_the_deadline_and_the_queue_goes_on(pod, box):
    others = start_others(pod, box)
    children = set(pod.guest.children())
    start = time.monotonic()
    cgroup, slow = begin_slow(pod)
    queued = [pod.send(code) for code in (Code.PING, Code.GETVERSION, 99)]
    check_others_go_on(pod, box, *others)
    assert slow.start.kind is None
    text = slow.refused()
    assert 2.5 <= time.monotonic() - start <= 6
    assert "slow" in text and "deadline" in text, text
    pod.reply_to(queued[-1])
    assert [cmd.kind for cmd in queued] == [Code.ACK, Code.ACK, Code.ERROR]
    assert len(queued[1].payload) == 4
    assert not cgroup.path.exists()
    assert set(pod.guest.children()) <= children
    done = pod.newcontainer("slow", ["say", "again", "", "0"]).started()
    done.wait()
    assert done.out == b"again"


def test_a_set_up_that_takes_long_is_acknowledged_when_it_is_done(pod, box):
    others = start_others(pod, box)
    cgroup, slow = begin_slow(pod)
    check_others_go_on(pod, box, *others)
    pod.pump_for(5)
    assert slow.start.kind is None
    cgroup.freeze(False)
    assert slow.started().wait() == 0
    assert slow.out == b"slow"


@pytest.mark.options(deadline=60)
def test_a_destroypod_that_is_next_in_line_cuts_a_set_up_short(pod, box):
    _, slow = begin_slow(pod)
    start = time.monotonic()
    destroy = pod.send(Code.DESTROYPOD)
    assert "slow" in slow.refused()
    pod.reply_to(destroy)
    assert destroy.kind == Code.ACK
    assert time.monotonic() - start < 6
    assert box.wait() in (137, 143)
    assert pod.guest.wait_end(pod) == "power-off"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_set_up_child_that_is_killed_is_an_error_that_says_so(pod, box, number):
    cgroup, slow = begin_slow(pod)
    for pid in cgroup.members():
        os.kill(pid, number)
    cgroup.freeze(False)
    text = slow.refused()
    assert "slow" in text and f"signal {number.value}" in text, text
    assert not cgroup.path.exists()
    assert pod.newcontainer("slow", ["true"]).started().wait() == 0


def test_a_stopped_set_up_goes_on_where_it_was(pod, box):
    cgroup, slow = begin_slow(pod)
    (child,) = cgroup.members()
    os.kill(child, signal.SIGSTOP)
    cgroup.freeze(False)
    pod.pump_for(0.2)
    assert slow.start.kind is None
    os.kill(child, signal.SIGCONT)
    assert slow.started().wait() == 0


def test_an_exec_in_set_up_while_its_container_exits_is_an_error_and_leaves_nothing(pod):
    first = pod.newcontainer("short", ["sleep", "100000"]).started()
    cgroup = Cgroup(pod, "short")
    (first_pid,) = cgroup.members()
    cgroup.freeze()
    late = pod.execcmd("short", ["say", "late", "", "0"])
    pod.wait_for(lambda: not pod.control.chunks, "the command to leave")
    cgroup.wait_frozen(2)
    os.kill(first_pid, signal.SIGKILL)
    assert first.wait() == 137
    assert "short" in late.refused()
    assert not cgroup.path.exists() or cgroup.members() == []


def test_an_exec_in_set_up_that_is_killed_leaves_its_container_alone(pod, box):
    cgroup = Cgroup(pod, box.name)
    (first,) = cgroup.members()
    cgroup.freeze()
    late = pod.execcmd(box.name, ["say", "late", "", "0"])
    pod.wait_for(lambda: not pod.control.chunks, "the command to leave")
    (child,) = set(cgroup.wait_frozen(2)) - {first}
    os.kill(child, signal.SIGKILL)
    assert "signal 9" in late.refused()
    cgroup.freeze(False)
    assert pod.run(box.name, ["say", "x", "", "0"]).out == b"x"


def test_input_for_a_process_in_set_up_waits_for_it(pod, box):
    cgroup = Cgroup(pod, "slow")
    cgroup.freeze()
    slow = pod.newcontainer("slow", ["cat"])
    pod.wait_for(lambda: not pod.control.chunks, "the command to leave")
    cgroup.wait_frozen(1)
    slow.write(b"early")
    slow.close_stdin()
    pod.wait_for(lambda: not pod.tty.chunks, "its input to leave")
    cgroup.freeze(False)
    assert slow.started().wait() == 0
    assert slow.out == b"early"
