from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from mc import FlowEngine
from mc.errors import SpecError, SpecSyntaxError
from mc.spec.digest import spec_digest
from mc.spec.reading.reading import open_spec_stream, parse_spec_text, read_spec_file
from mc.spec.validation import find_problems

SPECS = sorted((Path(__file__).resolve().parents[3] / "specs").glob("*.json"))


def read(text: str) -> Any:
    return parse_spec_text(text, "my.yaml", as_yaml=True)


def refuse(text: str) -> SpecSyntaxError:
    with pytest.raises(SpecSyntaxError) as caught:
        read(text)
    assert caught.value.problems[0].code == "MC022 invalid-yaml"
    return caught.value


@pytest.fixture(params=["with libyaml", "without"], autouse=True)
def _each_parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "without":
        monkeypatch.delattr(yaml, "CSafeLoader", raising=False)


class _QuotedText(yaml.SafeDumper):
    """Writes texts in quotes: by YAML 1.1, which PyYAML goes by, 0E0 is one without them."""


_QuotedText.add_representer(
    str, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"')
)


class TestValues:
    @pytest.mark.parametrize(
        ("text", "value"),
        [
            ("on", "on"),
            ("yes", "yes"),
            ("NO", "NO"),
            ("y", "y"),
            ("true", True),
            ("False", False),
            ("tRUE", "tRUE"),
            ("null", None),
            ("~", None),
            ("2024-01-31", "2024-01-31"),
            ("2024-01-31T10:00:00Z", "2024-01-31T10:00:00Z"),
            ("12:30:45", "12:30:45"),
            ("1_000", "1_000"),
            ("014", 14),
            ("0o14", 12),
            ("0x1F", 31),
            ("0b11", "0b11"),
            ("-7", -7),
            ("+7", 7),
            ("1.50", 1.5),
            (".5", 0.5),
            ("5.", 5.0),
            ("1e3", 1000.0),
            ("1.2.3", "1.2.3"),
            ("'12'", "12"),
            ('"\\u00e9"', "é"),
            ("=", "="),
            ("!!str 12", "12"),
            ("!!float 12", 12.0),
            ("! 12", "12"),
            ("|\n two\n lines\n", "two\nlines\n"),
            (">-\n folded\n text\n", "folded text"),
        ],
    )
    def test_a_scalar_is_what_the_core_schema_says(self, text: str, value: Any) -> None:
        (found,) = read(f"- {text}")
        assert found == value
        assert type(found) is type(value)

    def test_keys_are_text_as_they_are_written(self) -> None:
        text = "on: 1\nyes: 2\n2024-01-01: 3\n1: 4\nnull: 5\n'<<': 6\n0x1F: 7\n"
        assert list(read(text)) == ["on", "yes", "2024-01-01", "1", "null", "<<", "0x1F"]

    def test_aliases_are_what_they_name(self) -> None:
        text = "base: &base {retry: 3}\nname: &name x\ntasks: [*base, *base, *name]\n*name : 1\n"
        assert read(text) == {
            "base": {"retry": 3},
            "name": "x",
            "tasks": [{"retry": 3}, {"retry": 3}, "x"],
            "x": 1,
        }

    @pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
    def test_a_spec_is_the_same_in_yaml(self, path: Path) -> None:
        spec = json.loads(path.read_text())
        for style in (None, True, False):
            assert read(yaml.safe_dump(spec, sort_keys=False, default_flow_style=style)) == spec
        assert read(path.read_text()) == spec  # JSON is YAML

    @given(
        st.recursive(
            st.none()
            | st.booleans()
            | st.integers()
            | st.floats(allow_nan=False, allow_infinity=False)
            | st.text(),
            lambda part: st.lists(part, max_size=3) | st.dictionaries(st.text(), part, max_size=3),
            max_leaves=12,
        )
    )
    def test_what_json_can_hold_comes_back(self, value: Any) -> None:
        text = yaml.dump({"value": value}, Dumper=_QuotedText, allow_unicode=False)
        assert read(text) == {"value": value}

    @given(st.text(alphabet="ab:-[]{}&*!|>'\"#%@`, \n\t~<.0123", max_size=40))
    def test_any_text_is_read_or_refused_with_its_place(self, text: str) -> None:
        try:
            json.dumps(read(text), allow_nan=False)
        except SpecSyntaxError as error:
            line, column = error.line, error.column
        else:
            line = column = 1
        assert line is not None
        assert column is not None
        assert 1 <= line <= text.count("\n") + 2


class TestFaults:
    @pytest.mark.parametrize(
        ("text", "line", "column", "word"),
        [
            ("a: 1\nb: 2\na: 3\n", 3, 1, '"a" stands in this mapping already, on line 1'),
            ("x:\n  - {a: 1, 'a': 2}\n", 2, 12, "already"),
            ("1: a\n'1': b\n", 2, 1, "already"),
            ("a: [1, 2\nb: 3\n", 2, 2, "expected"),
            ("a: b: c\n", 1, 5, "mapping values are not allowed"),
            ("a:\n\t- b\n", 2, 1, "token"),
            ("a: .inf\n", 1, 4, "JSON has no .inf"),
            ("a: .NaN\n", 1, 4, "JSON has no .NaN"),
            ("a: 1e999\n", 1, 4, "too large"),
            ("a: " + "9" * 5_000, 1, 4, "digits"),
            ("a: !!python/object/apply:os.system [ls]\n", 1, 4, "tag"),
            ("a: !!timestamp 2024-01-01\n", 1, 4, "tag"),
            ("a: !secret x\n", 1, 4, "tag"),
            ("a: !!int x\n", 1, 4, "tag"),
            ("a: !!set {x}\n", 1, 4, "tag"),
            ("a: *b\n", 1, 4, "no anchor"),
            ("a: &a [*a]\n", 1, 8, "contains itself"),
            ("a: {b: 1}\n<<: {c: 1}\n", 2, 1, "merge key"),
            ("? [a]\n: 1\n", 1, 3, "keys are text"),
            ("a: 1\n---\nb: 1\n", 2, 1, "second document"),
            ("a: 1\nb: \x07\n", 2, 4, "character"),
            ("a: \x85\x00\n", 1, 5, "character"),
            ("[" * 1_000, 1, 201, "200 deep"),
            ("- " * 1_000, 1, 401, "200 deep"),
            ("", 1, 1, "no text"),
        ],
    )
    def test_a_fault_is_told_with_its_place(self, text: str, line: int, column: int, word: str) -> None:
        with pytest.raises(SpecSyntaxError) as caught:
            read(text)
        error = caught.value
        assert word in error.message
        assert error.message.startswith(f"my.yaml, line {line}, column {column}: ")
        assert (error.line, error.column) == (line, column)

    def test_aliases_that_multiply_are_refused_before_they_cost_anything(self) -> None:
        lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
        lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 30)]
        assert "1,000,000 parts" in refuse("\n".join(lines)).message

    def test_without_pyyaml_the_extra_is_named(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setitem(sys.modules, "yaml", None)
        (tmp_path / "spec.yaml").write_text("tasks: []\n")
        with pytest.raises(SpecError, match=r"spec\.yaml.*pip install 'mission-control\[yaml\]'"):
            read_spec_file(tmp_path / "spec.yaml")
        with pytest.raises(SpecError, match=r"stdin.*pip install 'mission-control\[yaml\]'"):
            open_spec_stream(b"tasks: []\n", "stdin").parse()
        assert open_spec_stream(b'{"tasks": []}', "stdin").parse() == {"tasks": []}


class TestFiles:
    @pytest.mark.parametrize("name", ["a.yaml", "a.yml", "a.YAML"])
    def test_the_name_says_that_it_is_yaml(self, tmp_path: Path, name: str) -> None:
        (tmp_path / name).write_text("# a comment\ntasks: []\n")
        assert read_spec_file(tmp_path / name) == {"tasks": []}

    def test_yaml_in_another_file_is_told_as_such(self, tmp_path: Path) -> None:
        (tmp_path / "a.json").write_text("# a comment\ntasks: []\n")
        with pytest.raises(SpecSyntaxError, match=r"\.yaml"):
            read_spec_file(tmp_path / "a.json")

    @pytest.mark.parametrize(
        ("text", "value"),
        [
            (b'{"a": 1}', {"a": 1}),
            (b"\n [1]", [1]),
            (b"a: 1\n", {"a": 1}),
            (b"# c\n{a: 1}\n", {"a": 1}),
            (b"---\n{a: 1}\n", {"a": 1}),
            (b"\xef\xbb\xbfa: 1", {"a": 1}),
        ],
    )
    def test_what_comes_by_a_pipe_tells_its_form_itself(self, text: bytes, value: Any) -> None:
        assert open_spec_stream(text, "stdin").parse() == value

    @pytest.mark.parametrize("text", [b"// c\n{}", b"{a: 1}", b'{"a": 1,}'])
    def test_what_begins_like_json_is_held_to_it(self, text: bytes) -> None:
        with pytest.raises(SpecSyntaxError, match=r"double quotes|comma|comments"):
            open_spec_stream(text, "stdin").parse()


class TestSchemaKey:
    def test_it_is_accepted_and_changes_nothing(self) -> None:
        spec: dict[str, Any] = {"tasks": [{"key": "a", "task_type": "noop"}]}
        named = {"$schema": "./flow-spec.schema.json", **spec}
        assert find_problems(named) == []
        plain, other = (FlowEngine().flow_spec_to_flow(each, key="k") for each in (spec, named))
        assert other.spec == plain.spec
        assert spec_digest(other.spec) == spec_digest(plain.spec)
        assert find_problems({"$schema": 1, **spec})[0].pointer == "/$schema"
