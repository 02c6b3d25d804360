# SPDX-License-Identifier: Apache-2.0
"""Of all lanes: how slow the machine is, and two pytests that share a lane. One begins with the first module,
the other with the last, and whoever comes to a module first has it."""

import pathlib

import pytest

from rig import pace


def pytest_addoption(parser):
    parser.addoption("--shared", type=pathlib.Path, help="a directory, empty at first, of the modules taken")
    parser.addoption("--backward", action="store_true", help="begin with the last module")


def pytest_sessionstart():
    pace.look()


def pytest_collection_modifyitems(config, items):
    if config.getoption("backward"):
        modules = [item.module for item in items]
        items.sort(key=lambda item: -modules.index(item.module))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item):
    """True: it is not for us."""
    pace.look()
    shared = item.config.getoption("shared")
    return True if shared and not is_ours(item.module, shared) else None


def is_ours(module, shared):
    if not hasattr(module, "is_ours"):
        try:
            (shared / module.__name__).touch(exist_ok=False)
            module.is_ours = True
        except FileExistsError:
            module.is_ours = False
    return module.is_ours
