"""What every test shares: how Hypothesis searches, what is tried of a trial, and the figures at the end."""

from __future__ import annotations

import os

from hypothesis import settings

from tests.figures import figure, pytest_terminal_summary
from tests.trials import (
    pytest_addoption,
    pytest_collection_modifyitems,
    pytest_configure,
    pytest_report_header,
    pytest_runtest_setup,
    trial,
)

__all__ = [
    "figure",
    "pytest_addoption",
    "pytest_collection_modifyitems",
    "pytest_configure",
    "pytest_report_header",
    "pytest_runtest_setup",
    "pytest_terminal_summary",
    "trial",
]

# No deadline: a loaded machine is slow, not wrong.
settings.register_profile("default", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if os.environ.get("CI") else "default"))
