"""What a person sees of a job that runs: on terminals of 80 and 60 columns, and where there is none."""

from __future__ import annotations

import fcntl
import os
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time

import pyte
import pytest

ONE = pytest.mark.parametrize("backend", ["subprocess-nosandbox"], indirect=True)
WIDTHS = pytest.mark.parametrize("columns", [80, 60])
pytestmark = ONE
LIMIT_S = 60.0

HEAD = """\
from cfa.cloudops.local import CloudClient
client = CloudClient(max_parallel=4)
client.create_pool("p", container_image_name="busybox", max_autoscale_nodes=4)
client.create_job("my-job", "p")
"""
#: A task that says something, waits for a file of the script's directory, and says something else.
WAITS = "sh -c 'echo begun; until [ -e {gate} ]; do sleep 0.05; done; echo over'"


@pytest.fixture(autouse=True)
def surroundings(monkeypatch):
    """No warnings, and no wish about colours."""
    monkeypatch.setenv("LOG_LEVEL", "error")
    for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES", "CI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")


class Terminal:
    """A program on a terminal of its own, whose screen can be read."""

    def __init__(self, argv, columns=80, stdout=None, stderr=None, **environment):
        self._screen = pyte.HistoryScreen(columns, 24, history=10_000)
        self._stream = pyte.ByteStream(self._screen)
        self.sent = b""
        ours, theirs = os.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        self._descriptor = ours
        self.process = subprocess.Popen(
            argv,
            stdin=theirs,
            stdout=stdout or theirs,
            stderr=stderr or theirs,
            env={**os.environ, **environment},
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(theirs)

    def _read(self, limit_s):
        ready, _, _ = select.select([self._descriptor], [], [], limit_s)
        if not ready:
            return True
        try:
            data = os.read(self._descriptor, 65536)
        except OSError:  # EIO: the other side is closed
            data = b""
        self.sent += data
        self._stream.feed(data)
        return bool(data)

    @property
    def lines(self):
        """All lines, also those that have scrolled away; without blank ones at the end."""
        width = self._screen.columns
        past = ["".join(row[x].data for x in range(width)) for row in self._screen.history.top]
        found = [line.rstrip() for line in (*past, *self._screen.display)]
        while found and not found[-1]:
            found.pop()
        return found

    @property
    def text(self):
        return "\n".join(self.lines)

    def colour(self, word):
        """The colour of the first sign of a word on the screen."""
        for y, line in enumerate(self._screen.display):
            if word in line:
                return self._screen.buffer[y][line.index(word)].fg
        raise AssertionError(f"{word} is not in\n{self.text}")

    def until(self, pattern):
        """Wait until the screen shows something."""
        deadline = time.monotonic() + LIMIT_S
        while not re.search(pattern, self.text):
            assert time.monotonic() < deadline, f"no {pattern} in\n{self.text}"
            assert self._read(0.1), f"it ended without {pattern}:\n{self.text}"
        return self.text

    def end(self):
        """Wait for the program's end; its exit status."""
        deadline = time.monotonic() + LIMIT_S
        while self._read(0.1):
            assert time.monotonic() < deadline, f"it does not end:\n{self.text}"
        os.close(self._descriptor)
        return self.process.wait(LIMIT_S)

    def ctrl_c(self):
        os.write(self._descriptor, b"\x03")

    @property
    def cursor_is_seen(self):
        """Whether the terminal shows its cursor."""
        return not self._screen.cursor.hidden

    def close(self):
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


@pytest.fixture
def terminal(bench):
    """Starts programs on terminals: scripts by their text, `cloudops` by its words."""
    made = []

    def start(script=None, *words, argv=None, **more):
        command = [sys.executable, "-m", "cfa.cloudops.cli", *words]
        if script is not None:
            (bench.place / "script.py").write_text(script)
            command = [*(command if words else [sys.executable]), "script.py"]
        made.append(Terminal(argv or command, **more))
        return made[-1]

    yield start
    for one in made:
        one.close()


def task(command, number=1):
    return f"client.add_task('my-job', {command!r})\n" * number


@WIDTHS
def test_status_of_a_script_that_waits(bench, terminal, columns):
    """Below the output stands how far the job is, what runs and for how long, and what Ctrl-C does."""
    gate = bench.place / "gate"
    shown = terminal(HEAD + task(WAITS.format(gate=gate), 2) + task("echo third"), columns=columns)
    text = shown.until(r"my-job: 1 of 3 done, 2 running")
    shown.until(r"my-job--1 [12] s, my-job--2 [12] s")
    shown.until(r"Ctrl-C detaches, tasks go on")
    assert max(map(len, text.splitlines())) <= columns
    seen = shown.until(r"[|/\\-] [3-9] s my-job")  # the heartbeat goes on though nothing happens
    assert seen.count("Ctrl-C detaches") == 1, seen
    gate.touch()
    assert shown.end() == 0
    assert sorted(shown.lines[:-1]) == sorted(
        [f"my-job--{n} | {word}" for n in (1, 2) for word in ("begun", "over")]
        + ["my-job--3 | third"]
    )
    assert shown.lines[-1] == "cloudops: 3 succeeded, 0 failed"


@pytest.mark.parametrize("columns", [80, 60, 40])
def test_long_names(bench, terminal, columns):
    """Long names are shortened in the middle, so that counts and times are seen."""
    gate = bench.place / "gate"
    name = "influenza-sensitivity-of-the-north-east-2026-with-waning-60"
    script = HEAD.replace("my-job", name) + task(WAITS.format(gate=gate)).replace("my-job", name)
    script += f"client.monitor_job({name!r})\n"
    shown = terminal(script, columns=columns)
    text = shown.until(
        r"(?m)^[|/\\-] \d+ s influen\S*…\S*60: 0 of 1 done, 1 run.*"
        r"\n  influen\S*…\S*60--1 \d+ s$"
    )
    assert max(map(len, text.splitlines())) <= columns
    gate.touch()
    assert shown.end() == 0


def test_output_on_a_terminal(bench, terminal):
    """Prefixes are aligned and coloured, standard error is marked, long lines stay whole."""
    script = HEAD + "for n in range(9):\n    client.add_task('my-job', 'true')\n"
    script += task("sh -c 'echo out; echo wrong >&2'") + task(f"echo {'long ' * 30}")
    shown = terminal(script + "client.add_task('my-job', 'echo first', name_suffix='a')\n")
    assert shown.end() == 0
    # Prefixes are as wide as the longest id that was known by then.
    assert re.search(r"my-job--10  ?\| out", shown.text)
    assert re.search(r"my-job--10  ?! wrong", shown.text)
    assert "my-job-a-12 | first" in shown.text
    text = shown.text.replace("\n", "").replace("my-job--11  |", "my-job--11 |")
    assert ("my-job--11 | " + "long " * 30).strip() in text
    assert shown.colour("! wrong") == "red"
    assert shown.colour("my-job--10") not in ("default", shown.colour("my-job-a-12"))


def test_progress_of_a_task(bench, terminal):
    """What a task writes over with a carriage return does not leave its line."""
    progress = 'sh -c \'for n in 1 2 3; do printf "$n of 3\\r"; done; printf "done  \\n"\''
    shown = terminal(HEAD + task(progress))
    assert shown.end() == 0
    assert shown.lines == ["my-job--1 | done", "cloudops: 1 succeeded, 0 failed"]


@pytest.mark.parametrize("before", [0, 1_000_000])
def test_a_line_that_is_not_ended_of_a_monitored_job(bench, terminal, before):
    """`monitor_job`, which shows no output, shows such lines, however much was written before."""
    gate = bench.place / "gate"
    (bench.place / "bar.sh").write_text(
        f"head -c {before} /dev/zero; printf '\\ntext\\nbegun 1\\r'; printf 'begun 2'\n"
        f"until [ -e {gate} ]; do sleep 0.05; done; echo; sleep 2\n"
    )
    more = "client.monitor_job('my-job')\n"
    shown = terminal(HEAD + task(f"sh {bench.place}/bar.sh") + more)
    shown.until(r"\n  my-job--1 [0-9]+ s \| begun 2\n  Ctrl-C")
    gate.touch()
    shown.until(r"\n  my-job--1 [0-9]+ s\n  Ctrl-C")
    assert shown.end() == 0
    assert "begun" not in shown.text


@WIDTHS
def test_a_line_that_is_not_ended(bench, terminal, columns):
    """What a task has written of a line stands beside the task until the line ends, in colours."""
    gate, later = bench.place / "gate", bench.place / "later"
    wait = "until [ -e {} ]; do sleep 0.05; done"
    bar = "#" * 80
    command = (
        f"printf '10 %%\\r20 %%\\r'; {wait.format(gate)}; "
        f"printf '\\033[2K\\033[32m90 %% {bar}\\033[0m' >&2; {wait.format(later)}; echo done"
    )
    (bench.place / "bar.sh").write_text(command)
    shown = terminal(
        HEAD + task(f"sh {bench.place}/bar.sh") + task(WAITS.format(gate=gate)), columns=columns
    )
    shown.until(r"\n  my-job--1 [0-9]+ s \| 20 %\n  my-job--2 [0-9]+ s\n  Ctrl-C")
    gate.touch()
    text = shown.until(r"\n  my-job--1 [0-9]+ s \| 90 % #+…\n  Ctrl-C")
    assert max(map(len, text.splitlines())) == columns
    later.touch()
    assert shown.end() == 0
    lines = "".join(shown.lines)
    assert "my-job--1 | done" in lines
    assert "my-job--1 ! 90 % #" in lines
    assert "20 %" not in lines
    assert shown.colour("90 %") == "green"
    assert "Ctrl-C" not in shown.text


@WIDTHS
@pytest.mark.parametrize("way", ["monitor_job", "job monitor"])
def test_a_failure_is_shown_when_it_happens(bench, terminal, columns, way):
    """A task that fails is shown at once with its last lines and the command for more."""
    gate = bench.place / "gate"
    bad = "sh -c 'for n in 1 2 3 4 5 6 7; do echo reason $n >&2; done; exit 3'"
    script = HEAD + task(WAITS.format(gate=gate)) + task(bad)
    if way == "monitor_job":
        shown = terminal(script + "client.monitor_job('my-job')\n", columns=columns)
    else:
        assert bench.run(script, CLOUDOPS_AT_EXIT="detach")[0] == 0
        shown = terminal(None, "job", "monitor", "my-job", columns=columns)
    text = shown.until(r"1 of 2 done, 1 failed, 1 running")
    assert "my-job--2 failed: " in text
    assert "exit code 3" in text
    assert "\n  reason 3\n" in text
    assert "\n  reason 7\n" in text
    assert "reason 2" not in text
    assert "  More: cloudops task show my-job my-job--2" in text
    assert max(map(len, text.splitlines())) <= columns
    gate.touch()
    assert shown.end() == (0 if way == "monitor_job" else 1)
    assert "Ctrl-C" not in shown.text
    assert shown.text.count("exit code 3") == 1
    last = "".join(shown.lines[-4:]).replace(" ", "")  # a terminal breaks long lines
    assert ("'fail':1}" if way == "monitor_job" else "1succeeded,1failed") in last


def test_a_job_behind_another(bench, terminal):
    """A job that waits for another one says for which."""
    gate = bench.place / "gate"
    client = bench.client(max_parallel=1)
    client.create_pool("p", container_image_name=bench.image)
    client.create_job("first", "p")
    client.add_task(WAITS.format(gate=gate))
    bench.running(client, "first--1", "first")
    script = HEAD.replace("max_parallel=4", "max_parallel=1") + task("true")
    shown = terminal(script + "client.monitor_job('my-job')\n")
    shown.until(r"my-job: 0 of 1 done, 1 waiting\n  waits for the job first\n  Ctrl-C")
    gate.touch()
    assert shown.end() == 0


#: Seconds between one Ctrl-C and the next.
AGAIN = pytest.mark.parametrize(
    "pauses_s", [[0.001] * 9, [0.003], [0.2]], ids=["many", "soon", "late"]
)


@pytest.mark.parametrize("words", [("logs", "-f", "my-job"), ("job", "monitor", "my-job")])
def test_ctrl_c_of_a_command(bench, terminal, words):
    """Ctrl-C ends `logs -f` and `job monitor` by SIGINT, and it is said that the tasks go on."""
    gate = bench.place / "gate"
    bench.run(HEAD + task(WAITS.format(gate=gate)), CLOUDOPS_AT_EXIT="detach")
    shown = terminal(None, *words)
    shown.until("Ctrl-C detaches")
    shown.until("1 running")
    shown.ctrl_c()
    assert shown.end() == -signal.SIGINT
    assert "detached; 1 task of my-job goes on." in shown.text
    assert "cloudops job terminate my-job" in shown.text.replace("\n", "")
    assert "Traceback" not in shown.text
    gate.touch()


@pytest.mark.parametrize(
    "more", ["", "client.monitor_job('my-job')\n"], ids=["wait", "monitor_job"]
)
@pytest.mark.parametrize("run", [False, True], ids=["python", "run"])
def test_ctrl_c_of_a_script(bench, terminal, more, run):
    """Ctrl-C while a script waits ends it by SIGINT without a traceback; what goes on is said once."""
    gate = bench.place / "gate"
    script = "import atexit\natexit.register(print, 'after all')\n"
    script += HEAD + task(WAITS.format(gate=gate)) + more
    shown = terminal(script, *(["run"] if run else []))
    shown.until("1 running")
    shown.ctrl_c()
    assert shown.end() == -signal.SIGINT
    assert shown.text.count("detached; 1 task of my-job goes on.") == 1
    assert "Traceback" not in shown.text
    assert "after all" in shown.text
    assert shown.cursor_is_seen
    gate.touch()


@pytest.mark.parametrize(
    "more", ["", "client.monitor_job('my-job')\n"], ids=["wait", "monitor_job"]
)
@AGAIN
def test_ctrl_c_again(bench, terminal, more, pauses_s):
    """Those who press Ctrl-C more than once see the same as those who press it once."""
    gate = bench.place / "gate"
    script = "import atexit\natexit.register(print, 'after all')\n"
    shown = terminal(script + HEAD + task(WAITS.format(gate=gate)) + more)
    shown.until("1 running")
    for pause_s in (0.0, *pauses_s):
        time.sleep(pause_s)
        shown.process.send_signal(signal.SIGINT)  # a terminal would drop what was printed before
    assert shown.end() == -signal.SIGINT
    assert shown.text.count("detached; 1 task of my-job goes on.") == 1
    assert "Traceback" not in shown.text
    assert "Exception ignored" not in shown.text
    assert "after all" in shown.text
    gate.touch()


@AGAIN
@pytest.mark.parametrize("words", [("logs", "-f", "my-job"), ("job", "monitor", "my-job")])
def test_ctrl_c_again_of_a_command(bench, terminal, words, pauses_s):
    """Nor does a further Ctrl-C change how a command ends."""
    gate = bench.place / "gate"
    bench.run(HEAD + task(WAITS.format(gate=gate)), CLOUDOPS_AT_EXIT="detach")
    shown = terminal(None, *words)
    shown.until("1 running")
    for pause_s in (0.0, *pauses_s):
        time.sleep(pause_s)
        shown.process.send_signal(signal.SIGINT)
    assert shown.end() == -signal.SIGINT
    assert shown.text.count("detached; 1 task of my-job goes on.") == 1
    assert "Traceback" not in shown.text
    gate.touch()


@pytest.mark.parametrize(
    "words", ["script.py", "-m cfa.cloudops.cli run script.py"], ids=["python", "run"]
)
def test_ctrl_c_ends_a_loop_of_a_shell(bench, terminal, words):
    """Ctrl-C while a script waits also ends the shell's loop around it."""
    gate = bench.place / "gate"
    (bench.place / "script.py").write_text(HEAD + task(WAITS.format(gate=gate)))
    loop = f"for i in 1 2; do {sys.executable} {words}; echo ended with $?; done"
    shown = terminal(argv=["bash", "-c", loop])
    shown.until("1 running")
    shown.ctrl_c()
    assert shown.end() == -signal.SIGINT
    assert "goes on" in shown.text
    assert "ended with" not in shown.text
    gate.touch()


def test_ctrl_c_lets_go_of_all(bench, terminal):
    """Ctrl-C while a script waits lets go of the tasks of all its clients."""
    gate = bench.place / "gate"
    script = HEAD + task(WAITS.format(gate=gate)) + "client = CloudClient()\n"
    script += "client.create_job('second', 'p')\n"
    shown = terminal(script + f"client.add_task('second', {WAITS.format(gate=gate)!r})\n")
    shown.until("1 running")
    shown.ctrl_c()
    assert shown.end() == -signal.SIGINT
    for job in ("my-job", "second"):
        assert shown.text.count(f"detached; 1 task of {job} goes on.") == 1
    gate.touch()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_the_cursor_stays(bench, terminal, number):
    """The status leaves the cursor where it is seen: a signal may end the program at any time."""
    gate = bench.place / "gate"
    shown = terminal(HEAD + task(WAITS.format(gate=gate)))
    shown.until("1 running")
    assert shown.cursor_is_seen
    shown.process.send_signal(number)
    assert shown.end() == -number
    assert shown.cursor_is_seen
    gate.touch()


#: Speaks in a thread, in many ways, as soon as the status is there; then `monitor_job` may end.
SPEAKS = """\
import logging, sys, threading, time
logging.basicConfig(format="logged %(message)s")
other = logging.getLogger("other")
other.addHandler(logging.StreamHandler(sys.stdout))
other.propagate = False

def speak():
    while sys.stdout is sys.__stdout__ or time.monotonic() < shown_s:
        time.sleep(0.05)
    print("printed [1/3] :warning:", "long " * 30)
    print("to stderr", file=sys.stderr)
    logging.warning("by root")
    other.warning("by another")
    print("no end [/of] a line", end="", flush=True)
    print(", the rest", end="")
    open("gate", "w").close()

shown_s = time.monotonic() + 2
threading.Thread(target=speak).start()
client.monitor_job("my-job")
logging.warning("afterwards")
other.warning("afterwards, too")
"""


def test_what_else_is_printed(bench, terminal):
    """What a script prints and logs meanwhile appears whole above the status, which goes."""
    gate = bench.place / "gate"
    shown = terminal(HEAD + task(WAITS.format(gate=gate)) + SPEAKS)
    assert shown.end() == 0
    long = ("printed [1/3] :warning: " + "long " * 30).strip()
    assert "".join(line.ljust(80) for line in shown.lines[:3]).strip() == long
    assert shown.lines[3:8] == [
        "to stderr", "logged by root", "by another", "no end [/of] a line", ", the rest",
    ]  # fmt: skip
    assert shown.lines[-2:] == ["logged afterwards", "afterwards, too"]
    assert "Ctrl-C" not in shown.text
    assert shown.text.count("running") == 0


THREADS = """\
import logging, sys, threading, time
logging.basicConfig(format="%(message)s")

def speak(name):
    while sys.stdout is sys.__stdout__:
        time.sleep(0.05)
    for n in range(200):
        sys.stdout.write("out,")
        print("err", "whole", name, sep="-", file=sys.stderr)
        logging.warning("logged by %s", name * 80)
        sys.stdout.write("done\\n")

def end():
    for thread in threads:
        thread.join()
    open("gate", "w").close()

threads = [threading.Thread(target=speak, args=(name,)) for name in "abcd"]
for thread in (*threads, threading.Thread(target=end)):
    thread.start()
client.monitor_job("my-job")
"""


def test_many_threads(bench, terminal):
    """What several threads print and log at once is all there, and nothing is left of the status."""
    gate = bench.place / "gate"
    more = task("sleep 0.2", 5)  # the status grows and shrinks
    shown = terminal(HEAD + task(WAITS.format(gate=gate)) + more + THREADS)
    assert shown.end() == 0
    text = "".join(shown.lines)
    assert [text.count(one) for one in ("out,done", "logged")] == [800, 800]
    assert [text.count(f"err-whole-{name}") for name in "abcd"] == [200] * 4
    assert "Ctrl-C" not in text
    assert "running" not in text


def test_jobs_whose_tasks_have_the_same_ids(bench, terminal):
    """Where a script waits for several jobs, a task whose id seems to be of another shows its job."""
    gate = bench.place / "gate"
    command = WAITS.format(gate=gate)
    script = HEAD + "client.create_job('my-job-b', 'p')\n"
    script += f"client.add_task('my-job', {command!r}, name_suffix='b-')\n"
    script += f"client.add_task('my-job-b', {command!r})\n"
    shown = terminal(script)
    shown.until(r"2 jobs: 0 of 2 done, 2 running")
    text = shown.until(r"\n  .*my-job/my-job-b--1 \d+ s")
    assert re.search(r"[ ,] my-job-b--1 \d+ s", text)
    gate.touch()
    assert shown.end() == 0
    first, second = "my-job/my-job-b--1", "my-job-b--1"
    found = sorted(re.sub(" +", " ", line) for line in shown.lines[:-1])
    assert found == sorted(
        f"{one} | {word}" for one in (first, second) for word in ("begun", "over")
    )


MONITORS = """\
import threading
client.create_job("other", "p")
client.add_task("other", {slow!r})
client.add_task("my-job", {command!r})
results = {{}}

def monitor(job, own):
    one = CloudClient() if own else client
    results[job] = one.monitor_job(job)

threads = [threading.Thread(target=monitor, args=("my-job", False))]
threads += [threading.Thread(target=monitor, args=("other", {own}))]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print("results", [results[job]["success"] for job in ("my-job", "other")])
"""


@WIDTHS
@pytest.mark.parametrize("own", [False, True], ids=["one client", "a client each"])
def test_monitors_share_a_terminal(bench, terminal, columns, own):
    """Jobs that threads monitor at once stand below one another; each has its result."""
    gate, later = bench.place / "gate", bench.place / "later"
    command = f"sh -c 'until [ -e {gate} ]; do sleep 0.05; done; echo wrong >&2; exit 3'"
    slow = WAITS.format(gate=later)
    script = HEAD + MONITORS.format(command=command, slow=slow, own=own)
    shown = terminal(script, columns=columns)
    both = r"my-job: 0 of 1 done, 1 running\n  my-job--1 [0-9]+ s"
    other = r"[|/\\-] [0-9]+ s other: 0 of 1 done, 1 running\n  other--1 [0-9]+ s"
    text = shown.until(rf"({both}\n{other}|{other}\n.*{both})$")
    for _ in range(3):  # each draws again
        text = shown.until(rf"({both}\n{other}|{other}\n.*{both})$")
        assert len(text.splitlines()) == 4, text
        time.sleep(0.3)
    gate.touch()
    shown.until(r"'fail': ?1")
    text = shown.until(rf"{other}$")
    assert "my-job--1 failed: " in text
    assert "my-job: " not in text
    later.touch()
    assert shown.end() == 0
    assert "results [0, 1]" in shown.lines
    assert "Ctrl-C" not in shown.text
    assert "running" not in shown.text
    assert shown.cursor_is_seen


def test_a_thread_that_nobody_waits_for(bench, terminal):
    """Ctrl-C also removes what other threads have drawn; only where it detaches, the status says so."""
    gate = bench.place / "gate"
    command = WAITS.format(gate=gate)
    script = HEAD + f"client.create_job('other', 'p')\nclient.add_task('other', {command!r})\n"
    script += task(command) + "import threading\n"
    script += "threading.Thread(target=client.monitor_job, args=('other',), daemon=True).start()\n"
    shown = terminal(script + "client.monitor_job('my-job')\n")
    shown.until(
        r"s other: .*1 running\n.*\n.* my-job: .*1 running\n.*\n  Ctrl-C detaches, tasks go on$"
    )
    shown.ctrl_c()
    assert shown.end() == -signal.SIGINT
    assert "1 task of my-job goes on." in shown.text
    assert "1 task of other goes on." in shown.text
    assert "running" not in shown.text
    assert "Ctrl-C" not in shown.text
    gate.touch()


def test_standard_error_elsewhere(bench, terminal):
    """What goes to standard error stays there when that is a file."""
    gate = bench.place / "gate"
    with open("err.log", "wb") as log:
        shown = terminal(HEAD + task(WAITS.format(gate=gate)) + SPEAKS, stderr=log)
        assert shown.end() == 0
    assert "by another" in shown.text
    assert "by root" not in shown.text
    assert "to stderr" not in shown.text
    logged = (bench.place / "err.log").read_text()
    assert logged == "to stderr\nlogged by root\nlogged afterwards\n"


PULLS = """\
import sys
from cfa.cloudops.client.pools import _PullProgress
from cfa.cloudops.provider.executor import ImageProgress
progress = _PullProgress()
for done in (1, 2):
    progress(ImageProgress(image="an-image", status=f"part {done}", done=done, total=2))
print("a result")
print("a remark", file=sys.stderr)
progress.end()
"""


def test_standard_output_elsewhere(bench, terminal):
    """What is printed while a pull is shown stays in the file that standard output is."""
    with open("out.txt", "wb") as file:
        shown = terminal(PULLS, stdout=file)
        assert shown.end() == 0
    assert (bench.place / "out.txt").read_text() == "a result\n"
    assert shown.lines == ["a remark", "an-image: part 2"]


@pytest.mark.parametrize(
    "environment",
    [{"NO_COLOR": "1"}, {"TERM": "dumb"}, {"CI": "true"}, {"PYTHONIOENCODING": "ascii"}],
    ids=str,
)
def test_no_colour(bench, terminal, environment):
    """With NO_COLOR nothing is coloured; in CI, a terminal that is dumb or lacks signs gets lines only.

    One that lacks signs may have colours.
    """
    shown = terminal(HEAD + task("sh -c 'echo out; echo é; echo wrong >&2; exit 3'"), **environment)
    assert shown.end() == 0
    assert "my-job--1 | out" in shown.text
    assert "my-job--1 ! wrong" in shown.text
    if "PYTHONIOENCODING" not in environment:
        assert not re.search(rb"\x1b\[[0-9;]*3[0-9]", shown.sent)
    assert ("é" if "PYTHONIOENCODING" not in environment else r"\xe9") in shown.text
    if "NO_COLOR" not in environment:
        assert b"\x1b" not in re.sub(rb"\x1b\[[0-9;]*m", b"", shown.sent)


def test_plain_lines_in_colour(bench):
    """Where there is no terminal there are plain lines; FORCE_COLOR colours their prefixes."""
    script = HEAD + task("sh -c 'echo out; echo wrong >&2; exit 3'")
    _, out, err = bench.run(script)
    assert out == "my-job--1 | out\n"
    assert "\x1b" not in err
    assert "my-job--1 failed: " in err
    assert "cloudops task show my-job my-job--1" in err
    assert err.splitlines()[-1] == "cloudops: 0 succeeded, 1 failed: my-job--1"
    _, out, _ = bench.run(script, CLOUDOPS_EXISTING_JOB="replace", FORCE_COLOR="1")
    assert re.fullmatch(r"\x1b\[\d+mmy-job--1\x1b\[0m \| out\n", out)
    _, out, _ = bench.run(script, CLOUDOPS_EXISTING_JOB="replace", FORCE_COLOR="1", NO_COLOR="1")
    assert out == "my-job--1 | out\n"


def test_long_waits_are_said(bench):
    """Where there is no terminal, a job that waits for another one for long says so once."""
    gate = bench.place / "gate"
    client = bench.client(max_parallel=1)
    client.create_pool("p", container_image_name=bench.image)
    client.create_job("first", "p")
    client.add_task(WAITS.format(gate=gate))
    bench.running(client, "first--1", "first")
    process = bench.script(HEAD.replace("max_parallel=4", "max_parallel=1") + task("true"))
    assert process.stderr is not None
    assert process.stderr.readline() == "cloudops: my-job: waits for the job first\n"
    gate.touch()
    _, err = process.communicate(timeout=LIMIT_S)
    assert err == "cloudops: 1 succeeded, 0 failed\n"
