"""What whoever is trusted can do, as docs/explanation/security.md says plainly."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from mc.flows.flow import Flow
from mc.flows.flow_engine import FlowEngine
from mc.houston import Houston

PAYS = {"key": "pay", "task_type": "pay"}
ASK = {"key": "ask", "task_type": "approval", "task_params": {"approvers": ["ada"]}}
WAIT = {"key": "w", "task_type": "wait_for_signal", "task_params": {"signal": "go"}}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "flows.sqlite3"


@pytest.fixture
def paid() -> list[Any]:
    return []


@pytest.fixture
def houston(path: Path, paid: list[Any]) -> Iterator[Houston]:
    def pay(task_ctx: Any) -> None:
        paid.append(task_ctx["flow"].data["amount"])

    with Houston(f"sqlite:///{path}", task_handlers={"pay": pay}) as opened:
        yield opened


def submit(houston: Houston, *tasks: dict[str, Any], key: str = "f") -> None:
    houston.submit({"data": {"amount": 1, "card": "4111-1111"}, "tasks": list(tasks)}, key=key)


def change(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        assert connection.execute(statement).rowcount == 1


def test_a_row_that_was_changed_is_believed(houston: Houston, path: Path, paid: list[Any]) -> None:
    submit(houston, PAYS)
    change(path, """UPDATE mc_flow SET data = replace(data, '"amount":1', '"amount":100')""")
    assert houston.tick().completed == 1
    assert paid == [100]


def test_a_job_that_was_changed_in_the_database_is_run(path: Path, tmp_path: Path) -> None:
    params = {"command": "true", "executor": "queue"}
    with Houston(f"sqlite:///{path}", allow="shell") as houston:
        houston.submit({"tasks": [{"key": "a", "task_type": "shell", "task_params": params}]}, key="f")
        houston.tick()
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute(f"UPDATE mc_job SET body = replace(body, 'true', 'touch {tmp_path}/mine')")
        houston.worker().run(until_idle=True)
    assert (tmp_path / "mine").exists()


def test_a_flow_dict_that_was_changed_is_believed(houston: Houston, paid: list[Any]) -> None:
    submit(houston, PAYS)
    flow_dict = json.loads(json.dumps(houston.export("f")))
    houston.cancel("f", by="ada")
    flow_dict["data"]["amount"] = 100
    houston.import_(flow_dict, key="g")
    houston.tick()
    assert paid == [100]


def test_the_history_can_be_changed_by_who_can_write_to_the_database(houston: Houston, path: Path) -> None:
    submit(houston, ASK)
    houston.tick()
    houston.approve("f", "ask", by="ada")
    change(path, "UPDATE mc_event SET detail = replace(detail, 'ada', 'eve') WHERE detail LIKE '%ada%'")
    assert "eve" in str([event.detail for event in houston.history("f")])


def test_values_lie_in_the_file_as_plain_text(houston: Houston, path: Path) -> None:
    submit(houston, PAYS)
    houston.store.close()
    assert b"4111-1111" in path.read_bytes()


def test_a_backup_brings_back_what_was_deleted_since(houston: Houston, path: Path, tmp_path: Path) -> None:
    submit(houston, PAYS)
    copy = tmp_path / "backup.sqlite3"
    with closing(sqlite3.connect(path)) as live, closing(sqlite3.connect(copy)) as backup:
        live.backup(backup)
    houston.delete("f", cancel=True, by="ann")
    assert houston.list() == []
    with Houston(f"sqlite:///{copy}") as restored:
        assert restored.load("f").data["card"] == "4111-1111"


def test_the_name_of_who_decides_is_believed(houston: Houston) -> None:
    submit(houston, ASK)
    houston.tick()
    assert houston.approve("f", "ask", by="ada")  # whoever it was
    assert houston.tick().completed == 1


def test_signals_are_not_counted(houston: Houston) -> None:
    submit(houston, WAIT)
    houston.tick()
    assert all(houston.signal("f", "other", number) for number in range(60))


def test_a_handler_shares_memory_and_environment_with_its_runner(
    houston: Houston, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MC_OF_THE_PROCESS", "secret")
    seen: list[str] = []

    def read() -> None:
        seen.append(os.environ["MC_OF_THE_PROCESS"])
        os.environ["MC_OF_THE_PROCESS"] = "changed"

    flow = Flow.from_flow_spec({"tasks": [{"task_type": "read"}, {"task_type": "read"}]})
    FlowEngine(task_handlers={"read": read}).run_flow(flow)
    assert seen == ["secret", "changed"]


def test_a_transactional_function_can_write_any_row(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = tmp_path / "trusted_functions.py"
    module.write_text(
        "from sqlalchemy import text\n"
        "def relabel(connection):\n"
        "    connection.execute(text(\"UPDATE mc_flow SET label = 'x' WHERE key = 'other'\"))\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    params = {"function": "trusted_functions:relabel", "transactional": True}
    with Houston(f"sqlite:///{path}", handler_modules=["trusted_functions"]) as houston:
        submit(houston, WAIT, key="other")
        submit(houston, {"key": "c", "task_type": "call", "task_params": params})
        assert houston.tick().completed == 1
        assert houston.summary("other").label == "x"
