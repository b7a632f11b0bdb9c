"""What tests of the command line share."""

from __future__ import annotations

import sys

import pytest

from cfa.cloudops.cli import main


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
