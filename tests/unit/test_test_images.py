"""The archives of the offline images, looked at without an engine."""

from __future__ import annotations

import hashlib
import json
import os
import tarfile
import tempfile

import pytest

from cfa.cloudops.errors import UnsupportedError
from cfa.cloudops.testing import archives, images


@pytest.fixture(scope="module", autouse=True)
def static_busybox():
    """Skips without a static busybox to make images from."""
    try:
        return archives.busybox()
    except UnsupportedError as error:
        pytest.skip(str(error))


def test_same_input_gives_the_same_archive(tmp_path, monkeypatch):
    """An archive depends on its contents only, so that an engine is not filled with copies."""
    made = []
    hash_of = hashlib.sha256

    def later(*data):  # what is hashed was written: it becomes older by a minute
        for path in tmp_path.rglob("layer.tar"):
            os.utime(path, (0, 60 * len(made)))
        return hash_of(*data)

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(hashlib, "sha256", later)
    for name in ("first", "second"):
        archive = archives.busybox_archive("docker.io/x/y:1", tmp_path / name, {"Cmd": ["sh"]})
        made.append(archive.read_bytes())
    first, second = made
    assert hashlib.sha256(first).digest() == hashlib.sha256(second).digest()


def test_archive_describes_itself(tmp_path):
    """The manifest names the image in full, and the layer has the digest that is stated."""
    archive = archives.busybox_archive("docker.io/x/y:1", tmp_path / "a.tar", {"User": "1:2"})
    with tarfile.open(archive) as file:
        (entry,) = json.load(file.extractfile("manifest.json"))
        config = json.load(file.extractfile(entry["Config"]))
        layer = file.extractfile(entry["Layers"][0]).read()
    assert entry["RepoTags"] == ["docker.io/x/y:1"]
    assert config["config"]["User"] == "1:2"
    assert config["rootfs"]["diff_ids"] == ["sha256:" + hashlib.sha256(layer).hexdigest()]
    assert archives.label_of(archive)


def test_unknown_image_is_refused():
    """A name that is not one of the images is refused before an engine is asked."""
    with pytest.raises(ValueError, match="no test image 'alpine'"):
        images.load(images.engine("no-such-engine"), "alpine")
