"""The task type `loop`: repeats a sub-flow."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, ClassVar

from mc.context.conditions import evaluate_condition
from mc.durations import parse_duration
from mc.errors import FlowError, McError
from mc.flows.flow import Flow
from mc.task_handlers.bases.base_sub_flow_task_handler import BaseSubFlowTaskHandler
from mc.task_handlers.bases.sub_flow import make_sub_flow

__all__ = ["LoopTaskHandler", "TaskHandler"]


class LoopTaskHandler(BaseSubFlowTaskHandler):
    """Runs `flow_spec` again and again; leaves `iterations` and `last`.

    `while` is asked before each round, `until` after each. A loop that is still wanted after
    `max_iterations` rounds fails; with neither condition it makes exactly that many.
    """

    uninterpolated_params: ClassVar[frozenset[str]] = frozenset({"flow_spec", "while", "until"})

    def begin_sub_flow(self) -> Flow | None:
        """Make the sub-flow of the next round, unless `while` says that it is not wanted."""
        if "initialised" not in self.task:
            self._check_params()
            self.data.update(iterations=0, last=None)
        if self.params.get("while") is not None:
            if not self._is_wanted():
                self.task["status"] = "COMPLETED"
                return None
        flow_spec = self.read_param("flow_spec", dict)
        return make_sub_flow(self, flow_spec, key_suffix=f"/{self.data['iterations']}")

    def make_extra_ctx(self) -> Mapping[str, Any]:
        """Return `loop`: `idx`, the number of the round from 0, and `last`, what the one before left."""
        return {"loop": {"idx": self.data["iterations"], "last": self.data["last"]}}

    def cancel(self) -> None:
        """Cancel the round; between two rounds, keep how many were completed."""
        super().cancel()
        if "kept" not in self.task:
            self._keep_rounds()

    def describe_sub_flow(self) -> str:
        """Name the round."""
        return f"Round {self.data['iterations'] + 1} of the loop"

    def on_sub_flow_completed(self, sub_flow: Flow) -> None:
        """Go on to the next round, or end."""
        self.data["iterations"] = int(sub_flow.key.rpartition("/")[2])  # also where it is asked again
        last = sub_flow.data if sub_flow.result_paths is None else sub_flow.results
        self.data["last"] = last
        until = self.params.get("until") is not None
        try:
            is_done = until and self._holds("until")
        except McError:
            self.keep_for_retry(sub_flow)  # to be asked again of the same round
            self.data["iterations"] += 1
            raise
        if is_done:
            self.complete(iterations=self.data["iterations"] + 1)
            return
        self.data["iterations"] += 1
        if self.data["iterations"] >= self.params["max_iterations"]:
            if until or self._is_wanted():
                raise self._too_many_rounds("until" if until else "while")
            self.task["status"] = "COMPLETED"
            return
        delay = parse_duration(self.read_param("delay", object, 0))
        if delay > 0:
            self.wait_until(self.task_ctx.now() + timedelta(seconds=delay))

    def _is_wanted(self) -> bool:
        """Ask `while`, if there is one."""
        if self.params.get("while") is None:
            return False
        try:
            return self._holds("while")
        except McError:
            self._keep_rounds()
            raise

    def _keep_rounds(self) -> None:
        """Let a person's retry go on with the next round."""
        if self.data.get("iterations"):
            self.task["kept"] = {"iterations": self.data["iterations"]}

    def _check_params(self) -> None:
        if self.read_param("max_iterations", int) < 1:
            raise self.spec_error(
                f"task_params.max_iterations is {self.params['max_iterations']}; expected at least 1"
            )
        if self.params.get("while") is not None and self.params.get("until") is not None:
            raise self.spec_error("task_params takes while or until, not both")
        parse_duration(self.read_param("delay", object, 0))

    def _holds(self, name: str) -> bool:
        ctx = {**self.task_ctx.path_ctx(), **self.make_extra_ctx()}
        return evaluate_condition(self.params[name], ctx)

    def _too_many_rounds(self, name: str) -> FlowError:
        outcome = "still holds" if name == "while" else "does not hold yet"
        rounds = self.params["max_iterations"]
        return FlowError(f"The loop's {name!r} condition {outcome} after max_iterations ({rounds}) rounds.")


TaskHandler = LoopTaskHandler
