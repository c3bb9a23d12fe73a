"""Errors as the command tells them: the exit code, a paragraph for people, a shape for programs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import click

from mc.cli.exit_codes import ExitCode
from mc.errors import (
    DatabaseUrlError,
    FlowError,
    FlowExistsError,
    FlowNotFoundError,
    MaxTicksError,
    McError,
    SelectionError,
    StoreError,
)
from mc.printable import printable_lines
from mc.store.databases.shown_url import mask_urls

__all__ = ["Failure", "describe_error"]

_LONGEST_TEXT = 4_000  # characters of a message for people


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """How an error is reported.

    Attributes:
        exit_code: what the shell is told.
        text: a paragraph for people.
        document: `{"error": {"code", "message", ...}}` for programs.
    """

    exit_code: ExitCode
    text: str
    document: dict[str, Any]


def describe_error(error: BaseException) -> Failure:
    """Return how an error is reported, whatever it is: without passwords and control characters."""
    failure = _describe(error)
    text = printable_lines(mask_urls(failure.text))
    return replace(failure, text=text, document=_change_texts(failure.document, mask_urls))


def _describe(error: BaseException) -> Failure:
    if isinstance(error, McError):
        return Failure(
            exit_code=_exit_code_of(error),
            text=f"houston: {_shorten(error.message)}",
            document=_change_texts(error.to_dict(), _shorten),
        )
    if isinstance(error, click.ClickException):
        return _describe_usage_error(error)
    if isinstance(error, OSError):
        return _describe_os_error(error)
    return _describe_bug(error)


def _exit_code_of(error: McError) -> ExitCode:
    if isinstance(error, FlowError):
        return ExitCode.FLOW_FAILED
    if isinstance(error, MaxTicksError):
        return ExitCode.UNFINISHED
    if isinstance(error, FlowNotFoundError | FlowExistsError | DatabaseUrlError | SelectionError):
        return ExitCode.BAD_INPUT
    if isinstance(error, StoreError):
        return ExitCode.STORE_UNREACHABLE
    return ExitCode.BAD_INPUT


def _describe_usage_error(error: click.ClickException) -> Failure:
    message = _shorten(error.format_message())
    ctx = getattr(error, "ctx", None)
    usage = ctx.get_usage() if ctx is not None else None
    hint = f"\n{usage}\nTry '{ctx.command_path} --help'." if ctx is not None else ""
    return Failure(
        exit_code=ExitCode.BAD_INPUT,
        text=f"houston: {message}{hint}",
        document={"error": {"code": "usage", "message": message, "usage": usage}},
    )


def _describe_os_error(error: OSError) -> Failure:
    place = f"{error.filename}: " if error.filename else ""
    message = _shorten(
        f"{place}{error.strerror or error}. Check the path, its permissions and the free space."
    )
    return Failure(
        exit_code=ExitCode.BAD_INPUT,
        text=f"houston: {message}",
        document={"error": {"code": "file-error", "message": message}},
    )


def _describe_bug(error: BaseException) -> Failure:
    what = f"{type(error).__name__}: {error}".rstrip(".: ")
    message = _shorten(
        f"This is a bug in houston: {what}. Flows are stored as they were at the last save. Please report it "
        f"with the traceback that --debug shows."
    )
    return Failure(
        exit_code=ExitCode.BUG,
        text=message,
        document={"error": {"code": "bug", "message": message, "type": type(error).__name__}},
    )


def _shorten(text: str) -> str:
    if len(text) <= _LONGEST_TEXT:
        return text
    return f"{text[:_LONGEST_TEXT]}... ({len(text) - _LONGEST_TEXT} more characters)"


def _change_texts(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {key: _change_texts(part, change) for key, part in value.items()}
    if isinstance(value, list):
        return [_change_texts(part, change) for part in value]
    return value
