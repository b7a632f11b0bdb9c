"""Legal holds, locks and seals of blobs, through the client."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

import pytest

from cfa.cloudops.client.blobs import BlobMixin
from cfa.cloudops.errors import (
    BackendError,
    BackendUnavailableError,
    BlobNotFoundError,
    ConflictError,
    InvalidInputError,
    ProtectedBlobError,
    UnsafePathError,
    UnsupportedError,
)
from cfa.cloudops.provider.protection import PROTECTION_FOLDER
from cloudops_fsspec import FsspecBlobs, _records


class Client(BlobMixin):
    """A client of nothing but blobs."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._blobs = FsspecBlobs(url)


@pytest.fixture(params=["file", "memory"])
def client(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Client]:
    """A client with the container `box`, and files `a`, `b`, `d/a`, `d/sub/b` where it works."""
    work = tmp_path / "work"
    (work / "d" / "sub").mkdir(parents=True)
    monkeypatch.chdir(work)
    for name in ("a", "b", "d/a", "d/sub/b"):
        Path(name).write_text(name)
    url = f"file://{tmp_path}/root" if request.param == "file" else f"memory://{uuid.uuid4().hex}"
    client = Client(url)
    client.create_blob_container("box")
    yield client
    if request.param == "memory":
        client._blobs._blobs._fs.rm(client._blobs._blobs._root, recursive=True)


@pytest.fixture
def local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Client:
    """A client whose containers are folders of the working directory, with `d/held` held in `box`."""
    monkeypatch.chdir(tmp_path)
    Path("d").mkdir()
    Path("d/held").write_text("old")
    client = Client("file:")
    client.create_blob_container("box")
    client.upload_files("d/held", "box", legal_hold=True)
    return client


def read(client: Client, blob: str) -> str:
    """The text of a blob."""
    client.download_file(blob, "fetched", "box")
    return Path("fetched").read_text()


UPLOADS: dict[str, Callable[..., Any]] = {
    "files": lambda client, **more: client.upload_files(["d/a", "d/sub/b"], "box", **more),
    "folders": lambda client, **more: client.upload_folders("d", "box", **more),
    "async": lambda client, **more: client.async_upload_folder(
        "d", "box", location_in_blob="d", **more
    ),
}


@pytest.mark.parametrize("upload", UPLOADS.values(), ids=UPLOADS)
class TestUploads:
    """Every upload gives protection and honours it."""

    @pytest.mark.promise(
        "upload_files",
        "`legal_hold` holds every blob: neither replaced nor deleted until it is cleared.",
        local="by every client of this storage",
        cloud="an overwrite makes a new version; the held one stays",
        difference="here the overwrite is refused",
    )
    @pytest.mark.promise(
        "update_blob_protection",
        "`legal_hold=False`, the default, clears a hold.",
        local="then it can be deleted",
    )
    @pytest.mark.promise(
        "delete_blob_file",
        "A protected blob cannot be deleted.",
        local="an error that says how to clear the hold",
        cloud="`BlobImmutableDueToLegalHold`",
        difference="the type of the error",
    )
    def test_hold_is_for_every_file(self, client: Client, upload: Callable[..., Any]) -> None:
        """Each blob of a call is held: neither deleted nor replaced until its hold is cleared, also
        by another client."""
        upload(client, legal_hold=True)
        other = Client(client.url)
        for blob in ("d/a", "d/sub/b"):
            with pytest.raises(
                ProtectedBlobError, match=r"update_blob_protection.*legal_hold=False"
            ):
                other.delete_blob_file(blob, "box")
        with pytest.raises(ProtectedBlobError):
            other.delete_blob_folder("d", "box")
        with pytest.raises(ProtectedBlobError):
            upload(other)
        other.update_blob_protection(["d/a", "d/sub/b"], "box")
        upload(client)
        client.delete_blob_folder("d", "box")
        assert client.list_blob_files("box") == []

    @pytest.mark.promise(
        "upload_files",
        "`immutability_lock_days` locks every blob.",
        local="all of the call",
        cloud="only the last one is locked",
        difference="a defect of version 0.8.0, not repeated here",
    )
    def test_lock_is_for_every_file(self, client: Client, upload: Callable[..., Any]) -> None:
        """Each blob of a call is locked for the days given, the last one and the others."""
        before = datetime.now(UTC)
        upload(client, immutability_lock_days=3)
        for blob in ("d/a", "d/sub/b"):
            until = client._blobs.protection("box", blob).locked_until
            assert until is not None
            assert timedelta(days=3) <= until - before < timedelta(days=3, hours=1)
        client.update_blob_protection(["d/a", "d/sub/b"], "box", legal_hold=False)
        with pytest.raises(ProtectedBlobError, match=f"locked until {until:%Y-%m-%d}") as caught:
            client.delete_blob_file("d/a", "box")
        assert isinstance(caught.value, PermissionError)
        assert isinstance(caught.value, ConflictError)

    def test_one_protected_blob_stops_all(self, client: Client, upload: Callable[..., Any]) -> None:
        """A call that would replace one protected blob stores none of its files."""
        client.upload_files("d/sub/b", "box", legal_hold=True)
        with pytest.raises(ProtectedBlobError, match="nothing was uploaded"):
            upload(client)
        assert client.list_blob_files("box") == ["d/sub/b"]

    @pytest.mark.parametrize("days", [-1, 1.5, "3", None, 146_001])
    def test_bad_days(self, client: Client, upload: Callable[..., Any], days: Any) -> None:
        """What is no number of days is refused, and nothing is uploaded."""
        with pytest.raises(InvalidInputError, match="immutability_lock_days"):
            upload(client, immutability_lock_days=days)
        assert client.list_blob_files("box") == []


@pytest.mark.promise(
    "update_blob_protection",
    "`read_only` seals a blob.",
    local="not replaced, but deleted",
    cloud="append blobs only",
    difference="all blobs can be sealed here",
)
def test_update_seals(client: Client) -> None:
    """`read_only` seals: not replaced even without a hold, but deleted."""
    client.upload_files("a", "box")
    client.update_blob_protection("a", "box", read_only=True)
    client.update_blob_protection("a", "box")
    with pytest.raises(ProtectedBlobError, match="sealed"):
        client.upload_files("a", "box")
    client.delete_blob_file("a", "box")
    client.upload_files("a", "box")


@pytest.mark.promise(
    "async_upload_folder",
    "`read_only` seals every blob.",
    local="not replaced even without a hold",
    cloud="append blobs only",
    difference="all blobs can be sealed here",
)
def test_async_upload_seals(client: Client) -> None:
    """`read_only` of an upload seals every blob."""
    client.async_upload_folder("d", "box", read_only=True)
    with pytest.raises(ProtectedBlobError, match="sealed"):
        client.async_upload_folder("d", "box")


@pytest.mark.promise(
    "update_blob_protection",
    "A blob that is not there is an error.",
    local="`ValueError`; nothing is changed",
    cloud="logged; the others are changed",
    difference="here it raises",
)
def test_update_looks_first(client: Client) -> None:
    """With one blob missing, or a bad name, no protection is changed."""
    client.upload_files(["a", "b"], "box", legal_hold=True)
    with pytest.raises(BlobNotFoundError):
        client.update_blob_protection(["a", "none", "b"], "box")
    with pytest.raises(UnsafePathError):
        client.update_blob_protection(["a", "../b"], "box")
    assert all(client._blobs.protection("box", blob).legal_hold for blob in ("a", "b"))


def test_download_is_free(client: Client) -> None:
    """Protected blobs are read as any other."""
    client.upload_folders("d", "box", legal_hold=True, immutability_lock_days=1)
    assert read(client, "d/a") == "d/a"
    client.download_folder("d", "dst", "box")
    assert Path("dst/d/sub/b").read_text() == "d/sub/b"


class Unprotecting(FsspecBlobs):
    """A storage without protection, as one of another distribution may be."""

    protects: ClassVar[bool] = False


@pytest.mark.promise(
    "update_blob_protection",
    "Where nothing can be protected, asking for it is an error.",
    local="before anything is uploaded",
    cloud="an error of the account's configuration",
    difference="the error comes from the account's configuration",
)
@pytest.mark.parametrize("more", [{"legal_hold": True}, {"immutability_lock_days": 3}])
def test_storage_without_protection(client: Client, more: Any) -> None:
    """Where the storage protects nothing, a hold or lock is refused before anything is uploaded."""
    client._blobs = Unprotecting(client.url)
    for upload in UPLOADS.values():
        with pytest.raises(UnsupportedError, match="nothing was uploaded"):
            upload(client, **more)
    assert client.list_blob_files("box") == []


# --- directories


def test_records_are_outside_of_containers(local: Client) -> None:
    """Records lie beside the containers, are no blobs, and go with the last protection."""
    assert [str(path) for path in Path("box").rglob("*")] == ["box/d", "box/d/held"]
    assert local._blobs.list_containers() == ["box", "d"]
    assert Path(PROTECTION_FOLDER).is_dir()
    Path("d/held").rename("other")
    local.upload_folders(".", "box")  # what lies around, but no records
    assert local.list_blob_files("box") == ["d/held", "other"]
    local.update_blob_protection("d/held", "box")
    assert sorted(os.listdir()) == ["box", "d", "other"]


def test_protection_follows_a_renamed_container(local: Client) -> None:
    """A container that was renamed keeps its holds; one made anew under the old name has none."""
    Path("box").rename("other")
    local.create_blob_container("box")
    local.upload_files("d/held", "box")
    local.delete_blob_folder("d", "box")
    with pytest.raises(ProtectedBlobError):
        local.delete_blob_file("d/held", "other")


def test_protection_is_restored_with_the_containers(local: Client, tmp_path: Path) -> None:
    """A copy of the whole root keeps its holds."""
    shutil.copytree(tmp_path, tmp_path / "copy")
    with pytest.raises(ProtectedBlobError):
        Client(f"file://{tmp_path}/copy").delete_blob_folder("d", "box")


def test_protection_of_removed_files_is_over(local: Client) -> None:
    """A blob, or a container, that somebody removed by other means is not protected when it comes
    back; what is held still stops a deletion of the container."""
    with pytest.raises(ProtectedBlobError):
        local._blobs.delete_container("box")
    Path("box/d/held").unlink()
    local.upload_files("d/held", "box")
    local.delete_blob_file("d/held", "box")
    local.upload_files("d/held", "box", legal_hold=True)
    shutil.rmtree("box")
    local.create_blob_container("box")
    local.upload_files("d/held", "box")
    local._blobs.delete_container("box")
    assert os.listdir() == ["d"]


def test_links_do_not_lead_around_a_hold(local: Client) -> None:
    """A held blob is also held under a name that leads to it through a link to its folder."""
    Path("box/link").symlink_to("d")
    Path("box/up").mkdir()
    Path("box/up/link").symlink_to("../d")
    for blob in ("link/held", "up/link/held"):
        with pytest.raises(ProtectedBlobError):
            local.delete_blob_file(blob, "box")
        with pytest.raises(ProtectedBlobError):
            local._blobs.upload("d/held", "box", blob)
    local.delete_blob_folder("link", "box")  # of a link, the link
    assert local.list_blob_files("box") == ["d/held"]


def test_unreadable_record_protects(local: Client) -> None:
    """A damaged record is an error, not a lifted hold."""
    record = next(Path(PROTECTION_FOLDER).rglob("*.json"))
    record.write_text("{")
    with pytest.raises(BackendError, match="cannot be read"):
        local.delete_blob_file("d/held", "box")
    assert Path("box/d/held").exists()


def test_waits_for_another_process(local: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """While another holds the records, a change waits, and gives up after a limit."""
    monkeypatch.setattr(_records, "_LOCK_TIMEOUT_S", 0.05)
    records = _records.DirectoryRecords(os.getcwd())
    with records.changing("box"), pytest.raises(BackendUnavailableError, match="Another process"):
        local.update_blob_protection("d/held", "box")
    local.update_blob_protection("d/held", "box")


def test_names_longer_than_a_file_name(local: Client) -> None:
    """Protection works for the longest names, and those that are hard for others."""
    for blob in ("n" * 250, "deep/" * 100 + "x", "ümlaut/🙂", "a\nb"):
        local._blobs.upload("d/held", "box", blob)
        local.update_blob_protection(blob, "box", legal_hold=True)
        with pytest.raises(ProtectedBlobError):
            local.delete_blob_file(blob, "box")


def test_container_that_is_a_link(local: Client) -> None:
    """A link beside its container shows the same blobs, under the same protection."""
    Path("alias").symlink_to("box")
    for call in (
        lambda: local.delete_blob_file("d/held", "alias"),
        lambda: local.delete_blob_folder("d", "alias"),
        lambda: local.upload_files("d/held", "alias"),
    ):
        with pytest.raises(ProtectedBlobError):
            call()
    local.update_blob_protection("d/held", "alias")
    local.upload_files("d/held", "alias", legal_hold=True)
    with pytest.raises(ProtectedBlobError):
        local.delete_blob_file("d/held", "box")
    local.update_blob_protection("d/held", "box")
    local.delete_blob_file("d/held", "alias")
    assert local.list_blob_files("box") == []


def test_days_are_a_number(local: Client) -> None:
    """`True` is no number of days: a lock cannot be taken back."""
    with pytest.raises(InvalidInputError, match="whole number"):
        local.upload_files("d/held", "box", location_in_blob="new", immutability_lock_days=True)
    assert local.list_blob_files("box") == ["d/held"]
