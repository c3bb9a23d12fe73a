"""`houston signal`: send a signal to a flow."""

from __future__ import annotations

from typing import Any

import click

from mc.cli.options import common_options, sender_option
from mc.cli.parameter_types import TEXT
from mc.cli.printing.output import print_json, printable
from mc.cli.settings import Settings

__all__ = ["command"]


def _parse_json(ctx: click.Context, param: click.Parameter, value: str | None) -> Any:
    from mc.context.json_values import parse
    from mc.errors import NotJsonError

    if value is None:
        return None
    try:
        return parse(value)
    except NotJsonError as error:
        reason = error.message.rstrip(".")
        message = f"{value[:60]!r} is not JSON ({reason}). Text stands in quotes: --data '\"yes\"'."
        raise click.BadParameter(message, ctx, param) from error


@click.command("signal")
@click.argument("key", type=TEXT, metavar="FLOW")
@click.argument("name", type=TEXT)
@click.option(
    "--data", type=TEXT, metavar="JSON", callback=_parse_json, help="Any JSON value; null unless given."
)
@click.option(
    "--id", "signal_id", type=TEXT, metavar="ID", help="Count it once, however often it is sent with this id."
)
@sender_option("Who sends it")
@common_options
@click.pass_obj
def command(settings: Settings, key: str, name: str, data: Any, signal_id: str | None, by: str) -> None:
    """Send a signal to a flow and make it due.

    A task of the type wait_for_signal takes it, also one that begins to wait later. Data that fit no task
    waiting for the name are refused. Nothing is run: the next tick goes on with the flow.
    """
    import uuid

    sent_id = uuid.uuid4().hex if signal_id is None else signal_id
    with settings.open_houston(only_reads=True) as houston:
        sent = houston.signal(key, name, data, id=sent_id, by=by)
    if settings.as_json:
        print_json({"key": key, "signal": name, "id": sent_id, "sent": sent})
    elif sent:
        print(f"sent {printable(name)} to {printable(key)}")
    else:
        print(f"{printable(name)} with the id {printable(sent_id)} was sent to {printable(key)} before")
