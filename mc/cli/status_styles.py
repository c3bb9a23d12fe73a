"""The colours of statuses, on a terminal and in drawings."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

__all__ = ["STATUS_FILLS", "STATUS_STYLES"]

STATUS_STYLES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "PENDING": "dim",
        "RUNNING": "cyan",
        "WAITING": "blue",
        "PAUSED": "yellow",
        "BLOCKED": "bold yellow",
        "COMPLETED": "green",
        "FAILED": "bold red",
        "SKIPPED": "dim yellow",
        "CANCELLED": "magenta",
    }
)

STATUS_FILLS: Final[Mapping[str, str]] = MappingProxyType(  # light enough for black text
    {
        "PENDING": "#eeeeee",
        "RUNNING": "#b3e5fc",
        "WAITING": "#d1c4e9",
        "COMPLETED": "#c8e6c9",
        "FAILED": "#ffcdd2",
        "SKIPPED": "#fff9c4",
        "CANCELLED": "#e1bee7",
    }
)
