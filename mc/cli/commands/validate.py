"""`houston validate`: check flow specs."""

from __future__ import annotations

from typing import Any

import click

from mc.cli.exit_codes import ExitCode
from mc.cli.options import common_options
from mc.cli.output import count_of, print_json, printable, stdout_for_json
from mc.cli.settings import Settings
from mc.cli.spec_source import read_spec
from mc.errors import Problem, SpecError

__all__ = ["command"]


@click.command("validate")
@click.argument("specs", metavar="SPEC...", nargs=-1, required=True)
@common_options
@click.pass_obj
def command(settings: Settings, specs: tuple[str, ...]) -> int:
    """Check flow specs.

    SPEC is a JSON file, or - for stdin. Everything that is wrong is reported at once: where, what was
    found, what was expected. Nothing is run or stored, and no database is opened.
    """
    with stdout_for_json(settings.as_json):
        problems = [(source, problem) for source in specs for problem in _check(settings, source)]
    if settings.as_json:
        print_json({"valid": not problems, "problems": [_to_dict(*found) for found in problems]})
    else:
        _print_for_people(specs, problems)
    return ExitCode.BAD_INPUT if problems else ExitCode.DONE


def _check(settings: Settings, source: str) -> list[Problem]:
    from mc.flows.handler_registry import HandlerRegistry
    from mc.spec.validation import find_problems

    settings.import_handlers()
    try:
        spec = read_spec(source)
    except SpecError as error:
        return list(error.problems)
    return find_problems(spec, task_types=HandlerRegistry(handler_modules=settings.handler_modules))


def _to_dict(source: str, problem: Problem) -> dict[str, Any]:
    return {**problem.to_dict(), "file": source}


def _print_for_people(specs: tuple[str, ...], problems: list[tuple[str, Problem]]) -> None:
    for source, problem in problems:
        hint = f" Did you mean {problem.suggestion!r}?" if problem.suggestion else ""
        place = f"{source}:{problem.pointer}" if problem.pointer else source
        print(printable(f"{place}: {problem.message} [{problem.code}]{hint}"))
    wrong = {source for source, _ in problems}
    for source in dict.fromkeys(specs):
        if source not in wrong:
            print(printable(f"{source}: valid"))
    if problems:
        print(f"{count_of(len(problems), 'problem')} in {len(wrong)} of {count_of(len(set(specs)), 'spec')}")
