"""Look-ups of the client and of the command line: all offline, about this machine."""

from __future__ import annotations

import json
import logging

import pytest

from cfa.cloudops import backends, settings
from cfa.cloudops.local import CloudClient


@pytest.fixture
def client(workdir, monkeypatch):
    """A client that says in the log what it does."""
    monkeypatch.setenv("LOG_LEVEL", "info")
    made = CloudClient(backend="subprocess")
    yield made
    made.close()


@pytest.mark.promise(
    "get_vm_name",
    "A name is made from series, cores and letters: `standard_D4d_v5` by default.",
    local="offline",
)
def test_vm_name(client, capsys):
    """A name is made offline; a family that does not exist is a ValueError unless unverified."""
    assert client.get_vm_name() == "standard_D4d_v5"
    assert client.get_vm_name(cores=8, temp_disk=True) == "standard_D8d_v5"
    with pytest.raises(ValueError, match="Similar names: standard_D4ads_v5"):
        client.get_vm_name(amd=True)
    assert client.get_vm_name(amd=True, verify=False) == "standard_D4ad_v5"
    assert "[WARNING]" not in capsys.readouterr().out
    assert client.get_vm_name(cores=7) == "standard_D7d_v5"
    assert "not a size of 7 cores" in capsys.readouterr().out


@pytest.mark.promise(
    "get_all_vm_quotas",
    "Families of VM sizes with the cores that may be used, as `{name, quota}`.",
    local="every known family, with this machine's cores",
    cloud="families with a quota, with theirs",
    difference="the numbers describe this machine",
)
@pytest.mark.promise(
    "get_vm_series_quotas",
    "The same for families whose names begin with a series, one or several, in any case.",
    local="as above",
    cloud="as above",
    difference="the numbers describe this machine",
)
def test_quotas(client):
    """Every known family may use the cores of this machine; series choose by the start of a name."""
    everything = client.get_all_vm_quotas()
    assert {"name": "standardDADSv5Family", "quota": settings.cores()} in everything
    assert client.get_vm_series_quotas("dads") == [
        one for one in everything if one["name"].startswith("standardDADS")
    ]
    two = client.get_vm_series_quotas(["L", "F"])
    assert [one["name"][8] for one in two] == sorted((one["name"][8] for one in two), reverse=True)
    assert client.get_vm_series_quotas("nope") == []
    with pytest.raises(ValueError, match="series=5 is not the name"):
        client.get_vm_series_quotas(5)


@pytest.mark.promise(
    "get_kv_secret",
    "A secret is found by its name; an absent one is `None`, with a line in the log.",
    local="environment, then dotenv file: in capitals with `_` for `-`, then as written",
    cloud="the key vault",
    difference="the name of the key vault means nothing here",
)
def test_secrets(client, monkeypatch, capsys, workdir):
    """A secret comes from the environment or the dotenv file; its value is never logged."""
    (workdir / ".env").write_text("MY_SECRET=from-file\nonly_here=small\n")
    assert client.get_kv_secret("my-secret", "vault") == "from-file"
    assert client.get_kv_secret("only-here", keyvault="vault") == "small"
    monkeypatch.setenv("MY_SECRET", "from-environment")
    assert client.get_kv_secret("MY-SECRET", "vault") == "from-environment"
    assert capsys.readouterr().out == ""
    assert client.get_kv_secret("no-such", "vault") is None
    assert "set NO_SUCH in the environment" in capsys.readouterr().out
    assert client.get_kv_secret(None, "vault") is None


def test_secret_as_written(client, monkeypatch, workdir):
    """A name is looked for in capitals first, then as it is written."""
    (workdir / ".env").write_text("some-name=written\n")
    assert client.get_kv_secret("some-name", "kv") == "written"
    monkeypatch.setenv("other-name", "environment")
    assert client.get_kv_secret("other-name", "kv") == "environment"
    monkeypatch.setenv("some-name", "environment")
    assert client.get_kv_secret("some-name", "kv") == "environment"
    monkeypatch.setenv("some_name", "with _")
    assert client.get_kv_secret("some-name", "kv") == "with _"
    monkeypatch.setenv("SOME_NAME", "capitals")
    assert client.get_kv_secret("some-name", "kv") == "capitals"


@pytest.mark.promise(
    "get_kv_secret",
    "The dotenv file is the one that the client was made with.",
    local="`dotenv_path`, else `.env` here",
    cloud="the key vault is asked",
    difference="no key vault is asked here",
)
def test_secret_of_named_file(workdir, tmp_path, monkeypatch):
    """The dotenv file that the client was made with is the one that is read."""
    monkeypatch.setenv("MY_SECRET", "undone after the test")
    (tmp_path / "other.env").write_text("MY_SECRET=other\n")
    client = CloudClient(dotenv_path=str(tmp_path / "other.env"), backend="subprocess")
    try:
        monkeypatch.delenv("MY_SECRET")  # a client puts what the file says there
        assert client.get_kv_secret("my-secret", "vault") == "other"
        (tmp_path / "other.env").unlink()
        assert client.get_kv_secret("my-secret", "vault") is None
    finally:
        client.close()


@pytest.mark.promise(
    "check_credentials",
    "It tells in the log what can be used, and never raises.",
    local="the backends, and which of them answer",
    cloud="the subscriptions of the account",
    difference="what is told of",
)
def test_credentials(client, capsys, monkeypatch):
    """Which backends answer is logged; nothing is raised, whatever goes wrong."""
    assert client.check_credentials() is None
    assert "executors subprocess: ready" in capsys.readouterr().out

    def broken():
        raise RuntimeError("no metadata")

    monkeypatch.setattr(backends, "overview", broken)
    assert client.check_credentials() is None
    assert "no metadata" in capsys.readouterr().out


@pytest.mark.promise(
    "list_available_images",
    (
        "Operating systems of nodes, with the fields of the SDK's objects; filtered by "
        "`linux` or anything else for Windows."
    ),
    local="the one of this machine",
    cloud="those that the service has verified",
    difference="which systems are listed",
)
def test_available_images(client):
    """The operating system of nodes is this machine's, with the fields of the cloud's objects."""
    [found] = client.list_available_images()
    assert found.node_agent_sku_id.startswith("batch.node.")
    assert found.image_reference.sku
    assert client.list_available_images("Linux") == [found]
    assert client.list_available_images("windows") == client.list_available_images("other") == []
    with pytest.raises(ValueError, match="operating_system=5 is not a text"):
        client.list_available_images(5)


def test_vm_commands(cloudops):
    """`cloudops vm` prints names and quotas, with the option names of the cloud's scripts."""
    assert cloudops("vm", "name")[:2] == (0, "standard_D4d_v5\n")
    assert cloudops("get_vm_name", "-s", "F", "-c", "8", "-ntd", "-ssd", "-v", "2")[:2] == (
        0,
        "standard_F8s_v2\n",
    )
    assert cloudops("get_vm_name", "-amd", "-nv")[1] == "standard_D4ad_v5\n"
    status, out, err = cloudops("get_vm_name", "-amd")
    assert (status, out) == (2, "")
    assert "standard_D4ads_v5" in err
    assert "--no-verify" in err
    found = json.loads(cloudops("get_vm_series_quotas", "-s", "F", "L", "--json")[1])
    assert {one["name"][8] for one in found} == {"F", "L"}
    assert "standardFSv2Family" in cloudops("vm", "quotas", "--series", "F")[1]


def test_secret_command(cloudops, monkeypatch, workdir):
    """`cloudops get_kv_secret` prints the secret and writes it to no file."""
    monkeypatch.setenv("MY_SECRET", "hidden")
    assert cloudops("get_kv_secret", "-s", "my-secret", "-k", "vault") == (0, "hidden\n", "")
    status, out, err = cloudops("get-kv-secret", "--secret_name", "no-such", "--keyvault", "vault")
    assert (status, out) == (3, "")
    assert "NO_SUCH" in err
    assert list(workdir.iterdir()) == []


def test_credentials_command(cloudops):
    """`cloudops check-credentials` lists the backends and is content."""
    status, out, _ = cloudops("check-credentials")
    assert status == 0
    assert "subprocess" in out


@pytest.mark.parametrize(
    ("chosen", "ready", "status"),
    [
        ("docker", "docker", 0),
        ("docker", "subprocess", 5),
        ("nonsense", "docker", 5),
        ("auto", "podman", 0),
        ("auto", "", 5),
        ("auto", "own", 5),
        ("own", "own", 0),
    ],
)
def test_credentials_status(cloudops, monkeypatch, chosen, ready, status):
    """`cloudops check-credentials` fails when the backend that is chosen does not answer, or with
    `auto` none does."""
    infos = [
        backends.BackendInfo(
            name=name,
            group=group,
            distribution="cfa-cloudops",
            version="1",
            state="ready" if name == ready or group == "storage" else "not answering",
        )
        for name, group in (
            ("docker", "executors"), ("podman", "executors"), ("subprocess", "executors"),
            ("own", "executors"), ("fsspec", "storage"),
        )
    ]  # fmt: skip
    monkeypatch.setattr(backends, "overview", lambda: infos)
    monkeypatch.setenv("CLOUDOPS_BACKEND", chosen)
    found, out, err = cloudops("check-credentials")
    assert found == status
    assert "subprocess" in out
    assert ("cloudops doctor" in err) is bool(status)
    assert cloudops("check-credentials", "--json")[0] == status


def test_image_commands_without_images(cloudops, monkeypatch, workdir):
    """Where tasks run without images, `cloudops image` prints names, warns and makes nothing."""
    monkeypatch.setenv("CLOUDOPS_BACKEND", "subprocess")
    (workdir / "Dockerfile").write_text("FROM scratch\n")
    status, out, err = cloudops(
        "package_and_upload_dockerfile", "-r", "myacr", "-n", "me/fit", "-t", "1"
    )
    assert (status, out) == (0, "myacr.azurecr.io/me/fit:1\n")
    assert "is not built" in err
    logging.getLogger("cfa.cloudops").handlers.clear()
    assert cloudops("upload_docker_image", "-i", "x", "-r", "myacr", "-n", "fit")[:2] == (
        0,
        "myacr.azurecr.io/fit:latest\n",
    )
    assert cloudops("list_acr_tags", "-r", "myacr", "-n", "fit")[:2] == (0, "")
    assert cloudops("list_available_images", "-os", "linux")[1].startswith("batch.node.")
    assert cloudops("package_and_upload_dockerfile", "-r", "my acr", "-n", "fit")[0] == 2
    assert [path.name for path in workdir.iterdir()] == ["Dockerfile"]
