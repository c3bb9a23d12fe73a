"""The glossary: its words are names in the code, and the words that it rules out stand nowhere."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
GLOSSARY = ROOT / "docs" / "reference" / "glossary.md"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
# Names that belong to libraries, older names that are still taken, and what databases call so.
FOREIGN = {
    "exec_driver_sql",
    "driver_type",
    "drivername",
    "driver_connection",
    "pass_obj",
    "mc_prebaked",
    "start_new_session",
}
FOREIGN_PLACES = {"driver": ("mc/store/databases/", "mc/store/sql/"), "session": ("mc/store/databases/",)}
VERBS = {"drive", "pass"}  # of which only the noun is ruled out, where people read
# What means something else in one place of the code.
OF_ITS_OWN = {
    "claim": ("mc/flows/resources/",),  # claims are for leases
    "migrat": ("mc/store/schema/",),  # flows migrate
    "outcome": ("mc/simulation/", "mc/testing/"),  # an outcome is what a job says of its own end
}


def rows(head: str) -> list[list[str]]:
    """Return the rows of the table of the glossary that begins with a head."""
    _, _, rest = GLOSSARY.read_text(encoding="utf-8").partition(head)
    lines = rest.split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


WORDS = [word for word, _ in rows("| word | meaning |")]
INSTEAD = [(word, other) for word, _, other in rows("| instead of | say | but not in |")]


@cache
def names() -> dict[str, set[str]]:
    """Return the names in the code by the file that they stand in, that of the file included."""
    return {
        path.relative_to(ROOT).as_posix(): {path.stem, *names_in(ast.parse(path.read_text(encoding="utf-8")))}
        for path in (ROOT / "mc").rglob("*.py")
    }


def names_in(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        for field in ("id", "attr", "arg", "name", "asname"):
            name = getattr(node, field, None)
            if isinstance(name, str):
                yield name


def parts(name: str) -> list[str]:
    """Return the words of a name, in lower case."""
    return [part.lower() for part in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)]


@pytest.mark.parametrize("word", WORDS)
def test_a_word_of_the_glossary_is_a_name_in_the_code(word: str) -> None:
    wanted = re.compile(rf"(?:^|_){'_'.join(parts(word))}(?:s|es)?(?:_|$)")
    found = ("_".join(parts(name)) for place in names().values() for name in place)
    assert any(wanted.search(name) for name in found)


@pytest.mark.parametrize("word", [word for word, _ in INSTEAD])
def test_a_word_that_is_not_used_is_no_name_in_the_code(word: str) -> None:
    allowed = FOREIGN_PLACES.get(word, ())
    found = {
        f"{place}: {name}"
        for place, inside in names().items()
        for name in inside - FOREIGN
        if not place.startswith(allowed or "-") and {word, f"{word}s", f"{word}es"} & set(parts(name))
    }
    assert found == set()


@pytest.mark.parametrize(("word", "other"), INSTEAD)
@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_a_word_that_is_not_used_stands_on_no_page(page: Path, word: str, other: str) -> None:
    text = page.read_text(encoding="utf-8")
    if page == GLOSSARY:
        text, _, _ = text.partition("## Words that are not used")
    for phrase in filter(None, other.replace("`", "").split(", ")):
        text = re.sub(rf"{phrase}s?\b", "", text, flags=re.IGNORECASE)
    before = r"(?:a|each|every|next|of|one|the)\s+" if word in VERBS else ""
    assert re.findall(rf"\b{before}{word}(?:s|es)?\b", text, re.IGNORECASE) == []


@pytest.mark.parametrize("word", OF_ITS_OWN)
def test_a_word_keeps_its_one_meaning(word: str) -> None:
    found = {
        f"{place}: {name}"
        for place, inside in names().items()
        for name in inside
        if place.startswith(OF_ITS_OWN[word]) and word in name.lower()
    }
    assert found == set()
