"""The fixture `assert_history`."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import zip_longest
from types import EllipsisType
from typing import TYPE_CHECKING, Final

from mc.errors import FlowNotFoundError

if TYPE_CHECKING:
    from mc.flows.flow import Flow
    from mc.simulation.timeline import Timeline
    from mc.store.flow_store import FlowStore

__all__ = ["HistoryAssertion"]

_ANY: Final = "..."
_FLOW: Final = "(flow)"  # no task can be called so

Expected = Sequence["str | EllipsisType"]


class HistoryAssertion:
    """Compares what happened to a flow with what was expected.

    Args:
        timeline: what the engine of the test did.
        store: the store of the test, if it uses one.
    """

    def __init__(self, timeline: Timeline, store: FlowStore | None) -> None:
        self._timeline = timeline
        self._store = store

    def __call__(
        self,
        flow: Flow | str,
        expected: Expected,
        *,
        statuses: Collection[str] | None = None,
        tasks: Collection[str] | None = None,
        inside: bool = False,
    ) -> None:
        """Raise `AssertionError`, with a diff, unless a flow's changes of status are as expected.

        A line is the key of a task and its new status, `fetch COMPLETED`; `(flow) COMPLETED` is that of the
        flow.
        A failure, and the PENDING of a task that is to be tried again, may name the error too:
        `fetch FAILED TimeoutError`. `...`, or the text of it, stands for any number of lines.

        Args:
            flow: the flow, or its key. Of a flow in `mc_store` its stored history is compared, of others what
                `mc_engine` did.
            expected: the lines, in order.
            statuses: those that count; all but RUNNING unless given.
            tasks: the tasks that count, by key (`(flow)` for the flow); all unless given.
            inside: also compare what happened inside tasks, by path (`outer/inner COMPLETED`), as far as
                `mc_engine` did it.
        """
        __tracebackhide__ = True
        key = flow if isinstance(flow, str) else flow.key
        happened = [
            line
            for line in self._lines(key, inside)
            if (line[1] != "RUNNING" if statuses is None else line[1] in statuses)
            and (tasks is None or line[0] in tasks)
        ]
        wanted = [_ANY if isinstance(line, EllipsisType) else " ".join(line.split()) for line in expected]
        if not _matches(wanted, happened):
            raise AssertionError(_describe(key, wanted, happened))

    def _lines(self, key: str, inside: bool) -> Iterable[tuple[str, ...]]:
        if self._store is not None and not inside:
            try:
                events = self._store.history.events(key)
            except FlowNotFoundError:
                events = []
            if events:
                return [
                    _line(event.task_key, event.new_status, event.error)
                    for event in events
                    if event.kind == "changed" and event.new_status is not None
                ]
        return [
            _line(entry.task, entry.event, entry.error)
            for entry in self._timeline.entries(key)
            if entry.old_status is not None and (inside or "/" not in (entry.task or ""))
        ]


def _line(task: str | None, status: str, error: dict[str, object] | None) -> tuple[str, ...]:
    words = (task or _FLOW, status)
    names_error = status in ("FAILED", "PENDING") and error is not None and task is not None
    return (*words, str(error.get("type"))) if names_error and error is not None else words


def _matches(wanted: Sequence[str], happened: Sequence[tuple[str, ...]]) -> bool:
    """Tell whether lines are as wanted, `...` standing for any number of them."""
    reached = {0}  # how many of the lines may have been used up
    for want in wanted:
        if want == _ANY:
            reached = set(range(min(reached), len(happened) + 1)) if reached else set()
        else:
            reached = {at + 1 for at in reached if at < len(happened) and _is_line(want, happened[at])}
    return len(happened) in reached


def _is_line(want: str, line: tuple[str, ...]) -> bool:
    return want in (" ".join(line), " ".join(line[:2]))


def _describe(key: str, wanted: Sequence[str], happened: Sequence[tuple[str, ...]]) -> str:
    """Return a diff; a line that is as expected is shown as it was expected."""
    expected = set(wanted)
    shown = [" ".join(line[:2]) if " ".join(line[:2]) in expected else " ".join(line) for line in happened]
    lines = "\n".join(f"  {line}" for line in _diff(wanted, shown))
    if not happened:
        lines += "\n  (nothing happened: was it ticked by mc_engine, or stored in mc_store?)"
    return f"The history of flow {key!r} is not as expected (- expected, + happened):\n{lines}"


def _diff(wanted: Sequence[str], shown: Sequence[str]) -> Iterator[str]:
    matcher = difflib.SequenceMatcher(a=wanted, b=shown, autojunk=False)
    for kind, a_from, a_to, b_from, b_to in matcher.get_opcodes():
        if kind == "equal":
            yield from (f"  {line}" for line in wanted[a_from:a_to])
            continue
        if set(wanted[a_from:a_to]) == {_ANY}:
            yield "  ..."
            continue
        for expected, found in zip_longest(wanted[a_from:a_to], shown[b_from:b_to]):
            yield from (
                f"{sign} {line}" for sign, line in (("-", expected), ("+", found)) if line is not None
            )
