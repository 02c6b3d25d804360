# SPDX-License-Identifier: Apache-2.0
"""A client of the holder, with the terminal of what runs in the VM, and the VM of a directory."""

import fcntl
import json
import os
import select
import signal
import socket
import subprocess
import sys
import termios
import time
import tty
from contextlib import ExitStack, suppress
from pathlib import Path

import common
from common import say
from fakeproxy.holder import (CODE, COMMAND, FAILURE, REQUEST, RESIZE, SIGNAL, STARTED, STDERR,
                              STDIN, STDOUT, STEP, TAKEN, End, ToolError, write_all)
from fakeproxy.host import Disconnected, Source
from fakeproxy.wire import go_json

SCRIPTS = Path(__file__).resolve().parents[1]
EXIT_BROKEN_PIPE = 128 + signal.SIGPIPE
CONSOLE_TAIL = 20


class Left(BaseException):
    """The user is done with it: a signal's number says how."""

    def __init__(self, number):
        super().__init__(number)
        self.code = 128 + number


def leave(number, _):
    raise Left(number)


class Progress:
    """What is being waited for: a line on stderr that is kept up to date, if that is a terminal."""

    def __init__(self):
        self.start = time.monotonic()
        self.live = sys.stderr.isatty()
        self.text = None

    def step(self, text):
        self.text = text
        self.tick()

    def tick(self):
        if self.text:
            self.write(f"[{time.monotonic() - self.start:5.1f} s] {self.text}")

    def done(self):
        if self.text:
            self.write("")
        self.text = None

    def write(self, line):
        if self.live:
            sys.stderr.write(f"\r{line}\x1b[K")
            sys.stderr.flush()


class Signals(Source):
    """Signals as bytes on a pipe, so that what they cause happens between two turns of the loop."""

    def __init__(self, handlers):
        self.handlers = handlers  # number -> function
        self.read_end, self.write_end = os.pipe()
        os.set_blocking(self.write_end, False)

    def __enter__(self):
        self.saved = {number: signal.signal(number, lambda *_: None) for number in self.handlers}
        signal.set_wakeup_fd(self.write_end)
        return self

    def __exit__(self, *exception):
        signal.set_wakeup_fd(-1)
        for number, handler in self.saved.items():
            signal.signal(number, handler)
        os.close(self.read_end)
        os.close(self.write_end)

    def fileno(self):
        return self.read_end

    def ready(self):
        for number in os.read(self.read_end, 64):
            if number in self.handlers:
                self.handlers[number](number)


class RawTerminal:
    """Hands every key to the container; the terminal is as it was before, whatever happens."""

    # A program that was cut off has left these on: another screen, no cursor, pastes and mouse.
    MODES_OFF = b"\x1b[?1047l\x1b[?25h\x1b[?2004l\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1006l\x1b[m"

    def __enter__(self):
        self.saved = termios.tcgetattr(0)
        self.set_raw()
        return self

    def set_raw(self):
        tty.setraw(0, termios.TCSADRAIN)  # not FLUSH: what was typed ahead is the container's

    def __exit__(self, kind, *_):
        signal.pthread_sigmask(signal.SIG_BLOCK, common.LEAVING)
        with suppress(termios.error, OSError):  # it was closed
            termios.tcsetattr(0, termios.TCSANOW, self.saved)
            if kind:
                os.write(1, self.MODES_OFF + b"\r\n\x1b[J")
        signal.pthread_sigmask(signal.SIG_UNBLOCK, common.LEAVING)


def terminal_size():
    """(rows, columns)"""
    return os.get_terminal_size(0)[::-1]


class Input(Source):
    """A file of ours on its way to the stdin of a process."""

    LEAVE = b"\x1d"
    AHEAD = 1 << 18  # bytes of it that the holder has at most

    def __init__(self, link, fd, terminal):
        self.link, self.fd, self.terminal = link, fd, terminal
        self.open = True
        self.ahead = 0

    def fileno(self):
        return self.fd

    def wants(self):
        return self.open and self.ahead < self.AHEAD

    def ready(self):
        data = os.read(self.fd, 65536)
        if self.terminal and data == self.LEAVE:
            raise Left(signal.SIGINT)
        if self.terminal and not data:
            raise Left(signal.SIGHUP)  # it is gone
        self.open = bool(data)
        self.ahead += len(data)
        self.link.say(STDIN, data)


class Link(End):
    """A connection to the holder."""

    def __init__(self, connection, progress):
        super().__init__(connection)
        self.progress = progress
        self.sources = []
        self.writers = {STDOUT: write_all(1), STDERR: write_all(2)}
        self.on_started = lambda: None
        self.input = None
        self.heard = False  # anything at all
        self.answer = None  # the frame that ends it

    def request(self, do, **fields):
        self.say(REQUEST, {"do": do} | fields)
        return json.loads(self.await_answer())

    def command(self, code, payload, data=b""):
        """One of the agent's commands, and its ACK's payload."""
        self.say(COMMAND, CODE.pack(code) + go_json(payload) + data)
        return self.await_answer()

    def await_answer(self):
        """The payload of the frame that ends it."""
        self.answer = None
        while not self.answer:
            self.turn()
        if self.answer.code == FAILURE:
            failure = json.loads(self.answer.payload)
            raise ToolError(failure["text"], failure["code"], failure["vm"])
        return self.answer.payload

    def turn(self):
        self.progress.tick()
        readable, writable, _ = select.select(
            [self, *(source for source in self.sources if source.wants())],
            [self] if self.can_send() else [], [], 0.25 if self.progress.text else None)
        try:
            if self in writable:
                self.flush()
            if self in readable:
                for frame in self.receive():
                    self.on_frame(frame)
        except Disconnected:
            raise ToolError("the VM is gone", vm=True) from None
        for source in self.sources:
            if source in readable:
                source.ready()

    def on_frame(self, frame):
        self.heard = True
        if frame.code in self.writers:
            self.progress.done()
            self.writers[frame.code](frame.payload)
        elif frame.code == STEP:
            self.progress.step(frame.payload.decode())
        elif frame.code == STARTED:
            self.progress.done()
            self.on_started()
        elif frame.code == TAKEN and self.input:
            self.input.ahead -= CODE.unpack(frame.payload)[0]
        else:
            self.answer = frame

    def attach(self, do, stdin=None, size=None, **fields):
        """A process of ours: its exit code, when it has ended. A size: it is on our terminal."""
        raw, started, killed = None, False, False

        def forward(number):
            """The first one is the process's, a second one ours."""
            nonlocal killed
            if killed or not started:
                raise Left(number)
            killed = True
            self.say(SIGNAL, {"signal": number})

        def resize(_):
            self.say(RESIZE, dict(zip(("row", "column"), terminal_size())))

        def resume(_):
            """The shell that had stopped us has made the terminal its own."""
            if raw:
                raw.set_raw()
                resize(_)

        def start():
            nonlocal raw, started
            started = True
            if size:
                print("in the container; Ctrl-] leaves", file=sys.stderr)
                raw = stack.enter_context(RawTerminal())
                resize(None)  # what it has become since it was described
            if self.input:
                self.sources.append(self.input)

        self.on_started = start
        self.input = None if stdin is None else Input(self, stdin, bool(size))
        self.say(REQUEST, {"do": do, "stdin": bool(self.input), "size": size, "detach": False}
                 | fields)
        # On a terminal SIGINT and SIGTERM are for us: the keys are what the process gets.
        handlers = {signal.SIGWINCH: resize, signal.SIGCONT: resume} if size else \
            {signal.SIGINT: forward, signal.SIGTERM: forward}
        with ExitStack() as stack:
            stack.callback(self.sources.clear)
            self.sources.append(stack.enter_context(Signals(handlers)))
            exited = json.loads(self.await_answer())
        if exited["vm_ends"]:
            self.progress.step("the VM powers off")
            self.await_end()
        return exited["code"]

    def await_end(self):
        """Until the holder has gone, or has closed this connection."""
        try:
            while True:
                self.turn()
        except ToolError:
            pass

    def hang_up(self):
        """The holder ends what we have started, and closes then."""
        self.unsent.clear()
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)
        self.writers = dict.fromkeys(self.writers, lambda data: None)
        self.await_end()


# --- The VM of a directory ------------------------------------------------------------------------


def default_directory():
    chosen = os.environ.get("HYPERSTART_VM")
    return Path(chosen or os.environ.get("XDG_RUNTIME_DIR", "/tmp"),
                "" if chosen else f"hyperstart-{os.getuid()}")


class Place:
    """The directory of one VM: its holder listens on proxy.sock, and holds a lock on `lock` for as
    long as it lives."""

    def __init__(self, directory):
        self.directory = directory.absolute()
        self.progress = Progress()
        self.holder = None  # if it is ours

    def check_owner(self):
        """In another user's directory any name may be a link, to whatever is to be overwritten."""
        if self.directory.exists() and self.directory.stat().st_uid != os.getuid():
            raise ToolError(f"{self.directory} is another user's")

    def connect(self):
        """A Link, or None if no VM runs here."""
        self.check_owner()
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.connect(str(self.directory / "proxy.sock"))
        except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError):
            connection.close()
            return None
        return Link(connection, self.progress)

    def open(self):
        link = self.connect()
        if not link:
            raise ToolError(f"no VM runs in {self.directory}: `fake-proxy run -d` starts one")
        return link

    def boot(self, share, machine):
        """A Link to the VM, which is started unless it runs."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.check_owner()
        with open(self.directory / "lock", "wb") as lock:
            while not (link := self.connect()):
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    self.progress.step("another VM here is about to start or to end")
                    time.sleep(0.1)
                    continue
                self.start_holder(lock, share, machine)
                self.progress.step("the guest boots")
                return self.connect()
        if machine:
            raise ToolError(f"the VM in {self.directory} runs already: "
                            f"--{', --'.join(machine)}: for its start")
        return link

    def start_holder(self, lock, share, machine):
        path = self.directory / "proxy.sock"
        path.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX) as listener, \
                open(self.directory / "holder.log", "wb") as log:
            listener.bind(str(path))
            listener.listen()
            described = {"directory": str(self.directory), "listener": listener.fileno(),
                         "share": share, "machine": machine}
            # Not to be left between its start and our knowing it; it unblocks them itself.
            signal.pthread_sigmask(signal.SIG_BLOCK, common.LEAVING)
            self.holder = subprocess.Popen(
                [SCRIPTS / "fake-proxy", "hold", json.dumps(described)], cwd="/",
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                pass_fds=[listener.fileno(), lock.fileno()])
        signal.pthread_sigmask(signal.SIG_UNBLOCK, common.LEAVING)

    def explain(self):
        """How the guest's console ends, and what to try."""
        explain(*(self.directory / name for name in ("console.log", "holder.log", "qemu.log")))


def explain(console, *others):
    def lines_of(path):
        return path.read_text(errors="replace").replace("\r", "").splitlines() \
            if path.exists() else []

    lines = lines_of(console)
    end = next((n + 5 for n, line in enumerate(lines) if "Kernel panic" in line), len(lines))
    lines = lines[max(0, end - CONSOLE_TAIL):end]
    for path in others:
        lines += lines_of(path)[-CONSOLE_TAIL:]
    say(f"the guest's console, all of it in {console}:")
    for line in lines or ["(nothing)"]:
        print(f"  | {line}", file=sys.stderr)
    say("to try: --append hyperstart.log=debug, --memory 512, --accel tcg")
