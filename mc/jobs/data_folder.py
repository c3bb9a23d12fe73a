"""The data folder, examined: whether it can be written, has room, and which folders of jobs it has."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from mc.store.finding import Finding, Severity

__all__ = ["check_data_folder", "list_job_ids"]

_MIB: Final = 1 << 20
_LEAST_FREE: Final = 200 * _MIB
_ID_DIGITS: Final = 64


def check_data_folder(data_folder: Path) -> Iterator[Finding]:
    """Yield what would keep jobs from being started here; nothing where there is no such folder yet.

    Args:
        data_folder: in which the folders of jobs are.
    """
    if not data_folder.exists():
        return
    details = {"path": str(data_folder)}
    if not os.access(data_folder, os.R_OK | os.W_OK | os.X_OK):
        yield Finding(
            code="data-folder",
            severity=Severity.PROBLEM,
            message=f"The data folder {data_folder} is not writable for this user; no job can be started.",
            advice="Change its owner or its permissions, or set another one as data in mc.toml.",
            details=details,
        )
        return
    usage = shutil.disk_usage(data_folder)
    is_full = usage.free < _LEAST_FREE
    yield Finding(
        code="data-folder",
        severity=Severity.PROBLEM if is_full else Severity.OK,
        message=f"{usage.free // _MIB} MiB are free on the disk of the data folder {data_folder}.",
        advice="Make room before jobs cannot write their outcomes; houston db prune removes old ones."
        if is_full
        else "",
        details={**details, "free": usage.free},
    )


def list_job_ids(data_folder: Path) -> list[str]:
    """Return the ids of the jobs that have a folder below the data folder."""
    try:
        found = [path.name for path in (data_folder / "jobs").glob("??/*")]
    except OSError:  # of which `check_data_folder` tells
        return []
    return [name for name in found if len(name) == _ID_DIGITS]
