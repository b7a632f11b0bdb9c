"""Keywords of `CloudClient` that it does not know."""

from __future__ import annotations

import pytest

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
