"""Names of the cloud package that have no meaning away from Azure: they import, and say so when used."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

from cfa.cloudops.errors import UnsupportedError


def azure_only(name: str, instead: str) -> Callable[..., NoReturn]:
    """A function that stands for one that needs Azure.

    Args:
        name: its full name below `cfa.cloudops`.
        instead: what to do here, a sentence.
    """

    def call(*args: Any, **kwargs: Any) -> NoReturn:
        del args, kwargs
        raise UnsupportedError(f"{name} works on Azure only.", instead)

    call.__name__ = call.__qualname__ = name.rpartition(".")[2]
    call.__module__ = f"cfa.cloudops.{name.rpartition('.')[0]}".rstrip(".")
    call.__doc__ = f"Only on Azure. {instead}"
    call.azure_only = True  # type: ignore[attr-defined]  # read by the table of names
    return call


class AzureOnly:
    """A class that needs Azure: it can be imported and subclassed, not made."""

    azure_only = True
    _instead = "Use CloudClient."

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        del args, kwargs
        raise UnsupportedError(f"{type(self).__name__} works on Azure only.", self._instead)


class ContainerAppClient(AzureOnly):
    """Only on Azure: runs jobs of Azure Container Apps."""

    _instead = (
        "Container Apps exist only on Azure: run the script there, or run the program as a task of "
        "CloudClient."
    )


class FunctionAppClient(AzureOnly):
    """Only on Azure: deploys Azure Functions."""

    _instead = (
        "Function Apps exist only on Azure: run the script there, or use create_job_schedule of "
        "CloudClient for what runs at set times."
    )


# What scripts call on the class itself.
for _name in (
    "get_configuration",
    "get_function_details",
    "get_health_check_flag",
    "get_tags",
    "list_functions",
    "list_production_deployment_status",
    "list_slots",
):
    _answer = azure_only(f"FunctionAppClient.{_name}", FunctionAppClient._instead)
    setattr(FunctionAppClient, _name, staticmethod(_answer))
