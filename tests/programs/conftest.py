# SPDX-License-Identifier: Apache-2.0
"""The rig, its options, and the limits and reports of tests, are the scenarios'."""

from scenarios.conftest import *
