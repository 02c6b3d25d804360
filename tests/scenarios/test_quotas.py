# SPDX-License-Identifier: Apache-2.0
"""What the kernel counts by user: root in a container is the same user as the agent, and as root in
another container."""

import errno

import pytest

from test_guard import USUAL


@pytest.fixture
def hog(pod):
    """Takes all there is of something; returns how much, and the errno of what it did not get."""
    def take(what):
        name = f"hog{pod.fresh_seq()}"
        process = pod.newcontainer(name, ["quotas", what], capabilities=USUAL).started()
        process.wait_output(b"\n")
        _, taken, _, why = process.out.split()
        return int(taken), int(why)
    return take


@pytest.mark.only("vm", "the limit is the machine's")
def test_epoll_watches_are_there_for_everybody(pod, hog):
    assert hog("watches") == (160_000, 0)
    other = pod.newcontainer(f"other{pod.fresh_seq()}", ["cat"], capabilities=USUAL).started()
    other.write(b"x")
    other.wait_output(b"x")


@pytest.mark.only("vm", "the limit is the machine's")
def test_keys_take_no_memory_of_the_kernels(pod, hog):
    taken, why = hog("keys")
    assert taken == 0 and why in (errno.EDQUOT, errno.ENOKEY)


def test_terminals_are_there_for_every_container(pod, hog):
    assert hog("ptys") == (1024, errno.ENOSPC)
    name = f"other{pod.fresh_seq()}"
    other = pod.newcontainer(name, ["tty"], terminal=True, capabilities=USUAL).started()
    assert other.wait() == 0 and b"/dev/pts/0" in other.out
