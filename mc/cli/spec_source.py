"""Sources that the command line names: specs, from files or stdin, and data."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from mc.errors import SpecError

if TYPE_CHECKING:
    from mc.spec.reading.reading import SpecText

__all__ = ["check_key", "open_spec", "parse_data", "read_spec", "spec_of"]

_LONGEST_KEY = 255  # characters that the store can hold


def open_spec(source: str) -> SpecText:
    """Return the text of a JSON or YAML file, or of stdin for `-`.

    Raises:
        SpecError: it cannot be read.
    """
    from mc.spec.reading.reading import open_spec_file, open_spec_stream

    if source == "-":
        return open_spec_stream(sys.stdin.buffer.read(), "stdin")
    return open_spec_file(source)


def read_spec(source: str) -> Any:
    """Return the value of a JSON or YAML file, or of stdin for `-`.

    Raises:
        SpecError: it cannot be read, or is not JSON or YAML.
    """
    return open_spec(source).parse()


@contextmanager
def spec_of(source: str) -> Iterator[Any]:
    """Yield what `read_spec` returns; problems of it that are raised inside are told by line and column."""
    text = open_spec(source)
    spec = text.parse()
    try:
        yield spec
    except SpecError as error:
        if not error.problems:
            raise
        raise SpecError(problems=text.locate(error.problems)) from error


def check_key(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """Return the key of `--key` if one can be stored under it."""
    if value is not None and not 0 < len(value) <= _LONGEST_KEY:
        raise click.BadParameter(f"a key has 1 to {_LONGEST_KEY} characters, not {len(value)}.", ctx, param)
    return value


def parse_data(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> dict[str, Any]:
    """Return the data of `--data NAME=VALUE` options: values are JSON where they parse, else text.

    What begins as a list, a mapping or quoted text and is no JSON is refused: it was meant to be JSON.
    """
    from mc.errors import NotJsonError

    data: dict[str, Any] = {}
    for text in values:
        name, separator, value = text.partition("=")
        if not separator or not name.isidentifier():
            raise click.BadParameter(
                f"{text[:60]!r} is not NAME=VALUE with a plain name. For nested data give an object: "
                f"""--data 'limits={{"low": 1}}'.""",
                ctx,
                param,
            )
        if name in data:
            raise click.BadParameter(f"{name!r} is given twice.", ctx, param)
        try:
            data[name] = _parse_value(value)
        except NotJsonError as error:
            hint = f" For text write --data '{name}=\"...\"'." if value.lstrip()[:1] in ("[", "{") else ""
            raise click.BadParameter(f"{text[:60]!r}: {error.message}{hint}", ctx, param) from error
    return data


def _parse_value(text: str) -> Any:
    from mc.context.json_values import loads, parse
    from mc.errors import NotJsonError

    try:
        return parse(text)
    except NotJsonError:
        if text.lstrip()[:1] in ("[", "{", '"'):
            raise
        try:
            loads(text)
        except NotJsonError:
            return text
        raise  # JSON, but not such that it can be kept: a name that stands twice, for example
