from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from mc.cli.main import COMMANDS

ROOT = Path(__file__).resolve().parents[3]
PAGE = ROOT / "docs" / "reference" / "cli.md"
WRITER = Path(__file__).with_name("write_cli_reference.py")


def test_the_reference_says_what_the_help_says() -> None:
    done = subprocess.run(
        [sys.executable, str(WRITER), "--check"],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", COMMANDS)
def test_the_reference_has_a_section_on_every_command(name: str) -> None:
    assert re.search(rf"^## houston {name}$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
