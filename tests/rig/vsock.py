# SPDX-License-Identifier: Apache-2.0
"""A virtio-vsock device whose wire leads nowhere, for guests that are to find one: as much of
vhost-user as QEMU needs to make it."""

import socket
import struct
import threading

HEADER = struct.Struct("<III")  # request, flags, size of the payload
GET_FEATURES, GET_VRING_BASE, GET_PROTOCOL_FEATURES, GET_CONFIG = 1, 11, 15, 24
REPLY = 1 | 1 << 2  # version 1
VIRTIO_F_VERSION_1, F_PROTOCOL_FEATURES = 1 << 32, 1 << 30
PROTOCOL_F_CONFIG = 1 << 9


class Device:
    """Serves one QEMU in a thread."""

    def __init__(self, path, cid=3):
        self.path, self.cid = path, cid
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        self.listener.listen(1)
        threading.Thread(target=self.serve, daemon=True).start()

    def arguments(self):
        return ["-chardev", f"socket,id=vsock,path={self.path}",
                "-device", "vhost-user-vsock-pci,chardev=vsock"]

    def serve(self):
        connection, _ = self.listener.accept()
        self.listener.close()
        with connection, connection.makefile("rb") as stream:
            while header := stream.read(HEADER.size):
                request, _, size = HEADER.unpack(header)
                if (reply := self.answer(request, stream.read(size))) is not None:
                    connection.sendall(HEADER.pack(request, REPLY, len(reply)) + reply)

    def answer(self, request, payload):
        if request == GET_FEATURES:
            return struct.pack("<Q", VIRTIO_F_VERSION_1 | F_PROTOCOL_FEATURES)
        if request == GET_PROTOCOL_FEATURES:
            return struct.pack("<Q", PROTOCOL_F_CONFIG)
        if request == GET_CONFIG:
            return payload[:12] + struct.pack("<Q", self.cid)
        return payload if request == GET_VRING_BASE else None
