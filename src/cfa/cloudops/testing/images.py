"""Offline images for tests: packed here, loaded by an engine's own command line, no registry asked.

- `cloudops-test/busybox:1`: a static busybox with its applets in `/bin`; packed in a second.
- `cloudops-test/noshell:1`: a static binary as `/bin/true` and `/bin/sleep`, no `/bin/sh`.
- `cloudops-test/nonroot:1`: busybox with `USER 1234:1234`.
- `cloudops-test/entrypoint:1`: busybox with `ENTRYPOINT ["/bin/false"]`.
- `cloudops-test/python:1`: Debian with its Python, made once by debootstrap and kept in a cache.
- `python:3.10-slim`: the same under the name that users' scripts give, unless one is there already.

Every image is loaded under its full name (`docker.io/...`), because engines complete a short name
in different ways while loading and agree on it afterwards: what a user types is found in all.

As a program: `python -m cfa.cloudops.testing.images ENGINE [IMAGE ...]`, where ENGINE is a command
such as `docker` or `podman`; without images it loads all. ENGINE `-` only fills the cache.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import frozen

from cfa.cloudops.errors import ImageError
from cfa.cloudops.testing.archives import LABEL, busybox_archive, label_of, python_archive

BUSYBOX = "cloudops-test/busybox:1"
NOSHELL = "cloudops-test/noshell:1"
NONROOT = "cloudops-test/nonroot:1"
ENTRYPOINT = "cloudops-test/entrypoint:1"
PYTHON = "cloudops-test/python:1"
#: What the scripts of the documentation name. The Python inside is Debian's, whatever its version.
PYTHON_SLIM = "python:3.10-slim"

#: All images of this module.
NAMES = (BUSYBOX, NOSHELL, NONROOT, ENTRYPOINT, PYTHON, PYTHON_SLIM)

_CONFIGS: dict[str, dict[str, Any]] = {
    BUSYBOX: {"Cmd": ["/bin/sh"]},
    NOSHELL: {"Cmd": ["/bin/true"]},
    NONROOT: {"Cmd": ["/bin/sh"], "User": "1234:1234"},
    ENTRYPOINT: {"Cmd": ["/bin/sh"], "Entrypoint": ["/bin/false"]},
}


@frozen(kw_only=True)
class Engine:
    """An engine's command line: `argv` is the command and its leading options.

    `environment` stands for `os.environ` when given; it is how a socket or a store is named.
    """

    argv: tuple[str, ...]
    environment: Mapping[str, str] | None = None

    def run(self, *arguments: str, timeout_s: float) -> subprocess.CompletedProcess[str]:
        """Run a command of the engine.

        Raises:
            ImageError: it could not be run or took longer than `timeout_s` seconds. An exit status
                other than 0 is the caller's to judge.
        """
        argv = [*self.argv, *arguments]
        try:
            return subprocess.run(
                argv,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                check=False,
                timeout=timeout_s,
                env=None if self.environment is None else dict(self.environment),
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ImageError(
                f"Could not run {' '.join(argv)!r}: {error}.", "Install and start the engine."
            ) from error


def engine(name: str, environment: Mapping[str, str] | None = None) -> Engine:
    """The command line of `docker` or `podman`, as found on PATH."""
    return Engine(argv=(name,), environment=environment)


def load(engine: Engine, *names: str) -> None:
    """Make images of this module present in an engine. Does nothing for those that are.

    A `python:3.10-slim` that is there already is left alone, whoever made it.

    Raises:
        ValueError: a name is not one of `NAMES`.
        ImageError: the engine refused; its own words.
        UnsupportedError: this machine lacks what the image is made from.
    """
    for name in names:
        if name not in NAMES:
            raise ValueError(
                f"There is no test image {name!r}. The test images are: {', '.join(NAMES)}."
            )
    for name in names:
        if name in _CONFIGS:
            _load_busybox(engine, name)
    if PYTHON in names or PYTHON_SLIM in names:
        _load_python(engine)


def _load_busybox(engine: Engine, name: str) -> None:
    with tempfile.TemporaryDirectory(prefix="cloudops-image-") as made:
        target = Path(made) / "image.tar"
        busybox_archive(_full(name), target, _CONFIGS[name], shell=name != NOSHELL)
        if _label(engine, name) != label_of(target):
            _must(engine, "load", "--input", str(target), timeout_s=120)


def _load_python(engine: Engine) -> None:
    if _label(engine, PYTHON) is None:
        archive = python_archive(_full(PYTHON))
        _must(engine, "load", "--input", str(archive), timeout_s=600)
    if _label(engine, PYTHON_SLIM) is None:
        _must(engine, "tag", _full(PYTHON), _full(PYTHON_SLIM), timeout_s=60)


def _label(engine: Engine, name: str) -> str | None:
    """The label of an image that the engine has; '' for one without it, None for no image."""
    found = engine.run("image", "inspect", _full(name), timeout_s=60)
    if found.returncode != 0:
        return None
    described = json.loads(found.stdout)[0]
    labels = (described.get("Config") or {}).get("Labels") or {}
    return str(labels.get(LABEL, ""))


def _must(engine: Engine, *arguments: str, timeout_s: float) -> None:
    done = engine.run(*arguments, timeout_s=timeout_s)
    if done.returncode != 0:
        raise ImageError(
            f"{' '.join([*engine.argv, *arguments])!r} failed: {done.stderr.strip()}",
            "See whether the engine answers: run its 'info' command.",
        )


def _full(name: str) -> str:
    return f"docker.io/{name}" if "/" in name else f"docker.io/library/{name}"


def main(arguments: Sequence[str]) -> int:
    """The program: load images into an engine, or only fill the cache."""
    if not arguments:
        sys.stderr.write("usage: python -m cfa.cloudops.testing.images ENGINE|- [IMAGE ...]\n")
        return 2
    command, names = arguments[0], arguments[1:] or NAMES
    if command == "-":
        sys.stdout.write(f"{python_archive(_full(PYTHON))}\n")
        return 0
    load(engine(command), *names)
    sys.stdout.write(f"{command}: {', '.join(names)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
