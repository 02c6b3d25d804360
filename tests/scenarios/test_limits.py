# SPDX-License-Identifier: Apache-2.0
"""What a container may take of the machine, and what its pod leaves to the agent."""

import re

import pytest

MIB = 1 << 20
vm_only = pytest.mark.only("vm", "controllers may belong to cgroup v1 on this machine")

# As crun derives cpu.max and cpu.weight; "" stands for what they are by themselves.
CONSTRAINTS = [
    ({}, "", ""),
    ({"CPUQuota": 0, "CPUPeriod": 0, "CPUShares": 0}, "", ""),
    ({"CPUQuota": 50000}, "50000 100000", ""),
    ({"CPUQuota": 200000}, "200000 100000", ""),
    ({"CPUQuota": 25000, "CPUPeriod": 50000}, "25000 50000", ""),
    ({"CPUQuota": -1, "CPUPeriod": 50000}, "max 50000", ""),
    ({"CPUQuota": 1000, "CPUPeriod": 1000}, "1000 1000", ""),
    ({"CPUQuota": 150000, "CPUPeriod": 1000000, "CPUShares": 512}, "150000 1000000", "20"),
    ({"CPUShares": 2}, "", "1"),
    ({"CPUShares": 1024}, "", "39"),
    ({"CPUShares": 3072}, "", "118"),
    ({"CPUShares": 262144}, "", "10000"),
]


def cgroup_file(pod, name, file):
    return pod.guest.shell(pod, f'cat "$CGROUP/pod/{name}/{file}"')().strip()


@vm_only
def test_constraints_become_cpu_max_and_cpu_weight_as_crun_has_it(pod):
    for number, (constraints, quota, weight) in enumerate(CONSTRAINTS):
        pod.newcontainer(f"c{number}", ["sleep", "1000"],
                         container={"constraints": constraints}).started()
    script = 'cd "$CGROUP/pod"; for n in %s; do cat c-c$n/cpu.max; cat c-c$n/cpu.weight; done'
    lines = pod.guest.shell(pod, script % " ".join(map(str, range(len(CONSTRAINTS)))))().splitlines()
    assert [tuple(lines[at : at + 2]) for at in range(0, len(lines), 2)] == \
        [(quota or "max 100000", weight or "100") for _, quota, weight in CONSTRAINTS]


@vm_only
def test_a_constraint_that_the_kernel_refuses_is_an_error_and_leaves_nothing(pod):
    late = pod.newcontainer("tiny", ["true"], container={"constraints": {"CPUQuota": 10}})
    assert "cpu.max" in late.refused()
    assert pod.guest.look(pod, 'ls -d "$CGROUP/pod/c-tiny" 2>/dev/null') == []
    assert pod.newcontainer("tiny", ["true"]).started().wait() == 0


SPIN = ["sh", "-c", "while :; do :; done"]
# What the containers named used, in microseconds, of how many; and how often they were held back.
WATCH = """
cd "$CGROUP/pod"
now() { for c in %s; do grep -E 'usage_usec|nr_throttled' c-$c/cpu.stat; done; cat /proc/uptime; }
now; sleep 5; now
"""


def watch(pod, *names):
    text = pod.guest.shell(pod, WATCH % " ".join(names))()
    used = [int(value) for value in re.findall(r"usage_usec (\d+)", text)]
    throttled = [int(value) for value in re.findall(r"nr_throttled (\d+)", text)]
    start, end = re.findall(r"^([\d.]+) [\d.]+$", text, re.MULTILINE)
    half = len(names)
    difference = lambda values: [after - before for before, after in zip(values, values[half:])]
    return difference(used), difference(throttled), (float(end) - float(start)) * 1e6


@vm_only
def test_a_spinner_gets_no_more_than_its_quota(pod):
    pod.newcontainer("spin", SPIN, container={"constraints": {"CPUQuota": 20000}}).started()
    (used,), (throttled,), wall = watch(pod, "spin")
    assert 0.1 * wall <= used <= 1.1 * 0.2 * wall
    assert throttled > 10


@vm_only
def test_of_two_spinners_the_one_with_three_shares_gets_three_times_the_other(pod):
    for name, shares in (("one", 1024), ("three", 3072)):
        pod.newcontainer(name, SPIN, container={"constraints": {"CPUShares": shares}}).started()
    (one, three), _, _ = watch(pod, "one", "three")
    assert 2 <= three / one <= 4


@vm_only
def test_a_pod_leaves_the_agent_its_reserve(pod):
    words = pod.guest.look(pod, 'cd "$CGROUP/pod"; cat memory.max pids.max cgroup.subtree_control; '
                                "cat /proc/sys/kernel/threads-max; grep MemTotal /proc/meminfo")
    memory, pids, *controllers, threads, _, total, _ = words
    assert int(total) * 1024 / 2 < int(memory) < int(total) * 1024 - 32 * MIB
    assert int(pids) == int(threads) - 256
    assert set(controllers) == {"cpu", "memory"}


HOG = ["hog"]


@vm_only
def test_a_container_that_is_killed_for_memory_is_told(pod, box):
    hog = pod.newcontainer("hog", HOG).started()
    assert hog.wait() == 137
    pod.wait_log("process hog/-: killed by the OOM killer")
    used = re.search(r"hog/-: killed by the OOM killer; its container used up to (\d+) KiB",
                     pod.guest.log)
    limit = int(cgroup_file(pod, "", "memory.max")) / 1024
    assert 0.9 * limit < int(used[1]) <= limit
    pod.ping()
    assert pod.run(box.name, ["true"]).code == 0


@vm_only
def test_a_process_that_is_killed_for_memory_is_told(pod, box):
    assert pod.run(box.name, HOG).code == 137
    assert f"process {box.name}/-: killed by the OOM killer" in pod.guest.log
    assert not box.ended
    killed = pod.guest.log.count("OOM killer")
    assert pod.run(box.name, ["sh", "-c", "kill -9 $$"]).code == 137
    assert pod.guest.log.count("OOM killer") == killed


@pytest.mark.only("host", "where there is no cpu controller")
def test_a_constraint_without_its_controller_is_an_error(pod):
    if (pod.guest.cgroup / "cgroup.controllers").read_text().split():
        pytest.skip("this machine has controllers in cgroup v2")
    late = pod.newcontainer("c", ["true"], container={"constraints": {"CPUShares": 5}})
    assert "cpu.weight" in late.refused()
    assert pod.newcontainer("c", ["true"], container={"constraints": {}}).started().wait() == 0
