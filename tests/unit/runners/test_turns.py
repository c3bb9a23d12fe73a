from __future__ import annotations

from mc.runners.turns import Turns


def test_a_flow_that_has_had_its_share_waits_for_the_next_pass() -> None:
    turns = Turns(None)
    for _ in range(10):
        assert turns.options(50)["skip"] == set()
        turns.end("loops", 1_000, gave_way=True, is_spent=False)
    assert turns.options(50)["skip"] == {"loops"}
