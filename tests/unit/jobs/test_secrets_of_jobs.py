"""Secrets of jobs: read where the job runs, and shown nowhere."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mc.jobs.folder import JobFolder
from mc.jobs.script.job_output import SecretMask
from tests.support.job_folders import make_folder, run, write_module

SECRET = "s3cr3t-w0rd"


def texts_in(folder: JobFolder) -> str:
    """Return all that stands in the folder."""
    return "\n".join(path.read_text() for path in folder.path.iterdir())


class TestCommands:
    def test_a_secret_reaches_the_command_and_nobody_else(self, tmp_path: Path) -> None:
        command = "echo $TOKEN | tr -d '\\n' | wc -c; echo $TOKEN; echo $TOKEN >&2; "
        command += 'echo "::progress 0.5 $TOKEN"; exit 3'
        work = {"type": "shell", "command": command, "env": {"TOKEN": "Bearer ${secret.API}"}}
        folder = make_folder(tmp_path, work)
        run(folder, env={"MC_SECRET_API": SECRET})
        outcome = folder.read_outcome()
        assert outcome is not None
        assert outcome.stdout == f"{len('Bearer ' + SECRET)}\nBearer ***\n::progress 0.5 Bearer ***\n"
        assert SECRET not in texts_in(folder)

    def test_the_command_gets_only_the_secrets_that_its_work_names(self, tmp_path: Path) -> None:
        folder = make_folder(tmp_path, {"type": "shell", "command": "env | grep -c MC_SECRET_"})
        run(folder, env={"MC_SECRET_API": SECRET})
        outcome = folder.read_outcome()
        assert outcome is not None
        assert outcome.stdout == "0\n"

    def test_a_secret_is_masked_however_slowly_it_is_written(self, tmp_path: Path) -> None:
        command = "for part in s3c r3t- w0rd; do printf %s $part; sleep 0.05; done; echo $T > /dev/null"
        work = {"type": "shell", "command": command, "env": {"T": "${secret.API}"}}
        folder = make_folder(tmp_path, work)
        run(folder, env={"MC_SECRET_API": SECRET})
        assert folder.read_log("stdout") == b"***"

    def test_a_secret_may_be_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "secrets").mkdir()
        (tmp_path / "secrets" / "API").write_text(f"{SECRET}\n")
        work = {"type": "shell", "command": 'test "$T" = s3cr3t-w0rd', "env": {"T": "${secret.API}"}}
        folder = make_folder(tmp_path, work, secrets_folder=tmp_path / "secrets")
        assert run(folder)[0] == 0

    @pytest.mark.parametrize("name", ["API", "../job.json", ""])
    def test_a_missing_secret_fails_and_names_both_places(self, tmp_path: Path, name: str) -> None:
        work = {"type": "shell", "command": "touch begun", "env": {"T": f"${{secret.{name}}}"}}
        folder = make_folder(tmp_path, {**work, "cwd": str(tmp_path)}, secrets_folder=tmp_path)
        run(folder)
        outcome = folder.read_outcome()
        assert outcome is not None
        assert outcome.error is not None
        assert outcome.error["type"] == "SecretError"
        assert repr(name) in outcome.error["message"]
        if name == "API":
            assert "MC_SECRET_API" in outcome.error["message"]
            assert str(tmp_path / "API") in outcome.error["message"]
        assert not (tmp_path / "begun").exists()


class TestFunctions:
    def test_secrets_in_headers_reach_the_function_and_not_its_result(self, tmp_path: Path) -> None:
        text = (
            "def work(headers, plain):\n"
            "    assert headers['auth'] == 's3cr3t-w0rd' and plain == '${secret.API}'\n"
            "    print(headers)\n"
            "    return {headers['auth']: [headers]}\n"
        )
        kwargs = {"headers": {"auth": "${secret.API}"}, "plain": "${secret.API}"}
        folder = make_folder(
            tmp_path, {**write_module(tmp_path, text), "kwargs": kwargs, "fills_headers": True}
        )
        run(folder, env={"MC_SECRET_API": SECRET})
        outcome = folder.read_outcome()
        assert outcome is not None
        assert outcome.result == {"***": [{"auth": "***"}]}
        assert SECRET not in texts_in(folder)

    def test_arguments_alone_bring_none(self, tmp_path: Path) -> None:
        """They may be data, which are taken as they are."""
        work = write_module(tmp_path, "def work(headers): return headers")
        folder = make_folder(tmp_path, {**work, "kwargs": {"headers": {"auth": "${secret.API}"}}})
        run(folder, env={"MC_SECRET_API": SECRET})
        outcome = folder.read_outcome()
        assert outcome is not None
        assert outcome.result == {"auth": "${secret.API}"}

    def test_they_are_masked_in_errors(self, tmp_path: Path) -> None:
        work = write_module(tmp_path, "def work(headers): raise ValueError(headers)")
        kwargs = {"headers": {"auth": "${secret.API}"}}
        folder = make_folder(tmp_path, {**work, "kwargs": kwargs, "fills_headers": True})
        run(folder, env={"MC_SECRET_API": SECRET})
        outcome = folder.read_outcome()
        assert outcome is not None
        assert outcome.error is not None
        assert outcome.error["message"] == "{'auth': '***'}"
        assert SECRET not in json.dumps(outcome.to_dict())


class TestMask:
    @pytest.mark.parametrize("size", range(1, 12))
    def test_pieces_of_any_size_show_the_same_as_the_whole(self, size: int) -> None:
        secrets = ["abcab", "abc", "cab-x", "bb"]
        text = b"ababcabcab-x abb-abcabab abcab-xx bbb ab"
        mask = SecretMask(secrets)
        shown = [mask.feed(text[start : start + size]) for start in range(0, len(text), size)]
        assert b"".join([*shown, mask.flush()]) == SecretMask(secrets).mask_bytes(text)

    def test_what_cannot_be_a_secret_is_shown_at_once(self) -> None:
        mask = SecretMask([SECRET])
        assert mask.feed(b"line\n") == b"line\n"
        assert mask.feed(b"s3cr") == b""
        assert mask.feed(b"aped\n") == b"s3craped\n"

    def test_lines_of_a_long_key_are_masked_one_by_one(self) -> None:
        mask = SecretMask(["-----BEGIN KEY-----\nMIIEvQIBADANBg\nab\n"])
        assert mask.mask_text("it is MIIEvQIBADANBg, ab") == "it is ***, ab"

    def test_an_empty_secret_masks_nothing(self) -> None:
        assert SecretMask([""]).feed(b"text") == b"text"
