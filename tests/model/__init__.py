# SPDX-License-Identifier: Apache-2.0
"""The model test: an oracle of protocol.md 3 to 7, and schedules of seeded steps for it."""
