# SPDX-License-Identifier: Apache-2.0
"""A network to plug a guest into, made of Python alone: each NIC's wire is a `dgram` netdev of QEMU
over a Unix socket, one Ethernet frame a datagram, and at its other end stands a Station.

A Station has any number of addresses. By itself it answers ARP, neighbour solicitations, echo
requests, and it sends back what is sent to its TCP and UDP port 7. Wires lose nothing and keep the
order, so its TCP never sends anything twice.
"""

import collections
import ipaddress
import itertools
import os
import select
import socket
import struct
import threading
import time

from rig import pace

ECHO_PORT = 7
TIMEOUT = 20
SEGMENT = 1000

IPV4, ARP, IPV6 = 0x0800, 0x0806, 0x86DD
ICMP, TCP, UDP, ICMPV6 = 1, 6, 17, 58
FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16


def checksum(data):
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def mac_bytes(text):
    return bytes.fromhex(text.replace(":", ""))


class Packet:
    """An IP packet that is no fragment: addresses, protocol and payload."""

    def __init__(self, source, destination, protocol, payload):
        self.source, self.destination = source, destination
        self.protocol, self.payload = protocol, payload

    @classmethod
    def parse(cls, data):
        if data[0] >> 4 == 4:
            header = (data[0] & 15) * 4
            length, _, fragment = struct.unpack_from(">HHH", data, 2)
            assert checksum(data[:header]) == 0, "an IPv4 header with a wrong checksum"
            if fragment & 0x3FFF:
                return None
            return cls(ipaddress.ip_address(data[12:16]), ipaddress.ip_address(data[16:20]),
                       data[9], data[header:length])
        length, protocol = struct.unpack_from(">HB", data, 4)
        return cls(ipaddress.ip_address(data[8:24]), ipaddress.ip_address(data[24:40]), protocol,
                   data[40 : 40 + length])

    def build(self):
        if self.source.version == 4:
            header = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(self.payload), 0, 0, 64,
                                 self.protocol, 0, self.source.packed, self.destination.packed)
            header = header[:10] + struct.pack(">H", checksum(header)) + header[12:]
        else:
            # Hop limit 255, or neighbours do not believe it.
            header = struct.pack(">IHBB16s16s", 6 << 28, len(self.payload), self.protocol, 255,
                                 self.source.packed, self.destination.packed)
        return header + self.payload

    def fill_checksum(self, at):
        """Into the payload, over it and, but for ICMP, the addresses as well."""
        pseudo = b"" if self.protocol == ICMP else (
            self.source.packed + self.destination.packed
            + struct.pack(">II", len(self.payload), self.protocol))
        value = struct.pack(">H", checksum(pseudo + self.payload) or 0xFFFF)
        self.payload = self.payload[:at] + value + self.payload[at + 2 :]
        return self


class Connection:
    """One TCP connection of a station's."""

    def __init__(self, station, key):
        self.station, self.key = station, key  # key: (our address, our port, its address, its port)
        self.sent, self.taken = 1000, 0
        self.open = self.closed = self.refused = False
        self.data = b""
        self.echoes = key[1] == ECHO_PORT

    def segment(self, flags, data=b""):
        here, port, there, its_port = self.key
        header = struct.pack(">HHIIBBHHH", port, its_port, self.sent, self.taken, 5 << 4, flags,
                             65535, 0, 0)
        self.sent = (self.sent + len(data) + bool(flags & (SYN | FIN))) % (1 << 32)
        self.station.send(Packet(here, there, TCP, header + data).fill_checksum(16))

    def arrived(self, flags, number, data):
        if flags & RST:
            self.refused = self.closed = True
            return
        if flags & SYN:
            self.taken = (number + 1) % (1 << 32)
            self.segment(ACK if self.open or self.sent != 1000 else SYN | ACK)
            self.open = True
        elif number == self.taken and (data or flags & FIN):
            self.taken = (self.taken + len(data) + bool(flags & FIN)) % (1 << 32)
            self.data += data
            if data and self.echoes:
                self.segment(ACK | PSH, data)
            elif flags & FIN and not self.closed:
                self.segment(ACK | FIN)
            else:
                self.segment(ACK)
            self.closed = self.closed or bool(flags & FIN)

    def ask(self, data):
        """Sends; returns what comes back, as much as was sent."""
        with self.station.changed:
            before = len(self.data)
            for at in range(0, len(data), SEGMENT):
                self.segment(ACK | PSH, data[at : at + SEGMENT])
            self.station.wait(lambda: len(self.data) >= before + len(data), "the echo by TCP")
            return self.data[before:]

    def close(self):
        with self.station.changed:
            if not self.closed:
                self.closed = True
                self.segment(ACK | FIN)


class Station:
    """The other end of one NIC's wire, served by a thread."""

    ids = itertools.count()

    def __init__(self, directory, name, mac, addresses):
        self.name = name
        self.mac = mac_bytes(mac)
        self.addresses = [ipaddress.ip_address(address) for address in addresses]
        self.neighbours = {}  # address -> MAC
        self.frames = collections.deque(maxlen=1000)  # whole frames from the guest
        self.echo_replies, self.datagrams, self.connections = set(), [], {}
        self.ports = itertools.count(40000)
        self.changed = threading.Condition()
        self.guest_path, self.path = (f"{directory}/{name}.{end}" for end in ("guest", "station"))
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        self.stop_read, self.stop_write = os.pipe()
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()
        self.failure = None

    def netdev(self):
        """The netdev's options."""
        return (f"dgram,id={self.name},local.type=unix,local.path={self.guest_path},"
                f"remote.type=unix,remote.path={self.path}")

    def stop(self):
        os.close(self.stop_write)
        self.thread.join()
        self.socket.close()

    def serve(self):
        while True:
            ready, _, _ = select.select([self.socket, self.stop_read], [], [])
            if self.stop_read in ready:
                os.close(self.stop_read)
                return
            frame = self.socket.recv(1 << 16)
            with self.changed:
                try:
                    self.take(frame)
                except Exception as failure:  # told to whoever waits
                    self.failure = failure
                self.changed.notify_all()

    def wait(self, condition, what, timeout=TIMEOUT):
        """With `changed` held."""
        done = self.changed.wait_for(lambda: condition() or self.failure, pace.scaled(timeout))
        if self.failure:
            raise self.failure
        if not done:
            raise TimeoutError(f"{self.name}: waited {timeout} s for {what}")

    # Ethernet

    def transmit(self, destination, kind, data):
        frame = destination + self.mac + struct.pack(">H", kind) + data
        try:
            self.socket.sendto(frame.ljust(60, b"\0"), self.guest_path)
        except (FileNotFoundError, ConnectionRefusedError):
            pass  # not plugged in

    def send(self, packet):
        """To a neighbour that is known already."""
        self.transmit(self.neighbours[packet.destination], IPV4 if packet.source.version == 4
                      else IPV6, packet.build())

    def take(self, frame):
        self.frames.append(frame)
        kind = struct.unpack_from(">H", frame, 12)[0]
        if kind == ARP:
            self.take_arp(frame[14:])
        elif kind in (IPV4, IPV6) and (packet := Packet.parse(frame[14:])):
            self.take_packet(packet, frame[6:12])

    def take_arp(self, data):
        operation, its_mac, its_address, _, wanted = struct.unpack_from(">6xH6s4s6s4s", data)
        its_address, wanted = (ipaddress.ip_address(data) for data in (its_address, wanted))
        self.neighbours[its_address] = its_mac
        if operation == 1 and wanted in self.addresses:
            self.transmit(its_mac, ARP, struct.pack(
                ">HHBBH6s4s6s4s", 1, IPV4, 6, 4, 2, self.mac, wanted.packed, its_mac,
                its_address.packed))

    # IP

    def take_packet(self, packet, its_mac):
        if packet.protocol == ICMPV6 and packet.payload[0] in (135, 136):
            self.take_neighbour(packet, its_mac)
        elif packet.destination in self.addresses:
            self.neighbours[packet.source] = its_mac
            if packet.protocol in (ICMP, ICMPV6):
                self.take_echo(packet)
            elif packet.protocol == UDP:
                self.take_udp(packet)
            elif packet.protocol == TCP:
                self.take_tcp(packet)

    def take_neighbour(self, packet, its_mac):
        kind, target = packet.payload[0], ipaddress.ip_address(packet.payload[8:24])
        if kind == 136:
            self.neighbours[target] = its_mac
        elif target in self.addresses and not packet.source.is_unspecified:
            self.neighbours[packet.source] = its_mac
            answer = struct.pack(">BBHI16sBB6s", 136, 0, 0, 0x60000000, target.packed, 2, 1,
                                 self.mac)
            self.send(Packet(target, packet.source, ICMPV6, answer).fill_checksum(2))

    def take_echo(self, packet):
        kind, _, _, ident = struct.unpack_from(">BBHH", packet.payload)
        if kind in (8, 128):
            answer = struct.pack(">BBH", 0 if kind == 8 else 129, 0, 0) + packet.payload[4:]
            self.send(Packet(packet.destination, packet.source, packet.protocol,
                             answer).fill_checksum(2))
        elif kind in (0, 129):
            self.echo_replies.add(ident)

    def take_udp(self, packet):
        port, ours = struct.unpack_from(">HH", packet.payload)
        data = packet.payload[8:]
        if ours == ECHO_PORT:
            self.send_udp(packet.destination, ours, packet.source, port, data)
        else:
            self.datagrams.append((packet.destination, ours, data))

    def take_tcp(self, packet):
        port, ours, number, _, offset, flags = struct.unpack_from(">HHIIBB", packet.payload)
        key = (packet.destination, ours, packet.source, port)
        if key not in self.connections and flags & SYN and ours == ECHO_PORT:
            self.connections[key] = Connection(self, key)
        if key in self.connections:
            self.connections[key].arrived(flags, number, packet.payload[offset >> 4 << 2 :])

    def send_udp(self, source, port, destination, its_port, data):
        header = struct.pack(">HHHH", port, its_port, 8 + len(data), 0)
        self.send(Packet(source, destination, UDP, header + data).fill_checksum(6))

    # What a test does with it

    def resolve(self, source, address):
        """Asks for the guest's MAC, by ARP or a neighbour solicitation; each second again, as RFC 4861 has
        it: behind the ACK the kernel may not have looked at the link's carrier yet, and only then joins
        the IPv6 group that is asked."""
        source, address = ipaddress.ip_address(source), ipaddress.ip_address(address)
        if address.version == 4:
            question = b"\xff" * 6, ARP, struct.pack(
                ">HHBBH6s4s6s4s", 1, IPV4, 6, 4, 1, self.mac, source.packed, bytes(6), address.packed)
        else:
            group = b"\xff\x02" + bytes(9) + b"\x01\xff" + address.packed[13:]
            packet = Packet(source, ipaddress.ip_address(group), ICMPV6, struct.pack(
                ">BBHI16sBB6s", 135, 0, 0, 0, address.packed, 1, 1, self.mac))
            question = b"\x33\x33" + group[12:], IPV6, packet.fill_checksum(2).build()
        end = time.monotonic() + pace.scaled(TIMEOUT)
        with self.changed:
            self.neighbours.pop(address, None)
            while address not in self.neighbours:
                if self.failure:
                    raise self.failure
                if time.monotonic() > end:
                    raise TimeoutError(f"{self.name}: nobody has told the MAC of {address}")
                self.transmit(*question)
                self.changed.wait_for(lambda: address in self.neighbours or self.failure, 1)
        return source, address

    def ping(self, source, address):
        source, address = self.resolve(source, address)
        ident = next(Station.ids)
        with self.changed:
            echo = struct.pack(">BBHHH", 8 if address.version == 4 else 128, 0, 0, ident, 1) + b"ping"
            self.send(Packet(source, address, ICMP if address.version == 4 else ICMPV6,
                             echo).fill_checksum(2))
            self.wait(lambda: ident in self.echo_replies, f"an echo reply of {address}")

    def advertise(self, router, prefix):
        """As a router: itself, and a network in which everybody may take an address."""
        router, prefix = ipaddress.ip_address(router), ipaddress.ip_network(prefix)
        option = struct.pack(">BBBBIII16s", 3, 4, prefix.prefixlen, 0xC0, 7200, 7200, 0,
                             prefix.network_address.packed)
        head = struct.pack(">BBHBBHII", 134, 0, 0, 64, 0, 1800, 0, 0)
        packet = Packet(router, ipaddress.ip_address("ff02::1"), ICMPV6, head + option)
        with self.changed:
            self.transmit(bytes.fromhex("333300000001"), IPV6, packet.fill_checksum(2).build())

    def knock_tcp(self, source, address, port, gateway=None):
        """A connection that is asked for. A source that is no neighbour of the guest's speaks through
        a `gateway` that is."""
        source, address = self.route(source, address, gateway)
        key = (source, next(self.ports), address, port)
        with self.changed:
            connection = self.connections[key] = Connection(self, key)
            connection.segment(SYN)
            return connection

    def connect(self, source, address, port):
        connection = self.knock_tcp(source, address, port)
        with self.changed:
            self.wait(lambda: connection.open, f"a connection to {address}")
            return connection

    def knock_udp(self, source, address, port, data, gateway=None):
        """Sends a datagram; returns what answer() takes."""
        source, address = self.route(source, address, gateway)
        with self.changed:
            ours = next(self.ports)
            self.send_udp(source, ours, address, port, data)
            return source, ours

    def answer(self, knock):
        """The data that came back, perhaps from another address of the guest's; None: nothing."""
        return next((data for *to, data in self.datagrams if tuple(to) == knock), None)

    def ask_udp(self, *knock):
        knock = self.knock_udp(*knock)
        with self.changed:
            self.wait(lambda: self.answer(knock), "a datagram")
            return self.answer(knock)

    def route(self, source, address, gateway):
        if ipaddress.ip_address(address) not in self.neighbours:
            self.resolve(gateway or source, address)
        return ipaddress.ip_address(source), ipaddress.ip_address(address)

    def longest_packet(self):
        """Of all that the guest has sent lately, without the Ethernet header."""
        with self.changed:
            return max(len(frame) - 14 for frame in self.frames)
