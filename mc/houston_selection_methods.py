"""Methods of `Houston` for flows that are selected: to list, to count."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from mc.houston_control_methods import ControlMethods

if TYPE_CHECKING:
    from mc.store.flow_selection import FlowSelection, Moment
    from mc.store.flow_summary import FlowSummary

__all__ = ["SelectionMethods"]


class SelectionMethods(ControlMethods):
    """The part of `Houston` by which many stored flows are seen."""

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
