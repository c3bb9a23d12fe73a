"""Flows that commands choose: by status, label, key, time; what is wrong is told."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

NOOP = {"key": "a", "task_type": "noop"}
NAP = {"key": "nap", "task_type": "wait", "task_params": {"duration": "8h"}}
INNER = {"key": "in", "task_type": "flow", "task_params": {"flow_spec": {"tasks": [NAP]}}}


@pytest.fixture
def town(houston: Callable[..., Any], write_spec: Callable[..., Path]) -> Callable[..., Any]:
    """A flow that is done, and two that wait, one of them for its sub-flow."""
    houston("submit", write_spec([NOOP], label="mine"), "--key", "day:1")
    houston("tick")
    houston("submit", write_spec([INNER], label="mine"), "--key", "day:2")
    houston("submit", write_spec([NAP]), "--key", "night")
    houston("tick")
    return houston


def listed(houston: Callable[..., Any], *options: str) -> list[str]:
    ended = houston("list", "--json", *options)
    assert ended.code == 0, ended.err
    return [flow["key"] for flow in ended.document]


class TestList:
    def test_flows_are_chosen_by_all_that_is_given(self, town: Callable[..., Any]) -> None:
        cases = [
            (["--status", "RUNNING", "--status", "completed", "--label", "mine"], ["day:2", "day:1"]),
            (["--prefix", "day:"], ["day:2", "day:1"]),
            (["--since", "1h"], ["night", "day:2", "day:1"]),
            (["--since", "3600", "--until", "1m"], []),
            (["--since", "2020-01-01T00:00:00Z", "--limit", "1"], ["night"]),
            (["--until", "2020-01-01T01:00:00+01:00"], []),
            (["--time", "finished"], ["day:1"]),
            (["--time", "finished", "--until", "1h"], []),
            (["--after", "night"], ["day:2", "day:1"]),
            (["--after", "day:2", "--limit", "5"], ["day:1"]),
        ]
        assert [(options, listed(town, *options)) for options, _ in cases] == cases

    def test_sub_flows_are_hidden_unless_all_are_asked_for(self, town: Callable[..., Any]) -> None:
        assert len(listed(town, "--all")) == len(listed(town)) + 1
        assert "day:2/" in town("list", "--all").out
        assert "day:2/" not in town("list").out

    def test_a_cut_list_tells_how_to_go_on(self, town: Callable[..., Any]) -> None:
        said = town("list", "--limit", "2").err
        assert said == "There are more than 2. Raise --limit, or go on with --after day:2.\n"
        assert [row.split()[0] for row in town("list", "--after", "day:2").out.splitlines()[1:]] == ["day:1"]

    def test_a_document_is_whole_however_long_it_is(
        self, town: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        before = town("list", "--json", "--all").out
        monkeypatch.setattr("mc.store.reading.selected_flows._PAGE", 1)
        assert town("list", "--json", "--all").out == before
        assert json.loads(before)[-1]["finished_at"] is not None
        assert json.loads(before)[0]["finished_at"] is None

    def test_what_cannot_be_chosen_is_bad_input(self, town: Callable[..., Any]) -> None:
        for options, said in (
            (["--status", "FALED"], "'FALED' is not a status. Did you mean FAILED? There are PENDING,"),
            (["--status", "zzz"], "'zzz' is not a status. There are PENDING,"),
            (["--since", "2999-01-01T00:00:00Z"], "which is still to come"),
            (["--since", "1d", "--until", "2d"], "comes after `until`"),
            (["--since", "yesterday"], "'yesterday' is neither how long ago something was, nor a time."),
            (["--since", "2026-01-01"], "'2026-01-01' is not a date and a time. Write ISO 8601"),
            (["--until", "2026-01-01T00:00:00"], 'Add one: "2026-01-01T00:00:00Z" for UTC'),
            (["--since", "-1d"], "neither how long ago"),
            (["--since", "900000h"], "neither how long ago"),
            (["--time", "started"], "created"),
            (
                ["--time", "finished", "--status", "RUNNING"],
                "Flows that are RUNNING have not finished: none is found by that time.",
            ),
            (
                ["--time", "finished", "--status", "paused", "--status", "FAILED", "--status", "BLOCKED"],
                "Flows that are PAUSED or BLOCKED have not finished",
            ),
            (["--prefix", ""], "An empty prefix chooses nothing"),
            (["--limit", "0"], "--limit"),
            (["--after", "day:3"], "No flow with the key 'day:3' is stored"),
        ):
            ended = town("list", "--json", *options)
            assert (ended.code, ended.out) == (2, ""), options
            assert said in ended.error["message"]
        assert "Did you mean SKIPPED?" in town("show", "day:1", "--status", "skiped").err


class TestLocalTimes:
    @pytest.fixture
    def _far_east(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        monkeypatch.setenv("TZ", "Far-05:30")
        time.tzset()
        yield
        monkeypatch.undo()
        time.tzset()

    @pytest.mark.usefixtures("_far_east")
    def test_times_are_those_of_the_machine_and_say_so(self, town: Callable[..., Any]) -> None:
        for command in (["list"], ["show", "day:1"], ["history", "day:1"]):
            self.check(town, command)

    def check(self, town: Callable[..., Any], command: list[str]) -> None:
        (utc, *_), (local, *_) = (
            re.findall(r"20\d\d-\d\d-\d\d \d\d:\d\d:\d\d(?:[+]0530)?", town(*command, *options).out)
            for options in ([], ["--local"])
        )
        assert datetime.fromisoformat(local) == datetime.fromisoformat(f"{utc}+00:00")
        assert datetime.fromisoformat(local).utcoffset() == timedelta(hours=5, minutes=30)
        assert town(*command, "--json", "--local").out == town(*command, "--json").out
