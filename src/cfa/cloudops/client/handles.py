"""What stands for the cloud's SDK clients: `client.batch_service_client` and its kin.

Scripts hand them to the functions of `cfa.cloudops.batch_helpers`, `blob_helpers` and so on, which
work with them as on the cloud. They are not SDK clients: an attribute that is not offered is an error
that says which call of `CloudClient` does the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from cfa.cloudops.errors import NotOfferedError
from cfa.cloudops.model import names

if TYPE_CHECKING:
    from cfa.cloudops.client import CloudClient
    from cfa.cloudops.provider.batch import BatchProvider
    from cfa.cloudops.provider.blob import BlobProvider


class Handle:
    """Stands for a client of the cloud's SDK; carries the `CloudClient` that it belongs to."""

    #: The attribute of `CloudClient`.
    attribute: ClassVar[str]
    #: Attributes of the SDK's client -> the call that does the same.
    instead: ClassVar[Mapping[str, str]] = {}

    def __init__(self, cloud_client: CloudClient) -> None:
        self.cloud_client = cloud_client

    def __reduce__(self) -> tuple[Any, ...]:
        return getattr, (self.cloud_client, self.attribute)

    @property
    def batch_provider(self) -> BatchProvider:
        """The service behind the client."""
        return self.cloud_client._batch

    @property
    def blob_provider(self) -> BlobProvider:
        """The storage behind the client."""
        return self.cloud_client._blobs

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # asked by copy, pickle, notebooks: no user means it
            raise AttributeError(name)
        call = self.instead.get(name)
        raise NotOfferedError(
            f"{self.attribute}.{name} belongs to the Azure SDK and is not available on this machine.",
            f"Use {call}."
            if call
            else "Use the methods of CloudClient; help(CloudClient) lists them.",
        )

    def __repr__(self) -> str:
        return f"<{self.attribute} of {type(self.cloud_client).__name__}>"


class BatchHandle(Handle):
    """Stands for the Batch service's client."""

    attribute = "batch_service_client"
    instead: ClassVar[Mapping[str, str]] = {
        "get_job": "client.check_job_status(job_name)",
        "list_jobs": "client.list_jobs()",
        "begin_delete_job": "client.delete_job(job_name)",
        "delete_job": "client.delete_job(job_name)",
        "begin_terminate_job": "'cloudops job terminate'",
        "get_job_task_counts": "batch_helpers.get_completed_tasks(job_name, batch_client)",
        "get_task": "client.get_task_status(job_name, task_id)",
        "list_tasks": "client.list_tasks(job_name)",
        "get_task_file": "client.read_task_output(job_name, task_id)",
        "create_pool": "client.create_pool(pool_name, ...)",
        "get_pool": "batch_helpers.get_pool_full_info(..., client.batch_mgmt_client)",
        "list_pools": "client.list_pools()",
        "begin_delete_pool": "client.delete_pool(pool_name)",
        "create_job_schedule": "client.create_job_schedule(...)",
        "begin_delete_job_schedule": "client.delete_job_schedule(job_schedule_id)",
        "disable_job_schedule": "client.suspend_job_schedule(job_schedule_id)",
        "enable_job_schedule": "client.resume_job_schedule(job_schedule_id)",
        "list_supported_images": "client.list_available_images()",
    }  # fmt: skip

    def create_job(self, job: Any) -> None:
        """Make a job of one of the SDK's objects; a pool that does not exist is accepted.

        Raises:
            ValueError: it has no id or no pool. RuntimeError: the id is taken.
            NotImplementedError: the object has a part that is not offered here.
        """
        from cfa.cloudops.client import sdk  # most scripts have no such objects

        arguments = sdk.job_arguments(job)
        sdk.check_pool(arguments)
        self.cloud_client.create_job(**arguments, verify_pool=False)

    def create_task(self, job_id: str, task: Any) -> None:
        """Add a task that `cfa.cloudops.task.get_task_config` made, or one of the SDK's objects.

        Raises:
            ValueError: no such job, a task that cannot be added. RuntimeError: the id is taken.
            NotImplementedError: the object has a part that is not offered here.
        """
        self.create_task_collection(job_id, [task])

    def create_task_collection(self, job_id: str, task_collection: Sequence[Any]) -> None:
        """Add such tasks, all or none."""
        from cfa.cloudops.client import sdk  # most scripts have no such objects

        specs = [
            task.spec() if callable(getattr(task, "spec", None)) else sdk.task_spec(task)
            for task in task_collection
        ]
        self.cloud_client._add(names.job_id(job_id), specs)

    #: The name that the SDK gives the same call.
    create_tasks = create_task_collection


class BatchManagementHandle(Handle):
    """Stands for the client that manages the Batch account."""

    attribute = "batch_mgmt_client"
    instead: ClassVar[Mapping[str, str]] = {
        "pool": "client.create_pool, client.delete_pool and batch_helpers.get_pool_full_info",
        "location": "client.get_all_vm_quotas()",
        "batch_account": "nothing: there is no Batch account on this machine",
    }


class ComputeHandle(Handle):
    """Stands for the client of the cloud's virtual machines."""

    attribute = "compute_mgmt_client"
    instead: ClassVar[Mapping[str, str]] = {
        "resource_skus": "client.get_vm_name()",
        "usage": "client.get_all_vm_quotas()",
    }


class BlobHandle(Handle):
    """Stands for the storage account's client."""

    attribute = "blob_service_client"
    instead: ClassVar[Mapping[str, str]] = {
        "create_container": "client.create_blob_container(name)",
        "get_blob_client": "blob_helpers.read_blob_stream and write_blob_stream",
        "delete_container": "a removal of the folder that is the container",
    }

    def get_container_client(self, container: str) -> ContainerHandle:
        """A handle of one container, which need not exist."""
        return ContainerHandle(self.blob_provider, names.blob_container(container))


class ContainerHandle:
    """Stands for the SDK's client of one blob container."""

    def __init__(self, provider: BlobProvider, container_name: str) -> None:
        self.blob_provider = provider
        self.container_name = container_name

    def exists(self) -> bool:
        """Whether the container is there."""
        return self.blob_provider.container_exists(self.container_name)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        raise NotOfferedError(
            f"A container's {name} belongs to the Azure SDK and is not available on this machine.",
            "Use the functions of cfa.cloudops.blob_helpers or the methods of CloudClient.",
        )


def same_values(credential_handler: Any, keywords: Mapping[str, Any]) -> dict[str, Any]:
    """Keywords of a `CloudClient` that has the values of a credential handler."""
    values = vars(credential_handler) if credential_handler is not None else {}
    fields = {name: value for name, value in values.items() if name.startswith("azure_")}
    return {**fields, **keywords}
