"""What type checkers say of a user's script."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "tests" / "data" / "typing" / "script.py"
#: Lines, counted from 1, that a checker must refuse.
WRONG = {
    number
    for number, line in enumerate(SCRIPT.read_text().splitlines(), 1)
    if line.endswith("# error")
}


@pytest.fixture(params=["mypy", "pyright"])
def checker(request: pytest.FixtureRequest) -> str:
    """A type checker; a machine without it skips, CI has to have it."""
    name: str = request.param
    if importlib.util.find_spec(name) is None:
        if os.environ.get("CI"):
            pytest.fail(f"{name} is not installed, and CI needs it: pip install '.[dev]'")
        pytest.skip(f"{name} is not installed; it comes with the extra 'dev'")
    return name


def refused(checker: str, directory: Path) -> dict[int, str]:
    """Lines of the script that a checker refuses, with what it says."""
    script = Path(shutil.copy(SCRIPT, directory))
    paths = [str(ROOT / "src"), str(ROOT / "backends")]
    if checker == "mypy":
        settings = directory / "mypy.ini"
        settings.write_text(
            "[mypy]\nstrict = true\nnamespace_packages = true\nexplicit_package_bases = true\n"
            f"follow_imports = silent\nmypy_path = {':'.join(paths)}\ncache_dir = {directory}/cache\n"
        )
        command = ["mypy", "--config-file", str(settings), "--no-error-summary", script.name]
    else:
        settings = directory / "pyrightconfig.json"
        settings.write_text(
            json.dumps(
                {
                    "extraPaths": paths,
                    "typeCheckingMode": "standard",
                    "pythonVersion": "3.11",
                }
            )
        )
        command = ["pyright", "--pythonpath", sys.executable]
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    found = re.findall(r"script\.py:(\d+)(?::\d+)?(?: -|:) (error.*)", done.stdout)
    assert found or not done.returncode, done.stdout + done.stderr
    return {int(number): text for number, text in found}


@pytest.mark.timeout(300)
def test_script(checker: str, tmp_path: Path) -> None:
    """A type checker accepts the calls that work and refuses the others, line by line."""
    found = refused(checker, tmp_path)
    unexpected = {number: text for number, text in found.items() if number not in WRONG}
    assert not unexpected
    assert sorted(found) == sorted(WRONG)
