"""The command run by tests, in this process where that is enough and in one of its own elsewhere."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """The one JSON document on stdout."""
        return json.loads(self.out)

    @property
    def error(self) -> dict[str, Any]:
        """The JSON error on stderr, which is its last line."""
        error: dict[str, Any] = json.loads(self.err.splitlines()[-1])["error"]
        return error


Houston = Callable[..., Ended]


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each test work in a folder of its own, with no settings from outside."""
    monkeypatch.chdir(tmp_path)
    for name in ("MC_DB_URL", "MC_HANDLER_MODULES", "MC_ALLOW", "MC_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])


@pytest.fixture
def houston(capsys: pytest.CaptureFixture[str]) -> Houston:
    """Run `houston` in this process."""
    from mc.cli.main import main

    def run(*arguments: str | Path) -> Ended:
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return Ended(code=int(end.value.code or 0), out=out, err=err)

    return run


def process_environment() -> dict[str, str]:
    """Return the environment for a process of the command: no settings, the same package."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("MC_", "PYTEST", "COV"))
    }
    return {**kept, "PYTHONPATH": str(ROOT), "COLUMNS": "100"}


@pytest.fixture
def houston_process(tmp_path: Path) -> Houston:
    """Run `houston` in a process of its own."""

    def run(*arguments: str | Path, stdin: str | bytes = b"", env: dict[str, str] | None = None) -> Ended:
        done = subprocess.run(
            [sys.executable, "-m", "mc", *map(str, arguments)],
            cwd=tmp_path,
            env={**process_environment(), **(env or {})},
            input=stdin.encode() if isinstance(stdin, str) else stdin,
            capture_output=True,
            timeout=120,
        )
        return Ended(code=done.returncode, out=done.stdout.decode(), err=done.stderr.decode())

    return run


@pytest.fixture
def write_spec(tmp_path: Path) -> Callable[..., Path]:
    """Write a spec with these tasks and return its file."""

    def write(tasks: Sequence[Any], name: str = "spec.json", **attributes: Any) -> Path:
        path = tmp_path / name
        path.write_text(json.dumps({"tasks": tasks, **attributes}), encoding="utf-8")
        return path

    return write
