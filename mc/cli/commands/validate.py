"""`houston validate`: check flow specs."""

from __future__ import annotations

from typing import Any

import click

from mc.cli.exit_codes import ExitCode
from mc.cli.options import common_options
from mc.cli.printing.output import count_of, print_json, printable, stdout_for_json
from mc.cli.settings import Settings
from mc.cli.spec_source import open_spec
from mc.errors import Problem, SpecError

__all__ = ["command"]


@click.command("validate")
@click.argument("specs", metavar="SPEC...", nargs=-1, required=True)
@common_options
@click.pass_obj
def command(settings: Settings, specs: tuple[str, ...]) -> int:
    """Check flow specs.

    SPEC is a JSON or YAML file, or - for stdin. Everything that is wrong is reported at once: where, what was
    found, what was expected. What is only doubtful is a warning, and the spec is valid. Nothing is run or
    stored, and no database is opened; of your code only the modules given by --handlers are imported.
    """
    problems: list[tuple[str, Problem]] = []
    warnings: list[tuple[str, Problem]] = []
    with stdout_for_json(settings.as_json):
        for source in specs:
            wrong, doubtful = _check(settings, source)
            problems += [(source, problem) for problem in wrong]
            warnings += [(source, problem) for problem in doubtful]
    if settings.as_json:
        document: dict[str, Any] = {
            "valid": not problems,
            "problems": [_to_dict(*found) for found in problems],
        }
        if warnings:
            document["warnings"] = [_to_dict(*found) for found in warnings]
        print_json(document)
    else:
        _print_for_people(specs, problems, warnings)
    return ExitCode.BAD_INPUT if problems else ExitCode.DONE


def _check(settings: Settings, source: str) -> tuple[list[Problem], list[Problem]]:
    from mc.spec.validation import inspect_flow_spec

    registry = settings.make_registry()
    try:
        text = open_spec(source)
        problems, warnings = inspect_flow_spec(text.parse(), task_types=registry)
    except SpecError as error:
        return list(error.problems), []
    if not problems and not warnings:
        return [], []
    return text.locate(problems), text.locate(warnings)


def _describe(source: str, problem: Problem, kind: str = "") -> str:
    hint = f" Did you mean {problem.suggestion!r}?" if problem.suggestion else ""
    place = f"{source}:{problem.line}:{problem.column}" if problem.line is not None else source
    pointer = f"{problem.pointer}: " if problem.pointer else ""
    return printable(f"{place}: {pointer}{kind}{problem.message} [{problem.code}]{hint}")


def _to_dict(source: str, problem: Problem) -> dict[str, Any]:
    return {**problem.to_dict(), "file": source}


def _print_for_people(
    specs: tuple[str, ...], problems: list[tuple[str, Problem]], warnings: list[tuple[str, Problem]]
) -> None:
    for source, problem in problems:
        print(_describe(source, problem))
    for source, problem in warnings:
        print(_describe(source, problem, "warning: "))
    wrong = {source for source, _ in problems}
    for source in dict.fromkeys(specs):
        if source not in wrong:
            print(printable(f"{source}: valid"))
    if problems:
        print(f"{count_of(len(problems), 'problem')} in {len(wrong)} of {count_of(len(set(specs)), 'spec')}")
