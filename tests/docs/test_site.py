"""The documentation as a site: it builds, its diagrams are drawn, and nothing is fetched from elsewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# In the theme's script: a licence in a comment, and what is asked where a site names its repository.
UNUSED = {"https://clipboardjs.com", "https://api.github.com"}
FETCHED = {"script", "img", "iframe", "embed", "source", "video", "audio", "track", "object", "use", "image"}
SOURCES = ("src", "href", "srcset", "data", "poster", "xlink:href")
FETCHED_LINKS = re.compile(r"stylesheet|icon|preload|prefetch|preconnect|manifest|import")
ELSEWHERE = re.compile(r"^\s*(?:[a-z][a-z0-9+.-]*:)?//", re.IGNORECASE)
IN_CSS = re.compile(r"(?:url\(|@import\s+(?:url\()?)\s*[\"']?((?:https?:)?//[^\"')\s]+)")


class Fetches(HTMLParser):
    """Collects the addresses that a browser fetches by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.diagrams = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.diagrams += tag == "svg" and given.get("class") == "diagram"
        assert "mermaid" not in given.get("class", "").split()
        fetched = tag in FETCHED or (tag == "link" and FETCHED_LINKS.search(given.get("rel", "")))
        if fetched:
            self.found += [given.get(name, "") for name in SOURCES]
        self.found += IN_CSS.findall(given.get("style", ""))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the site once."""
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return folder


def test_each_page_is_in_the_contents() -> None:
    contents = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    pages = [path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")]
    assert [page for page in pages if not re.search(rf": {re.escape(page)}$", contents, re.MULTILINE)] == []


def test_both_front_pages_lead_to_jobs_and_settings() -> None:
    for page in (ROOT / "README.md", ROOT / "docs" / "index.md"):
        text = page.read_text(encoding="utf-8")
        assert {"jobs", "settings"} <= set(re.findall(r"how-to/([a-z-]+)\.md", text)), page


def test_a_reader_fetches_nothing_from_elsewhere(site: Path) -> None:
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 20
    drawn = 0
    for page in pages:
        text = page.read_text(encoding="utf-8")
        fetches = Fetches()
        fetches.feed(text)
        inside = IN_CSS.findall("".join(re.findall(r"<style.*?</style>", text, re.DOTALL)))
        assert [address for address in (*fetches.found, *inside) if ELSEWHERE.match(address)] == [], page
        drawn += fetches.diagrams
    fences = sum(page.read_text().count("```mermaid") for page in (ROOT / "docs").rglob("*.md"))
    assert drawn == fences > 0
    for sheet in site.rglob("*.css"):
        assert IN_CSS.findall(sheet.read_text(encoding="utf-8")) == [], sheet
    for script in site.rglob("*.js"):
        addresses = set(re.findall(r"https?://[\w.-]+\.\w+", script.read_text(encoding="utf-8")))
        if script.name.startswith("bundle."):
            assert addresses <= UNUSED, script


def test_the_diagrams_show_every_change_of_a_status(site: Path) -> None:
    from mc.statuses import FLOW_CHANGES, TASK_CHANGES

    page = (site / "explanation" / "the-tick" / "index.html").read_text(encoding="utf-8")
    drawings = re.findall(r'<svg class="diagram".*?</svg>', page, re.DOTALL)
    for drawing, changes in zip(drawings, (TASK_CHANGES, FLOW_CHANGES), strict=True):
        reasons = [reason for allowed in changes.values() for reason in allowed.values()]
        assert len(re.findall("<path ", drawing)) == len(reasons)
        assert [reason for reason in reasons if f">{reason}</text>" not in drawing] == []
