"""A command about what is stored already makes no database where there is none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.mark.parametrize(
    "command",
    [
        "list",
        "show f",
        "show f --graph text",
        "history f",
        "explain f",
        "export f",
        "export f --output f.json",
        "signal f go",
        "approve f t --by ada",
        "reject f t --by ada",
        "cancel f",
        "pause f",
        "resume f",
        "retry f",
        "skip f t",
        "set f --data n=1",
        "rerun f",
        "resource list",
        "resource show db",
        "resource delete db",
        "doctor",
        "db status",
        "db upgrade",
        "db prune --older-than 30d",
        "db prune --older-than 30d --dry-run",
    ],
)
@pytest.mark.parametrize("place", ["flows.sqlite3", "no/such/folder/flows.sqlite3"])
def test_a_missing_file_is_an_error_and_stays_missing(
    houston: Callable[..., Any], tmp_path: Path, command: str, place: str
) -> None:
    ended = houston(*command.split(), "--db", f"sqlite:///{place}")
    assert (ended.code, ended.out) == (3, "")
    assert f"There is no database '{tmp_path / place}' yet." in ended.err
    assert "houston db init" in ended.err
    assert list(tmp_path.iterdir()) == []


def test_a_program_is_told_the_code_of_the_error(houston: Callable[..., Any]) -> None:
    ended = houston("db", "prune", "--older-than", "30d", "--json")
    assert (ended.code, ended.error["code"]) == (3, "store-unreachable")
