"""The offline test images on real engines."""

from __future__ import annotations

import os

import pytest

from cfa.cloudops.testing import images

WITH_IMAGES = ["docker", "podman-rootless" if os.getuid() else "podman"]
pytestmark = pytest.mark.parametrize("backend", WITH_IMAGES, indirect=True)


@pytest.fixture
def engine(backend):
    """The backend's engine."""
    return backend.engine


def run(engine, *arguments):
    return engine.run("run", "--rm", "--network", "none", *arguments, timeout_s=60)


@pytest.mark.parametrize("name", [images.BUSYBOX, images.PYTHON_SLIM])
def test_short_name_is_found(engine, name):
    """A loaded image runs under the name that a user types, and has a shell."""
    images.load(engine, name)
    assert run(engine, name, "sh", "-c", "echo $((6 * 7))").stdout == "42\n"


def test_loading_twice_changes_nothing(engine):
    """An image that is present is left as it is."""
    images.load(engine, images.BUSYBOX)
    first = engine.run("image", "inspect", images.BUSYBOX, timeout_s=60).stdout
    images.load(engine, images.BUSYBOX)
    assert engine.run("image", "inspect", images.BUSYBOX, timeout_s=60).stdout == first


def test_busybox_has_what_the_launcher_uses(engine):
    """The busybox image has mkfifo and setsid, and a /tmp that everyone may write to."""
    images.load(engine, images.BUSYBOX)
    script = "setsid mkfifo /tmp/f && stat -c '%a %F' /tmp /tmp/f"
    shown = run(engine, "--user", "4321:4321", images.BUSYBOX, "sh", "-c", script)
    assert shown.stdout.splitlines() == ["1777 directory", "644 fifo"]


def test_python_is_whole(engine, python_image):
    """The Python image has `python3` and `python` with the standard library."""
    program = "import csv, json, sqlite3, ssl; print(json.dumps([1]))"
    for command in ("python3", "python"):
        assert run(engine, python_image, command, "-c", program).stdout == "[1]\n"


def test_odd_images(engine):
    """One image has no shell, one has a USER, one an ENTRYPOINT that fails."""
    images.load(engine, images.NOSHELL, images.NONROOT, images.ENTRYPOINT)
    assert run(engine, images.NOSHELL, "/bin/true").returncode == 0
    assert run(engine, images.NOSHELL, "/bin/sh", "-c", "true").returncode != 0
    assert run(engine, images.NONROOT, "id", "-u").stdout == "1234\n"
    assert run(engine, images.ENTRYPOINT, "true").returncode == 1
