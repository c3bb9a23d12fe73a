"""Names: no two classes share one, and each module says in its first words what it is."""

from __future__ import annotations

import ast
import re
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MODULES = sorted((ROOT / "mc").rglob("*.py"))
DESCRIBED = [*MODULES, *sorted((ROOT / "tests" / "support").glob("*.py"))]
QUESTIONS = {"How", "What", "Whatever", "When", "Where", "Whether", "Which", "Who", "Whoever", "Why"}
VERBS = {
    *("Adds", "Brings", "Builds", "Changes", "Checks", "Claims", "Collects", "Decides", "Deletes", "Does"),
    *("Draws", "Examines", "Finds", "Gives", "Grants", "Hands", "Keeps", "Lets", "Lists", "Loads", "Looks"),
    *("Makes", "Moves", "Offers", "Prints", "Puts", "Reads", "Removes", "Runs", "Saves", "Sends", "Shows"),
    *("Starts", "Stores", "Tells", "Ticks", "Tries", "Turns", "Updates", "Upgrades", "Wakes", "Works"),
    *("Run", "Print", "Store", "Tell", "Write", "Writes"),
}
# `Checks of specs`, `Saves that end leases`, `Turns: ...`, `Upgrades, ...` are nouns.
NOUN = re.compile(r"\w+(?:[:,]| (?:by|for|in|of|on|that|to|which|whose) )")


def test_no_two_classes_share_a_name() -> None:
    trees = (ast.parse(path.read_text(encoding="utf-8")) for path in MODULES)
    names = Counter(node.name for tree in trees for node in ast.walk(tree) if isinstance(node, ast.ClassDef))
    assert [name for name, number in names.items() if number > 1] == []


@pytest.mark.parametrize("path", DESCRIBED, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_says_what_it_is(path: Path) -> None:
    said = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    first = re.split(r"\W", said, maxsplit=1)[0]
    assert first not in QUESTIONS
    assert first not in VERBS or NOUN.match(said)
