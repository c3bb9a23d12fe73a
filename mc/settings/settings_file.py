"""The settings file: what it says, and in which lines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from mc.context.paths import nearest_name
from mc.errors import McError, SettingsError
from mc.settings.known import SETTINGS, Setting

__all__ = ["SettingsFile"]

_MOST_BYTES: Final = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingsFile:
    """What a settings file says.

    Attributes:
        path: of the file, absolute.
        values: the values of settings, by name.
        written: the same as they are written.
        text: of the file.
    """

    path: Path
    values: Mapping[str, Any]
    written: Mapping[str, Any]
    text: str

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a settings file.

        Raises:
            SettingsError: it cannot be read, is not TOML, or says what is no setting; all of it is told.
        """
        path = path.absolute()
        text = _read_text(path)
        document = _parse(path, text)
        values, wrong = {}, []
        for name, written in document.items():
            setting = SETTINGS.get(name)
            if setting is None:
                near = nearest_name(name, SETTINGS)
                hint = f" Did you mean {near}?" if near else f" There are {', '.join(SETTINGS)}."
                wrong.append((name, f"{name!r:.100} is no setting.{hint}"))
                continue
            try:
                values[name] = _read_value(setting, written, path.parent)
            except ValueError as error:
                wrong.append((name, str(error)))
            except McError as error:
                wrong.append((name, f"{name}: {error.message}"))
        if wrong:
            lines = _find_lines(text)
            places = [lines.get((name,), 1) for name, _ in wrong]
            told = [f"{path}:{line}: {message}" for line, (_, message) in zip(places, wrong, strict=True)]
            if len(told) > 1:
                told = [f"The settings file has {len(told)} problems:", *(f"  {each}" for each in told)]
            raise SettingsError("\n".join(told), file=str(path), line=places[0])
        return cls(path=path, values=values, written=document, text=text)

    def find_lines(self) -> Mapping[tuple[str, ...], int]:
        """Return in which line each key stands first, counted from 1, by the steps that lead to it."""
        return _find_lines(self.text)


def _read_text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise SettingsError(
            f"The settings file {path} cannot be read: {error.strerror}. Check its permissions."
        ) from error
    if len(content) > _MOST_BYTES:
        raise SettingsError(f"{path} is no settings file: it has more than {_MOST_BYTES:,} bytes.")
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        column = error.start - content.rfind(b"\n", 0, error.start)
        raise SettingsError(
            f"{path}:{line}:{column}: This is not UTF-8, in which TOML is written.",
            file=str(path),
            line=line,
            column=column,
        ) from error


def _parse(path: Path, text: str) -> dict[str, Any]:
    import tomllib  # only where there is a file

    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        reason, line, column = _place_of(str(error), text)
        raise SettingsError(
            f"{path}:{line}:{column}: This is not TOML: {reason}. Write text in quotes, lists in brackets: "
            f'allow = ["shell"].',
            file=str(path),
            line=line,
            column=column,
        ) from error
    except RecursionError as error:
        raise SettingsError(f"{path} is nested too deeply to be read.") from error


def _place_of(message: str, text: str) -> tuple[str, int, int]:
    """Return reason, line and column of what the parser says: "Invalid value (at line 2, column 8)"."""
    reason, _, place = message.rpartition(" (at ")
    numbers = [int(word) for word in place.replace(",", " ").replace(")", " ").split() if word.isdigit()]
    if len(numbers) == 2:
        return reason, numbers[0], numbers[1]
    last = text.count("\n") + 1  # at end of document
    return reason or message, last, len(text) - text.rfind("\n")


def _read_value(setting: Setting, written: Any, folder: Path) -> Any:
    wrong = f"{setting.name} is {_shown(written)}; it must be {setting.expected}."
    if type(written) not in setting.types:
        raise ValueError(wrong)
    try:
        return setting.read(written, folder)
    except ValueError as error:
        raise ValueError(wrong) from error


def _shown(written: Any) -> str:
    if isinstance(written, str):
        from mc.store.databases.shown_url import mask_url

        return f"the text {mask_url(written)[:100]!r}"
    if isinstance(written, dict | list):
        return "a table" if isinstance(written, dict) else "a list"
    if isinstance(written, bool):
        return str(written).lower()
    return f"the number {written}"[:100] if isinstance(written, int | float) else f"a time, {written}"


def _find_lines(text: str) -> dict[tuple[str, ...], int]:
    found: dict[tuple[str, ...], int] = {}
    table: tuple[str, ...] = ()
    for line, statement, is_header in _statements(text):
        for inside in _paths_of(statement):
            steps = inside if is_header else (*table, *inside)
            for end in range(1, len(steps) + 1):
                found.setdefault(steps[:end], line)
        if is_header:
            table = max(_paths_of(statement), key=len, default=())
    return found


def _statements(text: str) -> Iterator[tuple[int, dict[str, Any], bool]]:
    """Yield the statements of a sound file: line, what it says by itself, and whether it heads a table."""
    import tomllib

    begun: list[str] = []
    for number, line in enumerate(text.split("\n"), 1):
        if not begun and (not line.strip() or line.lstrip().startswith("#")):
            continue
        begun.append(line)
        try:
            statement = tomllib.loads("\n".join(begun))
        except tomllib.TOMLDecodeError:
            continue  # it goes on in the next line
        yield number - len(begun) + 1, statement, begun[0].lstrip().startswith("[")
        begun = []


def _paths_of(value: Any) -> list[tuple[str, ...]]:
    """Return the steps to whatever a statement sets, and to what is in it."""
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], dict):
        value = value[0]  # the header of one of several tables
    if not isinstance(value, dict):
        return [()]
    return [(name, *steps) for name, part in value.items() for steps in _paths_of(part) or [()]]
