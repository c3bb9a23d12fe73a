"""The options that every subcommand has, and that may stand before its name too."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from mc.cli.parameter_types import COUNT, TEXT, SecondsRange, StatusType
from mc.cli.printing.output import LOCAL_TIMES
from mc.cli.settings import Settings
from mc.cli.spec_source import check_key, parse_data
from mc.statuses import TaskStatus
from mc.store.databases.kinds import DEFAULT_URL

__all__ = [
    "RenamedOption",
    "SettingOption",
    "common_options",
    "data_option",
    "lease_option",
    "local_option",
    "max_seconds_option",
    "outage_option",
    "sender_option",
    "spec_options",
    "task_status_option",
    "threads_option",
    "values_option",
]

Decorated = TypeVar("Decorated", bound=Callable[..., Any] | click.Command)


class SettingOption(click.Option):
    """An option that is a setting too, and has what the settings file says unless given."""

    def get_default(self, ctx: click.Context, call: bool = True) -> Any:
        """Return what the file says; the help, which makes no call, shows what holds without one."""
        if call:
            value = ctx.ensure_object(Settings).values.get(str(self.name))
            if value.origin == "file":
                return value.value
        return super().get_default(ctx, call=call)


class RenamedOption(click.Option):
    """An option that goes on to take its old name, of which the help says nothing."""

    def __init__(self, param_decls: Sequence[str], *, old_name: str, **attributes: Any) -> None:
        super().__init__(param_decls, **attributes)
        self._old_name = old_name

    def add_to_parser(self, parser: Any, ctx: click.Context) -> None:
        """Let both names be read."""
        shown, self.opts = self.opts, [*self.opts, self._old_name]
        super().add_to_parser(parser, ctx)
        self.opts = shown


def common_options(command: Decorated) -> Decorated:
    """Give a command the common options; they end in the `Settings` that `click.pass_obj` hands it."""
    options = [
        click.option(
            "--db",
            metavar="URL",
            help=f"Where flows are stored.  [env: MC_DB_URL; default: {DEFAULT_URL}]",
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
        click.option(
            "--allow",
            metavar="NAMES",
            multiple=True,
            help="Let specs run commands (shell) or send requests (http, http:HOST); repeatable.  [env: "
            "MC_ALLOW, comma-separated]",
            **_KEPT,
        ),
        click.option("--debug", is_flag=True, help="Log everything and show tracebacks.", **_KEPT),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def spec_options(command: Decorated) -> Decorated:
    """Give a command that stores a flow the argument `SPEC` and the options `--key` and `--data`."""
    key = click.option(
        "--key", type=TEXT, callback=check_key, help="Key of the flow, in the place of the spec's."
    )
    return click.argument("spec")(key(data_option(command)))


def data_option(command: Decorated) -> Decorated:
    """Give a command that reads a spec the option `--data`."""
    text = "Lay an entry over the spec's data; the value is JSON if it parses, else text. Repeatable."
    return values_option("--data", text)(command)


def values_option(name: str, text: str) -> Callable[[Decorated], Decorated]:
    """Return what gives a command a repeatable option of the form `--data NAME=VALUE`.

    Args:
        name: of the option.
        text: its help.
    """
    return click.option(name, type=TEXT, metavar="NAME=VALUE", multiple=True, callback=parse_data, help=text)


def local_option(command: Decorated) -> Decorated:
    """Give a command that shows times the option `--local`."""
    option = click.option(
        "--local",
        is_flag=True,
        expose_value=False,
        callback=_show_local_times,
        help="Show times as this machine has them, with their offset from UTC; JSON has UTC always.",
    )
    return option(command)


def max_seconds_option(what_then: str) -> Callable[[Decorated], Decorated]:
    """Return what gives a command the option `--max-seconds`; the help ends with `what_then`."""
    return click.option(
        "--max-seconds",
        type=SecondsRange(min=0),
        metavar="S",
        help=f"Stop after S seconds, between two tasks; {what_then}",
    )


def task_status_option(shown: str) -> Callable[[Decorated], Decorated]:
    """Return what gives a command the option `--status`, of tasks, as `statuses`; the help is `shown`."""
    return click.option(
        "--status",
        "statuses",
        type=StatusType(TaskStatus),
        metavar="STATUS",
        multiple=True,
        help=shown,
    )


def lease_option(command: Decorated) -> Decorated:
    """Give a command that ticks flows the option `--lease-seconds`."""
    option = click.option(
        "--lease-seconds",
        cls=SettingOption,
        type=SecondsRange(min=0, min_open=True),
        metavar="S",
        envvar="MC_LEASE_SECONDS",
        show_envvar=True,
        default=60.0,
        show_default=True,
        help="How long a flow is held up by a runner that vanished while it ticked the flow.",
    )
    return option(command)


def threads_option(command: Decorated) -> Decorated:
    """Give a command that ticks flows the option `--threads`."""
    option = click.option(
        "--threads",
        type=COUNT,
        metavar="N",
        default=1,
        show_default=True,
        help="Work on up to N flows side by side, so that none waits for another's call.",
    )
    return option(command)


def outage_option(command: Decorated) -> Decorated:
    """Give a command that goes on for long the option `--outage-seconds`."""
    option = click.option(
        "--outage-seconds",
        cls=SettingOption,
        type=SecondsRange(min=0),
        metavar="S",
        envvar="MC_OUTAGE_SECONDS",
        show_envvar=True,
        default=600.0,
        show_default=True,
        help="How long to wait for a database that has gone away, before it ends with 3.",
    )
    return option(command)


def sender_option(what: str) -> Callable[[Decorated], Decorated]:
    """Return what gives a command the option `--by`; the help begins with `what`."""
    return click.option(
        "--by",
        type=TEXT,
        metavar="NAME",
        callback=_login_name_unless_given,
        help=f"{what}; your login name unless given.",
    )


def _show_local_times(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    ctx.meta[LOCAL_TIMES] = value


def _login_name_unless_given(ctx: click.Context, param: click.Parameter, value: str | None) -> str:
    if value is not None:
        return value
    from getpass import getuser

    try:
        return getuser()
    except (KeyError, OSError, ImportError) as error:
        raise click.BadParameter("your login name is not known; give a name.", ctx, param) from error


def _keep(ctx: click.Context, param: click.Parameter, value: Any) -> None:
    settings = ctx.ensure_object(Settings)
    if value in (
        None,
        False,
        (),
    ):  # given before the subcommand's name, perhaps; never unset by leaving it out after
        return
    if param.name in ("handlers", "allow"):
        getattr(settings, param.name).extend(value)
    else:
        setattr(settings, str(param.name), value)


_KEPT: dict[str, Any] = {"callback": _keep, "expose_value": False}
