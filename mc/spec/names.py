"""Names: of flows, of signals, of who sends them or decides, and of resources."""

from __future__ import annotations

import re
from typing import Any, Final

__all__ = [
    "MAX_NAME_LENGTH",
    "MAX_RESOURCE_NAME",
    "RESERVED_PREFIX",
    "RESOURCE_NAME",
    "find_key_fault",
    "find_text_fault",
    "is_name",
]

RESERVED_PREFIX: Final = "mc."  # of names and ids of signals that are not the application's
MAX_RESOURCE_NAME: Final = 100  # characters
RESOURCE_NAME: Final = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.:-]*[A-Za-z0-9_])?")
MAX_NAME_LENGTH: Final = 255  # characters; what the store's columns hold


def is_name(text: Any) -> bool:
    """Tell whether something is text of 1 to 255 characters that can be printed, and not blank."""
    return (
        isinstance(text, str) and len(text) <= MAX_NAME_LENGTH and text.isprintable() and bool(text.strip())
    )


def find_key_fault(key: Any) -> str | None:
    """Return why something cannot be the key of a flow; None if it can."""
    if not isinstance(key, str) or not 0 < len(key) <= MAX_NAME_LENGTH:
        found = f"{len(key)} characters" if isinstance(key, str) else type(key).__name__
        return f"a key is a text of 1 to {MAX_NAME_LENGTH} characters; found {found}"
    return find_text_fault(key)


def find_text_fault(text: Any) -> str | None:
    """Return why something is no text that every database keeps; None if it is."""
    if not isinstance(text, str):
        return f"found {type(text).__name__}, expected text"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "the text holds half of a surrogate pair, which no database keeps"
    return "the text holds the character NUL, which not every database keeps" if "\0" in text else None
