"""The documentation can be built, is complete, and asks nothing of the internet."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from cfa.cloudops import settings
from cfa.cloudops.client import CloudClient

ROOT = Path(__file__).parents[2]

try:
    import material  # noqa: F401
    import mkdocs  # noqa: F401
except ImportError as error:
    if os.environ.get("CI"):
        raise
    pytest.skip(f"{error}: pip install -e '.[docs]'", allow_module_level=True)

#: Variables by which processes of ours know one another.
INTERNAL = {
    "CLOUDOPS_ATTEMPT", "CLOUDOPS_DIRECTORY", "CLOUDOPS_NODE", "CLOUDOPS_SLOT",
}  # fmt: skip


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The built site."""
    place = tmp_path_factory.mktemp("docs") / "site"
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", place],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return place


class Loads(HTMLParser):
    """Collects the addresses that a page loads by itself, and the anchors in it."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: set[str] = set()
        self.anchors: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.anchors.add(values.get("id") or "")
        for name in ("src", "href", "data", "srcset"):
            if name in values and not (name == "href" and tag == "a"):
                self.addresses.add(values[name] or "")


def read(page: Path) -> Loads:
    found = Loads()
    found.feed(page.read_text())
    return found


def test_nothing_is_loaded_from_elsewhere(site):
    """Fonts, scripts, styles and pictures are files of the site."""
    pages = list(site.rglob("*.html"))
    assert len(pages) > 20
    addresses = {address for page in pages for address in read(page).addresses}
    assert any(address.endswith(".css") for address in addresses)
    assert not {one for one in addresses if re.match(r"(\w+:)?//", one)}
    for style in site.rglob("*.css"):
        assert not re.search(r"(url\(|@import)[\s\"']*(https?:)?//", style.read_text()), style


def test_each_page_once():
    """The navigation lists each page once."""
    pages = re.findall(
        r"^ +- (?:[\w ]+: )?(\S+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE
    )
    assert len(pages) > 20
    assert len(pages) == len(set(pages))


def test_reference_has_every_method(site):
    """Every public method of the client is in the reference, below its subject."""
    anchors = read(site / "reference" / "client.html").anchors
    methods = {
        name
        for name in dir(CloudClient)
        if not name.startswith("_") and callable(getattr(CloudClient, name))
    }
    assert len(methods) >= 38
    assert methods <= anchors
    assert (
        "a named description of the nodes that run tasks"
        in (site / "reference/client.html").read_text()
    )


def test_made_pages(site):
    """Commands, settings and how to report a fault are those of the package."""
    commands = (site / "reference" / "cli.html").read_text()
    assert "cloudops schedule resume" in commands
    examples = read(site / "examples.html").anchors
    assert {path.name for path in (ROOT / "examples").iterdir() if path.is_dir()} <= examples
    assert "how-to-report" in read(site / "explanation" / "security.html").anchors
    page = (site / "reference" / "settings.html").read_text()
    read_in_code = {
        name
        for folder in ("src", "backends")
        for file in (ROOT / folder).rglob("*.py")
        for name in re.findall(r"\bCLOUDOPS_[A-Z_]+[A-Z]\b", file.read_text())
        if not name.startswith("CLOUDOPS_TEST_")
    }
    assert set(settings.VARIABLES) <= read_in_code
    assert {name for name in read_in_code - INTERNAL if name not in page} == set()
