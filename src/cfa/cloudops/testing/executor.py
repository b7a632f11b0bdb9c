"""The conformance kit for executors: inherit `ExecutorContract`, give two fixtures, run pytest.

    class TestMine(ExecutorContract):
        @pytest.fixture(scope="class")
        @classmethod
        def executor(cls):
            executor = MyExecutor()
            yield executor
            executor.close()

        @pytest.fixture(scope="class")
        @classmethod
        def image(cls):
            return "busybox"  # anything with /bin/sh, cat, head, wc, tail; None without images

Optional fixtures, each `None` (its items are skipped) unless given: `entrypoint_image`, an image
with an ENTRYPOINT and a CMD that do nothing useful; `shellless_image`, an image without `/bin/sh`.
`missing_image` is a name that no registry has; `caller` the (uid, gid) that must own written files.

Every item is one promise of `cfa.cloudops.provider.executor`, numbered E1, E2, ... in its
docstring. Items ask `probe` for capabilities, so that an executor without images or limits skips
what it has not got. Each item has a workspace of its own and fails when it leaves a node behind.
"""

from __future__ import annotations

import os
import selectors
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from cfa.cloudops.errors import ImageError, NodeError
from cfa.cloudops.model.values import Resources
from cfa.cloudops.provider.executor import (
    Bind,
    Executor,
    ImageProgress,
    Node,
    NodeEnd,
    NodeSpec,
    NodeStatus,
)
from cfa.cloudops.testing import opener

#: Seconds that anything may take; generous, because machines of tests are shared.
PATIENCE_S = 60.0
#: A program that repeats its input until its end, then says so.
ECHO = "echo ready; cat; echo drained"

Make = Callable[..., NodeSpec]
Open = Callable[[NodeSpec], Node]


def wait_until(condition: Callable[[], bool], what: str, timeout_s: float = PATIENCE_S) -> None:
    """Poll until `condition` holds; fail with `what` when it does not in time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout_s:g} s: {what}"
        time.sleep(0.02)


def read_until(
    node: Node, stop: Callable[[bytes], bool], timeout_s: float = PATIENCE_S
) -> tuple[bytes, bool]:
    """Output of a node until `stop(output)` or its end; the output, and whether it ended."""
    deadline = time.monotonic() + timeout_s
    found = bytearray()
    with selectors.DefaultSelector() as selector:
        selector.register(node.fileno(), selectors.EVENT_READ)
        while not stop(bytes(found)):
            data = node.read()
            if data == b"":
                return bytes(found), True
            if data is not None:
                found += data
                continue
            left = deadline - time.monotonic()
            assert left > 0, f"no more output within {timeout_s:g} s after {bytes(found[-200:])!r}"
            selector.select(left)
    return bytes(found), False


def read_line(node: Node) -> bytes:
    """The next line of a node that prints one line and then waits."""
    found, ended = read_until(node, lambda found: found.endswith(b"\n"))
    assert not ended, f"ended after {found!r}"
    return found


def read_all(node: Node) -> bytes:
    """Everything that a node prints until its end."""
    found, ended = read_until(node, lambda _: False)
    assert ended
    return found


def interrupted(verb: Callable[..., Any]) -> Callable[..., None]:
    """A method that does what `verb` does and is then interrupted as by Ctrl-C."""

    def interrupted_verb(*arguments: object) -> None:
        result = verb(*arguments)
        if hasattr(result, "close"):
            result.close()  # nobody else knows of it
        raise KeyboardInterrupt

    return interrupted_verb


def _as_long_as(expected: bytes, found: bytes) -> bool:
    return len(found) >= len(expected)


class ExecutorContract:
    """What every executor promises. Inherit it, give `executor` and `image`."""

    # --- given by the implementer

    @pytest.fixture(scope="class")
    @classmethod
    def executor(cls) -> Iterator[Executor]:
        """The executor under test; closed by the implementer afterwards."""
        raise NotImplementedError

    @pytest.fixture(scope="class")
    @classmethod
    def image(cls) -> str | None:
        """An image that is present and has `/bin/sh` and simple tools; None without images."""
        raise NotImplementedError

    @pytest.fixture(scope="class")
    @classmethod
    def entrypoint_image(cls) -> str | None:
        """An image with an ENTRYPOINT and a CMD; None skips its items."""
        return None

    @pytest.fixture(scope="class")
    @classmethod
    def shellless_image(cls) -> str | None:
        """An image without `/bin/sh`; None skips its items."""
        return None

    @pytest.fixture(scope="class")
    @classmethod
    def missing_image(cls) -> str | None:
        """A name that cannot be pulled."""
        return "localhost/cloudops-kit/no-such-image:none"

    @pytest.fixture
    def caller(self) -> tuple[int, int]:
        """The (uid, gid) that must own what nodes write."""
        return os.getuid(), os.getgid()

    # --- made here

    @pytest.fixture
    def other(self, executor: Executor) -> Iterator[Executor]:
        """A second executor with the same options, as another process would have."""
        other = type(executor)(executor.options)
        yield other
        other.close()

    @pytest.fixture
    def workspace(self, executor: Executor) -> Iterator[str]:
        """A workspace id of this item only; the item fails when a node of it is left."""
        workspace = f"kit-{os.getpid()}-{uuid.uuid4().hex[:12]}"
        yield workspace
        left = executor.list_nodes(workspace)
        for status in left:
            executor.remove_node(workspace, status.node_id)
        assert not left, f"nodes left behind: {left}"
        assert not executor.list_nodes(workspace)

    @pytest.fixture
    def shared(self, tmp_path: Path, caller: tuple[int, int]) -> Path:
        """A host directory of the caller's, to be bound at `/shared`."""
        shared = tmp_path / "shared"
        shared.mkdir()
        if os.getuid() == 0:
            os.chown(shared, *caller)
            for parent in (tmp_path, tmp_path.parent, tmp_path.parent.parent):
                parent.chmod(parent.stat().st_mode | 0o055)
        return shared

    @pytest.fixture
    def spec(
        self, workspace: str, image: str | None, caller: tuple[int, int]
    ) -> Callable[..., NodeSpec]:
        """Make a spec from a shell script; further fields by keyword."""

        def make(script: str, node_id: str = "n1", **fields: object) -> NodeSpec:
            values: dict[str, object] = {
                "workspace": workspace,
                "node_id": node_id,
                "name": f"{workspace}.{node_id}",
                "image": image,
                "argv": ("/bin/sh", "-c", script),
                "caller_uid": caller[0],
                "caller_gid": caller[1],
                **fields,
            }
            return NodeSpec(**values)  # type: ignore[arg-type]

        return make

    @pytest.fixture
    def opened(self, executor: Executor, workspace: str) -> Iterator[Callable[[NodeSpec], Node]]:
        """Open nodes that are closed after the item, whatever happens."""
        del workspace  # requested for its order: nodes are closed before it looks for leaks
        nodes: list[Node] = []

        def open_it(spec: NodeSpec) -> Node:
            nodes.append(executor.open_node(spec))
            return nodes[-1]

        yield open_it
        for node in nodes:
            node.close(0)

    # --- engine

    def test_probe(self, executor: Executor) -> None:
        """E1: `probe` names version and endpoint, within five seconds, as often as asked."""
        started = time.monotonic()
        found = executor.probe()
        assert time.monotonic() - started < 5
        assert found.version
        assert found.endpoint
        assert executor.probe() == found

    # --- streams

    def test_output_complete_from_first_byte(self, spec: Make, opened: Open) -> None:
        """E2: output printed before anyone reads is not lost; the end is `b''`, again and again."""
        node = opened(spec("echo first; echo second"))
        assert read_all(node) == b"first\nsecond\n"
        assert node.read() == b""
        assert node.read() == b""

    def test_both_ways(self, spec: Make, opened: Open) -> None:
        """E3: what is written reaches the program, what it answers comes back."""
        node = opened(spec(ECHO))
        assert read_line(node) == b"ready\n"
        for line in (b"one\n", "zwölf ☃\n".encode(), b"a" * 4000 + b"\n"):
            node.write(line)
            assert read_until(node, partial(_as_long_as, line))[0] == line

    def test_megabyte_of_binary_output(self, spec: Make, opened: Open, shared: Path) -> None:
        """E4: a megabyte of binary output arrives byte for byte."""
        data = os.urandom(1 << 20)
        (shared / "data").write_bytes(data)
        node = opened(spec("cat data", **self.at(shared)))
        assert read_all(node) == data

    def test_megabyte_of_input(self, spec: Make, opened: Open) -> None:
        """E5: `write` hands over all of a megabyte to a program that reads it."""
        node = opened(spec("wc -c"))
        node.write(os.urandom(1 << 20))
        node.drain()
        assert read_all(node).strip() == b"1048576"

    def test_standard_error_apart(self, spec: Make, opened: Open) -> None:
        """E6: standard error is not mixed into the stream, however much of it there is."""
        node = opened(spec("echo a; head -c 300000 /dev/zero >&2; echo b; echo c >&2"))
        assert read_all(node) == b"a\nb\n"

    def test_fileno_in_a_selector(self, spec: Make, opened: Open) -> None:
        """E7: `fileno` is constant and polls readable for output only; `read` never waits."""
        node = opened(spec(ECHO))
        descriptor = node.fileno()
        assert read_line(node) == b"ready\n"
        assert node.read() is None
        with selectors.DefaultSelector() as selector:
            selector.register(node, selectors.EVENT_READ)
            assert not selector.select(0.05)
            node.write(b"x\n")
            assert selector.select(PATIENCE_S)
        assert read_line(node) == b"x\n"
        assert node.read() is None
        assert node.fileno() == descriptor

    # --- the program

    def test_argv_as_it_is(self, spec: Make, opened: Open) -> None:
        """E8: arguments arrive as they are: blanks, quotes, `$`, empty ones, new lines, umlauts."""
        arguments = ("a b", "", "$HOME", "\"q'", "li\nne", "ü", "-x", "*")
        script = 'for a in "$@"; do printf "%s|" "$a"; done'
        node = opened(spec("", argv=("/bin/sh", "-c", script, "sh", *arguments)))
        assert read_all(node).decode() == "|".join(arguments) + "|"

    def test_entrypoint_replaced(
        self, spec: Make, opened: Open, entrypoint_image: str | None
    ) -> None:
        """E9: an image's ENTRYPOINT is replaced and its CMD ignored."""
        if entrypoint_image is None:
            pytest.skip("no image with an entry point given")
        node = opened(spec("", image=entrypoint_image, argv=("/bin/sh", "-c", "echo $#", "sh")))
        assert read_all(node) == b"0\n"

    def test_environment(self, spec: Make, opened: Open) -> None:
        """E10: variables are added, values as they are, and PATH stays."""
        values = {"A": "1", "WITH_BLANK": "a b=c", "LINES_OF": "x\ny", "EMPTY": "", "U": "ü$HOME"}
        script = """for n in A WITH_BLANK LINES_OF EMPTY U; do eval "printf '%s|' \\"\\$$n\\""; done
            printf "%s" "${PATH:+path}"
        """
        node = opened(spec(script, environment=values))
        assert read_all(node).decode() == "|".join(values.values()) + "|path"

    def test_working_directory(
        self, spec: Make, opened: Open, executor: Executor, shared: Path
    ) -> None:
        """E11: the program starts in the working directory."""
        (shared / "sub").mkdir()
        (shared / "sub").chmod(0o755)
        at = self.at(shared, executor)
        node = opened(spec("pwd", **{**at, "working_directory": at["working_directory"] + "/sub"}))
        assert read_all(node).decode() == at["working_directory"] + "/sub\n"

    # --- files

    def at(
        self, shared: Path, executor: Executor | None = None, *, read_only: bool = False
    ) -> dict[str, Any]:
        """Fields of a spec that binds `shared` and starts in it.

        The target is the source's own path, which every executor can show, unless `executor` is
        given and has paths of its own.
        """
        private = executor is not None and executor.probe().private_paths
        target = "/shared" if private else str(shared)
        return {
            "binds": (Bind(source=str(shared), target=target, read_only=read_only),),
            "working_directory": target,
        }

    def test_bind_both_ways(
        self, spec: Make, opened: Open, executor: Executor, shared: Path
    ) -> None:
        """E12: a bind shows the host's files, and what is written there is on the host."""
        (shared / "in").write_text("from the host")
        node = opened(spec("cat in; echo from the node > out", **self.at(shared, executor)))
        assert read_all(node) == b"from the host"
        assert (shared / "out").read_text() == "from the node\n"

    def test_bind_read_only(
        self, spec: Make, opened: Open, executor: Executor, shared: Path
    ) -> None:
        """E13: a read-only bind can be read and not written."""
        if not executor.probe().private_paths:
            pytest.skip("no private paths: binds cannot be protected")
        (shared / "in").write_text("text")
        script = "cat in; (echo x > out) 2>/dev/null || echo refused"
        node = opened(spec(script, **self.at(shared, executor, read_only=True)))
        assert read_all(node) == b"textrefused\n"
        assert not (shared / "out").exists()

    def test_bind_below_a_bind(
        self, spec: Make, opened: Open, executor: Executor, shared: Path, tmp_path: Path
    ) -> None:
        """E14: a bind may lie below another, in whatever order they are named."""
        if not executor.probe().private_paths:
            pytest.skip("no private paths: a bind shows the host's own path")
        inner = tmp_path / "inner"
        inner.mkdir()
        inner.chmod(0o755)
        (inner / "in").write_text("inner")
        binds = (Bind(source=str(inner), target="/a/b"), Bind(source=str(shared), target="/a"))
        (shared / "b").mkdir()  # a read-only or foreign parent could not make it
        for node_id, order in (("n1", binds), ("n2", binds[::-1])):
            node = opened(spec("cat /a/b/in; echo x > /a/out", node_id, binds=order))
            assert read_all(node) == b"inner"
        assert (shared / "out").exists()

    def test_owner(
        self, spec: Make, opened: Open, executor: Executor, shared: Path, caller: tuple[int, int]
    ) -> None:
        """E15: files and directories written into a bind belong to the caller."""
        script = "echo x > file; mkdir -p dir/sub; echo y > dir/sub/file; echo done"
        node = opened(spec(script, **self.at(shared, executor)))
        assert read_all(node) == b"done\n"
        for name in ("file", "dir", "dir/sub", "dir/sub/file"):
            status = (shared / name).stat()
            assert (status.st_uid, status.st_gid) == caller, name

    # --- drain

    def test_drain(self, spec: Make, opened: Open) -> None:
        """E16: `drain` ends the program's input, twice is fine; later output still arrives."""
        node = opened(spec(ECHO))
        assert read_line(node) == b"ready\n"
        node.write(b"last words\n")
        node.drain()
        node.drain()
        assert read_all(node) == b"last words\ndrained\n"
        with pytest.raises(NodeError):
            node.write(b"too late\n")
        assert node.close(5).exit_code == 0

    def test_drain_by_death_of_the_opener(
        self, spec: Make, executor: Executor, workspace: str, shared: Path
    ) -> None:
        """E17: when the process that opened a node is SIGKILLed, the node's input ends."""
        script = "echo ready; cat > got; echo drained > end"
        asked = opener.request(executor, spec(script, **self.at(shared, executor)))
        process = subprocess.Popen(
            [sys.executable, "-c", "from cfa.cloudops.testing.opener import main; main()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        with process:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(asked + b"\n")
            process.stdin.flush()
            assert process.stdout.readline().strip()
            assert process.stdout.readline() == b"ready\n"
            assert [s.running for s in executor.list_nodes(workspace)] == [True]
            process.kill()
        wait_until(lambda: (shared / "end").exists(), "the node saw the end of its input")
        wait_until(
            lambda: not any(s.running for s in executor.list_nodes(workspace)), "the node ended"
        )
        executor.remove_node(workspace, "n1")
        assert not executor.list_nodes(workspace)

    # --- the end

    def test_exit_code(self, spec: Make, opened: Open) -> None:
        """E18: the exit code of a program that ended by itself is reported, twice the same."""
        node = opened(spec("exit 7"))
        assert read_all(node) == b""
        end = node.close(5)
        assert (end.exit_code, end.out_of_memory) == (7, False)
        assert node.close(5) == end

    def test_close_asks_first(self, spec: Make, opened: Open, shared: Path) -> None:
        """E19: `close` sends TERM and gives the program its grace time to end in order."""
        script = "trap 'echo asked > asked; exit 3' TERM; echo ready; while :; do sleep 0.1; done"
        node = opened(spec(script, **self.at(shared)))
        assert read_line(node) == b"ready\n"
        assert node.close(PATIENCE_S).exit_code == 3
        assert (shared / "asked").read_text() == "asked\n"

    def test_close_kills_at_last(self, spec: Make, opened: Open) -> None:
        """E20: a program that ignores TERM is killed after the grace time, not before."""
        node = opened(spec("trap '' TERM; echo ready; while :; do sleep 0.1; done"))
        assert read_line(node) == b"ready\n"
        started = time.monotonic()
        end = node.close(1.0)
        assert 1.0 <= time.monotonic() - started < 10
        assert end.exit_code != 0

    def test_close_without_grace(self, spec: Make, opened: Open, shared: Path) -> None:
        """E21: without grace there is no TERM."""
        script = "trap 'echo asked > asked' TERM; echo ready; while :; do sleep 0.1; done"
        node = opened(spec(script, **self.at(shared)))
        assert read_line(node) == b"ready\n"
        node.close(0)
        assert not (shared / "asked").exists()

    def test_close_from_another_thread(
        self, spec: Make, opened: Open, executor: Executor, workspace: str
    ) -> None:
        """E22: `close` may come from other threads, several at once; all get the same answer."""
        node = opened(spec(ECHO))
        assert read_line(node) == b"ready\n"
        with ThreadPoolExecutor(3) as threads:
            ends = list(threads.map(lambda _: node.close(0), range(3)))
        assert len(set(ends)) == 1
        assert isinstance(ends[0], NodeEnd)
        assert not executor.list_nodes(workspace)
        with pytest.raises(NodeError):
            node.write(b"x")

    def test_end_while_reading(self, spec: Make, opened: Open) -> None:
        """E23: a reader sees the end of the stream when the node is closed by another thread."""
        node = opened(spec(ECHO))
        assert read_line(node) == b"ready\n"
        closer = threading.Thread(target=node.close, args=(0,))
        closer.start()
        wait_until(lambda: node.read() == b"", "the stream ended")
        closer.join(PATIENCE_S)

    def test_write_to_an_ended_node(self, spec: Make, opened: Open) -> None:
        """E24: writing to a node that ended is an error in the end, never a crash."""
        node = opened(spec("exit 0"))
        assert read_all(node) == b""
        with pytest.raises(NodeError):  # noqa: PT012  the pipe may take some before it breaks
            for _ in range(1000):
                node.write(b"x" * 1000)

    def test_descendants_end_with_the_node(self, spec: Make, opened: Open, shared: Path) -> None:
        """E25: `close` leaves no process of the node, not even one in a session of its own."""
        script = (
            "trap '' TERM; (while :; do echo x >> alive; sleep 0.05; done) & "
            "if command -v setsid >/dev/null; then "
            'setsid sh -c "while :; do echo x >> alive2; sleep 0.05; done" & '
            "else echo x > alive2; fi; echo ready; wait"
        )
        node = opened(spec(script, **self.at(shared)))
        assert read_line(node) == b"ready\n"
        files = [shared / "alive", shared / "alive2"]
        wait_until(lambda: all(file.exists() for file in files), "both children run")
        node.close(0)
        before = [file.stat().st_size for file in files]
        time.sleep(0.3)  # six of their steps: nothing may happen, so there is nothing to wait for
        assert [file.stat().st_size for file in files] == before

    # --- found by others

    def test_found_by_another(
        self, spec: Make, opened: Open, other: Executor, workspace: str
    ) -> None:
        """E26: another executor lists nodes with id, handle and state; those of a workspace only.

        A node that ended need not be listed where nothing of it exists any more (a process)."""
        running = opened(spec(ECHO, "n1"))
        assert read_line(running) == b"ready\n"
        ended = opened(spec("exit 0", "n2"))
        read_all(ended)

        def found() -> list[NodeStatus]:
            return sorted(other.list_nodes(workspace), key=lambda status: status.node_id)

        wait_until(lambda: [s.node_id for s in found() if s.running] == ["n1"], "one runs")
        listed = [(s.node_id, s.engine_id) for s in found()]
        assert listed[0] == ("n1", running.engine_id)
        assert listed[1:] in ([], [("n2", ended.engine_id)])
        assert not other.list_nodes(workspace + "0")
        assert not other.list_nodes(workspace[:-1])

    def test_removed_by_another(
        self, spec: Make, opened: Open, executor: Executor, other: Executor, workspace: str
    ) -> None:
        """E27: another executor removes a running node, twice is fine; its opener sees the end."""
        node = opened(spec(ECHO))
        assert read_line(node) == b"ready\n"
        other.remove_node(workspace + "0", "n1")
        assert len(executor.list_nodes(workspace)) == 1, "a node of another workspace was removed"
        other.remove_node(workspace, "n1")
        assert not executor.list_nodes(workspace)
        other.remove_node(workspace, "n1")
        read_until(node, lambda _: False)
        assert node.close(1).exit_code != 0

    # --- failures

    def test_no_such_program(self, spec: Make, executor: Executor, workspace: str) -> None:
        """E28: a missing program is a NodeError with the engine's words; nothing is left."""
        with pytest.raises(NodeError) as caught:
            executor.open_node(spec("", argv=("/no/such/program",)))
        assert "no such file" in str(caught.value).lower()
        assert not executor.list_nodes(workspace)

    def test_failures_leave_nothing(self, spec: Make, executor: Executor, workspace: str) -> None:
        """E29: descriptors and nodes are as before after several failures to start."""
        with pytest.raises(NodeError):
            executor.open_node(spec("", argv=("/no/such/program",)))
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(5):
            with pytest.raises(NodeError):
                executor.open_node(spec("", argv=("/no/such/program",)))
        assert len(os.listdir("/proc/self/fd")) <= before
        assert not executor.list_nodes(workspace)

    def test_stale_name_replaced(
        self, spec: Make, opened: Open, executor: Executor, workspace: str
    ) -> None:
        """E30: an ended node of the same workspace and name is replaced."""
        stale = spec("exit 0", "n1", name=f"{workspace}.shared")
        read_all(opened(stale))
        wait_until(
            lambda: not any(s.running for s in executor.list_nodes(workspace)), "the first ended"
        )
        node = opened(evolve(stale, node_id="n2", argv=("/bin/sh", "-c", ECHO)))
        assert read_line(node) == b"ready\n"
        running = [s.node_id for s in executor.list_nodes(workspace) if s.running]
        assert running == ["n2"]

    def test_taken_name(self, spec: Make, opened: Open, executor: Executor, workspace: str) -> None:
        """E31: a running node keeps its name; the next one gets another and works."""
        name = f"{workspace}.shared"
        nodes = [opened(spec(ECHO, node_id, name=name)) for node_id in ("n1", "n2", "n3")]
        for node in nodes:
            assert read_line(node) == b"ready\n"
        assert len({node.engine_id for node in nodes}) == 3
        assert len(executor.list_nodes(workspace)) == 3

    def test_concurrent_opening(
        self, spec: Make, opened: Open, executor: Executor, workspace: str
    ) -> None:
        """E32: nodes may be opened and closed by several threads at once."""
        with ThreadPoolExecutor(4) as threads:
            specs = [spec(ECHO, f"n{number}") for number in range(4)]
            nodes = list(threads.map(opened, specs))
            assert [read_line(node) for node in nodes] == [b"ready\n"] * 4
            assert len(executor.list_nodes(workspace)) == 4
            for node in nodes:
                node.drain()
                assert read_all(node) == b"drained\n"
            assert [end.exit_code for end in threads.map(lambda n: n.close(30), nodes)] == [0] * 4
        assert not executor.list_nodes(workspace)

    def test_no_descriptor_left(self, spec: Make, executor: Executor) -> None:
        """E33: opening and closing nodes leaves no descriptor."""
        executor.open_node(spec("exit 0", "n0")).close(0)
        before = len(os.listdir("/proc/self/fd"))
        for number in range(3):
            executor.open_node(spec("exit 0", f"m{number}")).close(0)
        assert len(os.listdir("/proc/self/fd")) <= before

    # --- images

    def test_image_present(self, executor: Executor, image: str | None) -> None:
        """E34: `ensure_image` of a present image answers quickly with its id, again the same."""
        if image is None or not executor.probe().images:
            pytest.skip("this executor has no images")
        steps: list[ImageProgress] = []
        found = executor.ensure_image(image, steps.append)
        assert found.id
        assert found.name
        started = time.monotonic()
        assert executor.ensure_image(image) == found
        assert time.monotonic() - started < 2

    def test_missing_image(
        self, executor: Executor, spec: Make, workspace: str, missing_image: str | None
    ) -> None:
        """E35: a missing image is an ImageError that names it, from both calls."""
        if missing_image is None or not executor.probe().images:
            pytest.skip("this executor has no images")
        with pytest.raises(ImageError, match="no-such-image") as caught:
            executor.ensure_image(missing_image)
        assert caught.value.hint
        with pytest.raises(ImageError, match="no-such-image"):
            executor.open_node(spec(ECHO, image=missing_image))
        assert not executor.list_nodes(workspace)

    def test_image_without_shell(self, executor: Executor, shellless_image: str | None) -> None:
        """E36: an image without `/bin/sh` is refused with a sentence that says so."""
        if shellless_image is None or not executor.probe().images:
            pytest.skip("no image without a shell given")
        for _ in range(2):
            with pytest.raises(ImageError, match="/bin/sh"):
                executor.ensure_image(shellless_image)

    # --- limits

    def test_memory_limit(self, spec: Make, opened: Open, executor: Executor) -> None:
        """E37: a memory limit holds and its victim is told, or is reported as not held."""
        limit = Resources(memory_bytes=64 << 20)
        if not executor.probe().enforces_memory:
            node = opened(spec("echo ran", resources=limit))
            assert read_all(node) == b"ran\n"
            pytest.skip("reported: memory limits do not hold here")
        node = opened(spec("exec tail /dev/zero", resources=limit))
        assert read_all(node) == b""
        end = node.close(5)
        assert end.out_of_memory
        assert end.exit_code == 137

    def test_cpu_limit(self, spec: Make, opened: Open, executor: Executor) -> None:
        """E38: a processor limit holds, or is reported as not held."""
        script = (
            "(while :; do :; done) & sleep 1; set -- $(cat /proc/$!/stat); kill $!; "
            "shift 13; echo $(($1 + $2))"
        )
        node = opened(spec(script, resources=Resources(cpus=0.2)))
        ticks = int(read_all(node))
        if not executor.probe().enforces_cpus:
            pytest.skip("reported: processor limits do not hold here")
        assert ticks / os.sysconf("SC_CLK_TCK") < 0.6

    def test_process_limit(self, spec: Make, executor: Executor) -> None:
        """E40: a limit of processes stops a fork bomb, and the node can be closed after it.

        It is the executor's option `pids_limit`, which has a default."""
        if not executor.probe().enforces_pids:
            pytest.skip("reported: processes are not limited here")
        bomb = (
            "n=0; (while [ $n -lt 200 ]; do n=$((n + 1)); sleep 60 & done) 2>/dev/null; "
            "n=0; for p in /proc/[0-9]*; do n=$((n + 1)); done; echo $n; exec cat"
        )
        limited = type(executor)({**executor.options, "pids_limit": "50"})
        try:
            node = limited.open_node(spec(bomb))
            try:
                assert 25 < int(read_line(node)) <= 50
            finally:
                node.close(0)
        finally:
            limited.close()

    # --- privileges

    def test_no_privileges(
        self,
        spec: Make,
        opened: Open,
        executor: Executor,
        shared: Path,
        caller: tuple[int, int],
    ) -> None:
        """E41: hardened, a node makes no file of another owner, no device, no other user."""
        if not executor.probe().hardened:
            pytest.skip("not hardened: nodes do what their user may")
        script = """
            grep NoNewPrivs: /proc/self/status
            : >file; : >group
            chown 12345 file; chgrp 12345 group; mknod device c 1 3; mknod disk b 7 0
            chroot / true && echo a root of its own
            su -s /bin/sh nobody -c ': >other' </dev/null
            exit 0
        """
        node = opened(spec(script, **self.at(shared, executor)))
        assert read_all(node).split() == [b"NoNewPrivs:", b"1"]
        made = {path.name: path.lstat() for path in shared.iterdir()}
        assert set(made) == {"file", "group"}
        assert {(status.st_uid, status.st_gid) for status in made.values()} == {caller}

    # --- networks

    def test_shared_network(self, spec: Make, opened: Open, executor: Executor) -> None:
        """E39: a node may use the network of another, and goes on when that one has ended."""
        if not executor.probe().shares_network:
            pytest.skip("this executor shares no networks")
        asking = "ls -l /proc/self/ns/net | tail -c 18; cat"
        keeper = opened(spec(asking, "n1", keeps_network=True))
        network = read_line(keeper)
        user = opened(spec(asking, "n2", network_of=keeper.engine_id))
        assert read_line(user) == network
        assert read_line(opened(spec(asking, "n3"))) != network
        keeper.close(0)
        user.write(b"still here\n")
        assert read_line(user) == b"still here\n"
