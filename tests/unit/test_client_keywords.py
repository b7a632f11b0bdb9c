"""Keywords of `CloudClient` that it does not know."""

from __future__ import annotations

import pytest

from cfa.cloudops.errors import SettingError
from cfa.cloudops.local import CloudClient


@pytest.mark.promise(
    "CloudClient",
    "Keywords that mean nothing are accepted.",
    local="accepted, with a warning that names what may have been meant",
    cloud="ignored silently",
    difference="the warning",
)
@pytest.mark.parametrize(
    ("keyword", "says"),
    [
        ("backends", "Did you mean 'backend'?"),
        ("max_paralel", "Did you mean 'max_parallel'?"),
        ("nonsense", "Known are backend, storage, home"),
        ("azure_tenant_id", None),
        ("at_exit", None),
        ("exclude_cli_credential", None),
        ("exclude_managed_identity_credential", None),
    ],
)
def test_unknown_keywords(workdir, capsys, keyword, says):
    """A keyword that means nothing is accepted with a warning that names what it may stand for."""
    client = CloudClient(**{keyword: "wait"})
    client.close()
    out = capsys.readouterr().out
    if says is None:
        assert "[WARNING]" not in out
    else:
        assert f"does not know the keyword '{keyword}'" in out
        assert says in out


@pytest.mark.promise(
    "CloudClient",
    "A `dotenv_path` that does not exist is no error.",
    local="a line in the log, at level info",
    cloud="ignored silently",
    difference="the line",
)
def test_missing_dotenv(workdir, monkeypatch, capsys):
    """A named file that is not there is said once, at level info; `.env` here is not read for it."""
    (workdir / ".env").write_text("CLOUDOPS_MAX_PARALLEL=3\nAZURE_BATCH_ACCOUNT=acct\n")
    monkeypatch.setenv("LOG_LEVEL", "info")
    monkeypatch.delenv("AZURE_BATCH_ACCOUNT", raising=False)
    for missing in ("nosuch.env", "no/such/.env"):
        client = CloudClient(dotenv_path=missing, backend="subprocess")
        client.close()
        assert client._settings.max_parallel != 3
        assert client.cred.azure_batch_account is None
        out = capsys.readouterr().out
        assert out.count(f"The dotenv file '{missing}' does not exist") == 1
        assert "[INFO]" in out
        assert client.get_kv_secret("no-secret") is None


def test_unreadable_dotenv(workdir):
    """A file that is there and is no text is an error."""
    (workdir / "my.env").write_bytes(b"\xff\xfe=1")
    with pytest.raises(SettingError, match=r"my\.env.*cannot be read"):
        CloudClient(dotenv_path="my.env")
