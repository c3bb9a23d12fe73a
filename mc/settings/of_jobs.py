"""The settings of jobs, as an application gives them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from os import PathLike
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from mc.errors import SettingsError
from mc.flows.jobs.job_settings import DEFAULT_EXECUTOR, JobSettings
from mc.store.databases.kinds import file_of
from mc.store.databases.shown_url import mask_url

__all__ = [
    "default_data_folder",
    "default_large_results",
    "make_job_settings",
    "read_place",
]

_FILE_URL: Final = "file://"
_WORDS: Final = ("files", "database")


def make_job_settings(
    db: str,
    data_folder: str | PathLike[str] | None,
    executors: Mapping[str, Any] | None,
    executor: str | None,
    secrets_folder: str | PathLike[str] | None,
    then: Iterable[str] | None = None,
    large_results: str | None = None,
) -> JobSettings:
    """Return the settings, with folders that a later change of the current one leads nowhere else.

    Args:
        db: URL of the database.
        data_folder: None: the default one.
        executors: None: none is set.
        executor: None: the default one.
        secrets_folder: None: there is none.
        then: None: a job runs nothing at its end.
        large_results: `files`, `database`, or an absolute path or URL; None: see `default_large_results`.

    Raises:
        SettingsError: what is set for an executor is no mapping, or large results cannot be kept there.
    """
    if large_results is None:
        large_results = default_large_results(db)
    place = read_place(large_results)
    for name, settings in (executors or {}).items():
        if not isinstance(settings, Mapping):
            raise SettingsError(
                f"executors[{name!r}] is {settings!r:.100}; it must be a mapping of settings."
            )
    return JobSettings(
        data_folder=default_data_folder(db) if data_folder is None else Path(data_folder).absolute(),
        executors=MappingProxyType(dict(executors or {})),
        executor=DEFAULT_EXECUTOR if executor is None else executor,
        secrets_folder=None if secrets_folder is None else Path(secrets_folder).absolute(),
        then=None if then is None else tuple(then),
        results_in_files=large_results == "files",
        results_place=place,
    )


def read_place(value: str) -> str | None:
    """Return the absolute path or the URL of a place for large results that hosts share; None: it is none.

    Args:
        value: of the setting `large_results`.

    Raises:
        SettingsError: it is neither, or what it needs is not installed.
    """
    from mc.settings.known import SETTINGS, is_large_results

    if not is_large_results(value):
        raise SettingsError(
            f"large_results is {value!r:.100}; it must be {SETTINGS['large_results'].expected}."
        )
    if value in _WORDS:
        return None
    if value.startswith(_FILE_URL):
        return read_place(value.removeprefix(_FILE_URL))
    if value.startswith("/"):
        return value
    try:
        from fsspec import available_protocols
    except ImportError as error:
        raise SettingsError(
            f"large_results is the URL {mask_url(value)}, which needs fsspec. Run: pip install "
            f"'mission-control[blobs]'",
            value=mask_url(value),
        ) from error
    protocol = value.partition(":")[0]
    if protocol not in available_protocols():
        from difflib import get_close_matches

        near = get_close_matches(protocol, available_protocols(), n=1)
        hint = f" Did you mean {near[0]}://?" if near else " Is the package installed that brings it?"
        raise SettingsError(
            f"large_results is {mask_url(value)}, and fsspec knows no {protocol}://.{hint}",
            value=mask_url(value),
        )
    return value


def default_data_folder(db: str) -> Path:
    """Return the data folder where none is set: beside the database's file, else in the current folder."""
    file = file_of(db)
    return Path("mc-data" if file is None else f"{file}.data").absolute()


def default_large_results(db: str) -> str:
    """Return where large results are kept where that is not set.

    Who reaches an SQLite file is on the host of the file, and sees the folder beside it. Runners that share a
    server may share nothing else.
    """
    return "database" if file_of(db) is None else "files"
