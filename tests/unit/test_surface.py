"""Names that scripts for the cloud import: all are there, on both faces, and work or say what does."""

from __future__ import annotations

import importlib
import inspect
import io
import logging
import os
import pickle
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

from cfa.cloudops import faces
from cfa.cloudops.azure_only import FunctionAppClient
from cfa.cloudops.errors import (
    BackendNotInstalledError,
    BlobNotFoundError,
    InvalidInputError,
    JobExistsError,
    JobNotFoundError,
    PoolNotFoundError,
    UnsupportedError,
)
from cfa.cloudops.local import (
    CloudClient,
    auth,
    autoscale,
    batch,
    batch_helpers,
    blob,
    blob_helpers,
    config,
    defaults,
    endpoints,
    helpers,
    job,
    task,
    util,
)

FACES = ("cfa.cloudops", "cfa.cloudops.local")

#: Module -> what a script may import from it.
SURFACE = {
    "": "CloudClient ContainerAppClient FunctionAppClient Task run_experiment run_tasks",
    "auth": "CredentialHandler EnvCredentialHandler SPCredentialHandler DefaultCredentialHandler "
    "DefaultCredential load_env_vars get_sp_secret get_client_secret_sp_credential "
    "get_service_principal_credentials get_compute_node_identity_reference get_secret_client "
    "load_keyvault_vars get_keyvault_vars FederatedCredentialHandler",
    "automation": "run_experiment run_tasks",
    "autoscale": "dev_autoscale_formula prod_autoscale_formula",
    "batch_helpers": "Task monitor_tasks download_job_stats check_job_exists get_completed_tasks "
    "check_job_complete get_job_state delete_pool get_args_from_yaml get_tasks_from_yaml "
    "get_full_container_image_name get_rel_mnt_path get_pool_full_info get_pool_mounts add_task "
    "add_task_collection check_pool_exists check_mount_format get_vm_size get_task_status "
    "get_all_vm_quotas get_vm_series_quotas vm_name_to_family get_vm_name get_vm_components "
    "find_similar_vm_families construct_vm_name check_if_pool_vm_deprecated",
    "blob": "format_extensions create_storage_container_if_not_exists upload_to_storage_container "
    "download_from_storage_container get_node_mount_config async_download_blob_folder "
    "async_upload_folder update_blob_protection",
    "blob_helpers": "walk_folder upload_files_in_folder download_file get_container_client "
    "read_blob_stream check_blob_existence check_virtual_directory_existence "
    "list_blobs_in_container list_blobs_flat get_blob_service_client instantiate_container_client "
    "download_folder delete_blob_snapshots delete_blob_folder walk_blobs_in_container "
    "write_blob_stream",
    "client": "CloudClient get_batch_management_client get_compute_management_client "
    "get_batch_service_client get_blob_service_client",
    "config": "get_config_val try_get_val_from_dict try_get_val_from_env",
    "defaults": "remaining_task_autoscale_formula default_kv_keys set_env_vars "
    "get_default_pool_identity get_default_pool_config assign_container_config",
    "endpoints": "construct_batch_endpoint construct_azure_container_registry_endpoint "
    "construct_blob_account_endpoint construct_blob_container_endpoint is_valid_acr_endpoint",
    "helpers": "get_log_level package_and_upload_dockerfile upload_docker_image format_rel_path "
    "list_acr_tags",
    "job": "create_job create_job_schedule",
    "metrics": "CloudMetrics NodeMonitoringMode TaskMonitoringConfig TaskMonitoringMode",
    "task": "create_bind_mount_string get_container_settings output_task_files_to_blob "
    "get_task_config get_batch_compute_id",
    "util": "lookup_service_principal ensure_listlike sku_to_dict "
    "lookup_available_vm_skus_for_batch get_subscriptions check_ext_env get_user get_date_time",
}
#: The same for modules that only the local package has, or has more in.
LOCAL_SURFACE = {
    "batch": "Task Pool Job",
    "helpers": "add_job create_container upload_to_storage_container upload_folder "
    "package_and_upload_dockerfile upload_docker_image download_file get_tasks_from_yaml "
    "get_args_from_yaml format_extensions walk_folder",
}
PLACES = [(face, module) for face in FACES for module in SURFACE]
ALL = [(f"{face}.{module}".rstrip("."), SURFACE[module].split()) for face, module in PLACES]
ALL += [(f"cfa.cloudops.local.{module}", text.split()) for module, text in LOCAL_SURFACE.items()]


def azure_only_names() -> list[tuple[str, str]]:
    return [
        (module, name)
        for module, names in ALL
        for name in names
        if getattr(getattr(importlib.import_module(module), name), "azure_only", False)
    ]


@pytest.fixture
def client(workdir, monkeypatch) -> Iterator[CloudClient]:
    """A client whose tasks run as plain processes."""
    monkeypatch.setenv("CLOUDOPS_SUBPROCESS_SANDBOX", "off")
    monkeypatch.setenv("CLOUDOPS_BACKEND", "subprocess")
    made = CloudClient()
    yield made
    made.close()


@pytest.fixture
def filled(client) -> CloudClient:
    """A client with a pool, a job and a container with three blobs."""
    client.create_blob_container("input-test")
    blobs = client.blob_service_client.get_container_client("input-test")
    for name in ("a.csv", "data/b.csv", "data/deep/c.csv"):
        blob_helpers.write_blob_stream(name, name, container_client=blobs)
    client.create_pool("my pool", mounts=["input-test"], container_image_name="https://r.io/i:1")
    client.create_job("my job", "my pool")
    return client


# --- names


@pytest.mark.parametrize(("module", "names"), ALL, ids=[module for module, _ in ALL])
def test_names(module, names):
    """Each name can be imported from its module, is text in `__all__`, and comes with a star."""
    found = importlib.import_module(module)
    assert all(isinstance(name, str) for name in found.__all__)
    assert set(names) <= set(found.__all__)
    space: dict[str, object] = {}
    exec(f"from {module} import *", space)
    assert set(found.__all__) <= space.keys()
    for name in names:
        assert space[name] is getattr(found, name)
        assert isinstance(space[name], str | list) or inspect.getdoc(space[name]), name


@pytest.mark.parametrize("face", FACES)
def test_modules_are_attributes(face):
    """`from cfa.cloudops import blob` and the like work; an unknown name is an ImportError."""
    for module in SURFACE:
        if module:
            space: dict[str, object] = {}
            exec(f"from {face} import {module}", space)
            assert inspect.ismodule(space[module])
    with pytest.raises(ImportError):
        exec(f"from {face} import nonsense")


def test_one_task_class():
    """`Task` is the same object wherever it is imported from."""
    tasks = {getattr(importlib.import_module(name), "Task", None) for name, _ in ALL}
    assert len(tasks - {None}) == 1


@pytest.mark.parametrize(("module", "name"), azure_only_names())
def test_azure_only(module, name):
    """What needs Azure imports; using it is an error that says what to do here."""
    with pytest.raises(NotImplementedError, match=rf"{name} works on Azure only\. \w") as caught:
        getattr(importlib.import_module(module), name)("anything", at="all")
    assert isinstance(caught.value, UnsupportedError)
    assert caught.value.hint


@pytest.mark.parametrize(
    "name",
    ["get_configuration", "get_tags", "get_health_check_flag", "list_functions", "list_slots",
     "list_production_deployment_status", "get_function_details"],
)  # fmt: skip
def test_azure_only_on_the_class(name):
    """What scripts call on a class, without a client, says the same."""
    with pytest.raises(UnsupportedError, match=f"{name} works on Azure only"):
        getattr(FunctionAppClient, name)("my-app", resource_group="g")


def test_azure_only_is_the_exception():
    """Most of the surface works here."""
    everything = sum(len(names) for _, names in ALL)
    assert len(azure_only_names()) < everything / 4


# --- clients


@pytest.mark.promise(
    "CloudClient",
    "`batch_service_client` and `blob_service_client` exist.",
    local="using them is an error that says which call of the client does the same",
    cloud="clients of the SDK",
    difference="the SDK's calls themselves are not offered here",
)
@pytest.mark.parametrize(
    ("attribute", "name", "says"),
    [
        ("batch_service_client", "create_pool", "client.create_pool"),
        ("batch_service_client", "nonsense", "CloudClient"),
        ("batch_mgmt_client", "pool", "get_pool_full_info"),
        ("compute_mgmt_client", "resource_skus", "get_vm_name"),
        ("blob_service_client", "get_blob_client", "read_blob_stream"),
    ],
)
def test_sdk_attributes(client, attribute, name, says):
    """An attribute of the SDK's clients that is not offered says which call does the same."""
    handle = getattr(client, attribute)
    with pytest.raises(NotImplementedError, match=rf"{attribute}\.{name} .*not available.*{says}"):
        getattr(handle, name)
    assert not hasattr(handle, name)
    assert attribute in repr(handle)


def test_container_handle(client):
    """A container's handle says whether it exists, and refuses what belongs to the SDK."""
    found = client.blob_service_client.get_container_client("input-test")
    assert not found.exists()
    client.create_blob_container("input-test")
    assert found.exists()
    with pytest.raises(NotImplementedError, match="upload_blob"):
        _ = found.upload_blob


@pytest.mark.parametrize(
    ("function", "attribute"),
    [
        ("get_batch_service_client", "batch_service_client"),
        ("get_batch_management_client", "batch_mgmt_client"),
        ("get_compute_management_client", "compute_mgmt_client"),
        ("get_blob_service_client", "blob_service_client"),
    ],
)
@pytest.mark.parametrize("face", FACES)
def test_sdk_clients_of_credentials(client, function, attribute, face):
    """A client made of credentials has their values and those given by keyword."""
    module = importlib.import_module(f"{face}.client")
    handler = auth.SPCredentialHandler(azure_tenant_id="t", azure_client_id="i")
    handle = getattr(module, function)(handler, azure_client_id="j")
    assert handle.attribute == attribute
    assert handle.cloud_client.cred.azure_tenant_id == "t"
    assert handle.cloud_client.cred.azure_client_id == "j"
    handle.cloud_client.close()


def test_faces_differ_in_defaults(workdir):
    """What is called without a client goes to the cloud on one face, here on the other."""
    with pytest.raises(BackendNotInstalledError, match="azure"):
        faces.CLOUD.blobs()
    faces.LOCAL.blobs().create_container("here")
    assert (workdir / "here").is_dir()
    cloud = importlib.import_module("cfa.cloudops.blob_helpers")
    with pytest.raises(BackendNotInstalledError, match="azure"):
        cloud.read_blob_stream("a", container_name="here")
    assert blob_helpers.write_blob_stream("x", "a", container_name="here") is True
    assert (workdir / "here" / "a").read_text() == "x"


def test_no_client(client):
    """Something that is no client is refused with what to pass."""
    with pytest.raises(InvalidInputError, match=r"client\.batch_service_client"):
        batch_helpers.check_job_exists("j", object())
    assert batch_helpers.check_job_exists("j", client) is False


# --- credentials


@pytest.fixture
def clean_environment(monkeypatch):
    """No `AZURE_*` variables, now and afterwards."""
    before = dict(os.environ)
    for name in list(os.environ):
        if name.startswith(("AZURE_", "MY_")):
            del os.environ[name]
    yield
    for name in os.environ.keys() - before.keys():
        del os.environ[name]
    os.environ.update(before)


DOTENV = "AZURE_TENANT_ID=file\nAZURE_BATCH_ACCOUNT=acct\nMY_VALUE=mine\nCLOUDOPS_AT_EXIT=detach\n"


@pytest.mark.promise(
    "CloudClient",
    "`cred` carries the `azure_*` values that scripts read back.",
    local="from arguments, dotenv file and environment; none is needed",
    cloud="from arguments, dotenv file, environment or key vault",
    difference="no key vault is asked here",
)
@pytest.mark.parametrize(("federated", "winner"), [(False, "file"), (True, "environment")])
def test_cred(client, workdir, clean_environment, federated, winner):
    """`cred` has what the dotenv file and the environment say; the file wins, but for `federated`."""
    (workdir / ".env").write_text(DOTENV)
    os.environ["AZURE_TENANT_ID"] = "environment"
    made = CloudClient(use_federated=federated, azure_client_id="given", keyvault="vault")
    made.close()
    assert made.cred.azure_tenant_id == os.environ["AZURE_TENANT_ID"] == winner
    assert made.cred.azure_batch_account == "acct"
    assert made.cred.azure_client_id == "given"
    assert made.cred.azure_keyvault_name == "vault"
    assert made.cred.azure_batch_location == "eastus"
    assert made.cred.azure_subnet_id is None
    assert made.cred.azure_batch_endpoint == "https://acct.eastus.batch.azure.com/"
    assert made.cred.azure_blob_storage_endpoint is None
    assert made.method == ("default" if federated else "env")
    assert os.environ["MY_VALUE"] == "mine"
    assert "CLOUDOPS_AT_EXIT" not in os.environ


def test_cred_without_a_file(client, clean_environment):
    """Nothing of Azure is needed; other attributes are missing as usual, and secrets are not shown."""
    made = CloudClient(azure_client_secret="hidden")
    made.close()
    assert made.cred.azure_subscription_id is None
    with pytest.raises(AttributeError, match="begin with azure_"):
        _ = made.cred.client_secret_credential
    assert "hidden" not in repr(made.cred)
    assert pickle.loads(pickle.dumps(made.cred)).azure_client_secret == "hidden"


def test_handlers(workdir, clean_environment):
    """The credential handlers keep values; the order of file and environment is the cloud's."""
    (workdir / "my.env").write_text("AZURE_TENANT_ID=file\n")
    os.environ["AZURE_TENANT_ID"] = "environment"
    assert auth.EnvCredentialHandler("my.env").azure_tenant_id == "file"
    assert auth.SPCredentialHandler("my.env", azure_tenant_id="given").azure_tenant_id == "given"
    assert auth.DefaultCredentialHandler("my.env").azure_tenant_id == "environment"
    assert auth.load_env_vars("my.env") == {"AZURE_TENANT_ID": "file"}
    assert os.environ["AZURE_TENANT_ID"] == "file"


# --- jobs and tasks


def test_job_functions(filled):
    """Functions about jobs answer from the service."""
    service = filled.batch_service_client
    assert batch_helpers.check_job_exists("myjob", service) is True
    assert batch_helpers.check_job_exists("other", service) is False
    assert batch_helpers.get_job_state("my job", service) == "active"
    assert batch_helpers.check_job_complete("myjob", service) is False
    assert batch_helpers.get_completed_tasks("myjob", service) == {
        "completed tasks": 0,
        "total tasks": 0,
    }
    with pytest.raises(JobNotFoundError):
        batch_helpers.get_job_state("other", service)


def test_tasks_to_the_end(filled, workdir, capsys):
    """Tasks added in each way run; monitoring, status and statistics see them."""
    service = filled.batch_service_client
    one = batch_helpers.add_task("myjob", "myjob", "true", batch_client=service, name_suffix="x")
    assert one == "myjob-x-1"
    two = batch_helpers.add_task_collection(
        "myjob", tasks=[{"command_line": "true"}], batch_client=service, task_id_max=7
    )
    assert two.result_values == ["myjob--2"]
    settings = task.get_container_settings("https://r.io/i:1", mount_pairs=[])
    config = task.get_task_config(
        "mine", "false", settings, depends_on=one, timeout=timedelta(minutes=5)
    )
    service.create_task("myjob", config)
    found = batch_helpers.monitor_tasks("myjob", 2, service)
    assert (found["tasks complete"], found["success"], found["fail"]) == (3, 2, 1)
    assert batch_helpers.get_task_status("myjob", "mine", service).endswith('"exit_code": 1}')
    assert batch_helpers.get_task_status("myjob", service).startswith("[{")
    batch_helpers.download_job_stats("myjob", service, "table")
    assert "mine" in (workdir / "table.csv").read_text()
    filled.delete_job("myjob")


def test_unknown_arguments(filled):
    """A misspelt argument is refused; something that is no task is too."""
    service = filled.batch_service_client
    with pytest.raises(TypeError, match="depend_on"):
        batch_helpers.add_task("myjob", None, "true", batch_client=service, depend_on="a")
    with pytest.raises(InvalidInputError, match="get_task_config"):
        service.create_task("myjob", {"id": "a"})


def test_create_job(filled):
    """`job.create_job` takes the SDK's objects, mappings and names, and says whether it made one."""
    service = filled.batch_service_client
    sdk_like = SimpleNamespace(
        id="sdk",
        pool_info=SimpleNamespace(pool_id="my_pool"),
        constraints=SimpleNamespace(
            max_task_retry_count=2, max_wall_clock_time=timedelta(minutes=3)
        ),
        all_tasks_complete_mode="noaction",
    )
    assert job.create_job(service, sdk_like) is True
    spec = filled._batch.get_job("sdk").spec
    assert (spec.max_task_retries, spec.timeout_s, spec.auto_complete) == (2, 180, False)
    assert job.create_job(service, sdk_like, exist_ok=True) is False
    with pytest.raises(JobExistsError):
        job.create_job(service, sdk_like)
    assert job.create_job(service, "named", pool_name="my pool") is True
    with pytest.raises(InvalidInputError, match="no id"):
        job.create_job(service, {})


def test_task_settings():
    """The options of a container are the cloud's text, and mounts are read back from it."""
    text = task.create_bind_mount_string("$AZ_BATCH_NODE_MOUNTS_DIR", "input-test", "/data")
    assert text == "--mount type=bind,source=$AZ_BATCH_NODE_MOUNTS_DIR/input-test,target=/data"
    settings = task.get_container_settings(
        "https://r.io/i:1",
        mount_pairs=[{"source": "input-test", "target": "/data"}],
        additional_options="--rm",
    )
    assert settings.image_name == "r.io/i:1"
    assert settings.container_run_options == f"{text} --rm"
    (mount,) = settings.mounts() or ()
    assert (mount.source, mount.target) == ("input-test", "data")
    with pytest.raises(ValueError, match="task id"):
        task.get_task_config("not an id", "true")


# --- pools


@pytest.mark.parametrize(
    "arguments",
    [
        lambda c: ((None, None, "my pool", c.batch_mgmt_client), {}),
        lambda c: (("group", "account", "my_pool", c.batch_mgmt_client), {}),
        lambda c: (("my_pool", "group", "account", c.batch_mgmt_client), {}),
        lambda c: ((), {"pool_name": "my_pool", "batch_mgmt_client": c.batch_mgmt_client}),
    ],
)
def test_pool_functions(filled, arguments):
    """Functions about pools find the pool among the names that a call has."""
    args, kwargs = arguments(filled)
    assert batch_helpers.check_pool_exists(*args, **kwargs) is True
    found = batch_helpers.get_pool_full_info(*args, **kwargs)
    assert (found.name, found.id, found.task_slots_per_node) == ("my_pool", "my_pool", 1)
    assert found.as_dict()["container_image_names"] == ["r.io/i:1"]
    assert found.vm_size == "standard_d4ads_v5"
    assert batch_helpers.get_pool_mounts(*args, **kwargs) == [
        {"source": "input-test", "target": "input-test"}
    ]
    assert batch_helpers.get_rel_mnt_path("input-test", *args, **kwargs) == "input-test"


def test_delete_pool(filled):
    """A pool is deleted by its name in its place; the others may be those of pools as well."""
    names = ("group", "my_pool", "gone", filled.batch_mgmt_client)
    with pytest.raises(PoolNotFoundError):
        batch_helpers.delete_pool(*names)
    names = (None, None, "my_pool", filled.batch_mgmt_client)
    batch_helpers.delete_pool(*names)
    assert batch_helpers.check_pool_exists(*names) is False
    with pytest.raises(PoolNotFoundError):
        batch_helpers.get_pool_full_info(*names)


def test_mount_format():
    """One slash at an end is dropped, one inside refused."""
    assert batch_helpers.check_mount_format("/data/") == "data"
    with pytest.raises(ValueError, match="slash inside"):
        batch_helpers.check_mount_format("mnt/input")


def test_vm_names(client):
    """Names of VM sizes are made and taken apart without the cloud; quotas are this machine's."""
    assert batch_helpers.get_vm_name("D", 8, verify=True) == "standard_D8d_v5"
    assert batch_helpers.vm_name_to_family("standard_d4ads_v5") == "standardDADSv5Family"
    with pytest.raises(InvalidInputError):
        batch_helpers.vm_name_to_family("nonsense")
    quotas = client.get_all_vm_quotas()
    assert batch_helpers.get_all_vm_quotas(client.batch_mgmt_client, "eastus") == quotas
    assert batch_helpers.get_vm_series_quotas("D", client.batch_mgmt_client) == (
        client.get_vm_series_quotas("D")
    )


# --- blobs


def test_blob_look_ups(filled):
    """Presence and listings of blobs, flat and by level."""
    blobs = filled.blob_service_client.get_container_client("input-test")
    assert blob_helpers.check_blob_existence(blobs, "data/b.csv") is True
    assert blob_helpers.check_blob_existence(blobs, "data") is False
    assert blob_helpers.check_virtual_directory_existence(blobs, "data") is True
    assert blob_helpers.check_virtual_directory_existence(blobs, "dat") is False
    names = ["a.csv", "data/b.csv", "data/deep/c.csv"]
    assert blob_helpers.list_blobs_flat("input-test", filled.blob_service_client) == names
    found = blob_helpers.list_blobs_in_container(
        "input-test", None, "data/", filled.blob_service_client
    )
    assert [(one.name, one.size) for one in found] == [("data/b.csv", 10), ("data/deep/c.csv", 15)]
    walk = blob_helpers.walk_blobs_in_container
    assert [one.name for one in walk(container_client=blobs)] == ["a.csv", "data/"]
    assert [one.name for one in walk("input-test", None, "data/")] == [
        "data/b.csv",
        "data/deep/",
    ]


@pytest.mark.parametrize(
    "data", ["text", b"text", io.BytesIO(b"text"), io.StringIO("text"), ["te", b"xt"]]
)
def test_blob_streams(client, data):
    """A blob is written from text, bytes, a file or pieces, and read back in each way."""
    client.create_blob_container("input-test")
    assert blob_helpers.write_blob_stream(data, "d/x", container_name="input-test") is True
    stream = blob_helpers.read_blob_stream("d/x", "account", "input-test")
    assert stream.readall() == b"text"
    assert stream.content_as_text() == "text"
    assert b"".join(stream.chunks()) == b"text"
    target = io.BytesIO()
    assert stream.readinto(target) == stream.size == len(target.getvalue()) == 4
    blob_helpers.write_blob_stream("+", "d/x", container_name="input-test", append_blob=True)
    assert stream.readall() == b"text+"


def test_blob_streams_of_nothing(client):
    """A missing blob is a ValueError at the call, or when read; what is no content is refused."""
    client.create_blob_container("input-test")
    with pytest.raises(BlobNotFoundError):
        blob_helpers.read_blob_stream("x", container_name="input-test")
    stream = blob_helpers.read_blob_stream("x", container_name="input-test", do_check=False)
    with pytest.raises(ValueError, match="x"):
        stream.readall()
    with pytest.raises(InvalidInputError, match="content of a blob"):
        blob_helpers.write_blob_stream(3, "x", container_name="input-test")
    with pytest.raises(InvalidInputError, match="No blob container"):
        blob_helpers.read_blob_stream("x")


def test_blob_transfers(client, workdir):
    """Up- and downloads through the modules do what the client's methods do."""
    service = client.blob_service_client
    (workdir / "in" / "deep").mkdir(parents=True)
    (workdir / "in" / "a.csv").write_text("a")
    (workdir / "in" / "deep" / "b.txt").write_text("b")
    assert blob_helpers.walk_folder("in") == ["in/a.csv", "in/deep/b.txt"]
    assert blob.create_storage_container_if_not_exists("c-1", service).exists()
    uploaded = blob_helpers.upload_files_in_folder(
        "in", "c-1", include_extensions="csv", blob_service_client=service
    )
    assert uploaded == ["in/a.csv"]
    blob.upload_to_storage_container("b.txt", "c-1", service, "in/deep", "run")
    assert client.list_blob_files("c-1") == ["in/a.csv", "run/b.txt"]
    blob.download_from_storage_container(["b.txt"], "c-1", service, "out", "run")
    assert (workdir / "out" / "b.txt").read_text() == "b"
    container = service.get_container_client("c-1")
    blob_helpers.download_file(container, "in/a.csv", "out/a.csv")
    assert (workdir / "out" / "a.csv").read_text() == "a"
    blob_helpers.download_folder("c-1", "run", "all", service)
    assert (workdir / "all" / "run" / "b.txt").exists()
    blob_helpers.delete_blob_snapshots("in/a.csv", "c-1", service)
    blob_helpers.delete_blob_folder("run", "c-1", service)
    assert client.list_blob_files("c-1") == []


def test_extensions():
    """Extensions get a dot; one is as good as several."""
    assert blob.format_extensions("csv") == [".csv"]
    assert blob.format_extensions([".csv", "txt"]) == [".csv", ".txt"]
    with pytest.raises(InvalidInputError):
        blob.format_extensions([3])


# --- small modules


def test_local_records():
    """The records of the local client's module have its attributes."""
    pool = batch.Pool("p", "i")
    assert (pool.pool_id, pool.image_name, pool.pool_parameters, pool.status) == (
        "p",
        "i",
        None,
        "on",
    )
    made = batch.Job("j", "p", 1, True)
    assert (made.job_id, made.pool_id, made.task_retries, made.mark_complete, made.status) == (
        "j", "p", 1, True, "running",
    )  # fmt: skip


def test_local_helpers(client, workdir):
    """The local client's helpers work without a client."""
    (workdir / "in").mkdir()
    (workdir / "in" / "a").write_text("a")
    helpers.create_container("c-1")
    helpers.upload_to_storage_container("in/a", ".", "c-1")
    assert helpers.upload_folder("in", "c-1") == ["in/a"]
    helpers.download_file("c-1", "in/a", "out/a")
    assert (workdir / "out" / "a").read_text() == "a"
    client.create_pool("p")
    helpers.add_job("j", "p", 2, True)
    assert client._batch.get_job("j").spec.max_task_retries == 2


def test_local_images(client, workdir, monkeypatch):
    """Functions about images do what the client does: names are made, and nothing is built here."""
    (workdir / "Dockerfile").write_text("FROM scratch\n")
    name = "myregistry.azurecr.io/model:1"
    assert helpers.package_and_upload_dockerfile("myregistry", "model", "1") == name
    assert helpers.upload_docker_image("model", "myregistry", "model", "1") == name
    monkeypatch.delenv("CLOUDOPS_BACKEND")
    cloud = importlib.import_module("cfa.cloudops.helpers")
    with pytest.raises(BackendNotInstalledError, match="azure"):
        cloud.list_acr_tags("myregistry", "model")


def test_yaml(workdir):
    """Commands and arguments of a parameter file."""
    (workdir / "p.yaml").write_text("schema: v0.4\nexperiment:\n  - {a: 1}\n  - {a: 2}\n")
    assert batch_helpers.get_args_from_yaml("p.yaml") == ["--a 1", "--a 2"]
    assert batch_helpers.get_tasks_from_yaml("run", "p.yaml") == ["run --a 1", "run --a 2"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, logging.WARNING),
        ("", logging.WARNING),
        ("NONE", logging.CRITICAL + 1),
        ("Debug", logging.DEBUG),
        ("info", logging.INFO),
        ("warn", logging.WARNING),
        ("error", logging.ERROR),
        ("critical", logging.CRITICAL),
        ("nonsense", logging.DEBUG),
    ],
)
def test_log_level(client, monkeypatch, text, expected):
    """Every value of `LOG_LEVEL` has the level that the cloud's client gives it."""
    monkeypatch.delenv("LOG_LEVEL", raising=False)
    if text is not None:
        monkeypatch.setenv("LOG_LEVEL", text)
    assert helpers.get_log_level() == expected


@pytest.mark.parametrize(
    ("text", "to_file", "to_stdout"),
    [
        (None, False, True),
        ("std", False, True),
        ("STDOUT", False, True),
        ("file", True, False),
        ("Files", True, False),
        ("both", True, True),
        ("nonsense", False, True),
    ],
)
def test_log_output(workdir, monkeypatch, capsys, text, to_file, to_stdout):
    """`LOG_OUTPUT` counts by what it begins with; a file appears with its first line."""
    monkeypatch.delenv("LOG_OUTPUT", raising=False)
    if text is not None:
        monkeypatch.setenv("LOG_OUTPUT", text)
    CloudClient().close()
    assert not (workdir / "logs").exists()
    CloudClient(nonsense=1).close()
    out = capsys.readouterr().out
    assert ("keyword 'nonsense'" in out) is to_stdout
    assert ("LOG_OUTPUT=nonsense is not known" in out) is (text == "nonsense")
    files = list(workdir.glob("logs/*.log"))
    assert bool(files) is to_file
    if to_file:
        assert "[WARNING] 2" in files[0].read_text()


def test_small_functions(client, clean_environment):
    """Configuration, endpoints and utilities."""
    os.environ["MY_KEY"] = "env"
    assert config.get_config_val("my_key") == "env"
    assert config.get_config_val("my_key", {"my_key": "given"}) == "given"
    assert config.get_config_val("my_other") is None
    assert endpoints.construct_batch_endpoint("a", "eastus") == "https://a.eastus.batch.azure.com/"
    assert (
        endpoints.construct_blob_container_endpoint("c", "a") == "https://a.blob.core.windows.net/c"
    )
    registry = endpoints.construct_azure_container_registry_endpoint("myregistry")
    assert registry == "https://myregistry.azurecr.io"
    assert endpoints.is_valid_acr_endpoint(registry) == (True, None)
    assert endpoints.is_valid_acr_endpoint("https://docker.io")[0] is False
    assert endpoints.is_valid_acr_endpoint(5)[0] is False
    with pytest.raises(InvalidInputError, match="container_image_name=None"):
        task.get_container_settings(None)
    assert util.ensure_listlike("ab") == ["ab"]
    assert util.ensure_listlike([1]) == [1]
    assert util.check_ext_env() is False
    assert util.get_user()
    assert util.get_date_time() > "2020"
    assert helpers.format_rel_path("/a/b") == "a/b"
    assert "AZURE_BATCH_ACCOUNT" in defaults.default_kv_keys
    defaults.set_env_vars()
    assert os.environ["AZURE_BATCH_RESOURCE_URL"] == "https://batch.core.windows.net/"
    assert "$PendingTasks" in defaults.remaining_task_autoscale_formula()
    assert "$TargetDedicatedNodes" in autoscale.dev_autoscale_formula


# --- the page

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "imports.md"
TOP = """# What can be imported

You can import every name on this page from `cfa.cloudops`, as on the cloud, and from the same place
below `cfa.cloudops.local`. So you change one word of an import:

```python
from cfa.cloudops import batch_helpers  # the cloud
from cfa.cloudops.local import batch_helpers  # this machine
```

Some functions of the cloud take a client of the Azure SDK (`batch_client`, `batch_mgmt_client`,
`blob_service_client`). Pass the attribute of a `CloudClient` with that name. The attribute is not
an SDK client: any other use of it raises an error that names the call to use instead. Functions
without a client use the defaults of their package.

The middle column says whether a name works on this machine. You can import the others too, but
calling them raises an `UnsupportedError` (a `NotImplementedError`).

The tests write this page: `CLOUDOPS_TEST_PAGES=write pytest tests/unit/test_surface.py -k page`.
"""


#: Described on pages of their own.
ELSEWHERE = ("CloudClient", "Task", "run_experiment", "run_tasks")


def summary(name: str, value: object) -> str:
    """The first sentence of a docstring; a constant's value."""
    if name in ELSEWHERE:
        return ""
    if isinstance(value, str | int | list | dict):
        text = repr(value)
        return f"`{text}`" if len(text) <= 60 else "a constant"
    text = (inspect.getdoc(value) or "").split("\n\n")[0].replace("\n", " ")
    return text.partition("Only on Azure. ")[2] or text


def page() -> str:
    """The page, as it should be."""
    parts = [TOP]
    places = [("cfa.cloudops", module) for module in SURFACE]
    places += [("cfa.cloudops.local", module) for module in LOCAL_SURFACE]
    for face, module in places:
        found = importlib.import_module(f"{face}.{module}".rstrip("."))
        only = " (only in the local package)" if face.endswith("local") else ""
        parts.append(
            f"\n## `{f'{face}.{module}'.rstrip('.')}`{only}\n\n"
            "| Name | On this machine | |\n|---|---|---|\n"
        )
        for name in sorted(found.__all__, key=str.lower):
            value = getattr(found, name)
            here = "only on Azure" if getattr(value, "azure_only", False) else "works"
            parts.append(f"| `{name}` | {here} | {summary(name, value).replace('|', '&#124;')} |\n")
    return "".join(parts)


def test_page():
    """The page lists every name, and says of each whether it works here."""
    if os.environ.get("CLOUDOPS_TEST_PAGES") == "write":
        PAGE.write_text(page())
    assert PAGE.read_text() == page(), "CLOUDOPS_TEST_PAGES=write pytest -k page writes it anew"
