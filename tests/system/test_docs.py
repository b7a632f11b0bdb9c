"""The readme and the pages of the tutorial, the how-tos and others do what they say.

A block with a title is written to a file of that name. A block of `sh`, and of `python` without a
title, is run; a block of `text` after it is what it prints. There `...` stands for anything, a line of
its own for any lines; blanks are compared loosely and the order of lines is not, because tasks run in
parallel. A comment before a block says what is special about it:

    <!-- not run: why -->       only its syntax is checked
    <!-- needs: podman -->      only run with that engine
    <!-- status: 1 -->          its exit status, 0 otherwise
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import evolve, frozen

from cfa.cloudops.backends import load_executor

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
TUTORIAL = [DOCS / "tutorial" / f"{name}.md" for name in ("index", "sweep", "containers", "graph")]
OTHERS = [
    ROOT / "README.md",
    *sorted((DOCS / "how-to").glob("*.md")),
    DOCS / "reference" / "automation.md",
]
LIMIT_S = 60.0
PODMAN = "podman-rootless" if os.getuid() else "podman"

_FENCE = re.compile(r'```(\w+)(?: title="([^"]+)")?$')
_NOTE = re.compile(r"<!-- (not run|needs|status): (.+) -->$")


@frozen(kw_only=True)
class Block:
    """A fenced block of a page.

    Attributes:
        place: `page:line`, for messages.
        language, title, text: as written.
        notes: what the comments before it say, by their first word.
        shown: what the page shows of its output, None when it shows nothing.
    """

    place: str
    language: str
    title: str | None
    text: str
    notes: dict[str, str]
    shown: str | None = None


def blocks(page: Path) -> list[Block]:
    """The blocks of a page in order, each with the output that follows it."""
    found: list[Block] = []
    for block in _read(page):
        if block.language == "text" and block.title is None and found:
            before = found[-1]
            if before.language in ("sh", "python") and before.shown is None:
                found[-1] = evolve(before, shown=block.text)
                continue
        found.append(block)
    return found


def _read(page: Path) -> Iterator[Block]:
    notes: dict[str, str] = {}
    lines = iter(enumerate(page.read_text().splitlines(), 1))
    for number, line in lines:
        if line.startswith("<!-- begin "):  # docs/generate.py makes what follows
            while next(lines)[1] != "<!-- end -->":
                pass
        elif note := _NOTE.match(line):
            notes[note[1]] = note[2]
        elif fence := _FENCE.match(line):
            text = []
            for _, inner in lines:
                if inner == "```":
                    break
                text.append(f"{inner}\n")
            place = f"{page.relative_to(ROOT)}:{number}"
            yield Block(
                place=place, language=fence[1], title=fence[2], text="".join(text), notes=notes
            )
            notes = {}
        else:
            assert not line.startswith("```"), f"{page}:{number}: {line} is not understood"
            notes = notes if not line.strip() else {}


@pytest.fixture
def shell(workdir, tmp_path, monkeypatch):
    """An empty directory, with `python` and `cloudops` on the path and no settings."""
    monkeypatch.delenv("CLOUDOPS_BACKEND", raising=False)
    programs = tmp_path / "programs"
    programs.mkdir()
    for name, arguments in (("python", ""), ("cloudops", "-m cfa.cloudops.cli")):
        (programs / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {arguments} "$@"\n')
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    if not has_sandbox():  # pages do not show the warning about that
        monkeypatch.setenv("LOG_LEVEL", "error")
    return workdir


def has_sandbox() -> bool:
    """Whether processes see mounts at their places here."""
    executor = load_executor("subprocess")
    try:
        return executor.probe().private_paths
    finally:
        executor.close()


def carry_out(block: Block, place: Path) -> None:
    """Write a file or run a block, and compare what it prints."""
    if block.title is not None:
        (place / block.title).parent.mkdir(parents=True, exist_ok=True)
        (place / block.title).write_text(block.text)
        return
    program = {"sh": ["bash", "-euc"], "python": [sys.executable, "-c"]}[block.language]
    done = subprocess.run(
        [*program, block.text],
        cwd=place,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    told = f"{block.place}\n{block.text}printed\n{done.stdout}"
    assert done.returncode == int(block.notes.get("status", "0")), told
    if block.shown is not None:
        missing, more = compare(block.shown, done.stdout)
        assert not missing, f"{told}not found: {missing}"
        assert not more, f"{told}not on the page: {more}"


def compare(shown: str, printed: str) -> tuple[list[str], list[str]]:
    """Lines shown that were not printed, and lines printed that are not shown."""
    left = [" ".join(line.split()) for line in printed.splitlines() if line.strip()]
    wanted = [" ".join(line.split()) for line in shown.splitlines() if line.strip()]
    missing = []
    for line in sorted(wanted, key=lambda line: "..." in line):  # exact ones choose first
        if line == "...":
            continue
        pattern = re.compile(".*".join(map(re.escape, line.split("..."))))
        hit = next((one for one in left if pattern.fullmatch(one)), None)
        if hit is None:
            missing.append(line)
        else:
            left.remove(hit)
    return missing, [] if "..." in wanted else left


def runnable(block: Block) -> bool:
    """Whether a block does something: the rest is there to be read."""
    return block.title is not None or block.language in ("sh", "python")


def test_tutorial(shell):
    """The tutorial, from its first to its last block, prints what it shows."""
    for page in TUTORIAL:
        for block in blocks(page):
            if runnable(block) and not {"not run", "needs"} & block.notes.keys():
                carry_out(block, shell)


@pytest.mark.parametrize("page", OTHERS, ids=lambda page: page.stem)
def test_page(shell, monkeypatch, page):
    """A page on its own works in an empty directory, with plain processes."""
    monkeypatch.setenv("CLOUDOPS_BACKEND", "subprocess")
    for block in blocks(page):
        if runnable(block) and not {"not run", "needs"} & block.notes.keys():
            carry_out(block, shell)


@pytest.mark.parametrize("backend", ["docker", PODMAN], indirect=True, scope="module")
def test_containers(shell, backend, python_image):
    """The tutorial's script runs in each engine as it does in plain processes."""
    for page in TUTORIAL[:3]:
        for block in blocks(page):
            if block.title is not None or block.notes.get("needs") == backend.executor:
                carry_out(block, shell)


@pytest.mark.parametrize(
    "page",
    [*TUTORIAL, *OTHERS, DOCS / "index.md", DOCS / "contributing.md"],
    ids=lambda page: page.stem,
)
def test_syntax(page):
    """Also blocks that are only there to be read are correct Python and shell."""
    for block in blocks(page):
        if block.language == "python":
            compile(block.text, block.place, "exec")
        elif block.language == "sh":
            subprocess.run(["bash", "-nc", block.text], check=True, timeout=LIMIT_S)


@pytest.mark.parametrize(
    "page", [TUTORIAL, *([one] for one in OTHERS)], ids=lambda page: page[0].stem
)
def test_any_machine(page):
    """A page runs whichever backend answers: its pools name an image, or it sets the backend."""
    found = [block for one in page for block in blocks(one)]
    if any(block.title == ".env" and "CLOUDOPS_BACKEND=" in block.text for block in found):
        return
    for block in found:
        for call in re.findall(r"create_pool\([^)]*\)", block.text):
            assert "container_image_name=" in call, f"{block.place}: {call}"


@pytest.mark.parametrize(
    ("shown", "printed", "missing", "more"),
    [
        ("b\na\n", "a\nb\n", [], []),
        ("a ...\n", "a 17 x\n", [], []),
        ("a   b\n", "a b\n", [], []),
        ("a\n", "b\n", ["a"], ["b"]),
        ("a\na\n", "a\n", ["a"], []),
        ("a\n...\n", "a\nb\n", [], []),
        ("... b\na b\n", "a b\nc b\n", [], []),
    ],
)
def test_comparison(shown, printed, missing, more):
    """What a page shows and what was printed are compared line by line, in any order."""
    assert compare(shown, printed) == (missing, more)
