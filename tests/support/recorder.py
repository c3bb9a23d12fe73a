"""An observer that notes each change of a status, to be compared with what another run had."""

from __future__ import annotations

from mc.flows.observer import ChangeEvent

__all__ = ["Recorder"]


class Recorder:
    """Notes each change, in order; of errors what does not tell of the callers."""

    def __init__(self) -> None:
        self.events: list[ChangeEvent] = []

    def on_change(self, event: ChangeEvent) -> None:
        error = {name: event.error[name] for name in ("type", "message")} if event.error else None
        self.events.append(event._replace(error=error))
