"""The launcher, run directly under the shells that images have."""

from __future__ import annotations

import functools
import os
import resource
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

import cfa.cloudops.service.workspace as workspace
from cfa.cloudops.beneath import Place
from cfa.cloudops.service import journal
from cfa.cloudops.service.journal import Secrets

LAUNCHER = Path(workspace.__file__).with_name("launcher.sh")
SHELLS = ("dash", "bash", "busybox")
LIMIT_S = 40.0  # a bash that is refused a process tries for fifteen seconds


class Launcher:
    """A launcher under test: the agent's end of its two streams.

    Args:
        place: an empty directory.
        shell: the program that runs it and its slots.
        path: its PATH.
        verb: `serve`, `once` for a single task, or `keep`.
        network: the FIFO of a keeper whose network it uses.
        user: who runs it; without, whoever runs the tests.
        processes: how many that user may have.
        within: words of a program that runs it.
    """

    def __init__(
        self,
        place: Path,
        shell: str,
        path: str = "/usr/bin:/bin",
        verb: str = "serve",
        network: Path | None = None,
        user: int | None = None,
        processes: int | None = None,
        within: Sequence[str] = (),
    ) -> None:
        self.place = place
        self.user = user
        self.control = place / "control"
        (self.control / "box" / "open").mkdir(parents=True)
        self.journals = self.control / "box" / "open"
        if network is not None:
            os.link(network, self.control / "network")
        self.secrets = Secrets("00" * 32)
        program = place / "sh"  # a busybox called `sh` is a shell
        program.symlink_to(shutil.which(shell) or f"/bin/{shell}")
        text = LAUNCHER.read_text()
        assert text.count("shell=/bin/sh\n") == 1
        (self.control / "launcher.sh").write_text(
            text.replace("shell=/bin/sh\n", f"shell={program}\n")
        )
        self.give()
        as_user: list[str] = []
        if user is not None:
            as_user = [*self._as_user(), "prlimit", f"--nproc={processes}:1000"]
        self.process = subprocess.Popen(
            [*as_user, *within, program, self.control / "launcher.sh", verb, self.control, place],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={"PATH": path},
            cwd="/",
            start_new_session=True,
        )
        self._buffer = b""
        self.greeting = [self.line()]
        while self.greeting[-1] not in ("ready 2", "refused"):
            self.greeting.append(self.line())
        assert verb == "keep" or len(self.greeting) == 1
        self.commands = workspace.Commands(self.control)
        if self.greeting == ["refused"]:
            return
        self.journals = self.journals.rename(place / "journal")
        self.send("node N")

    def give(self) -> None:
        """All that is there to its user."""
        if self.user is not None:
            for path in (self.place, *self.place.rglob("*")):
                os.chown(path, self.user, self.user, follow_symlinks=False)

    def limit(self, processes: int) -> None:
        """Let its user have so many processes."""
        for pid in self.session():
            argv = [*self._as_user(), "prlimit", f"--nproc={processes}:1000", f"--pid={pid}"]
            subprocess.run(argv, check=True)

    def _as_user(self) -> list[str]:
        return ["setpriv", f"--reuid={self.user}", f"--regid={self.user}", "--clear-groups"]

    def send(self, text: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(text.encode() + b"\n")
        self.process.stdin.flush()

    def task(self, name: str) -> Path:
        return self.place / name

    def run(self, slot: int, attempt: str, words: list[str], name: str = "t") -> Path:
        """Have a task run; its directory."""
        with Place.open(self.place) as above:
            workspace.prepare_task(above, name, new=False)
        self.commands.write(slot, words)
        self.give()
        self.send(f"run {slot} {attempt} {self.secrets.of('N', attempt)} {name}")
        return self.task(name)

    def recorded(self, attempt: str) -> str | None:
        """What the journals say about an attempt."""
        with Place.open(self.journals) as journals:
            return journal.outcomes(journals, "N", self.secrets, {attempt: 0}).get(attempt)

    def slot_shell(self, slot: int) -> int:
        """The process id of a slot's shell."""
        for pid in self.session():
            try:
                words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if words[-6:-3] == [b"slot", os.fsencode(self.control), b"%d" % slot]:
                return pid
        raise LookupError(slot)

    def line(self) -> str:
        """The next line that the launcher says, without the secrets, which must be right."""
        line = ""
        while not line:
            line = self.raw_line()
        words = line.split()
        if words[0] in ("exited", "full"):
            assert self.secrets.are(words.pop(2), "N", words[1])
        elif words[0] == "lost":
            assert words.pop(2) == "N"
        elif words[0] == "refused":
            assert words.pop() in ("N", "refused")
            return "refused"
        else:
            return line
        return " ".join(words)

    def raw_line(self) -> str:
        assert self.process.stdout is not None
        deadline = time.monotonic() + LIMIT_S
        while b"\n" not in self._buffer:
            left = deadline - time.monotonic()
            assert left > 0, f"nothing within {LIMIT_S} s; so far {self._buffer!r}"
            if select.select([self.process.stdout], [], [], left)[0]:
                data = os.read(self.process.stdout.fileno(), 4096)
                assert data, "the launcher ended"
                self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line.decode() or self.raw_line()  # a report begins with a line of its own

    def outcome(self, words: list[str], attempt: str = "1.1") -> tuple[str, str, str]:
        """What a task alone in slot 1 leaves: code, standard output, standard error."""
        directory = self.run(1, attempt, words)
        said = self.line().split()
        assert said[:2] == ["exited", attempt]
        assert self.recorded(attempt) == said[2]
        return said[2], read(directory / "stdout.txt"), read(directory / "stderr.txt")

    def drain(self) -> int:
        """Close its input; its exit status."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.process.wait(LIMIT_S)

    def close(self) -> None:
        self.commands.close()
        for process in self.session():
            kill(process)
        self.process.kill()
        with self.process:
            pass

    def session(self) -> list[int]:
        """Every process that belongs to this launcher."""
        mark = os.fsencode(str(self.place))
        found = []
        for entry in os.scandir("/proc"):
            if entry.name.isdecimal() and int(entry.name) != os.getpid():
                for file in ("cmdline", "environ"):
                    try:
                        if mark in Path(entry.path, file).read_bytes():
                            found.append(int(entry.name))
                            break
                    except OSError:
                        pass
        return found


def read(path: Path) -> str:
    return path.read_text(errors="surrogateescape")


def kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def until(condition: Callable[[], object], limit_s: float = LIMIT_S) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)


Start = Callable[..., Launcher]


@pytest.fixture(params=SHELLS)
def shell(request: pytest.FixtureRequest) -> str:
    """Each shell that this machine has."""
    if shutil.which(request.param) is None:
        pytest.skip(f"no {request.param} here")
    return str(request.param)


@pytest.fixture(scope="module")
def path_without(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """A PATH with all programs but one; with all for ''."""

    @functools.cache
    def make(tool: str) -> str:
        if not tool:
            return "/usr/bin:/bin"
        directory = tmp_path_factory.mktemp(f"without-{tool}")
        for entry in os.scandir("/usr/bin"):
            if entry.name != tool:
                (directory / entry.name).symlink_to(entry.path)
        return str(directory)

    return make


@pytest.fixture
def start(tmp_path: Path, shell: str, path_without: Callable[[str], str]) -> Iterator[Start]:
    """Starts launchers under the shell and ends them."""
    started: list[Launcher] = []

    def begin(without: str = "", verb: str = "serve", network: Path | None = None) -> Launcher:
        place = tmp_path / f"l{len(started)}"
        place.mkdir()
        started.append(Launcher(place, shell, path_without(without), verb, network))
        return started[-1]

    yield begin
    for one in started:
        one.close()


@pytest.fixture(params=["with all", "without setsid"])
def launcher(request: pytest.FixtureRequest, start: Start) -> Launcher:
    """A running launcher, also where the image lacks a tool that it likes to have."""
    _, _, tool = request.param.partition("without ")
    return start(tool)


@pytest.mark.parametrize(
    "word",
    [
        "plain", "", "two words", "tab\there", "a\nb\n", "it's", '"quoted"', "$HOME", "`id`",
        "$(id)", "\\", "\\n", "-n", "--", "*", "~", "a;b", "a&&b", "|", "#no", "ä€𝄞", "\udcff\udc80",
        "'", "''", "!x", "%s", "a=b",
    ],
)  # fmt: skip
def test_words_arrive_as_they_are(tmp_path: Path, word: str) -> None:
    """Every byte but NUL of a command's words reaches the program."""
    launcher = Launcher(tmp_path, "sh")
    try:
        code, out, err = launcher.outcome(["printf", "[%s]", word, "end"])
    finally:
        launcher.close()
    assert (code, out, err) == ("0", f"[{word}][end]", "")


def test_words_arrive_in_every_shell(launcher: Launcher) -> None:
    """Quotes, newlines, signs of the shell and undecodable bytes pass in each shell."""
    words = ["it's", "a\nb", "$HOME `id` *", "\udcff\udc80", "-e", ""]
    code, out, _ = launcher.outcome(["printf", "[%s]", *words])
    assert (code, out) == ("0", "".join(f"[{word}]" for word in words))


@pytest.mark.parametrize("name", ["exit", "cd", "eval", "exec", "set", "trap", ".", "__run", "if"])
def test_builtins_are_no_programs(launcher: Launcher, name: str) -> None:
    """A builtin, function or keyword of the shell is a program that was not found."""
    code, out, err = launcher.outcome([name, "1"])
    assert (code, out) == ("missing", "")
    assert "program not found" in err
    assert launcher.outcome(["printf", "on"], "2.1") == ("0", "on", "")


def test_builtin_name_that_is_a_program(launcher: Launcher) -> None:
    """`kill`, `test` and `printf` are the programs of PATH, not the shell's builtins."""
    assert launcher.outcome(["test", "a", "=", "b"])[0] == "1"
    assert launcher.outcome(["kill", "-l", "9"], "2.1")[1].strip() == "KILL"


@pytest.mark.parametrize("program", ["no-such-program", "/no/such/program", "./x", "-x", "a b"])
def test_missing_program(launcher: Launcher, program: str) -> None:
    """A program that does not exist is `missing`, whatever form its name has."""
    assert launcher.outcome([program])[0] == "missing"


def test_program_that_may_not_run(launcher: Launcher) -> None:
    """A file without the right to be executed is `denied`, one that ends with 126 or 127 is not."""
    plain = launcher.place / "plain"
    plain.write_text("x")
    assert launcher.outcome([str(plain)])[0] == "denied"
    assert launcher.outcome([str(launcher.place)], "2.1")[0] == "denied"
    assert launcher.outcome(["sh", "-c", "exit 126"], "3.1")[0] == "126"
    assert launcher.outcome(["sh", "-c", "exit 127"], "4.1")[0] == "127"


def test_program_of_the_working_directory(launcher: Launcher) -> None:
    """A relative path is looked up in `wd`, where the task runs."""
    directory = launcher.task("t")
    (directory / "wd").mkdir(parents=True)
    script = directory / "wd" / "x"
    script.write_text("#!/bin/sh\npwd\n")
    script.chmod(0o755)
    assert launcher.outcome(["./x"]) == ("0", f"{directory}/wd\n", "")


def test_surroundings_of_a_task(launcher: Launcher) -> None:
    """A task has its id and directories in its environment, no input, and none of our variables."""
    script = (
        "echo $AZ_BATCH_TASK_ID $AZ_BATCH_TASK_DIR $AZ_BATCH_TASK_WORKING_DIR; cat; "
        "env | grep __ ; echo $#"
    )
    directory = launcher.task("t")
    assert launcher.outcome(["sh", "-c", script])[1] == f"t {directory} {directory}/wd\n0\n"


def test_signals_are_default_in_tasks(start: Start, shell: str) -> None:
    """A task starts with no signal ignored: it can be interrupted, and its pipes break.

    Busybox has nothing that undoes what every shell does to its background processes.
    """
    if shell == "busybox":
        pytest.skip("busybox cannot reset ignored signals")
    launcher = start()
    code, out, _ = launcher.outcome(["sh", "-c", "grep SigIgn /proc/self/status"])
    assert (code, out.split()) == ("0", ["SigIgn:", "0" * 16])


def test_tasks_run_side_by_side(launcher: Launcher) -> None:
    """Slots do not wait for one another, and the order of reports is the order of ends."""
    gate = launcher.place / "gate"
    wait = f"until [ -e {gate} ]; do sleep 0.05; done"
    launcher.run(1, "1.1", ["sh", "-c", wait], "a")
    launcher.run(2, "2.1", ["true"], "b")
    assert launcher.line() == "exited 2.1 0"
    gate.touch()
    assert launcher.line() == "exited 1.1 0"


def test_drain_finishes_what_runs(launcher: Launcher) -> None:
    """At the end of its input the launcher lets tasks end, writes their exits and leaves nothing."""
    gate = launcher.place / "gate"
    slow = ["sh", "-c", f"until [ -e {gate} ]; do sleep 0.05; done; echo done; exit 4"]
    directory = launcher.run(1, "1.1", slow, "a")
    until((directory / "stdout.txt").exists)
    assert launcher.process.stdin is not None
    launcher.process.stdin.close()
    gate.touch()
    assert launcher.process.wait(LIMIT_S) == 0
    assert launcher.recorded("1.1") == "4"
    assert read(directory / "stdout.txt") == "done\n"
    until(lambda: not launcher.session())


def test_drain_with_nobody_listening(launcher: Launcher) -> None:
    """An agent that died reads no reports: results are written and the launcher still ends."""
    assert launcher.process.stdout is not None
    launcher.run(1, "1.1", ["sh", "-c", "sleep 0.2; exit 6"])
    launcher.process.stdout.close()
    launcher.drain()
    until(lambda: launcher.recorded("1.1") == "6")
    until(lambda: not launcher.session())


def test_kill_reaches_the_whole_tree(launcher: Launcher) -> None:
    """TERM reaches children and processes that left the session."""
    setsid = shutil.which("setsid")
    script = f"sleep 1000 & {setsid} sleep 1001 & ({setsid} sh -c 'sleep 1002; :' &) ; wait"
    before = len(launcher.session())
    launcher.run(1, "1.1", ["bash", "-c", script])
    until(lambda: len(launcher.session()) >= before + 5)
    launcher.send("kill 1 1.1 TERM")
    assert launcher.line().split()[:2] == ["exited", "1.1"]
    launcher.send("kill 1 1.1 KILL")
    until(lambda: not any(sleeper(pid) for pid in launcher.session()))
    assert launcher.outcome(["printf", "on"], "2.1")[1] == "on"


def sleeper(pid: int) -> bool:
    try:
        return b"sleep\x00100" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def test_kill_spares_the_others(launcher: Launcher) -> None:
    """Ending an attempt does not touch what runs in other slots, nor a later task of its slot."""
    gate = launcher.place / "gate"
    wait = ["sh", "-c", f"until [ -e {gate} ]; do sleep 0.05; done"]
    launcher.run(1, "1.1", ["sleep", "1000"], "a")
    other = launcher.run(2, "2.1", wait, "b")
    until((other / "stdout.txt").exists)
    until(lambda: any(sleeper(pid) for pid in launcher.session()))
    launcher.send("kill 1 1.1 KILL")
    assert launcher.line() == "exited 1.1 137"
    launcher.run(1, "3.1", wait, "c")
    launcher.send("kill 1 1.1 KILL")  # late, for an attempt that is gone; same slot
    gate.touch()
    said = {launcher.line()}
    assert "exited 2.1 0" in said | {launcher.line()}


def test_kill_spares_other_nodes(launcher: Launcher, start: Start) -> None:
    """Ending an attempt does not touch the attempt of the same number on another node."""
    other = start()
    gate = other.place / "gate"
    directory = other.run(1, "1.1", ["sh", "-c", f"until [ -e {gate} ]; do sleep 0.05; done"])
    until((directory / "stdout.txt").exists)
    launcher.run(1, "1.1", ["sleep", "1000"])
    until(lambda: any(sleeper(pid) for pid in launcher.session()))
    launcher.send("kill 1 1.1 KILL")
    assert launcher.line() == "exited 1.1 137"
    gate.touch()
    assert other.line() == "exited 1.1 0"


def test_task_that_signals_its_group(start: Start) -> None:
    """`kill 0` ends the task alone: the slot's shell stays."""
    launcher = start()
    assert launcher.outcome(["sh", "-c", "kill 0; sleep 10"])[0] == "143"
    assert launcher.outcome(["printf", "on"], "2.1")[1] == "on"


def test_slot_killed_by_its_task(start: Start) -> None:
    """`kill -9 0` takes the slot's shell along; that is said, and other slots go on."""
    launcher = start()
    launcher.run(1, "1.1", ["sh", "-c", "kill -9 0"])
    assert launcher.line() == "lost 1 alone"
    assert launcher.recorded("1.1") is None
    launcher.run(2, "1.2", ["true"])
    assert launcher.line() == "exited 1.2 0"
    assert launcher.drain() == 0
    until(lambda: not launcher.session())


def test_slot_killed_from_outside(start: Start) -> None:
    """What ran in a slot whose shell was killed is ended before it is said to be lost."""
    launcher = start()
    script = "sleep 1000 & setsid sleep 1001 & wait"
    launcher.run(1, "1.1", ["bash", "-c", script])
    until(lambda: sum(map(sleeper, launcher.session())) == 2)
    os.kill(launcher.slot_shell(1), signal.SIGKILL)
    assert launcher.line() == "lost 1"
    assert not any(map(sleeper, launcher.session()))


def test_nothing_is_lost_while_nothing_can_be_opened(launcher: Launcher, shell: str) -> None:
    """A launcher whose descriptors were taken from it says neither that slots are lost nor that they
    live; an attempt that it cannot pass on waits. Or it ends, and its node with it."""
    pid = launcher.process.pid
    launcher.run(1, "1.1", ["sleep", "1000"])
    until(lambda: any(map(sleeper, launcher.session())))
    launcher.send("check before")
    assert launcher.line() == "alive before"
    _, most = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (0, most))
    launcher.send("check meanwhile")
    if shell == "busybox":
        assert launcher.process.wait(LIMIT_S) == 1
        return
    launcher.run(1, "2.1", ["true"])
    assert launcher.line() == "lost 1 refused"
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (most, most))
    assert any(map(sleeper, launcher.session()))
    launcher.send("check after")
    assert launcher.line() == "alive after"


def test_nothing_starts_in_a_lost_slot(start: Start) -> None:
    """A task that was handed to a slot around its loss never runs there."""
    launcher = start()
    assert launcher.outcome(["true"])[0] == "0"
    os.kill(launcher.slot_shell(1), signal.SIGKILL)
    directory = launcher.run(1, "2.1", ["true"], "b")
    assert launcher.line() == "lost 1 alone"
    launcher.run(1, "2.2", ["true"], "b")
    launcher.run(2, "3.1", ["true"], "c")
    assert launcher.line() == "exited 3.1 0"
    assert launcher.recorded("2.1") is None
    assert not (directory / "stdout.txt").exists()
    assert launcher.drain() == 0


def test_nothing_starts_in_a_slot_that_was_given_up(start: Start) -> None:
    """Nor does one that was on its way when the slot was given up, for lack of a guard."""
    launcher = start()
    assert launcher.outcome(["true"])[0] == "0"
    guard = int(_stat(launcher.slot_shell(1))[1])
    os.kill(guard, signal.SIGKILL)
    until(lambda: not _runs(guard))
    launcher.send("check w")
    directory = launcher.run(1, "2.1", ["true"], "b")
    launcher.run(2, "3.1", ["true"], "c")
    said = [launcher.line() for _ in range(3)]
    assert said in [[lost, "alive w", "exited 3.1 0"] for lost in ("lost 1", "lost 1 alone")]
    assert launcher.recorded("2.1") is None
    assert not (directory / "stdout.txt").exists()
    assert launcher.drain() == 0
    until(lambda: not launcher.session())


def test_slot_killed_while_draining(start: Start) -> None:
    """With the agent and a slot's shell both gone the launcher still ends."""
    launcher = start()
    launcher.run(1, "1.1", ["sleep", "1000"])
    until(lambda: any(map(sleeper, launcher.session())))
    assert launcher.process.stdout is not None
    assert launcher.process.stdin is not None
    launcher.process.stdout.close()
    launcher.process.stdin.close()
    os.kill(launcher.slot_shell(1), signal.SIGKILL)
    assert launcher.process.wait(LIMIT_S) == 0
    until(lambda: not launcher.session())


@pytest.mark.parametrize("idle", [True, False])
def test_guard_killed_before_draining(start: Start, idle: bool) -> None:
    """A slot that nobody can tell of the end ends with its guard, after what runs in it."""
    launcher = start()
    directory = launcher.task("t")
    if idle:
        assert launcher.outcome(["true"])[0] == "0"
    else:
        launcher.run(
            1, "1.1", ["sh", "-c", "echo up; until [ -e ../../gate ]; do sleep 0.05; done"]
        )
        until(lambda: (directory / "stdout.txt").exists() and read(directory / "stdout.txt"))
    guard = int(_stat(launcher.slot_shell(1))[1])
    os.kill(guard, signal.SIGKILL)
    until(lambda: not _runs(guard))
    launcher.drain()
    (launcher.place / "gate").touch()
    until(lambda: not launcher.session())
    assert launcher.recorded("1.1") == "0"


@pytest.mark.parametrize("shell", ["dash", "bash"], indirect=True)  # busybox has a `rm` of its own
def test_dispatcher_killed_while_draining(tmp_path: Path, shell: str) -> None:
    """Once the end counts as seen, no slot waits for the dispatcher any more."""
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "rm").write_text('#!/bin/sh\n/bin/rm "$@"\nkill -9 "$PPID"\n')
    (tools / "rm").chmod(0o755)
    (tmp_path / "l").mkdir()
    launcher = Launcher(tmp_path / "l", shell, f"{tools}:/usr/bin:/bin")
    try:
        assert launcher.outcome(["true"])[0] == "0"
        assert (launcher.journals / "serving").exists()
        assert launcher.drain() == -signal.SIGKILL
        assert not (launcher.journals / "serving").exists()
        until(lambda: not launcher.session())
    finally:
        launcher.close()


def test_many_tasks_keep_their_results(launcher: Launcher) -> None:
    """Exit codes of many tasks over few slots all arrive, each for its attempt."""
    expected = {f"{n}.1": str(n % 7) for n in range(60)}
    found, slots = {}, {}
    for n in range(63):
        slot = n + 1
        if n >= 3:
            _, attempt, code = launcher.line().split()
            found[attempt] = code
            slot = slots.pop(attempt)
        if n < 60:
            slots[f"{n}.1"] = slot
            launcher.run(slot, f"{n}.1", ["sh", "-c", f"exit {n % 7}"], f"t{n}")
    assert found == expected


def test_shell_survives_a_task_that_removes_its_directory(launcher: Launcher) -> None:
    """A task that removes its own directory is reported; the next one runs."""
    launcher.run(1, "1.1", ["sh", "-c", 'rm -rf "$AZ_BATCH_TASK_DIR"; exit 5'])
    assert launcher.line() == "exited 1.1 5"
    assert launcher.outcome(["printf", "on"], "2.1")[1] == "on"


def test_removed_workspace_ends_everything(launcher: Launcher) -> None:
    """When its directory is gone there is nothing left to finish: launcher, slots and tasks end."""
    directory = launcher.run(1, "1.1", ["sh", "-c", "echo $$ > pid; exec sleep 600"])
    pid = directory / "wd" / "pid"
    deadline = time.monotonic() + LIMIT_S
    while not pid.exists() or not pid.read_text():
        assert time.monotonic() < deadline
        select.select([], [], [], 0.01)
    task = os.pidfd_open(int(pid.read_text()))
    try:
        shutil.rmtree(launcher.control)
        assert launcher.process.stdin is not None
        launcher.process.stdin.close()
        assert launcher.process.wait(LIMIT_S) == 0
        assert select.select([task], [], [], LIMIT_S)[0], "the task still runs"
    finally:
        os.close(task)


def test_slot_killed_with_its_guard(launcher: Launcher) -> None:
    """When nobody is left who could say that a slot was lost, the launcher says it on request."""
    tasks = [
        launcher.run(1, "1.1", ["sleep", "1000"], "a"),
        launcher.run(2, "2.1", ["sleep", "1000"], "b"),
    ]
    until(lambda: sum(map(sleeper, launcher.session())) == len(tasks))
    launcher.send("check w")
    assert launcher.line() == "alive w"
    pids = [int(path) for path in os.listdir("/proc") if path.isdecimal()]
    ours = [pid for pid in pids if _has_ancestor(pid, launcher.process.pid)]
    for pid in ours:
        os.kill(pid, signal.SIGKILL)
    until(lambda: not any(map(_runs, ours)))
    launcher.send("check w")
    said = {launcher.line(), launcher.line()}
    assert said == {"lost 1 alone", "lost 2 alone"}
    assert launcher.line() == "alive w"


def _stat(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    except OSError:
        return ["X", "0"]


def _runs(pid: int) -> bool:
    return _stat(pid)[0] not in "ZX"


def _has_ancestor(pid: int, ancestor: int) -> bool:
    while pid > 1:
        pid = int(_stat(pid)[1])
        if pid == ancestor:
            return True
    return False


#: A `setsid` that cannot be found by what is in its environment until there is a file `go`: such is
#: a process that was forked and does not run its program yet.
SLOW_SETSID = """#!{python} -I
import os, sys, time
place = {place!r}
if sys.argv[1:2] != ["unseen"]:
    words = [name + "=" + value for name, value in os.environ.items()]
    os.execve(sys.argv[0], [sys.argv[0], "unseen", str(len(words)), *words, *sys.argv[1:]], {{}})
open(place + "/unseen", "w").close()
while not os.path.exists(place + "/go"):
    time.sleep(0.01)
count = int(sys.argv[2])
words, argv = sys.argv[3 : 3 + count], sys.argv[3 + count :]
os.setsid()
os.execvpe(argv[0], argv, dict(word.split("=", 1) for word in words))
"""


def test_guard_killed_while_its_slot_starts(tmp_path: Path, shell: str) -> None:
    """A slot's shell that starts when its slot is given up already runs nothing."""
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "setsid").write_text(SLOW_SETSID.format(python=sys.executable, place=str(tmp_path)))
    (tools / "setsid").chmod(0o755)
    (tmp_path / "l").mkdir()
    launcher = Launcher(tmp_path / "l", shell, f"{tools}:/usr/bin:/bin")
    try:
        launcher.run(1, "1.1", ["touch", str(tmp_path / "ran")])
        until((tmp_path / "unseen").exists)
        late = [pid for pid in launcher.session() if b"unseen" in _command(pid)]
        assert len(late) == 1
        guard = int(_stat(late[0])[1])
        os.kill(guard, signal.SIGKILL)
        until(lambda: not _runs(guard))
        launcher.send("check w")
        assert [launcher.line(), launcher.line()] == ["lost 1 alone", "alive w"]
        (tmp_path / "go").touch()
        until(lambda: not _runs(late[0]))
        assert not (tmp_path / "ran").exists()
        launcher.run(2, "1.2", ["true"])
        assert launcher.line() == "exited 1.2 0"
    finally:
        launcher.close()


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def kill_guard(launcher: Launcher, slot: int) -> list[str]:
    """Kill the guard of a slot; what the launcher says about the slot, and that it looked."""
    os.kill(int(_stat(launcher.slot_shell(slot))[1]), signal.SIGKILL)
    said = "alive w"
    while said == "alive w":  # it takes a moment to die
        launcher.send("check w")
        said = launcher.line()
    return [said, launcher.line()]


def test_guard_killed_beside_its_slot(start: Start) -> None:
    """A slot whose guard was killed is given up with what runs in it, so that nothing runs twice."""
    launcher = start()
    launcher.run(1, "1.1", ["sleep", "1000"])
    until(lambda: any(map(sleeper, launcher.session())))
    assert kill_guard(launcher, 1) == ["lost 1", "alive w"]
    assert not any(map(sleeper, launcher.session()))
    assert launcher.recorded("1.1") is None
    launcher.send("check w")
    assert launcher.line() == "alive w"
    launcher.run(2, "1.2", ["true"])
    assert launcher.line() == "exited 1.2 0"
    assert launcher.drain() == 0
    until(lambda: not launcher.session())


#: A process namespace, in which process ids begin at 1.
OWN_PIDS = [
    "unshare",
    "--user",
    "--map-root-user",
    "--pid",
    "--fork",
    "--mount-proc",
    "--kill-child",
]


def test_slot_given_up_whose_task_is_found_first(tmp_path: Path, shell: str) -> None:
    """A shell does not live to report that its task was killed when its slot was given up."""
    launcher = Launcher(tmp_path, shell, within=OWN_PIDS)
    try:
        for count in range(1, 200):
            attempt = f"1.{count}"
            launcher.run(1, attempt, ["sleep", "1000"])
            until(lambda: any(map(sleeper, launcher.session())))
            task = next(filter(sleeper, launcher.session()))
            if _inner_pid(task) < _inner_pid(launcher.slot_shell(1)):  # as words: so /proc is read
                break
            os.kill(task, signal.SIGKILL)
            assert launcher.line() == f"exited {attempt} 137"
        assert kill_guard(launcher, 1) == ["lost 1", "alive w"]
        assert launcher.recorded(attempt) is None
    finally:
        launcher.close()


def _inner_pid(pid: int) -> str:
    """The id of a process in its own namespace."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("NSpid:"):
            return line.split()[-1]
    raise LookupError(pid)


# --- for one task


def test_once(start: Start) -> None:
    """A launcher for one task runs it with default signals and ends by itself."""
    launcher = start(verb="once")
    launcher.send("check w")
    script = (
        "import signal; print(signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGQUIT))"
    )
    code, output, _ = launcher.outcome(["python3", "-c", script])
    assert (code, output.split()[-1]) == ("0", str(signal.SIG_DFL).split()[-1])
    assert "default_int_handler" in output
    assert launcher.process.wait(LIMIT_S) == 0
    until(lambda: not launcher.session())


def test_once_without_a_task(start: Start) -> None:
    """A launcher for one task that gets none ends when it is told to drain."""
    assert start(verb="once").drain() == 0


def test_keep(start: Start) -> None:
    """A launcher that keeps a network ends after the last of those that use it, however they end."""
    keeper = start(verb="keep")
    users = keeper.control / "users"
    os.mkfifo(users)
    first = start(verb="once", network=users)
    second = start(verb="once", network=users)
    assert keeper.process.stdin is not None
    keeper.process.stdin.close()
    until(lambda: not (keeper.journals / "serving").exists())
    code, output, _ = first.outcome(["ls", "-l", "/proc/self/fd"])
    assert (code, output.count("users")) == ("0", 0)
    assert first.process.wait(LIMIT_S) == 0
    assert keeper.process.poll() is None
    os.killpg(second.process.pid, signal.SIGKILL)
    assert keeper.process.wait(LIMIT_S) == 0


def test_keep_tells_its_names(start: Start) -> None:
    """What those that use the network are told: host name, hosts, name servers."""
    *said, _ = start(verb="keep").greeting
    assert said == [
        f"name {socket.gethostname()}",
        *(f"host {line}" for line in Path("/etc/hosts").read_text().splitlines()),
        *(f"resolver {line}" for line in Path("/etc/resolv.conf").read_text().splitlines()),
    ]


def test_keep_looks(start: Start) -> None:
    """A keeper sees that a socket is left in its network."""
    keeper = start(verb="keep")
    with socket.create_server(("127.0.0.1", 0)):
        keeper.send("look")
        assert keeper.line() == "look used"
    assert keeper.drain() == 0


@pytest.mark.parametrize("fifo", [True, False])
def test_keep_for_nobody(start: Start, fifo: bool) -> None:
    """Unused, or where no FIFO could be made, it ends at once."""
    keeper = start(verb="keep")
    if fifo:
        os.mkfifo(keeper.control / "users")
    assert keeper.drain() == 0


def test_once_kill(start: Start) -> None:
    """`kill` and `check` are heard while the task runs."""
    launcher = start(verb="once")
    launcher.run(1, "1.1", ["sleep", "1000"])
    until(lambda: any(sleeper(pid) for pid in launcher.session()))
    launcher.send("check w")
    assert launcher.line() == "alive w"
    launcher.send("kill 1 1.1 KILL")
    assert launcher.line() == "exited 1.1 137"


def test_once_drain(start: Start) -> None:
    """With nobody left to tell, the task is finished and its result written."""
    launcher = start(verb="once")
    gate = launcher.place / "gate"
    wait = ["sh", "-c", f"until [ -e {gate} ]; do sleep 0.05; done"]
    directory = launcher.run(1, "1.1", wait)
    until((directory / "stdout.txt").exists)
    assert launcher.process.stdin is not None
    assert launcher.process.stdout is not None
    launcher.process.stdin.close()
    launcher.process.stdout.close()
    gate.touch()
    launcher.process.wait(LIMIT_S)
    assert launcher.recorded("1.1") == "0"


#: A user that nobody is: a limit of processes counts all of a user's.
NOBODY_ELSE = 54322


@pytest.fixture
def start_limited(shell: str) -> Iterator[Start]:
    """Starts launchers of a user who may have few processes."""
    place = Path(tempfile.mkdtemp(dir="/tmp", prefix="cloudops-launcher-"))
    place.chmod(0o755)
    started: list[Launcher] = []

    def begin(processes: int) -> Launcher:
        made = place / f"l{len(started)}"
        made.mkdir()
        started.append(Launcher(made, shell, user=NOBODY_ELSE, processes=processes))
        return started[-1]

    yield begin
    for one in started:
        one.close()
    shutil.rmtree(place)


@pytest.mark.thorough
@pytest.mark.root
def test_launcher_without_a_process(start_limited: Start) -> None:
    """A launcher that cannot make a process says so before it ends."""
    assert start_limited(1).greeting == ["refused"]


def test_task_that_cannot_begin(launcher: Launcher) -> None:
    """A directory in the place of a stream, and no directory at all, are not taken for an exit code."""
    task = launcher.task("t")
    (task / "wd").mkdir(parents=True)
    (task / "stdout.txt").mkdir()
    launcher.commands.write(1, ["true"])
    launcher.send(f"run 1 1.1 {launcher.secrets.of('N', '1.1')} t")
    assert launcher.line() == "exited 1.1 denied"
    launcher.send(f"run 1 2.1 {launcher.secrets.of('N', '2.1')} nowhere")
    assert launcher.line() == "exited 2.1 gone"
    launcher.run(1, "3.1", ["sh", "-c", "exit 2"], "u")
    assert launcher.line() == "exited 3.1 2"
    assert launcher.recorded("2.1") == "gone"


@pytest.mark.thorough
@pytest.mark.parametrize("more", [0, 1, 2])
@pytest.mark.root
def test_slot_without_a_process(start_limited: Start, shell: str, more: int) -> None:
    """Where a slot or its task cannot be started, the slot is lost, as refused; the launcher stays,
    and has what it takes when the limit is raised. A bash that cannot start a slot ends with the node,
    and says so."""
    launcher = start_limited(100)
    launcher.limit(1 + more)
    launcher.run(1, "1.1", ["true"])
    said = launcher.line()
    if shell == "bash" and said == "refused":
        assert launcher.process.wait(LIMIT_S) == 254
        return
    assert said == "lost 1 refused"
    assert launcher.recorded("1.1") is None
    launcher.send("check w")
    until(lambda: launcher.line() == "alive w")  # the slot may be said to be lost again
    launcher.limit(100)
    launcher.run(2, "1.2", ["sh", "-c", "exit 7"])
    assert launcher.line() == "exited 1.2 7"


@pytest.mark.thorough
@pytest.mark.root
def test_warm_slot_without_a_process(start_limited: Start) -> None:
    """The same for a slot that has run a task before."""
    launcher = start_limited(100)
    launcher.run(1, "1.1", ["true"])
    assert launcher.line() == "exited 1.1 0"
    launcher.limit(1)
    launcher.run(1, "2.1", ["true"])
    assert launcher.line() == "lost 1 refused"
    assert launcher.recorded("2.1") is None
    launcher.limit(100)
    launcher.run(2, "2.2", ["true"])
    assert launcher.line() == "exited 2.2 0"
