# SPDX-License-Identifier: Apache-2.0
"""A share in which more is mounted: what is said of an image or of an fsmap is said of that, too."""

import itertools
import os
import stat
import subprocess

import pytest

pytestmark = pytest.mark.only("host", "a 9p share is one file system")

numbers = itertools.count(1)


@pytest.fixture
def trees(rig):
    """The name of an image, and of a directory beside it, each with a file system on `inner`."""
    name = f"sub{next(numbers)}"
    image, beside = rig.share.image(name), rig.share.directory / f"{name}-beside"
    points = [image / "inner", beside / "inner"]
    for point in points:
        point.mkdir(parents=True)
        subprocess.run(["mount", "-t", "tmpfs", "inner", point], check=True)
        os.mknod(point / "zero", 0o666 | stat.S_IFCHR, os.makedev(1, 5))
    yield name, beside.name
    for point in points:
        subprocess.run(["umount", point], check=True)


@pytest.fixture
def options(trees):
    """Before the daemon is, which has a copy of this machine's mounts."""
    return {}


@pytest.mark.parametrize("read_only", [False, True])
def test_a_submount_is_as_limited_as_what_it_lies_in(pod, trees, read_only):
    image, beside = trees
    process = pod.newcontainer("c", ["sleep", "100000"], image=image, container={
        "readOnly": read_only,
        "fsmap": [{"source": beside, "path": "/tmp", "readOnly": read_only}]}).started()
    for place in ("/inner", "/tmp/inner"):
        done = pod.run("c", ["sh", "-c", f"head -c1 {place}/zero; touch {place}/x"])
        assert not done.out
        text = done.err.decode()
        assert "zero: Permission denied" in text
        assert ("x: Read-only" in text) == read_only
    assert pod.run("c", ["head", "-c1", "/dev/zero"]).out == b"\0"
    pod.kill("c")
    process.wait()
