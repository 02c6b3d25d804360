# SPDX-License-Identifier: Apache-2.0
"""The end of a process: after all of its output, once, in its own form, with the right code."""

import collections

import pytest

from rig.host import Digest
from rig.inspect import Cgroup
from rig.wire import Code

CONCURRENT = 20


@pytest.mark.limit(180)
def test_a_thousand_short_processes_each_tell_their_output_and_then_their_code(pod, box):
    """The strict host checks the order: data, EOF, exit frame, and nothing behind it."""
    pod.run(box.name, ["say", "a", "b", "0"])
    before = pod.guest.stat(pod).fds
    running = collections.deque()

    def finish_one():
        n, process = running.popleft()
        process.started()
        process.wait()
        assert (process.out, process.err) == (b"out %d\n" % n, b"err %d\n" % n)
        assert process.code == n % 256
    for n in range(1000):
        args = ["say", f"out {n}\n", f"err {n}\n", str(n % 256)]
        running.append((n, pod.execcmd(box.name, args)))
        if len(running) == CONCURRENT:
            finish_one()
    while running:
        finish_one()
    pod.settle()
    assert pod.guest.zombies(pod) == []
    assert pod.guest.stat(pod).fds == before


def test_a_hundred_short_processes_with_an_id_tell_their_end_by_event(pod, box):
    processes = [pod.execcmd(box.name, ["say", f"o{n}", f"e{n}", str(n)], id=f"p{n}")
                 for n in range(100)]
    for n, process in enumerate(processes):
        process.started()
        assert process.wait() == n
        assert (process.out, process.err) == (b"o%d" % n, b"e%d" % n)
    # An id is free again once its process is gone.
    again = pod.execcmd(box.name, ["say", "", "", "9"], id="p0").started()
    assert again.wait() == 9


@pytest.mark.parametrize("identity", [{}, {"id": "p"}], ids=["exit-frame", "event"])
def test_output_of_a_pipe_full_precedes_the_exit(pod, box, identity):
    process = pod.run(box.name, ["sh", "-c", "pattern 1 65536; exit 6"], **identity)
    assert process.code == 6
    assert len(process.out) == 65536


def test_a_silent_grandchild_that_holds_stdout_does_not_delay_the_exit(pod, box):
    process = pod.run(box.name, ["sh", "-c", "sleep 100000 & echo started; exit 3"])
    assert (process.out, process.code) == (b"started\n", 3)


def test_a_flooding_grandchild_does_not_delay_the_exit(pod, box):
    process = pod.execcmd(box.name, ["sh", "-c", "yes & exit 3"], out=Digest()).started()
    assert process.wait() == 3


def test_a_flooding_grandchild_does_not_delay_the_exit_while_the_host_reads_slowly(pod, box):
    pod.tty.reading = False
    process = pod.execcmd(box.name, ["sh", "-c", "yes & sleep 0.3; exit 3"], out=Digest()).started()
    pod.guest.watch_idle(pod)()
    pod.tty.read_size = 4096
    pauses = 0
    while not process.ended:
        pod.tty.reading = True
        pod.pump(1)
        pod.tty.reading = False
        pod.pump_for(0.005)
        pauses += 1
        assert pauses < 4000, "the flood goes on"
    pod.tty.reading = True
    assert process.code == 3


def test_a_terminal_held_by_a_grandchild_does_not_delay_the_exit(pod, box):
    process = pod.run(box.name, ["sh", "-c", "trap '' HUP; sleep 100000 & exit 3"], terminal=True)
    assert process.code == 3


@pytest.mark.parametrize("number", [1, 2, 9, 13, 15, 31])
def test_a_process_that_a_signal_ends_reports_128_and_the_signal(pod, box, number):
    assert pod.run(box.name, ["sh", "-c", f"kill -{number} $$"]).code == 128 + number


@pytest.mark.parametrize("number", [9, 15])
def test_a_container_that_is_killed_reports_128_and_the_signal(pod, number):
    process = pod.newcontainer(f"killed{number}", ["sleep", "100000"]).started()
    pod.kill(f"killed{number}", number)
    assert process.wait() == 128 + number


def test_a_container_that_exits_takes_its_execs_with_it(pod):
    first = pod.newcontainer("short", ["sh", "-c", "read x; exit 7"]).started()
    execs = [pod.execcmd("short", ["sleep", "100000"]).started() for _ in range(3)]
    first.write(b"\n")
    assert first.wait() == 7
    assert [process.wait() for process in execs] == [137] * 3


@pytest.mark.parametrize("identity", [{}, {"id": "init"}], ids=["kept", "gone-at-exit"])
def test_a_container_that_exits_leaves_no_process_in_its_cgroup(pod, identity):
    name = f"crowd{pod.fresh_seq()}"
    script = "for i in 1 2 3 4 5 6 7 8; do (trap '' HUP TERM; sleep 100000) & done; exit 3"
    assert pod.newcontainer(name, ["sh", "-c", script], **identity).started().wait() == 3
    cgroup = Cgroup(pod, name)
    pod.wait_seen(cgroup.is_empty, "the end of all its processes")
    if identity:
        pod.wait_seen(lambda: not cgroup.exists(), "the end of its cgroup")


def test_killing_all_processes_of_a_container_reaches_its_execs(pod):
    first = pod.newcontainer("all", ["sh", "-c", "trap 'exit 1' TERM; while :; do sleep 1; done"])
    first.started()
    other = pod.execcmd("all", ["sleep", "100000"]).started()
    pod.ack(Code.KILLCONTAINER, {"container": "all", "signal": 9, "allProcesses": True})
    assert first.wait() == 137
    assert other.wait() == 137


def test_killing_the_exited_container_is_acknowledged_but_its_liveness_is_not(pod):
    first = pod.newcontainer("exited", ["true"]).started()
    first.wait()
    pod.kill("exited", 15)
    assert "exited" in pod.error(Code.KILLCONTAINER, {"container": "exited", "signal": 0})


def test_signal_0_to_a_living_container_is_acknowledged(pod, box):
    pod.kill(box.name, 0)


def test_a_missing_program_is_an_error_that_names_it(pod, box):
    text = pod.execcmd(box.name, ["/bin/ngnix"]).refused()
    assert "/bin/ngnix" in text and "no such file or directory" in text.lower()
    text = pod.newcontainer("web", ["/bin/ngnix"]).refused()
    assert "/bin/ngnix" in text and "web" in text and "no such file or directory" in text.lower()
    text = pod.execcmd(box.name, ["ngnix"]).refused()
    assert "ngnix" in text


def test_a_container_that_was_refused_leaves_its_id_free(pod):
    pod.newcontainer("twice", ["/bin/ngnix"]).refused()
    process = pod.newcontainer("twice", ["say", "here", "", "2"]).started()
    assert process.wait() == 2
    assert process.out == b"here"


def test_orphans_in_the_pod_are_reaped(pod, box):
    script = "for i in 1 2 3 4 5 6 7 8 9; do sh -c 'sleep 0.01 & sleep 0.01 &'; done; sleep 0.5"
    pod.run(box.name, ["sh", "-c", script])
    pod.wait_seen(lambda: not pod.guest.zombies(pod), "no zombies")


def test_a_terminal_that_is_closed_and_opened_again_goes_on(pod, box):
    script = "exec 0</dev/null 1>/dev/null 2>&1; sleep 0.2; exec 0</dev/tty 1>/dev/tty; " \
             "echo back; read line; echo $line; exit 6"
    process = pod.execcmd(box.name, ["sh", "-c", script], terminal=True).started()
    process.wait_output(b"back\r\n")
    process.write(b"typed\n")
    assert process.wait() == 6
    assert process.out == b"back\r\ntyped\r\ntyped\r\n"
