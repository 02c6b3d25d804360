# SPDX-License-Identifier: Apache-2.0
"""Whatever call of the agent fails, once or for a while: the command gets its ERROR, or the host its
hang-up; the agent lives, does what it is told next, and leaves nothing behind.

FAULTS_STEP=1 (`make faults`) fails every call of the session in turn; without it every 7th.
"""

import ctypes
import os
import re
import time

import pytest

from rig import pace
from rig.host import Host
from rig.host_rig import HostGuest
from rig.scripts import ROOT
from rig.wire import Code, Violation

pytestmark = pytest.mark.only("host", "wrapped by the linker")

STEP = int(os.environ.get("FAULTS_STEP", 7))
AT_LEAST = 100  # calls that the session makes


def fault_of(guest):
    """The call that failed; "" while there was none."""
    guest.describe()
    found = re.search(r"^fault: (.*)$", guest.log, re.MULTILINE)
    return found[1] if found else ""


def session(host):
    """What a host does in a pod's life. An ERROR does not stop it, a hang-up does."""
    def said(code, payload):
        assert not host.closed_by_agent
        return host.reply_to(host.send(code, payload))

    host.connect()
    host.wait_ready()
    replies = [host.send(Code.STARTPOD, {"hostname": "pod", "shareDir": "share"})]
    first = host.newcontainer("c", ["cat"])
    more = host.execcmd("c", ["sh", "-c", "read line; echo $line; exit 3"])
    terminal = host.execcmd("c", ["sh", "-c", "exit 4"], terminal=True)
    replies += [first.start, more.start, terminal.start]
    for reply in replies:
        host.reply_to(reply)
    assert not host.closed_by_agent
    if more.start.kind == Code.ACK:
        more.write(b"hello\n")
        assert more.wait() == 3 and more.out == b"hello\n"
    if terminal.start.kind == Code.ACK:
        assert terminal.wait() == 4
    replies.append(said(Code.KILLCONTAINER, {"container": "c", "signal": 9}))
    if replies[-1].kind == Code.ACK:
        assert first.wait() == 137
    replies.append(said(Code.REMOVECONTAINER, {"container": "c"}))
    return [reply.kind for reply in replies]


def destroy(host):
    assert not host.closed_by_agent
    reply = host.reply_to(host.send(Code.DESTROYPOD))
    assert not host.closed_by_agent
    host.disconnect_control()  # then it does not wait
    assert host.guest.wait_end(host) == "power-off"
    return reply.kind


def take_away(host, name):
    """The container, whatever became of it."""
    host.reply_to(host.send(Code.KILLCONTAINER, {"container": name, "signal": 9}))
    for _ in range(1000):  # as long as its processes end
        removed = host.reply_to(host.send(Code.REMOVECONTAINER, {"container": name}))
        if removed.kind == Code.ACK or "no such container" in removed.text:
            return
    raise TimeoutError(removed.text)


def afterwards(guest, was_ready):
    """A new host, which does not care what the old one missed: it can have a pod, and its end.
    What the agent holds in between, with nothing but a pod: fds and children."""
    host = Host(guest, 20)
    host.ready = was_ready
    host.on_tty = lambda frame: None
    # It takes one host at a time. (The line that told of the old one may be what failed.)
    gone = lambda: all(guest.log.count(f"port {port}: host gone") for port in ("control", "tty"))
    host.wait_for(lambda: guest.has_ended() or gone(), "the old host's end", closing=True)
    host.connect()
    host.wait_ready()
    host.ping()
    host.reply_to(host.send(Code.STARTPOD, {"hostname": "pod", "shareDir": "share"}))
    again = host.newcontainer("again", ["true"])
    host.reply_to(again.start)
    assert again.start.kind == Code.ACK, again.start.text
    for name in ("again", "c"):
        take_away(host, name)
    held = len(os.listdir(f"/proc/{guest.pid}/fd")), len(guest.children(host))
    host.ack(Code.DESTROYPOD)
    host.disconnect_control()
    assert guest.wait_end(host) == "power-off"
    host.disconnect()
    return held


@pytest.fixture(scope="module")
def held(rig):
    """By an agent that no call failed."""
    rig.share.image("box")
    guest = HostGuest(rig.share, binary="faults")
    try:
        host = Host(guest, 20)
        session(host)
        host.disconnect()
        return afterwards(guest, host.ready)
    finally:
        guest.stop()


def fail_call(rig, index, held):
    """A whole life in which that call fails. What it was, "" if there is none of that number; and
    what was wrong then, or None."""
    guest = HostGuest(rig.share, binary="faults", fault=index, deadline=3)
    fault = outcome = ""
    try:
        host = Host(guest, 20)
        try:
            outcome = session(host)
            if not fault_of(guest):
                outcome.append(destroy(host))
        except (Violation, TimeoutError, AssertionError, OSError) as error:
            outcome = error  # a hang-up or an ERROR at the wrong moment
        host.disconnect()
        fault = fault_of(guest)
        assert fault or outcome == [Code.ACK] * 7
        if fault.startswith("setns") and isinstance(outcome, Violation):
            # It could not step back out of a container's namespaces: the one abort there is.
            # SIGABRT does not reach an init without a handler; what abort() does next does.
            assert guest.wait_end(host) in ("signal 6", "signal 11")
            return fault, None
        now = held
        try:
            if not guest.has_ended():
                now = afterwards(guest, host.ready)
        except (Violation, TimeoutError, AssertionError, OSError):
            guest.describe()
            if "pod: destroyed" not in guest.log:
                raise
            # Its DESTROYPOD was taken, answered or not.
            assert guest.wait_end(Host(guest, 20)) == "power-off"
        assert now == held, f"fds and children: {now}, not {held}"
        complaints = guest.complaints()
        if fault.startswith("unlinkat") and complaints:
            # The one try to take away a cgroup at the very end.
            assert complaints.startswith("cgroups left behind"), complaints
        else:
            assert not complaints, complaints
        return fault, None
    except (Violation, TimeoutError, AssertionError, OSError) as error:
        return fault, f"call {index} ({fault}), {outcome!r}: {error}\n{guest.describe()}"
    finally:
        guest.stop()


@pytest.mark.limit(1800)
def test_whatever_call_fails_the_agent_lives_and_leaves_nothing(rig, held):
    rig.share.image("box")
    failed, index, fault = [], 1, "first"
    while fault:
        fault, complaint = fail_call(rig, index, held)
        if complaint:
            failed.append(complaint)
        index += STEP
    assert not failed, f"{len(failed)} of {index} calls\n" + "\n\n".join(failed[:20])
    assert index >= AT_LEAST


START = (lambda host: host.send(Code.STARTPOD, {"hostname": "pod", "shareDir": "share"}),)
LIFE = (lambda host: host.newcontainer("c", ["cat"]).start,
        lambda host: host.execcmd("c", ["sh", "-c", "echo hello"]).start,
        lambda host: host.execcmd("c", ["sh", "-c", "echo hello"], terminal=True).start,
        lambda host: host.send(Code.PSCONTAINER, {"container": "c"}),
        lambda host: host.send(Code.KILLCONTAINER, {"container": "c", "signal": 9}),
        lambda host: host.send(Code.REMOVECONTAINER, {"container": "c"}))
END = (lambda host: host.send(Code.DESTROYPOD),)


def say(guest, commands, ready, seconds=20):
    """Each gets its reply, or the host a hang-up, behind which it comes back. Whether READY has come."""
    for command in commands:
        host = Host(guest, seconds)
        host.ready = ready
        host.on_tty = lambda frame: None
        try:
            host.connect()
            host.wait_ready()
            host.reply_to(command(host))
        except TimeoutError:
            if seconds == 20:
                raise
        except (Violation, OSError):
            pass
        ready |= host.ready
        host.disconnect()
    return ready


# Not the loop's own sleep, without which there is no loop; nor setns: who cannot step back out of a
# container's namespaces aborts.
LASTING = (ROOT / "Makefile").read_text().split("\nFAULTS := ")[1].split("\n\n")[0].replace("\\", "").split()
LASTING = [call for call in LASTING if call not in ("epoll_wait", "setns")]
# Without these no host is heard for as long as they fail.
TALK = ("read", "readv", "write", "writev", "accept4", "epoll_ctl")


@pytest.mark.parametrize("when", [START, LIFE, END], ids=["start", "life", "end"])
@pytest.mark.parametrize("call", LASTING)
def test_a_call_that_fails_for_a_while_takes_nothing_with_it(rig, held, call, when):
    rig.share.image("box")
    guest = HostGuest(rig.share, binary="faults", fault=call.strip("_").lower(), deadline=3)
    try:
        ready = say(guest, (lambda host: host.send(Code.PING),), False)
        for commands in START, LIFE, END:
            if commands is END and when is not END:
                break
            if commands is when:
                guest.fault_while.touch()
            ready = say(guest, commands, ready, 1 if call in TALK and commands is when else 20)
            guest.fault_while.unlink(missing_ok=True)
        while when is END and call in TALK and not guest.has_ended():
            say(guest, END, ready, 1)  # it may have gone on the first one
        if when is END:
            assert guest.wait_end(Host(guest, 20)) == "power-off"
        else:
            assert afterwards(guest, ready) == held
        complaints = guest.complaints()
        assert not complaints or when is END and complaints.startswith("cgroups left"), complaints
    finally:
        guest.stop()


def test_a_container_that_cannot_be_unmounted_now_is_unmounted_later(rig):
    """Nobody asks for one with an id, as runV has it."""
    rig.share.image("box")
    guest = HostGuest(rig.share, binary="faults", fault="fork", deadline=10)
    fds = lambda: len(os.listdir(f"/proc/{guest.pid}/fd"))
    try:
        host = Host(guest, 20)
        host.connect()
        host.startpod()
        before = fds()
        process = host.newcontainer("c", ["cat"], id="init").started()
        guest.fault_while.touch()
        process.close_stdin()
        assert process.wait() == 0
        host.pump_for(pace.scaled(0.5))
        assert fds() > before
        guest.fault_while.unlink()
        host.wait_seen(lambda: fds() == before, "the end of what it held")
        host.disconnect()
    finally:
        guest.stop()


class Births:
    """What the agent forks is held before its first instruction, until the end: a tracer does it, a
    process of its own."""

    SEIZE, CONT, TRACEFORK, FORKED = 0x4206, 7, 2, 1

    def __init__(self, pid):
        self.count, tell = os.pipe2(os.O_NONBLOCK)
        self.tracer = os.fork()
        if self.tracer == 0:
            try:
                self._trace(pid, tell)
            finally:
                os._exit(1)
        os.close(tell)
        while not self._told():
            time.sleep(0.01)

    def _trace(self, agent, tell):
        ptrace = ctypes.CDLL(None).ptrace
        ptrace.argtypes = [ctypes.c_long] * 4
        ptrace(self.SEIZE, agent, 0, self.TRACEFORK)
        os.write(tell, b".")
        while True:
            pid, status = os.waitpid(-1, 0x40000000)  # __WALL
            if pid == agent and os.WIFSTOPPED(status):
                if status >> 16 == self.FORKED:
                    os.write(tell, b".")
                ptrace(self.CONT, pid, 0, 0 if status >> 16 else os.WSTOPSIG(status))

    def _told(self):
        try:
            return len(os.read(self.count, 100))
        except BlockingIOError:
            return 0

    def end(self):
        """How many they were."""
        count = self._told()
        os.kill(self.tracer, 9)
        os.waitpid(self.tracer, 0)
        os.close(self.count)
        return count


def test_a_pod_ends_while_a_container_still_waits_for_a_child_that_unmounts_it(rig):
    """The pod's own child unmounts it then, and no other may begin."""
    rig.share.image("box")
    guest = HostGuest(rig.share, binary="faults", fault="fork", deadline=100)
    births = None
    try:
        host = Host(guest, 20)
        host.connect()
        host.startpod()
        process = host.newcontainer("c", ["cat"], id="init").started()
        guest.fault_while.touch()
        process.close_stdin()
        assert process.wait() == 0
        host.wait_seen(lambda: "container 'c': fork" in guest.log, "the removal that fails")
        births = Births(guest.pid)
        guest.fault_while.unlink()
        # Its child is held: the wait ends as soon as the machine writes nothing, or after a minute.
        host.ack(Code.DESTROYPOD, timeout=100)
    finally:
        forks = births.end() if births else 0
        guest.stop()
    assert forks == 1


def test_without_epoll_for_pipes_every_command_is_answered(rig):
    rig.share.image("box")
    guest = HostGuest(rig.share, binary="faults", fault="epoll", deadline=2)
    try:
        host = Host(guest, 20)
        host.connect()
        host.wait_ready()
        # Its worker ends, and is read then; the pod's init stays, and nobody can know that it is there.
        start = host.error(Code.STARTPOD, {"hostname": "pod", "shareDir": "share"})
        assert "deadline" in start
        host.ping()
        hotplug = host.reply_to(host.send(Code.ONLINECPUMEM))
        assert "deadline" not in hotplug.text
        assert host.error(Code.READFILE, {"container": "c", "file": "/etc/passwd"})
        host.ack(Code.DESTROYPOD)
        host.disconnect_control()
        assert guest.wait_end(host) == "power-off"
        host.disconnect()
    finally:
        guest.stop()
