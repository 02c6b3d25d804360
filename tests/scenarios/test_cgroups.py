# SPDX-License-Identifier: Apache-2.0
"""A container that makes cgroups of its own, as Docker, systemd and k3s in it do: with CAP_SYS_ADMIN it
may. It stays within its limits, and the agent finds whatever it does there."""

import json

import pytest

from rig.wire import Code
from test_attacks import ping_time

controllers = pytest.mark.only("vm", "controllers may belong to cgroup v1 on this machine")
delegates = pytest.mark.only("vm", "cgroup2 of this machine may be mounted without nsdelegate")

# First of all the script moves everybody into a group below.
MOVE = """
mount -o remount,rw /sys/fs/cgroup; cd /sys/fs/cgroup; mkdir -p inner/deeper
%s
for pid in $(cat cgroup.procs); do echo $pid >%s/cgroup.procs; done
%s
sleep 1000 & sleep 1000 & echo ready; wait; sleep 1000
"""
FORMS = {
    "handed on": MOVE % ("", "inner", "echo +memory >cgroup.subtree_control"),
    "twice": MOVE % ("", "inner/deeper",
                     "for at in . inner; do echo +memory >$at/cgroup.subtree_control; done"),
    "moved": MOVE % ("", "inner", ""),
    "threaded": MOVE % ("mkdir inner/thread; echo threaded >inner/thread/cgroup.type",
                        "inner", "echo $$ >inner/thread/cgroup.procs"),
}


@pytest.fixture
def nest(pod):
    """Starts a container of its own name with that script, which says that it is ready."""
    def start(script):
        name = f"nest{pod.fresh_seq()}"
        process = pod.newcontainer(name, ["sh", "-c", script]).started()
        process.name = name
        process.wait_output(b"ready\n")
        return process
    return start


def shell(pod, name, script):
    process = pod.run(name, ["sh", "-c", script])
    return process.out.decode()


def pids(pod, name):
    return json.loads(pod.ack(Code.PSCONTAINER, {"container": name, "format": "json"}))


@pytest.mark.parametrize("form", [pytest.param(form, marks=controllers if "memory" in script else ())
                                  for form, script in FORMS.items()])
def test_exec_ps_and_signals_reach_into_cgroups_that_a_container_made(pod, nest, form):
    process = nest(FORMS[form])
    assert pod.run(process.name, ["true"]).code == 0
    where = shell(pod, process.name, "cat /proc/self/cgroup").splitlines()[-1]
    assert where == {"handed on": "0::/inner", "twice": "0::/inner/deeper", "moved": "0::/",
                     "threaded": "0::/"}[form]
    assert len(pids(pod, process.name)) == 3
    # It goes to everybody, and kills who does not know it.
    pod.ack(Code.KILLCONTAINER, {"container": process.name, "signal": 15, "allProcesses": True})
    assert process.wait() == 143
    pod.ack(Code.REMOVECONTAINER, {"container": process.name})


def test_a_signal_to_all_finds_those_that_ignore_the_first_ones_end(pod, nest):
    process = nest("""
mount -o remount,rw /sys/fs/cgroup; mkdir /sys/fs/cgroup/inner
(trap 'echo told; exit 3' TERM; touch /tmp/set; while :; do sleep 0.1; done) &
echo $! >/sys/fs/cgroup/inner/cgroup.procs
trap '' TERM; until [ -e /tmp/set ]; do sleep 0.1; done; echo ready; sleep 1000; sleep 1000
""")
    pod.ack(Code.KILLCONTAINER, {"container": process.name, "signal": 15, "allProcesses": True})
    process.wait_output(b"told\n")
    assert not process.ended


def test_an_exec_needs_no_first_thread_of_the_first_process(pod):
    """It may have ended, by pthread_exit(), while others go on: then it is in no namespace any more."""
    name = f"headless{pod.fresh_seq()}"
    first = pod.newcontainer(name, ["attack", "headless"]).started()
    first.wait_output(b"ready\n")
    assert shell(pod, name, "cat /proc/self/cgroup").splitlines()[-1] == "0::/"
    pod.kill(name)
    assert first.wait() == 137


def test_a_container_sees_no_cgroup_but_its_own(pod, box):
    assert shell(pod, box.name, "cat /proc/self/cgroup"
                 ).splitlines()[-1] == "0::/"
    script = ("tail -n 1 /proc/1/cgroup; mkdir /tmp/c; mount -t cgroup2 none /tmp/c;"
              "ls -d /tmp/c/pod /tmp/c/init /tmp/c/c-* 2>/dev/null; cat /tmp/c/cgroup.procs; umount /tmp/c")
    process = pod.newcontainer(f"own{pod.fresh_seq()}", ["sh", "-c", script]).started()
    assert process.wait() == 0
    first, *seen = process.out.decode().split()
    assert len(seen) in (2, 3) and all(word.isdigit() for word in seen), seen
    # The pod's init is where the agent is: above, or beside the pod's.
    assert f"{first}/".startswith("0::/../../")


@delegates
def test_a_container_that_mounts_cgroup2_cannot_lift_its_limits(pod):
    name = f"limited{pod.fresh_seq()}"
    pod.newcontainer(name, ["sleep", "1000"], container={
        "constraints": {"CPUQuota": 50000}}).started()
    script = """
mkdir /tmp/c; mount -t cgroup2 none /tmp/c; cd /tmp/c
for file in cpu.max memory.max pids.max cgroup.max.descendants cgroup.freeze; do
        [ -e $file ] && echo max >$file && echo lifted $file
done 2>/dev/null
mkdir in && echo $$ >in/cgroup.procs && cat /proc/self/cgroup
echo 1 >cgroup.procs || echo kept
"""
    out = shell(pod, name, script)
    assert "lifted" not in out and "0::/in\n" in out and "kept\n" in out
    assert pod.guest.look(pod, f'cat "$CGROUP/pod/c-{name}/cpu.max"') == ["50000", "100000"]


@pytest.mark.options(fresh=True)
def test_however_many_cgroups_a_container_makes_it_holds_up_nobody(pod, nest):
    idle = ping_time(pod, 1)
    process = nest("mount -o remount,rw /sys/fs/cgroup; attack cgroups /sys/fs/cgroup 3000 100")
    made, deep = process.out.split(b"\n")[0].split()
    assert int(made) + int(deep) == 512 and int(deep) == 16, process.out
    making = ping_time(pod, 3)
    pod.kill(process.name)
    process.wait()
    pod.ack(Code.REMOVECONTAINER, {"container": process.name}, timeout=20)
    assert pod.guest.look(pod, 'ls -d "$CGROUP"/pod/c-nest* 2>/dev/null') == []
    # A look at all of them in the loop is a hundred times as long; other work on the machine is not.
    assert making <= 20 * idle, (making, idle)


@pytest.mark.options(fresh=True)
def test_a_pod_that_ends_with_many_cgroups_leaves_none(pod, nest):
    """On the host rig the end of the test sees one that is left."""
    for _ in range(3):
        nest("mount -o remount,rw /sys/fs/cgroup; attack cgroups /sys/fs/cgroup 3000 100")
    pod.ack(Code.DESTROYPOD)
    assert pod.guest.wait_end(pod) == "power-off"
    pod.guest.describe()
    assert not [line for line in pod.guest.log.splitlines() if ": warn" in line or ": error" in line]
