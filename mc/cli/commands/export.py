"""`houston export`: write a flow as a flow dict."""

from __future__ import annotations

import os
from pathlib import Path

import click

from mc.cli.options import common_options
from mc.cli.parameter_types import TEXT
from mc.cli.printing.output import print_json, to_json_text
from mc.cli.settings import Settings

__all__ = ["command"]


@click.command("export")
@click.argument("key", type=TEXT)
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    type=click.Path(dir_okay=False),
    help="Write to a file, which is there as a whole or not at all, instead of stdout.",
)
@common_options
@click.pass_obj
def command(settings: Settings, key: str, output: str | None) -> None:
    """Write a flow as a flow dict in JSON.

    `houston import` makes the same flow of it, in this database or in another one. The sub-flow of a `flow`
    task is a flow of its own and is exported by its own key.
    """
    with settings.open_houston(only_reads=True) as houston:
        flow_dict = houston.export(key)
    if output is None:
        print_json(flow_dict, indent=2)
        return
    _write_whole(output, to_json_text(flow_dict, indent=2) + "\n")
    if settings.as_json:
        print_json({"key": key, "file": output})


def _write_whole(path: str | Path, text: str) -> None:
    """Write a text file in the place of what is there, flushed to the disk.

    A device or a pipe is written to directly, since it cannot be replaced.

    Raises:
        OSError: it cannot be written; `filename` is the path, and what was there is unchanged.
    """
    target = Path(path).resolve()
    try:
        if target.exists() and not target.is_file():
            target.write_text(text, encoding="utf-8")
        else:
            _replace(target, text)
    except OSError as error:
        # The name of the draft would tell nobody anything.
        raise OSError(error.errno, error.strerror, str(path)) from error


def _replace(target: Path, text: str) -> None:
    draft = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    file = draft.open("x", encoding="utf-8")
    try:
        with file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(target)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
