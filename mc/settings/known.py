"""The settings that there are: names, environment variables, defaults, and how a value is read."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import date, time
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from mc.store.databases.kinds import DEFAULT_URL, file_in_folder

__all__ = ["SETTINGS", "Setting", "is_large_results"]

_URL_START: Final = re.compile(r"[A-Za-z][\w+.-]*://")
_FILE_MODE: Final = re.compile(r"0?[67][0-7][0-7]")
_LONGEST_WAIT: Final = 3_600  # seconds
_LONGEST: Final = 3_153_600_000  # seconds, which are 100 years
_NUMBERS: Final = (int, float)


class Setting(NamedTuple):
    """One setting."""

    name: str  # its key in a settings file
    meaning: str  # for people, in a few words
    default: Any  # where nobody says another; None: that is found out from others
    variable: str | None  # of the environment, if there is one
    types: tuple[type, ...]  # of its value in a settings file
    expected: str  # what must stand there, to complete a sentence
    # Makes the value of what was written in a file of a folder, or elsewhere (None); raises ValueError, or
    # McError with a reason of its own.
    read: Callable[[Any, Path | None], Any]
    option: str | None = None  # of all commands, if there is one


def _read_url(value: Any, folder: Path | None) -> str:
    if not _URL_START.match(value):
        raise ValueError
    return str(value) if folder is None else file_in_folder(value, folder)


def _read_names(value: Any, folder: Path | None) -> tuple[str, ...]:
    parts: Iterable[Any] = [value] if isinstance(value, str) else value
    if not all(isinstance(part, str) for part in parts):
        raise ValueError
    names = (name.strip() for part in parts for name in part.split(","))
    return tuple(dict.fromkeys(name for name in names if name))


def _read_allow(value: Any, folder: Path | None) -> Any:
    from mc.spec.leave import Allowed

    return Allowed.of(value)


def _read_folder(value: Any, folder: Path | None) -> Path:
    if not value or "\0" in value:
        raise ValueError
    return (Path() if folder is None else folder).absolute() / Path(value).expanduser()


def is_large_results(value: Any) -> bool:
    """Tell whether a value says where large results are kept."""
    if value in ("files", "database"):
        return True
    return (
        isinstance(value, str) and "\0" not in value and (value[:1] == "/" or bool(_URL_START.match(value)))
    )


def _read_large_results(value: Any, folder: Path | None) -> str:
    if not is_large_results(value):
        raise ValueError
    return str(value)


def _read_name(value: Any, folder: Path | None) -> str:
    if not value.strip():
        raise ValueError
    return str(value.strip())


def _seconds(least: float, most: float) -> Callable[[Any, Path | None], float]:
    def read(value: Any, folder: Path | None) -> float:
        seconds = float(value)
        if not least <= seconds <= most:
            raise ValueError
        return seconds

    return read


def _read_file_mode(value: Any, folder: Path | None) -> int | None:
    if value == "umask":
        return None
    if not _FILE_MODE.fullmatch(value):
        raise ValueError
    return int(value, 8)


def _read_bytes(value: Any, folder: Path | None) -> int:
    text = str(value)
    if not text.isascii() or not text.isdigit() or not 0 < len(text) <= 15 or not int(text):
        raise ValueError
    return int(text)


def _read_executors(value: Any, folder: Path | None) -> Mapping[str, Mapping[str, Any]]:
    for settings in value.values():
        if not isinstance(settings, dict) or not isinstance(settings.get("kind", ""), str):
            raise ValueError  # noqa: TRY004 - as all that is wrong with a value
        _refuse_times(settings)
    return MappingProxyType(dict(value))


def _refuse_times(value: Any) -> None:
    if isinstance(value, date | time):  # a datetime is a date
        raise ValueError  # noqa: TRY004 - as above
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for part in parts:
        _refuse_times(part)


def _bytes(name: str, default: int, meaning: str) -> Setting:
    return Setting(
        name=f"max_{name}",
        meaning=meaning,
        default=default,
        variable=f"MC_MAX_{name.upper()}",
        types=(int,),
        expected="a number of bytes above 0",
        read=_read_bytes,
    )


_ALL: Final = (
    Setting(
        name="db",
        meaning="where flows are stored",
        default=DEFAULT_URL,
        variable="MC_DB_URL",
        option="--db",
        types=(str,),
        expected=f"a database URL, such as {DEFAULT_URL}, or sqlite:////absolute/path for a file elsewhere",
        read=_read_url,
    ),
    Setting(
        name="handlers",
        meaning="modules whose task types and functions specs may name",
        default=(),
        variable="MC_HANDLER_MODULES",
        option="--handlers",
        types=(list, str),
        expected='a list of names of modules, such as ["our_tasks"]',
        read=_read_names,
    ),
    Setting(
        name="allow",
        meaning="commands and addresses that specs may name",
        default=(),
        variable="MC_ALLOW",
        option="--allow",
        types=(list, str),
        expected='a list of names, such as ["shell", "http:api.example.org"]',
        read=_read_allow,
    ),
    Setting(
        name="data",
        meaning="folder for the folders of jobs and for large results",
        default=None,
        variable="MC_DATA",
        types=(str,),
        expected="the path of a folder",
        read=_read_folder,
    ),
    Setting(
        name="large_results",
        meaning="where results of jobs over 64 KB are kept",
        default=None,
        variable="MC_LARGE_RESULTS",
        types=(str,),
        expected='"files", "database", the absolute path of a folder, or a URL such as "s3://bucket/results"',
        read=_read_large_results,
    ),
    Setting(
        name="executor",
        meaning="who starts jobs that name no other executor",
        default="local",
        variable="MC_EXECUTOR",
        types=(str,),
        expected="the name of an executor, whose settings stand in [executors.NAME]",
        read=_read_name,
    ),
    Setting(
        name="executors",
        meaning="settings of executors, each in a table of its name",
        default=MappingProxyType({}),
        variable=None,
        types=(dict,),
        expected='a table for each executor, such as [executors.gpu] with kind = "slurm", and no dates',
        read=_read_executors,
    ),
    Setting(
        name="secrets",
        meaning="folder with one file for each secret that specs name",
        default=None,
        variable="MC_SECRETS",
        types=(str,),
        expected="the path of a folder",
        read=_read_folder,
    ),
    Setting(
        name="lease_seconds",
        meaning="how long a flow is held up by a runner that vanished",
        default=60.0,
        variable="MC_LEASE_SECONDS",
        types=_NUMBERS,
        expected="a number of seconds above 0",
        read=_seconds(1e-9, _LONGEST),
    ),
    Setting(
        name="outage_seconds",
        meaning="how long to wait for a database that has gone away",
        default=600.0,
        variable="MC_OUTAGE_SECONDS",
        types=_NUMBERS,
        expected="a number of seconds, 0 or more",
        read=_seconds(0, _LONGEST),
    ),
    Setting(
        name="busy_seconds",
        meaning="how long to wait where others hold the database's lock",
        default=30.0,
        variable="MC_BUSY_SECONDS",
        types=_NUMBERS,
        expected=f"a number of seconds above 0 and at most {_LONGEST_WAIT}",
        read=_seconds(1e-9, _LONGEST_WAIT),
    ),
    Setting(
        name="file_mode",
        meaning="permissions of a new SQLite file",
        default=0o600,
        variable="MC_FILE_MODE",
        types=(str,),
        expected="the permissions of new SQLite files in octal digits, which let their owner read and write, "
        'such as "600" or "660", or "umask"',
        read=_read_file_mode,
    ),
    _bytes("value_bytes", 16_000_000, "what references may bring into one place"),
    _bytes("task_bytes", 16_000_000, "what a task may leave"),
    _bytes("flow_bytes", 256_000_000, "what a flow may hold"),
)
SETTINGS: Final[Mapping[str, Setting]] = MappingProxyType({setting.name: setting for setting in _ALL})
