# SPDX-License-Identifier: Apache-2.0
"""REMOVECONTAINER, and what goes by itself: every trace of a container, and its id is free again."""

import pytest

from rig.wire import Code

ORPHANS = ["sh", "-c", "for i in 1 2 3 4 5 6 7 8; do setsid sleep 1000 & done; exit 5"]


def cgroups(pod):
    return sorted(path.name for path in (pod.guest.cgroup / "pod").iterdir() if path.is_dir())


@pytest.mark.only("host", "looks into the agent's cgroup directory")
def test_a_container_with_an_id_goes_with_its_last_process(pod):
    """The orphans that cgroup.kill ends die a little later than the first process."""
    for n in range(30):
        process = pod.newcontainer("gone", ORPHANS, id="init").started()
        assert process.wait() == 5
        while cgroups(pod):
            pod.ping()


def test_the_id_of_a_container_that_went_is_free_while_its_orphans_die(pod):
    """runV starts the next one when it has the event."""
    for _ in range(30):
        assert pod.newcontainer("next", ORPHANS, id="init").started().wait() == 5
        assert "no such container" in pod.execcmd("next", ["true"]).refused()
    assert pod.newcontainer("next", ["true"]).started().wait() == 0


def test_a_stopped_container_is_removed_and_its_id_is_free(pod):
    for code in range(3):
        process = pod.newcontainer("again", ["sh", "-c", f"exit {code}"]).started()
        assert "exists already" in pod.newcontainer("again", ["true"]).refused()
        assert process.wait() == code
        pod.ack(Code.REMOVECONTAINER, {"container": "again"})
        assert "no such container 'again'" in pod.error(
            Code.REMOVECONTAINER, {"container": "again"})


def test_a_remove_right_behind_the_exit_waits_for_the_orphans(pod):
    for _ in range(10):
        assert pod.newcontainer("orphans", ORPHANS).started().wait() == 5
        pod.ack(Code.REMOVECONTAINER, {"container": "orphans"})


def test_a_container_that_made_cgroups_of_its_own_is_removed(pod):
    """With all capabilities it may; another may not mount."""
    make = "mount -o remount,rw /sys/fs/cgroup && mkdir -p /sys/fs/cgroup/one/two"
    assert pod.newcontainer("nested", ["sh", "-c", make]).started().wait() == 0
    pod.ack(Code.REMOVECONTAINER, {"container": "nested"})


@pytest.mark.only("host", "holds the container's mount namespace")
def test_what_lies_below_a_root_over_the_root_is_unmounted_by_a_child(pod):
    """Else it would be by who closes the namespace: the daemon, whatever its disk does."""
    process = pod.newcontainer("over", ["sleep", "1000"]).started()
    pid = (pod.guest.cgroup / "pod/c-over/cgroup.procs").read_text().split()[0]
    with open(f"/proc/{pid}/mountinfo") as mounts:
        assert pod.run("over", ["mount", "-t", "tmpfs", "over", "/"]).code == 0
        pod.kill("over")
        process.wait()
        pod.ack(Code.REMOVECONTAINER, {"container": "over"})
        mounts.seek(0)
        assert mounts.read() == ""


def test_a_running_container_is_not_removed(pod, box):
    text = pod.error(Code.REMOVECONTAINER, {"container": box.name})
    assert text == f"removecontainer: container '{box.name}' is running"
    assert pod.run(box.name, ["true"]).code == 0


def test_removed_containers_leave_no_fd(pod):
    before = pod.guest.stat(pod).fds
    for n in range(20):
        assert pod.newcontainer("c", ["true"]).started().wait() == 0
        pod.ack(Code.REMOVECONTAINER, {"container": "c"})
    assert pod.guest.stat(pod).fds == before


@pytest.mark.options(fresh=True)
def test_a_pod_whose_second_container_fails_can_be_started_again(host):
    """The first one ran already; nobody reads its end yet."""
    good = {"id": "a", "image": "box", "process": {
        "id": "init", "args": ["sleep", "1000"], "stdio": 71, "stderr": 72}}
    bad = {"id": "b", "image": "box", "process": {"args": ["/no/such"], "stdio": 73, "stderr": 74}}
    host.expect_process("a", good["process"])
    host.tty.reading = False
    text = host.error(Code.STARTPOD, {"hostname": "pod", "shareDir": "share",
                                      "containers": [good, bad]})
    assert text == "startpod: container 'b': exec '/no/such': no such file or directory"
    host.tty.reading = True
    host.startpod()
    assert host.newcontainer("a", ["true"]).started().wait() == 0
