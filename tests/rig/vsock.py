# SPDX-License-Identifier: Apache-2.0
"""A virtio-vsock device, and the hosts behind it: a vhost-user backend of QEMU's, for what the host's
kernel would do had it vhost-vsock, and more: a peer may have any CID.

Each connection is a socket pair: the test has one end, the device's thread the other. It is made as a
host's connect() makes it, and what a host does in order reaches the guest in that order.
"""

import collections
import itertools
import mmap
import os
import select
import socket
import struct
import threading
import time

HOST_CID = 2
GUEST_CID = 3

# vhost-user
MESSAGE = struct.Struct("<III")  # request, flags, size of the payload
(GET_FEATURES, SET_MEM_TABLE, SET_VRING_NUM, SET_VRING_ADDR, SET_VRING_BASE, GET_VRING_BASE,
 SET_VRING_KICK, SET_VRING_CALL, SET_VRING_ERR, GET_PROTOCOL_FEATURES, GET_CONFIG) = (
    1, 5, 8, 9, 10, 11, 12, 13, 14, 15, 24)
REPLY = 1 | 1 << 2  # version 1
VIRTIO_F_VERSION_1, F_PROTOCOL_FEATURES = 1 << 32, 1 << 30
PROTOCOL_F_CONFIG = 1 << 9
FDS_MAX = 8

# The rings of a vsock device, but for that of events, which QEMU keeps itself
TO_GUEST, FROM_GUEST = 0, 1
DESCRIPTOR_NEXT = 1

# A packet's header: both CIDs and ports, length, type, operation, flags, buf_alloc, fwd_cnt
PACKET = struct.Struct("<QQIIIHHIII")
STREAM = 1
REQUEST, RESPONSE, RST, SHUTDOWN, RW, CREDIT_UPDATE, CREDIT_REQUEST = range(1, 8)
BOTH_WAYS = 3
WINDOW = 1 << 18  # what the guest may send ahead
DATA_MAX = 3072  # fits a guest's buffer: a page, but for what its kernel keeps in it

AGAIN_S = 0.01  # until a port is asked again that nobody listens at


class Memory:
    """The guest's, as QEMU shares it."""

    def __init__(self, table, fds):
        self.regions = []
        for fd, (guest, size, user, offset) in zip(fds, struct.iter_unpack("<QQQQ", table[8:])):
            view = memoryview(mmap.mmap(fd, offset + size))[offset:]
            self.regions.append((guest, user, size, view))
            os.close(fd)

    def find(self, address, length, base=0):
        """The bytes at that address of the guest's; base=1: of QEMU's."""
        for region in self.regions:
            at = address - region[base]
            if 0 <= at and at + length <= region[2]:
                return region[3][at : at + length]
        raise ValueError(f"no memory at {address:#x}")


class Ring:
    """A split virtqueue: the guest makes buffers available, the device uses them up."""

    def __init__(self, device):
        self.device = device
        self.size = self.taken = 0
        self.kick = self.call = self.addresses = None

    def word(self, area, at, form, *values):
        """Reads what is there, or writes the values."""
        form = "<" + form
        view = self.device.memory.find(self.addresses[area] + at, struct.calcsize(form), base=1)
        return struct.pack_into(form, view, 0, *values) if values else struct.unpack(form, view)

    def take(self):
        """The next buffer, (its number, its parts), or None."""
        if self.kick is None or self.word("available", 2, "H")[0] == self.taken:
            return None
        head, = self.word("available", 4 + 2 * (self.taken % self.size), "H")
        number, parts, flags = head, [], DESCRIPTOR_NEXT
        while flags & DESCRIPTOR_NEXT:
            address, length, flags, following = self.word("descriptors", 16 * number, "QIHH")
            parts.append(self.device.memory.find(address, length))
            number = following
        return head, parts

    def give(self, head, written=0):
        self.word("used", 4 + 8 * (self.taken % self.size), "II", head, written)
        self.taken = (self.taken + 1) % (1 << 16)
        self.word("used", 2, "H", self.taken)
        os.eventfd_write(self.call, 1)


class Link:
    """One connection, seen from the host."""

    def __init__(self, sock, cid, port, guest_port):
        sock.setblocking(False)
        self.sock, self.cid, self.port, self.guest_port = sock, cid, port, guest_port
        self.answered = threading.Event()
        self.is_open = False  # both ends are
        self.is_over = False  # for the guest
        self.credit = self.sent = 0  # up to where the guest takes bytes; how many it was sent
        self.pending = bytearray()  # the guest's, for the test
        self.passed_on = self.told = 0  # how many of its bytes went on; as it knows it

    def events(self):
        return (select.POLLOUT if self.pending else 0) | \
            (select.POLLIN if self.is_open and self.credit > self.sent else 0)

    def flush(self):
        try:
            while self.pending:
                n = self.sock.send(self.pending)
                self.passed_on += n
                del self.pending[:n]
        except BlockingIOError:
            pass
        except (BrokenPipeError, ConnectionResetError):
            self.passed_on += len(self.pending)
            self.pending.clear()

    def close(self):
        self.is_open = False
        self.sock.close()
        self.answered.set()


class Device:
    """Serves one QEMU in a thread."""

    def __init__(self, path):
        self.path = path
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        self.listener.listen(1)
        self.memory = None
        self.rings = [Ring(self) for _ in range(3)]
        self.links = {}  # by the host's port
        self.ports = itertools.count(1024)
        self.asked = collections.deque()  # links that are to be made
        self.waker = os.eventfd(0, os.EFD_NONBLOCK)
        self.waiting = collections.deque()  # packets that the guest had no buffer for
        self.ended = False
        threading.Thread(target=self.serve, daemon=True).start()

    def arguments(self, memory):
        return ["-object", f"memory-backend-memfd,id=shared,size={memory}M,share=on",
                "-machine", "memory-backend=shared",
                "-chardev", f"socket,id=vsock,path={self.path}",
                "-device", "vhost-user-vsock-pci,chardev=vsock"]

    def connect(self, guest_port, cid):
        """A new connection to the guest, which a host with that CID makes. Waits until the guest
        listens there."""
        while not self.ended:
            sock, end = socket.socketpair()
            link = Link(end, cid, next(self.ports), guest_port)
            self.asked.append(link)
            os.eventfd_write(self.waker, 1)
            link.answered.wait()
            if link.is_open:
                return sock
            sock.close()
            time.sleep(AGAIN_S)
        raise ConnectionRefusedError("the guest is gone")

    # The thread

    def serve(self):
        connection, _ = self.listener.accept()
        self.listener.close()
        try:
            with connection:
                while self.turn(connection):
                    pass
        finally:
            self.ended = True
            for link in [*self.links.values(), *self.asked]:
                link.close()

    def turn(self, connection):
        """False at the end of QEMU."""
        poll = select.poll()
        poll.register(connection, select.POLLIN)
        poll.register(self.waker, select.POLLIN)
        for ring in self.rings[:2]:
            if ring.kick is not None:
                poll.register(ring.kick, select.POLLIN)
        for link in self.links.values():
            if events := link.events() & (select.POLLOUT if self.waiting else -1):
                poll.register(link.sock, events)
        ready = dict(poll.poll())
        for fd in {self.waker, *(ring.kick for ring in self.rings[:2])} & ready.keys():
            os.eventfd_read(fd)
        if connection.fileno() in ready and not self.serve_qemu(connection):
            return False
        # What is asked for only now was asked after all that the sockets hold by then.
        asked = [self.asked.popleft() for _ in range(len(self.asked))]
        while self.waiting and self.put(*self.waiting[0]):
            self.waiting.popleft()
        while buffer := self.rings[FROM_GUEST].take():
            head, parts = buffer
            packet = b"".join(parts)
            self.rings[FROM_GUEST].give(head)
            self.take_packet(packet)
        for link in list(self.links.values()):
            self.serve_link(link)
        for link in asked:
            self.links[link.port] = link
            self.send(link, REQUEST)
        return True

    def serve_qemu(self, connection):
        header, fds, _, _ = socket.recv_fds(connection, MESSAGE.size, FDS_MAX)
        if not header:
            return False
        request, _, size = MESSAGE.unpack(header)
        payload = connection.recv(size, socket.MSG_WAITALL) if size else b""
        if (reply := self.answer(request, payload, fds)) is not None:
            connection.sendall(MESSAGE.pack(request, REPLY, len(reply)) + reply)
        return True

    def answer(self, request, payload, fds):
        if request == GET_FEATURES:
            return struct.pack("<Q", VIRTIO_F_VERSION_1 | F_PROTOCOL_FEATURES)
        if request == GET_PROTOCOL_FEATURES:
            return struct.pack("<Q", PROTOCOL_F_CONFIG)
        if request == GET_CONFIG:
            return payload[:12] + struct.pack("<Q", GUEST_CID)
        if request == SET_MEM_TABLE:
            self.memory = Memory(payload, fds)
        elif request in (SET_VRING_NUM, SET_VRING_ADDR, SET_VRING_BASE, GET_VRING_BASE,
                         SET_VRING_KICK, SET_VRING_CALL, SET_VRING_ERR):
            return self.set_ring(request, self.rings[payload[0]], payload, fds)
        return None

    @staticmethod
    def set_ring(request, ring, payload, fds):
        fd = fds[0] if fds else None
        if request == SET_VRING_NUM:
            ring.size = int.from_bytes(payload[4:8], "little")
        elif request == SET_VRING_BASE:
            ring.taken = int.from_bytes(payload[4:8], "little")
        elif request == SET_VRING_ADDR:
            names = "descriptors", "used", "available"
            ring.addresses = dict(zip(names, struct.unpack_from("<QQQ", payload, 8)))
        elif request == SET_VRING_KICK:
            ring.kick = fd
        elif request == SET_VRING_CALL:
            ring.call = fd
        elif request == GET_VRING_BASE:
            ring.kick = None
            return payload[:4] + ring.taken.to_bytes(4, "little")
        return None

    # Packets

    def send(self, link, operation, data=b"", flags=0):
        link.told = link.passed_on
        packet = PACKET.pack(link.cid, GUEST_CID, link.port, link.guest_port, len(data), STREAM,
                             operation, flags, WINDOW, link.passed_on % (1 << 32)), data
        if self.waiting or not self.put(*packet):
            self.waiting.append(packet)

    def put(self, header, data):
        """False when the guest has no buffer for it."""
        ring = self.rings[TO_GUEST]
        if not (buffer := ring.take()):
            return False
        head, parts = buffer
        rest = header + data
        for part in parts:
            n = min(len(part), len(rest))
            part[:n] = rest[:n]
            rest = rest[n:]
        assert not rest, "a packet that is too long"
        ring.give(head, len(header) + len(data))
        return True

    def take_packet(self, packet):
        (_, cid, guest_port, port, _, _, operation, flags, window, taken) = \
            PACKET.unpack_from(packet)
        link = self.links.get(port)
        if not link or (link.cid, link.guest_port) != (cid, guest_port):
            return
        # Counters of 32 bits: of what was sent, so much is not taken yet.
        link.credit = link.sent - (link.sent - taken) % (1 << 32) + window
        if operation == RESPONSE:
            link.is_open = True
            link.answered.set()
        elif operation == RW:
            link.pending += packet[PACKET.size :]
        elif operation == CREDIT_REQUEST:
            self.send(link, CREDIT_UPDATE)
        elif operation == SHUTDOWN and flags == BOTH_WAYS:
            self.send(link, RST)
            link.is_open, link.is_over = False, True
        elif operation == RST:
            link.is_open, link.is_over = False, True

    def serve_link(self, link):
        """What the test wrote, until it is all sent or the guest takes no more."""
        link.flush()
        if link.is_over and not link.pending:
            del self.links[link.port]
            link.close()
        while link.is_open and link.credit > link.sent and not self.waiting:
            try:
                data = link.sock.recv(min(DATA_MAX, link.credit - link.sent))
            except BlockingIOError:
                break
            except ConnectionResetError:
                data = b""
            if data:
                link.sent += len(data)
                self.send(link, RW, data)
            else:
                link.is_open = False
                self.send(link, SHUTDOWN, flags=BOTH_WAYS)
        if link.is_open and link.passed_on - link.told >= WINDOW // 4:
            self.send(link, CREDIT_UPDATE)
