"""The status diagrams of `docs/explanation/the-tick.md` are those of the tables in `mc/statuses.py`.

`python tests/docs/test_status_diagrams.py` writes them anew.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from mc.statuses import FINISHED_FLOW_STATUSES, FINISHED_TASK_STATUSES, FLOW_CHANGES, TASK_CHANGES

PAGE = Path(__file__).resolve().parents[2] / "docs" / "explanation" / "the-tick.md"
TABLES = {
    "task": (TASK_CHANGES, FINISHED_TASK_STATUSES),
    "flow": (FLOW_CHANGES, FINISHED_FLOW_STATUSES),
}
BLOCK = r"(?<=<!-- statuses of a {kind} -->\n```mermaid\n).*?(?=```\n)"


def draw(changes: Mapping[str, Mapping[str, str]], finished: frozenset[str]) -> str:
    """Return the table of allowed changes as a Mermaid state diagram."""
    lines = ["stateDiagram-v2", "    [*] --> PENDING"]
    for old, allowed in changes.items():
        lines += [f"    {old} --> {new}: {reason}" for new, reason in allowed.items()]
    lines += [f"    {status} --> [*]" for status in changes if status in finished]
    return "\n".join(lines) + "\n"


def find_drawn(kind: str, page: str) -> list[str]:
    return re.findall(BLOCK.format(kind=kind), page, re.DOTALL)


@pytest.mark.parametrize("kind", TABLES)
def test_the_diagram_shows_the_changes_that_are_allowed(kind: str) -> None:
    assert find_drawn(kind, PAGE.read_text(encoding="utf-8")) == [draw(*TABLES[kind])]


@pytest.mark.parametrize("kind", TABLES)
def test_no_reason_holds_what_the_diagram_takes_for_syntax(kind: str) -> None:
    changes, _ = TABLES[kind]
    reasons = [reason for allowed in changes.values() for reason in allowed.values()]
    assert [reason for reason in reasons if re.search(r"[:;#\n]|-->", reason)] == []


def write_page() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for kind, table in TABLES.items():
        drawn = draw(*table)
        page = re.sub(BLOCK.format(kind=kind), lambda _, drawn=drawn: drawn, page, count=1, flags=re.DOTALL)
    PAGE.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    write_page()
