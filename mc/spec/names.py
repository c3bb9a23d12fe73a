"""What may be the name of a signal, of its sender, of whoever decides, and of a resource."""

from __future__ import annotations

import re
from typing import Any, Final

__all__ = ["MAX_NAME_LENGTH", "MAX_RESOURCE_NAME", "RESERVED_PREFIX", "RESOURCE_NAME", "is_name"]

RESERVED_PREFIX: Final = "mc."  # of names and ids of signals that are not the application's
MAX_RESOURCE_NAME: Final = 100  # characters
RESOURCE_NAME: Final = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.:-]*[A-Za-z0-9_])?")
MAX_NAME_LENGTH: Final = 255  # characters; what the store's columns hold


def is_name(text: Any) -> bool:
    """Tell whether something is text of 1 to 255 characters that can be printed, and not blank."""
    return (
        isinstance(text, str) and len(text) <= MAX_NAME_LENGTH and text.isprintable() and bool(text.strip())
    )
