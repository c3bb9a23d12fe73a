"""Controls done at once, where no runner holds the flow."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Final

from mc.durations import format_time
from mc.errors import ControlError, LeaseLostError, McError
from mc.flows.controls.apply_control import runs_tasks_without_handler
from mc.flows.controls.control import Control, ControlKind
from mc.flows.flow_engine import FlowEngine
from mc.json_data import JsonData
from mc.runners.claimed_flow import ClaimedFlow
from mc.runners.heartbeat import give_back
from mc.store.event import EventKind
from mc.store.flow_store import FlowStore
from mc.store.lease import Lease, Wake
from mc.store.rows.pending_controls import control_of
from mc.store.rows.wakes import CANCEL, CONTROL

__all__ = ["ControlReport", "ImmediateControl"]

_BATCH: Final = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlReport(JsonData):
    """What became of something that a person asked for.

    Attributes:
        key: of the flow.
        status: of the flow, now.
        done: False: it is kept, and the runner that claims the flow next does it.
        why_not: why not at once, for people.
    """

    key: str
    status: str
    done: bool
    why_not: str | None = None


class ImmediateControl:
    """Claims the flows of which something is asked, does it, and gives them back; no task is called.

    Args:
        store: the flows.
        engine: gives the handlers of tasks that are stopped.
        owner: of the leases.
        lease_seconds: of the leases.
        task_ctx: more entries for the `task_ctx` of handlers.
    """

    def __init__(
        self,
        store: FlowStore,
        engine: FlowEngine,
        *,
        owner: str,
        lease_seconds: float,
        task_ctx: Mapping[str, Any],
    ) -> None:
        self._store = store
        self._engine = engine
        self._owner = owner
        self._lease_seconds = lease_seconds
        self._task_ctx = task_ctx
        self._left: dict[str, str] = {}  # flows that are left to runners, and why
        self._acted_upon: set[str] = set()
        self._refused: list[tuple[Control, ControlError]] = []

    def run(self, key: str, control: Control) -> ControlReport:
        """Ask something of a flow, and do it unless a runner holds the flow or has a handler that it takes.

        Args:
            key: of the flow. What is asked of its stored sub-flows is done too.
            control: what is asked.

        Raises:
            ControlError: the flow's state does not allow it.
            FlowNotFoundError: no flow has that key.
        """
        if not control.at:
            control = replace(control, at=format_time(self._store.clock.now()))
        self._store.messages.control(key, control)
        while True:
            keys = [found for found in self._store.messages.controlled(key) if found not in self._left]
            leases = self._claim(keys) if keys else []
            if not leases:
                break
            self._act(leases, key)
        for refused, error in self._refused:
            if refused.describe() == control.describe():
                raise error
        return self._report(key, control)

    def _claim(self, keys: list[str]) -> list[Lease]:
        return self._store.claim(
            owner=self._owner, limit=_BATCH, lease_seconds=self._lease_seconds, keys=keys
        )

    def _act(self, leases: list[Lease], key: str) -> None:
        held = list(leases)
        try:
            while held:
                with suppress(LeaseLostError):  # whoever took the flow over does it
                    self._act_on(held[0], key)
                del held[0]
        finally:
            if held:
                give_back(self._store, *held)

    def _act_on(self, lease: Lease, key: str) -> None:
        flow = self._store.load_claimed([lease])[lease.flow_key]
        if isinstance(flow, McError):
            if lease.flow_key == key:
                raise flow
            self._left[lease.flow_key] = flow.message  # a runner finds out, too, and tells of it
            give_back(self._store, lease)
            return
        for control in map(_asked_by, self._store.state_of(flow).wakes):
            missing = runs_tasks_without_handler(self._engine, flow, control) if control else None
            if missing is not None:
                self._left[lease.flow_key] = (
                    f"to stop a task of the type {missing!r} takes its handler, which this process lacks; "
                    f"the next tick does it, and calls the handler if its runner has it"
                )
                give_back(self._store, lease)
                return
        claimed = ClaimedFlow(
            self._store, self._engine, lease, flow, task_ctx=self._task_ctx, must_stop=lambda: False
        )
        claimed.act_upon_wakes()
        claimed.give_back()
        if lease.flow_key == key:  # a sub-flow may have done it already, or have ended
            self._refused += claimed.refused
        self._acted_upon.add(lease.flow_key)

    def _report(self, key: str, control: Control) -> ControlReport:
        why_not = self._left.get(key)
        if why_not is None and self._store.messages.is_controlled(key):
            why_not = "a runner holds the flow; it does it after the task under way"
        summary = self._store.summary(key)
        if why_not is None and key not in self._acted_upon:
            self._raise_if_refused_elsewhere(key, control)
        return ControlReport(key=key, status=summary.status, done=why_not is None, why_not=why_not)

    def _raise_if_refused_elsewhere(self, key: str, control: Control) -> None:
        """Raise the error where a runner was faster and could not do it any more."""
        for event in reversed(self._store.history.events(key)):
            detail = event.detail or {}
            told = {name: value for name, value in detail.items() if name != "why"}
            if event.kind is EventKind.CONTROL and told == control.describe():
                return
            if event.kind is EventKind.CONTROL_REFUSED and told == control.describe():
                raise ControlError(str(detail["why"]), key=key)


def _asked_by(wake: Wake) -> Control | None:
    if wake.kind == CANCEL:
        return Control(kind=ControlKind.CANCEL, by="its flow", reason=wake.reason)
    return control_of(wake) if wake.kind == CONTROL else None
