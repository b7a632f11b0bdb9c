"""What is built and what an installation gives."""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
import zipfile
from importlib.metadata import Distribution, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PACKAGES = (
    "cfa/cloudops",
    "cloudops_docker",
    "cloudops_fsspec",
    "cloudops_podman",
    "cloudops_subprocess",
)

pytest.importorskip("hatchling", reason="builds need hatchling: pip install -e '.[dev]'")


def run(*argv: str | Path, cwd: Path | None = None) -> str:
    done = subprocess.run(
        list(map(str, argv)),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
        cwd=cwd,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def build(kind: str, source: Path, target: Path) -> Path:
    """Build with the backend itself: what pip calls, without fetching anything."""
    code = (
        "import sys; from hatchling import build;"
        "print(getattr(build, 'build_' + sys.argv[1])(sys.argv[2]))"
    )
    target.mkdir(exist_ok=True)
    return target / run(sys.executable, "-c", code, kind, target, cwd=source).split()[-1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built from the source tree."""
    return build("wheel", ROOT, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def sdist(tmp_path_factory):
    """The source distribution."""
    return build("sdist", ROOT, tmp_path_factory.mktemp("sdist"))


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """The Python of a fresh environment with the wheel in it.

    Dependencies are those of the running environment, appended to the import path, so that nothing
    is fetched; the wheel's own modules come first.
    """
    place = tmp_path_factory.mktemp("fresh") / "venv"
    venv.create(place, with_pip=False, symlinks=True)
    interpreter = place / "bin" / "python"
    run(
        *(sys.executable, "-m", "pip", "--python", interpreter, "install", "--quiet"),
        *("--no-index", "--no-deps", "--ignore-installed", "--no-compile", wheel),
    )
    site = Path(
        run(interpreter, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip()
    )
    (site / "zz_dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return interpreter


def ask(interpreter: Path, code: str) -> object:
    """What an expression is in the fresh environment, asked from an empty directory."""
    empty = interpreter.parent
    program = f"import json; print(json.dumps({code}))"
    return json.loads(run(interpreter, "-I", "-c", program, cwd=empty))


def sources() -> set[str]:
    """Files that belong into the wheel, by their names in it."""
    found = set()
    for base in (ROOT / "src", ROOT / "backends"):
        for path in base.rglob("*"):
            name = path.relative_to(base).as_posix()
            if path.is_file() and "__pycache__" not in name and name.startswith(PACKAGES):
                found.add(name)
    return found


def test_wheel_holds_all_modules(wheel):
    """The wheel has every file of the package and of the first-party backends, and no others."""
    with zipfile.ZipFile(wheel) as file:
        names = {name for name in file.namelist() if ".dist-info/" not in name}
    assert names == sources()


@pytest.mark.parametrize(
    "name",
    [
        *(f"{package}/py.typed" for package in PACKAGES),
        "cfa/cloudops/service/launcher.sh",
        "cfa/cloudops/testing/executor.py",
        "cfa/cloudops/testing/images.py",
    ],
)
def test_wheel_holds(wheel, name):
    """The wheel has the type markers, the launcher and the conformance kit."""
    with zipfile.ZipFile(wheel) as file:
        assert name in file.namelist()


def test_namespace_has_no_init(wheel, sdist):
    """`cfa` belongs to nobody: neither archive has a `cfa/__init__.py`."""
    with zipfile.ZipFile(wheel) as file:
        assert "cfa/__init__.py" not in file.namelist()
    with tarfile.open(sdist) as file:
        assert not [name for name in file.getnames() if name.endswith("src/cfa/__init__.py")]


def test_sdist_gives_the_same_wheel(sdist, wheel, tmp_path):
    """A wheel built from the source distribution holds what one from the source tree holds."""
    with tarfile.open(sdist) as file:
        # Early 3.11 lacks the argument; later versions warn without it.
        safely = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
        file.extractall(tmp_path, **safely)
    (tree,) = tmp_path.iterdir()
    again = build("wheel", tree, tmp_path / "wheel")
    with zipfile.ZipFile(wheel) as first, zipfile.ZipFile(again) as second:
        assert sorted(first.namelist()) == sorted(second.namelist())


def test_sdist_can_be_tested(sdist):
    """The source distribution carries its tests, licence and readme."""
    with tarfile.open(sdist) as file:
        names = {name.partition("/")[2] for name in file.getnames()}
    assert {"tests/conftest.py", "LICENSE", "README.md", "pyproject.toml"} <= names


def test_installed_package_is_the_wheel(installed):
    """An installation imports from its own files, and `cfa` is a namespace."""
    place = ask(installed, "__import__('cfa.cloudops').cloudops.__file__")
    assert str(place).startswith(str(installed.parent.parent))
    assert ask(installed, "__import__('cfa').__file__") is None


@pytest.mark.parametrize("group", sorted(PROJECT["entry-points"]))
def test_entry_points_load(installed, group):
    """Every plugin of ours is registered in an installation, and can be loaded."""
    code = (
        "{p.name: p.load().__name__ for p in "
        f"__import__('importlib.metadata').metadata.entry_points(group={group!r}) "
        "if p.dist.name == 'cfa-cloudops'}"
    )
    expected = {
        name: value.partition(":")[2] for name, value in PROJECT["entry-points"][group].items()
    }
    assert ask(installed, code) == expected


def test_console_command(installed):
    """An installation has the `cloudops` command, which says what it can do."""
    assert "Usage" in run(installed.parent / "cloudops", "--help")


def closure(requirements: list[str]) -> dict[str, Distribution]:
    """What an installation without extras brings, by name."""
    found: dict[str, Distribution] = {}
    waiting = [Requirement(text) for text in requirements]
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        if name in found or not (
            requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        ):
            continue
        found[name] = distribution(name)
        waiting += [Requirement(text) for text in found[name].requires or ()]
    return found


def test_base_installation_is_small() -> None:
    """At most 22 packages with this one, and 25 MB without byte code."""
    found = closure(PROJECT["dependencies"])
    assert len(found) + 1 <= 22, sorted(found)
    files = [file for one in found.values() for file in one.files or () if file.suffix != ".pyc"]
    size = sum(path.stat().st_size for file in files if (path := Path(file.locate())).is_file())
    size += sum(
        path.stat().st_size
        for place in ("src", "backends")
        for path in (ROOT / place).rglob("*.*")
        if path.suffix != ".pyc" and path.is_file()
    )
    assert size <= 25_000_000, f"{size} bytes"
