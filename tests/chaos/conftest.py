# SPDX-License-Identifier: Apache-2.0
"""Options of the chaos test."""

import signal


def pytest_addoption(parser):
    parser.addoption("--seconds", type=int, default=60, help="for how long rounds begin")
    parser.addoption("--seed", type=int, help="the one round that is played")


def pytest_configure():
    # Ended from outside, a round still takes away cgroups and mounts.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
