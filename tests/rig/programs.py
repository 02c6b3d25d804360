# SPDX-License-Identifier: Apache-2.0
"""What the workloads of tests/prog produce, told by running them here."""

import functools
import hashlib
import subprocess

from rig.scripts import ROOT


@functools.lru_cache(maxsize=None)
def pattern(seed, size):
    """The bytes that `pattern SEED SIZE` writes."""
    return subprocess.run([ROOT / "build/prog/pattern", str(seed), str(size)], check=True,
                          capture_output=True).stdout


@functools.lru_cache(maxsize=None)
def pattern_sha256(seed, size):
    return hashlib.sha256(pattern.__wrapped__(seed, size)).hexdigest()
