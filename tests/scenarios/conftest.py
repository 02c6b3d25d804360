# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the scenarios. --rig=host (default) or --rig=vm says where the daemon runs.

A scenario asks for `host` (connected, READY seen), `pod` (STARTPOD done as well), or `box` (a
container that just stays, as well). On the host rig each test has a daemon of its own. A guest is
expensive under TCG: there the tests of a module share one, until one fails, ends it or asks for
other options.
"""

import shutil
import signal
import tempfile

import pytest

from rig import pace
from rig.host import Host
from rig.host_rig import HostGuest
from rig.rootfs import Share
from rig.vm_rig import VmGuest, build_initrd

LIMIT = 60  # seconds for a test that names none, on an idle machine
VM_FACTOR = 5  # what TCG costs


def pytest_addoption(parser):
    parser.addoption("--rig", choices=("host", "vm"), default="host", help="where the daemon runs")
    parser.addoption("--transport", choices=("virtio", "isa", "vsock"), default="virtio",
                     help="how the guest reaches the host (VM rig)")
    parser.addoption("--start", choices=("init", "service"), default="init",
                     help="what the agent is: PID 1, or a service of another init")
    parser.addoption("--seed", type=int, help="the one schedule that the model test plays")


def pytest_configure():
    # Ended from outside, the fixtures still take away cgroups, mounts and guests.
    signal.signal(signal.SIGTERM, signal.default_int_handler)


def pytest_collection_modifyitems(config, items):
    rig = config.getoption("rig")
    transport = config.getoption("transport")
    start = config.getoption("start")
    for item in items:
        for mark in item.iter_markers("starts"):
            needed, reason = mark.args
            if start != needed:
                item.add_marker(pytest.mark.skip(reason=f"--start={needed} only: {reason}"))
        for mark in item.iter_markers("not_over"):
            without, reason = mark.args
            if rig == "vm" and without == transport:
                item.add_marker(pytest.mark.skip(reason=f"not over {transport}: {reason}"))
        for mark in item.iter_markers("only"):
            only, reason = mark.args
            if only != rig:
                item.add_marker(pytest.mark.skip(reason=f"{only} rig only: {reason}"))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    if report.when == "call":
        item.passed = report.passed
    guest = getattr(item, "guest", None)
    if report.failed and guest:
        report.sections.append(("agent", guest.describe()))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_protocol(item):
    """A test that waits for ever fails where it stands."""
    mark = item.get_closest_marker("limit")
    limit = mark.args[0] if mark else LIMIT
    limit = pace.scaled(limit * VM_FACTOR if item.config.getoption("rig") == "vm" else limit)

    def overdue(*_):
        raise TimeoutError(f"the test took more than {limit} s")
    before = signal.signal(signal.SIGALRM, overdue)
    signal.alarm(limit)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


class Rig:
    """Starts guests, and keeps the VM that the next test may use as well."""

    def __init__(self, kind, transport, start, directory):
        self.kind = kind
        self.transport = transport
        self.agent_start = start
        self.is_vm = kind == "vm"
        self.share = Share(f"{directory}/share")
        self.initrd = build_initrd(directory, start=start) if self.is_vm else None
        self.kept = None  # (key, host)

    def start(self, **options):
        """A new daemon; returns the host that is connected to it."""
        if self.is_vm:
            options.setdefault("transport", self.transport)
            guest = VmGuest(self.share, self.initrd, start=self.agent_start, **options)
        else:
            guest = HostGuest(self.share, start=self.agent_start, **options)
        return Host(guest, 120 if self.is_vm else 20)

    def take(self, key, options):
        deadline = options.get("deadline")
        if self.kept and self.kept[0] == key and (
                not deadline or pace.late(deadline) <= self.kept[1].guest.deadline):
            host = self.kept[1]
            self.kept = None
            return host
        self.drop()
        return self.start(**options)

    def keep(self, key, host):
        self.kept = (key, host)

    def drop(self):
        if self.kept:
            self.kept[1].guest.stop()
            self.kept = None


@pytest.fixture(scope="session")
def rig(request):
    directory = tempfile.mkdtemp(prefix="hyperstart-share-")
    option = request.config.getoption
    rig = Rig(option("rig"), option("transport"), option("start"), directory)
    yield rig
    rig.drop()
    shutil.rmtree(directory)


@pytest.fixture
def options(request):
    mark = request.node.get_closest_marker("options")
    return dict(mark.kwargs) if mark else {}


@pytest.fixture
def guest_host(request, rig, options):
    """A host that is not connected yet, unless it is a kept one."""
    fresh = options.pop("fresh", False)
    key = (request.module.__name__, tuple(sorted(options.items())))
    if fresh:
        rig.drop()
    host = rig.take(key, options)
    request.node.guest = host.guest
    keep = False
    try:
        yield host
        if getattr(request.node, "passed", False) and not host.guest.has_ended():
            host.finish()
            keep = rig.is_vm and not fresh
        assert not (complaints := host.guest.complaints()), complaints
    finally:
        if keep:
            rig.keep(key, host)
        else:
            host.disconnect()
            host.guest.stop()


@pytest.fixture
def host(guest_host):
    """Connected on both ports, READY seen."""
    if not guest_host.control:
        guest_host.connect()
    guest_host.wait_ready()
    return guest_host


@pytest.fixture
def pod(host):
    """A host whose pod stands."""
    if not host.pod:
        host.startpod()
    return host


@pytest.fixture
def box(pod):
    """A pod with a container named `box<n>`, whose first process stays; .name is on the process."""
    name = f"box{pod.fresh_seq()}"
    process = pod.newcontainer(name, ["sleep", "100000"]).started()
    process.name = name
    return process
