# SPDX-License-Identifier: Apache-2.0
"""What all scripts do alike: how they start and end, errors, help, and files that are made whole or
not at all."""

import argparse
import ctypes
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path

NAME = Path(sys.argv[0]).stem
LEAVING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def say(text):
    print(f"{NAME}: {text}", file=sys.stderr)


class Parser(argparse.ArgumentParser):
    """Errors look like all others, and an option that there is not is named, whatever else is
    wrong."""

    TROUBLE = 2

    def error(self, message):
        self.print_usage(sys.stderr)
        say(message)
        self.exit(self.TROUBLE)

    def parse_known_args(self, args=None, namespace=None):
        words = iter(sys.argv[1:] if args is None else args)
        for word in words:
            if word == "--" or not word.startswith("-"):
                break  # what follows may be a program's
            long = word.startswith("--")
            flags = [word.partition("=")[0]] if long else [f"-{letter}" for letter in word[1:]]
            for at, flag in enumerate(flags):
                action = self._option_string_actions.get(flag)
                if not action:
                    self.error(f"no such option: {flag}")
                if action.nargs != 0:  # the rest of the word is its value, or the next word
                    if word == flag or not long and at + 2 == len(word):
                        next(words, None)
                    break
        return super().parse_known_args(args, namespace)


def parser(doc):
    """A Parser whose help is the script's docstring."""
    summary, _, details = doc.partition("\n")
    return Parser(description=summary, epilog=details, allow_abbrev=False,
                  formatter_class=argparse.RawDescriptionHelpFormatter)


def leave(number, _):
    for other in LEAVING:
        signal.signal(other, signal.SIG_IGN)  # the clearing up is not to be left, too
    sys.exit(128 + number)


def open_standard_files():
    """Of stdin, stdout and stderr those that were closed become /dev/null, before another file gets
    their numbers."""
    for fd, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
            setattr(sys, name, open(fd, "w" if fd else "r"))


def run(main):
    """The whole of a script: its exit code is main's."""
    open_standard_files()
    for number in LEAVING:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, leave)
    try:
        sys.exit(main())
    except (OSError, subprocess.SubprocessError) as error:
        say(error)
        sys.exit(1)


def die_with_parent():
    """Between fork and exec of what is not to outlive us, however we end."""
    PR_SET_PDEATHSIG = 1
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def call(*command, **options):
    """Runs a program to its end; where we end first, so does all that it started. What it printed,
    if stdout is a pipe."""
    with subprocess.Popen(command, process_group=0, preexec_fn=die_with_parent,
                          **options) as program:
        try:
            printed, _ = program.communicate()
        except BaseException:
            with suppress(ProcessLookupError):
                os.killpg(program.pid, signal.SIGKILL)
            raise
    if program.returncode:
        raise subprocess.CalledProcessError(program.returncode, command)
    return printed


# --- Made whole or not at all ---------------------------------------------------------------------

UNFINISHED = ".hyperstart-new-"


@contextmanager
def locked(directory):
    """One at a time."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


@contextmanager
def making(target):
    """A path beside the target for what is to become it: a file or a directory. It is moved there
    when all is done, and else is gone; what one left that was killed goes now."""
    parent = target.absolute().parent
    parent.mkdir(parents=True, exist_ok=True)
    with locked(parent):
        for unfinished in parent.glob(f"{UNFINISHED}*"):
            clear_if_dead(unfinished)
        work = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=parent))
        living = os.open(work, os.O_RDONLY)
        fcntl.flock(living, fcntl.LOCK_SH)
    try:
        yield work / "new"
        with locked(parent):
            if target.is_dir() and not target.is_symlink():
                target.rename(work / "old")
            (work / "new").replace(target)
    finally:
        shutil.rmtree(work, ignore_errors=True)
        os.close(living)


def clear_if_dead(unfinished):
    with suppress(OSError):  # it lives, or has just ended
        fd = os.open(unfinished, os.O_RDONLY)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(unfinished, ignore_errors=True)
        finally:
            os.close(fd)
