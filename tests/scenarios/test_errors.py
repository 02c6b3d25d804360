# SPDX-License-Identifier: Apache-2.0
"""What a host is told when a command fails, word for word: its user reads it. Each text says what
failed, on what, and why.

The texts of set-ups that hang or die are looked at here too, but how they come about is
test_setup.py's; PSCONTAINER's and the files' own are in test_ps.py and test_files.py.
"""

import os
import re

import pytest

from rig.inspect import Cgroup
from rig.wire import Code

# The two libcs say it differently.
LOOP = {"asan": "too many levels of symbolic links", "musl": "symbolic link loop"}


def process(**changes):
    return {"args": ["true"], "stdio": 4711, "stderr": 4712, **changes}


def container(**changes):
    return {"id": "new", "image": "box", "rootfs": "rootfs", "process": process(), **changes}


@pytest.fixture
def scene(pod):
    """A pod with a container `web`, in which two processes with ids run, and `gone`, which has
    exited. Of a guest that is kept they are all taken away again."""
    image = pod.guest.share.image("box")
    for path, text in {"script": "#!/no/interpreter\n", "binary": "\0\1"}.items():
        (image / "etc" / path).write_text(text)
        (image / "etc" / path).chmod(0o755)
    if not (image / "etc/loop").is_symlink():
        (image / "etc/loop").symlink_to("loop")
    web = pod.newcontainer("web", ["sleep", "100000"]).started()
    pod.execcmd("web", ["sleep", "100000"], id="shell", terminal=True).started()
    pod.execcmd("web", ["sleep", "100000"], id="plain").started()
    pod.newcontainer("gone", ["true"]).started().wait()
    yield pod
    if not pod.guest.has_ended():
        pod.kill("web", allProcesses=True)
        web.wait()
        for name in ("web", "gone"):
            pod.ack(Code.REMOVECONTAINER, {"container": name})
            pod.containers.pop(name, None)


def check_all(host, code, rows):
    """Every row: the payload and the text."""
    host.guest.share.image("box")
    wrong = []
    for payload, text in rows:
        found = host.error(code, payload)
        if found != text.replace("LOOP", LOOP[host.guest.binary]):
            wrong.append((found, text))
    assert not wrong
    host.ping()


# The first tests of a guest, which has no pod yet

def test_without_a_pod(host):
    for code, payload, text in (
            (Code.NEWCONTAINER, container(), "newcontainer: there is no pod"),
            (Code.EXECCMD, {"container": "web", "process": process()}, "execcmd: there is no pod"),
            (Code.EXECCMD, {"container": "hyperstart", "process": process()},
             "execcmd: there is no pod"),
            (Code.KILLCONTAINER, {"container": "web", "signal": 9},
             "killcontainer: no such container 'web'"),
            (Code.SIGNALPROCESS, {"container": "web", "process": "init", "signal": 9},
             "signalprocess: no such container 'web'"),
            (Code.REMOVECONTAINER, {"container": "web"},
             "removecontainer: no such container 'web'"),
            (Code.PSCONTAINER, {"container": "web"}, "pscontainer: no such container 'web'"),
            (Code.READFILE, {"container": "web", "file": "/f"},
             "readfile: no such container 'web'"),
            (Code.WRITEFILE, {"container": "web", "file": "/f"},
             "writefile: no such container 'web'"),
    ):
        check_all(host, code, [(payload, text)])


@pytest.mark.only("vm", "the host rig binds its share")
def test_startpod_with_a_share_that_is_not_there(host):
    check_all(host, Code.STARTPOD, [
        ({"shareDir": "nowhere"},
         "startpod: share 'nowhere': neither a 9p nor a virtiofs device has this tag"),
    ])


def test_startpod(host):
    check_all(host, Code.STARTPOD, [
        (b"", "startpod: malformed JSON at byte 0"),
        (b"{", "startpod: malformed JSON at byte 1"),
        (b'{"hostname":"a"} x', "startpod: malformed JSON at byte 17"),
        (b'{"containers":[{"id":nope}]}', "startpod: containers[0].id: expected string"),
        (b'{"containers":[{"id"}]}',
         "startpod: containers[0]: malformed JSON: expected a name and its value"),
        (b"[]", "startpod: expected object"),
        (b"[" + b"0," * 40_000 + b"0]", "startpod: more than 32768 names and values"),
        ({"hostname": 7}, "startpod: hostname: expected string"),
        (b'{"hostname":"a\\u0000"}', "startpod: hostname: \\u0000 in a string"),
        (b'{"hostname":"\\ud800"}', "startpod: hostname: half a surrogate pair in a string"),
        (b'{"hostname":"\xff"}', "startpod: hostname: bad UTF-8 in a string"),
        ({"hostname": "h" * 65}, "startpod: hostname: longer than 64 bytes"),
        ({"hostname": "a b"}, "startpod: hostname: holds white space"),
        ({"dns": "10.0.2.3"}, "startpod: dns: expected array"),
        ({"dns": ["10.0.2.3", "a\nb"]}, "startpod: dns[1]: holds white space"),
        ({"dnsSearch": ["a b"]}, "startpod: dnsSearch[0]: holds white space"),
        ({"dnsOptions": ["a", "b\t"]}, "startpod: dnsOptions[1]: holds white space"),
        ({"containers": {}}, "startpod: containers: expected array"),
        ({"containers": [{"id": "c"}]}, "startpod: containers[0].process: missing"),
        ({"containers": [container(), container(id="a/b")]},
         "startpod: containers[1].id: 'a/b' cannot be an id"),
        ({"containers": [container(process=process(stdio=0))]},
         "startpod: containers[0].process.stdio: must not be 0"),
        ({"shareDir": "share", "containers": [container(image="nowhere")]},
         "startpod: container 'new': image 'nowhere': no such directory below the share"),
        ({"shareDir": "share", "containers": [container(id="hyperstart")]},
         "startpod: container 'hyperstart' is the agent itself"),
    ])
    host.startpod()
    check_all(host, Code.STARTPOD, [({}, "startpod: there is a pod already")])


# Containers

def test_newcontainer(scene):
    check_all(scene, Code.NEWCONTAINER, [(container(**changes), text) for changes, text in (
        ({"id": "web"}, "newcontainer: container 'web' exists already"),
        ({"id": "gone"}, "newcontainer: container 'gone' exists already"),
        ({"id": "hyperstart"}, "newcontainer: container 'hyperstart' is the agent itself"),
        ({"id": None}, "newcontainer: id: missing"),
        ({"id": ""}, "newcontainer: id: must not be empty"),
        ({"id": 7}, "newcontainer: id: expected string"),
        ({"id": "a/b"}, "newcontainer: id: 'a/b' cannot be an id"),
        ({"id": ".."}, "newcontainer: id: '..' cannot be an id"),
        ({"id": "x" * 129}, "newcontainer: id: longer than 128 bytes"),
        ({"image": None}, "newcontainer: image: missing"),
        ({"image": ""}, "newcontainer: container 'new': rootfs 'rootfs': no such directory below "
                        "image '.'"),
        ({"image": "nowhere"},
         "newcontainer: container 'new': image 'nowhere': no such directory below the share"),
        ({"image": "box/rootfs/etc/passwd"},
         "newcontainer: container 'new': image 'box/rootfs/etc/passwd': not a directory"),
        ({"rootfs": "nowhere"}, "newcontainer: container 'new': rootfs 'nowhere': "
                                "no such directory below image 'box'"),
        ({"rootfs": "rootfs/etc/passwd"}, "newcontainer: container 'new': "
         "rootfs 'rootfs/etc/passwd' of image 'box': not a directory"),
        ({"readOnly": "yes"}, "newcontainer: readOnly: expected true or false"),
        ({"process": None}, "newcontainer: process: missing"),
        ({"process": []}, "newcontainer: process: expected object"),
        ({"process": process(args=["/bin/ngnix"])},
         "newcontainer: container 'new': exec '/bin/ngnix': no such file or directory"),
        ({"process": process(user="mallory")}, "newcontainer: container 'new': user 'mallory': "
                                               "no such user in the container's /etc/passwd"),
    )])


@pytest.mark.only("host", "it takes many containers")
@pytest.mark.options(binary="musl")
def test_newcontainer_when_all_containers_keep_too_much(pod):
    envs = [{"env": f"PAD{n}", "value": "x" * 120_000} for n in range(2)]
    for n in range(100):
        started = pod.newcontainer(f"c{n}", ["true"], envs=envs)
        if pod.reply_to(started.start).kind == Code.ERROR:
            break
        started.wait()
    assert n > 20
    assert started.start.text == (f"newcontainer: container 'c{n}': the environments of all "
                                  "containers take more than 8388608 bytes")
    pod.ack(Code.REMOVECONTAINER, {"container": "c0"})
    pod.newcontainer("again", ["true"], envs=envs).started().wait()


@pytest.mark.only("host", "it takes many containers")
@pytest.mark.limit(120)
@pytest.mark.options(binary="musl")
def test_newcontainer_when_there_are_too_many(pod):
    for n in range(1024):
        started = pod.newcontainer(f"c{n}", ["true"]).started()
    assert pod.newcontainer("more", ["true"]).refused() == \
        "newcontainer: container 'more': there are 1024 already"
    started.wait()
    pod.ack(Code.REMOVECONTAINER, {"container": "c0"})
    pod.newcontainer("more", ["true"]).started().wait()


# Processes

PROCESSES = [
    ({"args": ["ngnix"]}, "exec 'ngnix': not found in PATH "
     "'/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'"),
    ({"args": ["sh"], "envs": [{"env": "PATH", "value": "/etc"}]},
     "exec 'sh': not found in PATH '/etc'"),
    ({"args": ["passwd"], "envs": [{"env": "PATH", "value": "/etc"}]},
     "exec 'passwd': permission denied"),
    ({"args": ["/bin/ngnix"]}, "exec '/bin/ngnix': no such file or directory"),
    ({"args": ["/etc/passwd"]}, "exec '/etc/passwd': permission denied"),
    ({"args": ["/etc"]}, "exec '/etc': permission denied"),
    ({"args": ["/etc/passwd/x"]}, "exec '/etc/passwd/x': not a directory"),
    ({"args": ["/etc/loop"]}, "exec '/etc/loop': LOOP"),
    ({"args": ["/etc/binary"]}, "exec '/etc/binary': exec format error"),
    ({"args": ["/etc/script"]},
     "exec '/etc/script': the interpreter or loader that it needs is missing"),
    ({"args": ["true", "x" * 140_000]}, "exec '/bin/true': argument list too long"),
    ({"workdir": "/no/where"}, "workdir '/no/where': no such directory"),
    ({"workdir": "/etc/passwd"}, "workdir '/etc/passwd': not a directory"),
    ({"workdir": "/etc/loop"}, "workdir '/etc/loop': LOOP"),
    ({"user": "mallory"}, "user 'mallory': no such user in the container's /etc/passwd"),
    ({"user": "root:mallory"}, "group 'mallory': no such group in the container's /etc/group"),
    ({"group": "mallory"}, "group 'mallory': no such group in the container's /etc/group"),
    ({"additionalGroups": ["video", "mallory"]},
     "group 'mallory': no such group in the container's /etc/group"),
    ({"user": "4294967295"}, "user '4294967295': not within 0 and 4294967294"),
    ({"group": "4294967296"}, "group '4294967296': not within 0 and 4294967294"),
    ({"user": "x" * 256}, f"user '{'x' * 256}': longer than 255 bytes"),
    ({"additionalGroups": [str(n) for n in range(2000)]}, "more than 1024 groups"),
]

FIELDS = [
    ({"args": None}, "args: missing"),
    ({"args": []}, "args: must not be empty"),
    ({"args": "sh"}, "args: expected array"),
    ({"args": [""]}, "args[0]: must not be empty"),
    ({"args": ["a", 1]}, "args[1]: expected string"),
    ({"stdio": None}, "stdio: must not be 0"),
    ({"stdio": 0}, "stdio: must not be 0"),
    ({"stdio": -1}, "stdio: out of range 0 to 18446744073709551615"),
    ({"stdio": 1 << 64}, "stdio: out of range 0 to 18446744073709551615"),
    ({"stdio": "1"}, "stdio: expected integer"),
    ({"stdio": 1.5}, "stdio: expected integer"),
    ({"stderr": 0}, "stderr: 0 needs a terminal"),
    ({"terminal": "yes"}, "terminal: expected true or false"),
    ({"rows": 65536}, "rows: out of range 0 to 65535"),
    ({"columns": -1}, "columns: out of range 0 to 65535"),
    ({"envs": {}}, "envs: expected array"),
    ({"envs": [{"value": "x"}]}, "envs[0].env: missing"),
    ({"envs": [{"env": "A"}, {"env": "A=B"}]}, "envs[1].env: 'A=B' holds a '='"),
    ({"workdir": 7}, "workdir: expected string"),
    ({"user": "a\0b"}, "user: \\u0000 in a string"),
    ({"id": "a/b"}, "id: 'a/b' cannot be an id"),
    ({"id": "x" * 129}, "id: longer than 128 bytes"),
]


def test_execcmd(scene):
    rows = [({"container": "web", "process": process(**changes)}, f"execcmd: {text}")
            for changes, text in [
                *((changes, f"container 'web': {why}") for changes, why in PROCESSES),
                *((changes, f"process.{why}") for changes, why in FIELDS)]]
    check_all(scene, Code.EXECCMD, rows + [
        ({"process": process()}, "execcmd: container: missing"),
        ({"container": "web"}, "execcmd: process: missing"),
        ({"container": "nobody", "process": process()}, "execcmd: no such container 'nobody'"),
        ({"container": "gone", "process": process()}, "execcmd: container 'gone' is not running"),
        ({"container": "web", "process": process(id="shell")},
         "execcmd: container 'web' has a process 'shell' already"),
        ({"container": "hyperstart", "process": process(args=["/no/such"])},
         "execcmd: container 'hyperstart': exec '/no/such': no such file or directory"),
    ])


def test_execcmd_with_a_passwd_that_cannot_be_read(pod):
    image = pod.guest.share.image("passwd")
    passwd = image / "etc/passwd"
    pod.newcontainer("odd", ["sleep", "100000"], image="passwd").started()
    command = {"container": "odd", "process": process(user="alice")}

    def check(text):
        check_all(pod, Code.EXECCMD, [(command, f"execcmd: container 'odd': {text}")])
        passwd.unlink()
    passwd.unlink()
    passwd.mkdir()
    check_all(pod, Code.EXECCMD, [
        (command, "execcmd: container 'odd': '/etc/passwd' is not a regular file")])
    passwd.rmdir()
    os.mkfifo(passwd)
    check("'/etc/passwd' is not a regular file")
    passwd.symlink_to("passwd")
    check("open '/etc/passwd': LOOP")
    passwd.write_bytes(bytes((1 << 20) + 1))
    check("'/etc/passwd' is larger than 1048576 bytes")
    passwd.write_text("")
    check("user 'alice': no such user in the container's /etc/passwd")


def test_a_set_up_that_did_not_come_to_its_end(pod):
    """A frozen cgroup holds the child that joins it (test_setup.py)."""
    cgroup = Cgroup(pod, "slow")
    cgroup.make_frozen()
    slow = pod.newcontainer("slow", ["true"])
    pod.wait_for(lambda: not pod.control.chunks, "the command to leave")
    cgroup.signal("KILL", cgroup.wait_frozen(1))
    cgroup.freeze(False)
    assert slow.refused() == ("newcontainer: container 'slow': "
                              "killed by signal 9 while being set up")

    first = pod.newcontainer("short", ["sleep", "100000"]).started()
    cgroup = Cgroup(pod, "short")
    pids = cgroup.members()
    cgroup.freeze()
    late = pod.execcmd("short", ["true"])
    pod.wait_for(lambda: not pod.control.chunks, "the command to leave")
    cgroup.wait_frozen(2)
    cgroup.signal("KILL", pids)
    assert first.wait() == 137
    assert late.refused() == "execcmd: container 'short': the container is stopped"


# Signals and windows

def test_killcontainer(scene):
    check_all(scene, Code.KILLCONTAINER, [
        ({"signal": 9}, "killcontainer: container: missing"),
        ({"container": "web"}, "killcontainer: signal: missing"),
        ({"container": "web", "signal": 65}, "killcontainer: signal: out of range 0 to 64"),
        ({"container": "web", "signal": -1}, "killcontainer: signal: out of range 0 to 64"),
        ({"container": "web", "signal": "TERM"}, "killcontainer: signal: expected integer"),
        ({"container": "web", "signal": 9, "allProcesses": "yes"},
         "killcontainer: allProcesses: expected true or false"),
        ({"container": "nobody", "signal": 9}, "killcontainer: no such container 'nobody'"),
        ({"container": "gone", "signal": 0}, "killcontainer: container 'gone' is not running"),
    ])


def test_signalprocess(scene):
    check_all(scene, Code.SIGNALPROCESS, [
        ({"process": "shell", "signal": 1}, "signalprocess: container: missing"),
        ({"container": "web", "signal": 1}, "signalprocess: process: missing"),
        ({"container": "web", "process": "shell"}, "signalprocess: signal: missing"),
        ({"container": "web", "process": "shell", "signal": 65},
         "signalprocess: signal: out of range 0 to 64"),
        ({"container": "nobody", "process": "p", "signal": 1},
         "signalprocess: no such container 'nobody'"),
        ({"container": "web", "process": "nope", "signal": 1},
         "signalprocess: container 'web' has no process 'nope'"),
    ])


@pytest.mark.options(level="debug")
def test_signalprocess_to_one_that_is_gone_but_whose_end_is_not_told_yet(scene):
    last = scene.execcmd("web", ["sh", "-c", "read x; pattern 1 50000000"], id="last").started()
    scene.tty.reading = False
    last.write(b"\n")
    scene.wait_for(lambda: not scene.tty.chunks, "the line to leave")
    scene.guest.watch_idle(scene)()
    command = {"container": "web", "process": "last"}
    scene.ack(Code.SIGNALPROCESS, {**command, "signal": 9})

    def is_alive():
        cmd = scene.reply_to(scene.send(Code.SIGNALPROCESS, {**command, "signal": 0}))
        if cmd.kind == Code.ERROR:
            assert cmd.text == "signalprocess: process 'last' of container 'web' has ended"
        return cmd.kind == Code.ACK
    while is_alive():
        pass
    scene.tty.reading = True
    assert last.wait() == 137
    check_all(scene, Code.SIGNALPROCESS, [
        ({**command, "signal": 0}, "signalprocess: container 'web' has no process 'last'")])


def test_winsize(scene):
    check_all(scene, Code.WINSIZE, [
        ({}, "winsize: neither seq nor container and process are given"),
        ({"container": "web"}, "winsize: neither seq nor container and process are given"),
        ({"seq": 1, "row": 65536, "column": 1}, "winsize: row: out of range 0 to 65535"),
        ({"seq": 1, "row": 1, "column": "x"}, "winsize: column: expected integer"),
        ({"container": "nobody", "process": "p"}, "winsize: no such container 'nobody'"),
        ({"container": "web", "process": "nope"}, "winsize: container 'web' has no process 'nope'"),
        ({"container": "web", "process": "plain"},
         "winsize: process 'plain' of container 'web' has no terminal"),
    ])


# The rest

def test_removecontainer(scene):
    check_all(scene, Code.REMOVECONTAINER, [
        ({}, "removecontainer: container: missing"),
        ({"container": "nobody"}, "removecontainer: no such container 'nobody'"),
        ({"container": "web"}, "removecontainer: container 'web' is running"),
    ])


def test_removecontainer_of_the_agent(scene):
    scene.execcmd("hyperstart", ["/no/such"]).refused()
    check_all(scene, Code.REMOVECONTAINER, [
        ({"container": "hyperstart"}, "removecontainer: container 'hyperstart' is running")])


def test_pscontainer(scene):
    check_all(scene, Code.PSCONTAINER, [
        ({}, "pscontainer: container: missing"),
        ({"container": "nobody"}, "pscontainer: no such container 'nobody'"),
        ({"container": "gone"}, "pscontainer: container 'gone' is not running"),
        ({"container": "web", "format": "xml"},
         "pscontainer: format: 'xml' is neither table nor json"),
        ({"container": "web", "psargs": "-ef"}, "pscontainer: psargs: expected array"),
        ({"container": "web", "psargs": ["-Z"]}, "pscontainer: ps: unknown option '-Z'"),
    ])


def test_readfile(scene):
    scene.execcmd("hyperstart", ["/no/such"]).refused()
    check_all(scene, Code.READFILE, [
        (b"", "readfile: malformed JSON at byte 0"),
        ({"file": "/f"}, "readfile: container: missing"),
        ({"container": "web"}, "readfile: file: missing"),
        ({"container": "web", "file": ""}, "readfile: file: must not be empty"),
        ({"container": "nobody", "file": "/f"}, "readfile: no such container 'nobody'"),
        ({"container": "hyperstart", "file": "/f"},
         "readfile: container 'hyperstart' has no root of its own"),
        ({"container": "web", "file": "/nope"},
         "readfile: '/nope': no such file or directory"),
        ({"container": "gone", "file": "/etc"},
         "readfile: '/etc': not a regular file"),
        ({"container": "web", "file": "/etc/loop"},
         "readfile: '/etc/loop': too many symlinks, or a magic one of /proc"),
    ])


def test_writefile(scene):
    check_all(scene, Code.WRITEFILE, [
        (b"text", "writefile: malformed JSON at byte 0"),
        (b'{"container":"web"', "writefile: malformed JSON at byte 18"),
        (b'{"container":"nobody","file":"/f"}text', "writefile: no such container 'nobody'"),
        (b'{"container":"web","file":"/no/such"}text',
         "writefile: '/no/such': no such file or directory"),
        (b'{"container":"web","file":"/etc"}text',
         "writefile: '/etc': is a directory"),
        (b'{"container":"web","file":"/dev/null"}text',
         "writefile: '/dev/null': not a regular file"),
        (b'{"container":"web","file":"/sys/x"}text',
         "writefile: '/sys/x': read-only file system"),
    ])


def test_commands_that_are_no_commands(host):
    for header, text in (((99, 4), "command 99: bad length 4"),
                         ((6, 0xFFFFFFFF), "command 6: bad length 4294967295")):
        (cmd,) = host.send_raw(b"".join(word.to_bytes(4, "big") for word in header), replies=1)
        assert host.reply_to(cmd).text == text
    check_all(host, 77, [(b"", "unknown command 77")])
    check_all(host, Code.PING, [
        (bytes(262_145), "command 12: 262145 bytes of payload are more than 4")])
    check_all(host, Code.EXECCMD, [
        (bytes(262_145), "command 6: 262145 bytes of payload are more than 262144")])
    check_all(host, Code.WRITEFILE, [
        (bytes(5 << 20), "command 15: 5242880 bytes of payload are more than 4259840")])


def test_headers_with_a_bad_length_one_behind_the_other_are_one_line_of_the_log(host):
    def told():
        host.guest.describe()
        return [int(n) for n in re.findall(r"headers with a bad length: (\d+)\s", host.guest.log)]
    before = len(told())
    for reply in host.send_raw(bytes(13 * 8), replies=13):
        assert host.reply_to(reply).text == "command 0: bad length 0"
    host.wait_for(lambda: sum(told()[before:]) >= 13, "the line")
    assert len(told()) - before <= 2  # the second was over in between


# The end

@pytest.mark.options(fresh=True, deadline=2)
def test_what_takes_too_long_and_what_is_cut_short(pod):
    for name in ("slow", "cut"):
        Cgroup(pod, name).make_frozen()
    slow = pod.newcontainer("slow", ["true"])
    assert slow.refused() == "newcontainer: container 'slow': not done before the deadline"

    # It has ended, but its output has no room to go to.
    full = pod.newcontainer("full", ["sh", "-c", "read x; pattern 1 50000000"]).started()
    pod.tty.reading = False
    full.write(b"\n")
    pod.wait_for(lambda: not pod.tty.chunks, "the line to leave")
    pod.guest.watch_idle(pod)()
    pod.kill("full")
    pod.wait_log("container full: exited with 137")
    assert pod.error(Code.REMOVECONTAINER, {"container": "full"}) == \
        "removecontainer: container 'full' has processes or unread output left"
    pod.tty.reading = True
    assert full.wait() == 137

    cut, destroy = pod.newcontainer("cut", ["true"]), pod.send(Code.DESTROYPOD)
    assert cut.refused() == "newcontainer: container 'cut': cut short by a destroypod"
    pod.reply_to(destroy)
    assert pod.error(Code.PING) == "ping: the pod is destroyed, the power goes off"
    assert pod.error(Code.NEWCONTAINER, container()) == \
        "newcontainer: the pod is destroyed, the power goes off"
    assert pod.guest.wait_end(pod) == "power-off"
