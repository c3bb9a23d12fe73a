"""The place of the settings file; most commands look for it, and find none."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from mc.errors import SettingsError

__all__ = ["FILE_NAME", "find_settings_file"]

FILE_NAME: Final = "mc.toml"


def find_settings_file(environ: Mapping[str, str], folder: Path) -> Path | None:
    """Return the settings file: the one that `MC_CONFIG` names, else the nearest from a folder upwards.

    Raises:
        SettingsError: `MC_CONFIG` names a file that is not there, or the nearest is another user's.
    """
    named = environ.get("MC_CONFIG")
    if named:
        path = folder / Path(named).expanduser()
        if path.is_dir() or not path.exists():
            raise SettingsError(
                f"There is no settings file {named!r:.200}, which MC_CONFIG names. Correct or unset that."
            )
        return path
    for place in (folder, *folder.parents):
        path = place / FILE_NAME
        if os.path.isfile(path):  # noqa: PTH113 - a tenth of the time, at each folder
            _refuse_foreign(path)
            return path
    return None


def _refuse_foreign(path: Path) -> None:
    """Refuse a file that others may have put there, such as in /tmp: it can allow commands and name code."""
    owner = path.stat().st_uid
    if owner not in (0, os.geteuid()):
        raise SettingsError(
            f"{path} belongs to another user ({owner}), and is not followed unless it is named: "
            f"MC_CONFIG={path}."
        )
