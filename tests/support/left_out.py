"""Tests that a machine lacks something for: left out for a user, and told; failed where CI=true."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest

__all__ = ["leave_out"]


def leave_out(reason: str) -> NoReturn:
    """Skip the test, with the reason; fail it where CI=true, which must have everything."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)
