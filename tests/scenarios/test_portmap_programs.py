# SPDX-License-Identifier: Apache-2.0
"""What iptables-save and iptables-restore may do to the agent: fail, rave, hang, die, be missing.

On the host rig, with two scripts in their place. `plan` says what each call does, a line a call, and
what is behind its end goes well; `calls` keeps what each was given.
"""

import os
import pathlib
import subprocess
import time

import pytest

from rig.wire import Code
from test_network_input import net  # noqa: F401  a fixture

pytestmark = pytest.mark.only("host", "programs of the test's own in the daemon's mount namespace")

SCRIPT = """#!/bin/sh
cd {directory}
number=$(ls | grep -c ^call)
{{ echo "${{0##*/}} $*"; [ "${{0##*/}}" = iptables-save ] || cat; }} > call.$number
what=$(sed -n $((number + 1))p plan)
case $what in
fail) echo "iptables-restore: line 2 failed" >&2; exit 1 ;;
rave) head -c 100000 /dev/zero | tr '\\0' '\\033' >&2; exit 3 ;;
hang) exec sleep 4711 ;;
wait) touch waiting; read line < go ;;
die) kill -9 $$ ;;
esac
[ "${{0##*/}}" != iptables-save ] || cat saved
"""
SAVED = "*filter\n:INPUT DROP [1:2]\nCOMMIT\n"
RULES = "*nat\n:MINE - [0:0]\nCOMMIT\n"
# What of RULES' tables there was not.
EMPTY_NAT = ("*nat\n:PREROUTING ACCEPT [0:0]\n:INPUT ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n"
             ":POSTROUTING ACCEPT [0:0]\nCOMMIT\n")
RESTORE, UNDO = "iptables-restore -w 5 --noflush\n", "iptables-restore -w 5\n"
LISTS = {"internalNetworks": ["10.0.0.0/8"], "externalNetworks": ["192.0.2.0/24"]}


class Programs:
    def __init__(self, host, directory):
        self.host, self.directory = host, directory
        for name in ("iptables-save", "iptables-restore"):
            (directory / name).write_text(SCRIPT.format(directory=directory))
            (directory / name).chmod(0o755)
        (directory / "saved").write_text(SAVED)
        os.mkfifo(directory / "go")
        self.plan()
        subprocess.run(["nsenter", "-t", str(host.guest.pid), "-m", "mount", "--bind", directory,
                        "/usr/sbin"], check=True)

    def plan(self, *what):
        """For the calls from now on."""
        (self.directory / "plan").write_text("\n" * len(self.calls()) + "\n".join(what))

    def calls(self):
        calls = sorted(self.directory.glob("call.*"), key=lambda path: int(path.suffix[1:]))
        return [path.read_text() for path in calls]

    def start_pod(self, **fields):
        return Code.STARTPOD, {"hostname": "pod", "iptableRules": RULES, **fields}

    def container(self, name, port, args=("sleep", "1000"), **process):
        ports = [{"hostPort": port, "containerPort": port + 1, "protocol": "tcp"}]
        return self.host.newcontainer(name, list(args), container={"ports": ports}, **process)

    def is_waiting(self):
        return (self.directory / "waiting").exists()

    def go(self):
        (self.directory / "go").write_text("\n")


@pytest.fixture
def programs(host, tmp_path):
    return Programs(host, tmp_path)


INTERFACE = {"device": "net0", "newDeviceName": "new0", "mtu": 1300, "ipAddresses": [
    {"ipAddress": "10.7.0.1", "netMask": "24"}]}


def test_a_guest_without_the_programs_says_so(net):
    before = net.state()
    for rules in ({"iptableRules": RULES}, {"portmappingWhiteLists": LISTS}):
        assert net.host.error(Code.STARTPOD, {"interfaces": [INTERFACE], **rules}) == \
            "startpod: there is no iptables-save in this guest"
        assert net.state() == before
    net.host.startpod(interfaces=[INTERFACE])


@pytest.mark.options(deadline=8)
@pytest.mark.parametrize("plan, reason, undone", [
    (["fail"], "iptables-restore: line 2 failed", False),  # whoever says it
    (["ok", "fail"], "iptables-restore: line 2 failed", True),
    (["ok", "rave"], "iptables-restore: ????", True),
    (["ok", "die"], "iptables-restore: failed without a word", True),
    (["hang"], "iptables-save: not done in 1000 ms", False),
    (["ok", "hang", "hang"], "iptables-restore: not done in 1000 ms", False),
])
def test_whatever_they_do_leaves_no_trace(net, tmp_path, plan, reason, undone):
    programs, before, start = Programs(net.host, tmp_path), net.state(), time.monotonic()
    programs.plan(*plan)
    text = net.host.error(*programs.start_pod(interfaces=[INTERFACE]))
    assert reason in text and text.isprintable()
    assert time.monotonic() - start < 8
    assert net.state() == before
    assert programs.calls()[2:] == ([UNDO + SAVED, UNDO + EMPTY_NAT] if undone else
                                    [UNDO + SAVED] if plan == ["ok", "hang", "hang"] else [])
    net.host.wait_seen(lambda: not net.host.guest.children(net.host), "nobody left")
    programs.plan()
    net.host.ack(*programs.start_pod(interfaces=[INTERFACE]))
    assert programs.calls()[-1] == RESTORE + RULES + "\n"


def test_a_pod_that_cannot_be_filled_puts_the_rules_back(programs):
    text = programs.host.error(*programs.start_pod(portmappingWhiteLists=LISTS, containers=[
        {"id": "no", "image": "nowhere", "ports": [{"hostPort": 1, "containerPort": 2}],
         "process": {"stdio": 1, "stderr": 2, "args": ["true"]}}]))
    assert "nowhere" in text
    assert programs.calls()[-2:] == [UNDO + SAVED, UNDO + EMPTY_NAT]


@pytest.mark.options(deadline=2)
def test_ports_that_cannot_be_opened_are_an_error_in_bounded_time(programs):
    host = programs.host
    host.startpod(portmappingWhiteLists=LISTS)
    programs.container("first", 80).started()
    for what, reason in (("fail", "iptables-restore: line 2 failed"),
                         ("hang", "not done before the deadline")):
        programs.plan(what)
        refused, ping = programs.container(what, 90), host.send(Code.PING)
        assert reason in refused.refused()
        assert host.reply_to(ping).kind == Code.ACK
        assert "--dport 80 " in programs.calls()[-1] and "--dport 90 " not in programs.calls()[-1]
    # The one that hung is gone, and so is what it had begun.
    with pytest.raises(ValueError):
        pid_of(host, ["sleep", "4711"])
    programs.plan()
    programs.container("c", 90).started()
    assert "--dport 80 " in programs.calls()[-1] and "--dport 90 " in programs.calls()[-1]


@pytest.mark.parametrize("what", ["ok", "fail"])
def test_a_container_that_ends_while_rules_are_written_is_not_in_them(programs, what):
    host = programs.host
    host.startpod(portmappingWhiteLists=LISTS)
    first = programs.container("first", 80, id="init").started()
    calls = len(programs.calls())
    programs.plan("wait", what)
    second = programs.container("second", 90, id="init")
    host.wait_seen(programs.is_waiting, "the rules of the second")
    os.kill(pid_of(host, ["sleep", "1000"]), 9)
    first.wait()
    # All about it is done but for its ports: the pod's init is left, and who writes the rules.
    host.wait_seen(lambda: len(host.guest.children(host)) == 2, "the removal")
    programs.go()
    if what == "ok":
        second.started()
        assert len(programs.calls()) == calls + 2
    else:
        assert "line 2 failed" in second.refused()
    last = programs.calls()[-1]
    assert "--dport 80 " not in last
    assert ("--dport 90 " in last) == (what == "ok")


def pid_of(host, args):
    """Of the one process below the agent that runs so."""
    lines = subprocess.run(["ps", "-e", "-o", "pid=,args="], text=True, check=True,
                           capture_output=True).stdout.splitlines()
    (pid,) = [int(line.split()[0]) for line in lines
              if line.split()[1:] == args and is_below(int(line.split()[0]), host.guest.pid)]
    return pid


def is_below(pid, ancestor):
    while pid > 1 and pid != ancestor:
        pid = int(pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
    return pid == ancestor


def test_destroypod_does_not_wait_for_rules(programs):
    host = programs.host
    host.startpod(portmappingWhiteLists=LISTS)
    programs.plan("wait", "hang")
    refused = programs.container("c", 90)
    host.wait_seen(programs.is_waiting, "the rules")
    start = time.monotonic()
    destroy = host.send(Code.DESTROYPOD)
    assert refused.refused()
    assert host.reply_to(destroy).kind == Code.ACK
    assert time.monotonic() - start < 5
    assert host.guest.wait_end(host) == "power-off"


def test_a_destroypod_that_is_refused_cuts_no_more_than_what_ran(programs):
    host = programs.host
    host.startpod(portmappingWhiteLists=LISTS)
    programs.plan("wait")
    refused = programs.container("c", 90)
    host.wait_seen(programs.is_waiting, "the rules")
    assert "more than" in host.error(Code.DESTROYPOD, b" " * 300_000)
    assert refused.refused()
    programs.plan()
    other = programs.container("d", 80).started()
    host.kill("d")
    other.wait()
    before = len(programs.calls())
    host.ack(Code.REMOVECONTAINER, {"container": "d"})
    assert len(programs.calls()) == before + 1
