"""Limits of a spread: how many of its items must be COMPLETED, and how many may fail."""

from __future__ import annotations

import re
from collections.abc import Mapping
from fractions import Fraction
from typing import Any, Final

__all__ = ["EXPECTED_LIMIT", "ITEM_LIMITS", "find_contradiction", "read_limit"]

ITEM_LIMITS: Final = ("min_completed", "tolerated_failures")
EXPECTED_LIMIT: Final = 'a whole number of at least 0, or a percentage of the items from "0%" to "100%"'

_PERCENTAGE: Final = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,9})?)%")


def read_limit(value: Any, count: int) -> int | None:
    """Return how many items a limit means, a percentage rounded down; None if it is not written as one.

    Args:
        value: a number of items, or a percentage as text: `"10%"`.
        count: how many items there are.
    """
    if type(value) is float and value.is_integer():
        value = int(value)
    if type(value) is int:
        return value if value >= 0 else None
    share = _read_share(value)
    return None if share is None else int(share * count)


def find_contradiction(params: Mapping[str, Any], count: int | None) -> tuple[str, str] | None:
    """Return which limit of a spread cannot be kept to together with the rest, and why; None if all fit.

    Args:
        params: of the spread, as its spec has them; limits that are references are left out.
        count: how many items there are; None: not known, and only percentages are compared.
    """
    least, most = (params.get(name) for name in ITEM_LIMITS)
    shares = [_read_share(value) for value in (least, most)]
    if shares[0] is not None and shares[1] is not None and sum(filter(None, shares)) > 1:
        return (
            "tolerated_failures",
            f"`min_completed` {least} leaves less than `tolerated_failures` {most} of the items to fail.",
        )
    if count is None:
        return None
    wanted, tolerated = read_limit(least, count), read_limit(most, count)
    if wanted is not None and wanted > count:
        return "min_completed", f"`min_completed` is {wanted}, and there are {count} items."
    if wanted is not None and tolerated is not None and wanted + tolerated > count:
        left = f"`min_completed` {wanted} of {count} items leaves {count - wanted} to fail"
        return "tolerated_failures", f"{left}, and `tolerated_failures` is {tolerated}."
    return None


def _read_share(value: Any) -> Fraction | None:
    found = _PERCENTAGE.fullmatch(value) if isinstance(value, str) else None
    share = Fraction(found[1]) / 100 if found else None
    return share if share is not None and share <= 1 else None
