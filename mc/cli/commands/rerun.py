"""`houston rerun`: new flows of the specs of other ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from mc.cli.exit_codes import ExitCode
from mc.cli.many_flows import Action, AskedFlows, act_on_flows, flows_options
from mc.cli.options import common_options, values_option
from mc.cli.parameter_types import TEXT
from mc.cli.printing.output import printable, shown_value, stdout_for_json
from mc.cli.settings import Settings
from mc.cli.spec_source import check_key

if TYPE_CHECKING:
    from mc.runners.many_flows import Rerun

__all__ = ["command"]


@click.command("rerun")
@click.option(
    "--key", "new_key", type=TEXT, callback=check_key, help="Key of the new flow; generated unless given."
)
@values_option(
    "--data",
    "Lay an entry over the data that each flow began with; the value is JSON if it parses. Repeatable.",
)
@flows_options
@common_options
@click.pass_obj
def command(settings: Settings, /, asked: AskedFlows, new_key: str | None, data: dict[str, Any]) -> ExitCode:
    """Store new flows of the specs of other ones.

    FLOWs are named, or chosen by filters. Each new flow begins with the data that the other one began with;
    its key is printed. The others stay as they are. The history of both tells of it. Nothing is run: later
    ticks advance the new flows.
    """
    if new_key is not None and not asked.is_one:
        raise click.UsageError("--key names one new flow; name one FLOW.")
    with (
        stdout_for_json(settings.as_json) as stdout,
        settings.open_houston(with_handlers=True, only_reads=True) as houston,
    ):
        action = Action(
            name="rerun",
            question="run them again",
            done="run again",
            run=lambda selection, tell: houston.rerun_many(
                selection,
                data or None,
                by=asked.by,
                reason=asked.reason,
                new_key=lambda _: new_key,
                dry_run=asked.dry_run,
                tell=tell,
            ),
            describe=_describe,
            can_be_repeated=False,
        )
        return act_on_flows(settings, houston, stdout, asked, action)


def _describe(report: Rerun) -> str:
    if report.key is None:
        return f"{printable(report.of)}: would be run again"
    return shown_value(report.key)
