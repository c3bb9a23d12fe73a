"""The reference lists every code and every key of the format."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mc.spec.codes import CODE_SENTENCES, full_code
from mc.spec.schema.flow_spec_schema import load_flow_spec_schema
from mc.spec.task_types import BUILT_IN_TASK_TYPES, canonical_task_type

ROOT = Path(__file__).parents[3]
REFERENCE = (ROOT / "docs" / "reference" / "spec.md").read_text(encoding="utf-8")
SCHEMA = load_flow_spec_schema()


@pytest.mark.parametrize("code", CODE_SENTENCES)
def test_every_code_is_documented_with_its_sentence(code: str) -> None:
    assert f"| `{code}` | {CODE_SENTENCES[code]} |" in REFERENCE


def test_the_reference_lists_no_other_codes() -> None:
    assert set(re.findall(r"^\| `(MC\d+ [a-z-]+)`", REFERENCE, re.MULTILINE)) == set(CODE_SENTENCES)


@pytest.mark.parametrize("code", CODE_SENTENCES)
def test_a_code_is_a_number_and_a_name_and_is_found_by_its_number(code: str) -> None:
    assert re.fullmatch(r"MC\d{3} [a-z]+(-[a-z]+)*", code)
    assert full_code(code[:5]) == code


def test_every_code_is_used() -> None:
    sources = [*(ROOT / "mc" / "spec").rglob("*.py"), ROOT / "mc" / "spec" / "flow_spec.schema.json"]
    text = " ".join(path.read_text(encoding="utf-8") for path in sources if path.name != "codes.py")
    assert [code for code in CODE_SENTENCES if f'"{code[:5]}"' not in text] == []


@pytest.mark.parametrize("definition", ["flow", "flow_cfg", "task", "task_cfg", "retry"])
def test_every_key_of_the_format_is_documented(definition: str) -> None:
    assert [key for key in SCHEMA["$defs"][definition]["properties"] if f"`{key}`" not in REFERENCE] == []


@pytest.mark.parametrize("name", sorted(BUILT_IN_TASK_TYPES))
def test_older_spellings_have_a_name_of_today(name: str) -> None:
    assert canonical_task_type(f"mc.tasks.{name}") == name == canonical_task_type(name)


@pytest.mark.parametrize("name", ["mc.tasks.mine", "pkg.tasks.print", "module:handler", "", "mc.tasks."])
def test_other_names_stay_as_they_are(name: str) -> None:
    assert canonical_task_type(name) == name
