# SPDX-License-Identifier: Apache-2.0
"""The share: directories with a busybox root file system each, plus the workloads of tests/prog.

Applets are hard links: QEMU's 9p server in mapped mode does not follow a symlink that the host made.
"""

import os
import pathlib
import shutil
import subprocess

from rig.scripts import ROOT

BUSYBOX = "/bin/busybox"

FILES = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\n"
                  "daemon:x:1:1:daemon:/:/bin/false\n"
                  "alice:x:1000:1000:Alice:/home/alice:/bin/sh\n",
    "etc/group": "root:x:0:\ndaemon:x:1:\ntty:x:5:\nwheel:x:10:alice\nalice:x:1000:\nvideo:x:44:\n",
}


class Share:
    """A directory to give to the guest; images are made below it as they are asked for."""

    def __init__(self, directory):
        self.directory = pathlib.Path(directory)
        self.store = self.directory / ".store"
        self.store.mkdir(parents=True)
        shutil.copy(BUSYBOX, self.store / "busybox")
        for program in (ROOT / "build/prog").iterdir():
            if not program.suffix:
                shutil.copy(program, self.store / program.name)
        self.applets = subprocess.run([BUSYBOX, "--list"], check=True, capture_output=True,
                                      text=True).stdout.split()

    def image(self, name):
        """Makes the image if it is not there; returns its root file system."""
        return self.fill(self.directory / name / "rootfs")

    def fill(self, root):
        """Makes a root file system there, if there is none."""
        if not (root / "bin").exists():
            for directory in ("bin", "dev", "etc", "home/alice", "proc", "root", "sys", "tmp"):
                (root / directory).mkdir(parents=True)
            (root / "tmp").chmod(0o1777)
            os.chown(root / "home/alice", 1000, 1000)
            for applet in self.applets:
                os.link(self.store / "busybox", root / "bin" / applet)
            for program in self.store.iterdir():
                if program.name != "busybox":
                    os.link(program, root / "bin" / program.name)
            for path, text in FILES.items():
                (root / path).write_text(text)
        return root
