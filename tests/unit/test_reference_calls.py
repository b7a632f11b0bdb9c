"""Functions of the modules mean what the cloud's functions of the same names mean."""

from __future__ import annotations

import importlib
import inspect
import io
import os
import pickle
import sys
from collections.abc import Iterator
from datetime import timedelta

import pytest

from cfa.cloudops import settings
from cfa.cloudops.client import accounts, progress
from cfa.cloudops.errors import (
    BlobContainerNotFoundError,
    ConflictError,
    InvalidInputError,
    ProtectedBlobError,
    UnsupportedError,
)
from cfa.cloudops.local import (
    CloudClient,
    auth,
    batch_helpers,
    blob,
    blob_helpers,
    config,
    defaults,
    helpers,
    util,
)
from cfa.cloudops.local.client import get_blob_service_client


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
    """The container comes first, then the account."""
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


@pytest.fixture
def two_accounts(client, workdir, monkeypatch) -> CloudClient:
    """The client, whose account is `first`."""
    monkeypatch.setenv("AZURE_BLOB_STORAGE_ACCOUNT", "first")
    return client


def test_accounts(two_accounts, workdir):
    """Containers of one name in two storage accounts are two, for functions without a client."""
    read, write = blob_helpers.read_blob_stream, blob_helpers.write_blob_stream
    second = blob_helpers.get_blob_service_client(
        {"Storage": {"storage_account_url": "https://second.blob.core.windows.net/"}}
    )
    with pytest.raises(BlobContainerNotFoundError):
        write("2", "a.csv", "second", "cont")
    blob.create_storage_container_if_not_exists("cont", second)
    write("2", "a.csv", "second", "cont")
    write("1", "a.csv", "FIRST", "cont")
    assert read("a.csv", "second", "cont").readall() == b"2"
    for own in ({}, {"account_name": "first"}, {"account_name": None}):
        assert read("a.csv", container_name="cont", **own).readall() == b"1"
    assert (workdir / "@second" / "cont" / "a.csv").read_text() == "2"
    assert (workdir / "cont" / "a.csv").read_text() == "1"
    assert [one.name for one in blob_helpers.list_blobs_in_container("cont", "second")] == ["a.csv"]
    assert blob_helpers.get_container_client("third", "cont").exists() is False
    # A client says whose storage it is, as on the cloud.
    service = two_accounts.blob_service_client
    assert read("a.csv", "second", "cont", blob_service_client=service).readall() == b"1"
    assert read("a.csv", "first", "cont", blob_service_client=second).readall() == b"2"
    for url in ("nonsense", "https://[bad", "https:///x"):
        with pytest.raises(InvalidInputError, match="storage account names no host"):
            blob_helpers.get_blob_service_client({"Storage": {"storage_account_url": url}})
    for wrong in ("../x", "a/b", "x", ".", 5):
        with pytest.raises(InvalidInputError, match="storage account"):
            read("a.csv", wrong, "cont")
    second.cloud_client.close()


@pytest.mark.promise(
    "create_blob_container",
    "Containers of one name in two storage accounts are two.",
    local="those of another account than the one in `AZURE_BLOB_STORAGE_ACCOUNT` are in `@<account>`",
    cloud="the same, in the accounts",
    difference="without that variable all accounts are one, and the log says so",
)
def test_accounts_of_clients(two_accounts, workdir):
    """A client of another account has containers of its own; the listings show nobody else's."""
    made = CloudClient(azure_blob_storage_account="second")
    assert made._blobs.list_containers() == []
    made.create_blob_container("other")
    made.create_pool("p2", mounts=[("other", "data")], autoscale=False, low_priority_nodes=0)
    assert made.cred.azure_blob_storage_account == "second"
    assert made._batch.get_pool("p2").spec.storage.endswith("/@second")
    assert not made._blobs.container_exists("cont")
    copied = pickle.loads(pickle.dumps(made))
    assert copied._blobs.list_containers() == ["other"]
    again = get_blob_service_client(made.cred).cloud_client
    assert again._blobs.list_containers() == ["other"]
    assert two_accounts._blobs.list_containers() == ["cont"]
    same = CloudClient(azure_blob_storage_account="first")
    assert same._blobs.list_containers() == ["cont"]
    for one in (made, copied, again, same):
        one.close()


def test_accounts_of_folders(two_accounts, workdir):
    """Functions that take a storage account's URL use that account."""
    second = CloudClient(azure_blob_storage_account="second")
    second.create_blob_container("cont")
    second.close()
    (workdir / "in").mkdir()
    (workdir / "in" / "x").write_text("x")
    url = "https://second.blob.core.windows.net"
    blob.async_upload_folder("in", "cont", url)
    assert len(list((workdir / "@second").rglob("x"))) == 1
    assert not list((workdir / "cont").rglob("x"))
    blob.async_download_blob_folder("cont", "out", url)
    assert next((workdir / "out").rglob("x")).read_text() == "x"


def test_accounts_without_a_default(client, monkeypatch, capsys):
    """Without a default account all are one, which is said once when a second one is named."""
    monkeypatch.delenv("AZURE_BLOB_STORAGE_ACCOUNT", raising=False)
    monkeypatch.setattr(accounts, "_named", set())
    for name in ("first", "first", "second", "first", "second", "third"):
        assert blob_helpers.get_container_client(name, "cont").exists()
    said = capsys.readouterr().out
    assert said.count("The storage accounts 'first' and 'second' share their containers") == 1
    assert "AZURE_BLOB_STORAGE_ACCOUNT" in said


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


# --- config, blob, defaults


def test_configuration(monkeypatch):
    """A value comes in a pair with None, or None with a sentence that says where it was looked for."""
    monkeypatch.setenv("MY_KEY", "env")
    monkeypatch.delenv("MY_OTHER", raising=False)
    assert config.try_get_val_from_env("MY_KEY") == ("env", None)
    value, said = config.try_get_val_from_env("MY_OTHER", value_name="the other")
    assert value is None
    assert "the other" in said
    assert "MY_OTHER" in said
    assert config.try_get_val_from_dict("a", {"a": 1}) == (1, None)
    value, said = config.try_get_val_from_dict("b", {"a": 1}, "the b")
    assert value is None
    assert "the b" in said
    assert config.try_get_val_from_dict("b", None)[0] is None
    order = ["key", "config_dict", "try_env", "env_variable_name", "value_name"]
    assert parameters(config.get_config_val)[:5] == order
    assert config.get_config_val("my_key") == "env"
    assert config.get_config_val("my_key", {"my_key": "given"}) == "given"
    assert config.get_config_val("mine", env_variable_name="MY_KEY") == "env"
    assert config.get_config_val("my_key", try_env=False) is None
    assert config.get_config_val("my_other", value_if_missing=5) == 5


def test_protection(client):
    """`update_blob_protection` takes the cloud's names, and ours."""
    assert parameters(blob.update_blob_protection)[:2] == ["files", "container_name"]
    service = client.blob_service_client
    blob.update_blob_protection("a.csv", "cont", service, legal_hold=True)
    with pytest.raises(ProtectedBlobError):
        client.delete_blob_file("a.csv", "cont")
    blob.update_blob_protection(
        file_paths=["a.csv"], blob_storage_container_name="cont", blob_service_client=service
    )
    client.delete_blob_file("a.csv", "cont")
    with pytest.raises(TypeError, match="files"):
        blob.update_blob_protection(container_name="cont", blob_service_client=service)


def test_progress_bars(monkeypatch):
    """`blob.tqdm` goes through what it is given, shows a bar at a terminal only, and counts."""
    assert list(blob.tqdm([1, 2, 3], desc="files", unit="f")) == [1, 2, 3]
    with blob.tqdm(total=5, disable=True) as bar:
        bar.set_description("more")
        bar.update(2)
        bar.update()
    assert (bar.n, bar.total) == (3, 5)
    assert importlib.import_module("cfa.cloudops.blob").tqdm is blob.tqdm


@pytest.mark.parametrize("module", ["cfa.cloudops.blob", "cfa.cloudops.local.blob"])
def test_bars_are_silenced(monkeypatch, module):
    """A program that puts something else in the place of `blob.tqdm` gets no bars of ours either."""
    monkeypatch.setattr(progress, "_seen_by_people", lambda: True)
    assert progress.seen()
    monkeypatch.setattr(f"{module}.tqdm", lambda items, **_: items)
    assert not progress.seen()


DEFAULTS = [
    "default_image_publisher", "default_image_offer", "default_image_sku",
    "default_node_agent_sku_id", "default_datetime_format", "default_autoscale_formula",
    "default_image_reference", "default_container_configuration", "default_vm_configuration",
    "default_network_config_dict", "default_pool_config_dict", "AZ_MOUNT_DIR",
]  # fmt: skip


@pytest.mark.parametrize("name", DEFAULTS)
def test_defaults(name):
    """Every constant of the cloud's module is there; what is a model there is a plain record."""
    assert name in defaults.__all__
    assert getattr(defaults, name) is getattr(
        importlib.import_module("cfa.cloudops.defaults"), name
    )


def test_values_of_defaults():
    """The constants agree with one another and can be read as attributes and as items."""
    reference = defaults.default_vm_configuration.image_reference
    assert reference == defaults.default_image_reference
    assert reference.publisher == reference["publisher"] == defaults.default_image_publisher
    assert defaults.default_pool_config_dict["vm_size"] == defaults.default_vm_size
    formula = defaults.default_pool_config_dict["scale_settings"].auto_scale.formula
    assert formula == defaults.default_autoscale_formula
    assert batch_helpers.AZ_MOUNT_DIR == defaults.AZ_MOUNT_DIR == "$AZ_BATCH_NODE_MOUNTS_DIR"
    assert "AZURE_KEYVAULT_SP_SECRET_ID" not in defaults.default_kv_keys
    with pytest.raises(AttributeError, match="nonsense"):
        _ = reference.nonsense


@pytest.mark.parametrize("face", ["cfa.cloudops", "cfa.cloudops.local"])
@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("_cloudclient", "CloudClient"),
        ("_containerappclient", "ContainerAppClient"),
        ("_function_app_client", "FunctionAppClient"),
        ("scripts", "create_job"),
        ("scripts", "monitor_job"),
    ],
)
def test_modules(face, module, name):
    """Modules that programs import by their own names have the same objects."""
    found = getattr(importlib.import_module(f"{face}.{module}"), name)
    assert found is getattr(importlib.import_module(face), name, found)


def test_scripts(monkeypatch, capsys):
    """A function of `scripts` runs the command that stands for it, with the program's arguments."""
    scripts = importlib.import_module("cfa.cloudops.scripts")
    monkeypatch.setattr(sys, "argv", ["get_vm_name", "--cores", "8", "--no-verify"])
    with pytest.raises(SystemExit) as caught:
        scripts.get_vm_name()
    assert not caught.value.code
    assert capsys.readouterr().out.startswith("standard_D8")
    assert sys.argv == ["get_vm_name", "--cores", "8", "--no-verify"]
    with pytest.raises(AttributeError, match="nonsense"):
        _ = scripts.nonsense


# --- auth


@pytest.fixture
def no_azure(monkeypatch, workdir):
    """No `AZURE_*` variables."""
    for name in list(os.environ):
        if name.startswith("AZURE_"):
            monkeypatch.delenv(name)


def test_credential_keywords(no_azure):
    """A handler takes `azure_*` values by keyword and gives them back."""
    handler = auth.CredentialHandler(
        azure_tenant_id="t", azure_container_registry_account="acr", azure_batch_account="acct"
    )
    assert handler.azure_tenant_id == "t"
    assert handler.azure_container_registry_endpoint == "https://acr.azurecr.io"
    assert handler.azure_batch_endpoint == "https://acct.eastus.batch.azure.com/"
    assert auth.EnvCredentialHandler(azure_tenant_id="u").azure_tenant_id == "u"
    with pytest.raises(TypeError, match="tenant"):
        auth.CredentialHandler(tenant="t")
    assert auth.EnvCredentialHandler(exclude_cli_credential=True).azure_tenant_id is None


@pytest.mark.parametrize(
    ("endpoint", "part"),
    [
        ("azure_batch_endpoint", "azure_batch_account"),
        ("azure_keyvault_endpoint", "azure_keyvault_name"),
        ("azure_blob_storage_endpoint", "azure_blob_storage_account"),
        ("azure_container_registry_endpoint", "azure_container_registry_account"),
        ("azure_container_registry", "azure_container_registry_account"),
    ],
)
def test_addresses_of_what_is_not_known(no_azure, monkeypatch, endpoint, part):
    """Nothing is made of None or of empty text, and a value that is None counts as not given."""
    handler = auth.CredentialHandler(**{part: None}, azure_batch_location=None)
    assert getattr(handler, endpoint) is None
    for nothing in (None, ""):
        setattr(handler, part, nothing)
        assert getattr(handler, endpoint) is None
    setattr(handler, part, "mine1")
    assert "mine1" in str(getattr(handler, endpoint))
    assert "None." not in str(getattr(handler, endpoint))
    assert handler.azure_batch_location == "eastus"
    monkeypatch.setenv("AZURE_TENANT_ID", "from-environment")
    assert auth.EnvCredentialHandler(azure_tenant_id=None).azure_tenant_id == "from-environment"


def test_methods(no_azure):
    """A handler says how it would log in."""
    assert auth.EnvCredentialHandler().method == "env"
    assert auth.SPCredentialHandler().method == "sp"
    assert auth.DefaultCredentialHandler().method == "default"
    assert auth.FederatedCredentialHandler is auth.DefaultCredentialHandler
    client = CloudClient(use_sp=True, backend="subprocess")
    client.close()
    assert client.cred.method == client.method == "sp"


def test_required_values(no_azure):
    """`require_attr` is silent for what is there and names what is missing, and what for."""
    handler = auth.CredentialHandler(azure_tenant_id="t")
    handler.require_attr("azure_tenant_id")
    handler.require_attr(["azure_tenant_id", "azure_batch_location"], goal="anything")
    with pytest.raises(AttributeError, match=r"azure_client_id.*logging in") as caught:
        handler.require_attr(["azure_tenant_id", "azure_client_id"], "logging in")
    assert "AZURE_CLIENT_ID" in str(caught.value)
    assert "t" not in str(caught.value).split()


def test_sdk_credentials(no_azure):
    """References to identities are plain records; credentials of the SDK are not here."""
    handler = auth.CredentialHandler(
        azure_user_assigned_identity="/id", azure_container_registry_account="acr"
    )
    assert handler.compute_node_identity_reference.resource_id == "/id"
    assert auth.get_compute_node_identity_reference(handler)["resource_id"] == "/id"
    assert handler.azure_container_registry.registry_server == "https://acr.azurecr.io"
    assert handler.azure_container_registry.user_name == "acr"
    for name in ("client_secret_credential", "user_credential", "default_credential"):
        with pytest.raises(AttributeError, match=f"{name}.*not available"):
            getattr(handler, name)
    assert auth.CredentialHandler().azure_container_registry is None
    assert (
        auth.CredentialHandler(azure_container_registry="mine").azure_container_registry == "mine"
    )
    assert pickle.loads(pickle.dumps(handler)).azure_user_assigned_identity == "/id"


# --- set_env_vars

LINES = """\
# my values
AZURE_BATCH_ACCOUNT=acct
export AZURE_CLIENT_SECRET="hidden # not a comment"   # why
AZURE_KEYVAULT_ENDPOINT=https://mine.example/

OTHER='two
lines'"""


@pytest.fixture
def azure(no_azure, monkeypatch):
    """Values as a script finds them after its client was made; what is set goes with the test."""
    monkeypatch.setattr(os, "environ", dict(os.environ))
    os.environ.update(AZURE_BATCH_ACCOUNT="acct", AZURE_CLIENT_SECRET="hidden")


def test_derived_variables(azure, workdir):
    """Addresses are made of the accounts that are known; no file is made where there is none."""
    util.set_env_vars()
    assert os.environ["AZURE_BATCH_ENDPOINT"] == "https://acct.eastus.batch.azure.com/"
    assert os.environ["AZURE_BATCH_RESOURCE_URL"] == "https://batch.core.windows.net/"
    assert not {"AZURE_BLOB_STORAGE_ENDPOINT", "ACR_TAG_PREFIX"} & os.environ.keys()
    os.environ["AZURE_CONTAINER_REGISTRY_ACCOUNT"] = "acr"
    defaults.set_env_vars()
    assert os.environ["ACR_TAG_PREFIX"] == "acr.azurecr.io/"
    assert list(workdir.iterdir()) == []


def test_values_that_are_none(azure, caplog):
    """A name that can be part of no address is named, its value not."""
    os.environ["AZURE_BATCH_ACCOUNT"] = "not/a/name"
    util.set_env_vars()
    assert "AZURE_BATCH_ENDPOINT" not in os.environ
    assert "AZURE_BATCH_ACCOUNT cannot be part" in caplog.text
    assert "not/a/name" not in caplog.text


@pytest.mark.parametrize("name", [None, "other.env"])
def test_dotenv_is_brought_up_to_date(azure, workdir, name):
    """The user's lines stay, byte for byte, and win; ours follow them and change with the values."""
    file = workdir / (name or ".env")
    file.write_text(LINES)
    file.chmod(0o600)
    os.environ["AZURE_KEYVAULT_NAME"] = "vault"
    util.set_env_vars(*([name] if name else []))
    first = file.read_text()
    assert first.startswith(LINES + "\n# Made of the values above")
    ours = first.removeprefix(LINES)
    assert "AZURE_BATCH_ENDPOINT='https://acct.eastus.batch.azure.com/'\n" in ours
    for other in ("hidden", "SECRET", "AZURE_KEYVAULT_ENDPOINT=", "ACR_", "AZURE_BATCH_ACCOUNT"):
        assert other not in ours
    assert os.environ["AZURE_KEYVAULT_ENDPOINT"] == "https://mine.example/"
    assert file.stat().st_mode & 0o777 == 0o600
    stamp = file.stat().st_mtime_ns
    util.set_env_vars(file)
    assert file.stat().st_mtime_ns == stamp
    os.environ["AZURE_BATCH_ACCOUNT"] = "newer"
    file.write_text(first + "LAST=1\n")
    util.set_env_vars(file)
    found = file.read_text()
    assert found.startswith(LINES + "\nLAST=1\n# Made")
    assert found.count("AZURE_BATCH_ENDPOINT=") == 1
    assert "newer" in found
    assert settings.read_dotenv(file)["OTHER"] == "two\nlines"
    assert [one.name for one in workdir.iterdir()] == [file.name]


def test_dotenv_that_is_a_link(azure, workdir):
    """A link stays one, and line ends stay as they are."""
    (workdir / "shared.env").write_bytes(b"A=1\r\nB=2\r\n")
    (workdir / ".env").symlink_to("shared.env")
    util.set_env_vars()
    assert (workdir / ".env").is_symlink()
    found = (workdir / "shared.env").read_bytes()
    assert found.startswith(b"A=1\r\nB=2\r\n# Made")
    assert found.count(b"\n") == found.count(b"\r\n")


def test_dotenv_that_cannot_be_written(azure, workdir, caplog, monkeypatch):
    """Then it stays as it is, which is said, and the variables are set all the same."""
    (workdir / ".env").write_text("A=1\n")
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space")))
    util.set_env_vars()
    assert "not brought up to date" in caplog.text
    assert [one.name for one in workdir.iterdir()] == [".env"]
    assert (workdir / ".env").read_text() == "A=1\n"
    assert "AZURE_BATCH_ENDPOINT" in os.environ


# --- batch_helpers


def test_vm_sizes():
    """Sizes are looked up by a word, and names made of a family and a number of cores."""
    assert batch_helpers.get_vm_size("Small") == "Standard_D4ads_v5"
    assert batch_helpers.get_vm_size("xlarge_amd") == "Standard_D32ads_v5"
    with pytest.raises(ValueError, match="Invalid size descriptor"):
        batch_helpers.get_vm_size("tiny")
    for name, cores in (
        ("standard_D4ads_v5", 4),
        ("standard_D16s_v3", 16),
        ("standard_E8as_v4", 8),
        ("standard_DC4ads_v5", 4),
    ):
        family = batch_helpers.vm_name_to_family(name)
        assert batch_helpers.construct_vm_name(family, cores) == name
    assert batch_helpers.construct_vm_name("standardFsv2Family", cores=8) == "standard_F8s_v2"
    with pytest.raises(ValueError, match="nonsense"):
        batch_helpers.construct_vm_name("nonsense", 4)


def test_image_names():
    """The full name of an image is made of its registry's."""
    full = batch_helpers.get_full_container_image_name
    assert full("model:1", "docker") == "model:1"
    assert full("model:1", acr_name="acr") == "acr.azurecr.io/model:1"
    assert full("model:1", registry="github", github_org="org") == "ghcr.io/org/model:1"
    for wrong in ({}, {"registry": "github"}, {"registry": "else"}):
        with pytest.raises(ValueError, match=r"acr_name|github_org|registry"):
            full("model:1", **wrong)


@pytest.fixture
def pool(client) -> CloudClient:
    """The client, with a pool that mounts the container and a job."""
    client.create_pool("p", mounts=[("cont", "data")], autoscale=False, dedicated_nodes=2)
    client.create_job("j", "p")
    return client


def test_pool_objects(pool):
    """What is known of a pool is found where the SDK's object has it."""
    info = batch_helpers.get_pool_full_info("group", "acct", "p", pool.batch_mgmt_client)
    [mount] = info.as_dict()["mount_configuration"]
    blobs = mount["azure_blob_file_system_configuration"]
    assert (blobs["container_name"], blobs["relative_mount_path"]) == ("cont", "data")
    [mount] = info.mount_configuration
    assert mount.azure_blob_file_system_configuration.container_name == "cont"
    assert info.scale_settings.fixed_scale.target_dedicated_nodes == 2
    assert info.scale_settings.auto_scale is None
    machine = info.deployment_configuration.virtual_machine_configuration
    assert machine.container_configuration.container_image_names == []
    assert (info.id, info.name, info.vm_size) == ("p", "p", "standard_d4ads_v5")


def test_mount_paths(pool):
    """A container that is not mounted, or a pool that is not there, gives the cloud's word for it."""
    args = ("group", "acct", pool.batch_mgmt_client)
    assert batch_helpers.get_rel_mnt_path("cont", "p", *args) == "data"
    assert batch_helpers.get_rel_mnt_path("else", "p", *args) == "ERROR!"
    assert batch_helpers.get_rel_mnt_path("cont", "nosuch", *args) == "ERROR!"


def test_deleting_a_pool(pool):
    """What comes back can be waited for, as the SDK's poller."""
    poller = batch_helpers.delete_pool("group", "acct", "p", pool.batch_mgmt_client)
    poller.wait(5)
    assert (poller.result(), poller.done(), poller.status()) == (None, True, "Succeeded")
    assert pool.list_pools() == []


def test_deprecated_sizes_of_pools(client, capsys):
    """The size of a pool is looked at; a pool and a client are needed."""
    client.create_pool("old", vm_size="standard_d4s_v3")
    capsys.readouterr()
    check = batch_helpers.check_if_pool_vm_deprecated
    assert check("old", "group", "acct", client.batch_mgmt_client) is True
    assert "standard_d4s_v3 of the pool old is phased out" in capsys.readouterr().out
    client.create_pool("new")
    assert check(pool_name="new", batch_mgmt_client=client.batch_mgmt_client) is False
    for args in (("standard_d4s_v3",), ("nosuch", client.batch_mgmt_client)):
        with pytest.raises(ValueError, match=r"client|nosuch"):
            check(*args)


def test_what_no_page_describes():
    """A function whose meaning on the cloud is not documented is an error, and never a guess."""
    for function in (batch_helpers.get_vm_components, batch_helpers.find_similar_vm_families):
        with pytest.raises(UnsupportedError, match="vm_name"):
            function("standard_d4ads_v5")


def test_adding_tasks_by_position(pool):
    """Arguments of `add_task` may all be given by position, in the cloud's order."""
    order = [
        "job_name", "task_id_base", "command_line", "save_logs_rel_path", "logs_folder",
        "name_suffix", "mounts", "depends_on", "depends_on_range", "run_dependent_tasks_on_fail",
        "batch_client", "full_container_name", "task_id_max", "task_id_ints", "timeout",
    ]  # fmt: skip
    assert parameters(batch_helpers.add_task) == order
    service = pool.batch_service_client
    add = batch_helpers.add_task
    one = add("j", "j", "echo out", None, "logs", "x", None, None, None, False, service)
    two = add("j", "other", "true", depends_on=one, batch_client=service, task_id_max=6)
    assert (one, two) == ("j-x-1", "other--7")
    with pytest.raises(TypeError, match="batch_client"):
        add("j", "j", "true")


def test_monitoring(pool, workdir):
    """`monitor_tasks` says how long it took, and fetches output when asked."""
    pool.add_task("j", "echo out")
    found = batch_helpers.monitor_tasks("j", 1, pool.batch_service_client, True)
    assert isinstance(found["elapsed time"], timedelta)
    assert (found["completed"], found["success"]) == (True, 1)
    assert (workdir / "j_output" / "j--1_stdout.txt").read_text() == "out\n"


# --- local


def test_first_argument(no_azure, workdir):
    """A path in the first place is a dotenv file, as in the cloud package's local client; a name is
    a key vault."""
    (workdir / "my.env").write_text("AZURE_BATCH_ACCOUNT=acct\nCLOUDOPS_MAX_PARALLEL=3\n")
    made = CloudClient("my.env")
    made.close()
    assert (made._settings.max_parallel, made.cred.azure_keyvault_name) == (3, None)
    made = CloudClient("my-vault")
    made.close()
    assert made.cred.azure_keyvault_name == "my-vault"


def test_local_calls(client):
    """The local client's own forms of calls work beside the cloud's."""
    found = client.create_pool("p q")
    assert found["pool_id"] == "p_q"
    assert found["creation_time"] >= 0
    assert list(inspect.signature(client.create_pool).parameters)[:2] == ["pool_name", "mounts"]
    for name, how in (("a", {"job_id": "a"}), ("b", {"job_name": "b"})):
        client.create_job(name, "p q")
        client.delete_job(**how)
    client.create_job("c", "p q")
    client.delete_job("c")
    assert client.list_jobs() == []
    with pytest.raises(TypeError, match="job_name"):
        client.delete_job()


def test_local_helpers(client, workdir):
    """Helpers of the local package take and give what the cloud package's do."""
    client.create_pool("p")
    job = helpers.add_job("j", "p", 1, True)
    assert (job.job_id, job.pool_id, job.task_retries) == ("j", "p", 1)
    assert helpers.create_container("c-2").container_name == "c-2"
    (workdir / "in").mkdir()
    (workdir / "in" / "src.txt").write_text("hello")
    helpers.upload_to_storage_container(
        filepath="in/src.txt", location="folder", container_name="c-2", verbose=False
    )
    assert client.list_blob_files("c-2") == ["folder/src.txt"]
    handle = client.blob_service_client.get_container_client("c-2")
    helpers.download_file(handle, "folder/src.txt", "out/a", True, True)
    helpers.download_file("c-2", "folder/src.txt", "out/b")
    assert (workdir / "out" / "a").read_text() == (workdir / "out" / "b").read_text() == "hello"
    with pytest.raises(InvalidInputError, match="blob container"):
        helpers.download_file(None, "folder/src.txt", "out/c")
