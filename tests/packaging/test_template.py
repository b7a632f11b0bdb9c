"""The example plugin is a real distribution: it is built, installed beside ours, and runs tasks."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

TEMPLATE = Path(__file__).parents[2] / "backends" / "template"

pytest.importorskip("hatchling", reason="builds need hatchling: pip install -e '.[dev]'")

SCRIPT = """\
from cfa.cloudops.local import CloudClient
client = CloudClient()
client.create_blob_container("data")
client.create_pool("pool", mounts=["data"])
client.create_job("job", pool_name="pool")
client.add_task("job", "sh -c 'echo through the plugin | tee /data/out.txt'")
"""


def run(*argv: str | Path, cwd: Path, **environment: str) -> str:
    done = subprocess.run(
        list(map(str, argv)),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
        cwd=cwd,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def plugin(tmp_path_factory):
    """The Python of an environment that has ours and, beside it, the built plugin."""
    place = tmp_path_factory.mktemp("plugin")
    source = shutil.copytree(
        TEMPLATE, place / "source", ignore=shutil.ignore_patterns("__pycache__")
    )
    code = "import sys; from hatchling import build; print(build.build_wheel(sys.argv[1]))"
    name = run(sys.executable, "-c", code, place, cwd=source).split()[-1]
    venv.create(place / "venv", with_pip=False, symlinks=True)
    interpreter = place / "venv" / "bin" / "python"
    run(
        *(sys.executable, "-m", "pip", "--python", interpreter, "install", "--quiet"),
        *("--no-index", "--no-deps", "--no-compile", place / name),
        cwd=place,
    )
    get = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site = Path(run(interpreter, "-c", get, cwd=place).strip())
    # An editable installation of ours has its own .pth file: addsitedir reads it, a path would not.
    (site / "zz_ours.pth").write_text(
        f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n"
    )
    return interpreter


@pytest.mark.thorough
def test_plugin_keeps_the_contract(plugin, tmp_path):
    """A stranger runs the shipped kit on the plugin as its readme says, and it passes."""
    tests = shutil.copytree(TEMPLATE / "tests", tmp_path / "tests")
    out = run(*(plugin, "-m", "pytest", "-q", "-p", "no:cacheprovider", tests), cwd=tmp_path)
    assert " passed" in out


def test_plugin_runs_tasks(plugin, tmp_path):
    """Once installed, the plugin is a backend by its name alone."""
    (tmp_path / "script.py").write_text(SCRIPT)
    out = run(
        plugin, "script.py", cwd=tmp_path, CLOUDOPS_BACKEND="example", CLOUDOPS_AGENT_IDLE_S="1"
    )
    assert "job--1 | through the plugin" in out
    assert (tmp_path / "data" / "out.txt").read_text() == "through the plugin\n"
