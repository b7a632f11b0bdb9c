"""`cloudops status`, and `cloudops` without a command."""

from __future__ import annotations

import json
import sys

import pytest

from cfa.cloudops import settings
from cfa.cloudops.cli import main
from cfa.cloudops.model.values import JobSpec, PoolSpec, TaskSpec
from cfa.cloudops.service.link import Link
from cfa.cloudops.service.local import LocalBatch

MANY = 12


@pytest.fixture
def cloudops(workdir, monkeypatch, capsys):
    """Runs a command in this process; returns status, standard output and standard error."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["cloudops", *arguments])
        with pytest.raises(SystemExit) as leaving:
            main()
        shown = capsys.readouterr()
        return leaving.value.code or 0, shown.out, shown.err

    return call


@pytest.fixture
def batch(workdir, monkeypatch):
    """The service of a workspace in which no agent runs."""
    monkeypatch.setattr(Link, "wake", lambda self: None)
    made = LocalBatch(settings.load(default_backend="subprocess"))
    made.create_pool(PoolSpec(id="p", backend="subprocess"))
    yield made
    made.close()


class TestStatus:
    """One screen about a workspace."""

    @pytest.mark.parametrize("words", [(), ("status",)])
    def test_shown(self, cloudops, batch, workdir, words):
        """Workspace, backend, pools, agent and jobs are shown; without a command as well."""
        batch.create_job(JobSpec(id="fit", pool_id="p"))
        batch.add_tasks("fit", [TaskSpec(id="a", command_line="true")])
        status, out, err = cloudops(*words)
        assert (status, err) == (0, "")
        lines = out.splitlines()
        assert lines[0] == f"workspace  {workdir / '.cloudops'}"
        assert lines[1].startswith("backend    ")
        assert lines[2] == "pools      p on subprocess"
        assert lines[3].startswith("agent      none")
        assert lines[5].split()[:3] == ["JOB", "STATE", "ACTIVE"]
        assert lines[6].split()[:3] == ["fit", "active", "1"]

    def test_many_jobs(self, cloudops, batch):
        """Of many jobs the newest are shown, and how to see the others."""
        for number in range(MANY):
            batch.create_job(JobSpec(id=f"job{number}", pool_id="p"))
        out = cloudops()[1]
        assert "job11" in out
        assert "job3 " not in out
        assert "... and 4 more: cloudops job list" in out

    def test_json(self, cloudops, batch, workdir):
        """As JSON it is one document."""
        found = json.loads(cloudops("--json")[1])
        assert found["workspace"] == str(workdir / ".cloudops")
        assert found["agent"]["state"] == "none"
        assert (found["pools"], found["jobs"]) == ({"p": "subprocess"}, [])

    def test_nothing_yet(self, cloudops, batch):
        """A workspace without jobs is shown."""
        status, out, err = cloudops("status")
        assert (status, err) == (0, "cloudops: no jobs\n")
        assert "pools      p on subprocess" in out

    def test_without_a_workspace(self, cloudops, workdir):
        """Where there is none, `cloudops` shows its help, and `cloudops status` says so."""
        status, out, err = cloudops()
        assert status == 2
        assert "Run and watch:" in out + err
        status, _, err = cloudops("status")
        assert status == 3
        assert "no workspace here" in err
        assert cloudops("--home", "elsewhere")[0] == 3
        assert not list(workdir.iterdir())
