"""A project is copied or moved, its storage or its pool edited: what its pools then mount."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cfa.cloudops.errors import ConflictError
from cfa.cloudops.local import CloudClient

pytestmark = pytest.mark.parametrize("backend", ["subprocess-nosandbox"], indirect=True)

SCRIPT = """\
import sys
from cfa.cloudops.local import CloudClient
word, image = sys.argv[1:]
client = CloudClient()
client.create_blob_container("data")
client.create_blob_container("logs")
open("word.txt", "w").write(word)
client.upload_files("word.txt", "data")
client.create_pool("p", mounts=["data"], container_image_name=image)
client.create_job("j", "p", save_logs_to_blob="logs")
client.add_task("j", "sh -c 'cat /data/word.txt; cat /data/word.txt >> /data/seen.txt'")
client.monitor_job("j")
print("it said", client.read_task_output("j", "j--1"))
"""


@pytest.fixture(autouse=True)
def no_warnings(monkeypatch):
    """That there is no sandbox is tested elsewhere."""
    monkeypatch.setenv("LOG_LEVEL", "error")


def run(
    place: Path, word: str, *, fresh: bool = False, image: str = "i", **environment: str
) -> str:
    script = place / "script.py"
    script.write_text(SCRIPT)
    environment.setdefault("CLOUDOPS_EXISTING_JOB", "error" if fresh else "replace")
    command = ["-m", "cfa.cloudops.cli", "run", *(["--fresh"] if fresh else []), str(script)]
    done = subprocess.run(
        [sys.executable, *command, word, image],
        cwd=place,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    said = done.stdout + done.stderr
    assert f"it said {word}" in said
    return said


def logs(place: Path) -> list[str]:
    return [path.read_text() for path in sorted(place.glob("logs/**/stdout.txt"))]


@pytest.mark.parametrize("how", ["default", "relative", "below"])
def test_copied_project(workdir, backend, how):
    """A copy writes into containers of its own, and none of the original's."""
    blobs = {"default": ".", "relative": "blobs", "below": "blobs/deep"}[how]
    environment = {} if how == "default" else {"CLOUDOPS_STORAGE": blobs}
    one, two = workdir / "one", workdir / "two"
    one.mkdir()
    run(one, "first", **environment)
    shutil.copytree(one, two, ignore=shutil.ignore_patterns("*.sock"))
    assert "differs" not in run(two, "second", **environment)
    assert (one / blobs / "data" / "seen.txt").read_text() == "first"
    assert (two / blobs / "data" / "seen.txt").read_text() == "firstsecond"
    assert logs(one / blobs) == ["first"]
    assert sorted(logs(two / blobs)) == ["second"]  # of one day, and so of one name


def test_moved_project(workdir, backend):
    one, two = workdir / "one", workdir / "two"
    one.mkdir()
    run(one, "first")
    one.rename(two)
    assert "differs" not in run(two, "second")
    assert (two / "data" / "seen.txt").read_text() == "firstsecond"
    assert not one.exists()


def test_workspace_apart_from_its_storage(workdir, backend):
    """A storage that is not beside the workspace is where it was, wherever the workspace goes."""
    (workdir / "project").mkdir()
    environment = {"CLOUDOPS_STORAGE": str(workdir / "blobs")}
    run(workdir / "project", "first", **environment)
    (workdir / "a" / "deep").mkdir(parents=True)
    (workdir / "project").rename(workdir / "a" / "deep" / "project")
    assert "differs" not in run(workdir / "a" / "deep" / "project", "second", **environment)
    assert (workdir / "blobs" / "data" / "seen.txt").read_text() == "firstsecond"


def test_linked_workspace(workdir, backend):
    """A workspace that is a link serves the storage of the client, not the one beside its target."""
    (workdir / "far" / "ws").mkdir(parents=True, mode=0o700)
    (workdir / "far" / "ws").chmod(0o700)
    (workdir / "near").mkdir()
    (workdir / "near" / ".cloudops").symlink_to(workdir / "far" / "ws")
    run(workdir / "near", "first")
    assert (workdir / "near" / "data" / "seen.txt").read_text() == "first"
    assert sorted(os.listdir(workdir / "far")) == ["ws"]


@pytest.mark.promise(
    "create_pool",
    "Tasks of a pool see the containers of the storage to which the client uploads.",
    local="also of a pool that was created with another `CLOUDOPS_STORAGE`",
    cloud="those of the account with which the pool was created",
    difference="the storage is a setting of this machine, and no part of a script",
)
def test_changed_storage(workdir, backend):
    """A pool mounts the storage to which the client uploads, also after that was changed."""
    run(workdir, "first")
    said = run(workdir, "second", CLOUDOPS_STORAGE="blobs")
    assert (workdir / "data" / "seen.txt").read_text() == "first"
    assert (workdir / "blobs" / "data" / "seen.txt").read_text() == "second"
    assert "differs" not in said


def test_changed_storage_of_a_pool_that_works(bench):
    """A pool whose tasks are not done keeps its storage; whoever has another one is told so."""
    bench.client().create_blob_container("data")
    client = bench.ready(mounts=["data"])
    client.add_task("j", "sh -c 'until [ -e gate ]; do sleep 0.05; done'")
    other = bench.client(storage="blobs")
    said = r"'p' mounts containers of file://\S+, and this client uploads to file://\S+/blobs"
    with pytest.raises(ConflictError, match=said) as caught:
        other.create_pool("p", mounts=["data"])
    assert "CLOUDOPS_STORAGE" in caught.value.hint
    assert client.list_pools()[0].spec.storage == f"file://{bench.place}"
    client.delete_job("j")


def test_fresh_replaces_an_edited_pool(workdir, backend):
    """`cloudops run --fresh` takes the pool as the script now says; without it a warning tells how."""
    run(workdir, "first", LOG_LEVEL="warning")
    said = run(workdir, "second", image="other", LOG_LEVEL="warning")
    said = re.sub(r"\s+", " ", said)
    assert "differs in: image" in said
    assert "cloudops run --fresh" in said
    assert "replace_existing_pool=True" in said
    assert "differs" not in run(workdir, "third", image="other", fresh=True, LOG_LEVEL="warning")
    assert CloudClient().list_pools()[0].spec.image == "other"


def test_fresh_keeps_what_the_run_has_made(workdir, backend):
    """Two pools of one name in one script: the second call changes nothing, also with `--fresh`."""
    script = workdir / "twice.py"
    script.write_text(
        "from cfa.cloudops.local import CloudClient\n"
        "client = CloudClient()\n"
        "client.create_pool('p', container_image_name='one')\n"
        "client.create_pool('p', container_image_name='two')\n"
        "print(client.list_pools()[0].spec.image)\n"
    )
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-m", "cfa.cloudops.cli", "run", "--fresh", "twice.py"],
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.stdout.splitlines()[-1] == "one", done.stderr


def test_says_where_the_tasks_of_a_pool_run(bench, monkeypatch, capsys):
    """What `auto` would take today is not said of a pool that was created with something else."""
    bench.ready()
    executor = bench.backend.executor
    monkeypatch.setattr("cfa.cloudops.backends.choose", lambda _: ("other", "other 1 answers"))
    client = bench.client(backend="auto")
    client.create_pool("p", container_image_name=bench.image)
    assert f"tasks run on {executor} (the pool p was created so)" in capsys.readouterr().err


def test_two_clients_with_storages_of_their_own(bench):
    """A pool with an open job keeps its storage, also while that has no tasks or none that wait."""
    one, two = bench.client(storage="one"), bench.client(storage="two")
    for client in (one, two):
        client.create_blob_container("data")
    one.create_pool("p", mounts=["data"], container_image_name=bench.image)
    one.create_job("ja", "p", mark_complete_after_tasks_run=False)
    with pytest.raises(ConflictError, match="in use by ja"):
        two.create_pool("p", mounts=["data"], container_image_name=bench.image)
    one.delete_job("ja")
    two.create_pool("p", mounts=["data"], container_image_name=bench.image)
    assert one.list_pools()[0].spec.storage == f"file://{bench.place}/two"


def test_open_job_of_the_same_script(bench):
    """A job to which the script may add more keeps the storage of its pool as well."""
    status, _, err = bench.run(
        "from cfa.cloudops.local import CloudClient\n"
        "one, two = CloudClient(storage='one'), CloudClient(storage='two')\n"
        "one.create_pool('p')\n"
        "one.create_job('ja', 'p', mark_complete_after_tasks_run=False)\n"
        "one.add_task('ja', 'true')\n"
        "one.monitor_job('ja')\n"
        "two.create_pool('p')\n"
    )
    assert status == 1
    assert "in use by ja" in err


def test_fresh_leaves_a_pool_to_a_job_that_has_no_tasks_yet(workdir, backend):
    """Another script has just created its job: `cloudops run --fresh` does not take its pool away."""
    other = CloudClient(at_exit="detach")
    other.create_pool("p", container_image_name="one")
    other.create_job("x", "p")
    script = workdir / "fresh.py"
    script.write_text(
        "from cfa.cloudops.local import CloudClient\n"
        "CloudClient().create_pool('p', container_image_name='two')\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "cfa.cloudops.cli", "run", "--fresh", "fresh.py"],
        env=os.environ | {"LOG_LEVEL": "warning"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    said = re.sub(r"\s+", " ", done.stdout + done.stderr)
    assert "stays as it is, because it is in use by x, although it differs in: image" in said
    assert "afresh" not in said
    assert other.list_pools()[0].spec.image == "one"
    other.delete_job("x")
    other.close()


def test_storage_by_a_link(bench, capsys):
    """A path through a link, or with `..`, is the same storage."""
    (bench.place / "real").mkdir()
    (bench.place / "link").symlink_to("real")
    client = bench.client(storage="link")
    client.create_blob_container("data")
    client.create_pool("p", mounts=["data"], container_image_name=bench.image)
    client.create_job("j", "p")
    for storage in ("link", "real", "link/../real", f"file://{bench.place}/real/"):
        bench.client(storage=storage).create_pool(
            "p", mounts=["data"], container_image_name=bench.image
        )
    assert "mounts containers of" not in capsys.readouterr().out
    client.delete_job("j")


def test_storage_that_was_written_in_full(bench):
    """Its path stays what it is, wherever the workspace goes."""
    client = bench.client(storage=str(bench.place / "store"))
    client.create_pool("p", container_image_name=bench.image)
    client.close()
    (bench.place / "moved").mkdir()
    (bench.place / ".cloudops").rename(bench.place / "moved" / ".cloudops")
    there = bench.client(storage=str(bench.place / "store"), home="moved/.cloudops")
    assert there.list_pools()[0].spec.storage == f"file://{bench.place}/store"
