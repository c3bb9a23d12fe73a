"""CONTRIBUTING.md: its map is that of the imports, and the files and folders that it names are there."""

from __future__ import annotations

import re

import pytest

from tests.support.house_map import PAGE, draw_house, with_house

TEXT = PAGE.read_text(encoding="utf-8")
PATHS = sorted(set(re.findall(r"`((?:mc|tests|docs)/[\w./-]*)`", TEXT)))


def test_the_map_is_drawn_from_the_imports() -> None:
    assert draw_house() in TEXT, "run `python -m tests.support.house_map`"
    assert with_house(TEXT) == TEXT


@pytest.mark.parametrize("path", [path for path in PATHS if "NAME" not in path])
def test_a_file_that_is_named_is_there(path: str) -> None:
    assert (PAGE.parent / path).exists()


def test_each_folder_of_tests_is_told_of() -> None:
    folders = {path.name for path in (PAGE.parent / "tests").iterdir() if any(path.glob("**/*.py"))}
    assert set(re.findall(r"^\| `tests/(\w+)/` \|", TEXT, re.MULTILINE)) == folders
