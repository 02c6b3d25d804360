# SPDX-License-Identifier: Apache-2.0
"""A session: the commands one by one, what a process finds around it, and how errors read."""

import pytest

from rig.wire import Code

fresh = pytest.mark.options(fresh=True)


def sh(host, box, script, **process):
    """A shell script from start to end; its output as text."""
    done = host.run(box.name, ["sh", "-c", script], **process)
    assert done.code == 0, done.err
    return done.out.decode()


# Commands without a pod

def test_ready_is_the_first_message_and_getversion_answers_4244(host):
    assert int.from_bytes(host.ack(Code.GETVERSION), "big") == 4244


@pytest.mark.options(api=4242)
def test_the_version_is_what_the_option_says(host):
    assert int.from_bytes(host.ack(Code.GETVERSION), "big") == 4242


def test_ping_is_acknowledged_with_nothing(host):
    assert host.ack(Code.PING) == b""


@pytest.mark.parametrize("payload", [b"", b"null", b'""', b"{}"])
def test_a_command_without_arguments_takes_every_form_of_nothing(host, payload):
    assert host.ack(Code.PING, payload) == b""


@pytest.mark.parametrize("code", [Code.GETVERSION, Code.GETPOD, Code.READY, Code.PING,
                                  Code.ONLINECPUMEM])
@pytest.mark.parametrize("payload", [b" ", b"0", b"nul", b"{}x", b'{"cpus":1}', b"x" * 10_000])
def test_a_command_without_arguments_takes_none(host, code, payload):
    name = code.name.lower()
    expected = f"{name}: it takes no arguments"
    if len(payload) > 4:
        expected = f"command {code.value}: {len(payload)} bytes of payload are more than 4"
    assert host.error(code, payload) == expected


def test_commands_that_are_queued_are_answered_in_order(host):
    commands = [host.send(code) for _ in range(100) for code in (Code.PING, Code.GETVERSION, 7)]
    host.reply_to(commands[-1])
    for at, cmd in enumerate(commands):
        assert (cmd.kind, len(cmd.payload)) == [
            (Code.ACK, 0), (Code.ACK, 4), (Code.ERROR, len("unknown command 7"))][at % 3]


@pytest.mark.parametrize("code", [3, 5, 7, 13, 26, 99, 1 << 20, 0xFFFFFFFF])
def test_an_unknown_command_is_an_error_that_says_its_number(host, code):
    assert host.error(code) == f"unknown command {code}"


@fresh
def test_containers_before_the_pod_are_refused(host):
    assert "pod" in host.newcontainer("web", ["true"]).refused()
    assert "pod" in host.execcmd("web", ["true"]).refused()
    assert "web" in host.error(Code.KILLCONTAINER, {"container": "web", "signal": 9})


# The pod

def test_a_second_startpod_is_refused_and_the_pod_stays(pod, box):
    assert "pod" in pod.error(Code.STARTPOD, {"hostname": "other", "shareDir": "share"})
    assert sh(pod, box, "hostname") == "pod\n"


@fresh
def test_a_startpod_that_fails_is_undone_and_the_next_one_works(host):
    text = host.error(Code.STARTPOD, {"hostname": "h" * 300, "shareDir": "share"})
    assert "hostname" in text
    host.startpod(hostname="second")
    done = host.newcontainer("c", ["hostname"]).started()
    done.wait()
    assert done.out == b"second\n"


@fresh
def test_a_pod_without_a_share_stands_but_has_no_images(host):
    host.ack(Code.STARTPOD, {"hostname": "bare"})
    assert "box" in host.newcontainer("c", ["true"]).refused()
    host.pod = True


@fresh
def test_unknown_keys_are_ignored_at_every_depth(host):
    noise = {"zz": [1, {"deep": [[], {}, None, True, -1.5e3, "\u20ac"]}], "restartPolicy": ""}
    host.startpod(**noise, containers=[], interfaces=[], routes=[], dnsSearch=None)
    process = host.newcontainer(
        "c", ["say", "x", "", "0"],
        container={**noise, "constraints": {"CPUQuota": 0}},
        noNewPrivileges=False, capabilities={"bounding": None}, **noise).started()
    process.wait()
    assert process.out == b"x"


@fresh
def test_hostname_hosts_and_resolv_conf_are_the_pods(host):
    host.startpod(hostname="labhost", dns=["10.0.2.3", "fd00::53"], dnsSearch=["example.org"],
                  dnsOptions=["ndots:2"])
    show = ["sh", "-c", "hostname; echo $HOSTNAME; cat /etc/hostname; cat /etc/resolv.conf; cat /etc/hosts"]
    for name in ("first", "second"):
        process = host.newcontainer(name, show).started()
        assert process.wait() == 0, process.err
        lines = process.out.decode().splitlines()
        assert lines[:3] == ["labhost"] * 3
        for line in ("nameserver 10.0.2.3", "nameserver fd00::53", "search example.org",
                     "options ndots:2"):
            assert line in lines
        assert any("localhost" in line.split() for line in lines if line.startswith("127.0.0.1"))


# Containers

def test_two_containers_of_one_pod_share_pids_ipc_and_hostname_but_not_mounts(pod, box):
    other = pod.newcontainer("other", ["sleep", "100000"]).started()
    other.name = "other"
    for kind, same in (("pid", True), ("ipc", True), ("uts", True), ("net", True), ("mnt", False)):
        mine, its = (sh(pod, which, f"readlink /proc/self/ns/{kind}") for which in (box, other))
        assert (mine == its) == same, kind


def test_an_exec_is_in_its_containers_mount_namespace(pod, box):
    # The first process is a child of the pod's init.
    script = "for p in /proc/[0-9]*; do [ $(cut -d' ' -f4 $p/stat) = 0 ] && readlink $p/ns/mnt; done"
    namespaces = sh(pod, box, script + " | sort | uniq -c | sort -n | tail -n 1").split()
    assert sh(pod, box, "readlink /proc/self/ns/mnt").strip() in namespaces


def test_a_container_sees_nothing_of_the_guests_root(pod, box):
    seen = set(sh(pod, box, "ls -a /").split())
    assert seen >= {".", "..", "bin", "dev", "etc", "home", "proc", "root", "sys", "tmp"}
    # Other tests' mount points stay in the image; what only the guest's root has is not here.
    assert not seen & {"init", "modules", "run"}
    mounts = sh(pod, box, "cut -d' ' -f5 /proc/self/mountinfo").split()
    mounts = [mount for mount in mounts if mount != "/lib/modules"]
    assert all(mount.split("/")[1] in ("", "dev", "etc", "proc", "sys") for mount in mounts), mounts


def test_dev_is_private_and_holds_what_programs_need(pod, box):
    names = sh(pod, box, "ls /dev").split()
    assert sorted(set(names) - {"console"}) == sorted(
        "fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero".split())
    assert sh(pod, box, "echo x >/dev/null; head -c 4 /dev/zero | wc -c; echo y >/dev/stdout") == \
        "4\ny\n"
    assert pod.run(box.name, ["sh", "-c", "echo x >/dev/full"]).code != 0


def test_proc_is_the_pods_and_sys_is_read_only(pod, box):
    assert "sleep" in sh(pod, box, "cat /proc/*/comm")
    assert pod.run(box.name, ["touch", "/sys/kernel/x"]).code != 0
    assert " ro," in sh(pod, box, "grep ' /sys ' /proc/self/mounts")


def test_a_read_only_container_cannot_write_its_root(pod):
    process = pod.newcontainer("ro", ["touch", "/file"], container={"readOnly": True}).started()
    assert process.wait() != 0
    assert b"Read-only" in process.err


def test_an_image_with_leading_slashes_is_below_the_share(pod):
    process = pod.newcontainer("slash", ["true"], container={"image": "/box", "rootfs": "/rootfs"})
    assert process.started().wait() == 0


@pytest.mark.parametrize("where", [{"image": "nowhere"}, {"rootfs": "nowhere"},
                                   {"image": "../../etc"}, {"image": "box/rootfs/etc/passwd"}])
def test_a_missing_image_is_an_error_that_names_it(pod, where):
    text = pod.newcontainer("missing", ["true"], container=where).refused()
    assert next(iter(where.values())).split("/")[-1] in text
    assert "missing" in text


def test_a_container_id_in_use_is_refused_and_the_container_stays(pod, box):
    text = pod.newcontainer(box.name, ["true"]).refused()
    assert box.name in text
    assert sh(pod, box, "echo alive") == "alive\n"


def test_an_exited_container_keeps_its_id_and_takes_no_exec(pod):
    pod.newcontainer("gone", ["true"]).started().wait()
    assert "gone" in pod.execcmd("gone", ["true"]).refused()
    assert "gone" in pod.newcontainer("gone", ["true"]).refused()


def test_a_container_whose_process_has_an_id_goes_at_exit_and_its_id_is_free(pod):
    for _ in range(3):
        process = pod.newcontainer("again", ["say", "x", "", "1"], id="init").started()
        assert process.wait() == 1
    assert "again" in pod.error(Code.KILLCONTAINER, {"container": "again", "signal": 15})


def test_exec_into_an_unknown_container_is_an_error_that_names_it(pod):
    assert "nobody" in pod.execcmd("nobody", ["true"]).refused()


def test_a_process_id_in_use_is_refused_and_the_process_stays(pod, box):
    cat = pod.execcmd(box.name, ["cat"], id="cat").started()
    assert "cat" in pod.execcmd(box.name, ["true"], id="cat").refused()
    cat.write(b"still here")
    cat.close_stdin()
    assert cat.wait() == 0
    assert cat.out == b"still here"


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "x" * 129])
def test_an_id_that_is_no_name_is_refused(pod, name):
    assert "id" in pod.newcontainer(name, ["true"]).refused()


# Processes

def test_the_environment_is_the_defaults_the_containers_and_its_own(pod):
    first = pod.newcontainer("env", ["sh", "-c", "env; sleep 100000"], workdir="/",
                             envs=[{"env": "FROM", "value": "container"},
                                   {"env": "BOTH", "value": "container"}]).started()
    first.wait_output(b"BOTH=container\n")
    first.name = "env"
    env = dict(line.split("=", 1) for line in sh(
        pod, first, "env", envs=[{"env": "BOTH", "value": "exec"}, {"env": "EMPTY", "value": ""},
                                 {"env": "UTF", "value": "a=\u00fc \u20ac\U0001f600"}]).splitlines())
    assert env["FROM"] == "container"
    assert env["BOTH"] == "exec"
    assert env["EMPTY"] == ""
    assert env["UTF"] == "a=\u00fc \u20ac\U0001f600"
    assert env["HOME"] == "/root"
    assert env["USER"] == "root"
    assert env["HOSTNAME"] == sh(pod, first, "hostname").strip()
    assert "/bin" in env["PATH"].split(":")
    assert "TERM" not in env


def test_a_terminal_brings_its_TERM(pod, box):
    assert sh(pod, box, "echo $TERM", terminal=True) == "xterm\r\n"


def test_the_program_is_found_in_its_own_PATH(pod, box):
    process = pod.execcmd(box.name, ["say", "x", "", "0"], envs=[{"env": "PATH", "value": "/tmp"}])
    assert "say" in process.refused()
    process = pod.run(box.name, ["say", "x", "", "0"], envs=[{"env": "PATH", "value": "/tmp:/bin"}])
    assert process.out == b"x"


def test_arguments_arrive_as_they_were_sent(pod, box):
    args = ["", " ", "a b", "\"'\\", "$HOME", "\u20ac\U0001f600", "\n", "x" * 20000]
    process = pod.run(box.name, ["sh", "-c", "for a; do printf '%s\\0' \"$a\"; done", "sh", *args])
    assert process.out.decode().split("\0")[:-1] == args


def test_the_working_directory_is_the_one_given(pod, box):
    assert sh(pod, box, "pwd") == "/\n"
    assert sh(pod, box, "pwd", workdir="/home/alice") == "/home/alice\n"


def test_a_missing_working_directory_is_an_error_that_names_it(pod, box):
    assert "/no/where" in pod.execcmd(box.name, ["pwd"], workdir="/no/where").refused()


def test_a_program_that_is_not_executable_is_an_error_that_names_it(pod, box):
    text = pod.execcmd(box.name, ["/etc/passwd"]).refused()
    assert "/etc/passwd" in text and "permission denied" in text.lower()
    text = pod.execcmd(box.name, ["/etc"]).refused()
    assert "/etc" in text


@pytest.mark.parametrize("user, expected", [
    ({}, "0 0 0"),
    ({"user": ""}, "0 0 0"),
    ({"user": "root"}, "0 0 0"),
    ({"user": "alice"}, "1000 1000 1000 10"),
    ({"user": "1000"}, "1000 1000 1000 10"),
    ({"user": "alice", "group": "video"}, "1000 44 44"),
    ({"user": "alice", "group": "7"}, "1000 7 7"),
    ({"user": "4711", "group": "4712"}, "4711 4712 4712"),
    ({"user": "daemon", "additionalGroups": ["video", "99"]}, "1 1 1 44 99"),
])
def test_user_and_groups_are_looked_up_in_the_image(pod, box, user, expected):
    uid, gid, *groups = sh(pod, box, "id -u; id -g; id -G", **user).split()
    wanted_uid, wanted_gid, *wanted_groups = expected.split()
    assert (uid, gid, sorted(groups)) == (wanted_uid, wanted_gid, sorted(wanted_groups))


def test_home_and_user_follow_the_user(pod, box):
    assert sh(pod, box, "echo $HOME $USER", user="alice") == "/home/alice alice\n"


@pytest.mark.parametrize("who", [{"user": "mallory"}, {"group": "mallory"}, {"user": "4294967295"},
                                 {"user": "-1"}, {"user": "0x0"}, {"additionalGroups": ["mallory"]}])
def test_an_unknown_user_or_group_is_an_error_that_names_it(pod, box, who):
    name = next(iter(who.values()))
    assert (name if isinstance(name, str) else name[0]) in \
        pod.execcmd(box.name, ["true"], **who).refused()


def test_every_process_leads_a_session_of_its_own(pod, box):
    own = sh(pod, box, "echo $$; cut -d' ' -f6 /proc/$$/stat").split()
    assert own[0] == own[1]


def test_a_process_inherits_no_descriptor_but_its_stdio(pod, box):
    assert sh(pod, box, "ls /proc/$$/fd; true").split() == ["0", "1", "2"]
    # A shell with a terminal opens it once more, by name, for its job control.
    links = sh(pod, box, "for f in /proc/$$/fd/*; do readlink $f; done; true", terminal=True).split()
    assert {link for link in links if not link.startswith("/dev/pts/")} <= {"/dev/tty"}


# Terminals

def test_a_terminal_is_a_terminal_of_its_own_and_the_console(pod):
    process = pod.newcontainer("term", ["sh", "-c", "tty; stty size; ls -l /proc/self/fd/0; "
                                        "echo to-console >/dev/console"],
                               terminal=True, rows=33, columns=101).started()
    assert process.wait() == 0
    lines = process.out.decode().splitlines()
    assert lines[0].startswith("/dev/pts/")
    assert lines[1] == "33 101"
    assert lines[3] == "to-console"


def test_an_exec_has_a_terminal_too(pod, box):
    out = sh(pod, box, "tty; test -t 0 && test -t 1 && test -t 2 && echo three", terminal=True)
    assert out.splitlines()[0].startswith("/dev/pts/")
    assert out.splitlines()[1] == "three"


def test_a_terminal_with_a_stderr_seq_has_a_pipe_for_it(pod, box):
    process = pod.run(box.name, ["sh", "-c", "echo out; echo err >&2"], terminal=True,
                      stderr=pod.fresh_seq())
    assert (process.out, process.err) == (b"out\r\n", b"err\n")


def test_the_terminal_belongs_to_its_user(pod, box):
    assert sh(pod, box, "stat -c %u $(tty)", terminal=True, user="alice").strip() == "1000"


@pytest.mark.parametrize("form", ["seq", "names"])
def test_winsize_changes_the_size_and_sends_sigwinch(pod, box, form):
    script = "trap 'stty size; exit 4' WINCH; echo go; while :; do sleep 0.05; done"
    process = pod.execcmd(box.name, ["sh", "-c", script], terminal=True, id="w").started()
    process.wait_output(b"go")
    target = {"seq": process.stdio} if form == "seq" else {"container": box.name, "process": "w"}
    pod.ack(Code.WINSIZE, {**target, "row": 50, "column": 132})
    assert process.wait() == 4
    assert b"50 132" in process.out


def test_winsize_of_a_process_whose_end_is_not_told_yet_says_that_it_is_gone(pod, box):
    pod.disconnect_tty()
    process = pod.execcmd(box.name, ["true"], terminal=True, id="brief").started()
    brief = {"container": box.name, "process": "brief"}
    pod.wait_seen(lambda: pod.reply_to(pod.send(Code.SIGNALPROCESS, {**brief, "signal": 0})).kind
                  == Code.ERROR, "its exit")
    text = pod.error(Code.WINSIZE, {**brief, "row": 3, "column": 4})
    assert text == f"winsize: process 'brief' of container '{box.name}' has ended"
    pod.connect_tty()
    assert process.wait() == 0


def test_winsize_of_an_unknown_seq_is_acknowledged_for_it_races_with_exit(pod, box):
    pod.ack(Code.WINSIZE, {"seq": 424242, "row": 1, "column": 1})


def test_winsize_of_an_unknown_process_is_an_error_that_names_it(pod, box):
    assert "nope" in pod.error(Code.WINSIZE, {"container": box.name, "process": "nope", "row": 1,
                                              "column": 1})
    assert "nowhere" in pod.error(Code.WINSIZE, {"container": "nowhere", "process": "p", "row": 1,
                                                 "column": 1})


def test_the_terminals_keys_work(pod, box):
    process = pod.execcmd(box.name, ["sh", "-c", "trap 'exit 42' INT; echo go; while :; do sleep "
                                     "0.05; done"], terminal=True).started()
    process.wait_output(b"go")
    process.write(b"\x03")
    assert process.wait() == 42
    process = pod.execcmd(box.name, ["cat"], terminal=True).started()
    process.write(b"line\n\x04")
    assert process.wait() == 0
    assert process.out == b"line\r\nline\r\n"


def test_an_empty_frame_does_not_end_a_terminal(pod, box):
    process = pod.execcmd(box.name, ["cat"], terminal=True).started()
    process.close_stdin()
    process.write(b"after\n")
    process.wait_output(b"after\r\nafter\r\n")
    process.write(b"\x04")
    assert process.wait() == 0


def test_a_terminals_last_words_are_not_lost(pod, box):
    process = pod.run(box.name, ["sh", "-c", "i=0; while [ $i -lt 500 ]; do echo line $i; "
                                 "i=$((i+1)); done; exit 9"], terminal=True)
    assert process.code == 9
    assert process.out.decode().splitlines() == [f"line {i}" for i in range(500)]


# Refused descriptions

@pytest.mark.parametrize("wrong, field", [
    ({"stdio": 0}, "stdio"), ({"stderr": 0}, "stderr"), ({"args": []}, "args"),
    ({"args": [""]}, "args"), ({"args": "sh"}, "args"), ({"args": None}, "args"),
    ({"args": ["a", 1]}, "args[1]"), ({"envs": [{"env": "A=B", "value": ""}]}, "env"),
    ({"envs": [{"value": "x"}]}, "env"), ({"terminal": "yes"}, "terminal"),
    ({"stdio": -1}, "stdio"), ({"stdio": "1"}, "stdio"), ({"stdio": 1.5}, "stdio"),
    ({"stdio": 1 << 64}, "stdio"), ({"rows": 65536}, "rows"), ({"workdir": 7}, "workdir"),
    ({"user": "a\0b"}, "user"),
])
def test_a_wrong_process_is_an_error_that_names_the_field(pod, box, wrong, field):
    spec = {"args": ["true"], "stdio": pod.fresh_seq(), "stderr": pod.fresh_seq(), **wrong}
    assert f"process.{field}" in pod.error(Code.EXECCMD, {"container": box.name, "process": spec}) \
        or field == "env"


def test_seqs_of_64_bits_pass_unharmed(pod, box):
    process = pod.run(box.name, ["say", "o", "e", "0"], stdio=(1 << 64) - 1, stderr=(1 << 53) + 1)
    assert (process.out, process.err) == (b"o", b"e")


# The end

@fresh
def test_destroypod_ends_all_processes_tells_their_ends_and_powers_off(host):
    host.startpod()
    plain = host.newcontainer("plain", ["sleep", "100000"]).started()
    named = host.newcontainer("named", ["sh", "-c", "trap 'echo bye; exit 5' TERM; echo go; "
                                        "while :; do sleep 0.05; done"], id="init").started()
    named.wait_output(b"go\n")
    host.ack(Code.DESTROYPOD)
    assert plain.wait() in (137, 143)
    assert named.wait() == 5
    assert named.out == b"go\nbye\n"
    assert host.guest.wait_end(host) == "power-off"


@fresh
def test_destroypod_works_without_a_pod(host):
    host.ack(Code.DESTROYPOD)
    assert host.guest.wait_end(host) == "power-off"


@fresh
def test_a_second_destroypod_is_acknowledged_and_anything_else_refused(host):
    host.startpod()
    first, second, ping = (host.send(code, payload) for code, payload in (
        (Code.DESTROYPOD, b'""'), (Code.DESTROYPOD, b"{}"), (Code.PING, b"")))
    host.reply_to(ping)
    assert [cmd.kind for cmd in (first, second, ping)] == [Code.ACK, Code.ACK, Code.ERROR]
    assert host.guest.wait_end(host) == "power-off"


@fresh
def test_power_goes_at_once_when_the_host_hangs_up_behind_the_reply(host):
    host.startpod()
    host.ack(Code.DESTROYPOD)
    host.disconnect()
    assert host.guest.wait_end(host) == "power-off"
