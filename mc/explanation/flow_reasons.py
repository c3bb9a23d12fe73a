"""Reasons why a flow does not move, worked out from what its store knows of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Final

from mc.durations import format_duration
from mc.explanation.explanation import Explanation, Reason, ReasonKind
from mc.explanation.facts import FlowFacts, TaskFacts
from mc.explanation.task_reasons import command, explain_task, is_due, read_time
from mc.flows.calls.failure import shorten
from mc.flows.controls.control import Control
from mc.flows.state.task_states import has_failed
from mc.statuses import FINISHED_FLOW_STATUSES

__all__ = ["LATE_AFTER", "explain_flow"]

LATE_AFTER: Final = timedelta(minutes=10)  # for so long a flow may be due before it is called late
_SHOWN: Final = 5
_LONGEST: Final = 500  # characters of a reason or an error
_BY_LEAVE: Final = ("shell", "http")  # task types that `allow` is for
_TICK: Final = command("tick")


def explain_flow(facts: FlowFacts) -> Explanation:
    """Return why a flow does not move, and what would move it.

    There is at least one reason. Of a flow that is paused, blocked or finished, and of one of which a person
    asks something, the tasks are left out: nothing that happens to them moves it.
    """
    if facts.controls:
        reasons = [_asked(control, facts) for control in facts.controls]
        if facts.status in FINISHED_FLOW_STATUSES:
            reasons.append(_finished(facts))
    elif facts.status in FINISHED_FLOW_STATUSES:
        reasons = [_finished(facts)]
    elif facts.cancel is not None:
        reasons = [_cancelling(facts)]
    elif facts.status == "PAUSED":
        reasons = [_paused(facts)]
    elif facts.status == "BLOCKED":
        reasons = [_blocked(facts)]
    else:
        reasons = [_live(facts)]
        for task in facts.tasks:
            reasons += explain_task(task, facts, explain_flow)
        return _answer(facts, reasons, len(facts.tasks))
    if facts.lease is not None and facts.lease.is_live:
        reasons.append(_held(facts))
    return _answer(facts, reasons)


def _answer(facts: FlowFacts, reasons: Sequence[Reason], shown: int = 0) -> Explanation:
    unfinished = sum(facts.counts.get(status, 0) for status in ("PENDING", "RUNNING", "WAITING"))
    is_finished = facts.status in FINISHED_FLOW_STATUSES
    return Explanation(
        flow_key=facts.key,
        status=facts.status,
        at=facts.now,
        reasons=tuple(reasons),
        tasks_not_shown=0 if is_finished else max(unfinished - shown, 0),
        fails_at=None if is_finished else facts.deadline_at,
        parent_key=facts.parent_key,
    )


# --- flows that no tick takes up -----------------------------------------------------------


def _finished(facts: FlowFacts) -> Reason:
    parts = [f"The flow is finished: {facts.status}."]
    if facts.error:
        parts.append(f"{facts.error.get('type')}: {facts.error.get('message')}")
    if facts.status == "FAILED":
        parts += [_describe_failed(task) for task in facts.failed[:_SHOWN]]
        more = facts.counts.get("FAILED", 0) - min(len(facts.failed), _SHOWN)
        if more > 0:
            parts.append(f"And {more} more tasks failed.")
    change = facts.last_change
    if change is not None and (change.by or change.reason) and not facts.error:
        parts.append(_by_whom("It was ended", facts))
    if facts.status == "COMPLETED":
        moves, words = "Nothing: this status is final.", ["show"]
    else:
        moves = "A person who retries it; what is COMPLETED is not done again."
        words = ["retry", "history"]
    return Reason(
        kind=ReasonKind.FINISHED,
        text=" ".join(shorten(part, _LONGEST) for part in parts),
        moves=moves,
        since=facts.finished_at,
        commands=tuple(command(word, facts.key) for word in words),
    )


def _describe_failed(task: TaskFacts) -> str:
    error = task.task.get("error") or {}
    return (
        f"Task {task.key!r} failed at attempt {task.task.get('attempt')}: {error.get('type', 'TaskFailed')}: "
        f"{error.get('message', 'no reason given')}"
    )


def _asked(control: Control, facts: FlowFacts) -> Reason:
    why = f": {shorten(control.reason, _LONGEST).rstrip('.')}" if control.reason else ""
    tasks = f" (task {', '.join(control.tasks[:_SHOWN])})" if control.tasks else ""
    return Reason(
        kind=ReasonKind.ASKED,
        text=f"{control.by} asks to {control.kind} the flow{tasks}{why}.",
        moves=_who_does_it(facts),
        since=read_time(control.at),
        until=_not_before(facts),
        commands=(_TICK,),
    )


def _cancelling(facts: FlowFacts) -> Reason:
    why = f": {facts.cancel}" if facts.cancel else ""
    return Reason(
        kind=ReasonKind.CANCELLING,
        text=f"The flow is to be cancelled{shorten(why, _LONGEST)}.",
        moves=_who_does_it(facts),
        until=_not_before(facts),
        commands=(_TICK,),
    )


def _who_does_it(facts: FlowFacts) -> str:
    if facts.lease is not None and facts.lease.is_live:
        return "The runner that is at work on the flow, or the next tick, does it."
    if _not_before(facts) is not None:
        return f"The first tick after that time, which does it. {_runners(facts)}"
    return f"The next tick, which does it. {_runners(facts)}"


def _not_before(facts: FlowFacts) -> datetime | None:
    """Return when the next tick takes the flow up, where that is later: runners had been lost by it."""
    at = facts.next_tick_at
    return at if at is not None and at > facts.now else None


def _paused(facts: FlowFacts) -> Reason:
    change = facts.last_change
    return Reason(
        kind=ReasonKind.PAUSED,
        text=_by_whom("The flow was paused", facts),
        moves="A person who resumes it.",
        since=change.at if change is not None else None,
        commands=(command("resume", facts.key), command("cancel", facts.key)),
    )


def _tick_with(facts: FlowFacts) -> str:
    """Return the command that brings what the tasks of a flow miss: leave to run, or a module."""
    missed = {str(entry.get("task_type")) for entry in facts.missing_handlers}
    leave = [name for name in _BY_LEAVE if name in missed]
    options = [f"--allow {name}" for name in leave]
    if missed.difference(leave):
        options.append("--handlers MODULE")
    return f"houston tick {' '.join(options)}"


def _by_whom(what: str, facts: FlowFacts) -> str:
    change = facts.last_change
    by = f" by {change.by}" if change is not None and change.by else ""
    reason = change.reason if change is not None and change.reason else "no reason given"
    return f"{what}{by}: {shorten(reason, _LONGEST).rstrip('.')}."


def _blocked(facts: FlowFacts) -> Reason:
    reason = facts.blocked_reason or "No reason is on record."
    since = facts.last_change.at if facts.last_change is not None else None
    if facts.missing_handlers and facts.next_tick_at is not None:
        return Reason(
            kind=ReasonKind.MISSING_HANDLER,
            text=f"The flow is blocked. {reason}",
            moves="A runner that has one of the handlers. Runners look again at the time that is named, or "
            "as soon as the flow is resumed.",
            since=since,
            until=facts.next_tick_at,
            commands=(command("resume", facts.key), _tick_with(facts), command("cancel", facts.key)),
        )
    return Reason(
        kind=ReasonKind.BLOCKED,
        text=f"The flow is blocked. {reason}",
        moves="A person who mends the cause and resumes it, or cancels it.",
        since=since,
        commands=tuple(command(word, facts.key) for word in ("history", "resume", "cancel")),
    )


# --- flows that ticks take up --------------------------------------------------------------


def _live(facts: FlowFacts) -> Reason:
    lease = facts.lease
    if lease is not None:
        return _held(facts) if lease.is_live else _lease_expired(facts)
    if facts.next_tick_at is None:
        return Reason(
            kind=ReasonKind.EVENT,
            text="No time makes the flow due: it waits for something outside.",
            moves="What its tasks wait for.",
        )
    if facts.next_tick_at > facts.now:
        return Reason(
            kind=ReasonKind.TIME,
            text="Nothing is to be done yet: the flow waits for a time.",
            moves=f"The first tick after that time, or what its tasks wait for. {_runners(facts)}",
            until=facts.next_tick_at,
        )
    return _due(facts)


def _held(facts: FlowFacts) -> Reason:
    lease = facts.lease
    assert lease is not None
    return Reason(
        kind=ReasonKind.HELD,
        text=f"The runner {lease.owner!r} is at work on the flow.",
        moves="That runner. If it vanished, the first tick after the end of its lease takes the flow over.",
        since=min((call.since for call in facts.calls), default=None),
        until=lease.expires_at,
    )


def _lease_expired(facts: FlowFacts) -> Reason:
    lease = facts.lease
    assert lease is not None
    before = f" {lease.lost_leases} vanished before it." if lease.lost_leases else ""
    return Reason(
        kind=ReasonKind.LEASE_EXPIRED,
        text=f"The runner {lease.owner!r} vanished while it was at work on the flow.{before}",
        moves=f"The next tick, which takes the flow over. {_runners(facts)}",
        since=lease.expires_at,
        commands=(_TICK,),
    )


def _due(facts: FlowFacts) -> Reason:
    since = facts.next_tick_at
    assert since is not None
    late = facts.now - since
    is_late = late > LATE_AFTER
    waits = f" for {format_duration(late.total_seconds())}, and no runner took it up" if is_late else ""
    return Reason(
        kind=ReasonKind.LATE if is_late else ReasonKind.DUE,
        text=f"The flow is due{waits}. {_next_tick(facts)}",
        moves=f"The next tick. {_runners(facts)}",
        since=since,
        commands=(_TICK, command("loop"), command("doctor")) if is_late else (_TICK,),
    )


def _runners(facts: FlowFacts) -> str:
    last = facts.last_runner
    if last is None:
        return "But no tick was ever made that takes up what is due: no runner seems to run on this database."
    ago = format_duration(max((facts.now - last.began_at).total_seconds(), 0.0))
    end = "" if last.ended_at is not None else ", and has not ended"
    return f"The last tick began {ago} ago (by {last.owner} on {last.host}){end}."


def _next_tick(facts: FlowFacts) -> str:
    """Return what the next tick would do."""
    if facts.deadline_at is not None and facts.deadline_at <= facts.now:
        return "The next tick would end it FAILED, as the time of its cfg.timeout is over."
    if has_failed(facts.cfg, facts.failures or 0, facts.counts) and facts.cfg.get("fail_fast", True):
        return "The next tick would end it FAILED."
    parts = [
        f"{verb} {_list(keys)}"
        for verb, keys in (
            ("start", list(_starting(facts))),
            ("call", [task.key for task in facts.tasks if task.status == "RUNNING"]),
            ("wake", [task.key for task in facts.tasks if _wakes(task, facts)]),
            ("skip", [task.key for task in facts.tasks if task.status == "PENDING" and task.unmet < 0]),
        )
        if keys
    ]
    if not parts:
        unfinished = any(facts.counts.get(status) for status in ("PENDING", "RUNNING", "WAITING"))
        return "The next tick would look at what happened." if unfinished else "The next tick would end it."
    return f"The next tick would {', '.join(parts)}."


def _starting(facts: FlowFacts) -> Iterator[str]:
    limit = facts.cfg.get("max_running_tasks")
    free = len(facts.tasks)
    if isinstance(limit, int):
        free = limit - facts.counts.get("RUNNING", 0) - facts.counts.get("WAITING", 0)
    for task in facts.tasks:
        if task.status == "PENDING" and not task.unmet and is_due(task.task, facts.now) and free > 0:
            free -= 1
            yield task.key


def _wakes(task: TaskFacts, facts: FlowFacts) -> bool:
    has_time = bool(task.task.get("next_tick_at") or task.task.get("deadline_at"))
    return task.status == "WAITING" and has_time and is_due(task.task, facts.now)


def _list(keys: Sequence[str]) -> str:
    shown = ", ".join(keys[:_SHOWN])
    return shown if len(keys) <= _SHOWN else f"{shown} and {len(keys) - _SHOWN} more"
