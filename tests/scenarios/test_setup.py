# SPDX-License-Identifier: Apache-2.0
"""A set-up that takes long, never ends or dies: only its own command waits for it.

The child that sets a process up joins its container's cgroup first; where that is frozen already, it
stops right there.
"""

import time

import pytest

from rig import pace
from rig.inspect import Cgroup
from rig.wire import Code


def begin(pod, cgroup, start, count=1):
    """Sends the command, and waits until its child has stopped in the cgroup as the count'th."""
    process = start()
    pod.wait_for(lambda: not pod.control.chunks, "the command to leave")
    return process, cgroup.wait_frozen(count)


def begin_slow(pod, args=("say", "slow", "", "0"), **process):
    """A container whose set-up has stopped: its cgroup, the Process, the child's pid."""
    name = f"slow{pod.fresh_seq()}"
    cgroup = Cgroup(pod, name)
    cgroup.make_frozen()
    slow, (child,) = begin(pod, cgroup, lambda: pod.newcontainer(name, list(args), **process))
    slow.name = name
    return cgroup, slow, child


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
    children = pod.guest.children(pod)
    start = time.monotonic()
    cgroup, slow, _ = begin_slow(pod)
    queued = [pod.send(code) for code in (Code.PING, Code.GETVERSION, 99)]
    check_others_go_on(pod, box, *others)
    assert slow.start.kind is None
    text = slow.refused()
    assert pod.guest.deadline - 0.5 <= time.monotonic() - start <= \
        pace.late(pod.guest.deadline + (17 if pod.guest.is_vm else 3))
    assert slow.name in text and "deadline" in text, text
    pod.reply_to(queued[-1])
    assert [cmd.kind for cmd in queued] == [Code.ACK, Code.ACK, Code.ERROR]
    assert len(queued[1].payload) == 4
    assert not cgroup.exists()
    assert pod.guest.children(pod) <= children
    done = pod.newcontainer(slow.name, ["say", "again", "", "0"]).started()
    done.wait()
    assert done.out == b"again"


def test_a_set_up_that_takes_long_is_acknowledged_when_it_is_done(pod, box):
    others = start_others(pod, box)
    cgroup, slow, _ = begin_slow(pod)
    check_others_go_on(pod, box, *others)
    pod.pump_for(5)
    assert slow.start.kind is None
    cgroup.freeze(False)
    assert slow.started().wait() == 0
    assert slow.out == b"slow"


@pytest.mark.options(deadline=60)
def test_a_destroypod_that_is_next_in_line_cuts_a_set_up_short(pod, box):
    _, slow, _ = begin_slow(pod)
    start = time.monotonic()
    destroy = pod.send(Code.DESTROYPOD)
    assert slow.name in slow.refused()
    pod.reply_to(destroy)
    assert destroy.kind == Code.ACK
    assert time.monotonic() - start < pace.late(6)
    assert box.wait() in (137, 143)
    assert pod.guest.wait_end(pod) == "power-off"


@pytest.mark.parametrize("name, number", [("KILL", 9), ("TERM", 15)])
def test_a_set_up_child_that_is_killed_is_an_error_that_says_so(pod, box, name, number):
    cgroup, slow, child = begin_slow(pod)
    cgroup.signal(name, [child])
    cgroup.freeze(False)
    text = slow.refused()
    assert slow.name in text and f"signal {number}" in text, text
    assert not cgroup.exists()
    assert pod.newcontainer(slow.name, ["true"]).started().wait() == 0


def test_a_set_up_child_that_is_stopped_is_continued(pod, box):
    cgroup, slow, child = begin_slow(pod)
    cgroup.signal("STOP", [child])
    cgroup.freeze(False)
    assert slow.started().wait() == 0


def test_a_set_up_child_that_is_stopped_again_and_again_is_killed(pod, box):
    before = pod.guest.children(pod)
    slow = pod.newcontainer(f"slow{pod.fresh_seq()}", ["true"], image="sdzz",
                            container={"fstype": "ext4"})
    pod.wait_seen(lambda: pod.guest.children(pod) - before, "the child that waits for the disk")
    (child,) = pod.guest.children(pod) - before

    def refused():
        if slow.start.kind is None:
            pod.guest.look(pod, f"kill -STOP {child}")
        return slow.start.kind is not None
    pod.wait_seen(refused, "the end of it")
    assert "stopped by another process" in slow.refused()


def test_an_exec_in_set_up_while_its_container_exits_is_an_error_and_leaves_nothing(pod):
    first = pod.newcontainer("short", ["sleep", "100000"]).started()
    cgroup = Cgroup(pod, "short")
    first_pids = cgroup.members()
    cgroup.freeze()
    late, _ = begin(pod, cgroup, lambda: pod.execcmd("short", ["say", "late", "", "0"]), 2)
    cgroup.signal("KILL", first_pids)
    assert first.wait() == 137
    assert "short" in late.refused()
    assert cgroup.is_empty()


def test_an_exec_in_set_up_that_is_killed_leaves_its_container_alone(pod, box):
    cgroup = Cgroup(pod, box.name)
    (first,) = cgroup.members()
    cgroup.freeze()
    late, members = begin(pod, cgroup, lambda: pod.execcmd(box.name, ["say", "late", "", "0"]), 2)
    cgroup.signal("KILL", set(members) - {first})
    assert "signal 9" in late.refused()
    cgroup.freeze(False)
    assert pod.run(box.name, ["say", "x", "", "0"]).out == b"x"


def test_input_for_a_process_in_set_up_waits_for_it(pod, box):
    cgroup, slow, _ = begin_slow(pod, ["cat"])
    slow.write(b"early")
    slow.close_stdin()
    pod.wait_for(lambda: not pod.tty.chunks, "its input to leave")
    cgroup.freeze(False)
    assert slow.started().wait() == 0
    assert slow.out == b"early"


def test_a_terminal_that_echoes_while_its_process_is_set_up_costs_nothing(pod, box):
    """The line discipline answers by itself; but nothing of a process is told before its ACK."""
    cgroup, slow, _ = begin_slow(pod, ["cat"], terminal=True)
    slow.write(b"early\n")
    pod.wait_for(lambda: not pod.tty.chunks, "its input to leave")
    idle = pod.guest.watch_idle(pod)()
    assert (idle.oncpu_ns, idle.switches) == (0, 0)
    cgroup.freeze(False)
    slow.started().wait_output(b"early\r\nearly\r\n")


def test_a_container_killed_in_the_set_up_of_an_exec_ends_both(pod):
    """The kill is queued behind the exec: it is the deadline or the kill of the first process that
    ends the set-up, and then the kill is answered."""
    first = pod.newcontainer("both", ["sleep", "100000"]).started()
    cgroup = Cgroup(pod, "both")
    cgroup.freeze()
    late, members = begin(pod, cgroup, lambda: pod.execcmd("both", ["true"]), 2)
    kill = pod.send(Code.KILLCONTAINER, {"container": "both", "signal": 9})
    cgroup.signal("KILL", members)
    late.refused()
    assert first.wait() == 137
    assert pod.reply_to(kill).kind == Code.ACK


def test_a_failed_start_that_leaves_a_process_in_the_kernel_is_told_all_the_same(pod):
    """Such a one (D state) stays in the cgroup whatever is done; here one from outside stands for
    it."""
    cgroup = Cgroup(pod, "stuck")
    cgroup.make_frozen()
    cgroup.freeze(False)
    stuck = cgroup.join(["sleep", "100000"])
    queued = pod.newcontainer("stuck", ["missing"]), pod.send(Code.PING)
    assert "missing" in queued[0].refused()
    assert pod.reply_to(queued[1]).kind == Code.ACK
    cgroup.signal("KILL", [stuck])
    pod.wait_seen(cgroup.is_empty, "its end")
    assert pod.newcontainer("stuck", ["true"]).started().wait() == 0
    pod.wait_seen(lambda: not cgroup.exists(), "the end of the cgroup")
