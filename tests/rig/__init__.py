# SPDX-License-Identifier: Apache-2.0
"""What the scenarios stand on: a strict host, and two places to run the daemon in."""
