"""Python code that the permissions of files hold for, whoever runs the tests."""

from __future__ import annotations

import os
import subprocess
import sys

__all__ = ["run_within_permissions"]

# what lets root read every file
_WITHOUT_LEAVE = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"]


def run_within_permissions(code: str, *arguments: str) -> str:
    """Run Python code where the permissions of files hold, and return its output."""
    before = _WITHOUT_LEAVE if os.geteuid() == 0 else []
    command = [*before, sys.executable, "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout
