"""Database URLs as people and logs may see them: without passwords, also where they are no URLs at all."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["mask_url", "mask_urls"]

_START: Final = re.compile(r"\s*(?:[A-Za-z][\w+.-]*:/+|/*)")
_USER_END: Final = re.compile(":|%3a", re.IGNORECASE)
_HOST: Final = re.compile(r"(\[[^\]@]*\]|[^:/?#\[\]@]*)(:\d{0,5})?(?=[/?#]|$)")
_SECRET_OPTION: Final = re.compile(r"((?:pass|pwd|secret|token)[^=&\s]*=)[^&\s]*", re.IGNORECASE)
# A word with a scheme, without what stands behind it in a sentence.
_URL_IN_TEXT: Final = re.compile(
    r"(?:[A-Za-z][\w+.-]*:/+|(?:postgres|mysql|mariadb)[\w+]*:)(?:\S*@)?[^\s\"']*[^\s\"'.,;:)]"
)


def mask_url(url: str) -> str:
    """Return a database URL with *** for its password; what may be one counts as one.

    A password runs to the last @, because people forget to write one inside of it as %40. Where there is
    no @, it is what stands after a colon and is no port.
    """
    start = _START.match(url)
    assert start is not None  # the pattern matches the empty text
    opening, rest = url[: start.end()], url[start.end() :]
    if opening.lower().strip().startswith("sqlite") and opening.count("/") > 2:
        return opening + _SECRET_OPTION.sub(r"\1***", rest)  # a path
    user, at, place = rest.rpartition("@")
    if at:
        end = _USER_END.search(user)
        rest = f"{user[: end.end()]}***@{place}" if end else rest
    elif not _HOST.match(rest):
        end = _USER_END.search(rest)
        rest = f"{rest[: end.end()]}***" if end else rest
    return opening + _SECRET_OPTION.sub(r"\1***", rest)


def mask_urls(text: str) -> str:
    """Return a text with *** for the password of each URL in it."""
    return _URL_IN_TEXT.sub(lambda match: mask_url(match.group()), text)
