"""The advice to run a script afresh names the command that does so, or none."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile

import pytest

from cfa.cloudops.report import PREFIX

SAY = "from cfa.cloudops.client.rerun import fresh_run\nprint(fresh_run())\n"
RUN = "cloudops run --fresh"


@pytest.fixture
def scripts(workdir):
    """Scripts and a module that print the advice."""
    (workdir / "my script.py").write_text(SAY)
    (workdir / "pkg").mkdir()
    (workdir / "pkg" / "main.py").write_text(SAY)
    (workdir / "plot").write_text(SAY)
    (workdir / "test_it.py").write_text(f"def test_it():\n    {SAY.replace(chr(10), '; ')}\n")
    (workdir / "spawn.py").write_text(
        "import multiprocessing\n"
        "from cfa.cloudops.client.rerun import fresh_run\n"
        "def say(): print(fresh_run())\n"
        "if __name__ == '__main__':\n"
        "    child = multiprocessing.get_context('spawn').Process(target=say)\n"
        "    child.start()\n"
        "    child.join()\n"
    )
    return workdir


def said(*words, given=""):
    """What Python, started with these words, prints."""
    return subprocess.run(
        [sys.executable, *words],
        input=given,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    ).stdout


@pytest.mark.parametrize(
    ("words", "command"),
    [
        (["my script.py", "--rate", "3"], f"{RUN} 'my script.py' --rate 3"),
        (["my script.py", "a b", "$HOME", ""], f"{RUN} 'my script.py' 'a b' '$HOME' ''"),
        (["-m", "pkg.main", "--rate", "3"], f"{RUN} -m pkg.main --rate 3"),
        (["plot"], f"{RUN} plot"),
        (
            ["-W", "error::ImportWarning", "-u", "plot", "-m"],
            f"{RUN} -- {shlex.quote(sys.executable)} -W error::ImportWarning -u plot -m",
        ),
        (["-um", "pkg.main"], f"{RUN} -- {shlex.quote(sys.executable)} -um pkg.main"),
        (["-i", "plot"], f"{RUN} -- {shlex.quote(sys.executable)} -i plot"),
    ],
    ids=str,
)
def test_the_same_command(scripts, words, command):
    """It is the command that was typed: script or module, with its arguments and Python's options."""
    assert said(*words) == f"{command}\n"


@pytest.mark.parametrize(
    "words",
    [["-c", SAY], ["-Bc", SAY], ["-"], ["-u"], ["my script.py", "\x1b[31m"], ["spawn.py"]],
    ids=str,
)
def test_no_command(scripts, words):
    """Nothing is said of what is in no file, of a worker, and of what cannot be shown as it is."""
    assert said(*words, given=SAY) == "\n"


def test_other_programs(scripts):
    """Nothing is said where a program runs what the user wrote: a test, a command of ours."""
    shown = said("-m", "pytest", "-p", "no:cacheprovider", "-q", "-s", "test_it.py")
    assert "cloudops run" not in shown
    (scripts / "plot").write_text(f"import cfa.cloudops.cli\n{SAY}")
    assert said("plot") == "\n"


@pytest.mark.parametrize(
    ("words", "command"),
    [
        (
            ["--home", "my home", "run", "--backend", "subprocess", "my script.py", "--force"],
            "cloudops --home 'my home' run --fresh --backend subprocess 'my script.py' --force",
        ),
        (["run", "--strict", "-m", "pkg.main", "3"], f"{RUN} --strict -m pkg.main 3"),
        (["run", "--fresh", "plot", "--fresh"], "cloudops run --fresh plot --fresh"),
        (["run", "--", "sh", "-c", "exec python3 plot"], f"{RUN} -- sh -c 'exec python3 plot'"),
        (["run", "plot", "\x1b[31m"], ""),
    ],
    ids=str,
)
def test_in_cloudops_run(scripts, monkeypatch, words, command):
    """What `cloudops run` runs is run again by it, with its options."""
    python = os.path.dirname(sys.executable)
    monkeypatch.setenv("PATH", f"{python}{os.pathsep}{os.environ['PATH']}")
    shown = said("-m", "cfa.cloudops.cli", *words, given=SAY)
    assert shown.splitlines()[0] == command


def test_after_cloudops_run(scripts, monkeypatch, tmp_path):
    """A shell that `cloudops run` has left behind is not what it runs."""
    monkeypatch.setenv("CLOUDOPS_RUN_REPORT", str(tmp_path / "gone"))
    monkeypatch.setenv("CLOUDOPS_RUN_COMMAND", '[["cloudops", "run"], [], ["other.py"]]')
    assert said("plot") == f"{RUN} plot\n"


@pytest.mark.parametrize(
    "words", [["-i", "plot"], ["-i", "-c", "pass"], ["-i"], ["-i", "-m", "plot"]]
)
def test_at_a_prompt(scripts, words):
    """What is typed is not run again by a command."""
    (scripts / "plot").write_text("")
    (scripts / "plot.py").write_text("")
    assert said(*words, given=SAY) == "\n"


@pytest.mark.parametrize(
    "forged",
    [
        "{",
        "",
        "[" * 10_000,
        "3",
        "[]",
        '["cloudops", "run", "x"]',
        '[["rm", "-rf"], [], ["/"]]',
        '[["cloudops"], [], ["x"]]',
        '[["cloudops", "sweep"], [], ["x"]]',
        '[["run"], [], ["x"]]',
        '[["cloudops", "run"], [], [3]]',
        '[["cloudops", "run"], [], "x"]',
        '[["cloudops", "run"], [], ["x"], []]',
        '{"cloudops": 1, "run": 2, "x": 3}',
    ],
)
def test_forged(scripts, monkeypatch, forged):
    """In a run, what is no command of ours is as if it were not there."""
    descriptor, path = tempfile.mkstemp(prefix=PREFIX)
    os.close(descriptor)
    monkeypatch.setenv("CLOUDOPS_RUN_REPORT", path)
    monkeypatch.setenv("CLOUDOPS_RUN_COMMAND", forged)
    shown = said("plot")
    os.unlink(path)
    assert shown == f"{RUN} plot\n"


@pytest.mark.parametrize("options", [["-i", "script.py"], ["-i"]])
def test_advice_at_a_prompt(scripts, options):
    """Who types a call that meets a job is told what to type, and of no variable or command."""
    begin = (
        "from cfa.cloudops.local import CloudClient\n"
        "client = CloudClient(backend='subprocess')\n"
        "_ = client.create_pool('p')\n"
        "client.create_job('j', 'p')\n"
    )
    typed = (
        "try: client.create_job('j', 'p')\n"
        "except RuntimeError as error: print(error)\n\n"
        "client.create_job('j', 'p', existing_job='replace')\n"
        "print('replaced')\n"
        "client.close()\n"
    )
    (scripts / "script.py").write_text(begin)
    shown = said(*options, given=typed if options[1:] else begin + typed)
    assert shown == (
        "The job 'j' exists. In the call: existing_job='replace' or exist_ok=True.\nreplaced\n"
    )
