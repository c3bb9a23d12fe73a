"""Scripts of simulations: results of tasks, and what comes from outside, read from JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from mc.durations import parse_duration, parse_time
from mc.errors import DurationError, Problem, ResourceError, SpecError
from mc.flows.resource import Resource, make_resource
from mc.simulation.scripted_results import ScriptedResult, ScriptedResults, make_exception
from mc.spec.problems import NameSuggester, join_pointer, make_problem, shorten
from mc.spec.reading.json_tree import make_plain
from mc.spec.schema.schema_errors import describe_schema_error
from mc.spec.task_graph import assign_task_keys

__all__ = ["Decision", "Script", "SentSignal", "load_script_schema", "read_script"]

_START: Final = datetime(2000, 1, 1, tzinfo=UTC)
_FAILURE_TYPE: Final = "RuntimeError"
_DURATION: Final = 'seconds, "15m", "1h30m" or ISO 8601 "PT15M"'


@dataclass(frozen=True, slots=True, kw_only=True)
class SentSignal:
    """A signal that is sent in the course of a simulation."""

    after: float  # seconds since the start
    name: str
    data: Any = None
    id: str | None = None
    by: str | None = None

    def __str__(self) -> str:
        return f"signal {self.name!r}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """A decision on an approval that is made in the course of a simulation."""

    after: float  # seconds since the start
    task: str
    approved: bool
    by: str
    comment: str | None = None

    def __str__(self) -> str:
        return f"{'approval' if self.approved else 'rejection'} of {self.task!r} by {self.by}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """What a simulation is told.

    Attributes:
        results: of tasks.
        events: what comes from outside, in the order in which it comes.
        start: the time at which the clock stands at first.
        resources: what there is of named resources.
    """

    results: ScriptedResults
    events: tuple[SentSignal | Decision, ...] = ()
    start: datetime = _START
    resources: tuple[Resource, ...] = ()


def load_script_schema() -> dict[str, Any]:
    """Return a fresh copy of the JSON Schema (draft 2020-12) of the script of a simulation."""
    import json
    from importlib import resources

    text = resources.files("mc.simulation").joinpath("script.schema.json").read_text(encoding="utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema


def read_script(value: Any, flow_spec: Mapping[str, Any] | None = None) -> Script:
    """Return what a simulation is told by a JSON value.

    Args:
        value: any value, which `load_script_schema` describes.
        flow_spec: the sound spec of the flow; results of tasks that it does not have are problems then.

    Raises:
        SpecError: it is malformed; `.problems` lists everything.
    """
    plain, problems = make_plain(value)
    problems = problems or _find_problems(plain, flow_spec)
    if problems:
        head = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        shown = "\n".join(f"  {problem}" for problem in problems[:20])
        raise SpecError(f"The script has {head}:\n{shown}", problems)
    events = [_to_signal(item) for item in plain.get("signals") or ()]
    decisions = [_to_decision(item) for item in plain.get("decisions") or ()]
    return Script(
        results=ScriptedResults(
            {path: _to_attempts(item) for path, item in (plain.get("tasks") or {}).items()},
            {name: _to_attempts(item) for name, item in (plain.get("task_types") or {}).items()},
        ),
        events=tuple(sorted([*events, *decisions], key=lambda event: event.after)),
        start=parse_time(plain["start"]) if "start" in plain else _START,
        resources=tuple(
            make_resource(name, **given) for name, given in (plain.get("resources") or {}).items()
        ),
    )


def _find_problems(value: Any, flow_spec: Mapping[str, Any] | None) -> list[Problem]:
    from jsonschema import Draft202012Validator

    suggester = NameSuggester()
    found: dict[Problem, None] = {}
    for error in Draft202012Validator(load_script_schema()).iter_errors(value):
        found.update(dict.fromkeys(describe_schema_error(error, "", suggester)))
    if found:
        return list(found)
    problems = [*_find_bad_times(value), *_find_bad_resources(value)]
    return [*problems, *_find_unknown_tasks(value, flow_spec, suggester)]


def _find_bad_times(value: Mapping[str, Any]) -> Iterator[Problem]:
    if "start" in value:
        try:
            parse_time(value["start"])
        except DurationError as error:
            yield make_problem("MC131", "/start", error.message, found=value["start"], expected="a time")
    for pointer, duration in _list_durations(value):
        try:
            parse_duration(duration)
        except DurationError as error:
            yield make_problem("MC130", pointer, error.message, found=duration, expected=_DURATION)


def _find_bad_resources(value: Mapping[str, Any]) -> Iterator[Problem]:
    for name, given in (value.get("resources") or {}).items():
        try:
            make_resource(name, **given)
        except ResourceError as error:
            place = join_pointer("", "resources", name)
            yield make_problem("MC006", place, error.message, found=given, expected="slots, a rate, or both")


def _list_durations(value: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for group in ("tasks", "task_types"):
        for name, result in (value.get(group) or {}).items():
            place = join_pointer("", group, name)
            attempts = enumerate(result.get("attempts") or ())
            for where, one in [(place, result), *((f"{place}/attempts/{at}", one) for at, one in attempts)]:
                if "duration" in one:
                    yield f"{where}/duration", one["duration"]
    for group in ("signals", "decisions"):
        for at, item in enumerate(value.get(group) or ()):
            if "at" in item:
                yield f"/{group}/{at}/at", item["at"]


def _find_unknown_tasks(
    value: Mapping[str, Any], flow_spec: Mapping[str, Any] | None, suggester: NameSuggester
) -> Iterator[Problem]:
    """Yield the paths whose first step is no task of the flow; what tasks hold inside, a run tells."""
    if flow_spec is None:
        return
    keys = assign_task_keys(flow_spec.get("tasks") or [])
    for path in value.get("tasks") or {}:
        first = path.split("/")[0]
        if first != "*" and first not in keys:
            yield make_problem(
                "MC152",
                join_pointer("", "tasks", path),
                f"The path {shorten(path)} begins with {shorten(first)}, but the flow has no such task.",
                found=path,
                expected="the path of a task: its key, after the keys of the tasks around it",
                suggestion=suggester.nearest(first, keys),
            )


def _to_attempts(result: Mapping[str, Any]) -> list[ScriptedResult]:
    return [_to_result(one) for one in result.get("attempts") or [result]]


def _to_result(attempt: Mapping[str, Any]) -> ScriptedResult:
    error = None
    if "fail" in attempt:
        fail = attempt["fail"]
        given = {"message": fail} if isinstance(fail, str) else fail
        error = make_exception(given.get("type", _FAILURE_TYPE), given.get("message", "as the script says"))
    return ScriptedResult(data=attempt.get("data") or {}, duration=attempt.get("duration", 0), error=error)


def _to_signal(item: Mapping[str, Any]) -> SentSignal:
    return SentSignal(
        after=parse_duration(item.get("at", 0)),
        name=item["signal"],
        data=item.get("data"),
        id=item.get("id"),
        by=item.get("by"),
    )


def _to_decision(item: Mapping[str, Any]) -> Decision:
    return Decision(
        after=parse_duration(item["at"]),
        task=item["task"],
        approved=item["approved"],
        by=item["by"],
        comment=item.get("comment"),
    )
