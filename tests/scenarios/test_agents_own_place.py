# SPDX-License-Identifier: Apache-2.0
"""EXECCMD in the container "hyperstart": the agent's own namespaces and root."""

import pytest

from rig.inspect import Cgroup
from rig.wire import Code

IDS = ["sh", "-c", "id -u; id -g; id -G"]


def ids(host, **process):
    done = host.run("hyperstart", IDS, **process)
    assert done.code == 0, done.err
    uid, gid, *groups = done.out.split()
    return int(uid), int(gid), sorted({int(group) for group in groups})


def test_ids_are_numbers_or_those_of_the_guests_own_files(pod):
    assert ids(pod)[:2] == (0, 0)
    assert ids(pod, user="1234", group="77", additionalGroups=["5", "6"]) == (1234, 77, [5, 6, 77])
    # Not alice, whom every image knows.
    assert ids(pod, user="daemon")[:2] == (1, 1)
    assert "alice" in pod.execcmd("hyperstart", ["true"], user="alice").refused()


def test_it_has_a_leaf_of_its_own_beside_the_containers(pod, box):
    ours, its = (pod.run(name, ["cat", "/proc/self/cgroup"]).out.decode().splitlines()[-1]
                 for name in ("hyperstart", box.name))
    assert ours.endswith("/pod/c-hyperstart")
    assert its == "0::/"
    assert Cgroup(pod, box.name).members()


def test_orphans_are_the_agents_and_are_reaped(pod):
    script = "sh -c 'sleep 1000 & echo $!' >/tmp/orphan; cat /tmp/orphan; rm /tmp/orphan"
    orphan = pod.run("hyperstart", ["sh", "-c", f"mkdir -p /tmp; {script}"]).out.decode().strip()
    status = pod.run("hyperstart", ["grep", "^PPid:", f"/proc/{orphan}/status"]).out.decode()
    agent = pod.guest.look(pod, "grep NSpid /proc/$AGENT/status")[-1]
    assert status.split()[1] == agent
    pod.run("hyperstart", ["sh", "-c", f"kill -9 {orphan}"])
    pod.wait_seen(lambda: pod.guest.zombies(pod) == [], "the orphan's end")


@pytest.mark.options(fresh=True)
def test_destroypod_ends_what_runs_there(pod):
    process = pod.execcmd("hyperstart", ["sleep", "100000"]).started()
    pod.ack(Code.DESTROYPOD)
    assert process.wait() == 143
    pod.disconnect()
    assert pod.guest.wait_end(pod) == "power-off"
