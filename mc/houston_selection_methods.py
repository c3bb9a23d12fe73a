"""Methods of `Houston` for many flows: list and count them, act on them, delete them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mc.errors import ControlError, FlowNotFoundError
from mc.houston_job_methods import JobMethods

if TYPE_CHECKING:
    from mc.runners.immediate_control import ControlReport
    from mc.runners.many_flows import Act, ManyReport, Tell
    from mc.store.flow_results import FlowResults
    from mc.store.flow_selection import FlowSelection, Moment
    from mc.store.flow_summary import FlowSummary
    from mc.store.saving.flow_deleter import Deletion

__all__ = ["SelectionMethods"]


class SelectionMethods(JobMethods):
    """The part of `Houston` by which many stored flows are seen and acted upon."""

    def list(
        self,
        status: str | Iterable[str] | None = None,
        label: str | None = None,
        limit: int | None = None,
        *,
        prefix: str | None = None,
        since: Moment | None = None,
        until: Moment | None = None,
        time: str = "created",
        sub_flows: bool = False,
        after: str | None = None,
    ) -> Sequence[FlowSummary]:
        """Return what the database knows of its flows, newest first.

        Args:
            status: only flows with this status, or one of these.
            label: only flows with this label.
            limit: at most so many; all unless given.
            prefix: only flows whose key begins with it.
            since: not before that time; see `FlowSelection`.
            until: only before that time.
            time: the time that these two are about, and by which flows are sorted: `created` or `finished`.
            sub_flows: with the stored sub-flows of other flows.
            after: only those that come after the flow of this key: the last one of the page before.

        Raises:
            SelectionError: flows cannot be chosen so.
            FlowNotFoundError: there is no flow `after` which others could come.
        """
        from mc.store.flow_selection import FlowSelection

        selection = FlowSelection(
            status=status,
            label=label,
            prefix=prefix,
            since=since,
            until=until,
            time=time,
            sub_flows=sub_flows,
        )
        return [*self.store.select(selection).read(limit, after=after)]

    def count(self, selection: FlowSelection) -> int:
        """Return how many stored flows are meant.

        Raises:
            SelectionError: they cannot be chosen so.
        """
        return self.store.select(selection).count()

    def results(self, key: str, task: str | None = None) -> FlowResults:
        """Return what a stored flow has come to, or the items of one of its tasks, as far as it is known.

        Args:
            key: of the flow.
            task: of a `spread`, or of another task with tasks inside: its key, or `outer/inner`. Its items
                are told while it runs too, with what each was given, how it stands, and what it left.

        Raises:
            FlowNotFoundError: there is no flow with that key.
            GraphError: it has no such task.
        """
        from mc.store.flow_results import read_results

        return read_results(self.store, key, task)

    def cancel_many(
        self,
        selection: FlowSelection,
        *,
        by: str,
        reason: str | None = None,
        dry_run: bool = False,
        tell: Tell | None = None,
    ) -> ManyReport:
        """End many unfinished flows; see `cancel`. What cannot be done to one flow does not stop the others.

        Args:
            selection: which flows. Where it chooses none by status, the unfinished ones are meant. One that
                does not fulfil it any more when its turn comes is left as it is.
            by: who asks.
            reason: why, for people.
            dry_run: change nothing, and tell what would be done.
            tell: called with a `FlowOutcome` for each flow.

        Raises:
            SelectionError: flows cannot be chosen so, or nothing says which are meant.
            ControlError: nobody is named who asks.
            StoreUnreachableError: the database has gone away; what was told of is done.
        """

        def act(key: str) -> ControlReport:
            return self._control(key, "cancel", by=by, reason=reason, dry_run=dry_run)

        self._check_who(by, "cancel")
        return self._act_on_each("cancel", selection, act, tell)

    def retry_many(
        self,
        selection: FlowSelection,
        tasks: Iterable[str] = (),
        *,
        by: str,
        reason: str | None = None,
        dry_run: bool = False,
        tell: Tell | None = None,
    ) -> ManyReport:
        """Try again what failed in many flows; see `retry` and `cancel_many`.

        Where the selection chooses none by status, FAILED flows are meant.
        """
        named = (tasks,) if isinstance(tasks, str) else tuple(tasks)

        def act(key: str) -> ControlReport:
            return self._control(key, "retry", tasks=named, by=by, reason=reason, dry_run=dry_run)

        self._check_who(by, "retry")
        return self._act_on_each("retry", selection, act, tell)

    def rerun_many(
        self,
        selection: FlowSelection,
        data: Mapping[str, Any] | None = None,
        *,
        by: str,
        reason: str | None = None,
        new_key: Callable[[str], str | None] | None = None,
        dry_run: bool = False,
        tell: Tell | None = None,
    ) -> ManyReport:
        """Store a new flow for each of many; see `rerun` and `cancel_many`. Flows of any status are meant.

        Args:
            selection: which flows, which stay as they are.
            data: laid over the data that each began with.
            by: who asks; kept in the history of both.
            reason: why, for people.
            new_key: returns the key of the new flow, given that of the other one; None: one is generated.
            dry_run: store nothing, and tell what would be.
            tell: called with a `FlowOutcome` for each flow.
        """
        from mc.runners.many_flows import Rerun

        def act(key: str) -> Rerun:
            made = new_key(key) if new_key is not None else None
            if dry_run:
                self._make_again(key, data, by=by, new_key=made)
                return Rerun(key=None, of=key)
            return Rerun(key=self.rerun(key, data, by=by, reason=reason, new_key=made), of=key)

        self._check_who(by, "rerun")
        return self._act_on_each("rerun", selection, act, tell)

    def delete(
        self,
        key: str,
        *,
        cancel: bool = False,
        by: str | None = None,
        reason: str | None = None,
        dry_run: bool = False,
    ) -> Deletion:
        """Delete a finished flow with its stored sub-flows, its history and all else that belongs to it.

        Its key is not given out again.

        Args:
            key: of the flow.
            cancel: end what is unfinished first. Where a runner holds the flow, it is asked to, and nothing
                is deleted (`deleted` is False): delete the flow again when it has let go.
            by: who asks; needed to cancel.
            reason: why it is cancelled, for people.
            dry_run: change nothing, and tell what would be deleted.

        Raises:
            ControlError: the flow or a sub-flow is unfinished or held, and nothing is to be cancelled.
            FlowNotFoundError: there is none with that key.
        """
        upkeep = self.store.upkeep
        if dry_run:
            return upkeep.plan_deletion(key, must_be_finished=not cancel)
        if not cancel:
            return self._delete_finished(key)
        self._check_who(by, "cancel")
        for unfinished in upkeep.find_unfinished(key):
            with suppress(ControlError, FlowNotFoundError):  # it has ended meanwhile
                self.cancel(unfinished, by=str(by), reason=reason)
        try:
            return self._delete_finished(key)
        except ControlError as error:  # a runner holds it still
            return replace(upkeep.plan_deletion(key, must_be_finished=False), why_not=error.message)

    def _delete_finished(self, key: str) -> Deletion:
        gone = self.store.upkeep.delete_finished(key)
        self.jobs.remove_left([key, *gone.sub_flows])
        return gone

    def delete_many(
        self,
        selection: FlowSelection,
        *,
        cancel: bool = False,
        by: str | None = None,
        reason: str | None = None,
        dry_run: bool = False,
        tell: Tell | None = None,
    ) -> ManyReport:
        """Delete many flows with all that belongs to them; see `delete` and `cancel_many`.

        Where the selection chooses none by status, finished flows are meant, with `cancel` all.
        """

        def act(key: str) -> Deletion:
            return self.delete(key, cancel=cancel, by=by, reason=reason, dry_run=dry_run)

        if cancel:
            self._check_who(by, "cancel")
        return self._act_on_each("delete", selection, act, tell, any_status=cancel)

    @staticmethod
    def _check_who(by: str | None, action: str) -> None:
        from mc.flows.controls.control import check_who

        check_who(by, action)

    def _act_on_each(
        self,
        action: str,
        selection: FlowSelection,
        act: Act,
        tell: Tell | None,
        *,
        any_status: bool = False,
    ) -> ManyReport:
        from mc.runners.many_flows import act_on_each, settle

        meant = settle(selection, action, self.store.clock.now(), any_status=any_status)
        return act_on_each(self.store.select(meant), act, tell)
