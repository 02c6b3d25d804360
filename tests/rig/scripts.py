# SPDX-License-Identifier: Apache-2.0
"""The project's directory, and its scripts as Python modules."""

import pathlib
import types

ROOT = pathlib.Path(__file__).resolve().parents[2]


def load_script(name):
    """The script `name` as a module, though it has no .py."""
    path = ROOT / "scripts" / name
    module = types.ModuleType(name.replace("-", "_"))
    module.__file__ = str(path)
    exec(compile(path.read_text(), path, "exec"), module.__dict__)
    return module
