"""Commands as users give them: one text, or a list of words."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cfa.cloudops.client import arguments
from cfa.cloudops.client.arguments import command_text
from cfa.cloudops.errors import InvalidInputError
from cfa.cloudops.local import CloudClient
from cfa.cloudops.model import commands
from cfa.cloudops.service.definitions import split_command

WORDS = st.lists(st.text(st.characters(exclude_characters="\0", codec="utf-8")), min_size=1)


@given(WORDS)
def test_words_stay_words(words):
    """The service reads each element of a list as it went in."""
    assert split_command(command_text(words)) == words


@pytest.mark.parametrize(
    ("command", "text"),
    [
        ("echo  'a b'", "echo  'a b'"),
        (["echo", "a", "b"], "echo a b"),
        (("python3", "-c", "import sys; print(1)"), "python3 -c 'import sys; print(1)'"),
        (["run", "--bounds", "[0.0, 1.0]", ""], "run --bounds '[0.0, 1.0]' ''"),
    ],
)
def test_text(command, text):
    """A text stays as it is; in a list, only what needs quotes gets them."""
    assert command_text(command) == text


@pytest.mark.parametrize("command", [None, 3, ["echo", 3], b"echo", {"echo": 1}])
def test_no_command(command):
    """What is neither text nor a list of texts is refused."""
    with pytest.raises(InvalidInputError, match="string or a list of strings"):
        command_text(command)


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (["python3 run.py", "-v"], "'python3 run.py', as one word"),
        (["sh", "-c", "'echo a'"], "\"'echo a'\" has quotes"),
        (["sh", "-c", "echo 'a'"], None),
        (["python3", "-c", "'a' if 1 else 'b'"], None),
        (["python3", "run me.py"], None),
    ],
)
def test_doubtful_lists(client, capsys, monkeypatch, command, says):
    """A list that was written to be joined with blanks is taken as it is, with one warning."""
    monkeypatch.setattr(arguments, "_said", set())
    for _ in range(3):
        client.add_task("j", command)
    out = capsys.readouterr().out
    if says is None:
        assert "[WARNING]" not in out
    else:
        assert out.count(says) == 1


def test_schedules_and_collections(client):
    """Lists mean the same in collections and job schedules."""
    words = ["echo", "a b"]
    client.add_task_collection("j", [{"command_line": words}])
    client.create_job_schedule("s", "p", words)
    assert client._batch.get_task("j", "j--1").command_line == "echo 'a b'"
    assert client._batch.get_job_schedule("s").spec.command_line == "echo 'a b'"
    client.delete_job_schedule("s")


@pytest.mark.parametrize("way", ["task", "collection", "schedule"])
def test_rehearsal(client, way):
    """A rehearsal warns of words that the cloud's client would not keep together."""
    strict = CloudClient(strict=True, at_exit="detach")
    strict.full_container_name = "docker.io/library/python:3.12"
    for number, words in enumerate((["echo", "a"], ["echo", "a b"], ["echo", "c d"])):
        if way == "task":
            strict.add_task("j", words)
        elif way == "collection":
            strict.add_task_collection("j", [{"command_line": words}])
        else:
            strict.create_job_schedule(f"s-{number}", "p", words)
            strict.delete_job_schedule(f"s-{number}")
    [found] = [one for one in strict.rehearsal.findings if one.rule == "list-command"]
    assert found.count == 2
    assert "'a b'" in found.what
    assert "joins" in found.on_azure
    strict.close()


@pytest.fixture
def client(workdir, monkeypatch) -> Iterator[CloudClient]:
    """A client with a pool without nodes, so that nothing runs, and a job."""
    monkeypatch.setenv("CLOUDOPS_SUBPROCESS_SANDBOX", "off")
    monkeypatch.setenv("CLOUDOPS_BACKEND", "subprocess")
    made = CloudClient(at_exit="detach")
    made.create_pool("p", autoscale=False, low_priority_nodes=0)
    made.create_job("j", "p")
    yield made
    made.close()


@given(st.text(st.sampled_from("ab '\"\\#\n\t\u00a0$"), max_size=8))
def test_quotes_as_shlex_reads_them(word):
    """Only what `shlex` would not give back as it is gets quotes; one in quotes is known as such."""
    try:
        words = shlex.split(word)
    except ValueError:
        words = []
    assert (commands.quoted(word) == word) == (words == [word])
    assert commands.is_quoted(word) == (word[:1] in ("'", '"') and words == [word[1:-1]])


def test_long_words():
    """A word of a megabyte takes no time: `shlex` would take half a minute for it."""
    start = time.process_time()
    commands.joined(["true", "x" * 1_000_000])
    assert time.process_time() - start < 1.0
