"""Database URLs as people and logs may see them: without passwords, also where they are no URLs at all."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["mask_url", "mask_urls"]

# The patterns are compiled when they are first used.
_START: Final = r"\s*(?:[A-Za-z][\w+.-]*:/+|/*)"
_USER_END: Final = r"(?i::|%3a)"
_HOST: Final = r"(\[[^\]@]*\]|[^:/?#\[\]@]*)(:\d{0,5})?(?=[/?#]|$)"
_SECRET_OPTION: Final = r"(?i:((?:pass|pwd|secret|token)[^=&\s]*=)[^&\s]*)"  # noqa: S105 - a pattern
# A word with a scheme, without what stands behind it in a sentence.
_URL_IN_TEXT: Final = (
    r"(?:[A-Za-z][\w+.-]*:/+|(?:postgres|mysql|mariadb)[\w+]*:)(?:\S*@)?[^\s\"']*[^\s\"'.,;:)]"
)


def mask_url(url: str) -> str:
    """Return a database URL with *** for its password; what may be one counts as one.

    A password runs to the last @, because people forget to write one inside of it as %40. Where there is
    no @, it is what stands after a colon and is no port.
    """
    start = re.match(_START, url)
    assert start is not None  # the pattern matches the empty text
    opening, rest = url[: start.end()], url[start.end() :]
    if opening.lower().strip().startswith("sqlite") and opening.count("/") > 2:
        return opening + re.sub(_SECRET_OPTION, r"\1***", rest)  # a path
    user, at, place = rest.rpartition("@")
    if at:
        end = re.search(_USER_END, user)
        rest = f"{user[: end.end()]}***@{place}" if end else rest
    elif not re.match(_HOST, rest):
        end = re.search(_USER_END, rest)
        rest = f"{rest[: end.end()]}***" if end else rest
    return opening + re.sub(_SECRET_OPTION, r"\1***", rest)


def mask_urls(text: str) -> str:
    """Return a text with *** for the password of each URL in it."""
    return re.sub(_URL_IN_TEXT, lambda match: mask_url(match.group()), text)
