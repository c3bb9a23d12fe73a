"""Carry out one page of the documentation: `python run_page.py PAGE FOLDER`.

Every fenced block is carried out from top to bottom in FOLDER, as its language says. The first thing that
goes wrong is printed as `PAGE:LINE: what` and the exit code is 1. A process of its own for each page keeps
what one page registers and imports away from the next.

    python      runs in the one namespace of the page
    sh, bash    runs as a script; a failing command fails the page
    console     `$ ` begins a command, `> ` continues it; its output follows, `...` standing for anything
    json        parses, and is a valid flow spec if it has tasks
    cron        has five good fields and a subcommand that exists
    others      are for reading (see FOR_READING)

A block that has a title (```json title="hello.json") is also written to the file of that name; with any other
language than json that is all that happens to it. `<!-- no-run: reason -->` on the line before a shell block
that installs something, or calls make, keeps it from being run.
"""

from __future__ import annotations

import doctest
import itertools
import json
import os
import re
import shlex
import subprocess
import sys
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[2]
FOR_READING = {"text", "jsonc", "mermaid", "dot", "toml", "yaml", "ini", "sql"}
SHELLS = {"sh", "bash", "console"}
FENCE = re.compile(r"^(?P<indent>[ \t]*)(?P<fence>`{3,}|~{3,})\s*(?P<info>.*?)\s*$")
NO_RUN = re.compile(r"^\s*<!--\s*no-run\b:?\s*(?P<reason>.*?)\s*-->\s*$")
TITLE = re.compile(r'title="(?P<title>[^"]+)"')
INSTALLS = re.compile(r"(make|git clone|(python3? -m )?pip install)\b")
CRON_LINE = re.compile(r"(?P<when>@\w+|\S+(\s+\S+){4})\s+(?P<command>.+)")
BLOCK_SECONDS = 240  # a guard against hanging


class BlockError(Exception):
    """A block does not do what the page says; `line` is the line in it, from 0."""

    def __init__(self, message: str, line: int = 0) -> None:
        super().__init__(message)
        self.line = line


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One fenced block."""

    line: int  # of its first line of text, from 1
    language: str
    info: str
    text: str
    no_run: str | None  # the reason, if the block is not to be run

    @property
    def title(self) -> str | None:
        match = TITLE.search(self.info)
        return match["title"] if match else None


def find_blocks(text: str) -> Iterator[Block]:
    """Yield the fenced blocks of a page."""
    lines = text.splitlines()
    number = 0
    while number < len(lines):
        opening = FENCE.match(lines[number])
        number += 1
        if not opening:
            continue
        before = NO_RUN.match(lines[number - 2]) if number >= 2 else None
        indent, fence, info = opening["indent"], opening["fence"], opening["info"]
        begin = number
        while number < len(lines) and not re.fullmatch(rf"\s*{fence[0]}{{{len(fence)},}}\s*", lines[number]):
            number += 1
        if number == len(lines):
            raise BlockError("this fence is never closed", line=begin)
        yield Block(
            line=begin + 1,
            language=info.split()[0] if info else "",
            info=info,
            text="".join(f"{line.removeprefix(indent)}\n" for line in lines[begin:number]),
            no_run=before["reason"] if before else None,
        )
        number += 1


class Page:
    """A page and all that its blocks share."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.module = ModuleType("__main__")
        self.state = Path.cwd() / ".page-state"  # the shell's variables and folder, from block to block

    def run(self) -> None:
        """Carry out every block; raise `BlockError` with the line of the page where one goes wrong."""
        sys.modules["__main__"] = self.module  # what a page defines is found by its module's name
        sys.path[0] = str(Path.cwd())
        sys.path.append(str(ROOT))
        text = self.path.read_text(encoding="utf-8")
        for block in find_blocks(text):
            try:
                self.run_block(block)
            except BlockError as error:
                raise BlockError(str(error), block.line + error.line) from error

    def run_block(self, block: Block) -> None:
        if block.title:
            write_file(block.title, block.text)
        if block.no_run is not None:
            check_no_run(block)
        elif block.language == "json":
            check_json(block.text)
        elif block.language == "cron":
            check_cron(block.text)
        elif block.title or block.language in FOR_READING:
            pass
        elif block.language == "python":
            self.run_python(block)
        elif block.language in SHELLS:
            self.run_shell(block)
        else:
            known = ", ".join(sorted({"python", "json", "cron"} | SHELLS | FOR_READING))
            raise BlockError(f"{block.language!r} is no language of a block; use one of {known}", line=-1)

    def run_python(self, block: Block) -> None:
        """Execute a block as if it stood in the page's file, so that a traceback shows the page's lines."""
        try:
            code = compile("\n" * (block.line - 1) + block.text, str(self.path), "exec")
            exec(code, self.module.__dict__)
        except SyntaxError as error:
            raise BlockError(str(error), (error.lineno or block.line) - block.line) from error
        except BaseException as error:
            frames = [
                frame
                for frame in traceback.extract_tb(error.__traceback__)
                if frame.filename == str(self.path)
            ]
            line = frames[-1].lineno if frames else None
            raise BlockError(traceback.format_exc(), (line or block.line) - block.line) from error

    def run_shell(self, block: Block) -> None:
        if block.language != "console":
            self.run_script(block.text)
            return
        commands = list(split_console(block.text))
        marker = "-- end of command --"
        steps = [
            f"{command}\n__code=$?; echo; echo '{marker}' $__code; (exit $__code)"
            for _, command, _ in commands
        ]
        parts = self.run_script("\n".join(steps), strict=False).split(marker)
        for index, (line, command, expected) in enumerate(commands):
            output = parts[index].partition("\n")[2] if index else parts[index]
            code = int(parts[index + 1].split()[0])
            follower = commands[index + 1][1] if index + 1 < len(commands) else ""
            if code and follower != "echo $?":
                raise BlockError(f"`{command}` ended with exit code {code}:\n{output}", line)
            check_output(command, expected, output, line)

    def run_script(self, script: str, *, strict: bool = True) -> str:
        """Run a script by bash, with the variables and in the folder that the block before left."""
        begin = f'. "{self.state}"\n' if self.state.exists() else ""
        begin += "set -eo pipefail\n" if strict else ""
        end = f'\n{{ export -p; printf "cd %q\\n" "$PWD"; }} > "{self.state}"\n'
        done = subprocess.run(
            ["bash", "-c", begin + script + end],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=BLOCK_SECONDS,
        )
        if done.returncode:
            raise BlockError(f"the script ended with exit code {done.returncode}:\n{done.stdout}")
        return done.stdout


def write_file(name: str, text: str) -> None:
    """Write a block that has a title to that file, below the page's folder."""
    path = Path(name)
    if path.is_absolute() or ".." in path.parts:
        raise BlockError(f"the title {name!r} leads out of the folder of the page", line=-1)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def check_no_run(block: Block) -> None:
    """Refuse a `no-run` without a reason, and on a block that could be run."""
    commands = [line.removeprefix("$ ") for line in block.text.splitlines() if line.strip()]
    kept_back = [line for line in commands if not re.match(r"#|cd\b", line)]
    if not block.no_run:
        raise BlockError("no-run without a reason; write <!-- no-run: reason -->", line=-2)
    if block.language not in SHELLS or not kept_back or not all(INSTALLS.match(line) for line in kept_back):
        raise BlockError("no-run is only for make, pip install and git clone; let this block run", line=-2)


def check_json(text: str) -> None:
    """Refuse what is not JSON, and a flow spec that is not valid."""
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise BlockError(f"not JSON: {error}", error.lineno - 1) from error
    if isinstance(value, dict) and "tasks" in value:
        from mc.errors import SpecError
        from mc.spec.validation import validate_flow_spec

        try:
            validate_flow_spec(value)
        except SpecError as error:
            raise BlockError(str(error)) from error


def check_cron(text: str) -> None:
    """Refuse a line whose five fields or whose subcommand do not exist."""
    from datetime import UTC, datetime

    from cronsim import CronSim, CronSimError

    for number, line in enumerate(text.splitlines()):
        if not line.strip() or line.startswith("#") or re.match(r"\w+\s*=", line):
            continue
        match = CRON_LINE.fullmatch(line.strip())
        if not match:
            raise BlockError(f"not a cron line: {line}", number)
        try:
            if not match["when"].startswith("@"):
                CronSim(match["when"], datetime(2000, 1, 1, tzinfo=UTC))
        except CronSimError as error:
            raise BlockError(f"{match['when']!r}: {error}", number) from error
        if re.search(r"(?<!\\)%", match["command"]):
            raise BlockError("cron takes an unescaped % for a line break", number)
        words = shlex.split(match["command"])
        named = [after for word, after in itertools.pairwise(words) if Path(word).name == "houston"]
        if not named or not set(named) <= list_subcommands():
            raise BlockError(f"no subcommand of houston is named: {match['command']}", number)


def list_subcommands() -> set[str]:
    """Return the names that may follow `houston`."""
    import click

    from mc.cli.main import main

    assert isinstance(main, click.Group)
    return set(main.list_commands(click.Context(main)))


def split_console(text: str) -> Iterator[tuple[int, str, str]]:
    """Yield (line, command, expected output) of a console block."""
    found: list[tuple[int, list[str], list[str]]] = []
    for number, line in enumerate(text.splitlines()):
        if line.startswith("$ "):
            found.append((number, [line[2:]], []))
        elif not found:
            raise BlockError("a console block begins with a command: $ ...", number)
        elif line.startswith("> ") and not found[-1][2]:
            found[-1][1].append(line[2:])
        else:
            found[-1][2].append(line)
    for number, command, output in found:
        yield number, "\n".join(command), "\n".join(output)


def check_output(command: str, expected: str, output: str, line: int) -> None:
    """Compare what a command printed with what the page shows, if it shows anything."""
    want, got = (
        "".join(f"{row.rstrip()}\n" for row in text.strip("\n").splitlines()) for text in (expected, output)
    )
    if want and not doctest.OutputChecker().check_output(want, got, doctest.ELLIPSIS):
        raise BlockError(f"`{command}` was expected to print\n{want}\nand printed\n{got}", line)


def main() -> int:
    """Run the page named on the command line."""
    page, folder = Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve()
    os.chdir(folder)
    try:
        Page(page).run()
    except BlockError as error:
        print(f"{page.name}:{error.line}: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
