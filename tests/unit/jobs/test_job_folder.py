"""Job folders from outside: what is written, and what is read of something that is not whole."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from mc.errors import JobError
from mc.jobs.folder import JobFolder
from tests.support.job_folders import make_folder, make_job, run

SHELL = {"type": "shell", "command": "echo out; echo err >&2"}


class TestWriting:
    def test_a_folder_has_a_place_of_its_own_for_each_key(self, tmp_path: Path) -> None:
        first, other = JobFolder.of(tmp_path, "flow/../x:1"), JobFolder.of(tmp_path, "flow/../x:2")
        assert first.path != other.path
        assert first.path.parents[1] == tmp_path / "jobs"
        assert first.path.name.startswith(first.path.parent.name)

    def test_only_its_owner_may_read_it(self, tmp_path: Path) -> None:
        folder = make_folder(tmp_path, SHELL)
        run(folder)
        assert stat.S_IMODE(folder.path.stat().st_mode) == 0o700
        assert {stat.S_IMODE(path.stat().st_mode) for path in folder.path.iterdir()} == {0o600}

    def test_nothing_half_written_is_left(self, tmp_path: Path) -> None:
        folder = make_folder(tmp_path, SHELL)
        run(folder)
        names = {path.name for path in folder.path.iterdir()}
        assert names == {"job.json", "claim.json", "stdout", "stderr", "outcome.json"}

    def test_it_may_be_written_again(self, tmp_path: Path) -> None:
        folder = make_folder(tmp_path, {"type": "shell", "command": "false"})
        folder.write_job(make_job(SHELL, timeout_seconds=5))
        record = json.loads((folder.path / "job.json").read_text())
        assert (record["work"], record["timeout_seconds"], record["grace_seconds"]) == (SHELL, 5, 10)

    def test_what_cannot_be_written_says_where(self, tmp_path: Path) -> None:
        (tmp_path / "jobs").write_text("in the way")
        with pytest.raises(JobError, match=r"of job 'f:t:1' cannot be written: .*data folder"):
            make_folder(tmp_path, SHELL)


class TestReading:
    def test_what_is_not_there_yet_is_none(self, tmp_path: Path) -> None:
        folder = make_folder(tmp_path, SHELL)
        assert folder.read_claim() is None
        assert folder.read_outcome() is None
        assert folder.read_progress() is None
        assert folder.read_heartbeat() is None
        assert folder.read_log("stdout") == b""
        assert not folder.is_claimed()

    def test_logs_are_read_from_where_a_reader_is(self, tmp_path: Path) -> None:
        folder = make_folder(tmp_path, SHELL)
        run(folder)
        assert folder.read_log("stdout", 1) == b"ut\n"
        assert folder.read_log("stderr", 0, 2) == b"er"
        assert folder.read_log("stderr", 100) == b""
        with pytest.raises(ValueError, match="stdlog"):
            folder.read_log("stdlog")

    @pytest.mark.parametrize(
        "text", ["", '{"status": "COMP', "[]", "\xff", '{"version": 2}', "{}", "[" * 100_000]
    )
    def test_a_damaged_outcome_is_an_error_that_names_it(self, tmp_path: Path, text: str) -> None:
        folder = make_folder(tmp_path, SHELL)
        (folder.path / "outcome.json").write_bytes(text.encode("latin-1"))
        with pytest.raises(JobError, match=r"outcome\.json is damaged"):
            folder.read_outcome()

    @pytest.mark.parametrize("text", ["", "{}", '{"host": "a", "pid": "x"}'])
    def test_a_damaged_claim_is_an_error_and_still_a_claim(self, tmp_path: Path, text: str) -> None:
        folder = make_folder(tmp_path, SHELL)
        (folder.path / "claim.json").write_text(text)
        with pytest.raises(JobError, match=r"claim\.json is damaged"):
            folder.read_claim()
        assert folder.is_claimed()
        assert run(folder)[0] == 75

    def test_damaged_progress_is_an_error(self, tmp_path: Path) -> None:
        folder = make_folder(tmp_path, SHELL)
        (folder.path / "progress.json").write_text('{"fraction": "half"}')
        with pytest.raises(JobError, match=r"progress\.json is damaged"):
            folder.read_progress()

    def test_a_file_that_cannot_be_read_says_why(self, tmp_path: Path) -> None:
        folder = make_folder(tmp_path, SHELL)
        (folder.path / "outcome.json").mkdir()
        with pytest.raises(JobError, match="cannot be read: Is a directory"):
            folder.read_outcome()

    def test_a_removed_folder_is_gone_and_may_be_removed_again(self, tmp_path: Path) -> None:
        folder = make_folder(tmp_path, SHELL)
        folder.remove()
        folder.remove()
        assert not folder.path.exists()
        with pytest.raises(JobError, match="cannot be asked to stop"):
            folder.ask_to_stop()
