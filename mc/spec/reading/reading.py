"""Specs read from text and files in JSON or YAML, with the place in the text where something is wrong."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal

from mc.context.json_values import MAX_NESTING, parse_as_written
from mc.errors import NotJsonError, Problem, SpecError, SpecSyntaxError
from mc.spec.problems import make_problem, shorten
from mc.spec.reading.json_text import find_json_fault

__all__ = ["SpecText", "open_spec_file", "open_spec_stream", "parse_spec_text", "read_spec_file"]

_MAX_DIGITS: Final = 4_000  # Python reads integers of up to 4,300
_JSON_START: Final = re.compile(r"\s*(?:[{\[\"/]|\Z)")  # / begins a comment, which is told
_YAML_START: Final = re.compile(r"(?:#[^\n]*\n|\s)*(?:---|%YAML|[A-Za-z_$][\w-]*:\s)")
_TRAILING_COMMA: Final = re.compile(r",\s*[}\]]")


def parse_spec_text(text: str | bytes, source: str = "<text>", *, as_yaml: bool = False) -> Any:
    """Return the value of a JSON or YAML text.

    NaN, infinite numbers, names that stand twice in one mapping and very deep nesting are refused. A
    byte order mark is skipped. YAML is read by the core schema of YAML 1.2.

    Args:
        text: the text, or its bytes in UTF-8.
        source: what to call it in errors, such as the name of the file.
        as_yaml: whether the text is YAML.

    Raises:
        SpecSyntaxError: it is not such a text; `.line` and `.column` (from 1) say where.
        SpecError: it is YAML, and PyYAML is not installed.
    """
    text = _to_text(text, source)
    if not text.strip():
        raise _syntax_error(text, source, 0, "there is no text; expected a JSON object such as {}")
    return _parse_yaml(text, source) if as_yaml else _parse_json(text, source)


@dataclass(frozen=True, slots=True, kw_only=True)
class SpecText:
    """The text of a spec, as it was found somewhere.

    Attributes:
        text: JSON or YAML.
        source: what to call it in errors.
        as_yaml: whether it is YAML.
    """

    text: str
    source: str
    as_yaml: bool

    def parse(self) -> Any:
        """Return the value of the text; see `parse_spec_text`."""
        return parse_spec_text(self.text, self.source, as_yaml=self.as_yaml)

    def locate(self, problems: Iterable[Problem]) -> list[Problem]:
        """Return problems of the value with their lines and columns in the text; see `positions.locate`."""
        from mc.spec.reading.positions import locate  # only a wrong spec needs it

        return locate(problems, self.text, as_yaml=self.as_yaml)


def open_spec_stream(content: bytes, source: str) -> SpecText:
    """Return a text without a name that tells its form: JSON if it begins like JSON, else YAML.

    Raises:
        SpecSyntaxError: it is not UTF-8.
    """
    text = _to_text(content, source)
    return SpecText(text=text, source=source, as_yaml=_JSON_START.match(text) is None)


def _to_text(text: str | bytes, source: str) -> str:
    return (_decode(text, source) if isinstance(text, bytes) else text).removeprefix("\ufeff")


def _parse_json(text: str, source: str) -> Any:
    try:
        return parse_as_written(text)
    except NotJsonError as error:
        cause = error.__cause__
        if isinstance(cause, json.JSONDecodeError):
            position = _find_fault(cause, text)
            raise _syntax_error(text, source, position, _explain(cause, text, position)) from error
        # The decoder does not say where; a second look does.
        position, reason = find_json_fault(text, MAX_NESTING, _MAX_DIGITS) or (0, error.message)
        raise _syntax_error(text, source, position, reason) from error


def _parse_yaml(text: str, source: str) -> Any:
    from mc.spec.reading.yaml_text import YamlFaultError, parse_yaml

    try:
        return parse_yaml(text)
    except YamlFaultError as fault:
        lines = text.splitlines()[fault.line : fault.line + 1] or [""]
        found = lines[0][fault.column :]
        raise _error_at(source, fault.line + 1, fault.column + 1, fault.reason, found, "MC022") from fault
    except ImportError as error:
        message = (
            f"{source} is read as YAML, and PyYAML is not installed. Run: pip install "
            f"'mission-control[yaml]'. Or write it in JSON, which begins with {{."
        )
        problem = make_problem("MC020", "", message, found=source, expected="JSON text, or PyYAML")
        raise SpecError(message, problems=[problem]) from error


def read_spec_file(path: str | Path) -> Any:
    """Return the value of a JSON file, or of a YAML file where its name ends in `.yaml` or `.yml`.

    Raises:
        SpecSyntaxError: its text is not JSON or YAML.
        SpecError: the file cannot be read, or it is YAML and PyYAML is not installed; the message says why.
    """
    return open_spec_file(path).parse()


def open_spec_file(path: str | Path) -> SpecText:
    """Return the text of a JSON file, or of a YAML file where its name ends in `.yaml` or `.yml`.

    Raises:
        SpecSyntaxError: it is not UTF-8.
        SpecError: the file cannot be read; the message says why.
    """
    shown = shorten(str(path))
    try:
        content = Path(path).read_bytes()
    except FileNotFoundError as error:
        raise _file_error(path, f"There is no file {shown}. Check the path.") from error
    except IsADirectoryError as error:
        raise _file_error(path, f"{shown} is a folder; name a file with a flow spec.") from error
    except PermissionError as error:
        raise _file_error(path, f"The file {shown} may not be read by this user.") from error
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        reason = getattr(error, "strerror", None) or error
        raise _file_error(path, f"The file {shown} cannot be read: {reason}.") from error
    as_yaml = Path(path).suffix.lower() in (".yaml", ".yml")
    return SpecText(text=_to_text(content, str(path)), source=str(path), as_yaml=as_yaml)


def _decode(content: bytes, source: str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = content[: error.start].decode("utf-8", "replace").removeprefix("\ufeff")
        reason = f"byte 0x{content[error.start]:02x} is not UTF-8; save the file in UTF-8"
        raise _syntax_error(before, source, len(before), reason) from error


def _find_fault(error: json.JSONDecodeError, text: str) -> int:
    """Return where the fault is: a comma after the last item is one, which Python before 3.13 passes over."""
    before = text[: error.pos].rstrip()
    trails = text.startswith(("}", "]"), error.pos) and before.endswith(",")
    return len(before) - 1 if trails else error.pos


def _explain(error: json.JSONDecodeError, text: str, position: int) -> str:
    reason = error.msg[:1].lower() + error.msg[1:]
    if position >= len(text.rstrip()):
        return f"{reason}, but the text ends here"
    found = shorten(text[position : position + 12])
    if text.startswith(("//", "/*", "#"), position):
        return f"JSON has no comments, found {found}; leave them out, or write YAML in a .yaml file"
    if _TRAILING_COMMA.match(text, position):
        return f"JSON has no comma after the last item, found {found}; leave it out"
    if text[position] == "'":
        return f"{reason}, found {found}; JSON text stands in double quotes"
    if _YAML_START.match(text):
        return f"{reason}, found {found}; YAML is read from files that end in .yaml or .yml"
    return f"{reason}, found {found}"


def _syntax_error(text: str, source: str, position: int, reason: str) -> SpecSyntaxError:
    line = text.count("\n", 0, position) + 1
    column = position - (text.rfind("\n", 0, position) + 1) + 1
    return _error_at(source, line, column, reason, text[position : position + 40], "MC021")


def _error_at(
    source: str, line: int, column: int, reason: str, found: str, number: Literal["MC021", "MC022"]
) -> SpecSyntaxError:
    place = f"line {line}, column {column}: {reason}."
    expected = "JSON text" if number == "MC021" else "YAML text"
    message = f"{reason[:1].upper()}{reason[1:]}."
    problem = make_problem(number, "", message, found=found[:40], expected=expected)
    problem = replace(problem, line=line, column=column)
    return SpecSyntaxError(f"{source}, {place}", line=line, column=column, problems=[problem])


def _file_error(path: str | Path, message: str) -> SpecError:
    problem = make_problem("MC020", "", message, found=str(path), expected="a file that can be read")
    return SpecError(message, problems=[problem])
