"""What every test shares: how Hypothesis searches, and the figures that are printed at the end."""

from __future__ import annotations

import os

from hypothesis import settings

from tests.figures import figure, pytest_terminal_summary

__all__ = ["figure", "pytest_terminal_summary"]

# No deadline: a loaded machine is slow, not wrong.
settings.register_profile("default", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if os.environ.get("CI") else "default"))
