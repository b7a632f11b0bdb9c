"""`cloudops vm`, and the look-ups that are commands of their own."""

from __future__ import annotations

from typing import Annotated

import click
from click.exceptions import Exit

from cfa.cloudops.cli import output
from cfa.cloudops.cli.context import Json, Options, load_settings
from cfa.cloudops.cli.declare import Commands, argument, option
from cfa.cloudops.errors import BackendError, NotFoundError

commands = Commands()
root = Commands()


@commands.add()
def name(
    series: Annotated[str, option("--series", help="Letters of the series.")] = "D",
    cores: Annotated[int, option("--cores", help="Virtual cores.")] = 4,
    amd: Annotated[bool, option("--amd", help="An AMD processor.")] = False,
    no_temp_disk: Annotated[
        bool, option("--no-temp-disk", help="No local temporary disk.")
    ] = False,
    ssd: Annotated[bool, option("--ssd", help="Premium storage.")] = False,
    version: Annotated[int, option("--version", help="Version of the series.")] = 5,
    no_verify: Annotated[
        bool, option("--no-verify", help="Do not check that the family exists.")
    ] = False,
) -> None:
    """Print the name of a VM size. This works offline."""
    from cfa.cloudops.client.lookups import LookupMixin

    output.line(
        LookupMixin().get_vm_name(series, cores, amd, not no_temp_disk, ssd, version, not no_verify)
    )


@commands.add()
def quotas(
    series: Annotated[list[str] | None, option("--series", help="A series; repeatable.")] = None,
    more: Annotated[list[str] | None, argument(metavar="[SERIES]...", help="More series.")] = None,
    as_json: Json = False,
) -> None:
    """List the families of VM sizes with the cores of this machine."""
    from cfa.cloudops.client.lookups import LookupMixin

    lookups = LookupMixin()
    wanted = [*(series or ()), *(more or ())]
    found = lookups.get_vm_series_quotas(wanted) if wanted else lookups.get_all_vm_quotas()
    if as_json:
        output.document(found)
        return
    output.table(
        ("name", "quota"),
        ((one["name"], one["quota"]) for one in found),
        empty="no such series",
    )


@root.add()
def check_credentials(ctx: click.Context, as_json: Json = False) -> None:
    """Show which backends answer.

    Exit status: 5 if the backend that CLOUDOPS_BACKEND names does not answer, or with auto if none
    does.
    """
    from cfa.cloudops import backends

    chosen = load_settings(ctx).backend
    found = backends.overview()
    if as_json:
        output.document(found)
    else:
        output.table(
            ("backend", "state", "engine or reason"),
            ((one.name, one.state, one.why or one.engine) for one in found),
        )
    wanted = backends.AUTO_ORDER if chosen == "auto" else (chosen,)
    if not any(
        one.group == "executors" and one.name in wanted and one.state == "ready" for one in found
    ):
        output.note(
            f"tasks cannot run with CLOUDOPS_BACKEND={chosen}: 'cloudops doctor' says what to do"
        )
        raise Exit(BackendError.exit_status)


@root.add()
def get_kv_secret(
    ctx: click.Context,
    secret_name: Annotated[str, option("--secret-name", help="Name of the secret.")],
    keyvault: Annotated[
        str | None, option("--keyvault", help="The key vault; has no effect on this machine.")
    ] = None,
) -> None:
    """Print a secret from the environment or from the dotenv file.

    The variable has the name of the secret, either unchanged or in capitals with _ for -. Exit status:
    3 if the secret does not exist.
    """
    del keyvault
    from cfa.cloudops.client.lookups import secret

    value = secret(secret_name, (ctx.find_object(Options) or Options()).dotenv)
    if value is None:
        variable = secret_name.replace("-", "_").upper()
        raise NotFoundError(
            f"There is no secret {secret_name!r}.",
            f"Set {variable} in the environment or in the dotenv file.",
        )
    output.text(value)
