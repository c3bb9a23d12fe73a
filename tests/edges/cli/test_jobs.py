"""`houston logs` and `houston job`: what jobs wrote, where they are, and what people do to them."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.edges.cli.conftest import Houston, process_environment
from tests.edges.cli.test_terminals import run_on_terminal
from tests.support.job_folders import await_that


def shell(key: str, command: str, **more: Any) -> dict[str, Any]:
    return {"key": key, "task_type": "shell", "task_params": {"command": command}, **more}


TASKS = [
    shell("fetch", "echo fetched; printf 'a\\033[2Jb\\n' >&2"),
    shell("flaky", "echo try $MC_ATTEMPT; [ $MC_ATTEMPT = 2 ]", cfg={"retry": {"max_attempts": 2}}),
    {
        "key": "outer",
        "task_type": "inline_flow",
        "task_params": {
            "flow_spec": {
                "tasks": [shell("load", "seq 1 15; echo no table >&2; printf 'half a line' >&2; exit 3")]
            }
        },
    },
]


def start(folder: Path, *arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "mc", *arguments],
        cwd=folder,
        env=process_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the database of a flow whose jobs have ended, one of them FAILED."""
    folder = tmp_path_factory.mktemp("ended")
    (folder / "spec.json").write_text(json.dumps({"key": "night", "tasks": TASKS}))
    with start(folder, "run", "spec.json", "--allow", "shell") as process:
        process.communicate()
    assert process.returncode == 1
    return folder


@pytest.fixture
def here(ended: Path, tmp_path: Path) -> Path:
    """The same as the current folder, to be changed."""
    shutil.copytree(ended, tmp_path, dirs_exist_ok=True)
    return tmp_path


def change_rows(folder: Path, statement: str) -> None:
    with sqlite3.connect(folder / "mc.sqlite3") as connection:
        connection.execute(statement)


class TestLogs:
    def test_one_stream_of_a_task_is_printed_as_it_was_written(self, here: Path, houston: Houston) -> None:
        assert houston("logs", "night", "fetch", "--stdout").out == "fetched\n"
        assert houston("logs", "night", "fetch", "--stderr").out == "a\033[2Jb\n"

    def test_both_streams_have_headings_of_their_own_lines(self, here: Path, houston: Houston) -> None:
        assert houston("logs", "night", "outer/load").out.splitlines()[-5:] == [
            "15",
            "",
            "==> outer/load, attempt 1, FAILED, stderr <==",
            "no table",
            "half a line",
        ]

    def test_the_newest_attempt_is_meant_unless_one_is_named(self, here: Path, houston: Houston) -> None:
        assert houston("logs", "night", "flaky", "--stdout").out == "try 2\n"
        assert houston("logs", "night", "flaky", "--stdout", "--attempt", "1").out == "try 1\n"

    def test_a_flow_shows_the_logs_of_all_its_tasks(self, here: Path, houston: Houston) -> None:
        out = houston("logs", "night", "--stdout").out
        headings = [line for line in out.splitlines() if line.startswith("==>")]
        assert headings[0] == "==> fetch, attempt 1, COMPLETED, stdout <=="
        assert set(headings[1:]) == {
            "==> flaky, attempt 2, COMPLETED, stdout <==",
            "==> outer/load, attempt 1, FAILED, stdout <==",
        }

    def test_json_holds_the_logs_and_the_folder(self, here: Path, houston: Houston) -> None:
        (found,) = houston("logs", "night", "fetch", "--json").document
        assert (found["stdout"], found["stderr"]) == ("fetched\n", "a\033[2Jb\n")
        assert (Path(found["folder"]) / "stdout").read_text() == "fetched\n"

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (("night", "fetsch"), "Did you mean 'fetch'?"),
            (("night", "outer"), "'outer/load'"),
            (("night", "xyz"), "'fetch', 'flaky', 'outer/load'"),
            (("night", "flaky", "--attempt", "7"), "1, 2"),
            (("nigth",), "Did you mean 'night'?"),
            (("night", "fetch", "--follow", "--json"), "--follow"),
        ],
    )
    def test_what_is_not_there_is_told_with_what_is(
        self, here: Path, houston: Houston, arguments: tuple[str, ...], said: str
    ) -> None:
        end = houston("logs", *arguments)
        assert end.code == 2
        assert said in end.err
        assert not end.out

    def test_logs_that_are_gone_or_elsewhere_are_told_with_their_place(
        self, here: Path, houston: Houston
    ) -> None:
        folder = houston("job", "show", "night/fetch/1", "--json").document["folder"]
        shutil.rmtree(folder)
        gone = houston("logs", "night", "fetch")
        assert gone.code == 2
        assert f"is gone, and its logs with it; it was {folder}" in gone.err
        change_rows(here, "UPDATE mc_job SET place = 'far-away'")
        assert "host far-away" in houston("logs", "night", "fetch").err

    def test_logs_are_followed_to_the_end_of_the_job(
        self, tmp_path: Path, houston: Houston, houston_process: Houston
    ) -> None:
        task = shell("long", "echo one; until [ -e go ]; do sleep 0.02; done; echo two; echo three >&2")
        (tmp_path / "spec.json").write_text(json.dumps({"key": "f", "tasks": [task]}))
        houston_process("submit", "spec.json", "--allow", "shell")
        houston_process("tick", "--allow", "shell")
        with start(tmp_path, "logs", "f", "long", "--follow") as process:
            assert process.stdout is not None
            lines = [process.stdout.readline() for _ in range(2)]
            (tmp_path / "go").touch()
            rest, errors = process.communicate()
        assert lines[1] == b"one\n"
        assert rest.splitlines()[0] == b"two"
        assert rest.splitlines()[-1] == b"three"
        assert (process.returncode, errors) == (0, b"")

    @pytest.mark.parametrize(
        ("status", "said"),
        [
            ("PENDING", "waits for its start on local."),
            ("SUBMITTED", "was handed to local, and was not seen at work yet."),
            ("RUNNING", "runs on local, and has no logs here yet."),
        ],
    )
    def test_who_follows_is_told_why_there_is_nothing_yet(
        self, here: Path, houston: Houston, status: str, said: str
    ) -> None:
        folder = Path(houston("job", "show", "night/fetch/1", "--json").document["folder"])
        folder.rename(f"{folder}.away")
        change_rows(here, f"UPDATE mc_job SET status = '{status}' WHERE `key` = 'night/fetch/1'")
        with start(here, "logs", "night", "fetch", "--follow") as process:
            assert process.stderr is not None
            line = process.stderr.readline().decode()
            process.kill()
        assert line == f"houston: job night/fetch/1 {said}\n"


class TestJob:
    def test_jobs_are_listed_newest_first_and_chosen(self, here: Path, houston: Houston) -> None:
        found = houston("job", "list", "--flow", "night", "--json").document
        assert {job["key"] for job in found} == {
            *("night/fetch/1", "night/flaky/1", "night/flaky/2", "night/outer/1/load/1")
        }
        assert found == sorted(found, key=lambda job: job["created_at"], reverse=True)
        failed = houston("job", "list", "--status", "FAILED", "--executor", "local").out.splitlines()
        assert [line.split()[:2] for line in failed[1:]] in (
            [["night/outer/1/load/1", "FAILED"], ["night/flaky/1", "FAILED"]],
            [["night/flaky/1", "FAILED"], ["night/outer/1/load/1", "FAILED"]],
        )
        assert len(houston("job", "list", "--limit", "1").out.splitlines()) == 2
        assert houston("job", "list", "--executor", "slurm", "--json").document == []

    def test_a_job_is_shown_with_its_end(self, here: Path, houston: Houston) -> None:
        out = houston("job", "show", "night/outer/1/load/1").out
        assert "outcome   FAILED, exit code 3" in out
        assert f"folder    {here}" in out
        assert out.endswith("the end of stderr:\n  no table\n  half a line\n")
        document = houston("job", "show", "night/outer/1/load/1", "--json").document
        assert (document["task"], document["outcome"]["exit_code"]) == ("outer/load", 3)

    def test_a_job_that_is_not_there_is_told(self, here: Path, houston: Houston) -> None:
        end = houston("job", "show", "night/fetch/9")
        assert (end.code, "houston job list" in end.err) == (2, True)

    def test_a_job_that_waits_is_cancelled_at_once(self, here: Path, houston: Houston) -> None:
        change_rows(here, "UPDATE mc_job SET status = 'PENDING' WHERE `key` = 'night/fetch/1'")
        (row,) = houston("job", "list", "--status", "PENDING").out.splitlines()[1:]
        assert "waits for a worker of local" in row
        assert (
            houston("job", "cancel", "night/fetch/1", "--reason", "enough").out
            == "night/fetch/1: CANCELLED\n"
        )
        assert houston("job", "show", "night/fetch/1", "--json").document["reason"] == "enough"
        again = houston("job", "cancel", "night/fetch/1")
        assert (again.code, "is CANCELLED already" in again.err) == (2, True)

    def test_a_job_that_runs_is_ended_by_the_next_tick(
        self, tmp_path: Path, houston_process: Houston
    ) -> None:
        (tmp_path / "spec.json").write_text(
            json.dumps({"key": "f", "tasks": [shell("long", "echo $$ > pid; exec sleep 1000")]})
        )
        houston_process("submit", "spec.json", "--allow", "shell")
        houston_process("tick", "--allow", "shell")
        pid = int(
            await_that(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text(), "the job")
        )
        said = houston_process("job", "cancel", "f/long/1", "--reason", "enough").out
        assert said.endswith("; the next tick asks it to end\n")
        assert "is asked to end: enough" in houston_process("job", "list").out
        houston_process("run", "spec.json", "--allow", "shell")
        assert not Path(f"/proc/{pid}").exists()
        ended = houston_process("job", "show", "f/long/1", "--json").document
        assert (ended["status"], ended["reason"]) == ("CANCELLED", "enough")

    def test_the_task_of_a_job_is_tried_again(self, here: Path, houston: Houston) -> None:
        end = houston("job", "retry", "night/outer/1/load/1", "--by", "ada")
        assert end.out == "night: retried outer/load; the flow is RUNNING\n"
        refused = houston("job", "retry", "night/fetch/1", "--by", "ada")
        assert refused.code == 2
        assert "fetch" in refused.err


class TestFlow:
    def test_the_last_lines_of_the_first_job_that_failed_are_shown(
        self, here: Path, houston: Houston
    ) -> None:
        end = "the end of stderr of outer/load, attempt 1:\n  no table\n  half a line\n"
        assert houston("show", "night").out.endswith(f"\n\n{end}")
        whole = houston("show", "night", "--task", "outer/load").out
        assert "job       night/outer/1/load/1, FAILED on local\n" in whole
        assert whole.endswith("\n\nthe end of stderr:\n  no table\n  half a line\n")
        assert "the end of" not in houston("show", "night", "--task", "flaky").out

    def test_stdout_is_shown_of_a_job_that_wrote_nothing_to_stderr(
        self, here: Path, houston: Houston
    ) -> None:
        folder = Path(houston("job", "show", "night/outer/1/load/1", "--json").document["folder"])
        (folder / "stderr").write_text("")
        assert houston("show", "night").out.endswith(
            "the end of stdout of outer/load, attempt 1:\n" + "".join(f"  {n}\n" for n in range(6, 16))
        )

    def test_what_a_task_waits_for_is_told(self, tmp_path: Path, houston_process: Houston) -> None:
        wait = "until [ -e go ]; do sleep 0.02; done"
        task = shell("long", f"echo ::progress 0.4 40 of 100; touch told; {wait}")
        inner = {"key": "in", "task_type": "inline_flow", "precursors": []}
        inner["task_params"] = {"flow_spec": {"tasks": [shell("deep", wait)]}}
        (tmp_path / "spec.json").write_text(json.dumps({"key": "f", "tasks": [task, inner]}))
        houston_process("submit", "spec.json", "--allow", "shell")
        houston_process("tick", "--allow", "shell")
        await_that((tmp_path / "told").exists, "the progress of the job")
        change_rows(
            tmp_path,
            """UPDATE mc_job SET status = 'RUNNING', progress = '{"fraction": 0.4, "text": "40 of 100"}'
            WHERE task_path = 'long'""",
        )
        change_rows(
            tmp_path, "UPDATE mc_job SET status = 'PENDING', place = NULL WHERE task_path = 'in/deep'"
        )
        rows = {line.split()[0]: line for line in houston_process("show", "f").out.splitlines() if line}
        assert rows["long"].endswith("40 % 40 of 100")
        assert rows["in/deep"].endswith("waits for a worker of local")
        reasons = {
            each["task"]: each for each in houston_process("explain", "f", "--json").document["reasons"]
        }
        folder = houston_process("job", "show", "f/long/1", "--json").document["folder"]
        (tmp_path / "go").touch()
        assert reasons["long"]["kind"] == reasons["in/deep"]["kind"] == "job"
        assert "'f/long/1', which runs on local on the host" in reasons["long"]["text"]
        assert f"40 % 40 of 100. Its folder is {folder}." in reasons["long"]["text"]
        assert reasons["long"]["commands"] == ["houston job show f/long/1", "houston logs f long --follow"]
        assert "which waits for a worker of local." in reasons["in/deep"]["text"]
        assert reasons["in/deep"]["moves"] == "A tick where the executor local is set and has room."


class TestRemoval:
    def test_jobs_go_with_their_flow(self, here: Path, houston: Houston) -> None:
        folders = here / "mc.sqlite3.data" / "jobs"
        assert len([*folders.glob("*/*")]) == 4
        houston("delete", "night", "--dry-run")
        assert len(houston("job", "list", "--json").document) == 4
        houston("delete", "night")
        assert houston("job", "list", "--json").document == []
        assert not [*folders.glob("*/*")]

    def test_a_job_that_has_not_ended_stays_until_it_has(self, here: Path, houston: Houston) -> None:
        change_rows(here, "UPDATE mc_job SET status = 'RUNNING' WHERE `key` = 'night/fetch/1'")
        pruned = houston("db", "prune", "--older-than", "0s", "--json").document
        assert (pruned["flows"], pruned["jobs"]) == (1, 3)
        (left,) = houston("job", "list", "--json").document
        folder = Path(houston("job", "show", left["key"], "--json").document["folder"])
        assert (left["key"], folder.is_dir()) == ("night/fetch/1", True)
        change_rows(here, "UPDATE mc_job SET status = 'LOST'")
        assert "1 job with their files" in houston("db", "prune", "--older-than", "0s").out
        assert not folder.exists()


class TestLargeResults:
    """Of a job that left 100 KB."""

    @pytest.fixture
    def shared(self, tmp_path: Path, houston: Houston, monkeypatch: pytest.MonkeyPatch) -> Path:
        """The place that hosts share, in which the result is."""
        monkeypatch.setenv("MC_LARGE_RESULTS", str(tmp_path / "shared"))
        monkeypatch.setenv("MC_ALLOW", "shell")
        task = shell("big", """printf '{"n": "%0100000d"}' 1""")
        task["task_params"]["parse"] = "json"
        (tmp_path / "spec.json").write_text(json.dumps({"key": "f", "tasks": [task]}))
        assert houston("run", "spec.json").code == 0
        return tmp_path / "shared"

    def test_prune_removes_what_no_flow_refers_to(self, shared: Path, houston: Houston) -> None:
        (file,) = shared.glob("*/*")
        assert file.name in json.dumps(houston("job", "show", "f/big/1", "--json").document)
        houston("delete", "f")
        os.utime(file, (0, 0))
        houston("db", "prune", "--older-than", "0s", "--dry-run")
        assert file.exists()
        assert "1 large result, " in houston("db", "prune", "--older-than", "0s").out
        assert not file.exists()
        shared.rename(shared.with_name("away"))
        shared.write_text("no folder")
        ended = houston("db", "prune", "--older-than", "0s", "--json")
        assert (ended.code, ended.document["large_results"]) == (0, 0)
        assert f"Files of large results that nothing refers to are left in {shared}: " in ended.err

    def test_show_tells_what_cannot_be_read(self, shared: Path, houston: Houston) -> None:
        (file,) = shared.glob("*/*")
        whole = houston("show", "f", "--json").document["graph"]["tasks"]["big"]["data"]["result"]
        assert len(whole["n"]) == 100_000
        file.unlink()
        assert "COMPLETED" in houston("show", "f").out
        shown = houston("show", "f", "--json").document["graph"]["tasks"]["big"]["data"]
        assert shown["result"]["unreadable"].startswith(file.name)
        assert f"was written to {file}, which is not there" in shown["result"]["reason"]
        assert houston("show", "f", "--task", "big", "--json").document["data"] == shown
        assert houston("show", "f", "--task", "big").code == 0
        ended = houston("export", "f")
        assert (ended.code, ended.out) == (2, "")
        assert "which is not there" in ended.err

    def test_the_doctor_looks_whether_they_can_be_written(self, shared: Path, houston: Houston) -> None:
        kept = [*shared.glob("*/*")]
        assert f"Large results can be written to {shared}" in houston("doctor").out
        assert [*shared.glob("*/*")] == kept
        shared.rename(shared.with_name("away"))
        shared.write_text("no folder")
        ended = houston("doctor")
        assert ended.code != 0
        assert f"problem  large-results: Large results cannot be written to {shared}" in ended.out


class TestDoctor:
    def find(self, houston: Houston) -> dict[str, dict[str, Any]]:
        found = houston("doctor", "--json").document["findings"]
        return {
            each["code"]: each for each in found if "job" in each["code"] or each["code"] == "data-folder"
        }

    def test_what_is_well_is_no_matter(self, here: Path, houston: Houston) -> None:
        found = self.find(houston)
        assert [*found] == ["data-folder"]
        assert str(here / "mc.sqlite3.data") in found["data-folder"]["message"]

    def test_jobs_that_were_lost_lately_are_told(self, here: Path, houston: Houston) -> None:
        lost = "UPDATE mc_job SET status = 'LOST', reason = 'gone' WHERE task_path = 'flaky'"
        change_rows(here, lost)
        assert self.find(houston)["lost-jobs"]["details"]["count"] == 2
        change_rows(here, "UPDATE mc_job SET finished_at = '2020-01-01T00:00:00.000000+00:00'")
        assert "lost-jobs" not in self.find(houston)

    def test_a_job_that_nobody_starts_is_told(self, here: Path, houston: Houston) -> None:
        since = "created_at = '2020-01-01T00:00:00.000000+00:00'"
        change_rows(here, f"UPDATE mc_job SET status = 'PENDING', {since} WHERE task_path = 'fetch'")
        assert self.find(houston)["waiting-jobs"]["severity"] == "note"
        change_rows(here, "UPDATE mc_job SET executor = 'moon'")
        found = self.find(houston)["waiting-jobs"]
        assert (found["severity"], "[executors.moon]" in found["advice"]) == ("problem", True)
        (here / "mc.toml").write_text('[executors.moon]\nkind = "local"\n')
        assert self.find(houston)["waiting-jobs"]["severity"] == "note"

    def test_folders_without_a_job_are_told(self, here: Path, houston: Houston) -> None:
        change_rows(here, "DELETE FROM mc_job WHERE task_path = 'fetch'")
        assert self.find(houston)["job-folders"]["details"]["count"] == 1

    def test_a_data_folder_without_room_is_told(
        self, here: Path, houston: Houston, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        usage = shutil.disk_usage(here)
        monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1 << 20))
        assert self.find(houston)["data-folder"]["severity"] == "problem"


def test_a_terminal_gets_no_control_characters_of_logs(here: Path) -> None:
    assert "a\\u001b[2Jb" in run_on_terminal("logs", "night", "fetch")


def test_a_data_folder_that_cannot_be_written_fails_the_job_that_needs_it(
    tmp_path: Path, houston: Houston
) -> None:
    (tmp_path / "mc.toml").write_text('allow = ["shell"]\ndata = "mc.toml/data"\n')
    (tmp_path / "spec.json").write_text(json.dumps({"tasks": [shell("a", "true")]}))
    ended = houston("run", "spec.json")
    assert ended.code == 1
    assert "mc.toml/data cannot be written: Not a directory. Make room there" in ended.out
    assert "task 'a': JobError" in ended.out


class TestExecutors:
    def test_executors_that_cannot_be_used_are_told(self, tmp_path: Path, houston: Houston) -> None:
        (tmp_path / "mc.toml").write_text(
            'executor = "away"\n'
            '[executors.away]\nkind = "celery"\nbroker = "redis://:secret@127.0.0.1:1/0"\n'
            '[executors.gpu]\nkind = "queue"\nmax_worker = 3\n'
            '[executors.local]\npython = "/no/such/python"\n'
        )
        houston("db", "init")
        ended = houston("doctor", "--json")
        assert ended.code == 1
        told = {
            found["details"]["executor"]: found["message"]
            for found in ended.document["findings"]
            if found["code"] == "executor"
        }
        assert set(told) == {"away", "gpu", "local"}
        assert "The executor 'away': The broker redis://:***@127.0.0.1:1/0 cannot be reached" in told["away"]
        assert "secret" not in told["away"]
        assert "Did you mean 'max_workers'?" in told["gpu"]
        assert "cannot be started by /no/such/python" in told["local"]

    def test_those_that_can_are_not(self, tmp_path: Path, houston: Houston) -> None:
        (tmp_path / "mc.toml").write_text(
            '[executors.gpu]\nkind = "queue"\n[executors.pool]\nkind = "processes"\n'
        )
        houston("db", "init")
        assert "executor:" not in houston("doctor").out
