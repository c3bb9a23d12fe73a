"""`houston work`: what it says, and how it ends."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.edges.cli.conftest import Houston, process_environment
from tests.support.job_folders import await_that


@pytest.fixture
def submitted(tmp_path: Path, houston: Houston) -> None:
    """A flow with two jobs for workers, which a tick has stored."""
    params = {"command": "echo $MC_TASK", "executor": "queue"}
    tasks = [
        {"key": key, "task_type": "shell", "task_params": params, "precursors": []} for key in ("one", "two")
    ]
    (tmp_path / "f.json").write_text(json.dumps({"key": "f", "tasks": tasks}))
    houston("submit", "f.json", "--allow", "shell")
    houston("tick", "--allow", "shell")


@pytest.mark.usefixtures("submitted")
class TestWork:
    def test_it_tells_of_each_job_and_of_all_at_the_end(self, houston: Houston) -> None:
        ended = houston("work", "--until-idle", "--slots", "1")
        lines = [line.split(" ", 1)[-1] for line in ended.out.splitlines()]
        assert lines[:4] == ["f/one/1 RUNNING", "f/one/1 COMPLETED", "f/two/1 RUNNING", "f/two/1 COMPLETED"]
        assert ended.out.endswith("\n2 jobs; 2 COMPLETED\n")
        assert ended.code == 0

    def test_programs_get_one_document(self, houston: Houston) -> None:
        assert houston("work", "--until-idle", "--json").document == {"ended": {"COMPLETED": 2}}

    def test_a_flow_goes_on_without_another_tick(self, houston: Houston) -> None:
        with subprocess.Popen(
            [sys.executable, "-m", "mc", "work", "--until-idle"],
            env=process_environment(),
            stdout=subprocess.PIPE,
        ) as worker:
            worker.communicate()
        await_that(lambda: houston("show", "f", "--json").document["status"] == "COMPLETED")

    def test_what_waits_for_a_worker_is_explained(self, houston: Houston) -> None:
        explained = houston("explain", "f").out
        assert "A worker of that queue that has a slot free" in explained
        assert "$ houston work --queue queue" in explained


def test_a_name_that_is_no_queue_is_told(houston: Houston, tmp_path: Path) -> None:
    (tmp_path / "mc.toml").write_text('[executors.gpu]\nkind = "queue"\n')
    ended = houston("work", "--queue", "local")
    assert ended.code == 2
    assert "The executor 'local' is no queue" in ended.err
    assert "Queues are gpu" in ended.err
    assert "Did you mean 'gpu'?" in houston("work", "--queue", "gpo").err


def test_a_limit_of_a_queue_is_a_number(houston: Houston, tmp_path: Path) -> None:
    (tmp_path / "mc.toml").write_text('[executors.queue]\nmax_workers = "many"\n')
    ended = houston("work")
    assert (ended.code, "`max_workers` is 'many'" in ended.err) == (2, True)


def test_sigterm_ends_it_when_its_jobs_have_ended(tmp_path: Path, houston: Houston) -> None:
    (tmp_path / "go").unlink(missing_ok=True)
    params = {
        "command": f"touch {tmp_path}/on; until [ -e {tmp_path}/go ]; do sleep 0.05; done",
        "executor": "queue",
    }
    (tmp_path / "f.json").write_text(
        json.dumps({"tasks": [{"key": "a", "task_type": "shell", "task_params": params}]})
    )
    houston("submit", "f.json", "--key", "f", "--allow", "shell")
    houston("tick", "--allow", "shell")
    command = [sys.executable, "-m", "mc", "work", "--slots", "3"]
    with subprocess.Popen(
        command, env=process_environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as worker:
        await_that((tmp_path / "on").exists)
        worker.send_signal(signal.SIGTERM)
        assert worker.stderr is not None
        assert worker.stderr.readline().startswith("waiting for f/a/1 to end. A second signal ends what runs")
        (tmp_path / "go").touch()
        out, _ = worker.communicate()
    assert (worker.returncode, out.splitlines()[-1]) == (0, "1 job; 1 COMPLETED")


def test_a_database_that_is_not_there_is_told_at_once(houston: Houston) -> None:
    ended = houston("work", "--db", "sqlite:////no/such/folder/mc.sqlite3")
    assert ended.code == 3
    assert ended.err.count("cannot be used: unable to open database file") == 1
    assert ended.out == ""
