# SPDX-License-Identifier: Apache-2.0
"""PSCONTAINER: what runs in a container, for people and for docker top."""

import json
import re

import pytest

from rig.wire import Code

# It has said that it runs: between the ACK and then, execve may not have set its arguments yet.
STAYS = "echo ready; read x; true"
SHOWN = f"sh -c {STAYS}"
DEFAULT = ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]


def ready(process):
    process.started()
    process.wait_output(b"ready")
    return process


@pytest.fixture
def box(pod):
    """A container named .name, whose first process has said that it runs."""
    name = f"box{pod.fresh_seq()}"
    process = ready(pod.newcontainer(name, ["sh", "-c", STAYS]))
    process.name = name
    return process


def stays(pod, box, *arguments, script=STAYS, **process):
    """Another process there that stays until it reads a line."""
    return ready(pod.execcmd(box.name, ["sh", "-c", script, *arguments], **process))


def end(process):
    process.write(b"\n")
    assert process.wait() == 0


def ps(host, container, *psargs, form="table"):
    """The text, psargs null where there are none, as cc30 sends it."""
    return host.ack(Code.PSCONTAINER, {"container": container, "format": form,
                                       "psargs": list(psargs) or None}).decode()


def top(host, container, *psargs):
    """As docker top reads it: the heading's words, and each line split into so many columns."""
    text = ps(host, container, *psargs)
    assert text.endswith("\n")
    titles, *lines = text[:-1].split("\n")
    titles = titles.split()
    rows = [dict(zip(titles, line.split(None, len(titles) - 1), strict=True)) for line in lines]
    return titles, rows


def pids(host, container):
    return json.loads(ps(host, container, form="json"))


def test_the_default_table_is_what_ps_ef_prints(pod, box):
    other = stays(pod, box, "more", user="alice")
    titles, rows = top(pod, box.name)
    assert titles == DEFAULT
    assert [row["CMD"] for row in rows] == [SHOWN, SHOWN + " more"]
    assert [row["UID"] for row in rows] == ["root", "alice"]
    assert [int(row["PID"]) for row in rows] == sorted(pids(pod, box.name))
    assert {row["TTY"] for row in rows} == {"?"}
    assert {row["TIME"] for row in rows} == {"00:00:00"}
    assert top(pod, box.name, "-ef")[0] == DEFAULT
    end(other)


def test_json_is_an_array_of_pids(pod, box):
    assert len(pids(pod, box.name)) == 1
    other = stays(pod, box)
    both = pids(pod, box.name)
    assert len(both) == 2 and both == sorted(both)
    assert ps(pod, box.name, form="json") == f"[{both[0]},{both[1]}]"
    end(other)
    assert pids(pod, box.name) == both[:1]


def test_aux_shows_what_each_process_costs(pod, box):
    titles, (row,) = top(pod, box.name, "aux")
    assert titles == "USER PID %CPU %MEM VSZ RSS TTY STAT START TIME COMMAND".split()
    assert row["USER"] == "root" and row["COMMAND"] == SHOWN
    assert int(row["VSZ"]) > 0 and int(row["RSS"]) > 0
    assert re.fullmatch("[DRS][N<]?s", row["STAT"])  # N: the tests are run by nice


def test_columns_are_chosen_with_o(pod, box):
    titles, (row,) = top(pod, box.name, "-o", "pid,ppid,uid,user=NAME,comm")
    assert titles == ["PID", "PPID", "UID", "NAME", "COMMAND"]
    assert (row["UID"], row["NAME"], row["COMMAND"]) == ("0", "root", "sh")
    assert row["PPID"] == "1"  # the agent


def test_a_user_that_passwd_does_not_know_is_a_number(pod, box):
    process = stays(pod, box, user="4242")
    users = [row["USER"] for row in top(pod, box.name, "-o", "user,args")[1]]
    assert users == ["root", "4242"]
    end(process)


def test_a_passwd_that_is_no_file_leaves_numbers(pod):
    script = f"rm /etc/passwd; mkfifo /etc/passwd; {STAYS}"
    ready(pod.newcontainer("fifo", ["sh", "-c", script], image="fifo"))
    assert {row["UID"] for row in top(pod, "fifo")[1]} == {"0"}


def test_a_terminal_is_shown(pod, box):
    process = stays(pod, box, terminal=True)
    _, (_, row) = top(pod, box.name)
    assert row["TTY"].startswith("pts/") and row["CMD"] == SHOWN
    end(process)


def test_other_containers_are_not_in_sight(pod, box):
    ready(pod.newcontainer("neighbour", ["sh", "-c", STAYS, "77777"]))
    assert "77777" in ps(pod, "neighbour") and "77777" not in ps(pod, box.name)
    assert set(pids(pod, "neighbour")).isdisjoint(pids(pod, box.name))


HOSTILE = [
    ("newline", "x\n1 root 999 forged", "x?1 root 999 forged"),
    ("escape", "x\x1b]0;title\x07\x1b[2J", "x?]0;title??[2J"),
    ("unicode", "grüße €", "grüße €"),
    ("direction", "a\u202eb\u2028c", "a?b?c"),
]


@pytest.mark.parametrize("argument, shown", [case[1:] for case in HOSTILE],
                         ids=[case[0] for case in HOSTILE])
def test_a_hostile_command_line_stays_in_its_line(pod, box, argument, shown):
    process = stays(pod, box, argument)
    _, rows = top(pod, box.name)
    assert [row["CMD"] for row in rows] == [SHOWN, f"{SHOWN} {shown}"]
    end(process)


def test_a_name_cannot_move_the_columns(pod, box):
    """comm, which a process chooses, stands between parentheses in stat."""
    script = r"printf 'a) R 1 \n(x' > /proc/self/comm; " + STAYS
    process = stays(pod, box, script=script)
    _, rows = top(pod, box.name, "-o", "comm,pid")
    assert [int(row["PID"]) for row in rows] == pids(pod, box.name)
    assert ps(pod, box.name, "-o", "pid,comm").endswith(" a) R 1 ?(x\n")
    assert ps(pod, box.name, "-o", "comm,user=WHO").endswith("a)_R_1_?(x      root\n")
    end(process)


def test_a_command_line_of_100_kib_is_cut(pod, box):
    process = stays(pod, box, "y" * 100_000)
    lines = ps(pod, box.name).split("\n")
    assert max(map(len, lines)) == 4095
    assert lines[2].endswith("yyyy")
    end(process)


def test_processes_that_come_and_go_do_not_disturb_it(pod):
    pod.newcontainer("busy", ["sh", "-c", "while :; do true | true | true; done"]).started()
    for _ in range(30):
        titles, rows = top(pod, "busy")
        assert titles == DEFAULT and len(rows) >= 1
        assert all(int(row["PID"]) > 0 for row in rows)


@pytest.mark.parametrize("psargs, named", [
    (["-q"], "ps: unknown option '-q'"),
    (["-ef", "--sort=pid"], "ps: unknown option '--sort=pid'"),
    (["-o", "pid,wchan"], "ps: unknown column 'wchan'"),
    (["-o"], "ps: option '-o' without a list of columns"),
])
def test_what_ps_does_not_understand_is_an_error_that_names_it(pod, box, psargs, named):
    text = pod.error(Code.PSCONTAINER, {"container": box.name, "format": "table",
                                        "psargs": psargs})
    assert named in text


def test_ps_of_a_container_that_is_not_there_is_an_error_that_names_it(pod):
    text = pod.error(Code.PSCONTAINER, {"container": "nope", "format": "table", "psargs": None})
    assert "pscontainer" in text and "nope" in text


def test_ps_of_an_exited_container_is_an_error_that_says_so(pod):
    pod.newcontainer("gone", ["true"]).started().wait()
    text = pod.error(Code.PSCONTAINER, {"container": "gone", "format": "table", "psargs": None})
    assert "gone" in text and "not running" in text


def test_an_unknown_format_is_an_error_that_names_it(pod, box):
    text = pod.error(Code.PSCONTAINER, {"container": box.name, "format": "xml", "psargs": None})
    assert "xml" in text
