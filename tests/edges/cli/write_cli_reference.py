"""Write the generated part of docs/reference/cli.md: `python write_cli_reference.py [--check]`.

What the page says of options, commands and exit codes comes from the command itself. With --check nothing is
written, and the exit code is 1 if the page is out of date.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import click

from mc.cli.exit_codes import EXIT_CODE_MEANINGS
from mc.cli.main import COMMANDS, main

PAGE = Path(__file__).resolve().parents[3] / "docs" / "reference" / "cli.md"
BEGIN = "<!-- begin: written by tests/edges/cli/write_cli_reference.py -->"
END = "<!-- end -->"


def help_of(command: click.Command, name: str, parent: click.Context | None = None) -> str:
    """Return the help of a command as a terminal of 88 columns shows it."""
    context = click.Context(
        command,
        info_name=name,
        parent=parent,
        terminal_width=88,
        max_content_width=88,
        **command.context_settings,
    )
    return command.get_help(context)


def exit_code_table() -> Iterator[str]:
    """Yield the rows of the table of exit codes."""
    yield "| code | meaning |"
    yield "| --- | --- |"
    for code, meaning in EXIT_CODE_MEANINGS.items():
        yield f"| {code.value} | {meaning} |"


def generate() -> str:
    """Return the generated part of the page."""
    parent = click.Context(main, info_name="houston", **main.context_settings)
    lines = ["## Exit codes", "", *exit_code_table(), "", "## houston", ""]
    lines += ["```text", help_of(main, "houston"), "```", ""]
    for name, entry in COMMANDS.items():
        command = import_module(entry.module).command
        lines += [f"## houston {name}", "", "```text", help_of(command, name, parent), "```", ""]
        if isinstance(command, click.Group):
            group = click.Context(command, info_name=name, parent=parent, **command.context_settings)
            for part in command.commands.values():
                shown = help_of(part, str(part.name), group)
                lines += [f"### houston {name} {part.name}", "", "```text", shown, "```", ""]
    return "\n".join(line.rstrip() for line in "\n".join(lines).splitlines())


def replace_generated_part(page: str) -> str:
    """Return the page with the part between the two marks as it is now."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{generate()}\n\n{END}{after}"


if __name__ == "__main__":
    old = PAGE.read_text(encoding="utf-8")
    new = replace_generated_part(old)
    if "--check" not in sys.argv:
        PAGE.write_text(new, encoding="utf-8")
    elif new != old:
        sys.exit(f"{PAGE.name} is out of date; run python {Path(__file__).name}")
