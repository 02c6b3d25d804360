# SPDX-License-Identifier: Apache-2.0
"""The pod's network with real packets: the test is what the guest's NICs are plugged into.

One guest for all of it. Its first NIC gets the name eth0 from the kernel, the second eth1; STARTPOD,
which finds them by MAC, has them change names. So the wire `first` is eth1 in the pod.
"""

import re
import shutil
import tempfile
import time

import pytest

from rig import pace
from rig.host import Host
from rig.net import ECHO_PORT, Station
from rig.vm_rig import VmGuest
from rig.wire import Code

pytestmark = pytest.mark.only("vm", "virtual NICs, and real packets on their wires")

FIRST, SECOND, LATE = "02:00:5e:00:00:01", "02:00:5e:00:00:02", "02:00:5e:00:00:03"
DEADLINE = 8  # devices are awaited for half of it

INTERFACES = [
    {"macAddr": FIRST.upper(), "newDeviceName": "eth1", "mtu": "1400", "device": "",
     "ipAddresses": [{"ipAddress": "10.1.0.2", "netMask": "255.255.255.0"},
                     {"ipAddress": "10.1.0.3", "netMask": "24"},
                     {"ipAddress": "", "netMask": ""},
                     {"ipAddress": "fd00:1::2", "netMask": "64"}]},
    {"macAddr": SECOND, "newDeviceName": "eth0", "mtu": 0,
     "ipAddress": "10.2.0.2", "netMask": "24",
     "ipAddresses": [{"ipAddress": "fd00:2::2", "netMask": "64"}]},
]
# The gateways of the first two are reached by those behind them.
ROUTES = [
    {"dest": "10.30.0.0/16", "gateway": "10.20.0.1"},
    {"dest": "fd00:30::/64", "gateway": "fd00:20::1", "src": "fd00:2::2"},
    {"dest": "10.20.0.1", "gateway": "", "device": "eth0"},
    {"dest": "fd00:20::1/128", "device": "eth0"},
    {"dest": "10.40.0.0/16", "gateway": "10.2.0.1", "device": "eth0"},
    {"dest": "default", "gateway": "10.1.0.1"},
    {"dest": "10.1.9.9", "device": "eth1", "src": "10.1.0.3"},
]


class Network:
    def __init__(self, rig):
        self.directory = tempfile.mkdtemp(prefix="hyperstart-net-")
        near, far = ["10.1.0.1", "10.1.9.9", "fd00:1::1", "192.0.2.1"], ["10.2.0.1", "fd00:2::1"]
        self.first = Station(self.directory, "first", "02:00:5e:10:00:01", near)
        self.second = Station(self.directory, "second", "02:00:5e:10:00:02",
                              far + ["10.20.0.1", "10.30.0.1", "10.40.0.1", "fd00:20::1", "fd00:30::1"])
        self.late = Station(self.directory, "late", "02:00:5e:10:00:03", ["10.3.0.1", "fd00:3::1"])
        arguments = []
        for station in (self.first, self.second, self.late):
            arguments += ["-netdev", station.netdev()]
        for station, mac in ((self.first, FIRST), (self.second, SECOND)):
            arguments += ["-device", f"virtio-net-pci,netdev={station.name},mac={mac}"]
        guest = VmGuest(rig.share, rig.initrd, deadline=DEADLINE, arguments=arguments)
        self.host = Host(guest, 120).connect()
        self.host.wait_ready()

    def start_pod(self, **fields):
        return {"hostname": "pod", "shareDir": "share", "interfaces": INTERFACES,
                "routes": ROUTES, **fields}

    def run(self, *args):
        """Its output, in a container; the network is the same for all."""
        done = self.host.run("box", list(args))
        assert done.code == 0, f"{args}: exit code {done.code}: {bytes(done.err).decode()}"
        return bytes(done.out).decode()

    def state(self):
        """All that a failed command must not have changed."""
        lines = []
        for what in (["link"], ["addr"], ["route"], ["-6", "route"]):
            lines += self.run("ip", *what).splitlines()
        # What the kernel finds out by itself some time after a device went up.
        passing = r" tentative|NO-CARRIER,|\bvalid_lft.*"
        return "\n".join(re.sub(passing, "", line).rstrip() for line in lines)

    def stop(self):
        self.host.disconnect()
        self.host.guest.stop()
        for station in (self.first, self.second, self.late):
            station.stop()
        shutil.rmtree(self.directory)


@pytest.fixture(scope="module")
def machine(rig):
    rig.drop()
    network = Network(rig)
    yield network
    network.stop()


@pytest.fixture
def net(request, machine):
    """The machine; its pod stands, with a container `box` that answers on port 7."""
    request.node.guest = machine.host.guest
    host = machine.host
    if not host.pod:
        # What fails leaves no trace: the start that comes next would stumble over it.
        bad = [*ROUTES, {"dest": "10.99.0.0/16", "gateway": "10.98.0.1"}]
        machine.refusals = [host.error(Code.STARTPOD, machine.start_pod(**fields)) for fields in (
            {"routes": bad},
            {"iptableRules": "*filter\n-A INPUT -j ACCEPT\nCOMMIT\n"},
            {"portmappingWhiteLists": {"internalNetworks": ["10.0.0.0/8"]}},
            {"containers": [{"id": "no", "image": "nowhere",
                             "process": {"stdio": 1, "stderr": 2, "args": ["true"]}}]},
        )]
        host.startpod(**machine.start_pod())
        host.newcontainer("box", ["talk", "listen", "tcp", "7", "udp", "7"]).started() \
            .wait_output(b"ready")
    yield machine
    assert not (complaints := host.guest.complaints()), complaints


def test_a_startpod_that_fails_names_the_reason_and_leaves_no_trace(net):
    route, rules, lists, container = net.refusals
    assert route == ("startpod: route to '10.99.0.0/16': nexthop has invalid gateway: "
                     "network unreachable")
    assert rules == "startpod: there is no iptables-save in this guest"
    assert lists == rules
    assert "nowhere" in container


def test_interfaces_found_by_mac_change_names(net):
    links = net.state()
    assert "eth1: <BROADCAST,MULTICAST,UP" in links
    for name, mac, mtu in (("eth1", FIRST, 1400), ("eth0", SECOND, 1500)):
        assert net.run("cat", f"/sys/class/net/{name}/address").strip() == mac
        assert net.run("cat", f"/sys/class/net/{name}/mtu").strip() == str(mtu)
    assert "lo: <LOOPBACK,UP" in links


@pytest.mark.parametrize("wire, there, here", [
    ("first", "10.1.0.1", "10.1.0.2"), ("first", "10.1.0.1", "10.1.0.3"),
    ("first", "fd00:1::1", "fd00:1::2"), ("second", "10.2.0.1", "10.2.0.2"),
    ("second", "fd00:2::1", "fd00:2::2")])
def test_packets_come_in(net, wire, there, here):
    station = getattr(net, wire)
    station.ping(there, here)
    assert station.ask_udp(there, here, ECHO_PORT, b"a datagram") == b"a datagram"
    connection = station.connect(there, here, ECHO_PORT)
    assert connection.ask(b"a" * 3000) == b"a" * 3000
    connection.close()


@pytest.mark.parametrize("there", [
    "10.1.0.1", "fd00:1::1", "10.2.0.1", "fd00:2::1",  # neighbours
    "192.0.2.1",                                       # by the default route
    "10.1.9.9", "10.20.0.1", "10.30.0.1", "10.40.0.1", "fd00:20::1", "fd00:30::1"])
def test_packets_go_out(net, there):
    net.run("ping", "-c", "1", "-W", "10", there)
    assert net.run("talk", "to", "tcp", there, "7", "by tcp") == "by tcp"
    assert net.run("talk", "to", "udp", there, "7", "by udp") == "by udp"


def test_a_route_s_source_is_the_one_that_is_used(net):
    net.first.frames.clear()
    net.run("ping", "-c", "1", "-W", "10", "10.1.9.9")
    assert any(frame[26:34] == bytes([10, 1, 0, 3, 10, 1, 9, 9]) for frame in net.first.frames)


def test_the_mtu_is_seen_on_the_wire(net):
    for station, there, mtu in ((net.first, "10.1.0.1", 1400), (net.second, "10.2.0.1", 1500)):
        station.frames.clear()
        # Fragments, to which no station answers.
        net.host.run("box", ["ping", "-c", "1", "-W", "1", "-s", "4000", there])
        # The payload of a fragment that is not the last is a multiple of eight.
        assert mtu - 8 < station.longest_packet() <= mtu


def test_a_repeated_command_is_no_error(net):
    before = net.state()
    host = net.host
    host.ack(Code.SETUPROUTE, {"routes": ROUTES})
    host.ack(Code.SETUPROUTE, {"routes": list(reversed(ROUTES))})
    host.ack(Code.SETUPROUTE, {})
    for interface in INTERFACES:
        host.ack(Code.SETUPINTERFACE, interface)
    assert net.state() == before


def test_setupinterface_by_name_adds_and_deletes_addresses(net):
    host, station = net.host, net.second
    before = net.state()

    def change(*addresses):
        host.ack(Code.SETUPINTERFACE, {"device": "eth0", "newDeviceName": "", "mtu": 0,
                                       "ipAddresses": [{"ipAddress": ip, "netMask": mask}
                                                       for ip, mask in addresses]})
    change(("10.2.0.4", "24"), ("fd00:2::4", "64"))
    # At once, without a wait for somebody who has it already.
    assert "tentative" not in net.run("ip", "addr", "show", "eth0", "to", "fd00:2::/64")
    station.ping("10.2.0.1", "10.2.0.4")
    station.ping("fd00:2::1", "fd00:2::4")
    # The first of a network's addresses goes, and the others stay.
    change(("-10.2.0.2", "24"), ("-fd00:2::4", ""))
    station.ping("10.2.0.1", "10.2.0.4")
    assert "10.2.0.2/" not in net.state() and "fd00:2::4" not in net.state()
    change(("-10.2.0.2", "24"), ("-10.2.0.77", "24"))
    change(("-10.2.0.4", "255.255.255.0"), ("10.2.0.2", "24"))
    host.ack(Code.SETUPROUTE, {"routes": ROUTES})
    assert sorted(net.state().splitlines()) == sorted(before.splitlines())


def test_an_interface_with_addresses_takes_none_from_a_router(net):
    """A container on the same wire could play one."""
    for _ in range(3):
        net.first.advertise("fe80::bad", "fd00:bad::/64")
    net.first.ping("fd00:1::1", "fd00:1::2")  # it has come to what was sent before
    assert "bad" not in net.state()


def test_a_renamed_interface_keeps_its_addresses_and_routes(net):
    command = {"device": "eth1", "newDeviceName": "uplink0",
               "ipAddresses": [{"ipAddress": "10.1.0.2", "netMask": "24"}]}
    net.host.ack(Code.SETUPINTERFACE, command)
    net.host.ack(Code.SETUPINTERFACE, command)
    # Another that asks for more means another device, which has yet to come.
    for more in {"mtu": 1300}, {"ipAddresses": [{"ipAddress": "10.1.0.4", "netMask": "24"}]}:
        assert net.host.error(Code.SETUPINTERFACE, {**command, **more}) == \
            "setupinterface: interface 'eth1': no such device, and none came"
    assert "eth1" not in net.state() and "10.1.0.4" not in net.state()
    net.first.ping("fd00:1::1", "fd00:1::2")
    assert net.run("talk", "to", "tcp", "192.0.2.1", "7", "by the default route")
    net.host.ack(Code.SETUPINTERFACE, {"device": "uplink0", "newDeviceName": "eth1"})


@pytest.mark.parametrize("command, payload, reason", [
    (Code.SETUPINTERFACE, {"device": "eth1", "newDeviceName": "eth0"},
     "interface 'eth1': new name 'eth0': file exists"),
    (Code.SETUPINTERFACE, {"device": "eth1", "newDeviceName": "up", "mtu": 60},
     "interface 'eth1': mtu 60: mtu less than device minimum: invalid argument"),
    (Code.SETUPINTERFACE, {"device": "eth1", "newDeviceName": "up", "ipAddresses": [
        {"ipAddress": "10.1.0.9", "netMask": "24"}, {"ipAddress": "-10.1.0.3", "netMask": "24"},
        {"ipAddress": "-fd00:1::2", "netMask": "64"}, {"ipAddress": "127.0.0.300"}]},
     "interface 'eth1': '127.0.0.300' is no IP address"),
    (Code.SETUPINTERFACE, {"device": "eth1", "newDeviceName": "up", "ipAddresses": [
        {"ipAddress": "10.1.0.9", "netMask": "24"}, {"ipAddress": "-10.1.0.3", "netMask": "24"},
        {"ipAddress": "-fd00:1::2", "netMask": "64"}, {"ipAddress": "ff02::1", "netMask": "64"}]},
     "interface 'eth1': address 'ff02::1/64': "),
    (Code.SETUPROUTE, {"routes": [{"dest": "10.50.0.0/16", "gateway": "10.1.0.1"},
                                  {"dest": "any", "gateway": "10.1.0.99"}]},
     "route to 'any': there is another one"),
    (Code.SETUPROUTE, {"routes": [{"dest": "10.50.0.0/16", "gateway": "10.1.0.1"},
                                  {"dest": "fd00:40::/64", "gateway": "fd00:9::1"}]},
     "route to 'fd00:40::/64': "),
    (Code.DELETEINTERFACE, {"device": "lo"}, "interface 'lo' is no PCI device"),
    (Code.DELETEINTERFACE, {"device": "eth7"}, "interface 'eth7': no such device"),
])
def test_what_is_refused_changes_nothing(net, command, payload, reason):
    before = net.state()
    text = net.host.error(command, payload)
    assert text.startswith(f"{command.name.lower()}: {reason}")
    assert sorted(net.state().splitlines()) == sorted(before.splitlines())
    net.run("ping", "-c", "1", "-W", "10", "192.0.2.1")


def plug_in(net):
    net.host.guest.vm.qmp("device_add", driver="virtio-net-pci", id="late", netdev="late", mac=LATE)


def unplug(net):
    vm = net.host.guest.vm
    vm.qmp("device_del", id="late")
    while vm.monitor.wait_event("DEVICE_DELETED", pace.scaled(30))["data"].get("device") != "late":
        pass


def test_a_nic_that_comes_late_is_awaited(net):
    host = net.host
    cat = host.execcmd("box", ["cat"]).started()
    setup = host.send(Code.SETUPINTERFACE, {
        "device": "eth2", "newDeviceName": "late0", "ipAddresses": [
            {"ipAddress": "10.3.0.2", "netMask": "24"}, {"ipAddress": "fd00:3::2", "netMask": "64"}]})
    ping = host.send(Code.PING)
    start = time.monotonic()
    while time.monotonic() - start < 1:
        cat.write(b"still here\n")
        host.wait_for(lambda: cat.out.endswith(b"still here\n"), "stdio", 10)
        cat.out.clear()
    assert setup.kind is None, "there was no NIC yet"
    plug_in(net)
    assert host.reply_to(setup).kind == Code.ACK, setup.text
    assert host.reply_to(ping).kind == Code.ACK
    net.late.ping("10.3.0.1", "10.3.0.2")
    net.late.ping("fd00:3::1", "fd00:3::2")
    assert net.late.connect("10.3.0.1", "10.3.0.2", ECHO_PORT).ask(b"hello") == b"hello"
    cat.close_stdin()
    assert cat.wait() == 0


def test_a_nic_is_deleted_and_comes_again(net):
    host = net.host
    host.ack(Code.DELETEINTERFACE, {"device": "late0"})
    assert "late0" not in net.run("ip", "link")
    unplug(net)
    plug_in(net)
    # By MAC, as nobody can tell what it is called now.
    host.ack(Code.SETUPINTERFACE, {"macAddr": LATE, "mtu": 1280,
                                   "ipAddresses": [{"ipAddress": "10.3.0.2", "netMask": "24"}]})
    net.late.ping("10.3.0.1", "10.3.0.2")
    (name,) = {line.split(":")[1].strip() for line in net.run("ip", "link").splitlines()
               if "mtu 1280" in line}
    host.ack(Code.DELETEINTERFACE, {"device": name})
    unplug(net)


def test_a_nic_that_never_comes_is_an_error_in_bounded_time(net):
    before = net.state()
    start = time.monotonic()
    setup = net.host.send(Code.SETUPINTERFACE, {"device": "eth9"})
    cat = net.host.send(Code.PING)
    assert net.host.reply_to(setup).text == \
        "setupinterface: interface 'eth9': no such device, and none came"
    assert time.monotonic() - start < net.host.guest.deadline
    assert net.host.reply_to(cat).kind == Code.ACK
    assert net.state() == before
