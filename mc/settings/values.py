"""The values of settings, each from where it is said first: an option, the environment, the file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from mc.errors import McError, SettingsError
from mc.settings.known import SETTINGS
from mc.settings.place import find_settings_file

if TYPE_CHECKING:
    from mc.context.sizes import Limits
    from mc.settings.settings_file import SettingsFile

__all__ = ["SettingValue", "SettingValues"]


class SettingValue(NamedTuple):
    """The value of a setting."""

    value: Any  # as it is used
    origin: str  # `option`, `environment`, `file` or `default`
    place: str | None = None  # where it was said: `--db`, `MC_DB_URL`, the path of the file; None: nowhere


class SettingValues:
    """Finds the values of settings.

    Args:
        file: what a settings file says, if there is one.
        environ: the environment variables.

    Attributes:
        file: the same.
    """

    def __init__(self, file: SettingsFile | None, environ: Mapping[str, str]) -> None:
        self.file = file
        self._environ = environ

    @classmethod
    def find(cls, path: str | os.PathLike[str] | None = None) -> Self:
        """Return those of this process.

        Args:
            path: of the settings file; unless given, it is `mc.toml` in the current folder or the nearest one
                above, or what `MC_CONFIG` names. None of these need be there.

        Raises:
            SettingsError: the file cannot be read, or is wrong.
        """
        found = find_settings_file(os.environ, _current_folder()) if path is None else Path(path)
        if found is None:
            return cls(None, os.environ)
        from mc.settings.settings_file import SettingsFile

        return cls(SettingsFile.read(found), os.environ)

    def get(self, name: str, given: Any = None) -> SettingValue:
        """Return the value of a setting.

        Args:
            name: of the setting.
            given: by an option of the command, as written; None or an empty list: it was not.

        Raises:
            SettingsError: what was given, or what the environment says, is none.
        """
        setting = SETTINGS[name]
        if given is not None and given != []:
            place = str(setting.option)
            return SettingValue(value=self._read(name, given, place), origin="option", place=place)
        text = self._environ.get(setting.variable) if setting.variable else None
        if text is not None and (text or name != "db"):
            place = str(setting.variable)
            return SettingValue(value=self._read(name, text, place), origin="environment", place=place)
        if self.file is not None and name in self.file.values:
            return SettingValue(value=self.file.values[name], origin="file", place=str(self.file.path))
        default = setting.read((), None) if name == "allow" else setting.default
        return SettingValue(value=default, origin="default")

    def limits(self) -> Limits:
        """Return how large values may become.

        Raises:
            SettingsError: the environment names no such size.
        """
        from mc.context.sizes import Limits

        names = ("value_bytes", "task_bytes", "flow_bytes")
        return Limits(**{name: self.get(f"max_{name}").value for name in names})

    def job_options(self) -> dict[str, Any]:
        """Return what `Houston` is told of jobs.

        Raises:
            SettingsError: the environment names what is none.
        """
        return {
            "data_folder": self.get("data").value,
            "executors": self.get("executors").value,
            "executor": self.get("executor").value,
            "secrets_folder": self.get("secrets").value,
            "large_results": self.get("large_results").value,
        }

    def houston_options(self) -> dict[str, Any]:
        """Return all that `Houston` is told.

        Raises:
            SettingsError: the environment names what is none.
        """
        names = ("db", "allow", "lease_seconds", "outage_seconds", "busy_seconds", "file_mode")
        return {
            **{name: self.get(name).value for name in names},
            "handler_modules": self.get("handlers").value,
            "limits": self.limits(),
            **self.job_options(),
        }

    def _read(self, name: str, written: Any, place: str) -> Any:
        setting = SETTINGS[name]
        try:
            return setting.read(written, None)
        except ValueError as error:
            from mc.store.databases.shown_url import mask_url

            shown = mask_url(written) if isinstance(written, str) else str(written)
            raise SettingsError(f"{place} is {shown[:100]!r}; it must be {setting.expected}.") from error
        except McError as error:
            raise SettingsError(f"{place}: {error.message}") from error


def _current_folder() -> Path:
    try:
        return Path.cwd()
    except OSError:
        return Path("/")  # somebody removed it
