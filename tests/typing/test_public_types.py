"""Public types do not change unnoticed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def check(source: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", str(source)]
    return subprocess.run(command, cwd=HERE.parent.parent, capture_output=True, text=True)


def test_the_public_types_are_what_is_pinned() -> None:
    result = check(HERE / "public_api.py")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_wrong_arguments_of_the_awaited_facade_are_type_errors(tmp_path: Path) -> None:
    source = tmp_path / "wrong.py"
    source.write_text(
        "import mc\n\n\nasync def main(houston: mc.AsyncHouston) -> None:\n"
        "    await houston.submit(3)\n    await houston.cancel('k')\n    houston.lsit()\n"
        "    mc.AsyncHouston(bad=1)\n"
    )
    told = check(source).stdout
    assert 'expected "Mapping[str, Any]"' in told
    assert 'Missing named argument "by"' in told
    assert '"AsyncHouston" has no attribute "lsit"' in told
    assert 'Unexpected keyword argument "bad"' in told


def test_a_misspelt_public_name_is_a_type_error(tmp_path: Path) -> None:
    source = tmp_path / "misspelt.py"
    source.write_text("import mc\n\nmc.tick_flwo\n")
    result = check(source)
    assert result.returncode == 1
    assert 'Module has no attribute "tick_flwo"' in result.stdout
