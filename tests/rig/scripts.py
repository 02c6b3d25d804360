# SPDX-License-Identifier: Apache-2.0
"""The project's directory."""

import pathlib

ROOT = pathlib.Path(__file__).resolve().parents[2]
