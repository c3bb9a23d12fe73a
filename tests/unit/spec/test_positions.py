from __future__ import annotations

import pytest

from mc.errors import Problem
from mc.spec.reading.positions import locate


def place(text: str, pointer: str, *, as_yaml: bool = False) -> tuple[int | None, int | None]:
    (found,) = locate([Problem(code="MC001", pointer=pointer, message="Wrong.")], text, as_yaml=as_yaml)
    return found.line, found.column


JSON = r"""{
  "a": {"b~/c": [true, {"d": null}], "é\"{": -1.5e3},
  "\u0065": [[], {}, "x:}"],
	"f": []
}"""
YAML = """\
# where it begins
a:
  "b~/c": [true, {d: ~}]
  'é"{': -1.5e3
e:
- []
- {}
- |
  x:
   }
f: &shared
  g: 1
h: *shared
"""


@pytest.mark.parametrize(
    ("pointer", "in_json", "in_yaml"),
    [
        ("", (1, 1), (2, 1)),
        ("/a", (2, 3), (2, 1)),
        ("/a/b~0~1c", (2, 9), (3, 3)),
        ("/a/b~0~1c/0", (2, 18), (3, 12)),
        ("/a/b~0~1c/1", (2, 24), (3, 18)),
        ("/a/b~0~1c/1/d", (2, 25), (3, 19)),
        ('/a/é"{', (2, 38), (4, 3)),
        ("/e", (3, 3), (5, 1)),
        ("/e/0", (3, 14), (6, 3)),
        ("/e/1", (3, 18), (7, 3)),
        ("/e/2", (3, 22), (8, 3)),
        ("/f", (4, 2), (11, 1)),
    ],
)
def test_a_part_is_where_its_name_or_item_begins(
    pointer: str, in_json: tuple[int, int], in_yaml: tuple[int, int]
) -> None:
    assert place(JSON, pointer) == in_json
    assert place(YAML, pointer, as_yaml=True) == in_yaml


def test_what_is_not_there_is_told_by_what_is_around_it() -> None:
    assert place(JSON, "/a/missing/deeper") == (2, 3)
    assert place(YAML, "/h/g", as_yaml=True) == (13, 1)  # stands there by its alias only


def test_what_nothing_is_around_but_the_whole_has_no_place() -> None:
    assert place(JSON, "/data/n") == (None, None)
