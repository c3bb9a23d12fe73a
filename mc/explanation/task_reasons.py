"""Reasons why the tasks of a flow do not move, told from their dicts alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from shlex import quote
from typing import Any, Final

from mc.context.json_values import dumps
from mc.durations import parse_time
from mc.errors import DurationError
from mc.explanation.explanation import Explanation, Reason, ReasonKind
from mc.explanation.facts import FlowFacts, ShortageFacts, TaskFacts
from mc.explanation.job_reasons import explain_job
from mc.flows.calls.call_note import CallNote
from mc.flows.calls.failure import shorten
from mc.flows.resources.requests import was_refused
from mc.flows.state.start_rules import DEFAULT_RULE
from mc.flows.state.task_node import Task
from mc.spec.task_types import canonical_task_type

__all__ = ["ExplainSubFlow", "command", "explain_task", "is_due", "read_time"]

ExplainSubFlow = Callable[[FlowFacts], Explanation]

_INSIDE: Final = 10  # reasons that are told of one task with others inside it
_SHOWN: Final = 5
_LONGEST: Final = 300  # characters of an error or a question
_AT_ITS_TIMEOUT: Final = " At its cfg.timeout it fails."


def explain_task(task: TaskFacts, facts: FlowFacts, explain: ExplainSubFlow) -> list[Reason]:
    """Return why a task that is unfinished does not move; one reason, or one for each task inside it.

    Args:
        task: the task.
        facts: of its flow.
        explain: explains a stored sub-flow.
    """
    calls = [call for call in facts.calls if call.task == task.key or call.task.startswith(f"{task.key}/")]
    reasons = [_called(call) for call in calls if not call.holds_others or len(calls) == 1]
    if task.status != "PENDING":
        paths = {call.task for call in calls}
        inside = _Walk(facts, explain).in_task(task.task, task.status, task.key)
        reasons += [reason for reason in inside if reason.task not in paths]
    if reasons:
        return reasons[:_INSIDE]
    if task.unmet:
        return [_precursors(task, facts)]
    for why_not in _HELD_UP:
        reason = why_not(task.task, task.key, facts)
        if reason is not None:
            return [reason]
    return [_startable(task.key)]


def is_due(task: Task, now: datetime) -> bool:
    """Tell whether the time has come for a task that waits for one, or that none is set."""
    times = [read_time(task.get(name)) for name in ("next_tick_at", "deadline_at")]
    known = [time for time in times if time is not None]
    return not known or min(known) <= now


def read_time(text: Any) -> datetime | None:
    """Return a time that a task dict holds; None where it holds none."""
    try:
        return parse_time(text) if text else None
    except DurationError:
        return None


def command(*words: str) -> str:
    """Return a command line to type."""
    return " ".join(["houston", *(quote(word) for word in words)])


def _called(call: CallNote) -> Reason:
    return Reason(
        kind=ReasonKind.CALLED,
        task=call.task,
        text=f"The task is being called, in attempt {call.attempt}, by {call.describe_runner()}.",
        moves="The end of the call.",
        since=call.since,
    )


# --- tasks that have not begun -------------------------------------------------------------


def _retry(task: Task, path: str, facts: FlowFacts) -> Reason | None:
    at = read_time(task.get("next_tick_at"))
    if at is None or at <= facts.now:
        return None
    attempts = task.get("attempts")
    last = attempts[-1] if isinstance(attempts, list) and attempts else {}
    failure = _failure_of(last if isinstance(last, Mapping) else {}).rstrip(".")
    return Reason(
        kind=ReasonKind.RETRY,
        task=path,
        text=f"Attempt {task.get('attempt')} of the task failed{f': {failure}' if failure else ''}.",
        moves="It is tried again by the first tick after its delay.",
        since=read_time(last.get("finished_at")) if isinstance(last, Mapping) else None,
        until=at,
    )


def _limit(_task: Task, path: str, facts: FlowFacts) -> Reason | None:
    limit = facts.cfg.get("max_running_tasks")
    running = facts.counts.get("RUNNING", 0) + facts.counts.get("WAITING", 0)
    if not isinstance(limit, int) or running < limit:
        return None
    return Reason(
        kind=ReasonKind.LIMIT,
        task=path,
        text=f"The task may start, but {running} tasks run, and cfg.max_running_tasks is {limit}.",
        moves="The end of one of those tasks.",
    )


def _resources(task: Task, path: str, facts: FlowFacts) -> Reason | None:
    if not was_refused(task):
        return None
    noted = task["resource_claim"]
    names = [str(name) for name in noted.get("lacking") or ()]
    for name in names:
        if name in facts.shortages:
            return _shortage(name, facts.shortages[name], path, read_time(noted.get("since")))
    shown = ", ".join(names) or "resources"
    look = command("resource", "show", names[0]) if names else command("resource", "list")
    return Reason(
        kind=ReasonKind.LIMIT,
        task=path,
        text=f"The task waits for its turn to have {shown}.",
        moves=f"Tasks that give it back, or more of it; {look} tells who has it and how much there is.",
        since=read_time(noted.get("since")),
        until=read_time(noted.get("until")),
        commands=(look,),
    )


def _shortage(name: str, shortage: ShortageFacts, path: str, since: datetime | None) -> Reason:
    """Return the reason of a task that waits for what it cannot get as the resource is set."""
    if shortage.is_set:
        text = f"The task asks for {shortage.asked} of {name}, and there are never more than {shortage.most}."
        words = command("resource", "show", name)
    else:
        text = f"The task asks for {shortage.asked} of {name}, and nobody has set how many there are."
        words = f"{command('resource', 'set', name)} --slots N"
    return Reason(
        kind=ReasonKind.LIMIT,
        task=path,
        text=text,
        moves=f"A person who sets at least {shortage.asked}.",
        since=since,
        commands=(words,),
    )


# Each tells why a task whose precursors are done is held up by something else, or None; the first counts.
_HELD_UP: Final[tuple[Callable[[Task, str, FlowFacts], Reason | None], ...]] = (_resources, _retry, _limit)


def _startable(path: str) -> Reason:
    return Reason(
        kind=ReasonKind.STARTABLE, task=path, text="The task can start.", moves="It starts at the next tick."
    )


def _precursors(task: TaskFacts, facts: FlowFacts) -> Reason:
    if task.unmet < 0:
        return Reason(
            kind=ReasonKind.STARTABLE,
            task=task.key,
            text="The task can never start, because of how the tasks before it ended.",
            moves="The next tick makes it SKIPPED.",
        )
    called = {call.task for call in facts.calls}
    before = [(key, "RUNNING" if key in called else status) for key, status in task.precursors[:_SHOWN]]
    shown = ", ".join(f"{key} ({status})" for key, status in before)
    more = task.unmet - min(len(task.precursors), _SHOWN)
    others = f" and {more} more" if more > 0 else ""
    rule = (task.task.get("cfg") or {}).get("start_when") or DEFAULT_RULE
    by = "" if rule == DEFAULT_RULE else f"; its cfg.start_when is {shorten(dumps(rule), _LONGEST)}"
    return Reason(
        kind=ReasonKind.PRECURSORS,
        task=task.key,
        text=f"The task waits for {shown or 'tasks before it'}{others}{by}.",
        moves="What moves those tasks.",
    )


# --- tasks that have begun -----------------------------------------------------------------


class _Walk:
    """Finds what a task that has begun waits for, inside other tasks too."""

    def __init__(self, facts: FlowFacts, explain: ExplainSubFlow) -> None:
        self._facts = facts
        self._explain = explain

    def in_task(self, task: Task, status: str, path: str) -> Iterator[Reason]:
        """Yield the reasons of a RUNNING or WAITING task."""
        proxied, flow_dict = task.get("proxied_task"), task.get("flow_dict")
        inside: Iterator[Reason] = iter(())
        if isinstance(proxied, dict):
            inside = self._in_proxied(proxied, path)
        elif isinstance(flow_dict, dict):
            inside = self._in_flow_dict(flow_dict, path)
        first = next(inside, None)
        yield self._of_task(task, status, path) if first is None else first
        yield from inside

    def _in_proxied(self, task: Task, path: str) -> Iterator[Reason]:
        key, status = str(task.get("key")), task.get("status", "PENDING")
        inner = path if key == path.rpartition("/")[2] else f"{path}/{key}"
        yield from self._inside(task, status, inner)

    def _in_flow_dict(self, flow_dict: Mapping[str, Any], path: str) -> Iterator[Reason]:
        tasks = flow_dict["graph"]["tasks"]
        for key, task in tasks.items():
            status = task.get("status")
            if status in ("RUNNING", "WAITING") or (
                status == "PENDING" and (task.get("next_tick_at") or was_refused(task))
            ):
                yield from self._inside(task, status, f"{path}/{key}")

    def _inside(self, task: Task, status: Any, path: str) -> Iterator[Reason]:
        if status in ("RUNNING", "WAITING"):
            yield from self.in_task(task, status, path)
        elif status == "PENDING":
            reason = _resources(task, path, self._facts) or _retry(task, path, self._facts)
            yield reason or _startable(path)

    def _of_task(self, task: Task, status: str, path: str) -> Reason:
        if status == "WAITING":
            refused = _resources(task, path, self._facts)
            if refused is not None:
                return refused
            job = self._facts.jobs.get(str(task.get("job_key")))
            if job is not None:
                return explain_job(job, path, self._facts.key)
            if isinstance(task.get("waits_for"), dict):
                return _signal(task, path, self._facts)
            data = task.get("data")
            awaits = data.get("flow_key") if isinstance(data, dict) else None
            if isinstance(awaits, str) and not task.get("next_tick_at"):
                return self._sub_flow(task, path)
            if task.get("next_tick_at") or task.get("deadline_at"):
                return _time(task, path, self._facts)
            return Reason(
                kind=ReasonKind.EVENT,
                task=path,
                text=f"The task waits for something outside that its type {task.get('task_type')!r} knows.",
                moves="Whatever its handler waits for, when it makes the flow due.",
                since=read_time(task.get("started_at")),
            )
        return _running(task, path, self._facts)

    def _sub_flow(self, task: Task, path: str) -> Reason:
        key = task["data"]["flow_key"]
        below = self._facts.sub_flows.get(key)
        since, until = read_time(task.get("started_at")), read_time(task.get("deadline_at"))
        text = f"The task waits for the sub-flow {key!r}"
        if below is None and key in self._facts.sub_flows:
            return Reason(
                kind=ReasonKind.SUB_FLOW,
                task=path,
                text=f"{text}, which is not stored any more.",
                moves="A person: the sub-flow will not come to its end.",
                since=since,
                commands=(command("cancel", self._facts.key),),
            )
        return Reason(
            kind=ReasonKind.SUB_FLOW,
            task=path,
            text=f"{text}, which is {below.status}." if below is not None else f"{text}.",
            moves=f"The end of the sub-flow.{_AT_ITS_TIMEOUT if until is not None else ''}",
            since=since,
            until=until,
            commands=(command("explain", key),) if below is None else (),
            sub_flow=self._explain(below) if below is not None else None,
        )


def _signal(task: Task, path: str, facts: FlowFacts) -> Reason:
    waits_for = task["waits_for"]
    since, (until, at_the_end) = read_time(waits_for.get("since")), _end_of_wait(task)
    if canonical_task_type(str(task.get("task_type"))) == "approval":
        params = task.get("task_params") or {}
        approvers, message = params.get("approvers"), params.get("message")
        who, by = "somebody", ""
        if isinstance(approvers, list):
            who, by = " or ".join(map(str, approvers)), " --by NAME"
        asked = f"; it asks {shorten(str(message), _LONGEST)!r}" if message else ""
        return Reason(
            kind=ReasonKind.APPROVAL,
            task=path,
            text=f"The task waits until {who} approves or rejects{asked}.",
            moves=f"The decision of {who}.{at_the_end}",
            since=since,
            until=until,
            commands=tuple(command(word, facts.key, path) + by for word in ("approve", "reject")),
        )
    name = str(waits_for.get("signal"))
    others = ", ".join(map(repr, facts.free_signals))
    unlike = f" Signals that came and that no task has taken: {others}." if others else ""
    schema = (task.get("task_params") or {}).get("schema") is not None
    words = ("signal", facts.key, name)
    return Reason(
        kind=ReasonKind.SIGNAL,
        task=path,
        text=f"The task waits for the signal {name!r}.{unlike}",
        moves=f"The signal{', with data that fit its schema' if schema else ''}.{at_the_end}",
        since=since,
        until=until,
        commands=(command(*words, "--data", "JSON") if schema else command(*words),),
    )


def _end_of_wait(task: Task) -> tuple[datetime | None, str]:
    """Return when a wait for a signal is over, and what happens then."""
    until, deadline = read_time(task["waits_for"].get("until")), read_time(task.get("deadline_at"))
    if deadline is not None and (until is None or deadline <= until):
        return deadline, _AT_ITS_TIMEOUT
    return until, " At its timeout it goes on by its default, or fails." if until is not None else ""


def _time(task: Task, path: str, facts: FlowFacts) -> Reason:
    at, deadline = read_time(task.get("next_tick_at")), read_time(task.get("deadline_at"))
    since = read_time(task.get("started_at"))
    if at is None or (deadline is not None and deadline < at):
        return Reason(
            kind=ReasonKind.EVENT if at is None else ReasonKind.TIME,
            task=path,
            text="The task waits; at its cfg.timeout it fails.",
            moves="What its handler waits for, or the timeout.",
            since=since,
            until=deadline,
        )
    come = at <= facts.now
    return Reason(
        kind=ReasonKind.TIME,
        task=path,
        text="The task waited for a time that has come." if come else "The task waits for a time.",
        moves="The next tick." if come else "The first tick after that time.",
        since=since,
        until=at,
    )


def _running(task: Task, path: str, facts: FlowFacts) -> Reason:
    held = facts.lease is not None and facts.lease.is_live
    return Reason(
        kind=ReasonKind.RUNNING,
        task=path,
        text="The task has begun and is not done.",
        moves="The runner that is at work on the flow." if held else "The next tick, which calls it again.",
        since=read_time(task.get("started_at")),
        until=read_time(task.get("deadline_at")),
    )


def _failure_of(attempt: Mapping[str, Any]) -> str:
    error = attempt.get("error")
    if not isinstance(error, Mapping):
        return ""
    return shorten(f"{error.get('type', 'TaskFailed')}: {error.get('message', 'no reason given')}", _LONGEST)
