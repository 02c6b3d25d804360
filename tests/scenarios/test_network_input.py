# SPDX-License-Identifier: Apache-2.0
"""What a host may get wrong about the network: an ERROR that names it, and the network as before.

On the host rig, where devices cost nothing: veth pairs in the daemon's own network namespace.
"""

import re
import subprocess
import time

import pytest

from rig import pace
from rig.wire import Code

pytestmark = pytest.mark.only("host", "devices made by ip in the daemon's network namespace")

MANY = 200


class Net:
    """The daemon's network namespace, seen from here."""

    def __init__(self, host):
        self.host = host
        # net0 is down and bare, net1 is set up.
        self.ip("link add net0 type veth peer name peer0")
        self.ip("link add net1 address 02:00:5e:00:00:01 type veth peer name peer1")
        self.ip("link set peer1 up")
        host.ack(Code.SETUPINTERFACE, {
            "device": "net1", "mtu": 1400, "ipAddresses": [
                {"ipAddress": "10.1.0.2", "netMask": "24"},
                {"ipAddress": "fd00:1::2", "netMask": "64"}]})
        host.ack(Code.SETUPROUTE, {"routes": [{"dest": "default", "gateway": "10.1.0.1"},
                                              {"dest": "fd00:9::/64", "gateway": "fd00:1::1"}]})
        self.ip("link set net0 down")

    def command(self, *args, **options):
        return subprocess.run(["nsenter", "-t", str(self.host.guest.pid), "-n", *args], text=True,
                              check=True, capture_output=True, **options).stdout

    def ip(self, line):
        return self.command("ip", *line.split())

    def state(self):
        """But for what the kernel does by itself: link-local addresses, states of the carrier."""
        lines = [(name, "UP" in flags.split(","), mtu) for name, flags, mtu in
                 re.findall(r": (\S+)@?\S*: <(\S+)> mtu (\d+)", self.ip("-o link"))]
        for what in ("-o addr", "route", "-6 route"):
            lines += [re.sub(r" tentative| linkdown| valid_lft.*", "", line).split()
                      for line in self.ip(what).splitlines() if "fe80" not in line]
        lines += self.command("sh", "-c", "grep . /proc/sys/net/ipv6/conf/*/accept_ra").splitlines()
        return sorted(lines, key=str)


@pytest.fixture
def net(host):
    try:
        return Net(host)
    except subprocess.CalledProcessError as failure:
        pytest.skip(f"no veth devices here: {failure.stderr.strip()}")


def interface(**fields):
    return Code.SETUPINTERFACE, {"device": "net0", "newDeviceName": "new0", "mtu": 1300, **fields}


def addressed(address, mask="24"):
    return interface(ipAddresses=[{"ipAddress": "10.7.0.1", "netMask": "24"},
                                  {"ipAddress": address, "netMask": mask}])


def routed(**route):
    return Code.SETUPROUTE, {"routes": [{"dest": "10.8.0.0/16", "gateway": "10.1.0.8"}, route]}


def accept_ra(net, name):
    return net.command("cat", f"/proc/sys/net/ipv6/conf/{name}/accept_ra").strip()


def test_what_failed_leaves_routers_their_say(net):
    assert accept_ra(net, "net0") == "1" and accept_ra(net, "net1") == "0"
    net.host.error(*addressed("127.0.0.300"))
    net.host.error(*interface(ipAddresses=[{"ipAddress": "10.7.0.1", "netMask": "24"},
                                           {"ipAddress": "ff02::1", "netMask": "64"}]))
    assert accept_ra(net, "net0") == "1"
    # With so small an MTU a device has no IPv6, and begins anew with the next.
    net.host.error(Code.SETUPINTERFACE, {
        "device": "net1", "mtu": 1000, "ipAddresses": [{"ipAddress": "ff02::1", "netMask": "64"}]})
    assert accept_ra(net, "net1") == "0"
    net.host.ack(*interface())  # without an address of its own
    assert accept_ra(net, "new0") == "1"


@pytest.mark.parametrize("command, reason", [
    (addressed("10.0.0.256"), "setupinterface: interface 'net0': '10.0.0.256' is no IP address"),
    (addressed("fd00::g"), "setupinterface: interface 'net0': 'fd00::g' is no IP address"),
    (addressed("10.0.0.1/24"), "setupinterface: interface 'net0': '10.0.0.1/24' is no IP address"),
    (addressed("-"), None),
    (addressed("10.0.0.1", "33"), "setupinterface: interface 'net0': address '10.0.0.1': "
                                  "'33' is no netmask: expected 0 to 32 or 255.255.255.0"),
    (addressed("10.0.0.1", "255.0.255.0"), "setupinterface: interface 'net0': address '10.0.0.1': "
                                           "'255.0.255.0' is no netmask: expected 0 to 32 or "
                                           "255.255.255.0"),
    (addressed("fd00::1", "129"), "setupinterface: interface 'net0': address 'fd00::1': "
                                  "'129' is no netmask: expected 0 to 128"),
    (addressed("10.0.0.1", ""), "setupinterface: interface 'net0': address '10.0.0.1' "
                                "has no netmask"),
    (addressed("ff02::1", "64"), "setupinterface: interface 'net0': address 'ff02::1/64': "),
    (interface(mtu=0), None),
    (interface(mtu=1), "setupinterface: interface 'net0': mtu 1: mtu less than device minimum: "
                       "invalid argument"),
    (interface(mtu="70000"), "setupinterface: interface 'net0': mtu 70000: mtu greater than device "
                             "maximum: invalid argument"),
    (interface(mtu="15e2"), "setupinterface: mtu: expected integer"),
    (interface(mtu=-1), "setupinterface: mtu: out of range 0 to 4294967295"),
    (interface(newDeviceName="net1"), "setupinterface: interface 'net0': new name 'net1': "
                                      "file exists"),
    (interface(newDeviceName="a/b"), "setupinterface: interface 'net0': new name 'a/b': "
                                     "invalid argument"),
    (interface(newDeviceName="x" * 16), "setupinterface: newDeviceName 'xxxxxxxxxxxxxxxx' is longer "
                                        "than 15 bytes"),
    (interface(device="", macAddr="02:00:5e:00:00"), "setupinterface: '02:00:5e:00:00' is no MAC "
                                                     "address"),
    (interface(device=""), "setupinterface: neither device nor macAddr is given"),
    (routed(dest="10.9.0.0/33", gateway="10.1.0.1"), "setuproute: route to '10.9.0.0/33': "
     "'10.9.0.0/33': '33' is no netmask: expected 0 to 32 or 255.255.255.0"),
    (routed(dest="everywhere", gateway="10.1.0.1"), "setuproute: route to 'everywhere': 'everywhere' "
                                                    "is no IP address"),
    (routed(dest="10.9.0.0/16"), "setuproute: route to '10.9.0.0/16': neither a gateway nor a "
                                 "device"),
    (routed(dest="10.9.0.0/16", gateway="fd00:1::1"), "setuproute: route to '10.9.0.0/16': gateway "
                                                      "and destination do not match"),
    (routed(dest="10.9.0.0/16", gateway="10.1.0.1", src="fd00:1::2"), "setuproute: route to "
     "'10.9.0.0/16': source and destination do not match"),
    (routed(dest="10.9.0.0/16", device="net7"), "setuproute: route to '10.9.0.0/16': "
                                                "no such device 'net7'"),
    (routed(dest="10.9.0.0/16", gateway="10.99.0.1"), "setuproute: route to '10.9.0.0/16': "
                                                      "nexthop has invalid gateway: "),
    (routed(dest="10.9.0.1/16", gateway="10.1.0.1"), "setuproute: route to '10.9.0.1/16': "
                                                     "invalid prefix for given prefix length: "),
    (routed(dest="10.9.0.0/16", gateway="10.1.0.1", src="10.66.0.1"),
     "setuproute: route to '10.9.0.0/16': invalid prefsrc address: "),
    (routed(dest="", gateway="10.1.0.7"), "setuproute: route to 'default': there is another one"),
    (routed(dest="fd00:9::/64", gateway="fd00:1::7"), "setuproute: route to 'fd00:9::/64': there is "
                                                      "another one"),
    (routed(dest="10.8.0.0/16", gateway="10.1.0.8"), "setuproute: route to '10.8.0.0/16': given "
                                                     "twice"),
    ((Code.SETUPROUTE, {"routes": [{"dest": f"10.8.{i // 256}.{i % 256}", "gateway": "10.1.0.8"}
                                   for i in range(1025)]}), "setuproute: 1025 routes: more than 1024"),
    ((Code.SETUPROUTE, {"routes": {}}), "setuproute: routes: expected array"),
    ((Code.DELETEINTERFACE, {"device": "net1"}), "deleteinterface: interface 'net1' is no PCI "
                                                 "device"),
    ((Code.DELETEINTERFACE, {"device": "net9"}), "deleteinterface: interface 'net9': no such "
                                                 "device"),
    ((Code.DELETEINTERFACE, {"device": ""}), "deleteinterface: device: must not be empty"),
])
def test_wrong_input_is_an_error_that_names_it(net, command, reason):
    before = net.state()
    if reason is None:
        net.host.ack(*command)
    else:
        assert net.host.error(*command).startswith(reason)
        assert net.state() == before


@pytest.mark.options(deadline=2)
def test_a_device_that_never_comes_is_named_in_bounded_time(net):
    before, start = net.state(), time.monotonic()
    text = net.host.error(*interface(device="net7"))
    assert text == "setupinterface: interface 'net7': no such device, and none came"
    text = net.host.error(*interface(device="", macAddr="02:00:00:00:00:99"))
    assert text == "setupinterface: interface '02:00:00:00:00:99': no such device, and none came"
    assert time.monotonic() - start < pace.late(2 * net.host.guest.deadline)
    assert net.state() == before


def test_a_device_that_comes_late_is_awaited(net):
    setup = net.host.send(*interface(device="net7", newDeviceName="net8"))
    net.host.wait_seen(lambda: net.host.guest.children(net.host), "the worker")
    assert setup.kind is None
    net.ip("link add net7 type veth peer name peer7")
    assert net.host.reply_to(setup).kind == Code.ACK, setup.text
    assert "mtu 1300" in net.ip("link show net8")


def test_a_destroypod_does_not_wait_for_a_device(net):
    setup = net.host.send(*interface(device="net7"))
    net.host.wait_seen(lambda: net.host.guest.children(net.host), "the worker")
    start = time.monotonic()
    destroy = net.host.send(Code.DESTROYPOD)
    assert net.host.reply_to(setup).text == "setupinterface: cut short by a destroypod"
    assert net.host.reply_to(destroy).kind == Code.ACK
    assert time.monotonic() - start < pace.late(5)
    assert net.host.guest.wait_end(net.host) == "power-off"


@pytest.mark.options(deadline=4)
def test_of_two_hundred_interfaces_the_last_undoes_all(net):
    net.command("ip", "-batch", "-", input="".join(
        f"link add many{i} type veth peer name far{i}\n" for i in range(MANY)))
    before = net.state()
    interfaces = [{"device": f"many{i}", "newDeviceName": f"many{(i + 1) % MANY}", "mtu": 1300 + i,
                   "ipAddresses": [{"ipAddress": f"10.{100 + i // 250}.{i % 250}.1",
                                    "netMask": "24"},
                                   {"ipAddress": f"fd00:2:{i:x}::1", "netMask": "64"}]}
                  for i in range(MANY)]
    routes = [{"dest": f"10.200.{i}.0/24", "gateway": f"10.{100 + i // 250}.{i % 250}.9"}
              for i in range(MANY)]
    pod = {"hostname": "pod", "interfaces": interfaces, "routes": routes}

    bad = {**pod, "interfaces": [*interfaces, {"device": "nowhere", "ipAddresses": []}]}
    assert net.host.error(Code.STARTPOD, bad) == \
        "startpod: interface 'nowhere': no such device, and none came"
    assert net.state() == before
    bad = {**pod, "routes": [*routes, {"dest": "10.201.0.0/24", "gateway": "10.202.0.1"}]}
    assert "route to '10.201.0.0/24'" in net.host.error(Code.STARTPOD, bad)
    assert net.state() == before
    bad = {**pod, "containers": [{"id": "no", "image": "nowhere",
                                  "process": {"stdio": 1, "stderr": 2, "args": ["true"]}}]}
    assert "nowhere" in net.host.error(Code.STARTPOD, bad)
    assert net.state() == before
    net.host.ack(Code.STARTPOD, pod)
    assert "mtu 1300" in net.ip("link show many1")
    assert "10.200.199.0/24" in net.ip("route")
    text = net.host.error(Code.STARTPOD, pod)
    assert text == "startpod: there is a pod already"


def source_to(net, address):
    return re.search(r" src (\S+)", net.ip(f"route get {address}"))[1]


def test_what_was_the_first_address_is_the_first_again(net):
    """The source of what goes out: it must not be another because of a command that failed."""
    net.host.ack(Code.SETUPINTERFACE, {"device": "net1", "ipAddresses": [
        {"ipAddress": f"10.1.0.{last}", "netMask": "24"} for last in (3, 4)]})
    before = net.state()
    assert source_to(net, "10.77.0.1") == "10.1.0.2"
    net.host.error(Code.SETUPINTERFACE, {"device": "net1", "newDeviceName": "new1", "ipAddresses": [
        {"ipAddress": "-10.1.0.2", "netMask": "24"}, {"ipAddress": "-10.1.0.3", "netMask": "24"},
        {"ipAddress": "ff02::1", "netMask": "64"}]})
    assert net.state() == before
    assert source_to(net, "10.77.0.1") == "10.1.0.2"
    assert "default via 10.1.0.1" in net.ip("route")


def test_an_ipv6_route_has_its_source_again(net):
    """With the address the kernel takes just the source away."""
    net.host.ack(Code.SETUPINTERFACE, {"device": "net1", "ipAddresses": [
        {"ipAddress": "fd00:1::3", "netMask": "64"}]})
    net.host.ack(Code.SETUPROUTE, {"routes": [
        {"dest": "fd00:5::/64", "gateway": "fd00:1::1", "src": "fd00:1::3"}]})
    before = net.state()
    assert "src fd00:1::3" in net.ip("-6 route show fd00:5::/64")
    net.host.error(Code.SETUPINTERFACE, {"device": "net1", "ipAddresses": [
        {"ipAddress": "-fd00:1::3", "netMask": "64"}, {"ipAddress": "ff02::1", "netMask": "64"}]})
    assert net.state() == before


def test_a_link_that_is_down_keeps_its_addresses(net):
    """What goes up for a command that fails goes down again, and then the kernel takes them away."""
    net.ip("addr add fd00:7::1/64 dev net0 nodad")
    net.ip("addr add 10.7.0.7/24 dev net0")
    before = net.state()
    assert "fd00:7::1/64" in str(before)
    net.host.error(*addressed("ff02::1", "64"))
    assert net.state() == before


def test_a_loopback_is_as_it_was(host):
    def lo():
        text = subprocess.run(["nsenter", "-t", str(host.guest.pid), "-n", "ip", "addr", "show", "lo"],
                              check=True, capture_output=True, text=True).stdout
        return re.findall("<.*>|inet.*", text)
    assert lo() == ["<LOOPBACK>"]
    host.error(Code.STARTPOD, {"hostname": "pod", "routes": [{"dest": "10.1.0.0/16", "device": "lo"},
                                                             {"gateway": "10.2.0.1"}]})
    assert lo() == ["<LOOPBACK>"]


@pytest.mark.parametrize("dest", ["fd00:8::/61", "fd00:8::77:1/61", "fd00:8::1", "10.8.0.0/15"])
def test_a_route_that_is_there_is_no_error_however_it_was_written(net, dest):
    gateway = "fd00:1::1" if ":" in dest else "10.1.0.1"
    for _ in range(2):
        net.host.ack(Code.SETUPROUTE, {"routes": [{"dest": dest, "gateway": gateway}]})
    assert net.host.error(Code.SETUPROUTE, {"routes": [
        {"dest": dest, "gateway": gateway.replace("1", "7")}]}).startswith(
            f"setuproute: route to '{dest}': ")


def test_an_address_goes_and_comes_in_one_command(net):
    def change(*addresses):
        net.host.ack(Code.SETUPINTERFACE, {"device": "net1", "ipAddresses": [
            {"ipAddress": text, "netMask": mask} for text, mask in addresses]})
    before = net.state()
    change(("10.1.0.9", "24"), ("fd00:1::9", "64"), ("-10.1.0.9", "24"), ("-fd00:1::9", ""))
    assert net.state() == before
    change(("-10.1.0.2", ""), ("10.1.0.2", "24"), ("-fd00:1::2", "64"), ("fd00:1::2", "64"))
    assert [line for line in net.state() if "default" not in line] == \
        [line for line in before if "default" not in line]


def test_too_many_interfaces_are_refused(net):
    interfaces = [{"device": f"net{i}"} for i in range(257)]
    assert net.host.error(Code.STARTPOD, {"interfaces": interfaces}) == \
        "startpod: 257 interfaces: more than 256"


def test_two_interfaces_change_places(net):
    net.ip("link set net1 mtu 1400")
    net.host.ack(Code.STARTPOD, {"hostname": "pod", "interfaces": [
        {"device": "net0", "newDeviceName": "net1"},
        {"device": "net1", "newDeviceName": "net0"}]})
    # net0 was net1 and keeps what it had.
    assert "10.1.0.2/24" in net.ip("addr show net0")
    assert "fd00:1::2/64" in net.ip("addr show net0")
    assert "default via 10.1.0.1 dev net0" in net.ip("route")
    assert "fd00:9::/64 via fd00:1::1 dev net0" in net.ip("-6 route")


def test_lo_is_up_in_every_pod(pod):
    out = subprocess.run(["nsenter", "-t", str(pod.guest.pid), "-n", "ip", "link", "show", "lo"],
                         check=True, capture_output=True, text=True).stdout
    assert "LOOPBACK,UP" in out


@pytest.mark.parametrize("field, value, reason", [
    ("internalNetworks", ["10.0.0.0/8", "10.0.0.0/40"],
     "internalNetworks[1]: '10.0.0.0/40': '40' is no netmask: expected 0 to 32 or 255.255.255.0"),
    ("externalNetworks", ["0.0.0.0/0\n-A INPUT -j ACCEPT"], "externalNetworks[0]: "),
    ("externalNetworks", ["fd00::/8"], "externalNetworks[0]: 'fd00::/8' is not IPv4"),
])
def test_a_white_list_of_anything_else_is_refused(host, field, value, reason):
    text = host.error(Code.STARTPOD, {"portmappingWhiteLists": {field: value}})
    assert text.startswith(f"startpod: portmappingWhiteLists.{reason}")


def test_empty_white_lists_map_nothing(host):
    host.startpod(portmappingWhiteLists={"internalNetworks": None, "externalNetworks": []})
    spec = {"ports": [{"hostPort": 0, "containerPort": 0}]}
    host.newcontainer("c", ["sleep", "1000"], container=spec).started()
