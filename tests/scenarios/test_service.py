# SPDX-License-Identifier: Apache-2.0
"""The agent as a service of an init that has made everything there is."""

import pytest

from rig.wire import Code

pytestmark = [pytest.mark.only("vm", "the host rig makes the agent's directories"),
              pytest.mark.starts("service", "it needs a guest with another init")]


def test_the_agent_is_not_pid_1_and_in_a_leaf_of_the_services_cgroup(pod, box):
    pid, cgroup = pod.guest.look(pod, "echo $AGENT; cat /proc/$AGENT/cgroup")
    assert int(pid) > 1
    assert cgroup == "0::/system.slice/hyperstart.service/agent"
    assert pod.guest.look(pod, "cat $CGROUP/cgroup.procs") == []
    assert pod.run("hyperstart", ["cat", "/proc/self/cgroup"]).out.decode().strip() == \
        cgroup.replace("/agent", "/pod/c-hyperstart")


def test_nothing_is_mounted_twice(pod):
    points = pod.guest.look(pod, "cut -d' ' -f5 /proc/$AGENT/mountinfo")
    ours = {"/dev", "/dev/pts", "/proc", "/run", "/sys", "/sys/fs/cgroup"}
    assert {point: points.count(point) for point in ours} == dict.fromkeys(ours, 1)


def test_its_init_takes_it_for_running(pod):
    done = pod.run("hyperstart", ["systemctl", "show", "--property=ActiveState,Delegate,NRestarts",
                                  "hyperstart"])
    assert set(done.out.decode().split()) == {"ActiveState=active", "Delegate=yes", "NRestarts=0"}


def test_its_lines_are_in_the_journal(pod):
    journal = pod.run("hyperstart", ["journalctl", "--unit=hyperstart", "--output=cat"])
    assert b"port control: host connected" in journal.out


def test_what_the_parent_ignores_the_children_do_not(pod, box):
    """systemd ignores SIGPIPE for its services."""
    mask = pod.run(box.name, ["sed", "-n", "s/^SigIgn:.//p", "/proc/self/status"]).out
    assert int(mask, 16) == 0


@pytest.mark.options(fresh=True)
def test_a_destroyed_pod_is_the_machines_end(pod, box):
    pod.ack(Code.DESTROYPOD)
    pod.disconnect()
    assert pod.guest.wait_end(pod) == "power-off"
