"""Look-ups: what the cloud would be asked about itself, answered for this machine."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Sequence
from typing import Any

from attrs import Factory, frozen

from cfa.cloudops import backends, settings
from cfa.cloudops.errors import CloudOpsError, InvalidInputError

_log = logging.getLogger(__name__)


@frozen
class ImageReference:
    """Names an operating system as the cloud does."""

    publisher: str
    offer: str
    sku: str
    version: str = "latest"


@frozen
class SupportedImage:
    """An operating system of nodes, with the fields that the cloud's own objects have."""

    node_agent_sku_id: str
    image_reference: ImageReference
    os_type: str
    verification_type: str = "verified"
    capabilities: Sequence[str] = Factory(list)


class LookupMixin:
    """Methods of `CloudClient` that look something up."""

    _dotenv_path: str | None

    def check_credentials(self) -> None:
        """Log which backends answer, at level info. Never raises an error."""
        try:
            for one in backends.overview():
                _log.info("%s %s: %s", one.group, one.name, " ".join(_words(one)))
        except Exception as error:  # noqa: BLE001  promised: it only informs
            _log.error("The backends cannot be listed: %s: %s", type(error).__name__, error)

    def get_kv_secret(self, secret_name: str, keyvault: str | None = None) -> str | None:
        """Read a secret from the environment or from the dotenv file.

        The variable for `my-secret` is `MY_SECRET`, `my_secret` or `my-secret`, in this order. The
        environment wins. If none is set, the log says so, and the result is None. The value is
        never logged.

        Args:
            secret_name: name of the secret.
            keyvault: the key vault; has no effect on this machine.
        """
        del keyvault
        value = secret(secret_name, self._dotenv_path)
        if value is None:
            _log.error(
                "There is no secret %r: set %s in the environment or in the dotenv file.",
                secret_name,
                str(secret_name).replace("-", "_").upper(),
            )
        return value

    def get_all_vm_quotas(self) -> list[dict[str, Any]]:
        """List the families of VM sizes with the cores of this machine: `[{"name", "quota"}, ...]`."""
        from cfa.cloudops.model import sizes

        return [{"name": family, "quota": settings.cores()} for family in sizes.families()]

    def get_vm_series_quotas(self, series: str | Sequence[str]) -> list[dict[str, Any]]:
        """Do the same as `get_all_vm_quotas` for the families of one or several series.

        Args:
            series: one or several beginnings of names after `standard`, such as `D` or `DADS`, in
                lower or upper case.

        Raises:
            ValueError: a series is not a text.
        """
        given: Any = series
        wanted = [given] if isinstance(given, str) or not isinstance(given, Iterable) else [*given]
        if not all(isinstance(one, str) for one in wanted):
            raise InvalidInputError(
                f"series={series!r} is not the name of a VM series.", "Pass text, or a list of it."
            )
        found = self.get_all_vm_quotas()
        return [
            quota
            for one in wanted
            for quota in found
            if quota["name"].lower().startswith(f"standard{one.lower()}")
        ]

    def get_vm_name(
        self,
        series: str = "D",
        cores: int = 4,
        amd: bool = False,
        temp_disk: bool = True,
        ssd: bool = False,
        version: int = 5,
        verify: bool = True,
    ) -> str:
        """Return the name of a VM size: `standard_<SERIES><cores>[a][d][s]_v<version>`.

        This works offline.

        Args:
            series: letters of the series.
            cores: virtual cores.
            amd: `a`, an AMD processor.
            temp_disk: `d`, a local temporary disk.
            ssd: `s`, premium storage.
            version: version of the series.
            verify: check that the family is in the list that comes with this package.

        Raises:
            ValueError: the family does not exist. The message names up to four similar ones.
        """
        from cfa.cloudops.model import sizes

        if not verify:
            return sizes.construct_vm_name(series, cores, amd, temp_disk, ssd, version)
        name = sizes.verified_vm_name(series, cores, amd, temp_disk, ssd, version)
        if not sizes.has_size(name):
            _log.warning("The family of %s is known, but not a size of %s cores.", name, cores)
        return name

    def list_available_images(self, operating_system: str | None = None) -> list[SupportedImage]:
        """List the operating systems of nodes, which is only that of this machine.

        These are not container images.

        Args:
            operating_system: `linux`, in lower or upper case; any other text means Windows.
                Default: all.

        Raises:
            ValueError: the value is not a text.
        """
        if operating_system is not None and not isinstance(operating_system, str):
            raise InvalidInputError(
                f"operating_system={operating_system!r} is not a text.",
                "Pass 'linux', or leave it out.",
            )
        found = [_this_machine()]
        if not operating_system:
            return found
        wanted = "linux" if operating_system.lower() == "linux" else "windows"
        return [one for one in found if one.os_type == wanted]


def secret(name: Any, dotenv_path: str | None) -> str | None:
    """A secret by its name in a key vault; see `get_kv_secret`."""
    if not isinstance(name, str) or not name:
        return None
    try:
        dotenv = settings.read_dotenv(dotenv_path, required=False)
    except CloudOpsError as error:
        _log.error("%s", error)
        dotenv = {}
    plain = name.replace("-", "_")
    for source in (os.environ, dotenv):
        for variable in (plain.upper(), plain, name):
            if value := source.get(variable):
                return value
    return None


def _words(one: backends.BackendInfo) -> list[str]:
    return [text for text in (one.state, one.engine, one.why) if text]


def _this_machine() -> SupportedImage:
    import platform

    try:
        release = platform.freedesktop_os_release()
    except OSError:  # no file says what it is
        release = {}
    system = platform.system().lower()
    name = release.get("ID", system)
    version = release.get("VERSION_ID", platform.release())
    return SupportedImage(
        node_agent_sku_id=f"batch.node.{name} {version}",
        image_reference=ImageReference(publisher=name, offer=name, sku=version),
        os_type="windows" if system == "windows" else "linux",
    )
