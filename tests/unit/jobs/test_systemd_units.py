"""Services that end jobs with the ticks that started them are found."""

from __future__ import annotations

from pathlib import Path

import pytest

from mc.jobs.systemd_units import check_units


def write(folder: Path, name: str, *lines: str) -> Path:
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join(["[Unit]", "KillMode=process", "[Service]", *lines, "[Install]", ""]))
    return path


@pytest.mark.parametrize(
    ("command", "severity"),
    [
        ("/srv/.venv/bin/houston tick --allow shell", "problem"),
        ("/usr/bin/python3 -m mc --db x tick", "problem"),
        ("houston \\\n  --db x \\\n  tick", "problem"),
        ("houston loop", "note"),
        ("houston work", None),
        ("houston list --key tick-tock", None),
        ("/usr/bin/tick", None),
    ],
)
def test_what_ends_jobs_is_told(tmp_path: Path, command: str, severity: str | None) -> None:
    path = write(tmp_path, "night.service", "Type=oneshot", f"ExecStart={command}")
    found = list(check_units([tmp_path, tmp_path / "missing"]))
    assert [finding.severity.lower() for finding in found] == ([severity] if severity else [])
    assert all(str(path) in finding.message for finding in found)


@pytest.mark.parametrize(("mode", "is_told"), [("process", False), ("mixed", True), ("control-group", True)])
def test_what_leaves_them_alone_is_not(tmp_path: Path, mode: str, is_told: bool) -> None:
    write(tmp_path, "night.service", "ExecStart=houston tick", f"KillMode={mode}")
    assert bool(list(check_units([tmp_path]))) == is_told


def test_a_part_that_is_laid_over_it_counts(tmp_path: Path) -> None:
    write(tmp_path, "night.service", "ExecStart=houston tick")
    write(tmp_path / "night.service.d", "kill.conf", "KillMode=process")
    assert list(check_units([tmp_path])) == []
