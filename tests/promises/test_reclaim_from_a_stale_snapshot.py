"""Of two runners that both saw a lease run out, one takes the flow over, however their looks interleave."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mc.errors import StoreBusyError
from mc.flows.flow import Flow
from mc.store.flow_store import FlowStore
from mc.store.lease import Lease
from mc.store.leases import claims as leases

SPEC = {"tasks": [{"key": "t", "task_type": "noop"}]}


@pytest.mark.parametrize("moment", ["after the transaction began", "between look and claim"])
def test_a_rival_in_the_middle_of_a_claim_does_not_get_the_same_flow(
    url: str, database: str, expire_leases: Callable[[], None], monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    with FlowStore(url) as ours, FlowStore(url, busy_seconds=0.05) as rival:
        ours.create(Flow.from_flow_spec(SPEC, key="f"))
        (dead,) = ours.claim(owner="dead")
        expire_leases()
        rivals: list[Lease] = []
        find_due = leases.find_due

        def claim_as_rival() -> None:
            monkeypatch.setattr(leases, "find_due", find_due)
            try:
                rivals.extend(rival.claim(owner="rival"))
            except StoreBusyError:
                assert database == "sqlite"  # our transaction keeps it out

        def find_due_and_pause(*arguments: Any) -> Any:
            if moment == "after the transaction began":
                claim_as_rival()
                return find_due(*arguments)
            found = find_due(*arguments)
            claim_as_rival()
            return found

        monkeypatch.setattr(leases, "find_due", find_due_and_pause)
        claimed = ours.claim(owner="ours")
        winners = [*claimed, *rivals]
        assert [(lease.flow_key, lease.token) for lease in winners] == [("f", dead.token + 1)]
        if moment == "between look and claim":
            assert winners == claimed
        assert ours.claim(owner="later") == rival.claim(owner="later") == []
        assert ours.summary("f").status == "PENDING"
