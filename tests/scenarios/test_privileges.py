# SPDX-License-Identifier: Apache-2.0
"""What a process may do, as the kernel shows it inside the container."""

import dataclasses
import pathlib

import pytest

CAPABILITIES = """
    CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE
    NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO
    SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG
    MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM
    BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE""".split()
DOCKER = """CHOWN DAC_OVERRIDE FSETID FOWNER MKNOD NET_RAW SETGID SETUID SETFCAP SETPCAP
    NET_BIND_SERVICE SYS_CHROOT KILL AUDIT_WRITE""".split()
CAPABILITY_LINES = {"inheritable": "CapInh", "permitted": "CapPrm", "effective": "CapEff",
                    "bounding": "CapBnd", "ambient": "CapAmb"}
FULL = "all that the agent has"
INFINITY = 2**64 - 1


def sets(bounding, effective, inheritable, permitted, ambient):
    """As virtcontainers writes them: no list is null, not []."""
    listed = {"bounding": bounding, "effective": effective, "inheritable": inheritable,
              "permitted": permitted, "ambient": ambient}
    return {key: [f"CAP_{name}" for name in names] or None for key, names in listed.items()}


def bits(names):
    return sum(1 << CAPABILITIES.index(name) for name in names)


@dataclasses.dataclass
class Case:
    name: str
    process: dict
    ids: tuple  # uid, gid, supplementary groups
    inheritable: object  # names, or FULL
    permitted: object
    effective: object
    bounding: object
    ambient: object
    no_new_privs: int = 0


NONE, SOME = (), ("NET_BIND_SERVICE", "KILL")
# After execve, root's permitted and effective sets are what is inheritable or bounding; another
# user's are the ambient one.
CASES = [
    Case("docker", {"user": "0", "group": "0", "noNewPrivileges": False,
                    "capabilities": sets(DOCKER, DOCKER, DOCKER, DOCKER, NONE)},
         (0, 0, set()), DOCKER, DOCKER, DOCKER, DOCKER, NONE),
    Case("cap-drop-all", {"user": "0", "group": "0",
                          "capabilities": sets(NONE, NONE, NONE, NONE, NONE)},
         (0, 0, set()), NONE, NONE, NONE, NONE, NONE),
    Case("no-keys-at-all", {"capabilities": {}}, (0, 0, set()), NONE, NONE, NONE, NONE, NONE),
    Case("privileged", {"capabilities": sets(*[CAPABILITIES] * 4, NONE)},
         (0, 0, set()), FULL, FULL, FULL, FULL, NONE),
    Case("user-with-ambient", {"user": "alice", "additionalGroups": ["video", "7"],
                               "noNewPrivileges": True,
                               "capabilities": sets(DOCKER, DOCKER, SOME, DOCKER, SOME)},
         (1000, 1000, {10, 44, 7}), SOME, SOME, SOME, DOCKER, SOME, 1),
    Case("user-without", {"user": "1000:1000", "capabilities": sets(*[DOCKER] * 4, NONE)},
         (1000, 1000, set()), DOCKER, NONE, NONE, DOCKER, NONE),
    Case("runv", {"id": "p"}, (0, 0, set()), NONE, FULL, FULL, FULL, NONE),
    Case("runv-user", {"id": "p", "user": "alice", "group": "video"},
         (1000, 44, set()), NONE, NONE, NONE, FULL, NONE),
    Case("null", {"capabilities": None}, (0, 0, set()), NONE, FULL, FULL, FULL, NONE),
]


def parse(text):
    return dict(line.split(":", 1) for line in text.splitlines() if ":" in line)


def status_of(pod, container, **process):
    done = pod.run(container, ["cat", "/proc/self/status"], **process)
    assert done.code == 0, bytes(done.err)
    return parse(done.out.decode())


def agent_capabilities(pod):
    """In the VM all that Linux has; here what the rig itself was left."""
    if pod.guest.is_vm:
        return (1 << len(CAPABILITIES)) - 1
    return int(parse(pathlib.Path("/proc/self/status").read_text())["CapPrm"], 16)


def check_status(status, case, own):
    def expected(names):
        return own if names is FULL else bits(names) & own
    uid, gid, groups = case.ids
    assert status["Uid"].split() == [str(uid)] * 4
    assert status["Gid"].split() == [str(gid)] * 4
    assert {int(group) for group in status["Groups"].split()} == groups
    shown = {key: int(status[line], 16) for key, line in CAPABILITY_LINES.items()}
    assert shown == {key: expected(getattr(case, key)) for key in shown}
    assert int(status["NoNewPrivs"]) == case.no_new_privs
    may_mount = shown["bounding"] & bits(["SYS_ADMIN"])
    assert int(status["Seccomp"]) == (0 if may_mount else 2)  # SECCOMP_MODE_FILTER


def test_a_process_begins_with_a_umask_of_its_own(pod, box):
    """Not with that of whoever started the agent."""
    first = pod.newcontainer(f"umask{pod.fresh_seq()}", ["sh", "-c", "umask"]).started()
    first.wait()
    assert [first.out, pod.run(box.name, ["sh", "-c", "umask"]).out] == [b"0022\n"] * 2


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_process_has_the_identity_and_the_capabilities_that_its_description_names(pod, box, case):
    own = agent_capabilities(pod)
    assert bits(DOCKER) & own == bits(DOCKER)
    said = case.process.get("capabilities")
    if said is None or any(said.values()):  # what says nothing is another test's
        check_status(status_of(pod, box.name, **case.process), case, own)
    first = pod.newcontainer(f"first{pod.fresh_seq()}", ["cat", "/proc/self/status"],
                             **case.process).started()
    first.wait()
    check_status(parse(first.out.decode()), case, own)


@pytest.mark.parametrize("said", [None, {}, sets(*[NONE] * 5)], ids=["null", "empty", "five-nulls"])
@pytest.mark.parametrize("case", CASES[:4] + CASES[-1:], ids=lambda case: case.name)
def test_an_exec_that_says_nothing_of_capabilities_has_its_containers(pod, case, said):
    """cc-runtime 3.0.23 sends five nulls with each: root in `docker exec` could do nothing."""
    name = f"inherits{pod.fresh_seq()}"
    pod.newcontainer(name, ["sleep", "100000"], **case.process).started()
    process = {**case.process, "capabilities": said}
    check_status(status_of(pod, name, **process), case, agent_capabilities(pod))


@pytest.mark.parametrize("said", [{"bounding": []}, {"ambient": []}, dict.fromkeys(CAPABILITY_LINES, [])],
                         ids=["bounding", "ambient", "all"])
def test_an_exec_with_a_list_that_is_empty_has_no_capability(pod, box, said):
    none = Case("none", {}, (0, 0, set()), NONE, NONE, NONE, NONE, NONE)
    check_status(status_of(pod, box.name, capabilities=said), none, agent_capabilities(pod))


@pytest.mark.options(caps="default")
def test_with_caps_default_who_names_none_gets_dockers_fourteen(pod, box):
    own = agent_capabilities(pod)
    for case in (Case("runv", {"id": "p"}, (0, 0, set()), NONE, DOCKER, DOCKER, DOCKER, NONE),
                 Case("alice", {"user": "alice"}, (1000, 1000, {10}), NONE, NONE, NONE, DOCKER, NONE),
                 CASES[0]):
        check_status(status_of(pod, box.name, **case.process), case, own)


def test_a_capability_that_does_not_exist_is_an_error(pod, box):
    late = pod.execcmd(box.name, ["true"], capabilities={"ambient": ["CAP_FLY"]})
    assert "ambient[0]: no such capability 'CAP_FLY'" in late.refused()


def test_a_capability_that_cannot_be_given_is_skipped_and_logged(pod, box):
    own = agent_capabilities(pod)
    lacking = [name for name in CAPABILITIES if not bits([name]) & own]
    pod.run(box.name, ["true"], capabilities=sets(*[CAPABILITIES] * 4, NONE))
    pod.run(box.name, ["true"], capabilities=sets(*[DOCKER] * 4, NONE))
    pod.guest.describe()
    line = f"process {box.name}/-: CAP_%s cannot be granted: skipped"
    for name in CAPABILITIES:
        assert pod.guest.log.count(line % name) == (name in lacking), name


# Limits: soft, hard, and the title that /proc/self/limits gives it.
LIMITS = {
    "RLIMIT_CPU": (100, 200, "Max cpu time"),
    "RLIMIT_FSIZE": (10**9, 2**40, "Max file size"),
    "RLIMIT_DATA": (2**33 + 1, INFINITY, "Max data size"),
    "RLIMIT_STACK": (2**20, 2**23, "Max stack size"),
    "RLIMIT_CORE": (0, 0, "Max core file size"),
    "RLIMIT_RSS": (1, 2, "Max resident set"),
    "RLIMIT_NPROC": (500, 600, "Max processes"),
    "RLIMIT_NOFILE": (77, 99, "Max open files"),
    "RLIMIT_MEMLOCK": (4096, 8192, "Max locked memory"),
    "RLIMIT_AS": (2**34, 2**35, "Max address space"),
    "RLIMIT_LOCKS": (3, INFINITY, "Max file locks"),
    "RLIMIT_SIGPENDING": (100, 200, "Max pending signals"),
    "RLIMIT_MSGQUEUE": (1000, 2000, "Max msgqueue size"),
    "RLIMIT_NICE": (0, 0, "Max nice priority"),
    "RLIMIT_RTPRIO": (0, 0, "Max realtime priority"),
    "RLIMIT_RTTIME": (10**6, 2 * 10**6, "Max realtime timeout"),
}


def limits_of(text):
    """The columns stand where the head line has them: 26 for the title, 21 each."""
    shown = {}
    for line in text.splitlines()[1:]:
        values = [INFINITY if word == "unlimited" else int(word)
                  for word in (line[26:47].strip(), line[47:68].strip())]
        shown[line[:26].strip()] = tuple(values)
    return shown


def as_rlimits(limits):
    return [{"type": name, "soft": soft, "hard": hard} for name, (soft, hard, _) in limits.items()]


@pytest.mark.parametrize("user", ["root", "alice"])
def test_every_limit_is_as_its_description_says(pod, box, user):
    done = pod.run(box.name, ["cat", "/proc/self/limits"], rlimits=as_rlimits(LIMITS), user=user)
    shown = limits_of(done.out.decode())
    assert shown == {title: (soft, hard) for soft, hard, title in LIMITS.values()}


def test_a_process_that_is_given_no_limit_of_files_has_that_of_container_engines(pod, box):
    own = int(pod.guest.shell(pod, "sed -n 's/^Max open files *[0-9]* *\\([0-9]*\\).*/\\1/p' "
                              "/proc/$AGENT/limits")())
    shown = limits_of(pod.run(box.name, ["cat", "/proc/self/limits"]).out.decode())
    assert shown["Max open files"] == (1024, min(524288, own))
    if pod.guest.is_vm:
        assert own >= 524288


def test_a_limit_that_is_not_named_is_as_it_was(pod, box):
    before = limits_of(pod.run(box.name, ["cat", "/proc/self/limits"]).out.decode())
    core = {"RLIMIT_CORE": (0, 1, "Max core file size")}
    after = limits_of(pod.run(box.name, ["cat", "/proc/self/limits"],
                              rlimits=as_rlimits(core)).out.decode())
    assert after == {**before, "Max core file size": (0, 1)}


@pytest.mark.only("vm", "root may raise limits there")
def test_a_limit_above_the_agents_own_is_granted(pod, box):
    raised = {"RLIMIT_NICE": (10, 20, ""), "RLIMIT_MEMLOCK": (INFINITY, INFINITY, ""),
              "RLIMIT_NOFILE": (2**20, 2**20, "")}
    done = pod.run(box.name, ["cat", "/proc/self/limits"], rlimits=as_rlimits(raised), user="alice",
                   capabilities={})
    shown = limits_of(done.out.decode())
    assert shown["Max nice priority"] == (10, 20)
    assert shown["Max locked memory"] == (INFINITY, INFINITY)
    assert shown["Max open files"] == (2**20, 2**20)


def test_a_limit_that_cannot_be_had_is_an_error_that_names_it(pod, box):
    late = pod.execcmd(box.name, ["true"], rlimits=as_rlimits({"RLIMIT_NOFILE": (1, 2**40, "")}))
    assert "RLIMIT_NOFILE" in late.refused()
    assert pod.run(box.name, ["true"]).code == 0
