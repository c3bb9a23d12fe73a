"""`houston settings`: show each setting, and where its value comes from."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import click

from mc.cli.exit_codes import ExitCode
from mc.cli.options import common_options
from mc.cli.printing.output import print_json, print_table, printable, to_json_text
from mc.cli.settings import Settings
from mc.errors import ExecutorError
from mc.settings.values import SettingValue

__all__ = ["command"]

_SECRET_NAME: Final = re.compile("pass|pwd|secret|token", re.IGNORECASE)
_HIDDEN: Final = "***"
_LONGEST_VALUE: Final = 200  # characters, for people


@click.command("settings")
@common_options
@click.pass_obj
def command(settings: Settings) -> ExitCode:
    """Show each setting, and where its value comes from.

    An option wins over an environment variable, that over the settings file, that over the default. The file
    is mc.toml in the current folder or the nearest one above, or what MC_CONFIG names. No database is opened,
    no server is asked, and no password is shown. Ends with 2 if there are executors that cannot be made of
    their settings.
    """
    file = settings.values.file
    shown = {name: _to_dict(name, found, line) for name, found, line in _list_values(settings)}
    problems = list(_find_problems(settings, shown))
    exit_code = ExitCode.BAD_INPUT if problems else ExitCode.DONE
    if settings.as_json:
        path = None if file is None else str(file.path)
        print_json({"file": path, "settings": shown, "problems": problems})
        return exit_code
    if file is None:
        print("no settings file: there is no mc.toml in this folder or above; `houston init` writes one")
    else:
        print(f"settings file  {printable(str(file.path))}")
    print()
    rows = [[name, _show(each["value"]), _show_place(each)] for name, each in shown.items()]
    print_table(["setting", "value", "from"], rows)
    for each in problems:
        click.echo(f"houston: {_show_place(each)}: {printable(each['message'])}", err=True)
    return exit_code


def _find_problems(settings: Settings, shown: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield what is wrong with each executor that is set, and with the name of the default one."""
    from mc.jobs.find_executor import make_executor
    from mc.settings.local_modules import find_local_modules

    if settings.handler_modules:  # an executor may be the application's own
        find_local_modules(settings.values.get("handlers", settings.handlers))
    options = settings.values.job_options()
    names = {f"executors.{name}": name for name in options["executors"]}
    if options["executor"] not in options["executors"]:
        names["executor"] = options["executor"]
    for setting, name in names.items():
        try:
            make_executor(name, options["executors"])
        except ExecutorError as error:
            place = {part: shown[setting][part] for part in ("place", "line")}
            yield {"setting": setting, "message": _mask(error.message), **place}


def _list_values(settings: Settings) -> Iterator[tuple[str, SettingValue, int | None]]:
    """Yield the settings with their values, and the line of the file that says so; executors one by one."""
    from mc.settings.known import SETTINGS
    from mc.settings.of_jobs import default_data_folder, default_large_results

    unset = {"data": default_data_folder, "large_results": default_large_results}
    values = settings.values
    lines = {} if values.file is None else values.file.find_lines()
    given = {"db": settings.db, "handlers": settings.handlers, "allow": settings.allow}
    for name in SETTINGS:
        found = values.get(name, given.get(name))
        if name in unset and found.value is None:
            found = SettingValue(unset[name](settings.db_url), found.origin)
        line = lines.get((name,)) if found.origin == "file" else None
        if name == "executors" and found.value:
            for executor, own in found.value.items():
                own_value = SettingValue(own, found.origin, found.place)
                yield f"executors.{executor}", own_value, lines.get((name, executor))
        else:
            yield name, found, line


def _to_dict(name: str, found: SettingValue, line: int | None) -> dict[str, Any]:
    value = found.value
    if name == "file_mode":
        value = "umask" if value is None else f"{value:o}"
    elif name == "allow":
        value = value.names
    return {"value": _mask(value), "origin": found.origin, "place": found.place, "line": line}


def _mask(value: Any) -> Any:
    """Return a value as JSON has it, without passwords."""
    if isinstance(value, Mapping):
        return {
            name: _HIDDEN if _SECRET_NAME.search(name) and not isinstance(part, bool) else _mask(part)
            for name, part in value.items()
        }
    if isinstance(value, list | tuple):
        return [_mask(part) for part in value]
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, str):
        from mc.store.databases.shown_url import mask_url, mask_urls

        return mask_url(value) if "://" in value else mask_urls(value)
    return value


def _show(value: Any) -> str:
    if value is None or value in ([], {}):
        return "-"
    if isinstance(value, list):
        text = ", ".join(map(str, value))
    elif isinstance(value, dict):
        text = ", ".join(f"{name} = {to_json_text(part)}" for name, part in value.items())
    elif isinstance(value, float):
        text = f"{value:g}"
    else:
        text = str(value)
    return printable(text, _LONGEST_VALUE)


def _show_place(each: Mapping[str, Any]) -> str:
    if each["place"] is None:
        return "default"
    if each["line"] is None:
        return str(each["place"])
    return printable(f"{Path(each['place']).name}:{each['line']}")
