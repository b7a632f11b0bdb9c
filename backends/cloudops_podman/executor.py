"""The executor on Podman: the verbs of `ContainerExecutor`, in calls of Podman's API by its SDK."""

from __future__ import annotations

import base64
import json
import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import IO, TYPE_CHECKING, Any, ClassVar
from urllib.parse import quote

from attrs import evolve, frozen

from cfa.cloudops.errors import BackendNotInstalledError, BackendUnavailableError
from cfa.cloudops.provider.attach import AttachStream, EngineError, hijack
from cfa.cloudops.provider.container import (
    Container,
    Engine,
    Plan,
    PullProgress,
)
from cfa.cloudops.provider.executor import Capabilities, ImageInfo
from cfa.cloudops.provider.oci import ContainerExecutor, why
from cloudops_podman import logins, monitors, remembered, service, words
from cloudops_podman.service import Endpoint, OwnService, candidates

if TYPE_CHECKING:
    from podman.api.client import APIClient

#: Seconds that a call may take; Podman holds a lock per container and can be slow under load.
CALL_S = 60.0
#: Seconds that a pull or a push, and that a step of a build may be silent.
_PULL_STALL_S, _BUILD_STALL_S = 600.0, 3600.0
#: How often a state that cannot be read is asked for again: rootless Podman answers 500 at the
#: moment in which a container exits.
_INSPECT_TRIES = 5
#: How often, and with which growing pause in seconds, a container is removed that just ends.
_REMOVE_TRIES, _REMOVE_STEP_S = 5, 0.05


@frozen(kw_only=True)
class _Link:
    """A service that answered."""

    endpoint: Endpoint
    client: APIClient
    engine: Engine


class PodmanExecutor(ContainerExecutor):
    """Nodes are containers of Podman. Where no service answers, one is started while it is needed.

    Options:
        host: address of the service, as in `CONTAINER_HOST`, which is honoured otherwise, as is
            `CLOUDOPS_PODMAN_SOCKET`; then the usual sockets of root or of this user.
        idle_s: whole seconds after which a service that was started here leaves when nobody uses
            it; what keeps it from outliving a killed process for long.
        cap_add, pids_limit, no_new_privileges: see `provider.hardening`. Also by the environment
            variables `CLOUDOPS_PODMAN_CAP_ADD` and so on.
    """

    name: ClassVar[str] = "podman"

    def __init__(self, options: Mapping[str, str] | None = None) -> None:
        super().__init__(options)
        self._linking = threading.Lock()
        self._known: _Link | None = None
        self._own: OwnService | None = None
        self._networks: dict[str, str] = {}  # paths, by container

    # --- engine

    @property
    def service_pid(self) -> int | None:
        """Process of the service that this executor started, None when there is none."""
        with self._linking:
            return self._own.pid if self._own is not None else None

    def engine(self) -> Engine:
        """See `ContainerExecutor`."""
        return self._link().engine

    def forget(self) -> None:
        """See `Executor`."""
        known = candidates(self.options.get("host"), os.environ, os.getuid())
        for endpoint in (*known, service.own("")):
            remembered.forget(endpoint)

    def _link(self) -> _Link:
        with self._linking:
            if self._known is None:
                self._known = self._find()
            return self._known

    def _find(self) -> _Link:
        try:
            import podman.api.client  # noqa: F401
        except ImportError as error:
            raise BackendNotInstalledError(
                f"The podman backend needs Podman's SDK for Python: {error}.",
                "To install it: pip install podman",
            ) from None
        tried: list[str] = []
        found = candidates(self.options.get("host"), os.environ, os.getuid())
        for endpoint in found:
            try:
                return _open(endpoint)
            except (BackendUnavailableError, EngineError, OSError) as error:
                tried.append(f"{endpoint.url} ({endpoint.origin}): {why(error)}")
        if found[0].explicit:
            raise BackendUnavailableError(
                f"No Podman service answers. Tried {'; '.join(tried)}.",
                f"Check {found[0].origin}, or start the service: "
                + (
                    "systemctl start podman.socket"
                    if os.getuid() == 0
                    else "systemctl --user start podman.socket"
                ),
            )
        own = OwnService(int(self.options.get("idle_s", service.IDLE_S)))
        try:
            own.ensure()
            link = _open(own.endpoint)
        except BaseException:
            own.stop()
            raise
        self._own = own
        return link

    def _revive(self) -> bool:
        """Start our own service again after it left for being idle; whether there is one."""
        with self._linking:
            if self._own is None:
                return False
            self._own.ensure()
            return True

    def close(self) -> None:
        """See `Executor`."""
        with self._linking:
            if self._known is not None:
                self._known.client.close()
                self._known = None
            if self._own is not None:
                self._own.stop()
                self._own = None

    def _call(self, method: str, path: str, **arguments: Any) -> Any:
        """One exchange with the service; a refused connection revives our own service once.

        Raises:
            EngineError: the service's own words.
            BackendUnavailableError: it does not answer.
        """
        link = self._link()
        try:
            return _exchange(link, method, path, **arguments)
        except _NotConnected as error:
            if not self._revive():
                raise BackendUnavailableError(error.message, error.hint) from None
        return _exchange(link, method, path, **arguments)

    # --- images

    def find_image(self, image: str) -> ImageInfo | None:
        """See `ContainerExecutor`."""
        try:
            found = self._call("GET", f"/images/{quote(image, safe='')}/json").json()
        except EngineError as error:
            if error.status == 404:
                return None
            raise
        user = found.get("User") or (found.get("Config") or {}).get("User") or ""
        return ImageInfo(name=image, id=found["Id"], user=user)

    def pull_image(self, image: str, progress: PullProgress) -> None:
        """See `ContainerExecutor`. A short name that Podman cannot complete is Docker Hub's."""
        try:
            self._pull(image, progress)
        except EngineError as error:
            full = words.docker_hub_name(image)
            if full is None or "short-name" not in error.words:
                raise
            self._pull(full, progress)

    def _pull(self, image: str, progress: PullProgress) -> None:
        for text in self._stream(
            "/images/pull",
            params={"reference": image, "policy": "missing"},
            timeout=_PULL_STALL_S,
        ):
            progress(text.strip())

    def build(self, context: IO[bytes], dockerfile: str, tag: str) -> Iterator[str]:
        """See `EngineVerbs`. In Docker's format, which knows every instruction."""
        parameters = {
            "dockerfile": json.dumps([dockerfile]),
            "t": tag,
            "rm": "true",
            "forcerm": "true",
            "layers": "true",
            "outputformat": "application/vnd.docker.distribution.manifest.v2+json",
        }
        yield from self._stream(
            "/build",
            params=parameters,
            data=context,
            headers={"Content-Type": "application/x-tar"},
            timeout=_BUILD_STALL_S,
        )

    def tag(self, image: str, repository: str, tag: str) -> None:
        """See `EngineVerbs`."""
        path = f"/images/{quote(image, safe='')}/tag"
        self._call("POST", path, params={"repo": repository, "tag": tag})

    def push(self, repository: str, tag: str) -> Iterator[str]:
        """See `EngineVerbs`."""
        name = f"{repository}:{tag}"
        yield from self._stream(
            f"/images/{quote(name, safe='')}/push",
            params={"destination": name, "quiet": "false"},
            headers=logins.header(repository.partition("/")[0]),
            timeout=_PULL_STALL_S,
        )

    def image_names(self, repository: str) -> Sequence[str]:
        """See `EngineVerbs`."""
        filters = json.dumps({"reference": [repository]})
        found = self._call("GET", "/images/json", params={"filters": filters}).json()
        return [name for one in found or () for name in one.get("RepoTags") or ()]

    def has_login(self, server: str) -> bool:
        """See `Executor`."""
        return logins.known(server)

    def _stream(self, path: str, **arguments: Any) -> Iterator[str]:
        """What the service says to a long call, as it comes."""
        answer = self._call("POST", path, stream=True, **arguments)
        try:
            for line in answer.iter_lines():
                event = json.loads(line) if line else {}
                if event.get("error"):
                    raise EngineError(500, str(event["error"]))
                if event.get("stream"):
                    yield str(event["stream"])
        except (OSError, ValueError) as error:  # requests' own errors are OSErrors
            raise EngineError(500, f"the connection broke off: {error}") from None
        finally:
            answer.close()

    # --- containers

    def create(self, plan: Plan) -> str:
        """See `ContainerExecutor`."""
        network = self._network(plan.network_of) if plan.network_of else ""
        wanted = words.specification(plan, network)
        return str(self._call("POST", "/containers/create", json=wanted).json()["Id"])

    def _network(self, container: str) -> str:
        """The path of a container's network namespace."""
        path = self._networks.get(container)
        if path is None:
            try:
                found = self._call("GET", f"/containers/{container}/json").json()
            except EngineError as error:  # 404 would be taken for a missing image
                why_not = f"the network of the container {container[:12]} is gone: {error.words}"
                raise EngineError(500, why_not) from None
            path = str((found.get("NetworkSettings") or {}).get("SandboxKey") or "")
            if not path:
                raise EngineError(500, f"the container {container[:12]} has no network to share")
            self._networks[container] = path
        return path

    def attach(self, container: str) -> AttachStream:
        """See `ContainerExecutor`. Podman prepares the container here: a bad argv shows here."""
        link = self._link()
        try:
            raw = service.connect(link.endpoint)
        except (ConnectionRefusedError, FileNotFoundError):
            if not self._revive():
                raise
            raw = service.connect(link.endpoint)
        try:
            hijack(
                raw,
                f"{link.client.path_prefix}containers/{container}/attach",
                {"stream": "1", "stdin": "1", "stdout": "1"},
            )
            return AttachStream(raw)
        except BaseException:
            raw.close()
            raise

    def start(self, container: str) -> None:
        """See `ContainerExecutor`."""
        self._call("POST", f"/containers/{container}/start")

    def inspect(self, container: str) -> Container | None:
        """See `ContainerExecutor`."""
        for attempt in range(_INSPECT_TRIES):
            try:
                found = self._call("GET", f"/containers/{quote(container, safe='')}/json").json()
            except EngineError as error:
                if error.status == 404:
                    return None
                if error.status != 500 or attempt == _INSPECT_TRIES - 1:
                    raise
            else:
                return words.container(found)
        raise AssertionError("not reached")

    def signal(self, container: str, signal: str) -> None:
        """See `ContainerExecutor`."""
        self._call("POST", f"/containers/{container}/kill", params={"signal": signal})

    def remove(self, container: str) -> None:
        """See `ContainerExecutor`.

        A container that ends at the moment in which Podman kills it cannot be killed: Podman says
        so and leaves it. It is then asked again.
        """
        self._networks.pop(container, None)
        for attempt in range(_REMOVE_TRIES):
            try:
                self._call(
                    "DELETE",
                    f"/containers/{container}",
                    params={"force": "true", "v": "true", "timeout": "0"},
                )
                return
            except EngineError as error:
                if error.status == 404 or (error.status == 409 and self.removed(container)):
                    return
                if error.status != 500 or attempt == _REMOVE_TRIES - 1:
                    raise
                time.sleep(_REMOVE_STEP_S * attempt)

    def end_unstarted(self, container: str) -> None:
        """See `ContainerExecutor`."""
        monitors.end_unstarted(container)

    def containers(self, label: str) -> Sequence[Container]:
        """See `ContainerExecutor`."""
        filters = json.dumps({"label": [label]})
        found = self._call(
            "GET", "/containers/json", params={"all": "true", "filters": filters}
        ).json()
        return [
            Container(
                id=one["Id"],
                running=str(one.get("State", "")).lower() not in words.ENDED,
                labels=one.get("Labels") or {},
            )
            for one in found or ()
        ]

    def stat(self, container: str, path: str) -> tuple[int, str] | None:
        """See `ContainerExecutor`."""
        try:
            answer = self._call("HEAD", f"/containers/{container}/archive", params={"path": path})
        except EngineError as error:
            if error.status == 404:
                return None
            raise
        found = json.loads(base64.b64decode(answer.headers["X-Docker-Container-Path-Stat"]))
        return int(found["mode"]), str(found.get("linkTarget") or "")


class _NotConnected(BackendUnavailableError):
    """No connection was made: nothing was sent, so the call can be made again."""


def _exchange(link: _Link, method: str, path: str, **arguments: Any) -> Any:
    """One exchange; the SDK's errors become ours."""
    import podman.errors
    import requests

    if "json" in arguments:
        arguments["data"] = json.dumps(arguments.pop("json"))
        arguments["headers"] = {"Content-Type": "application/json"}
    arguments.setdefault("timeout", CALL_S)
    hint = "Check whether it is running, for instance with: podman info"
    try:
        # First without the SDK, which hides why it cannot connect and leaves a socket open then.
        service.connect(link.endpoint).close()
    except OSError as error:
        raise _NotConnected(
            f"Podman at {link.endpoint.url} does not answer: {why(error)}.", hint
        ) from None
    try:
        send = getattr(link.client, method.lower())
        answer = send(path, **arguments)
        answer.raise_for_status()
        return answer
    except podman.errors.APIError as error:
        if isinstance(error.__cause__, requests.ReadTimeout):
            raise BackendUnavailableError(
                f"Podman at {link.endpoint.url} does not answer within {arguments['timeout']:g} s.",
                hint,
            ) from None
        if error.response is None:
            raise _NotConnected(
                f"Podman at {link.endpoint.url} does not answer: {why(error)}.", hint
            ) from None
        raise EngineError(error.response.status_code, str(error.explanation or error)) from None
    except (requests.RequestException, podman.errors.PodmanError, OSError) as error:
        raise BackendUnavailableError(
            f"Podman at {link.endpoint.url} does not answer: {why(error)}.", hint
        ) from None


def _open(endpoint: Endpoint) -> _Link:
    """Connect and ask the service what it is."""
    from podman.api.client import APIClient

    service.connect(endpoint).close()  # the SDK's own error would hide why
    client = APIClient(base_url=endpoint.url)
    link = _Link(
        endpoint=endpoint,
        client=client,
        engine=Engine(capabilities=Capabilities(version="", endpoint=endpoint.url)),
    )
    try:
        # Whether anybody is there shows soon; what it is, a busy machine takes its time to say.
        _exchange(link, "GET", "/_ping", timeout=service.CONNECT_S)
        engine = _remembered(endpoint)
        if engine is None:
            info = _exchange(link, "GET", "/info").json()
            engine = words.describe(endpoint, info)
            remembered.keep(endpoint, info)
    except BaseException:
        client.close()
        raise
    return evolve(link, engine=engine)


def _remembered(endpoint: Endpoint) -> Engine | None:
    known = remembered.find(endpoint)
    if known is None:
        return None
    try:
        return words.describe(endpoint, known)
    except (LookupError, TypeError, AttributeError, ValueError):  # nothing that Podman said
        return None
