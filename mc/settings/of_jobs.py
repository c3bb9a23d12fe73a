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

__all__ = ["LARGE_RESULTS", "default_data_folder", "default_large_results", "make_job_settings"]

LARGE_RESULTS: Final = ("files", "database")


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
        large_results: `files` or `database`; None: see `default_large_results`.

    Raises:
        SettingsError: what is set for an executor is no mapping, or large results are to be kept elsewhere.
    """
    if large_results is None:
        large_results = default_large_results(db)
    if large_results not in LARGE_RESULTS:
        raise SettingsError(f"large_results is {large_results!r:.100}; expected 'files' or 'database'.")
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
    )


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
