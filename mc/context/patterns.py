"""Regular expressions that are matched in time proportional to the text, whoever wrote them.

Patterns come from specs and meet texts from anywhere, so an engine that goes back and tries again, such as
Python's `re`, would let either of them keep a process for ever. RE2 does not; what it cannot match in
linear time (back references, look-around) it refuses.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, Final

from mc.errors import PatternError

__all__ = ["MAX_PATTERN_LENGTH", "MAX_SEARCH_STEPS", "Pattern", "compile_pattern"]

MAX_PATTERN_LENGTH: Final = 1_000  # characters
MAX_SEARCH_STEPS: Final = 50_000_000  # parts of a pattern times bytes of the text: about half a second

_MAX_BYTES: Final = 1 << 20  # of a compiled pattern
_REMEMBERED: Final = 256
# JSON Schema writes patterns as JavaScript does; RE2 has another word for a character by its number.
_CHARACTER_NUMBER: Final = re.compile(r"(\\\\)|\\u([0-9A-Fa-f]{4})")


class Pattern:
    """A regular expression that was read."""

    __slots__ = ("_regexp", "size")

    def __init__(self, regexp: Any) -> None:
        self._regexp = regexp
        self.size: int = regexp.programsize  # parts; each is looked at once per byte of a text at most

    def is_in(self, text: str) -> bool:
        """Tell whether the pattern is found anywhere in a text.

        Raises:
            PatternError: the text is too long for it.
        """
        content = text.encode(errors="replace")
        if self.size * len(content) > MAX_SEARCH_STEPS:
            raise PatternError(
                f"A pattern of {self.size:,} parts is not searched for in a text of {len(content):,} bytes; "
                f"at most {MAX_SEARCH_STEPS // self.size:,} bytes are."
            )
        return self._regexp.search(content) is not None


@lru_cache(maxsize=_REMEMBERED)
def compile_pattern(text: str) -> Pattern:
    """Return the pattern that is written in RE2's syntax.

    Raises:
        PatternError: it is none, or one that needs more than linear time.
    """
    if len(text) > MAX_PATTERN_LENGTH:
        raise PatternError(
            f"A pattern has at most {MAX_PATTERN_LENGTH:,} characters; this one has {len(text):,}."
        )
    import re2

    options = re2.Options()
    options.max_mem = _MAX_BYTES
    options.log_errors = False
    options.never_capture = True
    written = _CHARACTER_NUMBER.sub(lambda found: found[1] or f"\\x{{{found[2]}}}", text)
    try:
        return Pattern(re2.compile(written.encode(), options))
    except (re2.error, UnicodeEncodeError) as error:
        raise PatternError(
            f"{text[:100]!r} is not a regular expression that can be used: {_reason(error)}."
        ) from error


def _reason(error: Exception) -> str:
    if isinstance(error, UnicodeEncodeError):
        return "it holds half of a surrogate pair"
    said = error.args[0] if error.args else ""
    reason = said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said)
    if "perl operator: (?" in reason:
        return f"{reason}; look-around is not there, since it needs more than linear time"
    if "escape sequence: \\" in reason and reason[-1:].isdigit():
        return f"{reason}; back references are not there, since they need more than linear time"
    return reason
