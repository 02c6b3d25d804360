# SPDX-License-Identifier: Apache-2.0
"""The agent stays; and if it goes all the same, then not in silence."""

import re
import subprocess
import time

import pytest

from rig import pace
from rig.scripts import ROOT
from rig.wire import Code

vm_only = pytest.mark.only("vm", "PID 1 of a machine")


@vm_only
def test_the_kernel_takes_anything_but_the_agent_for_want_of_memory(pod, box):
    assert pod.guest.look(pod, "cat /proc/$AGENT/oom_score_adj") == ["-1000"]
    locked = pod.guest.look(pod, "grep -E 'VmLck|VmRSS' /proc/$AGENT/status")
    assert locked[0] == "VmLck:" and int(locked[1]) > 0
    assert int(locked[4]) <= 300, "locked, but only what is used"


def test_a_process_of_a_container_has_no_such_privilege(pod, box):
    assert pod.run(box.name, ["cat", "/proc/self/oom_score_adj"]).out == b"0\n"
    first = pod.newcontainer("first", ["cat", "/proc/self/oom_score_adj"]).started()
    first.wait()
    assert first.out == b"0\n"
    lower = pod.run(box.name, ["sh", "-c", "echo -1 >/proc/self/oom_score_adj"], capabilities={"bounding": []})
    assert lower.code != 0


def build_id():
    notes = subprocess.run(["readelf", "-n", ROOT / "build/musl/hyperstart"], check=True,
                           capture_output=True, text=True).stdout
    return re.search(r"Build ID: (\w+)", notes)[1]


@vm_only
@pytest.mark.options(fresh=True)
@pytest.mark.parametrize("name, number", [("SEGV", 11), ("ABRT", 6), ("BUS", 7)])
def test_a_fatal_signal_is_reported_and_the_machine_goes_off(pod, box, name, number):
    pod.send(Code.WINSIZE, {"seq": 1, "row": 1, "column": 1})
    pod.ping()
    kill = pod.execcmd("hyperstart", ["/bin/sh", "-c", f"read line; exec kill -{name} 1"]).started()
    kill.write(b"now\n")
    assert pod.guest.wait_end(pod) == "power-off"
    line = re.search(r"^hyperstart: error: fatal signal (\d+) \(\S+\) at pc (0x[0-9a-f]+), .* "
                     r"last command (\d+), build (\w+): powering off$", pod.guest.log, re.MULTILINE)
    assert line, pod.guest.describe()
    assert (int(line[1]), int(line[3]), line[4]) == (number, Code.EXECCMD, build_id())
    assert int(line[2], 16) > 0x1000
    assert "Kernel panic" not in pod.guest.log


@vm_only
def test_a_clock_that_is_wrong_is_set_by_the_rtc(pod, box):
    """After a pause of the VM it is: the host says READY."""
    assert pod.run("hyperstart", ["/bin/busybox", "date", "-s", "@1000000000"]).code == 0
    assert int(pod.run(box.name, ["date", "+%s"]).out) < 1000000100
    pod.ack(Code.READY)
    assert abs(int(pod.run(box.name, ["date", "+%s"]).out) - time.time()) < pace.late(5)


@pytest.mark.options(level="warn")
def test_no_more_is_logged_than_was_asked_for(pod, box):
    assert pod.run(box.name, ["true"]).code == 0
    pod.error(99)
    pod.guest.describe()
    assert "hyperstart: info: container" not in pod.guest.log
    assert "hyperstart: info: pod" not in pod.guest.log
    assert "hyperstart: debug: " not in pod.guest.log


@pytest.mark.options(level="debug")
def test_as_much_is_logged_as_was_asked_for(pod, box):
    assert pod.run(box.name, ["true"]).code == 0
    pod.guest.describe()
    assert "hyperstart: debug: process " in pod.guest.log


@vm_only
@pytest.mark.options(caps="nonsense")
def test_what_the_kernel_command_line_says_in_vain_is_told(pod):
    assert "hyperstart: warn: boot: kernel command line: hyperstart.caps is not understood" \
        in pod.guest.log


@vm_only
@pytest.mark.options(fresh=True)
def test_the_console_has_the_timeline_of_the_boot(pod, box):
    boot = re.search(r"boot: ms since the kernel began: init (\d+), ports (\d+), READY (\d+)$",
                     pod.guest.log, re.MULTILINE)
    first = re.findall(r"pod: ms since the kernel began: STARTPOD (\d+), first execve (\d+)$",
                       pod.guest.log, re.MULTILINE)
    times = [int(time) for time in (*boot.groups(), *first[0])]
    assert 0 < times[0] and times == sorted(times) and times[-1] < 120_000
    pod.newcontainer("second", ["true"]).started().wait()
    assert len(first) == 1 and pod.guest.log.count("first execve") == 1
