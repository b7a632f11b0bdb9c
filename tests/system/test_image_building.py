"""Images that scripts build, name, push and list, on real engines."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cfa.cloudops.backends import load_executor
from cfa.cloudops.client.images import Images
from cfa.cloudops.errors import ImageError, LocalFileNotFoundError
from cfa.cloudops.provider.executor import NodeSpec
from cfa.cloudops.testing.executor import read_all
from cfa.cloudops.testing.registry import registry

REGISTRY = "cloudopstest"
SERVER = f"{REGISTRY}.azurecr.io"


@pytest.fixture
def no_logins(monkeypatch, tmp_path):
    """No login for any registry, whatever the user of this machine has."""
    (tmp_path / "config.json").write_text("{}")
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(tmp_path / "config.json"))


@pytest.fixture
def repository(bench, no_logins):
    """A repository of the test's own; its images are removed after the test."""
    name = f"kit/t{os.getpid()}"
    yield name
    if bench.engine is not None:
        listed = bench.engine.run("images", "--format", "{{.Repository}}:{{.Tag}}", timeout_s=60)
        mine = [line for line in listed.stdout.split() if f"/{name}:" in line]
        if mine:
            bench.engine.run("rmi", "--force", *mine, timeout_s=60)


@pytest.fixture
def bench(bench):
    """The bench, with the engine's command line."""
    bench.engine = bench.backend.engine
    return bench


def dockerfile(image: str, *lines: str) -> None:
    Path("Dockerfile").write_text("\n".join([f"FROM {image}", *lines, ""]))


@pytest.mark.promise(
    "package_and_upload_dockerfile",
    (
        "A Dockerfile is built, and `<registry>.azurecr.io/<repo>:<tag>` is returned and kept"
        " in the client's attributes."
    ),
    local="built by the engine; on `subprocess` nothing is built, which a warning says",
    cloud="built by Docker",
    difference="no image on `subprocess`",
)
@pytest.mark.promise(
    "upload_docker_image",
    "An image of this machine gets a name in the registry, which is returned.",
    local="tagged, and pushed as above",
    cloud="tagged and pushed",
    difference="pushed only where that is configured",
)
@pytest.mark.promise(
    "add_task",
    "A task without an image of its own runs in the one that this client built or named last.",
    local="before the pool's",
)
@pytest.mark.promise(
    "list_acr_tags",
    "Tags of a repository, as a list of texts.",
    local="of the images on this machine",
    cloud="of the registry, through `az`",
    difference="the registry is not asked",
)
def test_getting_started(bench, repository, capsys):
    """A pool runs tasks in the image that the script has just built; without images they run too."""
    client = bench.client()
    Path("greeting.txt").write_text("from the image")
    Path("big.log").write_text("not needed")
    Path(".dockerignore").write_text("*.log\n")
    dockerfile(bench.image, "COPY . /app/", "RUN ls -a /app > /app/seen")
    name = client.package_and_upload_dockerfile(REGISTRY, repository, "latest")
    assert name == f"{SERVER}/{repository}:latest"
    assert client.full_container_name == name
    assert client.container_registry_server == SERVER
    assert client.registry_url == f"https://{SERVER}"
    assert client.container_image_name == f"https://{name}"
    said = capsys.readouterr().out
    client.create_pool("p", container_image_name=name, vm_size=client.get_vm_name(cores=8))
    client.create_job("j", "p")
    shown = client.add_task("j", "cat /app/seen" if bench.containers else "echo here")
    tasks = bench.finished(client)
    assert tasks[shown].exit_code == 0, bench.describe(client)
    output = bench.output(client, shown).split()
    if not bench.containers:
        assert f"{name} is not built" in said
        assert client.list_acr_tags(REGISTRY, repository) == []
        return
    assert f"Built {name}" in said
    assert f"Nothing was pushed: {bench.backend.executor} has no login for {SERVER}" in said
    assert "greeting.txt" in output
    assert not {"big.log", ".cloudops"} & set(output)
    client.upload_docker_image(name, REGISTRY, repository, "second")
    assert client.full_container_name == f"{SERVER}/{repository}:second"
    assert client.list_acr_tags(REGISTRY, repository) == ["latest", "second"]
    # A task that names no image runs in the one that this client made last.
    later = client.add_task("j", "true")
    assert client._batch.get_task("j", later).image == client.full_container_name
    assert bench.finished(client)[later].exit_code == 0, bench.describe(client)


@pytest.mark.promise(
    "package_and_upload_dockerfile",
    "A build that fails fails; a Dockerfile that is not there is an error.",
    local="`RuntimeError` with the engine's last lines; `FileNotFoundError`",
    cloud="no exit status is looked at: a name is returned; a plain `Exception`",
    difference="here the mistake is said",
)
@pytest.mark.promise(
    "upload_docker_image",
    "An image that is not on this machine is an error.",
    local="`ImageError`, a `RuntimeError`",
    cloud="`docker.errors.ImageNotFound`",
    difference="the type of the error",
)
def test_failures(bench, repository, monkeypatch, capsys):
    """A build that fails fails, with the engine's own last lines; nothing of it is named."""
    monkeypatch.setenv("LOG_LEVEL", "info")
    client = bench.client()
    with pytest.raises(LocalFileNotFoundError, match="There is no Dockerfile"):
        client.package_and_upload_dockerfile(REGISTRY, repository, "1")
    if not bench.containers:
        return
    dockerfile(bench.image, "RUN echo working; echo nearly there >&2; exit 7")
    with pytest.raises(ImageError, match="nearly there") as caught:
        client.package_and_upload_dockerfile(REGISTRY, repository, "1")
    assert "7" in caught.value.message.splitlines()[-1]
    assert ": working\n" in capsys.readouterr().out
    with pytest.raises(ImageError, match="not on this machine"):
        client.upload_docker_image("cloudops-test/none:1", REGISTRY, repository, "1")
    assert client.full_container_name is None
    assert client.list_acr_tags(REGISTRY, repository) == []


@pytest.fixture
def trusting(backend, monkeypatch, tmp_path, workdir):
    """A podman that takes a registry on this machine without encryption, as docker does."""
    if backend.engine is None:
        pytest.skip(f"{backend.name} has no images")
    if backend.executor == "podman":
        settings = tmp_path / "registries.conf"
        settings.write_text(
            '[[registry]]\nprefix = "127.0.0.1"\nlocation = "127.0.0.1"\ninsecure = true\n'
        )
        monkeypatch.setenv("CONTAINERS_REGISTRIES_CONF", str(settings))
        monkeypatch.delenv("CONTAINER_HOST", raising=False)
        monkeypatch.delenv("CLOUDOPS_PODMAN_SOCKET", raising=False)
    executor = load_executor(backend.executor)
    try:
        executor.probe()
        if backend.executor == "podman" and executor.service_pid is None:
            pytest.skip("a service runs at a usual place, with settings of its own")
        yield executor
    finally:
        executor.close()


@pytest.mark.promise(
    "package_and_upload_dockerfile",
    "The image is pushed where that is configured.",
    local=("only to a registry that the engine has a login for, or that `CLOUDOPS_REGISTRY` names"),
    cloud="always, after a login through `az`",
    difference="a machine without a login pushes nothing, and says so",
)
def test_push(bench, trusting, repository, monkeypatch, capsys):
    """An image that was pushed to a configured registry can be pulled from it, and runs."""
    dockerfile(bench.image, "RUN echo pushed > /pushed")
    with registry(engine=trusting.probe().endpoint) as address:
        monkeypatch.setenv("CLOUDOPS_REGISTRY", address)
        images = Images(bench.client()._settings)
        name = images.package_and_upload_dockerfile(address, repository, "1")
        assert name == f"{address}/{repository}:1"
        assert f"Pushed {name}" in capsys.readouterr().out
        bench.engine.run("rmi", "--force", name, timeout_s=60)
        assert list(trusting.list_tags(f"{address}/{repository}")) == []
        trusting.ensure_image(name)
        spec = NodeSpec(
            workspace=f"push-{os.getpid()}",
            node_id="n1",
            name=f"push-{os.getpid()}",
            image=name,
            argv=("/bin/cat", "/pushed"),
        )
        node = trusting.open_node(spec)
        try:
            assert read_all(node) == b"pushed\n"
        finally:
            node.close(0)
        with pytest.raises(ImageError, match="cannot push"):
            images.upload_docker_image(name, address, f"secret/{repository}", "1")
