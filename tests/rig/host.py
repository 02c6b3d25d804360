# SPDX-License-Identifier: Apache-2.0
"""A strict host: it holds both connections, and every byte from the agent is checked.

Checked always, whatever the test is about:
  * READY is the first message, and comes once (over vsock: once to each host);
  * the NEXTs never add up to more than was written, and to exactly that in the end;
  * one reply per command, in order, and nothing but replies, NEXTs and due events on control;
  * no tty frame over 10,240 bytes, none on a seq that no living process has;
  * the end of a process is told once and in its own form (protocol.md 6 and 7): all data, one EOF on
    the stdio seq, then either the exit frame at once behind it or the event; nothing after.

Nothing here sleeps: `wait_for` moves bytes until a condition holds or the deadline passes.
"""

import collections
import hashlib
import json
import time
from contextlib import suppress

from fakeproxy import host
from rig import pace
from rig.wire import Code, TtyFrame, Violation, command, control_decoder, tty_decoder, tty_frames


def check(condition, message):
    if not condition:
        raise Violation(message)


class Digest:
    """Takes the place of a bytearray where only length and SHA-256 matter."""

    def __init__(self):
        self.length, self.hash = 0, hashlib.sha256()

    def extend(self, data):
        self.length += len(data)
        self.hash.update(data)

    def __len__(self):
        return self.length

    def hexdigest(self):
        return self.hash.hexdigest()


class Process(host.Process):
    """What the host knows of one process: its streams, and how it ended."""

    def __init__(self, host, container, spec, out, err):
        super().__init__(container, spec["stdio"], spec.get("stderr", 0), ident=spec.get("id"))
        self.host = host
        # Where the end is told by an event.
        self.key = (container, self.ident) if self.ident else None
        for stream, taker in (("out", out), ("err", err)):
            if taker is not None:
                setattr(self, stream, taker)
                setattr(self, f"on_std{stream}", taker.extend)
        self.start = None  # the Reply to the command that starts it

    def started(self):
        """Waits for the ACK."""
        self.host.reply_to(self.start)
        assert self.start.kind == Code.ACK, f"refused: {self.start.text}"
        return self

    def refused(self):
        """Waits for the ERROR; returns its text."""
        self.host.reply_to(self.start)
        assert self.start.kind == Code.ERROR, "it was started"
        check(not (self.out or self.err or self.eof), "a stream frame of a process that never ran")
        return self.start.text

    def receive(self, seq, data):
        check(data or seq == self.stdio, "an EOF on a stderr seq")
        check(not self.eof or seq == self.stdio, f"a frame on {seq} between EOF and exit frame")
        super().receive(seq, data)

    def write(self, data, frame=8204):
        self.host.tty.send(tty_frames(self.stdio, data, frame))

    def close_stdin(self):
        self.host.tty.send(TtyFrame(self.stdio).build())

    def wait(self, timeout=None):
        """Waits for the end; returns the exit code."""
        self.host.wait_for(lambda: self.ended, f"the end of the process on {self.stdio}", timeout)
        return self.code

    @property
    def code(self):
        return self.exit_code

    @property
    def ended(self):
        return self.has_exited()

    def wait_output(self, expected, timeout=None):
        """Waits until stdout holds these bytes."""
        self.host.wait_for(lambda: expected in self.out, f"{expected!r} in the output", timeout)


class Connection(host.Port):
    """A port: what is still to be written to it, and whether the host reads it now."""

    def __init__(self, sock, decoder):
        super().__init__(sock, decoder)
        self.sock = sock
        self.chunks = collections.deque()
        self.reading = True
        self.read_size = 1 << 18

    def send(self, data, step=None):
        """Queues bytes; with `step`, no write takes more than that many of them."""
        view = memoryview(bytes(data))
        step = step or self.WRITE_MAX
        self.chunks.extend(view[i : i + step] for i in range(0, len(view), step))

    def can_send(self):
        return bool(self.chunks)

    def flush(self):
        with suppress(BlockingIOError, BrokenPipeError, ConnectionResetError):  # read() tells
            while self.chunks:
                taken = self.sock.send(self.chunks[0])
                self.sent += taken
                if taken < len(self.chunks[0]):
                    self.chunks[0] = self.chunks[0][taken:]
                    return
                self.chunks.popleft()


class Log(host.Source):
    """The agent's log, where it is a pipe."""

    def __init__(self, guest):
        self.guest = guest

    def fileno(self):
        return self.guest.log_fd()

    def wants(self):
        return self.fileno() is not None

    def ready(self):
        self.guest.read_log()


class Host(host.Host):
    def __init__(self, guest, seconds):
        super().__init__()
        self.guest, self.seconds = guest, seconds  # it waits so long, on an idle machine
        self.sources.append(Log(guest))
        self.streams = collections.defaultdict(list)  # seq -> living processes, the latest last
        self.by_key = {}
        self.exit_due = None  # its EOF was the last tty frame: the exit frame is next
        self.on_tty_frame = None  # sees (seq, payload) before anything else does
        self.events = []
        self.next_seq = 1000
        self.closed_by_agent = False
        self.pod = False  # STARTPOD was acknowledged
        self.containers = {}  # by name, the first process
        self.operator = None

    @property
    def timeout(self):
        return pace.scaled(self.seconds)

    # Connections

    def connect(self):
        self.connect_control()
        self.connect_tty()
        return self

    def connect_control(self):
        self.control = Connection(self.guest.connect_control(), control_decoder())
        if self.guest.greets:
            self.ready = False

    def connect_tty(self):
        self.tty = Connection(self.guest.connect_tty(), tty_decoder())

    def disconnect_control(self):
        """Hangs up; what was not answered never will be."""
        self.control.sock.close()
        self.control = None
        self.replies.clear()

    def disconnect_tty(self):
        self.tty.sock.close()
        self.tty = None

    def disconnect(self):
        for connection in (self.control, self.tty):
            if connection:
                connection.sock.close()
        self.control = self.tty = None

    # Moving bytes

    def pump(self, timeout):
        """One turn: writes and reads what can be, waiting at most `timeout` seconds for it."""
        self.step(max(0, timeout))

    def takes(self, port):
        return port.reading

    def take_from(self, port, on_frame):
        try:
            super().take_from(port, on_frame)
        except host.Disconnected:
            self.closed_by_agent = True
            if port is self.control:
                self.control = None
            else:
                self.tty = None

    def wait_for(self, condition, what, timeout=None, closing=False):
        """Moves bytes until condition(). `closing`: the agent may hang up meanwhile."""
        timeout = self.timeout if timeout is None else pace.scaled(timeout)
        end = time.monotonic() + timeout
        while not condition():
            left = end - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"waited {timeout} s for {what}\n{self.guest.describe()}")
            if self.closed_by_agent and not closing:
                raise Violation(f"the agent hung up (waiting for {what})\n{self.guest.describe()}")
            self.pump(min(left, self.guest.tick or left, 1 if closing else left))

    def wait_seen(self, condition, what):
        """wait_for what no byte to the host tells: looks every now and then."""
        timeout = self.timeout
        end = time.monotonic() + timeout
        while not condition():
            if time.monotonic() > end:
                raise TimeoutError(f"waited {timeout} s for {what}\n{self.guest.describe()}")
            self.pump_for(0.05)

    def wait_log(self, line, count=1):
        """Waits until the agent has logged it that many times."""
        self.wait_for(lambda: self.guest.log.count(line) >= count, f"{line!r} in the log")

    def pump_for(self, seconds):
        """What a host does that has nothing to do for a while."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self.pump(left)

    # What the agent says

    def on_control(self, frame):
        if self.ready and frame.code == Code.PROCESSASYNCEVENT:
            self._event(json.loads(frame.payload))
            return
        check(frame.code != Code.NEXT or len(frame.payload) == 4,
              f"a NEXT of {len(frame.payload)} bytes")
        super().on_control(frame)

    def _answered(self, reply):
        if reply.kind == Code.ERROR:
            text = reply.text
            check(text and "\0" not in text and text == text.strip(), f"error text {text!r}")
            check(not text.endswith("."), f"a full stop ends {text!r}")
        process = getattr(reply, "process", None)
        if process and reply.kind == Code.ERROR:
            self._forget(process)
        elif process and process.key:
            self.by_key[process.key] = process  # though one that was refused had it before

    def _event(self, event):
        self.events.append(event)
        check(event.get("event") == "finished", f"event {event}")
        process = self.by_key.pop((event.get("container"), event.get("process")), None)
        check(process, f"an event of no living process: {event}")
        if self.guest.ordered and self.tty and self.tty.reading:
            # The EOF left before the event did, so it is in the socket by now.
            with suppress(host.Disconnected):
                while not process.eof and (data := self.tty.read()):
                    for frame in self.tty.decoder.feed(data):
                        self.on_tty(frame)
            check(process.eof, "the event came before the EOF")
        process.exit_code = event["status"]

    def on_tty(self, frame):
        seq, payload = frame.seq, frame.payload
        if self.on_tty_frame:
            self.on_tty_frame(seq, payload)
        process, self.exit_due = self.exit_due, None
        if not process:
            check(self.streams[seq], f"a frame of {len(payload)} bytes on {seq}: {payload[:80]!r}")
            process = self.streams[seq][-1]
        had_ended = process.eof
        process.receive(seq, payload)
        if process.eof and not had_ended:
            self._forget(process)
            if process.key is None:
                self.exit_due = process

    def _forget(self, process):
        """Its seqs are no longer its own."""
        for seq in {process.stdio, process.stderr} - {0}:
            self.streams[seq].remove(process)
        if not process.eof and self.by_key.get(process.key) is process:
            del self.by_key[process.key]

    # What the host says

    def send(self, code, payload=b"", step=None):
        """A command, not waited for."""
        (cmd,) = self.send_raw(command(code, payload), 1, step)
        cmd.code = code
        return cmd

    def send_raw(self, data, replies, step=None):
        """Bytes that are none of our well-formed commands, and how many replies they deserve."""
        cmds = [host.Reply(None) for _ in range(replies)]
        for cmd in cmds:
            cmd.on_there = self._answered
        self.replies.extend(cmds)
        self.control.send(data, step)
        return cmds

    def reply_to(self, cmd, timeout=None):
        if timeout is None and cmd.code == Code.DESTROYPOD:
            timeout = self.seconds + self.guest.sync_seconds
        self.wait_for(lambda: cmd.kind is not None, f"the reply to {cmd.code!r}", timeout)
        return cmd

    def ack(self, code, payload=b"", timeout=None):
        """Sends, waits for the ACK, returns its payload."""
        cmd = self.reply_to(self.send(code, payload), timeout)
        assert cmd.kind == Code.ACK, f"{code!r}: {cmd.text}"
        return cmd.payload

    def error(self, code, payload=b"", timeout=None):
        """Sends, waits for the ERROR, returns its text."""
        cmd = self.reply_to(self.send(code, payload), timeout)
        assert cmd.kind == Code.ERROR, f"{code!r} was acknowledged"
        return cmd.text

    def ping(self, timeout=None):
        self.ack(Code.PING, timeout=timeout)

    def wait_ready(self):
        self.wait_for(lambda: self.ready, "READY")

    def startpod(self, **fields):
        self.ack(Code.STARTPOD, {"hostname": "pod", "shareDir": "share", **fields})
        self.pod = True

    def newcontainer(self, name, args, image="box", container=None, **process):
        """Sends NEWCONTAINER; `container` are more fields of it, the rest goes to the process."""
        self.guest.share.image(image)
        spec = {"id": name, "image": image, "rootfs": "rootfs", **(container or {})}
        started = self._start(Code.NEWCONTAINER, name, spec, args, process)
        self.containers.setdefault(name, started)
        return started

    def execcmd(self, name, args, **process):
        """Sends EXECCMD into the container."""
        return self._start(Code.EXECCMD, name, {"container": name}, args, process)

    def _start(self, code, container, spec, args, fields):
        out, err = fields.pop("out", None), fields.pop("err", None)
        fields.setdefault("stdio", self.fresh_seq())
        fields.setdefault("stderr", 0 if fields.get("terminal") else self.fresh_seq())
        fields["args"] = args
        process = self.expect_process(container, fields, out, err)
        process.start = self.send(code, {**spec, "process": fields})
        process.start.process = process
        return process

    def expect_process(self, container, spec, out=None, err=None):
        """The process of that description, whose command is about to be sent."""
        process = Process(self, container, spec, out, err)
        for seq in {process.stdio, process.stderr} - {0}:
            self.streams[seq].append(process)
        if process.key:
            self.by_key.setdefault(process.key, process)  # an id in use stays the living one's
        return process

    def run(self, container, args, **process):
        """A process from start to end."""
        done = self.execcmd(container, args, **process).started()
        done.wait()
        return done

    def kill(self, container, signal=9, **fields):
        self.ack(Code.KILLCONTAINER, {"container": container, "signal": signal, **fields})

    def start_operator(self, args):
        """A container of the rig's own, which finish() leaves alone."""
        process = self.newcontainer("operator", args).started()
        del self.containers["operator"]
        self.operator = process
        return process

    def fresh_seq(self):
        self.next_seq += 1
        return self.next_seq

    def has_no_process(self):
        living = {process for processes in self.streams.values() for process in processes}
        return living <= {self.operator} and not self.by_key and not self.exit_due

    # The end of a test

    def settle(self):
        """In step: PING is answered, and the NEXTs add up to what was written."""
        self.ping()
        self.wait_for(lambda: self.control.taken == self.control.sent,
                      f"NEXTs that sum up to {self.control.sent}")
        check(not self.replies, f"{len(self.replies)} commands without a reply")

    def finish(self):
        """Ends what the test left running, and sees every end told."""
        if not self.control:
            self.connect_control()
        if not self.tty:
            self.connect_tty()
        self.tty.reading = self.control.reading = True
        self.wait_ready()
        self.settle()
        for name, process in self.containers.items():
            if process.start.kind == Code.ACK and not process.ended:
                self.send(Code.KILLCONTAINER, {"container": name, "signal": 9,
                                               "allProcesses": True})
        self.containers.clear()
        self.settle()
        self.wait_for(self.has_no_process, "the end of every process")
        self.settle()
        check(not self.tty.decoder.pending, "half a tty frame at rest")
