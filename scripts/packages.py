# SPDX-License-Identifier: Apache-2.0
"""Debian's packages as files, of any architecture and without installing them.

They are kept in $XDG_CACHE_HOME/hyperstart (~/.cache/hyperstart), so that the next clone need not
load them; without a network what is there has to do.
"""

import os
import shlex
import subprocess
from pathlib import Path

from common import call, locked, making, say

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hyperstart"


class Apt:
    """Asks apt, which need not know of the architecture: its lists are then in the cache too."""

    def __init__(self, arch=None):
        own = call("dpkg", "--print-architecture", text=True, stdout=subprocess.PIPE).strip()
        self.arch = arch or own
        self.options = ["-o", "APT::Sandbox::User=root"]
        CACHE.mkdir(parents=True, exist_ok=True)
        if self.arch == own:
            return
        state = CACHE / f"apt-{arch}"
        for directory in "lists/partial", "archives/partial":
            (state / directory).mkdir(parents=True, exist_ok=True)
        for option in (f"APT::Architecture={arch}", f"APT::Architectures::={arch}",
                       "Acquire::Languages=none", f"Dir::State::lists={state}/lists",
                       "Dir::State::status=/dev/null", f"Dir::Cache={state}"):
            self.options += ["-o", option]

    def ask(self, program, *words):
        """What it prints, in lines."""
        return call(program, *self.options, *words, text=True, stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL).splitlines()

    def update(self):
        """One at a time: apt itself does not wait for another one that does it."""
        command = ["apt-get", *self.options, "-qq", "update"]
        with locked(CACHE):
            say(f"apt-get update ({self.arch})")
            try:
                call(*command)
            except subprocess.CalledProcessError:
                call(*command)

    def find(self, question):
        """The answer, if need be after an update: a fresh machine has no lists."""
        try:
            return question()
        except (subprocess.CalledProcessError, StopIteration, IndexError):
            self.update()
            return question()

    def dependency(self, package):
        """The first package that a meta-package stands for."""
        def question():
            lines = self.ask("apt-cache", "depends", package)
            return next(line.split()[1] for line in lines if "Depends:" in line)
        try:
            return self.find(question)
        except (subprocess.CalledProcessError, StopIteration):
            # As names of packages go, linux-image-6.1.0-9-amd64 is what linux-image-amd64 stands for.
            stem = package.removesuffix(f"-{self.arch}")
            return self.newest(f"{stem}-*-{self.arch}_*.deb").name.partition("_")[0]

    def fetch(self, package):
        """The path of its .deb."""
        def question():  # 'http://…' NAME SIZE HASH
            return shlex.split(self.ask("apt-get", "download", "--print-uris", package)[0])[1]
        try:
            deb = CACHE / self.find(question)
        except (subprocess.CalledProcessError, IndexError):
            return self.newest(f"{package}_*.deb")
        if not deb.exists():
            say(f"downloading {package} into {CACHE}")
            try:
                self.download(package, deb)
            except subprocess.CalledProcessError:
                self.update()  # the lists may name a version that is gone
                deb = CACHE / question()
                self.download(package, deb)
        return deb

    def newest(self, pattern):
        found = sorted(CACHE.glob(pattern), key=os.path.getmtime)
        if not found:
            raise FileNotFoundError(f"apt names no {pattern}, and there is none in {CACHE}")
        say(f"apt does not answer: taking {found[-1].name} from {CACHE}")
        return found[-1]

    def download(self, package, deb):
        with making(deb) as new:
            call("apt-get", *self.options, "-qq", "download", package, cwd=new.parent)
            (new.parent / deb.name).rename(new)

    def unpack(self, package, directory):
        call("dpkg", "-x", self.fetch(package), directory)
