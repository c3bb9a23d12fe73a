"""Versions of code that specs name: what its author says, or else a digest of its source."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path
from types import ModuleType
from typing import Any

from mc.errors import TaskHandlerError

__all__ = ["function_version", "module_version"]


def function_version(function: Any) -> str:
    """Return the version of a function or class: its attribute `version`, or a digest of its module's source.

    What else the module imports is not looked at.

    Raises:
        TaskHandlerError: the source cannot be read.
    """
    told = _told_version(function)
    if told is not None:
        return told
    origin = inspect.unwrap(function)
    module = sys.modules.get(getattr(origin, "__module__", None) or "")
    file = getattr(module, "__file__", None)
    if file is None:
        return f"Python {sys.version}"  # a part of the interpreter
    return _digest([Path(file)], getattr(origin, "__qualname__", repr(origin)))


def module_version(module: ModuleType) -> str:
    """Return the version of a module: its attribute `version`, or a digest of its source.

    That of a package is the source of all modules in its folder and below.

    Raises:
        TaskHandlerError: the source cannot be read.
    """
    told = _told_version(module)
    if told is not None:
        return told
    files = [Path(module.__file__)] if module.__file__ else []
    for folder in getattr(module, "__path__", ()):
        files += sorted(Path(folder).rglob("*.py"))
    return _digest(files, module.__name__)


def _told_version(code: Any) -> str | None:
    version = getattr(code, "version", None)
    return f"version {version}" if isinstance(version, str | int) else None


def _digest(files: Iterable[Path], name: str) -> str:
    found = sha256()
    for file in files:
        try:
            found.update(sha256(file.read_bytes()).digest())
        except OSError as error:
            raise TaskHandlerError(
                f"The source of {name!r} cannot be read from {file}: {error.strerror}. Give it an attribute "
                f"`version`, a text that you change with the code, or leave `dedupe` out."
            ) from error
    return f"source {found.hexdigest()}"
