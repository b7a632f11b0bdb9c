"""Who may import whom, and what the import swap costs."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cfa.cloudops.service.local import LocalBatch
from cfa.cloudops.settings import load as load_settings

ROOT = Path(__file__).parents[2]
SRC = ROOT / "src"
BACKENDS = ROOT / "backends"
PACKAGE = "cfa.cloudops"

VALUES = {"errors", "model", "beneath", "report", "variables"}
INTERFACES = VALUES | {"provider"}
REGISTRY = INTERFACES | {"settings", "backends", "autoscale"}

#: First part below `cfa.cloudops` -> the parts it may import, besides itself. Parts that are not
#: named here may import anything but a backend package.
ARROWS = {
    "errors": set(),
    "beneath": set(),
    "report": {"beneath"},
    "variables": {"model"},
    "model": {"errors"},
    "autoscale": {"errors"},
    "provider": VALUES | {"settings"},
    "settings": VALUES,
    "backends": INTERFACES,
    "documents": {"errors"},
    "dag": {"errors", "model"},
    "drawing": {"errors", "dag"},
    "parameters": {"errors", "model", "documents"},
    "rehearsal": INTERFACES,
    "client": REGISTRY | {"dag", "drawing", "parameters", "rehearsal"},
    "service": REGISTRY | {"privileges"},
}

SWAP = "from cfa.cloudops.local import CloudClient"
LIST = (
    "import sys; sys.argv = ['cloudops', 'job', 'list']\n"
    "from cfa.cloudops.cli import main\n"
    "try: main()\n"
    "except SystemExit: pass"
)
#: What neither loads: each is slow, and none is needed.
SLOW = {
    "asyncio", "cloudops_docker", "cloudops_fsspec", "cloudops_podman", "cloudops_subprocess", "docker",
    "email", "fsspec", "http", "importlib.metadata", "lark", "matplotlib", "multiprocessing", "networkx",
    "podman", "pydantic", "random", "requests", "rich", "ssl", "stevedore", "tempfile", "tomllib",
    "typer", "urllib.request", "urllib3", "yaml",
}  # fmt: skip
#: Code -> what it does not load besides, modules of ours and modules of others that it may load. Each
#: costs about half a millisecond; 80 ms of processor time are right for the client, 150 for a command.
BUDGETS = {
    SWAP: ({"click", "csv", "secrets", "sqlite3", "subprocess", "uuid"}, 43, 100),
    LIST: ({"cfa.cloudops.client", "subprocess"}, 42, 140),
}


def module_name(path: Path, base: Path) -> str:
    parts = path.relative_to(base).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def modules(base: Path) -> dict[str, Path]:
    """Module names below a directory that is, or would be, on the import path."""
    return {module_name(path, base): path for path in base.rglob("*.py")}


OURS = modules(SRC)


def imports(name: str, path: Path) -> Iterator[str]:
    """Full names of what a module imports, wherever in it the import stands."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = package.split(".")[: len(package.split(".")) + 1 - node.level]
            parts = ([*start] if node.level else []) + ([node.module] if node.module else [])
            source = ".".join(parts)
            for alias in node.names:
                whole = f"{source}.{alias.name}"
                yield whole if whole in OURS else source


def part(name: str) -> str | None:
    """`provider` for `cfa.cloudops.provider.batch`, '' for the package itself, None for others."""
    if name != PACKAGE and not name.startswith(PACKAGE + "."):
        return None
    return name.removeprefix(PACKAGE).lstrip(".").partition(".")[0]


@pytest.mark.parametrize("name", sorted(OURS))
def test_arrows_point_one_way(name):
    """A module of ours imports only what its layer may, and never a backend package."""
    mine = part(name) or ""
    allowed = ARROWS[mine] | {mine} if mine in ARROWS else None
    backends = {path.name for path in BACKENDS.iterdir() if path.is_dir()}
    wrong = []
    for target in imports(name, OURS[name]):
        theirs = part(target)
        inside = theirs is None or allowed is None or theirs in allowed
        if target.partition(".")[0] in backends or not inside:
            wrong.append(target)
    assert not wrong, f"{name} imports {', '.join(wrong)}"


@pytest.mark.parametrize(
    "backend", sorted(path.name for path in BACKENDS.glob("cloudops_*") if path.is_dir())
)
def test_backends_know_the_interfaces_only(backend):
    """A backend imports provider, model, errors, beneath, nothing else of ours, no other backend."""
    for name, path in modules(BACKENDS).items():
        if name.partition(".")[0] != backend:
            continue
        for target in imports(name, path):
            theirs = part(target)
            assert theirs is None or theirs in INTERFACES, f"{name} imports {target}"
            top = target.partition(".")[0]
            assert not top.startswith("cloudops_") or top == backend, f"{name} imports {target}"


def test_only_the_registry_knows_stevedore():
    """Plugins are found in one place."""
    users = {
        name
        for name, path in OURS.items()
        if any(target.partition(".")[0] == "stevedore" for target in imports(name, path))
    }
    assert users <= {"cfa.cloudops.backends"}


@pytest.mark.parametrize("code", BUDGETS, ids=["import", "job list"])
def test_start(code, workdir):
    """Importing the local client, and a command of every day, load nothing slow and little at all."""
    LocalBatch(load_settings(default_backend="subprocess")).close()
    absent, most_of_ours, most_of_others = BUDGETS[code]
    bare = "import sys; before = set(sys.modules)\n"
    told = "\nprint(*sorted(set(sys.modules) - before), file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", f"{bare}{code}{told}"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        check=True,
    )
    loaded = set(done.stderr.splitlines()[-1].split())
    assert not loaded & (SLOW | absent)
    ours = {name for name in loaded if part(name) is not None}
    assert ours >= {"cfa.cloudops.errors"}
    assert len(ours) <= most_of_ours, sorted(ours)
    assert len(loaded - ours) <= most_of_others, sorted(loaded - ours)


def test_placeholders_without_numbers() -> None:
    """Python 3.12.0 and 3.12.1 warn of numbered placeholders, which become an error with `-W error`."""
    texts = [
        node.value
        for path in SRC.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    assert [
        text for text in texts if re.search(r"(SELECT|UPDATE|WHERE|VALUES)\b.*\?[0-9]", text)
    ] == []
