"""The executor on Docker: the verbs of `ContainerExecutor`, in calls of Docker's SDK."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, ClassVar
from urllib.parse import quote

from attrs import frozen

from cfa.cloudops.errors import BackendNotInstalledError, BackendUnavailableError
from cfa.cloudops.provider.attach import AttachStream, EngineError, hijack
from cfa.cloudops.provider.container import (
    CPU_PERIOD_US,
    LOG_BYTES,
    Container,
    Engine,
    Plan,
    PullProgress,
)
from cfa.cloudops.provider.executor import Capabilities, ImageInfo
from cfa.cloudops.provider.oci import ContainerExecutor, why
from cloudops_docker import connection, logins
from cloudops_docker.endpoints import SYSTEM_SOCKET, Endpoint, candidates, user_home

if TYPE_CHECKING:
    from docker import APIClient

#: Seconds for all candidates together.
_PROBE_S = 5.0
#: Seconds that a step of a build may be silent.
_BUILD_STALL_S = 3600
_INSTALL = "Install Docker Engine (Debian: apt install docker.io), or set CLOUDOPS_BACKEND=podman."


@frozen(kw_only=True)
class _Link:
    """An engine that answered."""

    endpoint: Endpoint
    client: APIClient
    engine: Engine


@contextlib.contextmanager
def _translated(endpoint: str) -> Iterator[None]:
    """Turn the SDK's errors into ours."""
    import docker.errors
    import requests
    import urllib3

    try:
        yield
    except docker.errors.APIError as error:
        status = error.response.status_code if error.response is not None else 500
        raise EngineError(status, str(error.explanation or error)) from None
    except (
        requests.RequestException,
        urllib3.exceptions.HTTPError,
        docker.errors.DockerException,
        OSError,
    ) as error:
        if isinstance(error, BackendUnavailableError):
            raise
        raise BackendUnavailableError(
            f"Docker at {endpoint} does not answer: {why(error)}.",
            "Check whether it is running, for instance with: docker info",
        ) from None


class DockerExecutor(ContainerExecutor):
    """Nodes are containers of a Docker engine.

    Options:
        host: address of the engine, as in `DOCKER_HOST`, which is honoured otherwise; then the
            current context, then the usual sockets of rootful, rootless and desktop engines.
        cap_add, pids_limit, no_new_privileges: see `provider.hardening`. Also by the environment
            variables `CLOUDOPS_DOCKER_CAP_ADD` and so on.
    """

    name: ClassVar[str] = "docker"

    def __init__(self, options: Mapping[str, str] | None = None) -> None:
        super().__init__(options)
        self._linking = threading.Lock()
        self._known: _Link | None = None

    # --- engine

    def engine(self) -> Engine:
        """See `ContainerExecutor`."""
        return self._link().engine

    def _link(self) -> _Link:
        with self._linking:
            if self._known is None:
                self._known = self._find()
            return self._known

    def _find(self) -> _Link:
        try:
            import docker
        except ImportError as error:
            raise BackendNotInstalledError(
                f"The docker backend needs Docker's SDK for Python: {error}.",
                "To install it: pip install docker",
            ) from None
        tried: list[str] = []
        deadline = time.monotonic() + _PROBE_S
        found = candidates(self.options.get("host"), os.environ, user_home(), os.getuid())
        denied = False
        for endpoint in found:
            if tried and time.monotonic() > deadline:
                break
            try:
                client = connection.client(endpoint)
                return _Link(endpoint=endpoint, client=client, engine=_describe(endpoint, client))
            except (docker.errors.DockerException, EngineError, OSError) as error:
                denied |= isinstance(error, PermissionError)
                tried.append(f"{endpoint.url} ({endpoint.origin}): {why(error)}")
        raise BackendUnavailableError(
            f"No Docker engine answers. Tried {'; '.join(tried)}.", _advice(found, denied)
        )

    @contextlib.contextmanager
    def _calls(self) -> Iterator[APIClient]:
        link = self._link()
        with _translated(link.endpoint.url):
            yield link.client

    def close(self) -> None:
        """See `Executor`."""
        with self._linking:
            if self._known is not None:
                self._known.client.close()
                self._known = None

    # --- images

    def find_image(self, image: str) -> ImageInfo | None:
        """See `ContainerExecutor`."""
        try:
            with self._calls() as client:
                found = client.inspect_image(image)
        except EngineError as error:
            if error.status == 404:
                return None
            raise
        user = (found.get("Config") or {}).get("User") or ""
        return ImageInfo(name=image, id=found["Id"], user=user)

    def pull_image(self, image: str, progress: PullProgress) -> None:
        """See `ContainerExecutor`."""
        with self._calls() as client:
            from docker.utils import parse_repository_tag

            repository, tag = parse_repository_tag(image)
            events = client.pull(repository, tag=tag or "latest", stream=True, decode=True)
            for event in events:
                if event.get("error"):
                    raise EngineError(500, str(event["error"]))
                detail = event.get("progressDetail") or {}
                progress(
                    str(event.get("status", "")),
                    str(event.get("id", "")),
                    int(detail.get("current") or 0),
                    int(detail.get("total") or 0),
                )

    def build(self, context: IO[bytes], dockerfile: str, tag: str) -> Iterator[str]:
        """See `EngineVerbs`. By the classic builder: the SDK does not speak with BuildKit."""
        with self._calls() as client:
            for event in client.build(
                fileobj=context,
                custom_context=True,
                dockerfile=dockerfile,
                tag=tag,
                rm=True,
                forcerm=True,
                use_config_proxy=True,  # as `docker build` does
                decode=True,
                timeout=_BUILD_STALL_S,
            ):
                yield _words(event) + ("\n" if "status" in event else "")

    def tag(self, image: str, repository: str, tag: str) -> None:
        """See `EngineVerbs`."""
        with self._calls() as client:
            client.tag(image, repository, tag)

    def push(self, repository: str, tag: str) -> Iterator[str]:
        """See `EngineVerbs`."""
        login = logins.find(repository.partition("/")[0])
        with self._calls() as client:
            for event in client.push(
                repository, tag, stream=True, decode=True, auth_config=login or {}
            ):
                if text := _words(event):
                    yield text

    def image_names(self, repository: str) -> Sequence[str]:
        """See `EngineVerbs`."""
        with self._calls() as client:
            found = client.images(name=repository)
        return [name for one in found for name in one.get("RepoTags") or ()]

    def has_login(self, server: str) -> bool:
        """See `Executor`."""
        return bool(logins.find(server))

    # --- containers

    def create(self, plan: Plan) -> str:
        """See `ContainerExecutor`."""
        with self._calls() as client:
            from docker.types import Mount

            host = client.create_host_config(
                mounts=[
                    Mount(b.target, b.source, type="bind", read_only=b.read_only)
                    for b in plan.binds
                ],
                userns_mode=plan.userns or None,
                cpu_period=CPU_PERIOD_US if plan.cpu_quota_us else None,
                cpu_quota=plan.cpu_quota_us,
                mem_limit=plan.memory_bytes,
                memswap_limit=plan.memory_bytes,  # the same: no swap beyond it
                # Named, because the daemon's default may be a log of the whole machine.
                log_config={
                    "Type": "json-file",
                    "Config": {"max-size": str(LOG_BYTES), "max-file": "1"},
                },
                security_opt=[
                    *(["label=disable"] if plan.unlabelled else []),
                    *(["no-new-privileges"] if plan.no_new_privileges else []),
                ],
                cap_drop=list(plan.cap_drop),
                cap_add=list(plan.cap_add),
                pids_limit=plan.pids_limit,
            )
            # Not detached, with standard input open: the SDK sets StdinOnce, so that the end of the
            # attached connection is the end of the container's input.
            made = client.create_container(
                plan.image,
                entrypoint=[plan.argv[0]],
                command=list(plan.argv[1:]),
                name=plan.name or None,
                labels=dict(plan.labels),
                environment=dict(plan.environment),
                user=plan.user or None,
                working_dir=plan.working_directory,
                stdin_open=True,
                detach=False,
                tty=False,
                host_config=host,
                healthcheck={"test": ["NONE"]},  # an image's own would run programs in our node
            )
            return str(made["Id"])

    def attach(self, container: str) -> AttachStream:
        """See `ContainerExecutor`."""
        link = self._link()
        raw, helper = connection.connect(link.endpoint)
        try:
            hijack(
                raw,
                f"/v{link.client.api_version}/containers/{container}/attach",
                {"stream": "1", "stdin": "1", "stdout": "1"},
            )
            return AttachStream(raw, helper)
        except BaseException:
            AttachStream(raw, helper).close()
            raise

    def start(self, container: str) -> None:
        """See `ContainerExecutor`."""
        with self._calls() as client:
            client.start(container)

    def inspect(self, container: str) -> Container | None:
        """See `ContainerExecutor`."""
        try:
            with self._calls() as client:
                found = client.inspect_container(container)
        except EngineError as error:
            if error.status == 404:
                return None
            raise
        state: dict[str, Any] = found["State"]
        return Container(
            id=found["Id"],
            running=bool(state.get("Running") or state.get("Paused") or state.get("Restarting")),
            exit_code=state.get("ExitCode"),
            out_of_memory=bool(state.get("OOMKilled")),
            memory_bytes=int((found.get("HostConfig") or {}).get("Memory") or 0),
            error=str(state.get("Error") or ""),
            labels=(found.get("Config") or {}).get("Labels") or {},
        )

    def signal(self, container: str, signal: str) -> None:
        """See `ContainerExecutor`."""
        with self._calls() as client:
            client.kill(container, signal)

    def remove(self, container: str) -> None:
        """See `ContainerExecutor`."""
        try:
            with self._calls() as client:
                client.remove_container(container, force=True, v=True)
        except EngineError as error:
            if error.status == 404 or (error.status == 409 and self.removed(container)):
                return
            raise

    def containers(self, label: str) -> Sequence[Container]:
        """See `ContainerExecutor`."""
        with self._calls() as client:
            found = client.containers(all=True, filters={"label": [label]})
        return [
            Container(
                id=one["Id"],
                running=one.get("State") in ("running", "paused", "restarting"),
                labels=one.get("Labels") or {},
            )
            for one in found
        ]

    def stat(self, container: str, path: str) -> tuple[int, str] | None:
        """See `ContainerExecutor`. A HEAD request, for which the SDK has no method of its own."""
        with self._calls() as client:
            answer = client.head(
                f"{client.base_url}/v{client.api_version}/containers/{quote(container)}/archive",
                params={"path": path},
                timeout=connection.CALL_S,
            )
        if answer.status_code == 404:
            return None
        header = answer.headers.get("X-Docker-Container-Path-Stat")
        if header is None:
            raise EngineError(answer.status_code, f"no description of {path}: {answer.reason}")
        found = json.loads(base64.b64decode(header))
        return int(found["mode"]), str(found.get("linkTarget") or "")


def _words(event: Mapping[str, Any]) -> str:
    """What an event of a build or a push says; progress bars say nothing.

    Raises:
        EngineError: the event is a failure.
    """
    if event.get("error"):
        raise EngineError(500, str(event["error"]))
    if event.get("progressDetail"):
        return ""
    status = str(event.get("status") or "")
    if status and event.get("id"):
        status = f"{event['id']}: {status}"
    return str(event.get("stream") or status)


def _describe(endpoint: Endpoint, client: APIClient) -> Engine:
    """Ask the engine what it is and what holds on this host."""
    with _translated(endpoint.url):
        info = client.info()
    options = [str(option) for option in info.get("SecurityOptions") or []]
    rootless = any(option.startswith("name=rootless") for option in options)
    # A rootless engine without delegated cgroups reports no limits itself (cgroup driver "none").
    confined = info.get("CgroupDriver") != "none" and not (
        rootless and str(info.get("CgroupVersion", "1")) == "1"
    )
    pids = confined and bool(info.get("PidsLimit"))
    notes = []
    cpus = confined and bool(info.get("CpuCfsQuota") and info.get("CpuCfsPeriod"))
    memory = confined and bool(info.get("MemoryLimit"))
    if not cpus:
        notes.append("Processor limits of a size are not enforced by this engine.")
    if not memory:
        notes.append("Memory limits of a size are not enforced by this engine.")
    if endpoint.url.startswith(("tcp:", "ssh:", "http")):
        notes.append("The engine is reached over a network: mounts need the same paths there.")
    return Engine(
        capabilities=Capabilities(
            version=str(info.get("ServerVersion", "unknown")),
            endpoint=endpoint.url,
            rootless=rootless,
            builds=True,
            enforces_cpus=cpus,
            enforces_memory=memory,
            enforces_pids=pids,
            notes=tuple(notes),
        ),
        remapped=any(option.startswith("name=userns") for option in options),
        selinux=any(option.startswith("name=selinux") for option in options),
    )


def _advice(found: Sequence[Endpoint], denied: bool) -> str:
    if denied:
        return (
            "You may not use the engine's socket. To change that: sudo usermod -aG docker $USER, then "
            "log in again; or use a rootless engine."
        )
    if len(found) == 1:
        return f"Check {found[0].origin}, or start the engine: sudo systemctl start docker"
    if not Path(SYSTEM_SOCKET).exists() and not any(
        Path(folder, "dockerd").exists() for folder in os.environ.get("PATH", "").split(os.pathsep)
    ):
        return _INSTALL
    return "To start it: sudo systemctl start docker (rootless: systemctl --user start docker)"
