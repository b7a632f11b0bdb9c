"""The facade: `CloudClient`, written once. `cfa.cloudops` and `cfa.cloudops.local` differ in defaults.

It checks, translates the cloud client's arguments into values, and delegates to a `BatchProvider` and
a `BlobProvider`. One module a subject: pools, jobs, schedules, tasks, listings, blobs, results,
images, look-ups.
"""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from cfa.cloudops import backends, settings
from cfa.cloudops.client import logs
from cfa.cloudops.client.credentials import CredentialHandler
from cfa.cloudops.client.dags import DagMixin
from cfa.cloudops.client.ending import shorten_tracebacks
from cfa.cloudops.client.farewell import Farewell
from cfa.cloudops.client.handles import (
    BatchHandle,
    BatchManagementHandle,
    BlobHandle,
    ComputeHandle,
    same_values,
)
from cfa.cloudops.client.images import ImageMixin
from cfa.cloudops.client.jobs import JobMixin
from cfa.cloudops.client.listings import ListingMixin
from cfa.cloudops.client.lookups import LookupMixin
from cfa.cloudops.client.parameters import ParameterMixin
from cfa.cloudops.client.pools import PoolMixin
from cfa.cloudops.client.results import ResultMixin
from cfa.cloudops.client.schedules import ScheduleMixin
from cfa.cloudops.client.tasks import TaskMixin
from cfa.cloudops.errors import InvalidInputError

if TYPE_CHECKING:
    from cfa.cloudops.provider.batch import BatchProvider
    from cfa.cloudops.provider.blob import BlobProvider
    from cfa.cloudops.rehearsal import Rehearsal
    from cfa.cloudops.settings import AtExit, ExistingJob, OnFailure

__all__ = [
    "CloudClient",
    "get_batch_management_client",
    "get_batch_service_client",
    "get_blob_service_client",
    "get_compute_management_client",
]

_log = logging.getLogger(__name__)

#: Attributes that each process has of its own.
_CONNECTIONS = frozenset(
    {
        "_blobs", "_batch", "batch_service_client", "batch_mgmt_client", "compute_mgmt_client",
        "blob_service_client", "rehearsal", "_farewell",
    }
)  # fmt: skip


class CloudClient(
    PoolMixin,
    JobMixin,
    ScheduleMixin,
    TaskMixin,
    ListingMixin,
    DagMixin,
    ParameterMixin,
    ResultMixin,
    ImageMixin,
    LookupMixin,
):
    """The pools, jobs, tasks and blob containers of a workspace.

    A client can be pickled and copied, for example for worker processes. The copy has the same
    settings, attributes and credentials. It connects to the same workspace and storage by itself.

    Args:
        keyvault: name of an Azure Key Vault; has an effect only on Azure. The local client reads what
            looks like a path as `dotenv_path`, which is the first argument of the cloud's local client.
        dotenv_path: file with settings, one line `NAME=value` per setting. Default: `.env` in the
            current directory. If the file does not exist, the log says so at level info.
        use_sp: use a service principal; has an effect only on Azure.
        use_federated: use the default credential chain; has an effect only on Azure.
        force_keyvault: values of the Key Vault win over others; has an effect only on Azure.
        backend: the variable `CLOUDOPS_BACKEND` as an argument, which wins over the variable, as do the
            arguments below.
        storage: `CLOUDOPS_STORAGE`.
        home: `CLOUDOPS_HOME`.
        isolation: `CLOUDOPS_ISOLATION`: `job` or `task`.
        max_parallel: `CLOUDOPS_MAX_PARALLEL`.
        at_exit: `CLOUDOPS_AT_EXIT`: `wait` or `detach`.
        existing_job: `CLOUDOPS_EXISTING_JOB`: `error`, `resume`, `replace` or `force-replace`; see
            `create_job`.
        on_failure: `CLOUDOPS_ON_FAILURE`: `show` or `exit`.
        registry: `CLOUDOPS_REGISTRY`.
        strict: `CLOUDOPS_STRICT`.
        **kwargs: names that begin with `azure_` are credentials of the cloud's client; they are kept in
            `cred`. Only `azure_blob_storage_account` has an effect on this machine: if it differs from
            AZURE_BLOB_STORAGE_ACCOUNT, the blob containers are in the folder `@<account>` of the
            storage root. Names that begin with `exclude_` choose among the ways to log in, and have no
            effect on this machine. Other names are ignored with a warning.

    Attributes:
        cred: the `azure_*` values, which a script for the cloud may read back.
        method: the way in which the cloud's client would log in: `env`, `sp` or `default`.
        batch_service_client: an argument for functions of `batch_helpers`, in place of the SDK's
            client. Any other use of it, and of the next three, raises an error that names the
            method of this class to use instead.
        batch_mgmt_client: the same for the management of pools.
        compute_mgmt_client: the same for VM sizes.
        blob_service_client: the same in calls of `blob_helpers`.
        pool_name: the pool of the latest `create_pool` or `create_job`.
        jobs: ids of the jobs that this client created or continued.
        save_logs_to_blob: blob container for the logs of the latest job; None if they are not
            saved.
        logs_folder: the folder for the logs in that container.
        task_id_ints: whether the ids of the latest job's tasks are numbers.
        task_id_max: number of the latest job's newest task.
        mounts: `source` and `target` of each mount of the pool of the latest task.
        full_container_name: image that this client built or named last; tasks that name none run in
            it.
        container_image_name: the same, with a scheme in front.
        container_registry_server: the registry of that image.
        registry_url: the same registry, with a scheme in front.
        rehearsal: the findings so far with `strict`; otherwise None.

    Raises:
        ValueError: `force_keyvault` without `keyvault`, or a setting with a bad value.
        BackendError: the backend cannot be used; the message says what to set or install instead.
        StoreError: the workspace cannot be used.
    """

    _default_backend: ClassVar[str] = "azure"

    def __init__(
        self,
        keyvault: str | os.PathLike[str] | None = None,
        dotenv_path: str | os.PathLike[str] | None = None,
        use_sp: bool = False,
        use_federated: bool = False,
        force_keyvault: bool = False,
        *,
        backend: str | None = None,
        storage: str | os.PathLike[str] | None = None,
        home: str | os.PathLike[str] | None = None,
        isolation: Literal["job", "task"] | None = None,
        max_parallel: int | None = None,
        at_exit: AtExit | None = None,
        existing_job: ExistingJob | None = None,
        on_failure: OnFailure | None = None,
        registry: str | None = None,
        strict: bool | None = None,
        **kwargs: str | bool | None,
    ) -> None:
        shorten_tracebacks()
        keyvault, dotenv_path = self._names(keyvault, dotenv_path)
        if force_keyvault and keyvault is None:
            raise InvalidInputError(
                "force_keyvault=True needs a key vault.", "Pass keyvault='<name>' as well."
            )
        given: dict[str, object] = {
            "backend": backend,
            "storage": storage,
            "home": home,
            "isolation": isolation,
            "max_parallel": max_parallel,
            "at_exit": at_exit,
            "existing_job": existing_job,
            "on_failure": on_failure,
            "registry": registry,
            "strict": strict,
        }
        logs.configure()
        dotenv = settings.read_dotenv(dotenv_path, required=False)
        self._dotenv_path = dotenv_path
        self._settings = settings.load(
            default_backend=self._default_backend,
            dotenv_path=dotenv_path,
            dotenv=dotenv,
            arguments={f"CLOUDOPS_{name.upper()}": _text(value) for name, value in given.items()},
        )
        _warn_of_unknown(kwargs, list(given))
        for remark in self._settings.remarks:
            _warn_once(*remark)
        if self._settings.backend != "auto":
            backends.choose(self._settings.backend)
        self.cred = _credentials(keyvault, dotenv, kwargs, override=not use_federated)
        self._storage_url = self._settings.storage
        if self.cred.azure_blob_storage_account:
            from cfa.cloudops.client import accounts  # most scripts name none

            self._storage_url = accounts.storage_url(
                self._storage_url, self.cred.azure_blob_storage_account
            )
        self._connect()
        self.method = "default" if use_federated else "sp" if use_sp else "env"
        self.cred.method = self.method
        self.full_container_name: str | None = None
        self.container_registry_server: str | None = None
        self.registry_url: str | None = None
        self.container_image_name: str | None = None
        self.pool_name: str | None = None
        self.mounts: list[dict[str, str]] | None = None
        self.save_logs_to_blob: str | None = None
        self.logs_folder = "stdout_stderr"
        self.task_id_ints = False
        self.task_id_max = 0
        self.jobs: set[str] = set()
        self._latest_job: str | None = None

    @classmethod
    def _names(
        cls,
        keyvault: str | os.PathLike[str] | None,
        dotenv_path: str | os.PathLike[str] | None,
    ) -> tuple[str | None, str | None]:
        """What is meant by the first two arguments."""
        return _text(keyvault), _text(dotenv_path)

    def _connect(self) -> None:
        """Open what cannot be handed to another process; see `_CONNECTIONS`."""
        self._blobs: BlobProvider = backends.load_storage(self._storage_url)
        self._batch: BatchProvider = backends.load_batch("local")(self._settings)
        self.batch_service_client = BatchHandle(self)
        self.batch_mgmt_client = BatchManagementHandle(self)
        self.compute_mgmt_client = ComputeHandle(self)
        self.blob_service_client = BlobHandle(self)
        self.rehearsal = _rehearsal(self._batch) if self._settings.strict else None
        at_end = self.rehearsal.close if self.rehearsal is not None else None
        self._farewell = Farewell(
            self._batch,
            self._settings.at_exit,
            at_end,
            existing_job=self._settings.existing_job,
            on_failure=self._settings.on_failure,
            workspace=str(self._settings.home),
        )

    def __getstate__(self) -> dict[str, Any]:
        """Settings and attributes, the values of `cred` among them; for `pickle` and `copy`."""
        return {name: value for name, value in vars(self).items() if name not in _CONNECTIONS}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Connect anew, to the same workspace and storage. What was added before is not waited for."""
        vars(self).update(state)
        logs.configure()
        self._connect()

    def __repr__(self) -> str:
        known = self._settings
        return (
            f"{type(self).__name__}(backend={known.backend!r}, home={str(known.home)!r}, "
            f"storage={self._storage_url!r})"
        )

    def _repr_html_(self) -> str:
        from cfa.cloudops.model import show  # for notebooks alone

        known = self._settings
        return show.record(
            {
                "backend": f"{known.backend} ({known.origins['CLOUDOPS_BACKEND']})",
                "workspace": known.home,
                "storage": self._storage_url,
                "latest pool": self.pool_name,
                "jobs of this client": ", ".join(sorted(self.jobs)),
            }
        )

    def close(self) -> None:
        """Close all connections. Tasks that were added continue; nothing is shown at exit."""
        self._farewell.cancel()
        self._batch.close()
        self._blobs.close()


def _warn_of_unknown(names: Iterable[str], known: Sequence[str]) -> None:
    """Say which keywords mean nothing: they may be misspelt settings."""
    for name in names:
        if name.startswith(("azure_", "exclude_")):
            continue
        import difflib  # only for a script that has a mistake

        near = difflib.get_close_matches(name, known, n=1)
        advice = f"Did you mean {near[0]!r}?" if near else f"Known are {', '.join(known)}."
        _log.warning("CloudClient does not know the keyword %r and ignores it. %s", name, advice)


@functools.cache
def _warn_once(what: str, advice: str) -> None:
    _log.warning("%s %s", what, advice)


def _rehearsal(batch: BatchProvider) -> Rehearsal:
    from cfa.cloudops.rehearsal import Rehearsal  # only strict clients load the rules

    return Rehearsal(batch, os.environ.get(settings.REPORT_VARIABLE))


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _credentials(
    keyvault: str | None, file: Mapping[str, str], fields: dict[str, Any], *, override: bool
) -> CredentialHandler:
    """Load the dotenv file into the environment, as the cloud's client does, and take the `azure_*`
    values out of it. `CLOUDOPS_*` entries stay out: for settings the environment wins.

    Args:
        keyvault: name of a key vault, not asked.
        file: entries of the dotenv file.
        fields: values given in code; they win.
        override: whether the file wins over the environment.
    """
    settings.export_dotenv(
        {
            name: value
            for name, value in file.items()
            if not name.startswith("CLOUDOPS_") and (override or name not in os.environ)
        }
    )
    return CredentialHandler(keyvault, fields, [os.environ])


def get_batch_service_client(credential_handler: Any = None, **kwargs: Any) -> BatchHandle:
    """`CloudClient(**kwargs).batch_service_client`, with the values of a credential handler."""
    return CloudClient(**same_values(credential_handler, kwargs)).batch_service_client


def get_batch_management_client(
    credential_handler: Any = None, **kwargs: Any
) -> BatchManagementHandle:
    """`CloudClient(**kwargs).batch_mgmt_client`."""
    return CloudClient(**same_values(credential_handler, kwargs)).batch_mgmt_client


def get_compute_management_client(credential_handler: Any = None, **kwargs: Any) -> ComputeHandle:
    """`CloudClient(**kwargs).compute_mgmt_client`."""
    return CloudClient(**same_values(credential_handler, kwargs)).compute_mgmt_client


def get_blob_service_client(credential_handler: Any = None, **kwargs: Any) -> BlobHandle:
    """`CloudClient(**kwargs).blob_service_client`."""
    return CloudClient(**same_values(credential_handler, kwargs)).blob_service_client
