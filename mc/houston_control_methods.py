"""Methods of `Houston` by which people act on flows: cancel, pause, resume, retry, skip, set, migrate."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mc.errors import Problem
    from mc.flows.flow import Flow
    from mc.flows.flow_engine import FlowEngine
    from mc.flows.migration.plan import MigrationPlan
    from mc.flows.state.flow_state import FlowState
    from mc.runners.flow_runner import FlowRunner
    from mc.runners.immediate_control import ControlReport
    from mc.store.flow_store import FlowStore

__all__ = ["ControlMethods"]


class ControlMethods:
    """The part of `Houston` by which a person acts on flows that are stored."""

    @property
    @abstractmethod
    def engine(self) -> FlowEngine:
        """Makes flows of specs."""

    @property
    @abstractmethod
    def store(self) -> FlowStore:
        """Keeps flows in the database."""

    @property
    @abstractmethod
    def runner(self) -> FlowRunner:
        """Does what is asked."""

    def cancel(self, key: str, *, by: str, reason: str | None = None) -> ControlReport:
        """End an unfinished flow CANCELLED, with what runs in it and with its stored sub-flows.

        Like `pause`, `resume`, `retry`, `skip` and `set` it is kept in the flow's history, with who and why.
        It is done at once; where a runner holds the flow at this moment, that one does it after the task
        under way, and `done` is False.

        Args:
            key: of the flow.
            by: who asks.
            reason: why, for people.

        Raises:
            ControlError: the flow's state does not allow it.
            FlowNotFoundError: there is no flow with that key.
        """
        return self._control(key, "cancel", by=by, reason=reason)

    def pause(self, key: str, *, by: str, reason: str | None = None) -> ControlReport:
        """Let no tick touch an unfinished flow, nor its stored sub-flows, until it is resumed; see `cancel`.

        Timeouts and waits go on meanwhile: what is over time when the flow is resumed fails then.
        """
        return self._control(key, "pause", by=by, reason=reason)

    def resume(self, key: str, *, by: str, reason: str | None = None, extend: bool = False) -> ControlReport:
        """Let a PAUSED or BLOCKED flow go on; see `cancel`.

        Its clock has not stood still: what is over its timeout by now fails at its next tick.

        Args:
            key: of the flow.
            by: who asks.
            reason: why, for people.
            extend: give back the time for which it was stopped: the timeouts of the flow, of its tasks under
                way and of waits for signals are moved by as much; what waits for a time is due when it was.
        """
        return self._control(key, "resume", by=by, reason=reason, extend=extend)

    def retry(
        self, key: str, tasks: Iterable[str] = (), *, by: str, reason: str | None = None
    ) -> ControlReport:
        """Try again what failed or was cancelled in a flow; see `cancel`.

        Completed work that does not depend on the failure is never repeated. What a failed task had done
        inside of it (`inline_flow`, `flow`, `spread`, `loop`) is kept: the retry goes on in there. Tasks that
        were skipped because of the failure become PENDING too, and so does what began because of how the
        retried tasks had ended: tasks whose start rule does not hold while those are unfinished.

        Args:
            key: of the flow.
            tasks: only these tasks, which may be FAILED, CANCELLED or SKIPPED; keys, or paths (`outer/inner`)
                of tasks inside of others.
            by: who asks.
            reason: why, for people.
        """
        return self._control(key, "retry", tasks=tasks, by=by, reason=reason)

    def skip(self, key: str, tasks: Iterable[str], *, by: str, reason: str | None = None) -> ControlReport:
        """Do without tasks of an unfinished or FAILED flow; what runs in them is stopped; see `cancel`.

        What waits for a skipped task starts if its `start_when` allows it, as after a condition that was
        false; tasks that were skipped for its failure are decided anew. A FAILED flow goes on when it is
        retried.
        """
        return self._control(key, "skip", tasks=tasks, by=by, reason=reason)

    def set(
        self,
        key: str,
        task: str | None = None,
        *,
        by: str,
        data: Mapping[str, Any] | None = None,
        params: Mapping[str, Any] | None = None,
        reason: str | None = None,
    ) -> ControlReport:
        """Lay entries over the data or the params of a task, or over the data of the flow; see `cancel`.

        Args:
            key: of the flow.
            task: key or path of the task, which is not COMPLETED; the flow's own data unless given.
            by: who asks.
            data: entries of its data.
            params: entries of its `task_params`, which count from its next attempt on.
            reason: why, for people.

        Raises:
            SpecError: the params do not fit the task's type, or the data the flow's `params`.
        """
        self._check_set(key, task, data, params)
        tasks = () if task is None else (task,)
        return self._control(key, "set", tasks=tasks, by=by, reason=reason, data=data, params=params)

    def rerun(
        self,
        key: str,
        data: Mapping[str, Any] | None = None,
        *,
        by: str,
        reason: str | None = None,
        new_key: str | None = None,
    ) -> str:
        """Store a new flow of the spec and the data that a flow began with, and return its key.

        Args:
            key: of the flow, which stays as it is.
            data: laid over the data that it began with.
            by: who asks; kept in the history of both.
            reason: why, for people.
            new_key: of the new flow; generated unless given.

        Raises:
            SpecError: the spec does not fit this version, or the data do not keep to its `params`.
            ControlError: the flow was made without a spec, or nobody is named who asks.
            FlowExistsError: there is a flow with the new key.
            FlowNotFoundError: there is no flow with that key.
        """
        new = self._make_again(key, data, by=by, new_key=new_key)
        self.store.messages.create_again(new, of=key, by=by, reason=reason)
        return new.key

    def _make_again(
        self, key: str, data: Mapping[str, Any] | None, *, by: str, new_key: str | None = None
    ) -> Flow:
        """Return the flow that `rerun` stores."""
        from mc.context.json_values import copy_json
        from mc.errors import ControlError
        from mc.flows.controls.control import check_who

        check_who(by, "run it again")
        old = self.store.load(key)
        if old.spec is None:
            raise ControlError(
                f"Flow {key!r} was made without a spec; there is nothing to run again.", key=key
            )
        spec = {name: value for name, value in old.spec.items() if name != "key"}
        new = self.engine.flow_spec_to_flow(spec, key=new_key, data=data, label=old.label)
        if data and new.spec is not None:
            new.spec["data"] = copy_json(new.data)
        return new

    def migrate(
        self,
        key: str,
        spec: Mapping[str, Any],
        *,
        dry_run: bool = False,
        by: str | None = None,
        reason: str | None = None,
    ) -> MigrationPlan:
        """Move an unfinished, FAILED or CANCELLED stored flow to a new spec, as a whole or not at all.

        What is finished stays as it is. Tasks are compared as the two specs write them; tasks that were added
        while the flow ran stay. `data` that the flow has stay too, and new entries of the spec's are added.
        The status of the flow does not change.

        Args:
            key: of the flow.
            spec: the new spec; copied.
            dry_run: only plan, and change nothing; `.obstacles` of the plan tells what would forbid it.
            by: who asks for it, for the history.
            reason: why, for people.

        Returns:
            What stays, is added, is removed and is changed. Where the flow has that spec already, nothing is
            done (`.is_same`).

        Raises:
            MigrationError: something forbids it; `.obstacles` lists all reasons, and nothing was changed.
            StaleFlowError: a runner ticks the flow at this moment; nothing was changed.
            FlowNotFoundError: there is no flow with that key.
        """
        from mc.runners.stored_migration import migrate_stored_flow

        types = self.engine.registry
        return migrate_stored_flow(
            self.store, key, spec, task_types=types, dry_run=dry_run, by=by, reason=reason
        )

    def _control(self, key: str, kind: str, *, dry_run: bool = False, **given: Any) -> ControlReport:
        from mc.durations import format_time
        from mc.flows.controls.control import make_control

        control = make_control(kind, at=format_time(self.store.clock.now()), **given)
        return self.runner.try_control(key, control) if dry_run else self.runner.control(key, control)

    def _check_set(
        self,
        key: str,
        task: str | None,
        data: Mapping[str, Any] | None,
        params: Mapping[str, Any] | None,
    ) -> None:
        """Raise `SpecError` where what is to be set does not fit what the flow is, or `ControlError`."""
        from mc.errors import ControlError, SpecError
        from mc.flows.calls.item_task import flow_of_item, holder_of_params
        from mc.flows.calls.task_paths import find_task
        from mc.spec.task_override import find_data_misfits, find_override_problems

        flow = self.store.load(key)
        problems: Sequence[Problem] = ()
        if task is None and isinstance(data, Mapping):
            problems = find_data_misfits(flow.params, {**flow.data, **data})
        elif task is not None:
            state, found = find_task(flow, task, ControlError)
            item_flow = flow_of_item(found)
            if data is not None and item_flow is not None:
                raise ControlError(
                    f"Task {task!r} has its data in the flow {item_flow!r}; set them there.",
                    key=key,
                    task=task,
                )
            if isinstance(params, Mapping):
                problems = find_override_problems(_spec_of(state), holder_of_params(found), params)
        if problems:
            raise SpecError(
                "\n".join(["What is to be set does not fit:", *(f"  {problem}" for problem in problems)]),
                problems,
            )


def _spec_of(state: FlowState) -> dict[str, Any] | None:
    """Return the spec of a flow; of one inside of a task, so much of it as names its tasks."""
    if state.outer is None:
        spec: dict[str, Any] | None = state.spec
        return spec
    keys = list(state.tasks.nodes)[1:]  # without ROOT
    return {"tasks": [{"key": key, "task_type": "noop"} for key in keys]}
