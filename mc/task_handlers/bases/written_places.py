"""Places in a flow to which wirings write, so that a save looks at those and at no others."""

from __future__ import annotations

from collections.abc import Iterable

from mc.context.paths import parse_path
from mc.context.wiring import Wiring
from mc.flows.flow import Flow

__all__ = ["note_written_places"]


def note_written_places(flow: Flow, wirings: Iterable[Wiring]) -> None:
    """Tell a flow to which of its tasks wirings write, and whether to its data.

    Args:
        flow: the flow that the wirings' context showed as `flow`.
        wirings: parsed wirings that are about to be carried out.
    """
    for wiring in wirings:
        note_written_places(flow, wiring.wirings)
        steps = parse_path(wiring.dest)
        if steps[1:3] == ("flow", "tasks"):
            flow.tasks.get(str(steps[3]))  # what is handed out is looked at by the next save
        elif steps[1:3] == ("flow", "data"):
            flow.state.are_data_saved = False
