"""The table of `docs/how-to/explain.md` has a line for each kind of reason, and for no other."""

from __future__ import annotations

import re
from pathlib import Path

from mc.explanation.explanation import ReasonKind

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "explain.md"


def test_each_kind_of_reason_is_told_of() -> None:
    listed = re.findall(r"^\| `([a-z-]+)` \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(listed) == sorted(map(str, ReasonKind))
