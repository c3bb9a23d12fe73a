"""The options that every subcommand has, and that may stand before its name too."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from mc.cli.settings import DEFAULT_DB_URL, Settings

__all__ = ["common_options", "lease_option"]

Decorated = TypeVar("Decorated", bound=Callable[..., Any] | click.Command)


def common_options(command: Decorated) -> Decorated:
    """Give a command the common options; they end in the `Settings` that `click.pass_obj` hands it."""
    options = [
        click.option(
            "--db",
            metavar="URL",
            help=f"Where flows are stored.  [env: MC_DB_URL; default: {DEFAULT_DB_URL}]",
            **_KEPT,
        ),
        click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.", **_KEPT),
        click.option(
            "--handlers",
            metavar="MODULE",
            multiple=True,
            help="Allow the task types of a module; repeatable.  [env: MC_HANDLER_MODULES, comma-separated]",
            **_KEPT,
        ),
        click.option("--debug", is_flag=True, help="Log everything and show tracebacks.", **_KEPT),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def lease_option(command: Decorated) -> Decorated:
    """Give a command that ticks flows the option `--lease-seconds`."""
    option = click.option(
        "--lease-seconds",
        type=click.FloatRange(min=0, min_open=True),
        metavar="S",
        envvar="MC_LEASE_SECONDS",
        show_envvar=True,
        default=60.0,
        show_default=True,
        help="How long a flow is held up by a driver that vanished while it ticked the flow.",
    )
    return option(command)


def _keep(ctx: click.Context, param: click.Parameter, value: Any) -> None:
    settings = ctx.ensure_object(Settings)
    if not value:  # given before the subcommand's name, perhaps; never unset by leaving it out after
        return
    if param.name == "handlers":
        settings.handlers += value
    else:
        setattr(settings, str(param.name), value)


_KEPT: dict[str, Any] = {"callback": _keep, "expose_value": False}
