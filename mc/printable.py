"""Text that comes from users, made fit for a terminal and for lines of a log."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["printable", "printable_lines"]

# Control characters, other ends of lines, and marks that turn the direction of what follows.
# The patterns are compiled when they are first used.
_UNPRINTABLE: Final = r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
_UNPRINTABLE_IN_LINES: Final = _UNPRINTABLE.replace(r"\x00-\x1f", r"\x00-\x08\x0b-\x1f")


def printable(text: str, limit: int | None = None) -> str:
    """Return a text as one line without control characters, cut to `limit` characters if given."""
    if limit is not None and len(text) > limit:
        text = text[: limit - 3] + "..."
    return re.sub(_UNPRINTABLE, _escape, text)


def printable_lines(text: str) -> str:
    """Return a text without control characters but the ends of its lines and tabs."""
    return re.sub(_UNPRINTABLE_IN_LINES, _escape, text)


def _escape(match: re.Match[str]) -> str:
    character = match.group()
    return {"\n": "\\n", "\r": "\\r", "\t": "\\t"}.get(character) or f"\\u{ord(character):04x}"
