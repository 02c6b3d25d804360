# SPDX-License-Identifier: Apache-2.0
"""A host's side of a session with an agent: Process, Port, Host."""

import collections
import itertools
import json
import select
import time
from contextlib import suppress

from fakeproxy.wire import (TTY_FRAME_MAX, Code, ControlFrame, ProtocolError, TtyFrame,
                            control_decoder, go_json, tty_decoder)


class CommandError(Exception):
    """The agent answered ERROR."""


class HostTimeout(TimeoutError):
    pass


class Disconnected(Exception):
    pass


class Reply:
    """What a command will be answered: its kind is ACK or ERROR then. Who does not await it has it
    handed to on_there."""

    def __init__(self, code):
        self.code = code
        self.on_there = lambda reply: None
        self.kind = None
        self.payload = b""

    @property
    def text(self):
        return self.payload.decode()

    @property
    def error(self):
        return self.text if self.kind == Code.ERROR else None

    def is_there(self):
        return self.kind is not None

    def result(self):
        if self.error is not None:
            raise CommandError(self.error)
        return self.payload


class Process:
    """What came from one process, and its end as it is told where it has no id (protocol.md, 6).

    An empty frame on either seq is the end of its output, and the next frame of one byte its exit
    code: the shims look no closer.
    """

    def __init__(self, container, stdio, stderr, *, ident=None, terminal=False,
                 on_stdout=None, on_stderr=None):
        self.container, self.ident = container, ident
        self.stdio, self.stderr, self.terminal = stdio, stderr, terminal
        self.out, self.err = bytearray(), bytearray()
        self.on_stdout = on_stdout or self.out.extend
        self.on_stderr = on_stderr or self.err.extend
        self.on_exit = lambda process: None
        self.eof = False
        self.exit_code = None

    def receive(self, seq, data):
        if not self.eof and not data:
            self.eof = True
        elif not self.eof:
            (self.on_stdout if seq == self.stdio else self.on_stderr)(data)
        elif len(data) == 1:
            self.exit_code = data[0]
        else:
            raise ProtocolError(f"{len(data)} bytes on seq {seq} behind the end of the output")

    def has_exited(self):
        return self.eof and self.exit_code is not None


class NamedProcess(Process):
    """One with an id (protocol.md, 7): an empty frame on the stdio seq, and an event."""

    @property
    def names(self):
        return {"container": self.container, "process": self.ident}

    def receive(self, seq, data):
        if not data and seq == self.stderr:
            raise ProtocolError(f"runv crashes: an empty frame on the stderr seq {seq}")
        if self.eof:
            raise ProtocolError(f"{len(data)} bytes on seq {seq} behind its end")
        super().receive(seq, data)


class Port:
    """One connection to the agent: what could not be sent yet, and a decoder for what comes.

    With a window no more than that many bytes are on their way: the next ones leave when all of
    those were taken.
    """

    WRITE_MAX = 1 << 16
    read_size = 1 << 16

    def __init__(self, connection, decoder, window=None):
        connection.setblocking(False)
        self.connection = connection
        self.decoder = decoder
        self.window = window
        self.unsent = bytearray()
        self.sent = 0
        self.taken = 0  # the sum of the NEXTs

    def fileno(self):
        return self.connection.fileno()

    def can_send(self):
        return bool(self.unsent) and (self.window is None or self.sent == self.taken)

    def flush(self):
        try:
            count = self.connection.send(self.unsent[:self.window or self.WRITE_MAX])
        except BlockingIOError:
            return
        except (BrokenPipeError, ConnectionResetError) as error:
            raise Disconnected(str(error)) from None
        self.sent += count
        del self.unsent[:count]

    def take(self, count):
        self.taken += count
        if self.taken > self.sent:
            raise ProtocolError(f"NEXTs sum to {self.taken} of {self.sent} bytes sent")

    def read(self):
        """The bytes that are there now."""
        try:
            data = self.connection.recv(self.read_size)
        except BlockingIOError:
            return b""
        except ConnectionResetError:
            data = b""
        if not data:
            raise Disconnected("the guest closed its port")
        return data

    def receive(self):
        """The frames that are there now."""
        return self.decoder.feed(self.read())


class Source:
    """What a loop looks after beside its ports."""

    def wants(self):
        """Is it to be read?"""
        return True

    def can_send(self):
        return False


class Host:
    """Drives an agent over its two ports, in one select loop that runs while something is awaited.

    Replies are matched to commands by their order alone. This one is nobody in particular; what the
    real hosts do in their own way is a value or a method of their classes in hosts.py.
    """

    SHARE = "share"  # the 9p tag
    NOTHING = b""  # the payload of a command without arguments
    WINDOW = None  # bytes on their way to control at most
    TTY_FRAME_MAX = TTY_FRAME_MAX  # what it takes
    STDIN_PIECE = 8192
    STDIN_ENDS_FIRST = False  # a stdin that nobody has is closed ahead of the command
    TERMINAL_HAS_STDERR = False
    SIZE_IS_DESCRIBED = True  # the terminal's; else a WINSIZE follows
    REMOVES_CONTAINERS = True
    PING_SECONDS = 10
    DESTROY_SECONDS = 30

    def __init__(self, control=None, tty_port=None):
        self.ready = False
        self.seconds = 10  # for a reply
        self.tick = None  # called now and then while something is awaited
        self.processes = {}  # by seq
        self.sources = []  # what else there is: objects with the methods of Source
        self.seqs = itertools.count(1)
        self.control = self.tty = None
        self.replies = collections.deque()  # owed, in order
        if control:
            self.connect(control, tty_port)

    def connect(self, control, tty_port):
        """Also after a disconnect: nothing is owed any more, and READY does not come twice."""
        self.control = Port(control, control_decoder(), self.WINDOW)
        self.tty = Port(tty_port, tty_decoder(self.TTY_FRAME_MAX))
        self.replies.clear()

    # --- Commands ---

    def command(self, code, payload=None):
        """Queues a command; its Reply fills in while the loop runs. A payload may be an object."""
        if payload is None:
            payload = self.NOTHING
        elif not isinstance(payload, bytes):
            payload = go_json(payload)
        reply = Reply(code)
        self.replies.append(reply)
        self.control.unsent += ControlFrame(code, payload).build()
        return reply

    def call(self, code, payload=None, seconds=None):
        """A command and its answer: the ACK's payload, or CommandError."""
        return self.await_reply(self.command(code, payload), seconds)

    def await_reply(self, reply, seconds=None):
        self.run_until(reply.is_there, seconds or self.seconds, f"the reply to {reply.code}")
        return reply.result()

    # --- A session ---

    def begin(self, seconds):
        self.run_until(lambda: self.ready, seconds, "READY")

    def describe_pod(self, hostname):
        return {"hostname": hostname, "shareDir": self.SHARE}

    def describe_container(self, name, image, rootfs, process):
        return {"id": name, "image": image, "rootfs": rootfs, "process": process}

    def describe_process(self, process, args, size):
        described = {"terminal": process.terminal, "stdio": process.stdio, "stderr": process.stderr,
                     "args": args, "envs": [], "workdir": "/"}
        if size and self.SIZE_IS_DESCRIBED:
            described |= dict(zip(("rows", "columns"), size))
        return described

    def start_pod(self, hostname):
        self.call(Code.STARTPOD, self.describe_pod(hostname))

    def new_container(self, name, args, image, rootfs, **options):
        return self.start(Code.NEWCONTAINER, name, args, lambda process: self.describe_container(
            name, image, rootfs, process), **options)

    def exec(self, container, args, **options):
        return self.start(Code.EXECCMD, container, args, lambda process: {
            "container": container, "process": process}, **options)

    def start(self, code, container, args, describe, size=None, stdin=True, **options):
        """The process that the command started, or CommandError; see order()."""
        process, reply = self.order(code, container, args, describe, size, stdin, **options)
        try:
            self.await_reply(reply)
        except CommandError:
            self.forget(process)
            if process.out or process.err or process.eof:
                raise ProtocolError("stream frames of a process that was refused") from None
            raise
        if not stdin and not self.STDIN_ENDS_FIRST:
            self.close_stdin(process)
        if size and not self.SIZE_IS_DESCRIBED:
            self.resize(process, *size)
        return process

    def order(self, code, container, args, describe, size=None, stdin=True, client=True, **takers):
        """The process to be, and the Reply that tells if it is. Options: size of the terminal if it
        is to have one, no stdin, no client at all, takers of its output."""
        process = self.new_process(container, code, bool(size), client, takers)
        for seq in {process.stdio, process.stderr} - {0}:
            self.processes[seq] = process
        if not stdin and self.STDIN_ENDS_FIRST:
            self.close_stdin(process)
        return process, self.command(code, describe(self.describe_process(process, args, size)))

    def new_process(self, container, code, terminal, client, takers):
        stdio = next(self.seqs)
        stderr = next(self.seqs) if not terminal or self.TERMINAL_HAS_STDERR else 0
        return Process(container, stdio, stderr, terminal=terminal, **takers)

    def forget(self, process):
        """Its seqs are nobody's: what still came on them would be a surprise."""
        for seq in {process.stdio, process.stderr} - {0}:
            del self.processes[seq]

    def await_exit(self, process):
        self.run_until(process.has_exited, self.seconds, "the exit of a process")
        return process.exit_code

    def resize(self, process, rows, columns):
        self.call(Code.WINSIZE, {"column": columns, "row": rows, "seq": process.stdio})

    def signal(self, process, number, everyone=False):
        """To the first process of a container, or to everyone in it."""
        self.call(Code.KILLCONTAINER, {"container": process.container, "signal": number,
                                       "allProcesses": everyone})

    def is_alive(self, process):
        try:
            self.signal(process, 0)
        except CommandError:
            return False
        return True

    def list_processes(self, container):
        """As far as a host has no command for it, `ps` in the container tells."""
        ps = self.exec(container, ["ps"], stdin=False)
        self.await_exit(ps)
        return ps.out.decode()

    def remove(self, process):
        """What is to do for a container that has exited before its name is free."""
        if self.REMOVES_CONTAINERS:
            self.call(Code.REMOVECONTAINER, {"container": process.container})

    def ping(self):
        self.call(Code.PING, seconds=self.PING_SECONDS)

    def settle(self):
        """In step, and every byte is accounted for."""
        self.ping()
        self.run_until(lambda: self.control.taken == self.control.sent, self.seconds,
                       f"NEXTs that sum to {self.control.sent}")

    def destroy(self):
        self.call(Code.DESTROYPOD, seconds=self.DESTROY_SECONDS)

    def await_power_off(self):
        with suppress(Disconnected):
            self.run_until(lambda: False, self.DESTROY_SECONDS, "power-off")

    # --- Streams ---

    def write_stdin(self, process, data):
        for at in range(0, len(data), self.STDIN_PIECE):
            self.tty.unsent += TtyFrame(process.stdio, data[at:at + self.STDIN_PIECE]).build()

    def close_stdin(self, process):
        self.tty.unsent += TtyFrame(process.stdio).build()

    def await_output(self, process, text):
        self.run_until(lambda: text in process.out, self.seconds, f"{text!r} on stdout")

    # --- The loop ---

    def run_until(self, condition, timeout, what):
        """Moves bytes until condition() holds."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while not condition():
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                raise HostTimeout(f"{what}: nothing came for {timeout} s")
            if self.tick:
                self.tick()
                left = 0.25 if left is None else min(left, 0.25)
            self.step(left)

    def step(self, timeout):
        ports = [port for port in (self.control, self.tty) if port]
        sources = [source for source in self.sources if source.wants()]
        reading = [port for port in ports if self.takes(port)] + sources
        sending = [port for port in (*ports, *self.sources) if port.can_send()]
        readable, writable, _ = select.select(reading, sending, [], timeout)
        for port in writable:
            port.flush()
        # Control before tty: what the agent wrote to tty before an event is then seen with it.
        for port, on_frame in (self.control, self.on_control), (self.tty, self.on_tty):
            if port in readable:
                self.take_from(port, on_frame)
        for source in sources:
            if source in readable:
                source.ready()

    def takes(self, port):
        """Is it to be read?"""
        return True

    def take_from(self, port, on_frame):
        for frame in port.receive():
            on_frame(frame)

    def on_control(self, frame):
        if not self.ready:
            if frame != ControlFrame(Code.READY):
                raise ProtocolError(f"{frame} before READY")
            self.ready = True
        elif frame.code == Code.NEXT:
            self.control.take(int.from_bytes(frame.payload, "big"))
        elif frame.code in (Code.ACK, Code.ERROR) and self.replies:
            reply = self.replies.popleft()
            reply.kind, reply.payload = Code(frame.code), frame.payload
            reply.on_there(reply)
        else:
            raise ProtocolError(f"unexpected {frame}")

    def on_tty(self, frame):
        process = self.processes.get(frame.seq)
        if process is None:
            raise ProtocolError(f"a frame on seq {frame.seq}, which is nobody's")
        process.receive(frame.seq, frame.payload)
        self.look_at(process)

    def look_at(self, process):
        """Has it ended by now?"""
        if process.has_exited():
            self.forget(process)
            process.on_exit(process)


class NamedHost(Host):
    """One that gives its processes ids (protocol.md, 7)."""

    def __init__(self, control, tty_port):
        self.named = {}  # by (container, process)
        super().__init__(control, tty_port)

    def describe_process(self, process, args, size):
        return {"id": process.ident} | super().describe_process(process, args, size)

    def new_process(self, container, code, terminal, client, takers):
        stdio = next(self.seqs)
        ident = "init" if code == Code.NEWCONTAINER else f"exec-{stdio}"
        process = NamedProcess(container, stdio, 0 if terminal else next(self.seqs), ident=ident,
                               terminal=terminal, **takers)
        self.named[container, ident] = process
        return process

    def forget(self, process):
        super().forget(process)
        del self.named[process.container, process.ident]

    def on_control(self, frame):
        if not self.ready or frame.code != Code.PROCESSASYNCEVENT:
            super().on_control(frame)
            return
        event = json.loads(frame.payload)
        process = self.named.get((event["container"], event["process"]))
        if not process or event["event"] != "finished" or process.exit_code is not None:
            raise ProtocolError(f"unexpected {frame}")
        # QEMU serves the two ports as it likes: the end of the output may still be on its way.
        process.exit_code = event["status"]
        self.look_at(process)

    def resize(self, process, rows, columns):
        self.call(Code.WINSIZE, process.names | {"row": rows, "column": columns})

    def signal(self, process, number, everyone=False):
        self.call(Code.SIGNALPROCESS, process.names | {"signal": number})
