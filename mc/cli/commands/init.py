"""`houston init`: write a settings file and an example of a spec."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Final

import click

from mc.cli.options import common_options
from mc.cli.parameter_types import TEXT
from mc.cli.printing.output import print_json, printable
from mc.cli.settings import Settings

__all__ = ["EXAMPLE", "SETTINGS_TEXT", "command"]

SETTINGS_TEXT: Final = """\
# Settings of MissionControl, for this folder and all below it. Paths are relative to this file. An option or
# an environment variable wins over what stands here; `houston settings` shows what holds, and why.

# Where flows are stored: a file, or postgresql://user@host/database.
db = "sqlite:///mc.sqlite3"

# Modules of your own, found in this folder, whose task types and functions specs may name.
# handlers = ["our_tasks"]

# Commands and addresses that specs may name: "shell", "http", "http:api.example.org", "http:*.example.org".
# allow = ["shell", "http:api.example.org"]

# The folder for jobs and large results, and one with a file for each secret that specs name.
# data = "mc.sqlite3.data"
# secrets = "secrets"

# Where results of jobs over 64 KB are kept: in the folders of the jobs ("files"), or in the database.
# large_results = "files"

# For how long a flow is held up by a runner that vanished, how long to wait for a database that has gone
# away, and how long where others hold its lock.
# lease_seconds = 60
# outage_seconds = 600
# busy_seconds = 30

# Permissions of a new SQLite file, and how large values may become.
# file_mode = "600"
# max_value_bytes = 16_000_000
# max_task_bytes = 16_000_000
# max_flow_bytes = 256_000_000

# Who starts jobs that name no other executor, and settings of executors. Tables stand last in a file.
# executor = "local"
# [executors.local]
# max_workers = 4
"""

EXAMPLE: Final = """\
{
  "label": "hello",
  "data": {"names": ["Ada", "Grace", "Katherine"]},
  "tasks": [
    {"key": "rest", "task_type": "wait", "task_params": {"duration": "1s"}},
    {
      "key": "greet",
      "task_type": "spread",
      "precursors": ["rest"],
      "task_params": {
        "items": "$ctx.flow.data.names",
        "mapping_params": {
          "skeleton": {"task_type": "print"},
          "wirings": ["ctx.item.value => ctx.skeleton.task_params.msg"]
        }
      }
    },
    {"key": "end", "task_type": "print", "precursors": ["greet"], "task_params": {"msg": "All were greeted."}}
  ]
}
"""


@click.command("init")
@click.argument("folder", type=TEXT, default=".")
@common_options
@click.pass_obj
def command(settings: Settings, folder: str) -> None:
    """Write a settings file and an example of a spec.

    They are mc.toml and hello.json, in FOLDER or the current one. Nothing is overwritten: where one of them
    is there already, neither is written. What to do next is printed, the line for cron included.
    """
    from mc.settings.place import FILE_NAME

    place = Path(folder).absolute()
    texts = {place / FILE_NAME: SETTINGS_TEXT, place / "hello.json": EXAMPLE}
    there = [path for path in texts if path.exists() or path.is_symlink()]
    if there:
        raise click.UsageError(
            f"{' and '.join(map(str, there))} {'is' if len(there) == 1 else 'are'} there already, and "
            f"nothing was written. Choose another folder: houston init FOLDER."
        )
    place.mkdir(parents=True, exist_ok=True)
    for path, text in texts.items():
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    commands = ["houston run hello.json", "houston list", "houston settings"]
    if place != Path.cwd():
        commands.insert(0, f"cd {shlex.quote(str(place))}")
    if settings.as_json:
        files = [str(path) for path in texts]
        print_json({"files": files, "commands": commands, "crontab": _crontab_line(place)})
        return
    for path in texts:
        print(printable(f"wrote {path}"))
    print("\nTry it:")
    for line in commands:
        print(printable(f"  {line}"))
    print("\nTo have stored flows advanced each minute, add this line by `crontab -e`:")
    print(printable(f"  {_crontab_line(place)}"))


def _crontab_line(place: Path) -> str:
    """Return the line, in which % would be the end of one."""
    houston = Path(sys.executable).absolute().with_name("houston")
    call = [str(houston)] if houston.exists() else [sys.executable, "-m", "mc"]
    line = f"cd {shlex.quote(str(place))} && {shlex.join(call)} tick"
    return f"* * * * * {line.replace('%', chr(92) + '%')}"
