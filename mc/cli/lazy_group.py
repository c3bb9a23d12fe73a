"""A group of subcommands whose modules are imported only when they are chosen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from types import MappingProxyType
from typing import Any, NamedTuple

import click

__all__ = ["LazyCommand", "LazyGroup"]


class LazyCommand(NamedTuple):
    """Where a subcommand is found, and what the help of the group says of it."""

    module: str  # holds it as `command`
    short_help: str


class LazyGroup(click.Group):
    """A group that lists its subcommands from a table and imports one when it is chosen.

    Args:
        command_groups: heading -> name -> where the subcommand is found, in the order of the help.
        aliases: other names of commands -> the words that they stand for.
        hidden_commands: commands that are for programs, and of which the help says nothing.
        **attributes: as for `click.Group`.
    """

    def __init__(
        self,
        *,
        command_groups: Mapping[str, Mapping[str, LazyCommand]],
        aliases: Mapping[str, Sequence[str]] = MappingProxyType({}),
        hidden_commands: Mapping[str, LazyCommand] = MappingProxyType({}),
        **attributes: Any,
    ) -> None:
        super().__init__(**attributes)
        self.command_groups = command_groups
        self.lazy_commands = {
            name: entry for group in command_groups.values() for name, entry in group.items()
        }
        self.aliases = aliases
        self.hidden_commands = hidden_commands

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.lazy_commands)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        entry = self.lazy_commands.get(cmd_name) or self.hidden_commands.get(cmd_name)
        if entry is None:
            return None
        command: click.Command = import_module(entry.module).command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        args = [*self.aliases.get(args[0], args[:1]), *args[1:]]
        name = args[0]
        is_known = name in self.lazy_commands or name in self.hidden_commands
        if not is_known and not name.startswith("-") and not ctx.resilient_parsing:
            from difflib import get_close_matches  # only a wrong name needs it

            near = get_close_matches(name, self.lazy_commands, n=1)
            hint = f"Did you mean {near[0]!r}?" if near else f"Use one of {', '.join(self.lazy_commands)}."
            raise click.UsageError(f"There is no command {name[:60]!r}. {hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        width = max(map(len, self.lazy_commands))  # so that all groups are aligned
        for heading, group in self.command_groups.items():
            with formatter.section(heading):
                formatter.write_dl([(f"{name:{width}}", entry.short_help) for name, entry in group.items()])
