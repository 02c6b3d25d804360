# SPDX-License-Identifier: Apache-2.0
"""What a process that runs tests/prog/puppet.c must have said, and how it may end."""

from rig.host import check

PERIOD = 65521
TABLE = bytes((n * 2654435761 & 0xFFFFFFFF) >> 16 & 0xFF for n in range(PERIOD))
NAP, CLOSED = b"s", b"c"


def stretch(at, length):
    """Bytes [at, at + length) of what every puppet says and is told."""
    at %= PERIOD
    return (TABLE * ((at + length) // PERIOD + 1))[at : at + length]


class Stream:
    """Takes the place of a bytearray: every byte must be the one whose turn it is."""

    def __init__(self, name, at):
        self.name, self.at, self.length = name, at, 0

    def extend(self, data):
        check(data == stretch(self.at + self.length, len(data)),
              f"{self.name}: behind {self.length} bytes came {len(data)} others: {data[:60]!r}")
        self.length += len(data)

    def __len__(self):
        return self.length


class Puppet:
    """One process as the model knows it, from what was sent alone.

    `due_out` and `due_err` are what it will have said when it has obeyed all that it was told and
    is awake for. `codes` is empty until its end is certain; `cut` says that the end may come before
    it has obeyed all, or said all.
    """

    def __init__(self, container, ident, seed, terminal, has_stderr):
        self.container, self.ident, self.seed = container, ident, seed
        self.terminal, self.has_stderr = terminal, has_stderr
        self.out = Stream(f"stdout of {self.name}", seed)
        self.err = Stream(f"stderr of {self.name}", seed + (1 << 20))
        self.data_at = seed + (2 << 20)
        self.due_out, self.due_err = 1, 0
        self.nap = None  # it waits for SIGUSR1: (line, number) of what made it …
        self.deferred = []  # … and what it will obey then
        self.backlog = 0  # bytes it was sent meanwhile
        self.codes = set()
        self.cut = False
        self.size = None  # of its terminal: (rows, columns)
        self.resizing = None  # the command on its way that will make it so
        self.process = None  # the rig's Process

    @property
    def ending(self):
        return bool(self.codes)

    @property
    def name(self):
        return f"{self.container[:9]}/{self.ident or self.seed}"

    def line(self, what, number=0):
        """The bytes that tell it so; from now on it is expected to have obeyed."""
        text = b"%s %d\n" % (what, number)
        if what == b"d":
            text += stretch(self.data_at, number)
            self.data_at += number
        if self.nap:
            self.backlog += len(text)
        self._hear(what, number)
        return text

    def end_of_input(self):
        if not self.terminal:
            self._hear(b"eof", 0)

    def _hear(self, what, number):
        if self.nap:
            self.deferred.append((what, number))
        elif not self.ending:
            self._obey(what, number)

    def _obey(self, what, number):
        if what == b"x":
            self.codes = {number}
        elif what == b"k":
            self.codes = {128 + number}
        elif what == b"eof":
            self.codes = {64}
        elif what == b"w":
            self.due_out += self.size[0] * 101 + self.size[1]
        else:
            self.due_out += number if what == b"o" else 1
        if what == b"e":
            self.due_err += number
        if what in (NAP, CLOSED):
            self.nap = (what, number)

    def wake(self):
        """SIGUSR1 is sent to it, and it was in its nap."""
        (what, number), deferred = self.nap, self.deferred
        self.nap, self.deferred, self.backlog = None, [], 0
        self.due_out += 1
        if what == CLOSED:
            self.codes = {number}
            return
        for line in deferred:
            self._hear(*line)

    def kill(self, number):
        """A signal that ends it was sent; what it was told before may come first."""
        self.codes.add(128 + number)
        self.cut = True

    def has_said_all(self):
        return self.out.length >= self.due_out and self.err.length >= self.due_err

    def check_said(self):
        """Nothing but what it was told to say, and all of it unless it was cut short."""
        said, due = (self.out.length, self.err.length), (self.due_out, self.due_err)
        if self.cut:
            check(said[0] <= due[0] and said[1] <= due[1], f"{self.name}: said {said} of {due}")
        else:
            check(said == due, f"{self.name}: said {said} of {due} (code {self.process.code})")

    def check_end(self):
        self.check_said()
        code = self.process.code
        check(code in self.codes, f"{self.name}: ended with {code}, not {self.codes}")
