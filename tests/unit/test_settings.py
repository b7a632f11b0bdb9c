"""Settings: which source wins, and what a bad value gets."""

from __future__ import annotations

import os

import pytest

from cfa.cloudops import settings
from cfa.cloudops.errors import SettingError
from cfa.cloudops.model.sizes import GIB, limits, resources, vm_name
from cfa.cloudops.model.values import Isolation, Resources


def load(monkeypatch, tmp_path, dotenv="", arguments=None, **environment):
    monkeypatch.chdir(tmp_path)
    if dotenv:
        (tmp_path / ".env").write_text(dotenv)
    return settings.load(default_backend="auto", arguments=arguments, environment=environment)


def test_defaults(monkeypatch, tmp_path):
    """With nothing set: this directory, every core, one container a job, wait at exit."""
    found = load(monkeypatch, tmp_path)
    assert found.backend == "auto"
    assert found.storage == f"file://{tmp_path}"
    assert found.home == tmp_path / ".cloudops"
    assert found.isolation is Isolation.JOB
    assert found.max_parallel == settings.cores()
    assert found.at_exit == "wait"
    assert (found.existing_job, found.on_failure) == ("error", "show")
    assert set(found.origins.values()) == {"default"}
    assert set(found.origins) == set(settings.VARIABLES)


@pytest.mark.parametrize(
    ("argument", "environment", "dotenv", "expected", "origin"),
    [
        ("docker", "podman", "subprocess", "docker", "argument"),
        (None, "podman", "subprocess", "podman", "environment"),
        (None, None, "subprocess", "subprocess", ".env"),
        (None, "", "subprocess", "subprocess", ".env"),
        (None, None, None, "auto", "default"),
    ],
)
def test_precedence(monkeypatch, tmp_path, argument, environment, dotenv, expected, origin):
    """Arguments win over the environment, that over `.env`, that over defaults; empty is not set."""
    found = load(
        monkeypatch,
        tmp_path,
        dotenv=f"CLOUDOPS_BACKEND={dotenv}\n" if dotenv else "",
        arguments={"CLOUDOPS_BACKEND": argument},
        **({} if environment is None else {"CLOUDOPS_BACKEND": environment}),
    )
    assert (found.backend, found.origins["CLOUDOPS_BACKEND"]) == (expected, origin)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CLOUDOPS_ISOLATION", "jobs"),
        ("CLOUDOPS_MAX_PARALLEL", "0"),
        ("CLOUDOPS_MAX_PARALLEL", "many"),
        ("CLOUDOPS_MAX_PARALLEL", "-2"),
        ("CLOUDOPS_AT_EXIT", "stay"),
        ("CLOUDOPS_EXISTING_JOB", "keep"),
        ("CLOUDOPS_ON_FAILURE", "raise"),
        ("CLOUDOPS_REGISTRY", "my acr"),
        ("CLOUDOPS_AGENT_IDLE_S", "soon"),
        ("CLOUDOPS_AGENT_IDLE_S", "nan"),
        ("CLOUDOPS_AGENT_IDLE_S", "inf"),
        ("CLOUDOPS_AGENT_IDLE_S", "-5"),
    ],
)
def test_bad_values(monkeypatch, tmp_path, name, value):
    """A bad value is an error that names the variable, the value and where it came from."""
    with pytest.raises(SettingError, match=rf"{name}='{value}' \(from environment\)") as caught:
        load(monkeypatch, tmp_path, **{name: value})
    assert caught.value.hint


@pytest.mark.parametrize(
    ("given", "expected"),
    [("", ""), ("None", "none"), ("myacr", "myacr.azurecr.io"), ("localhost:5", "localhost:5")],
)
def test_registries(monkeypatch, tmp_path, given, expected):
    """The registry for pushes is a server, `none`, or left to the engine's logins."""
    assert load(monkeypatch, tmp_path, CLOUDOPS_REGISTRY=given).registry == expected


def test_missing_dotenv(tmp_path):
    """A dotenv file that was named must exist."""
    with pytest.raises(SettingError, match=r"no\.env.*does not exist"):
        settings.load(default_backend="auto", dotenv_path=tmp_path / "no.env", environment={})


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("file:", "file://{here}"),
        ("file:data", "file://{here}/data"),
        ("data", "file://{here}/data"),
        ("/srv/data", "file:///srv/data"),
        ("file:///srv/data", "file:///srv/data"),
        ("file://localhost/srv/data", "file:///srv/data"),
        ("FILE:/srv/data", "file:///srv/data"),
        ("memory://x", "memory://x"),
    ],
)
def test_storage_roots(monkeypatch, tmp_path, given, expected):
    """A storage root is absolute, so that a later change of directory does not move it."""
    found = load(monkeypatch, tmp_path, CLOUDOPS_STORAGE=given)
    assert found.storage == expected.format(here=tmp_path)


@pytest.mark.parametrize(
    ("size", "name", "cores", "gib"),
    [
        ("xsmall", "Standard_D2ads_v5", 2, 8),
        ("Small", "Standard_D4ads_v5", 4, 16),
        ("medium_amd", "Standard_D8ads_v5", 8, 32),
        ("standard_d4ads_v5", "standard_d4ads_v5", 4, 16),
        ("Standard_E16s_v5", "Standard_E16s_v5", 16, 128),
        ("standard_f2s_v2", "standard_f2s_v2", 2, 4),
    ],
)
def test_sizes(size, name, cores, gib):
    """VM sizes have the cores and memory that the cloud documents."""
    assert vm_name(size) == name
    assert resources(size) == Resources(cores, gib * GIB)


def test_limits():
    """Limits count all nodes of a pool together and leave out what the machine has less of."""
    machine = Resources(8, 24 * GIB)
    assert limits("xsmall", 1, machine) == Resources(2, 8 * GIB)
    assert limits("xsmall", 3, machine) == Resources(6, None)
    assert limits("xlarge", 1, machine) == Resources(None, None)
    assert limits("my-own-size", 1, machine) == Resources()


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
def test_no_file(monkeypatch, tmp_path, caplog, make):
    """A `.env` that is no file is named in one line; one that was asked for is an error."""
    make(tmp_path / ".env")
    load(monkeypatch, tmp_path)
    assert caplog.messages == [
        "The dotenv file '.env' is not an ordinary file: no settings come from it."
    ]
    with pytest.raises(SettingError, match="is not an ordinary file"):
        settings.load(default_backend="auto", dotenv_path=tmp_path / ".env", environment={})
