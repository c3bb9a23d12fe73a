"""Modules that need not be installed: those of the folder where a process works, and of its settings file."""

from __future__ import annotations

import sys
from pathlib import Path

from mc.settings.values import SettingValue

__all__ = ["find_local_modules"]


def find_local_modules(named: SettingValue) -> None:
    """Let this process import modules below the current folder, and below that of the file that names some.

    Args:
        named: the setting `handlers`.
    """
    if named.origin == "file" and named.place is not None:
        folder = str(Path(named.place).parent)
        if folder not in sys.path:
            sys.path.insert(0, folder)
    folder = str(Path.cwd())
    if folder not in sys.path and "" not in sys.path:
        sys.path.insert(0, folder)
