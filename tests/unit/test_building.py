"""What images are called, what a build sees, where images are pushed: all that needs no engine."""

from __future__ import annotations

import base64
import json
import os
import socket
import tarfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from docker.utils.build import exclude_paths
from hypothesis import given
from hypothesis import strategies as st

from cfa.cloudops import settings
from cfa.cloudops.client import images
from cfa.cloudops.client.images import Images
from cfa.cloudops.errors import ImageError, InvalidNameError, UnsupportedError
from cfa.cloudops.model import references
from cfa.cloudops.provider.build_context import IgnoreRules, pack
from cfa.cloudops.provider.executor import (
    Capabilities,
    Executor,
    Node,
    NodeSpec,
    NodeStatus,
)
from cloudops_docker import logins as docker_logins
from cloudops_podman import logins as podman_logins

# --- names


def test_login_command() -> None:
    """Azure's own way to log in is named for its registries only."""
    assert references.login_command("podman", "r.azurecr.io") == (
        "podman login r.azurecr.io (or az acr login --name r)"
    )
    assert references.login_command("docker", "localhost:5000") == "docker login localhost:5000"


@pytest.mark.parametrize(
    ("registry", "repository", "tag", "name"),
    [
        ("myacr", "fit", "latest", "myacr.azurecr.io/fit:latest"),
        ("MyAcr", "fit", "latest", "myacr.azurecr.io/fit:latest"),
        ("myacr.azurecr.io", "a/b_c.d-e", "v1.2", "myacr.azurecr.io/a/b_c.d-e:v1.2"),
        ("localhost:5000", "fit", "_1", "localhost:5000/fit:_1"),
    ],
)
def test_references(registry: str, repository: str, tag: str, name: str) -> None:
    """A registry's name becomes its server; what is a server already stays."""
    assert references.reference(registry, repository, tag).name == name


@pytest.mark.parametrize(
    ("registry", "repository", "tag"),
    [
        ("", "fit", "1"),
        ("my acr", "fit", "1"),
        ("https://myacr.azurecr.io", "fit", "1"),
        ("myacr/x", "fit", "1"),
        ("myacr", "Fit", "1"),
        ("myacr", "", "1"),
        ("myacr", "a//b", "1"),
        ("myacr", "../b", "1"),
        ("myacr", "fit", "."),
        ("myacr", "fit", ""),
        ("myacr", "fit", "a:b"),
        ("myacr", "fit", "1\n"),
        ("myacr", "fit", "x" * 129),
        (None, "fit", "1"),
        ("myacr", "fit", 1),
    ],
)
def test_bad_references(registry: str, repository: str, tag: str) -> None:
    """A name that no registry takes is refused before anything is built."""
    with pytest.raises(InvalidNameError):
        references.reference(registry, repository, tag)


# --- what a build sees


def _files(place: Path, *names: str) -> None:
    for name in names:
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)


def _members(place: Path, dockerfile: Path, leave_out: Sequence[str] = ()) -> dict[str, str]:
    """What is packed, with the contents of files."""
    with (
        pack(str(place), str(dockerfile), leave_out) as packed,
        tarfile.open(fileobj=packed.file) as tar,
    ):
        found = {}
        for member in tar:
            assert (member.uid, member.gid, member.uname) == (0, 0, "")
            data = tar.extractfile(member) if member.isreg() else None
            found[member.name] = data.read().decode() if data else member.linkname
        assert packed.dockerfile in found
        return found


def test_context(tmp_path: Path) -> None:
    """All files are packed but sockets, what is ignored and what is left out; links stay links."""
    _files(tmp_path, "Dockerfile", "a/b.txt", "a/c.log", ".cloudops/store", "data/big")
    (tmp_path / ".dockerignore").write_text("# comment\n*/*.log\ndata\nDockerfile\n")
    (tmp_path / "link").symlink_to("a/b.txt")
    (tmp_path / "a" / "hard").hardlink_to(tmp_path / "a" / "b.txt")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.path.relpath(tmp_path / "s"))
        found = _members(tmp_path, tmp_path / "Dockerfile", [str(tmp_path / ".cloudops")])
    assert sorted(found) == [".dockerignore", "Dockerfile", "a", "a/b.txt", "a/hard", "link"]
    assert found["a/hard"] == "a/b.txt"
    assert found["link"] == "a/b.txt"


def test_dockerfile_from_elsewhere(tmp_path: Path) -> None:
    """A Dockerfile outside of the context is packed under a name that the build's steps ignore."""
    (tmp_path / "in").mkdir()
    _files(tmp_path, "Other", "in/a")
    found = _members(tmp_path / "in", tmp_path / "Other")
    [name] = found.keys() - {"a", ".dockerignore"}
    assert found[name] == "Other"
    assert found[".dockerignore"].splitlines() == [name, ".dockerignore"]


def test_unreadable_context(tmp_path: Path) -> None:
    """A context that cannot be packed is an ImageError that names it."""
    _files(tmp_path, "Dockerfile")
    (tmp_path / ".dockerignore").write_bytes(b"\xff\xfe\xfd")
    with pytest.raises(ImageError, match="cannot be packed"), pack(str(tmp_path), "Dockerfile"):
        pass


TREE = ("a/b.txt", "a/c/d.txt", "a/c/e.log", "b.txt", "c/b.txt", "d.log", ".hidden/x", "a.b/c")


@given(
    st.lists(
        st.sampled_from(
            ["*", "a", "/a", "a/*", "**/*.txt", "*.log", "**/c", "c/**", "!a/c", "!b.txt", "a/c/",
             "?.txt", "[ab].txt", "!a/c/e.log", "# a", "", ".hidden", "a.b", "**"]
        ),
        max_size=4,
    )
)  # fmt: skip
def test_ignored_as_docker_does(lines: list[str]) -> None:
    """The same files are left out as by Docker's own implementation."""
    rules = IgnoreRules(lines)
    ours = {name for name in TREE if not rules.excludes(name)}
    assert ours == _by_docker(tuple(line for line in lines if line and not line.startswith("#")))


def test_taken_back_anywhere() -> None:
    """What is taken back at any depth is found below excluded directories (as by BuildKit)."""
    rules = IgnoreRules(["*", "!**/d.txt"])
    assert [name for name in TREE if not rules.excludes(name)] == ["a/c/d.txt"]


_place: list[str] = []


def _by_docker(patterns: tuple[str, ...]) -> set[str]:
    return set(TREE) & {
        name.replace(os.sep, "/") for name in exclude_paths(_place[0], list(patterns), "none")
    }


@pytest.fixture(scope="module", autouse=True)
def tree(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The files that patterns are tried on."""
    place = tmp_path_factory.mktemp("tree")
    _files(place, *TREE)
    _place.append(str(place))
    yield
    _place.clear()


# --- logins


def _login(user: str) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{user}:secret".encode()).decode()}


@pytest.fixture
def home(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home without any login."""
    found = Path.home()
    for name in ("DOCKER_CONFIG", "REGISTRY_AUTH_FILE", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(found / "run"))
    return found


def test_docker_logins(home: Path) -> None:
    """Docker's own configuration says where one is logged in; a damaged one says nothing."""
    assert docker_logins.find("myacr.azurecr.io") is None
    _files(home, ".docker/config.json")
    assert docker_logins.find("myacr.azurecr.io") is None
    content = {"auths": {"https://myacr.azurecr.io": _login("ada"), "empty.io": {}}}
    (home / ".docker" / "config.json").write_text(json.dumps(content))
    found = docker_logins.find("myacr.azurecr.io")
    assert found is not None
    assert found["username"] == "ada"
    assert docker_logins.find("other.azurecr.io") is None
    assert not docker_logins.find("empty.io")


def test_podman_logins(home: Path) -> None:
    """Podman's files are read in its order, Docker's last; helpers' logins are left to Podman."""
    assert not podman_logins.known("myacr.azurecr.io")
    _files(home, ".docker/config.json", "run/containers/auth.json")
    (home / ".docker" / "config.json").write_text(
        json.dumps({"auths": {"https://myacr.azurecr.io/v1/": _login("docker")}})
    )
    assert podman_logins.known("myacr.azurecr.io")
    (home / "run" / "containers" / "auth.json").write_text(
        json.dumps({"auths": {"myacr.azurecr.io": _login("ada")}, "credHelpers": {"h.io": "x"}})
    )
    header = podman_logins.header("myacr.azurecr.io")["X-Registry-Auth"]
    assert json.loads(base64.urlsafe_b64decode(header))["username"] == "ada"
    assert podman_logins.known("h.io")
    assert podman_logins.header("h.io") == {}
    assert not podman_logins.known("azurecr.io")


# --- where images are pushed


class Shop(Executor):
    """An executor that only says what it was asked to do about images."""

    name = "shop"
    logged_in = ""
    done: list[str]

    def probe(self) -> Capabilities:
        return Capabilities(version="1", endpoint="here", builds=True)

    def open_node(self, spec: NodeSpec) -> Node:
        raise NotImplementedError

    def list_nodes(self, workspace: str) -> Sequence[NodeStatus]:
        return []

    def remove_node(self, workspace: str, node_id: str) -> None:
        """Nothing."""

    def has_login(self, server: str) -> bool:
        return server == self.logged_in

    def tag_image(self, image: str, tag: str) -> None:
        self.done.append(f"tag {image} {tag}")

    def push_image(self, tag: str, report: Callable[[str], None] | None = None) -> None:
        self.done.append(f"push {tag}")

    def list_tags(self, repository: str) -> Sequence[str]:
        return ["1"]


@pytest.mark.promise(
    "package_and_upload_dockerfile",
    "Where to push can be said.",
    local="`CLOUDOPS_REGISTRY`: a server, or `none`",
    cloud="the registry of the call",
    difference="the registry of the call is pushed to only where that is configured",
)
@pytest.mark.parametrize(
    ("setting", "login", "pushed", "says"),
    [
        ("", "", False, "shop has no login for myacr.azurecr.io; to push, type shop login"),
        ("", "myacr.azurecr.io", True, "Pushed"),
        ("myacr", "", True, "Pushed"),
        ("myacr.azurecr.io", "", True, "Pushed"),
        ("other", "myacr.azurecr.io", False, "to push, set it to myacr.azurecr.io"),
        ("none", "myacr.azurecr.io", False, "CLOUDOPS_REGISTRY=none (from environment)"),
    ],
)
def test_where_to_push(
    setting: str,
    login: str,
    pushed: bool,
    says: str,
    workdir: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """An image is pushed where the engine is logged in, or only where `CLOUDOPS_REGISTRY` says."""
    monkeypatch.setenv("CLOUDOPS_REGISTRY", setting)
    monkeypatch.setattr(Shop, "logged_in", login)
    done: list[str] = []
    monkeypatch.setattr(Shop, "done", done, raising=False)
    monkeypatch.setattr(images.backends, "load_executor", lambda _: Shop())
    found = Images(settings.load(default_backend="docker"))
    name = found.upload_docker_image("x", "myacr", "fit", "1")
    assert done == [f"tag x {name}"] + [f"push {name}"] * pushed
    assert says in capsys.readouterr().out


def test_executor_without_building(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A backend that uses images but cannot build says so, with what to do instead."""

    class Plain(Shop):
        def probe(self) -> Capabilities:
            return Capabilities(version="1", endpoint="here")

    monkeypatch.setattr(images.backends, "load_executor", lambda _: Plain())
    found = Images(settings.load(default_backend="docker"))
    with pytest.raises(UnsupportedError, match="engine's own tools"):
        found.list_acr_tags("myacr", "fit")
    for call in (
        lambda: Executor.build_image(Plain(), "a", "b", "c"),
        lambda: Executor.tag_image(Plain(), "a", "b"),
        lambda: Executor.push_image(Plain(), "a"),
        lambda: Executor.list_tags(Plain(), "a"),
    ):
        with pytest.raises(UnsupportedError, match="cannot"):
            call()
