"""`cloudops logs` with `--tail`, `--since` and `--timestamps`."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta

import pytest
from attrs import evolve
from hypothesis import example, given
from hypothesis import strategies as st

from cfa.cloudops.cli import excerpt
from cfa.cloudops.cli.excerpt import Excerpt, Part, moment
from cfa.cloudops.client.view import OutputView
from cfa.cloudops.errors import InvalidInputError
from cfa.cloudops.model import tail
from cfa.cloudops.model.tail import tail_offset
from cfa.cloudops.model.values import Event, Task, TaskState

NOW = datetime(2026, 3, 4, 12, tzinfo=UTC)
STAMP = rf"{NOW.astimezone().isoformat(' ', 'seconds')} "


class Batch:
    """A service with one job, whose tasks wrote what the test says."""

    def __init__(self, **output):
        self.output = output
        self.ended = dict.fromkeys(output, NOW)
        self.events = []
        self.reads = 0

    def get_task(self, job_id, task_id):
        return Task(
            id=task_id,
            job_id=job_id,
            command_line="x",
            state=TaskState.COMPLETED,
            created=NOW,
            ended=self.ended[task_id],
        )

    def list_events(self, job_id, after=0):
        return [event for event in self.events if event.number > after]

    def happens(self, task_id, what):
        number = len(self.events) + 1
        self.events.append(Event(number=number, time=NOW, task_id=task_id, what=what, detail=""))

    def read_task_file(self, job_id, task_id, name, offset=0, limit=1 << 20):
        self.reads += 1
        return self.output[task_id][offset : offset + limit] if name == "stdout.txt" else b""


def shown(batch, **part):
    """What a look shows of tasks that are completed."""
    for task_id in batch.output:
        batch.happens(task_id, "completed")
    out = io.StringIO()
    view = OutputView(Excerpt(batch, Part(**part)), out=out, err=io.StringIO())
    view.look("j")
    view.finish()
    return out.getvalue()


def stamped(batch, out=None, tail=None, **more):
    """What a look shows with times."""
    out = out or io.StringIO()
    batch.happens("a", "completed")
    source = Excerpt(batch, Part(tail=tail))
    view = OutputView(source, out=out, err=io.StringIO(), timestamps=True, **more)
    view.look("j")
    view.finish()
    return out.getvalue() if isinstance(out, io.StringIO) else ""


def reader(data):
    return lambda offset, limit: data[offset : offset + limit]


class TestTail:
    """The last lines."""

    @given(
        st.lists(st.sampled_from(["", "a", "bb" * 20]), max_size=30),
        st.booleans(),
        st.integers(0, 32),
    )
    def test_lines(self, lines, ended, count):
        """They are as many as were asked for, or all, whether the last one has an end or not."""
        data = "".join(line + "\n" for line in lines).encode()
        data += b"" if ended else b"last"
        every = data.splitlines(keepends=True)
        wanted = b"".join(every[len(every) - min(count, len(every)) :])
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(tail, "_CHUNK", 16)
            assert data[tail_offset(reader(data), count) :] == wanted

    def test_of_much(self):
        """Of a large file only little is read."""
        batch = Batch(a=b"x" * 99 + b"\n" + b"line\n" * 2_000_000)
        assert shown(batch, tail=2) == "a | line\na | line\n"
        assert batch.reads < 100

    def test_each_task(self):
        """They are those of each task."""
        batch = Batch(a=b"1\n2\n3\n", b=b"4")
        assert shown(batch, tail=2) == "a | 2\na | 3\nb | 4\n"
        assert shown(batch, tail=0) == ""

    def test_followed(self):
        """What comes after them is shown as it comes, also of a task that runs again."""
        batch = Batch(a=b"1\n2\n")
        batch.happens("a", "running")
        out = io.StringIO()
        view = OutputView(Excerpt(batch, Part(tail=1)), out=out, err=io.StringIO())
        view.look("j")
        batch.output["a"] += b"3\n4\n"
        view.look("j")
        assert out.getvalue() == "a | 2\na | 3\na | 4\n"
        batch.happens("a", "retry")
        batch.happens("a", "running")
        batch.output["a"] = b"5\n"
        view.look("j")
        assert out.getvalue().endswith("a | 4\na | 5\n")

    @pytest.mark.parametrize("output", [b"", b"old\n" * 3])
    def test_nothing_shown_yet(self, output):
        """With 0 lines all that comes is shown, however much it is, also of a try after another."""
        batch = Batch(a=output)
        batch.happens("a", "running")
        out = io.StringIO()
        view = OutputView(Excerpt(batch, Part(tail=0)), out=out, err=io.StringIO())
        view.look("j")
        view.look("j")
        assert out.getvalue() == ""
        batch.output["a"] += b"1\n2\n"
        view.look("j")
        assert out.getvalue() == "a | 1\na | 2\n"

    @pytest.mark.parametrize("length", [1, 20])
    def test_retry_before_anything_is_shown(self, length):
        """What a further try writes is shown whole, be it less or more than before."""
        batch = Batch(a=b"old\n" * 9)
        batch.happens("a", "running")
        out = io.StringIO()
        view = OutputView(Excerpt(batch, Part(tail=0)), out=out, err=io.StringIO())
        view.look("j")
        batch.happens("a", "retry")
        batch.happens("a", "running")
        batch.output["a"] = b"new\n" * length
        view.look("j")
        assert out.getvalue() == "a | new\n" * length

    def test_empty_at_first(self):
        """Of a file that was empty nothing is left out."""
        batch = Batch(a=b"")
        batch.happens("a", "running")
        out = io.StringIO()
        view = OutputView(Excerpt(batch, Part(tail=1)), out=out, err=io.StringIO())
        view.look("j")
        batch.output["a"] = b"1\n2\n3\n"
        view.look("j")
        assert out.getvalue() == "a | 1\na | 2\na | 3\n"


class TestSince:
    """Tasks that ended before a time are left out."""

    def test_left_out(self):
        """Those that ended later, or run, are shown whole."""
        batch = Batch(a=b"1\n", b=b"2\n", c=b"3\n")
        batch.ended = {"a": NOW, "b": NOW - timedelta(seconds=1), "c": None}
        assert shown(batch, since=NOW) == "a | 1\nc | 3\n"

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("90s", NOW - timedelta(seconds=90)),
            ("10m", NOW - timedelta(minutes=10)),
            ("2h", NOW - timedelta(hours=2)),
            (" 3d ", NOW - timedelta(days=3)),
            ("2026-03-04T13:00+01:00", NOW),
            ("2026-03-04 12:00:00Z", NOW),
            ("2026-03-04 12:00", datetime(2026, 3, 4, 12).astimezone()),
        ],
    )
    def test_times(self, text, expected):
        """A time is so long ago, or a date with an hour, of the user's clock when it has no zone."""
        assert moment(text, NOW) == expected

    @pytest.mark.parametrize("text", ["", "soon", "10", "5 w", "999999999d", "-1h", "2026-13-01"])
    def test_no_times(self, text):
        """What is no time is refused with examples."""
        with pytest.raises(InvalidInputError, match="not a time") as caught:
            moment(text, NOW)
        assert "10m" in caught.value.hint


class TestTimestamps:
    """Each line begins with a time."""

    def test_completed(self):
        """Of a task that is completed it is the task's end."""
        batch = Batch(a=b"1\n\n2")
        assert stamped(batch) == f"a | {STAMP}1\na | {STAMP}\na | {STAMP}2\n"
        assert stamped(Batch(a=b"1\n2"), tail=1) == f"a | {STAMP}2\n"

    def test_arrival(self):
        """Of what comes while somebody looks it is when its line ended; a line in parts has one."""
        batch = Batch(a=b"1\nbe")
        batch.happens("a", "running")
        out = io.StringIO()
        view = OutputView(batch, out=out, err=io.StringIO(), timestamps=True)
        before = datetime.now(UTC).replace(microsecond=0)
        for more in (b"", b"g", b"un\n", b"end"):
            batch.output["a"] += more
            view.look("j")
        batch.happens("a", "completed")
        view.look("j")
        view.finish()
        lines = [line.removeprefix("a | ") for line in out.getvalue().splitlines()]
        assert [line[26:] for line in lines] == ["1", "begun", "end"]
        assert all(
            before <= datetime.fromisoformat(line[:25]) <= datetime.now(UTC) for line in lines
        )

    def test_lines_that_were_written_over(self):
        """A line has one time, and what a terminal would show of it."""
        data = b"10 %\r20 %\r\x1b[Kdone\r\ncolour \x1b[31mred\n"
        kept = "colour \x1b[31mred"
        assert stamped(Batch(a=data)) == f"a | {STAMP}done\na | {STAMP}{kept}\n"
        shown = f"{STAMP}10 %\r20 %\r\x1b[Kdone\r\n{STAMP}{kept}\n"
        assert stamped(Batch(a=data), prefix=False, raw=True) == shown

    @pytest.mark.parametrize("prefix", [True, False])
    def test_parts_of_a_long_line(self, prefix):
        """A line that is shown in parts has one time."""
        found = stamped(Batch(a=b"x" * 200_000 + b"\nnext"), prefix=prefix)
        assert found.count(STAMP) == 2
        assert found.endswith(f"{STAMP}next\n")

    @given(st.binary(max_size=60).filter(lambda data: b"\r" not in data))
    @example(b"a\xff\n\nc")
    def test_nothing_lost(self, data):
        """Without the times the bytes are those of the file."""
        out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
        stamped(Batch(a=data), out, prefix=False)
        found = out.buffer.getvalue()
        ended = data + b"\n" * (data[-1:] not in (b"", b"\n"))
        assert found.replace(STAMP.encode(), b"") == ended
        assert found.count(STAMP.encode()) == ended.count(b"\n")


def test_all():
    """Without an option the output is as it is."""
    batch = Batch(a=b"1\r\n\xff")
    part = Excerpt(batch, excerpt.ALL)
    assert part.read_task_file("j", "a", "stdout.txt", 0, 3) == b"1\r\n"
    assert part.read_task_file("j", "a", "stdout.txt", 3, 3) == b"\xff"
    assert evolve(excerpt.ALL) == Part()
