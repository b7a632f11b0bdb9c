"""Functions of the modules mean what the cloud's functions of the same names mean."""

from __future__ import annotations

import inspect
import io
import os
from collections.abc import Iterator

import pytest

from cfa.cloudops.errors import ConflictError, InvalidInputError, UnsupportedError
from cfa.cloudops.local import CloudClient, blob_helpers


@pytest.fixture
def client(workdir, monkeypatch) -> Iterator[CloudClient]:
    """A client whose tasks run as plain processes, with a container of three blobs."""
    monkeypatch.setenv("CLOUDOPS_SUBPROCESS_SANDBOX", "off")
    monkeypatch.setenv("CLOUDOPS_BACKEND", "subprocess")
    made = CloudClient()
    made.create_blob_container("cont")
    for name in ("a.csv", "data/b.csv", "data/deep/c.csv"):
        blob_helpers.write_blob_stream(name, name, container_name="cont")
    yield made
    made.close()


def parameters(function: object) -> list[str]:
    return list(inspect.signature(function).parameters)


# --- blob_helpers


def test_container_first(client):
    """The container comes first, then the account, which means nothing here."""
    order = ["container_name", "account_name", "blob_service_client", "container_client"]
    instantiate = blob_helpers.instantiate_container_client
    assert parameters(instantiate) == order
    assert instantiate("cont", "acct").container_name == "cont"
    assert instantiate("cont", None, client.blob_service_client).exists()
    handle = client.blob_service_client.get_container_client("cont")
    assert instantiate(container_client=handle) is handle
    with pytest.raises(InvalidInputError, match="No blob container"):
        instantiate(account_name="acct")


@pytest.mark.parametrize("how", ["names", "client", "container"])
def test_listings(client, how):
    """Flat listings and walks take container, account, prefix, in this order, or a client."""
    walk, flat = blob_helpers.walk_blobs_in_container, blob_helpers.list_blobs_in_container
    order = [
        "container_name", "account_name", "name_starts_with", "blob_service_client",
        "container_client",
    ]  # fmt: skip
    assert parameters(walk)[:5] == parameters(flat)[:5] == order
    handle = client.blob_service_client.get_container_client("cont")
    args: tuple = {
        "names": ("cont", "acct", "data/"),
        "client": ("cont", None, "data/", client.blob_service_client),
        "container": (None, None, "data/", None, handle),
    }[how]
    assert [one.name for one in walk(*args)] == ["data/b.csv", "data/deep/"]
    assert [one.name for one in flat(*args)] == ["data/b.csv", "data/deep/c.csv"]


def test_blob_items(client):
    """A blob's item can be read like a mapping, as the SDK's, and knows its times."""
    [item, folder] = blob_helpers.walk_blobs_in_container("cont", None, "")
    assert item["name"] == item.name == item.get("name") == "a.csv"
    assert item["size"] == 5
    assert item.creation_time == item["creation_time"] == item.last_modified is not None
    assert (folder["name"], folder.creation_time) == ("data/", None)
    assert item.get("nonsense", 7) == 7
    with pytest.raises(KeyError, match="nonsense"):
        item["nonsense"]


def test_downloads(client):
    """A stream gives its content as the SDK's downloader does."""
    stream = blob_helpers.read_blob_stream("a.csv", None, "cont")
    assert stream.content_as_bytes() == stream.readall() == b"a.csv"
    assert (stream.read(2), stream.read(2), stream.read(), stream.read(), stream.read(1)) == (
        b"a.", b"cs", b"v", b"", b"",
    )  # fmt: skip
    same = blob_helpers.read_blob_stream(
        "a.csv", container_name="cont", blob_service_client=client.blob_service_client
    )
    assert same.read(-1) == b"a.csv"
    big = io.BytesIO(os.urandom(3 << 20))
    blob_helpers.write_blob_stream(big, "big", container_name="cont")
    stream = blob_helpers.read_blob_stream("big", container_name="cont")
    pieces = list(iter(lambda: stream.read(700_001), b""))
    assert b"".join(pieces) == big.getvalue()
    assert {len(piece) for piece in pieces[:-1]} == {700_001}


def test_writing(client, capsys):
    """`overwrite=False` keeps a blob that is there; tags are not kept, and the log says so."""
    write = blob_helpers.write_blob_stream
    with pytest.raises(ConflictError, match=r"'a\.csv'.*exists"):
        write("new", "a.csv", None, "cont", overwrite=False)
    assert blob_helpers.read_blob_stream("a.csv", None, "cont").readall() == b"a.csv"
    write("new", "d.csv", None, "cont", overwrite=False, tags={"kind": "x"})
    assert "tags" in capsys.readouterr().out
    write("new", "a.csv", "acct", "cont", overwrite=True)
    assert blob_helpers.read_blob_stream("a.csv", None, "cont").readall() == b"new"


def test_tags(client, workdir):
    """Uploads take tags; a listing by tags is refused, as it would show other blobs."""
    (workdir / "in").mkdir()
    (workdir / "in" / "x").write_text("x")
    service = client.blob_service_client
    uploaded = blob_helpers.upload_files_in_folder(
        "in", "cont", blob_service_client=service, tags={"kind": "x"}, verbose=True
    )
    assert uploaded == ["in/x"]
    for function in (blob_helpers.list_blobs_in_container, blob_helpers.walk_blobs_in_container):
        with pytest.raises(UnsupportedError, match="tag_filter"):
            function("cont", tag_filter="\"kind\" = 'x'")
    handle = service.get_container_client("cont")
    blob_helpers.download_file(handle, "in/x", "out/x", True, True, verbose=False)
    assert (workdir / "out" / "x").read_text() == "x"


def test_service_client_of_a_configuration(client):
    """A configuration and a credential are accepted; none is needed."""
    config = {"Storage": {"storage_account_url": "https://acct.blob.core.windows.net"}}
    found = blob_helpers.get_blob_service_client(config, credential=object())
    assert found.get_container_client("cont").exists()
    found.cloud_client.close()
