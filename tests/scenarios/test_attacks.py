# SPDX-License-Identifier: Apache-2.0
"""What a process in a container does to keep the agent from its work (tests/prog/attack.c): it goes on
answering, other containers run, and no end is told that did not happen."""

import os
import time

import pytest

from rig import pace
from rig.wire import Code
from test_privileges import DOCKER, NONE, sets

USUAL = sets(DOCKER, DOCKER, DOCKER, DOCKER, NONE)
NOTHING = sets(NONE, NONE, NONE, NONE, NONE)
# Two CPUs: one for the agent beside one for the attack.
pytestmark = pytest.mark.options(binary="musl", arguments=("-smp", "2"))


def ping_time(pod, seconds):
    """The lower quartile of PINGs one after the other, as many as fit: what other work on this machine adds
    comes and goes, what an attack adds does not."""
    took, end = [], time.monotonic() + seconds
    while time.monotonic() < end:
        start = time.monotonic()
        pod.ping(timeout=20)
        took.append(time.monotonic() - start)
        pod.pump_for(0.01)
    return sorted(took)[len(took) // 4]


@pytest.fixture
def other(pod):
    """A process of another container, which is still there in the end, and can be talked to."""
    process = pod.newcontainer(f"other{pod.fresh_seq()}", ["cat"], capabilities=USUAL).started()
    yield process
    if not pod.guest.has_ended():
        process.write(b"still here\n")
        process.wait_output(b"still here\n")
        assert not process.ended


@pytest.fixture
def victim(pod, other):
    """The name of a container in which an attack is started."""
    name = f"victim{pod.fresh_seq()}"
    pod.newcontainer(name, ["sleep", "100000"], capabilities=USUAL).started()
    return name


def destroy(pod):
    pod.ack(Code.DESTROYPOD)
    pod.disconnect_control()
    assert pod.guest.wait_end(pod) == "power-off"


@pytest.mark.parametrize("user", ["root", "alice"])
@pytest.mark.parametrize("number", [10, 20])
def test_a_signal_to_a_process_that_made_the_agent_its_tracer_is_not_its_end(
        pod, other, number, user):
    process = pod.newcontainer(f"traced{pod.fresh_seq()}", ["attack", "traceme", str(number)],
                               capabilities=NOTHING, user=user).started()
    process.wait_output(b"traced 0\nalive\n")
    pod.ping()
    assert not process.ended


def test_a_process_that_made_the_agent_its_tracer_can_execute_another_program(pod, victim):
    traced = pod.execcmd(victim, ["attack", "trace-exec", "/bin/true"], capabilities=NOTHING).started()
    assert traced.wait() == 0 and traced.out == b"traced 0\n"


def test_a_traced_process_that_stops_itself_can_be_continued_and_ended(pod, victim):
    stopped = pod.execcmd(victim, ["attack", "traceme", "19"], id="stopped").started()
    stopped.wait_output(b"traced 0\n")

    def goes_on():
        pod.ack(Code.SIGNALPROCESS, {"container": victim, "process": "stopped", "signal": 18})
        return b"alive" in stopped.out
    pod.wait_seen(goes_on, "the process after its stop")
    pod.ack(Code.SIGNALPROCESS, {"container": victim, "process": "stopped", "signal": 15})
    assert stopped.wait() == 143


def forkers(pod, what, **privileges):
    """In a container of their own, and on one CPU: what they take from the agent by running is no attack.
    A guest has room for fewer processes."""
    name = f"forkers{pod.fresh_seq()}"
    pod.newcontainer(name, ["sleep", "100000"], **privileges).started()
    sleepers = "500" if pod.guest.is_vm else "4000"
    process = pod.execcmd(name, ["taskset", "2", "attack", what, sleepers, "2"], **privileges).started()
    process.wait_output(b"ready")
    return name, process


@pytest.mark.skipif(os.cpu_count() < 2, reason="needs two CPUs")
@pytest.mark.parametrize("privileges", [{"capabilities": USUAL}, {"capabilities": NOTHING, "user": "alice"},
                                        {}, {"user": "alice"}],
                         ids=["docker", "nothing", "all", "all, alice"])
def test_children_of_the_agent_that_a_container_makes_do_not_hold_it(pod, other, privileges):
    """Who has not CAP_SYS_ADMIN cannot make them. Of who has it an agent that waits for children without
    a bound answers no PING in 20 s; with the bound each of its waits still looks at all that live: 6 to
    81 times what as many of the container's own cost were seen on the host rig."""
    name, process = forkers(pod, "children", **privileges)
    honest = ping_time(pod, 3)
    pod.kill(name, allProcesses=True)
    process.wait(timeout=60)

    _, attack = forkers(pod, "siblings", **privileges)
    busy = ping_time(pod, 3)
    assert "capabilities" not in privileges or busy <= 5 * honest, (busy, honest)
    assert not attack.ended
    destroy(pod)


def test_a_signal_9_ends_a_container_whose_first_process_only_a_tracer_can_see(pod, other):
    name = f"traced{pod.fresh_seq()}"
    process = pod.newcontainer(name, ["attack", "tracer"], capabilities=NOTHING).started()
    process.wait_output(b"traced 0")
    # Else the signal is its end, not its own exit.
    pod.wait_seen(lambda: pod.guest.zombies(pod), "its end, which its tracer alone is told")
    pod.ping()
    assert not process.ended
    pod.ack(Code.KILLCONTAINER, {"container": name, "signal": 9})
    assert process.wait() == 7


def test_who_stops_what_is_being_set_up_holds_up_nobody(pod, other):
    evil = f"evil{pod.fresh_seq()}"
    idle = ping_time(pod, 1)
    pod.newcontainer(evil, ["attack", "stopper"], capabilities=USUAL).started()
    pod.containers[evil].wait_output(b"ready")
    busy = ping_time(pod, 2)
    for _ in range(5):
        start = time.monotonic()
        process = pod.newcontainer(f"new{pod.fresh_seq()}", ["cat"], capabilities=USUAL)
        pod.reply_to(process.start, timeout=15)
        assert process.start.kind == Code.ACK or "stopped by another process" in process.start.text
        pod.ping(timeout=15)
        assert time.monotonic() - start < pace.late(15)  # the deadline is 60
    pod.ack(Code.KILLCONTAINER, {"container": evil, "signal": 9})
    pod.containers[evil].wait()
    pod.newcontainer(f"new{pod.fresh_seq()}", ["cat"], capabilities=USUAL).started()
    assert busy <= 5 * max(idle, ping_time(pod, 1))


def test_a_process_that_stops_itself_stays_stopped_until_it_is_continued(pod, victim):
    script = "kill -STOP $$; echo on"
    process = pod.execcmd(victim, ["sh", "-c", script], id="stops").started()
    state = "cat /proc/[0-9]*/stat 2>/dev/null | grep -c '(sh) T'"

    def stopped():
        return pod.run(victim, ["sh", "-c", state]).out.strip() == b"1"
    pod.wait_seen(stopped, "the stop")
    pod.ping()
    assert stopped() and not process.out
    pod.ack(Code.SIGNALPROCESS, {"container": victim, "process": "stops", "signal": 18})
    assert process.wait() == 0 and process.out == b"on\n"


@pytest.mark.parametrize("terminal", [False, True])
def test_the_end_is_told_when_somebody_else_took_the_last_output(pod, victim, terminal):
    """The host does not read: what the process wrote stays in its pipe until it is stolen."""
    flood = pod.execcmd(victim, ["yes"], id="yes", out=bytearray()).started()
    pod.tty.reading = False
    script = "(trap '' HUP; attack steal 300 </dev/null 2>/dev/null &); head -c 1000 /dev/zero; exit 3"
    process = pod.execcmd(victim, ["sh", "-c", script], capabilities=NOTHING,
                          terminal=terminal).started()
    pod.pump_for(pace.scaled(1.5))  # by then it is stolen, for the thief began after 0.3 s
    pod.tty.reading = True
    assert process.wait(timeout=20) == 3
    pod.ack(Code.SIGNALPROCESS, {"container": victim, "process": "yes", "signal": 9})
    flood.wait()


# --- Locks that are held over a page fault --------------------------------------------------------

WATCH = 3  # seconds that a container may hold the agent


def begin_hold(pod, what, seconds, terminal=False, stdin=None):
    """A container that holds a lock of its own stdio, or of that stdin, for so long; -1: for ever. It has
    all capabilities, for userfaultfd takes one where vm.unprivileged_userfaultfd is 0."""
    name = f"holder{pod.fresh_seq()}"
    stays = pod.newcontainer(name, ["sleep", "100000"]).started()
    command = ["attack", what, str(seconds)]
    if stdin:
        command = ["sh", "-c", f"exec {' '.join(command)} <{stdin}"]
    process = pod.execcmd(name, command, terminal=terminal).started()
    said = process.out if terminal else process.err
    pod.wait_for(lambda: b"\n" in said, "the page")
    if b"no userfaultfd" in said:
        pytest.skip("the kernel has no userfaultfd")
    return stays, process


def touch(pod, what, process):
    """Makes the agent take the lock."""
    if what == "hold-terminal":
        for row in range(3):  # it said that the page is there, not yet that it has the lock
            pod.send(Code.WINSIZE, {"seq": process.stdio, "row": row + 5, "column": 5})
            pod.pump_for(pace.scaled(0.5))
    elif what == "hold-in":
        for _ in range(2):
            process.write(b"x")
            pod.pump_for(pace.scaled(0.3))


@pytest.mark.parametrize("what", ["hold-out", "hold-in", "hold-terminal"])
def test_a_container_that_holds_a_lock_for_ever_is_killed(pod, other, what):
    stays, process = begin_hold(pod, what, -1, what == "hold-terminal")
    start = time.monotonic()
    touch(pod, what, process)
    pod.ping(timeout=60)
    if what == "hold-out":
        assert process.wait(timeout=30) == 7
    assert stays.wait(timeout=30) == 137
    if not pod.guest.is_vm:
        assert time.monotonic() - start < pace.late(WATCH + 1.5)  # and what it takes to begin and to see it
    pod.wait_log("watch: container holder")
    destroy(pod)


@pytest.mark.only("host", "nobody can close the console")
def test_a_container_that_holds_a_lock_is_killed_when_nobody_reads_the_log(pod, other):
    stays, process = begin_hold(pod, "hold-in", -1)
    os.close(pod.guest.log_fd())
    pod.guest._log_fd = None
    touch(pod, "hold-in", process)
    pod.ping(timeout=60)
    assert stays.wait(timeout=30) == 137
    destroy(pod)


@pytest.mark.parametrize("what", ["hold-out", "hold-in"])
def test_a_writer_that_stalls_for_two_seconds_lives(pod, other, what):
    stays, process = begin_hold(pod, what, 2)
    touch(pod, what, process)
    if what == "hold-out":
        assert process.wait(timeout=30) == 7
    pod.ping(timeout=30)
    pod.pump_for(2)
    assert not stays.ended and "watch:" not in pod.guest.log


def test_many_threads_in_page_faults_do_not_hold_the_agent(pod, other, victim):
    """No capability, no userfaultfd: the mutex of the pipe is held over faults, each of which waits for
    all the threads; at the end of the shell the agent looks what is in the pipe. Without the watcher it
    is held for more than a minute."""
    script = f"attack convoy {200 if pod.guest.is_vm else 1000} 1024 & read x"
    attack = pod.execcmd(victim, ["sh", "-c", script], capabilities=NOTHING, user="alice").started()
    pod.wait_for(lambda: b"ready" in attack.err, "the threads")
    pod.pump_for(1)
    attack.write(b"\n")
    for _ in range(6):
        start = time.monotonic()
        pod.ping(timeout=60)
        assert pod.guest.is_vm or time.monotonic() - start < pace.late(3 * WATCH)
        pod.pump_for(0.5)
    destroy(pod)


def test_the_pod_is_killed_when_another_container_holds_the_pipe(pod):
    """Whose pipe it is is killed first, for nothing, and the pod one second later."""
    name = f"victim{pod.fresh_seq()}"
    victim = pod.newcontainer(name, ["sh", "-c", "echo $$; exec sleep 100000"]).started()
    victim.wait_output(b"\n")
    stays, process = begin_hold(pod, "hold-in", -1, stdin=f"/proc/{int(victim.out)}/fd/0")
    start = time.monotonic()
    touch(pod, "hold-in", victim)
    pod.ping(timeout=60)
    assert [each.wait(timeout=60) for each in (victim, stays, process)] == [137] * 3
    assert time.monotonic() - start > WATCH + 1
    assert pod.guest.log.index(f"watch: container {name} holds the agent") < \
        pod.guest.log.index("watch: the agent is still held: the pod is killed")
    destroy(pod)


@pytest.mark.options(binary="musl", arguments=("-smp", "2"), watch=60)
def test_a_host_may_give_a_container_more_time(pod, other):
    stays, process = begin_hold(pod, "hold-out", WATCH + 3)
    pod.ping(timeout=60)
    assert process.wait(timeout=60) == 7
    assert not stays.ended and "watch:" not in pod.guest.log


@pytest.mark.only("vm", "an option that is not understood is a usage error there")
@pytest.mark.options(arguments=("-smp", "2"), watch=0)
def test_no_time_at_all_is_passed_over(pod, other):
    pod.wait_log("boot: kernel command line: hyperstart.watch is not understood")
    stays, _ = begin_hold(pod, "hold-out", -1)
    assert stays.wait(timeout=60) == 137
    destroy(pod)


@pytest.mark.only("host", "there a look is output of a process, which is marked")
def test_the_watcher_sleeps_while_nothing_is_marked(pod, other):
    switches = """for pid in $(cat /proc/$AGENT/task/$AGENT/children); do
        [ "$(cat /proc/$pid/comm)" = watch ] && grep ^vol /proc/$pid/status && ls /proc/$pid/fd; done"""
    pod.wait_seen(lambda: pod.guest.look(pod, switches) == pod.guest.look(pod, switches, 2),
                  "the watcher's rest")
    _, before, *fds = pod.guest.look(pod, switches)
    assert len(fds) <= 5, fds  # stdio, the timer, the log
    pod.ping()
    assert pod.guest.look(pod, switches)[1] == before


@pytest.mark.only("host", "nobody in a VM can kill it")
def test_a_watcher_that_is_killed_is_said_to_be_gone(pod):
    pod.guest.look(pod, """for pid in $(cat /proc/$AGENT/task/$AGENT/children); do
        [ "$(cat /proc/$pid/comm)" = watch ] && kill -9 $pid; done""")
    pod.wait_log("watch: the watcher has ended")
    pod.ping()


@pytest.mark.options(binary="musl", arguments=("-smp", "2"), deadline=2)
def test_a_process_that_stops_right_behind_its_execve_is_left_alone_at_the_deadline(pod, other):
    """It has been started: the deadline was for that."""
    name = f"stops{pod.fresh_seq()}"
    pod.newcontainer(name, ["sleep", "100000"]).started()
    stopped = [pod.execcmd(name, ["sh", "-c", "kill -STOP $$; exit 7"], id=f"p{number}").started()
               for number in range(20)]
    past = pod.guest.deadline + 4  # … and a kill's own
    assert pod.run(name, ["sleep", str(past)]).code == 0
    assert not [process for process in stopped if process.ended]
    for number in range(20):
        pod.ack(Code.SIGNALPROCESS, {"container": name, "process": f"p{number}", "signal": 18})
    assert [process.wait() for process in stopped] == [7] * 20
