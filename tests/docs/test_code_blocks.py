"""Every code block of the documentation does what its page says; `run_page.py` tells what that means."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
RUNNER = Path(__file__).with_name("run_page.py")
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def run_page(page: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Carry out a page in a folder of its own, beside a copy of the example specs."""
    folder.mkdir()
    shutil.copytree(ROOT / "specs", folder / "specs", ignore=shutil.ignore_patterns("__pycache__"))
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("MC_", "PYTEST"))
    }
    # The commands of a page are those that are installed beside the Python that runs the tests.
    environment["PATH"] = os.pathsep.join(
        [str(Path(sys.executable).parent), environment.get("PATH", os.defpath)]
    )
    environment |= {"COLUMNS": "100", "HOME": str(folder), "NO_COLOR": "1", "TERM": "dumb"}
    return subprocess.run(
        [sys.executable, "-W", "error", str(RUNNER), str(page), str(folder)],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=290,
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_block_of_a_page_does_what_the_page_says(page: Path, tmp_path: Path) -> None:
    done = run_page(page, tmp_path / "page")
    if done.returncode:
        found = done.stdout.removeprefix(page.name)
        pytest.fail(f"{page.relative_to(ROOT).as_posix()}{found}", pytrace=False)


def test_the_command_is_installed() -> None:
    assert Path(sys.executable).with_name("houston").is_file(), "install the package first: make test"


def check(tmp_path: Path, text: str) -> str:
    """Carry out a page of that text and return what was wrong with it."""
    page = tmp_path / "page.md"
    page.write_text(text, encoding="utf-8")
    done = run_page(page, tmp_path / "folder")
    assert (done.returncode == 0) == (done.stdout == ""), done.stdout
    return done.stdout


class TestTheCheckItself:
    """A check that lets everything pass proves nothing."""

    def test_python_blocks_share_the_names_of_the_page(self, tmp_path: Path) -> None:
        page = "```python\nx = 1\n```\ntext\n\n```python\nassert (x, __name__) == (1, '__main__')\n```\n"
        assert check(tmp_path, page) == ""

    def test_a_failing_python_block_is_named_by_its_line(self, tmp_path: Path) -> None:
        found = check(tmp_path, "# Title\n\n```python\nvalue = 1\nassert value == 2\n```\n")
        assert found.startswith("page.md:5: Traceback")
        assert "assert value == 2" in found

    def test_a_warning_fails_the_page(self, tmp_path: Path) -> None:
        found = check(tmp_path, "```python\nimport warnings\nwarnings.warn('old', DeprecationWarning)\n```\n")
        assert found.startswith("page.md:3: ")

    def test_a_failing_command_is_named_by_its_block(self, tmp_path: Path) -> None:
        found = check(tmp_path, "\n```sh\nfalse\ntrue\n```\n")
        assert found.startswith("page.md:3: the script ended with exit code 1")

    def test_output_is_compared_line_by_line(self, tmp_path: Path) -> None:
        found = check(tmp_path, "```console\n$ echo one\none\n$ echo two\n2\n```\n")
        assert found.startswith("page.md:4: `echo two` was expected to print\n2\n\nand printed\ntwo\n")

    def test_dots_stand_for_any_output(self, tmp_path: Path) -> None:
        assert check(tmp_path, "```console\n$ echo a long line; \\\n> echo end\na ... line\nend\n```\n") == ""

    def test_an_exit_code_may_be_shown(self, tmp_path: Path) -> None:
        assert check(tmp_path, "```console\n$ (exit 3)\n$ echo $?\n3\n```\n") == ""

    def test_an_exit_code_that_is_not_shown_is_a_failure(self, tmp_path: Path) -> None:
        found = check(tmp_path, "```console\n$ (exit 3)\n$ echo next\nnext\n```\n")
        assert found.startswith("page.md:2: `(exit 3)` ended with exit code 3")

    def test_variables_and_folder_last_until_the_end_of_the_page(self, tmp_path: Path) -> None:
        page = "```sh\nexport A='b c'\nmkdir x\ncd x\n```\n```console\n$ echo $A ${PWD##*/}\nb c x\n```\n"
        assert check(tmp_path, page) == ""

    def test_a_titled_block_becomes_a_file(self, tmp_path: Path) -> None:
        page = '```python title="mine.py"\nx = 7\n```\n```python\nfrom mine import x\nassert x == 7\n```\n'
        assert check(tmp_path, page) == ""

    def test_an_invalid_spec_is_reported(self, tmp_path: Path) -> None:
        found = check(tmp_path, '```json\n{"tasks": [{"key": "a", "task_type": "noop", "colour": 1}]}\n```\n')
        assert found.startswith("page.md:2: ")
        assert "/tasks/0" in found

    def test_a_valid_spec_and_a_fragment_pass(self, tmp_path: Path) -> None:
        page = '```json\n{"tasks": [{"key": "a", "task_type": "noop"}]}\n```\n```json\n{"value": [1]}\n```\n'
        assert check(tmp_path, page) == ""

    def test_json_that_does_not_parse_is_named_by_its_line(self, tmp_path: Path) -> None:
        assert check(tmp_path, '```json\n{\n"a": ,\n}\n```\n').startswith("page.md:3: not JSON")

    @pytest.mark.parametrize(
        "line",
        [
            "* * * * * houston tock --db sqlite:///x",
            "61 * * * * houston tick",
            "* * * * houston tick",
            "* * * * * houston tick >> log.$(date +%F)",
        ],
    )
    def test_a_wrong_cron_line_is_reported(self, tmp_path: Path, line: str) -> None:
        assert check(tmp_path, f"```cron\nMAILTO=me\n{line}\n```\n").startswith("page.md:3: ")

    def test_a_right_cron_line_passes(self, tmp_path: Path) -> None:
        line = "*/5 * * * * cd /srv/app && flock -n tick.lock .venv/bin/houston tick >> tick.log 2>&1"
        assert check(tmp_path, f"```cron\n# a comment\n{line}\n```\n") == ""

    def test_an_installation_is_not_run_when_the_page_says_why(self, tmp_path: Path) -> None:
        page = "<!-- no-run: needs the network -->\n```sh\ngit clone nowhere\ncd nowhere\nmake demo\n```\n"
        assert check(tmp_path, page) == ""

    @pytest.mark.parametrize(
        "page",
        [
            "<!-- no-run -->\n```sh\nmake demo\n```\n",
            "<!-- no-run: slow -->\n```sh\nhouston list\n```\n",
            "<!-- no-run: slow -->\n```python\nimport mc\n```\n",
            "<!-- no-run: slow -->\n```sh\nmake demo\nhouston list\n```\n",
        ],
    )
    def test_nothing_else_escapes_by_a_comment(self, tmp_path: Path, page: str) -> None:
        assert check(tmp_path, page).startswith("page.md:1: no-run")

    @pytest.mark.parametrize("fence", ["```", "```pycon"])
    def test_a_block_without_a_known_language_is_reported(self, tmp_path: Path, fence: str) -> None:
        assert check(tmp_path, f"text\n{fence}\n>>> 1\n```\n").startswith("page.md:2: ")

    def test_an_open_fence_is_reported(self, tmp_path: Path) -> None:
        assert check(tmp_path, "text\n```python\nvalue = 1\n").startswith("page.md:2: ")
