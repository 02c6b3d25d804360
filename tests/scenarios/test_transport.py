# SPDX-License-Identifier: Apache-2.0
"""How the host is found, and what is no host. (What goes through a transport is every other file's.)"""

import pytest

pytestmark = pytest.mark.only("vm", "the host rig's sockets are given")


@pytest.fixture
def start(rig):
    hosts = []

    def start(**options):
        hosts.append(rig.start(**options))
        return hosts[-1]
    yield start
    for host in hosts:
        host.disconnect()
        host.guest.stop()


# Peers on both sides of the CID, and the host where another was asked for. (Never the guest's own, 3: its
# kernel sends nothing there.)
@pytest.mark.limit(20)
@pytest.mark.parametrize("asked, host_cid, others", [(None, 2, [0, 4]), (5, 5, [2, 4, 6])])
def test_over_vsock_only_one_cid_is_the_host(start, asked, host_cid, others):
    host = start(transport="vsock", vsock_cid=asked)
    for port in "control", "tty":
        for cid in others:
            with host.guest.connect(port, cid=cid) as stranger:
                stranger.settimeout(host.timeout)
                assert stranger.recv(1) == b""
            host.wait_log(f"port {port}: CID {cid} is not the host")
    assert f"vsock, the host is CID {host_cid}" in host.guest.log
    assert "host connected" not in host.guest.log
    host.connect().wait_ready()
    host.finish()


def test_without_a_port_or_a_vsock_device_the_wait_is_told(start):
    host = start(transport=None)
    host.wait_log("port sh.hyper.channel.0 has not appeared, 2 s after the start")
    assert "vsock, the host" not in host.guest.log
