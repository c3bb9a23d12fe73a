from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mc.errors import SpecError, SpecSyntaxError
from mc.spec.reading.reading import parse_spec_text, read_spec_file
from tests.support.permissions import run_within_permissions


def refuse(text: str | bytes) -> SpecSyntaxError:
    with pytest.raises(SpecSyntaxError) as caught:
        parse_spec_text(text, "my.json")
    return caught.value


class TestText:
    @pytest.mark.parametrize(
        "text", ['{"a": [1, 2.5, null, true, "é"]}', '{"a": [1, 2.5, null, true, "é"]}'.encode()]
    )
    def test_json_text_and_bytes_are_read(self, text: str | bytes) -> None:
        assert parse_spec_text(text) == {"a": [1, 2.5, None, True, "é"]}

    @pytest.mark.parametrize("text", ["\ufeff{}", b"\xef\xbb\xbf{}"])
    def test_a_byte_order_mark_is_skipped(self, text: str | bytes) -> None:
        assert parse_spec_text(text) == {}

    def test_an_error_names_source_line_and_column(self) -> None:
        error = refuse('{\n  "a": 1,\n  "b" 2\n}')
        assert (error.line, error.column) == (3, 7)
        assert error.message.startswith("my.json, line 3, column 7: ")
        assert error.problems[0].code == "MC021 invalid-json"

    @pytest.mark.parametrize(
        ("text", "line", "column", "word"),
        [
            ('{"a": NaN}', 1, 7, "NaN"),
            ('{"NaN": "NaN",\n "b": -Infinity}', 2, 7, "-Infinity"),
            ("[Infinity]", 1, 2, "Infinity"),
            ("[1, 1e999]", 1, 5, "1e999"),
            ('{"a": 1,\n "a": 2}', 2, 2, '"a"'),
            ('{"x": {"a": 1, "\\u0061": 2}}', 1, 16, '"a"'),
            ('[{"a": 1}, {"a": 1, "b": [{"a": 2}], "b": 3}]', 1, 38, '"b"'),
            ("[" * 100_000, 1, 201, "200 deep"),
            ("[" + "1" * 5000 + "]", 1, 2, "digits"),
            ("{'a': 1}", 1, 2, "double quotes"),
            ('{"a": 1,}', 1, 8, "comma after the last"),
            ('{"a": [1 ,\n ]}', 1, 10, "comma after the last"),
            ("[,]", 1, 2, "comma"),
            ('{"a": 1 // one\n}', 1, 9, "no comments"),
            ('{"a": 1, /* one */ "b": 2}', 1, 10, "no comments"),
            ('// one\n{"a": 1}', 1, 1, "no comments"),
            ('{"a": 1} # one', 1, 10, "no comments"),
            ('{"a": // one\n1}', 1, 7, "no comments"),
            ('{"a": 1', 1, 8, "ends here"),
            ("{} x", 1, 4, "extra data"),
            ("", 1, 1, "no text"),
            (b"", 1, 1, "no text"),
            (" \n ", 1, 1, "no text"),
            (b'{"a":\n "\xff"}', 2, 3, "UTF-8"),
            (b"\xff\xfe{\x00}\x00", 1, 1, "UTF-8"),
        ],
    )
    def test_each_fault_is_named_at_its_place(
        self, text: str | bytes, line: int, column: int, word: str
    ) -> None:
        error = refuse(text)
        assert (line, column) == (error.line, error.column)
        assert word in error.message

    def test_the_same_name_in_two_mappings_is_no_fault(self) -> None:
        text = '{"a": {"a": 1}, "b": [{"a": 1}, {"a": "\\"a\\": 1"}]}'
        assert parse_spec_text(text) == json.loads(text)

    def test_a_long_fault_has_a_short_message(self) -> None:
        assert len(refuse("[" + "x" * 1_000_000).message) < 200

    @given(st.one_of(st.text(), st.binary(), st.text(alphabet='[]{}",:1eNa\\ \n-')))
    def test_any_text_gives_a_value_or_a_syntax_error_with_a_place(self, text: str | bytes) -> None:
        try:
            parse_spec_text(text)
            return
        except SpecSyntaxError as error:
            line, column = error.line, error.column
        assert isinstance(line, int)
        assert isinstance(column, int)
        assert line >= 1
        assert column >= 1

    @given(
        st.recursive(
            st.one_of(
                st.none(),
                st.booleans(),
                st.integers(),
                st.floats(allow_nan=False, allow_infinity=False),
                st.text(),
            ),
            lambda inner: st.one_of(st.lists(inner), st.dictionaries(st.text(), inner)),
        )
    )
    def test_what_json_writes_is_read_back(self, value: Any) -> None:
        assert parse_spec_text(json.dumps(value)) == value


class TestFiles:
    def test_a_file_is_read(self, tmp_path: Path) -> None:
        file = tmp_path / "flow.json"
        file.write_text('{"tasks": []}')
        assert read_spec_file(file) == {"tasks": []}
        assert read_spec_file(str(file)) == {"tasks": []}

    def test_a_fault_in_a_file_names_the_file(self, tmp_path: Path) -> None:
        file = tmp_path / "flow.json"
        file.write_text("{")
        with pytest.raises(SpecSyntaxError, match=r"flow\.json, line 1"):
            read_spec_file(file)

    @pytest.mark.parametrize(
        ("name", "words"), [("nope.json", "no file"), (".", "folder"), ("a\0b", "cannot be read")]
    )
    def test_what_cannot_be_read_is_told_in_words(self, tmp_path: Path, name: str, words: str) -> None:
        with pytest.raises(SpecError, match=words) as caught:
            read_spec_file(f"{tmp_path}/{name}")
        assert caught.value.problems[0].code == "MC020 unreadable-file"

    def test_a_file_without_permission_is_told_in_words(self, tmp_path: Path) -> None:
        file = tmp_path / "flow.json"
        file.touch(mode=0)
        code = (
            "import sys\nfrom mc.errors import SpecError\n"
            "from mc.spec.reading.reading import read_spec_file\n"
            "try:\n    read_spec_file(sys.argv[1])\nexcept SpecError as error:\n    print(error)"
        )
        assert "may not be read" in run_within_permissions(code, str(file))
