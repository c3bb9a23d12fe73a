"""`houston retry`, `cancel`, `rerun` and `delete` of many flows: chosen, confirmed, told one by one."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mc.cli.exit_codes import ExitCode
from mc.errors import StoreUnreachableError
from mc.houston import Houston
from mc.store.flow_store import FlowStore

NOOP = {"key": "a", "task_type": "noop"}
NAP = {"key": "nap", "task_type": "wait", "task_params": {"duration": "8h"}}
FAIL = {
    "key": "fail",
    "task_type": "wire",
    "task_params": {"wirings": ["ctx.flow.data.x => ctx.flow.data.y"]},
}
INNER = {"key": "in", "task_type": "flow", "task_params": {"flow_spec": {"tasks": [NAP]}}}


class Terminal(io.StringIO):
    """What a person types."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def town(houston: Callable[..., Any], write_spec: Callable[..., Path]) -> Callable[..., Any]:
    """Two flows that failed, one that is done, one that waits with a sub-flow."""
    failing = write_spec([FAIL], "failing.json", label="nightly")
    for key in ("order:1001", "order:1002"):
        houston("submit", failing, "--key", key)
    houston("submit", write_spec([NOOP]), "--key", "done")
    houston("submit", write_spec([INNER]), "--key", "nap")
    houston("tick")
    return houston


@pytest.fixture
def types(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    return lambda text: monkeypatch.setattr(sys, "stdin", Terminal(text))


def statuses(houston: Callable[..., Any]) -> dict[str, str]:
    return {flow["key"]: flow["status"] for flow in houston("list", "--json").document}


class TestNamed:
    def test_each_is_told_of_and_what_is_wrong_with_one_does_not_stop_the_others(
        self, town: Callable[..., Any]
    ) -> None:
        ended = town(
            "retry", "order:1001", "order:101", "done", "order:1002", "--by", "ann", "--reason", "why"
        )
        assert ended.code == ExitCode.BAD_INPUT
        assert (
            ended.out
            == "order:1001: retried; the flow is RUNNING\norder:1002: retried; the flow is RUNNING\n"
        )
        missing, refused, summary = ended.err.splitlines()
        assert missing == (
            "houston: No flow with the key 'order:101' is stored. Did you mean 'order:1001' or 'order:1002'?"
        )
        assert refused.startswith("houston: Flow 'done' is COMPLETED; there is nothing to retry.")
        assert summary == "4 flows: 2 retried, 2 refused"
        assert "retry, by ann: why" in " ".join(town("history", "order:1002").out.split())

    def test_programs_get_an_object_for_each(self, town: Callable[..., Any]) -> None:
        ended = town("cancel", "nap", "order:101", "nap", "--json")
        assert (ended.code, ended.err) == (ExitCode.BAD_INPUT, "")
        cancelled, missing = ended.document
        assert cancelled == {"key": "nap", "status": "CANCELLED", "done": True, "why_not": None}
        assert (missing["key"], missing["error"]["code"]) == ("order:101", "flow-not-found")
        assert missing["error"]["suggestions"] == ["order:1001", "order:1002"]

    def test_new_flows_are_told_by_their_keys(self, town: Callable[..., Any]) -> None:
        ended = town("rerun", "order:1001", "done", "gone", "--data", "x=1")
        assert ended.code == ExitCode.BAD_INPUT
        made = ended.out.split()
        assert [town("export", key).document["data"] for key in made] == [{"x": 1}] * 2
        documents = town("rerun", "done", "gone", "--json").document
        assert [(each.get("of"), each["key"] == "gone") for each in documents] == [
            ("done", False),
            (None, True),
        ]
        assert documents[1]["error"]["code"] == "flow-not-found"

    def test_one_that_is_named_is_told_of_as_if_there_were_no_others(self, town: Callable[..., Any]) -> None:
        assert town("cancel", "nap", "nap", "--json").document["status"] == "CANCELLED"
        assert town("delete", "nap").out == "nap: deleted; it was CANCELLED, with 2 tasks and 1 sub-flow\n"
        ended = town("delete", "nap", "--json")
        assert (ended.code, ended.out, ended.error["code"]) == (ExitCode.BAD_INPUT, "", "flow-not-found")


class TestChosen:
    def test_the_number_is_told_and_confirmed_first(
        self, town: Callable[..., Any], types: Callable[[str], None]
    ) -> None:
        types("y\n")
        ended = town("retry", "--status", "FAILED", "--label", "nightly", "--since", "1d")
        assert (ended.code, statuses(town)["order:1001"]) == (0, "RUNNING")
        question, _, summary = ended.err.partition("? [y/N]: ")
        assert question.startswith("2 flows with status FAILED, with label 'nightly', created since 20")
        assert question.endswith(" UTC: retry them")
        assert summary == "2 flows: 2 retried\n"
        assert ended.out.count("retried; the flow is RUNNING\n") == 2

    @pytest.mark.parametrize("answer", ["n\n", "\n", ""])
    def test_without_a_yes_nothing_is_done(
        self, town: Callable[..., Any], types: Callable[[str], None], answer: str
    ) -> None:
        before = statuses(town)
        types(answer)
        ended = town("delete", "--until", "0s")
        assert (ended.code, ended.out) == (ExitCode.INTERRUPTED, "")
        assert "3 flows with status CANCELLED or COMPLETED or FAILED, created before 20" in ended.err
        assert statuses(town) == before

    def test_where_nobody_can_be_asked_a_yes_is_needed(
        self, town: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for stdin in (io.StringIO("y\n"), None):
            monkeypatch.setattr(sys, "stdin", stdin)
            ended = town("cancel", "--prefix", "na", "--json")
            assert (ended.code, ended.out, ended.error["code"]) == (ExitCode.BAD_INPUT, "", "usage")
            assert "1 flow with status PENDING or RUNNING" in ended.error["message"]
            assert "Add --yes to cancel them, or --dry-run" in ended.error["message"]
        assert statuses(town)["nap"] == "RUNNING"
        assert town("cancel", "--prefix", "na", "--yes").out == "nap: cancelled; the flow is CANCELLED\n"

    def test_a_dry_run_tells_what_would_be_done(self, town: Callable[..., Any]) -> None:
        before = [town("export", key).out for key in statuses(town)]
        ended = town("retry", "--prefix", "order:", "--dry-run")
        assert ended.out == (
            "order:1002: would be retried; the flow is FAILED\n"
            "order:1001: would be retried; the flow is FAILED\n"
        )
        assert (ended.code, ended.err) == (0, "2 flows: 2 would be retried\n")
        ended = town("delete", "nap", "done", "--cancel", "--dry-run", "--json")
        assert [(each["key"], each["deleted"], each["why_not"]) for each in ended.document] == [
            ("nap", False, "dry run"),
            ("done", False, "dry run"),
        ]
        assert town("delete", "nap", "--dry-run").code == ExitCode.BAD_INPUT
        assert (
            "done: would be deleted; it is COMPLETED, with 1 task" in town("delete", "done", "--dry-run").out
        )
        assert town("rerun", "done", "--dry-run").out == "done: would be run again\n"
        assert town("rerun", "done", "--dry-run", "--json").document == {"key": None, "of": "done"}
        assert [town("export", key).out for key in statuses(town)] == before

    def test_where_none_is_meant_nothing_is_done(self, town: Callable[..., Any]) -> None:
        for command in ("cancel", "retry", "rerun", "delete"):
            ended = town(command, "--label", "weekly")
            assert (ended.code, ended.out) == (0, "")
            assert ended.err == "No flow is meant; nothing was done.\n"
            assert town(command, "--label", "weekly", "--json").document == []

    def test_what_has_changed_since_it_was_counted_is_left_as_it_is(
        self, town: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def retry_one(*_: Any, **__: Any) -> None:
            with FlowStore("sqlite:///mc.sqlite3") as store:
                flow = store.load("order:1002")
                flow.data["x"] = 1
                store.save(flow)

        monkeypatch.setattr("mc.cli.many_flows._confirm", retry_one)
        ended = town("delete", "--status", "FAILED")
        assert (ended.code, ended.out) == (0, "order:1001: deleted; it was FAILED, with 1 task\n")
        assert ended.err == "2 flows: 1 deleted, 1 changed meanwhile and were left as they are\n"

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (["retry"], "No flows to retry are chosen"),
            (["delete", "--yes"], "No flows to delete are chosen"),
            (["delete", "--time", "finished", "--yes"], "No flows to delete are chosen"),
            (["cancel", "nap", "--status", "RUNNING"], "not by both at once"),
            (["retry", "done", "nap", "--time", "finished"], "not by both at once"),
            (["cancel", "--time", "finished", "--since", "1d", "--yes"], "have not finished"),
            (["cancel", "--status", "RUNING", "--yes"], "Did you mean RUNNING?"),
            (["cancel", "--prefix", "", "--yes"], "An empty prefix"),
            (["cancel", "--since", "2999-01-01T00:00:00Z", "--yes"], "still to come"),
            (["rerun", "done", "nap", "--key", "x"], "--key names one new flow"),
            (["rerun", "--prefix", "d", "--key", "x", "--yes"], "--key names one new flow"),
            (["retry", "--prefix", "d", "--by", " ", "--yes"], "expected a name"),
        ],
        ids=lambda value: " ".join(value) if isinstance(value, list) else "",
    )
    def test_what_cannot_be_meant_is_bad_input(
        self, houston: Callable[..., Any], arguments: list[str], said: str
    ) -> None:
        houston("tick")  # makes the tables
        ended = houston(*arguments, "--json")
        assert (ended.code, ended.out) == (ExitCode.BAD_INPUT, "")
        assert said in ended.error["message"]


class TestHeld:
    def test_what_a_runner_holds_is_deleted_later(
        self, town: Callable[..., Any], write_spec: Callable[..., Path]
    ) -> None:
        town("submit", write_spec([NOOP]), "--key", "new")
        with FlowStore("sqlite:///mc.sqlite3") as store:
            (lease,) = store.claim(owner="runner", keys=["new"])
            for flows in (["new"], ["new", "done"]):
                ended = town("delete", *flows, "--cancel")
                assert ended.code == ExitCode.UNFINISHED
                assert ended.out.startswith(
                    "new: not deleted yet (PENDING): Flow 'new' is being ticked by runner; delete it when"
                )
            assert ended.err == "2 flows: 1 deleted, 1 not yet\n"
            ended = town("cancel", "new", "order:1001", "--json")
            assert [each.get("done") for each in ended.document] == [False, None]
            assert ended.code == ExitCode.BAD_INPUT
            store.release(lease)
        assert town("delete", "new", "--cancel").code == 0

    def test_what_handlers_print_is_not_in_the_document(
        self,
        houston: Callable[..., Any],
        houston_process: Callable[..., Any],
        write_spec: Callable[..., Path],
    ) -> None:
        Path("own_types_to_stop_many.py").write_text(
            "from mc.task_handlers.base_task_handler import BaseTaskHandler\n"
            "class TaskHandler(BaseTaskHandler):\n"
            "    def initial_tick(self):\n        self.task['status'] = 'WAITING'\n"
            "    def cancel(self):\n        print('stopped')\n"
        )
        handlers = ("--handlers", "own_types_to_stop_many")
        spec = write_spec([{"key": "a", "task_type": "own_types_to_stop_many:TaskHandler"}])
        for key in ("f1", "f2"):
            houston("submit", spec, "--key", key, *handlers)
        houston("tick", *handlers)
        ended = houston_process("cancel", "f1", "f2", "--json", *handlers)
        assert [each["status"] for each in json.loads(ended.out)] == ["CANCELLED"] * 2
        assert ended.err.count("stopped") == 2


class TestInterrupted:
    """What was done, and what not, is told where the command ends in the middle."""

    @pytest.fixture(params=["ctrl-c", "outage"])
    def ends_at_the_second(
        self, town: Callable[..., Any], request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
    ) -> ExitCode:
        done: list[str] = []
        act = Houston._control  # what each action on one flow goes through

        def act_on_one(self: Houston, key: str, *arguments: Any, **options: Any) -> Any:
            done.append(key)
            if len(done) > 1:
                raise KeyboardInterrupt if request.param == "ctrl-c" else StoreUnreachableError("It is gone.")
            return act(self, key, *arguments, **options)

        monkeypatch.setattr(Houston, "_control", act_on_one)
        return ExitCode.INTERRUPTED if request.param == "ctrl-c" else ExitCode.STORE_UNREACHABLE

    def test_of_named_flows_the_keys_are_told(
        self, town: Callable[..., Any], ends_at_the_second: ExitCode
    ) -> None:
        ended = town("retry", "order:1001", "order:1002", "done")
        assert ended.code == ends_at_the_second
        assert ended.out == "order:1001: retried; the flow is RUNNING\n"
        summary, rest, _ = ended.err.splitlines()
        assert summary == "3 flows: 1 retried, 2 not reached"
        assert rest == (
            "Not reached: order:1002, done. The first of these was under way; it may be retried all the same."
        )

    def test_of_others_the_number_is_told(
        self, town: Callable[..., Any], ends_at_the_second: ExitCode
    ) -> None:
        ended = town("cancel", "--until", "0s", "--status", "RUNNING", "--status", "PENDING", "--yes")
        assert (ended.code, ended.out) == (0, "nap: cancelled; the flow is CANCELLED\n")
        ended = town("retry", "--label", "nightly", "--yes", "--json")
        assert ended.code == ends_at_the_second
        assert ended.out == ""
        summary, rest, *_ = ended.err.splitlines()
        assert summary == "2 flows: 2 not reached"
        assert rest.endswith("The same command goes on with the rest.")
