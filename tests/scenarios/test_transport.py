# SPDX-License-Identifier: Apache-2.0
"""How the host is found, and what is no host. (What goes through a transport is every other file's.)"""

import pytest

from rig.vsock import Device

pytestmark = pytest.mark.only("vm", "the host rig's sockets are given")

over_virtio = [pytest.mark.not_over(name, "the guest has its own") for name in ("isa", "vsock")]
over_vsock = [pytest.mark.not_over(name, "it is vsock's") for name in ("virtio", "isa")]
CONTROL, TTY = "2718", "2719"


def all_of(marks):
    def decorate(test):
        for mark in marks:
            test = mark(test)
        return test
    return decorate


@all_of(over_vsock)
@pytest.mark.parametrize("port", [CONTROL, TTY])
def test_a_second_vsock_connection_is_closed_and_the_first_goes_on(pod, box, port):
    for _ in range(3):
        second = pod.run("hyperstart", ["/bin/dial", port])
        assert (second.code, second.out) == (0, b"")
    pod.settle()
    assert pod.run(box.name, ["say", "x", "", "0"]).out == b"x"


@all_of(over_virtio)
@pytest.mark.limit(20)
def test_without_a_port_but_with_a_vsock_device_the_host_is_awaited_there_and_must_be_cid_2(
        rig, tmp_path):
    device = Device(tmp_path / "vsock")
    host = rig.start(transport="vsock", vsock_cid=None, arguments=device.arguments())
    try:
        host.connect()
        for port in "control", "tty":
            host.wait_log(f"port {port}: CID 1 is not the host")
        log = host.guest.log
        assert log.index("vsock, the host is CID 2") < log.index("CID 1 is not the host")
        assert not host.ready
    finally:
        host.disconnect()
        host.guest.stop()


@all_of(over_virtio)
def test_without_a_port_or_a_vsock_device_the_wait_is_told(rig):
    host = rig.start(transport="vsock", vsock_cid=None)
    try:
        host.wait_log("port sh.hyper.channel.0 is not there, waiting since 2 s")
        assert "vsock, the host" not in host.guest.log
    finally:
        host.guest.stop()
