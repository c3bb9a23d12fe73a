"""The entry point of `houston`."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, NoReturn

import click

from mc.cli.exit_codes import EXIT_CODE_MEANINGS
from mc.cli.lazy_group import LazyCommand, LazyGroup
from mc.cli.options import common_options

__all__ = ["COMMANDS", "COMMAND_GROUPS", "main"]

COMMAND_GROUPS: Final[Mapping[str, Mapping[str, LazyCommand]]] = {
    "Begin": {
        "init": LazyCommand("mc.cli.commands.init", "Write a settings file and an example of a spec."),
        "settings": LazyCommand(
            "mc.cli.commands.settings", "Show each setting, and where its value comes from."
        ),
    },
    "Write flows": {
        "validate": LazyCommand("mc.cli.commands.validate", "Check flow specs."),
        "plan": LazyCommand(
            "mc.cli.commands.plan", "Show the order, the critical path and the dead ends of a spec."
        ),
        "simulate": LazyCommand(
            "mc.cli.commands.simulate", "Run a spec on a clock of its own, with scripted results."
        ),
        "schema": LazyCommand("mc.cli.commands.schema", "Print the JSON Schema of flow specs."),
    },
    "Run them": {
        "run": LazyCommand("mc.cli.commands.run", "Store a flow and tick it to its end."),
        "submit": LazyCommand("mc.cli.commands.submit", "Store a flow for later ticks and print its key."),
        "tick": LazyCommand("mc.cli.commands.tick", "Advance the flows that are due, then end."),
        "loop": LazyCommand("mc.cli.commands.loop", "Advance the flows that are due, again and again."),
        "work": LazyCommand(
            "mc.cli.commands.work", "Take jobs that wait in queues, and run them on this host."
        ),
    },
    "Watch them": {
        "list": LazyCommand("mc.cli.commands.list_flows", "List the stored flows, newest first."),
        "show": LazyCommand("mc.cli.commands.show", "Show one flow and its tasks."),
        "logs": LazyCommand("mc.cli.commands.logs", "Show what the jobs of a flow wrote."),
        "history": LazyCommand("mc.cli.commands.history", "Show what happened to one flow, in order."),
        "results": LazyCommand(
            "mc.cli.commands.results", "Show what a flow, or each item of a task, has come to."
        ),
        "explain": LazyCommand(
            "mc.cli.commands.explain", "Tell why a flow does not move, and what would move it."
        ),
    },
    "Act on them": {
        "signal": LazyCommand("mc.cli.commands.signal", "Send a signal to a flow and make it due."),
        "approve": LazyCommand("mc.cli.commands.approve", "Say yes to what an approval task asks."),
        "reject": LazyCommand("mc.cli.commands.reject", "Say no to what an approval task asks."),
        "cancel": LazyCommand("mc.cli.commands.cancel", "End flows, with what runs in them."),
        "pause": LazyCommand("mc.cli.commands.pause", "Let no tick touch a flow until it is resumed."),
        "resume": LazyCommand("mc.cli.commands.resume", "Let a flow go on that is PAUSED or BLOCKED."),
        "retry": LazyCommand("mc.cli.commands.retry", "Try again what failed or was cancelled in flows."),
        "skip": LazyCommand("mc.cli.commands.skip", "Do without tasks of a flow."),
        "set": LazyCommand("mc.cli.commands.set", "Write data or params of a task, or data of a flow."),
        "rerun": LazyCommand("mc.cli.commands.rerun", "Store new flows of the specs of other ones."),
        "migrate": LazyCommand("mc.cli.commands.migrate", "Move a flow to a new spec."),
    },
    "Look after what is stored": {
        "job": LazyCommand("mc.cli.commands.job", "See the jobs of flows, stop them or try them again."),
        "resource": LazyCommand(
            "mc.cli.commands.resource", "Say how much there is of named resources, and see who has it."
        ),
        "export": LazyCommand("mc.cli.commands.export", "Write a flow as a flow dict in JSON."),
        "delete": LazyCommand("mc.cli.commands.delete", "Delete flows with their sub-flows and history."),
        "import": LazyCommand("mc.cli.commands.import_flow", "Store a flow that was exported."),
        "doctor": LazyCommand(
            "mc.cli.commands.doctor", "Tell what is wrong with the store, what it means and what to do."
        ),
        "db": LazyCommand(
            "mc.cli.commands.db", "Look after the database: its tables and what is kept in them."
        ),
    },
}
COMMANDS: Final = MappingProxyType(
    {name: entry for group in COMMAND_GROUPS.values() for name, entry in group.items()}
)


class HoustonGroup(LazyGroup):
    """The group that turns whatever happens into an exit code and a readable message."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> NoReturn:
        # Always ends the process, as click's standalone mode does.
        from mc.cli.process import end_process, run_to_exit_code

        arguments = list(sys.argv[1:] if args is None else args)
        self._main_shell_completion(extra, prog_name or "houston", complete_var)
        end_process(run_to_exit_code(self, arguments))


def _print_version(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if not value or ctx.resilient_parsing:
        return
    from mc import __version__

    click.echo(f"houston {__version__}")
    ctx.exit()


def _format_exit_codes() -> str:
    lines = [f"  {code.value:>3}  {meaning}" for code, meaning in EXIT_CODE_MEANINGS.items()]
    return "\b\nExit codes:\n" + "\n".join(lines)


@click.group(
    cls=HoustonGroup,
    command_groups=COMMAND_GROUPS,
    hidden_commands={"job-ended": LazyCommand("mc.cli.commands.job_ended", "Take in the outcomes of jobs.")},
    aliases={"selftest": ("doctor", "--try")},
    name="houston",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=_format_exit_codes(),
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Show the version and exit.",
)
@common_options
def main() -> None:
    """Run flows that are described as data and kept in a SQL database.

    The common options below may stand before or after the command's name.
    """
