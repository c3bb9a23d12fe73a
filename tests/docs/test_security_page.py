"""Each line of `docs/explanation/security.md` names the tests that show it, and they are there."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "explanation" / "security.md").read_text(encoding="utf-8")
LINES = re.findall(r"^- .*(?:\n  .*)*", TEXT, re.MULTILINE)


@cache
def find_tests(path: Path) -> set[str]:
    """Return the names of a file's tests as pytest writes them."""
    tests = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        inside = node.body if isinstance(node, ast.ClassDef) and node.name.startswith("Test") else [node]
        prefix = f"{node.name}::" if isinstance(node, ast.ClassDef) else ""
        tests |= {prefix + each.name for each in inside if isinstance(each, ast.FunctionDef)}
    return {name for name in tests if name.rpartition("::")[2].startswith("test_")}


@pytest.mark.parametrize("line", LINES, ids=lambda line: line[2:40])
def test_each_line_names_tests_that_exist(line: str) -> None:
    named = re.findall(r"`(tests/[\w/.]+)::([\w:]+)`", line)
    assert named, line
    assert line.count("`tests/") == len(named), line
    missing = [name for path, name in named if name not in find_tests(ROOT / path)]
    assert missing == []


def test_every_line_is_looked_at() -> None:
    assert len(LINES) == len(re.findall("^- ", TEXT, re.MULTILINE)) > 40
    in_lines = "".join(LINES).count("`tests/")
    assert in_lines == TEXT.count("`tests/")
