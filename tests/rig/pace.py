# SPDX-License-Identifier: Apache-2.0
"""How slow this machine is now, beside the idle one on which the tests' times were found: it may be a slower
one, or have other work, which comes and goes. Every limit of a test goes through here."""

import re
import time
from pathlib import Path

LOOPS = 2_000_000
IDLE = {"loop": 0.05, "boot": 3}  # seconds there
LOOK_SECONDS = 5  # between two looks
KEPT = 0.7  # of what was seen, by the next look
SYNC_SECONDS, PAGES_FEW = 60, 1000
SLACK = 2  # seconds that one of the agent's own times may be late there

_seen = {"loop": 1}
_last_look = -LOOK_SECONDS


def saw(what, seconds):
    """It took so long this time."""
    _seen[what] = max(seconds / IDLE[what], KEPT * _seen.get(what, 0))


def look():
    """At the start of each test."""
    global _last_look
    start = time.monotonic()
    if start - _last_look >= LOOK_SECONDS:
        for _ in range(LOOPS):
            pass
        _last_look = time.monotonic()
        saw("loop", _last_look - start)


def factor():
    """A power of two: what it is multiplied with changes seldom."""
    result = 1
    while 1.5 * result < max(_seen.values()):
        result *= 2
    return result


def scaled(seconds):
    """The limit of what hangs."""
    return seconds * factor()


def late(seconds):
    """A time that the agent itself keeps, or that is its deadline, and the slack that this machine needs."""
    return seconds + SLACK * (factor() - 1)


def pages_written():
    """By the whole machine, since it began."""
    return int(re.search(r"^nr_written (\d+)", Path("/proc/vmstat").read_text(), re.MULTILINE)[1])


def sync(written):
    """What a DESTROYPOD may take longer: it syncs for as long as the kernel gets on writing, a minute at
    most, and on the host rig that is the whole machine's. `written`: pages_written() when it began."""
    return SYNC_SECONDS if pages_written() - written > PAGES_FEW else 0
