# SPDX-License-Identifier: Apache-2.0
"""fake-proxy's holder of a VM, with a guest of ours: no client is the end of all others."""

import json
import socket

import pytest

from fakeproxy.holder import FAILURE, REQUEST, Client, Holder
from fakeproxy.wire import Code, ControlFrame, TtyFrame, control_decoder, go_json


class Guest:
    """The agent's end of the two ports: it takes all commands."""

    def __init__(self, directory):
        self.control, control = socket.socketpair()
        self.tty, tty = socket.socketpair()
        self.decoder = control_decoder()
        self.commands = []
        share = directory / "share"
        share.mkdir()
        self.holder = Holder(control, tty, directory, share)
        self.holder.ready = True
        self.holder.listener = socket.socket()

    def turn(self):
        """All that can move moves."""
        for _ in range(100):
            self.holder.step(0)
            self.control.setblocking(False)
            try:
                data = self.control.recv(1 << 20)
            except BlockingIOError:
                continue
            for frame in self.decoder.feed(data):
                self.commands.append(frame.code)
                self.control.sendall(ControlFrame(Code.ACK).build())

    def write(self, process, data):
        """As output of the process, while the holder takes it."""
        self.tty.setblocking(False)
        frame = TtyFrame(process.stdio, data).build()
        while frame:
            try:
                frame = frame[self.tty.send(frame):]
            except BlockingIOError:
                assert self.holder.takes_output()
                self.holder.step(0)

    def end(self, process, code=0):
        self.write(process, b"")
        event = {"container": process.container, "process": process.ident, "event": "finished",
                 "status": code}
        self.control.sendall(ControlFrame(Code.PROCESSASYNCEVENT, go_json(event)).build())
        self.turn()


class User:
    """A client's end of its connection to the holder."""

    def __init__(self, guest):
        self.guest = guest
        self.connection, theirs = socket.socketpair()
        self.client = Client(theirs, guest.holder)
        guest.holder.sources.append(self.client)

    def run(self, **fields):
        request = {"do": "run", "name": "box", "rootfs": None, "detach": False, "remove": False,
                   "args": ["sh"], "envs": [], "workdir": None, "user": None, "size": None,
                   "stdin": False} | fields
        self.connection.sendall(ControlFrame(REQUEST, json.dumps(request).encode()).build())
        self.guest.turn()

    def answers(self):
        self.connection.setblocking(False)
        return {frame.code: frame.payload
                for frame in control_decoder().feed(self.connection.recv(1 << 20))}


@pytest.fixture
def guest(tmp_path):
    return Guest(tmp_path)


def test_a_client_that_went_with_much_unread_holds_up_nobody(guest):
    user = User(guest)
    user.run()
    process = user.client.process
    while guest.holder.takes_output():
        guest.write(process, bytes(1 << 20))
        guest.turn()
    user.connection.close()
    guest.turn()
    assert guest.holder.takes_output()
    guest.end(process, 137)
    assert not guest.holder.containers


@pytest.mark.parametrize("fields, complaint", [
    ({"args": ["echo", "\udcff"]}, "not UTF-8"),
    ({"rootfs": "/elsewhere"}, "/elsewhere is not below"),
    ({"detach": True, "name": "n" * 300}, "File name too long"),
])
def test_a_run_that_cannot_be_is_told_and_leaves_no_vm_behind(guest, fields, complaint):
    user = User(guest)
    user.run(**fields)
    failure = json.loads(user.answers()[FAILURE])
    assert complaint in failure["text"]
    assert failure["code"] == 125
    assert not guest.holder.containers
    assert guest.commands[-1] == Code.DESTROYPOD


def test_a_run_that_cannot_be_leaves_the_others_alone(guest):
    users = [User(guest) for _ in range(3)]
    users[0].run()
    users[1].run()  # that name again
    users[2].run(name="other", args=["\udcff"])
    assert guest.commands == [Code.NEWCONTAINER]
    assert list(guest.holder.containers) == ["box"]


def test_a_full_disk_costs_output_and_not_the_vm(guest):
    (guest.holder.directory / "box.out").symlink_to("/dev/full")
    user = User(guest)
    user.run(detach=True)
    process = guest.holder.named["box", "init"]
    guest.write(process, b"lost")
    guest.turn()
    guest.end(process, 3)
    assert guest.holder.containers["box"].exit_code == 3
