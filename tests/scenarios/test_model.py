# SPDX-License-Identifier: Apache-2.0
"""Random schedules against the oracle of tests/model. A failure prints its seed and its last steps;
`make host-rig ARGS='--seed=N -k model'` plays that schedule again."""

import random

import pytest

from model.schedule import Schedule
from rig.wire import Code

SEEDS = range(20)
STEPS = 400
LAST = 40


def pytest_generate_tests(metafunc):
    if (seed := metafunc.config.getoption("seed")) is not None:
        metafunc.parametrize("seed", [seed])
    else:
        fresh = random.SystemRandom().randrange(1 << 32)
        metafunc.parametrize("seed", [*SEEDS, fresh], ids=[*map(str, SEEDS), f"fresh-{fresh}"])


@pytest.mark.limit(120)
@pytest.mark.only("host", "it counts exactly what a socket has taken, which QEMU's ring does not tell")
def test_a_random_schedule_has_the_outcome_that_the_model_says(pod, seed):
    schedule = Schedule(pod, seed)
    fds = pod.guest.stat(pod).fds
    try:
        schedule.run(STEPS)
    except BaseException:
        print(*schedule.trace[-LAST:], f"make host-rig ARGS='--seed={seed} -k model'", sep="\n")
        raise
    pod.wait_seen(lambda: not pod.guest.zombies(pod), "no zombies")
    pod.wait_seen(lambda: pod.guest.stat(pod).fds <= fds, f"{fds} descriptors, as before")
    pod.ack(Code.DESTROYPOD)
    pod.disconnect()  # then no grace
    assert pod.guest.wait_end(pod) == "power-off"
