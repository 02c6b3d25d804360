# SPDX-License-Identifier: Apache-2.0
"""The holder of a VM. Each of the VM's two ports takes one connection, so each VM has a holder: a
process of the tool that `run` leaves behind, and that every further command talks to."""

import itertools
import json
import os
import signal
import struct
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from common import say
from fakeproxy.host import CommandError, Disconnected, HostTimeout, NamedHost, Port, Source
from fakeproxy.vm import Vm
from fakeproxy.wire import FRAME_MAX, Code, ControlFrame, ProtocolError, control_decoder

# A guest under TCG on a busy machine takes its time; the agent's own deadline is 60 s.
BOOT_SECONDS = 120
COMMAND_SECONDS = 75
DESTROY_SECONDS = 30

# Between a client and the holder, framed as control is. From the client: what it wants (JSON, or a
# command of the agent's as it is, behind its code), then what its process gets.
REQUEST, COMMAND, STDIN, RESIZE, SIGNAL = 1, 2, 3, 4, 5
# To the client: zero or more of the first line, then one of the second.
STEP, STARTED, STDOUT, STDERR, TAKEN = 10, 11, 12, 13, 14
RESULT, EXIT, FAILURE = 20, 21, 22

EXIT_TROUBLE, EXIT_NOT_EXECUTABLE, EXIT_NOT_FOUND = 125, 126, 127
CODE = struct.Struct(">I")


class ToolError(Exception):
    """What ends this program: its text is shown, its code is the exit code."""

    def __init__(self, text, code=EXIT_TROUBLE, vm=False):
        super().__init__(text)
        self.code = code
        self.vm = vm  # the guest's console may tell more


def exit_code_of(error):
    """docker's, of an ERROR's text (child_exec.c)."""
    _, found, reason = error.partition("exec '")
    if not found:
        return EXIT_TROUBLE
    missing = "not found in PATH", "No such file", "no such file", "is missing"
    return EXIT_NOT_FOUND if any(map(reason.__contains__, missing)) else EXIT_NOT_EXECUTABLE


def write_all(fd):
    def write(data):
        while data:
            data = data[os.write(fd, data):]
    return write


class End(Port):
    """One of the two of a connection between a client and the holder."""

    def __init__(self, connection):
        super().__init__(connection, control_decoder())

    def say(self, code, payload=b""):
        if not isinstance(payload, bytes):
            payload = json.dumps(payload).encode()
        self.unsent += ControlFrame(code, payload).build()


class Door(Source):
    """Where clients come in."""

    def __init__(self, listener, holder):
        self.listener, self.holder = listener, holder

    def fileno(self):
        return self.listener.fileno()

    def wants(self):
        return not self.holder.destroying

    def ready(self):
        self.holder.sources.append(Client(self.listener.accept()[0], self.holder))


class Client(End):
    """The holder's end: it asks one thing after another, or has one process."""

    def __init__(self, connection, holder):
        super().__init__(connection)
        self.holder = holder
        self.process = None
        self.stdin = bytearray()  # that the agent was not sent yet
        self.stdin_ends = False
        self.here = True

    def wants(self):
        return self.here

    def ready(self):
        if not self.here:
            return  # since a moment ago
        try:
            for frame in self.receive():
                self.on_frame(frame)
        except (CommandError, OSError) as error:
            self.fail(str(error))
            self.holder.end_if_unused()
        except UnicodeEncodeError:
            self.fail("not UTF-8, which is all that the agent understands")
            self.holder.end_if_unused()
        except (Disconnected, ProtocolError, ValueError, KeyError):
            self.leave()

    def can_send(self):
        return self.here and super().can_send()

    def flush(self):
        try:
            super().flush()
        except Disconnected:
            self.leave()

    def leave(self):
        """Its connection stays until its process has ended: it may wait for that."""
        self.here = False
        self.unsent.clear()  # or all others would wait until it has read that
        if self.process:
            self.holder.hang_up(self.process)
        else:
            self.close()

    def close(self):
        self.here = False
        self.connection.close()
        if self in self.holder.sources:
            self.holder.sources.remove(self)

    def on_frame(self, frame):
        if frame.code == REQUEST:
            request = json.loads(frame.payload)
            getattr(self.holder, "do_" + request["do"])(self, request)
        elif frame.code == COMMAND:
            code, = CODE.unpack_from(frame.payload)
            reply = self.holder.command(code, frame.payload[CODE.size:])
            reply.on_there = lambda reply: (self.fail(reply.error) if reply.error is not None
                                            else self.say(RESULT, reply.payload))
        elif frame.code == STDIN:
            self.stdin += frame.payload
            self.stdin_ends |= not frame.payload
        elif self.process and frame.code in (RESIZE, SIGNAL):
            code = Code.WINSIZE if frame.code == RESIZE else Code.SIGNALPROCESS
            self.holder.command(code, self.process.names | json.loads(frame.payload))

    def say(self, code, payload=b""):
        if self.here:
            super().say(code, payload)

    def fail(self, text, vm=False):
        self.say(FAILURE, {"text": text, "code": exit_code_of(text), "vm": vm})

    def takers(self):
        return {"on_stdout": lambda data: self.say(STDOUT, data),
                "on_stderr": lambda data: self.say(STDERR, data)}

    def started(self, process):
        if process.has_exited():
            return
        self.process = process
        self.say(STARTED)
        if not self.here:
            self.holder.hang_up(process)

    def ended(self, code, vm_ends=False):
        """Of its process."""
        self.process = None
        self.stdin.clear()
        self.say(EXIT, {"code": code, "vm_ends": vm_ends})
        if not self.here and not vm_ends:
            self.close()


@dataclass
class Container:
    name: str
    command: list
    client: Client  # None: detached
    remove: bool  # once it has exited; else it is listed until its name is used again
    since: float
    exit_code: int = None


class Holder(NamedHost):
    """Owns the two ports of one VM, which take one connection each, and shares them, as cc-proxy
    does. The VM ends with its last container, until one was detached; then it stays."""

    TTY_FRAME_MAX = FRAME_MAX
    STDIN_PIECE = 1 << 16
    AHEAD = 1 << 18  # bytes of stdin that wait for the agent at most
    # There is no credit for a single process on the tty port: one client that does not read keeps
    # all of them waiting, but only when so much is on its way to it.
    BEHIND = 1 << 24

    def __init__(self, control, tty_port, directory, share):
        super().__init__(control, tty_port)
        self.directory, self.share = directory, share
        self.stays = False
        self.containers = {}  # by name
        self.destroying = self.destroyed = False

    def hold(self, listener):
        """From READY to the end of DESTROYPOD."""
        self.begin(BOOT_SECONDS)
        self.seconds = COMMAND_SECONDS
        self.start_pod("hyperstart")
        self.listener = listener
        self.sources.append(Door(listener, self))
        self.run_until(lambda: self.destroyed, None, "the end of the pod")

    def clients(self):
        return [source for source in self.sources if isinstance(source, Client)]

    # --- The loop ---

    def step(self, timeout):
        for client in self.clients():
            self.move_stdin(client)
        super().step(timeout)

    def move_stdin(self, client):
        process = client.process
        if not process or len(self.tty.unsent) >= self.AHEAD:
            return
        piece = bytes(client.stdin[:self.STDIN_PIECE])
        del client.stdin[:len(piece)]
        if piece:
            self.write_stdin(process, piece)
            client.say(TAKEN, CODE.pack(len(piece)))
        elif client.stdin_ends:
            self.close_stdin(process)
            client.stdin_ends = False

    def takes(self, port):
        return port is self.control or self.takes_output()

    def takes_output(self):
        return all(len(client.unsent) < self.BEHIND for client in self.clients())

    # --- What clients ask for ---

    def do_run(self, client, request):
        name = request["name"] or next(
            name for name in map("c{}".format, itertools.count(1)) if name not in self.containers)
        rootfs = Path(request["rootfs"] or self.share)
        if not rootfs.is_relative_to(self.share):
            raise CommandError(f"{rootfs} is not below {self.share}, which is what this VM has; "
                               "another VM has another --vm")
        if name in self.containers and self.containers[name].exit_code is None:
            raise CommandError(f"there is a container '{name}' already")
        detached = request["detach"]
        takers = self.log_takers(name) if detached else client.takers()
        container = Container(name, request["args"], None if detached else client,
                              request["remove"] or not detached, time.time())
        client.say(STEP, b"NEWCONTAINER")
        image = str(rootfs.relative_to(self.share))
        process = self.launch(
            client, request, Code.NEWCONTAINER, name, lambda process: self.describe_container(
                name, image, "/", process), takers, lambda: self.discard(name))
        process.on_exit = lambda process: self.on_container_exit(container, process)
        self.containers[name] = container
        self.stays |= detached

    def do_exec(self, client, request):
        name, takers = request["container"], client.takers()
        if request["detach"]:
            takers = dict.fromkeys(takers, lambda data: None)
        process = self.launch(client, request, Code.EXECCMD, name, lambda process: {
            "container": name, "process": process}, takers, lambda: None)
        if not request["detach"]:
            process.on_exit = lambda process: client.ended(process.exit_code)

    def do_ps(self, client, _):
        client.say(RESULT, [{"name": container.name, "command": container.command,
                             "state": "running" if container.exit_code is None else "exited",
                             "exit_code": container.exit_code,
                             "seconds": int(time.time() - container.since)}
                            for container in self.containers.values()])

    def do_stop(self, client, _):
        client.say(STEP, b"DESTROYPOD")
        self.destroy_soon()

    # --- What comes of it ---

    def launch(self, client, request, code, name, describe, takers, refused):
        """Orders a process for the client, as the request has it."""
        extra = {key: request[key] for key in ("envs", "workdir", "user") if request.get(key)}

        def answered(reply):
            if reply.error is not None:
                self.forget(process)
                client.fail(reply.error)
                refused()
            elif request["detach"]:
                client.say(RESULT, {"name": name, "vm": str(self.directory)})
            else:
                client.started(process)
            if reply.error is None and not request["stdin"]:
                self.close_stdin(process)

        process, reply = self.order(code, name, request["args"], lambda process: describe(
            process | extra), size=request["size"], **takers)
        reply.on_there = answered
        return process

    def log_takers(self, name):
        log = open(self.directory / f"{name}.out", "wb", buffering=0)

        def write(data):
            with suppress(OSError):  # the disk is full: no reason for all containers to end
                write_all(log.fileno())(data)
        return {"on_stdout": write, "on_stderr": write}

    def on_container_exit(self, container, process):
        """The agent has forgotten it; who detached it may still ask what came of it."""
        container.exit_code = process.exit_code
        if container.remove:
            self.discard(container.name)
        if container.client:
            container.client.ended(container.exit_code, self.destroying)

    def discard(self, name):
        del self.containers[name]
        self.end_if_unused()

    def end_if_unused(self):
        if not self.containers and not self.stays:
            self.destroy_soon()

    def hang_up(self, process):
        """Its client went away: a container ends, another process has lost its terminal."""
        if process.ident == "init":
            self.command(Code.KILLCONTAINER, {"container": process.container, "allProcesses": True,
                                              "signal": int(signal.SIGKILL)})
        else:
            self.command(Code.SIGNALPROCESS, process.names | {"signal": int(signal.SIGHUP)})

    def destroy_soon(self):
        if not self.destroying:
            self.destroying = True
            self.listener.close()  # who comes now waits, and starts a VM of its own
            self.command(Code.DESTROYPOD).on_there = lambda reply: setattr(self, "destroyed", True)


def hold(directory, listener, share, machine):
    """The holder's program. The listener is connected to before the guest is up: clients wait."""
    vm = holder = None
    try:
        vm = Vm(directory=directory, share=share, **machine)
        vm.start()
        holder = Holder(vm.connect("control"), vm.connect("tty"), directory, share)
        holder.hold(listener)
        farewell(holder.clients())
        holder.control.connection.close()  # the guest's grace ends with it
        vm.await_power_off(DESTROY_SECONDS)
    except (HostTimeout, ProtocolError, Disconnected, CommandError, OSError) as error:
        broken = vm.breakdown() if vm else str(error)
        say(broken or error)
        clients = holder.clients() if holder else []
        with suppress(OSError):
            listener.setblocking(False)
            while True:
                clients.append(Client(listener.accept()[0], holder))
        for client in clients:
            client.fail(broken or str(error), vm=not broken)
        farewell(clients)
        return EXIT_TROUBLE
    finally:
        if vm:
            vm.kill()
    return 0


def farewell(clients):
    """Sends what is left for them, to those who take it."""
    for client in clients:
        client.connection.settimeout(5)
        with suppress(OSError):
            client.connection.sendall(client.unsent)
