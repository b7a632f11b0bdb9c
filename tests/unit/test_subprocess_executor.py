"""What the subprocess executor promises beyond the contract: leaks, crashes, sandboxes, settings."""

from __future__ import annotations

import os
import selectors
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cfa.cloudops.errors import (
    BackendNotInstalledError,
    BackendUnavailableError,
    NodeError,
    SettingError,
)
from cfa.cloudops.provider.executor import Bind, Node, NodeSpec
from cloudops_subprocess import SubprocessExecutor, processes, sandbox
from cloudops_subprocess.mounts import Mounts
from cloudops_subprocess.view import Access, View, compute

BWRAP = shutil.which("bwrap")
needs_bwrap = pytest.mark.skipif(BWRAP is None, reason="bubblewrap is not installed")
BOTH = pytest.mark.parametrize("mode", ["off", pytest.param("required", marks=needs_bwrap)])

Open = Callable[..., Node]


def until(condition: Callable[[], bool], what: str) -> None:
    """Poll until `condition` holds."""
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


def read_to(node: Node, stop: bytes | None) -> bytes:
    """Output until `stop` was seen (`None`: until the end)."""
    found = b""
    with selectors.DefaultSelector() as selector:
        selector.register(node.fileno(), selectors.EVENT_READ)
        while stop is None or stop not in found:
            assert selector.select(20), f"nothing more after {found!r}"
            data = node.read()
            if data == b"":
                assert stop is None, f"ended after {found!r}"
                break
            found += data or b""
    return found


@pytest.fixture
def workspace() -> Iterator[str]:
    """A workspace of which no process is left afterwards."""
    workspace = f"unit.{uuid.uuid4().hex[:12]}"
    yield workspace
    left = processes.marked(workspace)
    for node_id in left:
        processes.kill_all(processes.mark(workspace, node_id))
    assert not left


@pytest.fixture
def opened(workspace: str, mode: str) -> Iterator[Open]:
    """Open nodes that run a shell script; closed afterwards."""
    executor = SubprocessExecutor({"sandbox": mode})
    nodes: list[Node] = []

    def open_it(script: str, *binds: Bind, node_id: str = "n1", **fields: object) -> Node:
        values: dict[str, object] = {
            "workspace": workspace,
            "node_id": node_id,
            "name": node_id,
            "image": None,
            "argv": ("/bin/sh", "-c", script),
            "binds": binds,
            **fields,
        }
        nodes.append(executor.open_node(NodeSpec(**values)))  # type: ignore[arg-type]
        return nodes[-1]

    yield open_it
    for node in nodes:
        node.close(0)


def test_parents_are_killed_first():
    """A shell that outlived its task would report the kill; ids wrap, and ticks are long."""
    chain = [
        processes.Process(pid=pid, start=7, parent=parent, session=900)
        for pid, parent in ((12, 905), (905, 904), (904, 900), (900, 1))
    ]
    ordered = processes._parents_first(chain)
    assert [process.pid for process in ordered] == [900, 904, 905, 12]


# --- streams and crashes


@BOTH
def test_streams_do_not_leak_into_the_next_node(opened: Open) -> None:
    """A node sees the end of its input though nodes opened later still run."""
    first = opened("cat; echo end", node_id="n1")
    second = opened("echo ready; cat", node_id="n2")
    read_to(second, b"ready\n")
    first.drain()
    assert read_to(first, None) == b"end\n"
    assert first.close(5).exit_code == 0


@BOTH
def test_background_process_does_not_hold_the_stream(opened: Open) -> None:
    """The stream ends with the node's program, though a process it left holds the pipe open."""
    node = opened("sleep 300 & echo x; exit 4")
    assert read_to(node, None) == b"x\n"
    assert node.close(5).exit_code == 4


@BOTH
def test_daemons_end_with_the_node(opened: Open, workspace: str) -> None:
    """Grandchildren in sessions of their own die with `close`, also those without the mark."""
    node = opened(
        "(setsid sleep 301 &) ; (setsid sh -c 'trap \"\" TERM; sleep 302; sleep 302' &); "
        "env -i PATH=$PATH setsid sh -c 'sleep 303; :' & echo ready; wait"
    )
    read_to(node, b"ready\n")
    value = processes.mark(workspace, "n1")
    until(lambda: len(processes.members(value)) >= 6, "all processes are seen")
    found = processes.members(value)
    node.close(0.2)
    assert not [process for process in found if processes.find(process.pid) == process]


@needs_bwrap
@pytest.mark.parametrize("mode", ["required"])
def test_everything_ends_with_the_first_process(opened: Open, workspace: str) -> None:
    """In a sandbox nothing outlives the first process, with no help from anybody."""
    opened("(setsid sleep 304 &); exit 0")
    until(lambda: not processes.marked(workspace), "the sandbox is empty")


@needs_bwrap
@pytest.mark.parametrize("mode", ["required"])
def test_bubblewrap_killed(opened: Open, workspace: str) -> None:
    """When bubblewrap's own process is killed, the node counts as ended and `close` ends it."""
    node = opened("echo ready; cat")
    read_to(node, b"ready\n")
    os.kill(int(node.engine_id.partition(":")[0]), signal.SIGKILL)
    assert read_to(node, None) == b""
    with pytest.raises(NodeError, match="ended"):
        node.write(b"x")
    assert processes.marked(workspace)
    node.close(0)
    assert not processes.marked(workspace)


@BOTH
def test_killed_opener(workspace: str, mode: str, tmp_path: Path) -> None:
    """A node outlives its killed opener, is found, finishes its work and goes."""
    program = """
import sys, time
from cfa.cloudops.provider.executor import NodeSpec
from cloudops_subprocess import SubprocessExecutor
node = SubprocessExecutor({"sandbox": sys.argv[1]}).open_node(NodeSpec(
    workspace=sys.argv[2], node_id="n1", name="n1", image=None, argv=("sh", "-c", sys.argv[3])))
print(node.engine_id, flush=True)
time.sleep(60)
"""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    script = f"cat; echo drained >{tmp_path}/log; cat {fifo} >>{tmp_path}/log"
    with subprocess.Popen(
        [sys.executable, "-c", program, mode, workspace, script],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    ) as opener:
        assert opener.stdout is not None
        engine_id = opener.stdout.readline().decode().strip()
        opener.kill()
    until(lambda: (tmp_path / "log").exists(), "the node saw the end of its input")
    found = SubprocessExecutor().list_nodes(workspace)
    assert [(s.node_id, s.engine_id, s.running) for s in found] == [("n1", engine_id, True)]
    fifo.write_text("finished\n")
    until(lambda: not processes.marked(workspace), "the node went by itself")
    assert (tmp_path / "log").read_text() == "drained\nfinished\n"


@BOTH
def test_signals_from_the_terminal_stay_out(opened: Open) -> None:
    """A node is in another session and process group than its opener."""
    node = opened("cut -d' ' -f5,6 /proc/$$/stat; cat")
    read_to(node, b"\n")
    pid = int(node.engine_id.partition(":")[0])
    assert os.getsid(pid) == os.getpgid(pid) == pid


@pytest.mark.parametrize("mode", ["off"])
def test_end_explained(opened: Open) -> None:
    """A node that was killed says by which signal, with the exit code of a shell."""
    node = opened("kill -9 $$")
    assert read_to(node, None) == b""
    end = node.close(5)
    assert end.exit_code == 137
    assert "SIGKILL" in end.reason


@BOTH
@pytest.mark.quiet
def test_opening_is_cheap(opened: Open) -> None:
    """Opening a node takes milliseconds (generous here: the machine is shared)."""
    opened("exit 0", node_id="warm")
    best = 9.9
    for number in range(5):
        started = time.perf_counter()
        opened("exit 0", node_id=f"n{number}")
        best = min(best, time.perf_counter() - started)
    assert best < 0.05


@BOTH
def test_standard_error_to_a_file(workspace: str, mode: str, tmp_path: Path) -> None:
    """The option `stderr` names a file to which standard error is appended."""
    log = tmp_path / "log"
    log.write_text("before\n")
    executor = SubprocessExecutor({"sandbox": mode, "stderr": str(log)})
    node = executor.open_node(
        NodeSpec(workspace=workspace, node_id="n", name="n", image=None,
                 argv=("sh", "-c", "echo out; echo err >&2"))
    )  # fmt: skip
    assert read_to(node, None) == b"out\n"
    node.close(0)
    assert log.read_text() == "before\nerr\n"


@BOTH
@pytest.mark.parametrize(
    ("argv", "words"),
    [
        ((), "no program"),
        (("no-such-program-anywhere",), "(?i)no such file"),
        (("/etc",), "(?i)permission denied|cannot be executed"),
        (("/etc/passwd",), "(?i)permission denied|cannot be executed"),
        (("a\0b",), "null byte"),
    ],
)
def test_cannot_start(opened: Open, argv: tuple[str, ...], words: str) -> None:
    """What cannot be started is a NodeError that says why."""
    with pytest.raises(NodeError, match=words):
        opened("", argv=argv)


@BOTH
def test_no_such_directory(opened: Open) -> None:
    """A working directory that does not exist is a NodeError."""
    with pytest.raises(NodeError, match=r"(?i)no such file"):
        opened("pwd", working_directory="/no/such/directory")


# --- sandbox

only_sandbox = pytest.mark.parametrize("mode", [pytest.param("required", marks=needs_bwrap)])
SANDBOXES = pytest.mark.parametrize(
    "mode", [pytest.param(mode, marks=needs_bwrap) for mode in ("required", "strict")]
)


@only_sandbox
def test_mount_points_are_not_made_on_the_host(opened: Open, tmp_path: Path) -> None:
    """Targets that the host does not have appear in the sandbox only, beside what is there."""
    (tmp_path / "in").write_text("text")
    host = tmp_path / "host"
    (host / "kept").mkdir(parents=True)
    (host / "file").write_text("kept")
    (host / "link").symlink_to("file")
    host.chmod(0o1777)
    target = f"{host}/a/b"
    read_only = Bind(source=str(tmp_path), target="/mnt/cloudops-unit/tasks", read_only=True)
    node = opened(
        f"cat {target}/in /cloudops-unit/in /mnt/cloudops-unit/tasks/in; cat {host}/link; "
        f"echo new >{host}/kept/new; stat -c %a {host}; touch /mnt/cloudops-unit/tasks/x || echo no",
        Bind(source=str(tmp_path), target=target),
        Bind(source=str(tmp_path), target="/cloudops-unit"),
        read_only,
    )
    assert read_to(node, None) == b"texttexttextkept1777\nno\n"
    node.close(0)
    assert sorted(path.name for path in host.iterdir()) == ["file", "kept", "link"]
    assert (host / "kept" / "new").read_text() == "new\n"
    assert not Path("/mnt/cloudops-unit").exists()
    assert not Path("/cloudops-unit").exists()


@only_sandbox
def test_mount_point_in_a_read_only_bind(opened: Open, tmp_path: Path) -> None:
    """A bind may lie in a read-only one that lacks the directory, which is not made there."""
    outer, inner = tmp_path / "outer", tmp_path / "inner"
    outer.mkdir()
    inner.mkdir()
    (outer / "o").write_text("outer ")
    (inner / "i").write_text("inner")
    node = opened(
        "cat /data/o /data/sub/i; echo x >/data/sub/new",
        Bind(source=str(inner), target="/data/sub"),
        Bind(source=str(outer), target="/data", read_only=True),
    )
    assert read_to(node, None) == b"outer inner"
    node.close(0)
    assert [path.name for path in outer.iterdir()] == ["o"]
    assert (inner / "new").exists()


@only_sandbox
def test_entries_beside_a_mount_point_stay_read_only(opened: Open, tmp_path: Path) -> None:
    """What a read-only bind holds cannot be written when a mount point had to be made beside it."""
    outer, inner = tmp_path / "outer", tmp_path / "inner"
    (outer / "kept").mkdir(parents=True)
    inner.mkdir()
    node = opened(
        "touch /data/kept/x; touch /data/x; touch /data/new/in && echo done",
        Bind(source=str(inner), target="/data/new"),
        Bind(source=str(outer), target="/data", read_only=True),
    )
    assert read_to(node, None) == b"done\n"
    assert [path.name for path in outer.iterdir()] == ["kept"]
    assert not list((outer / "kept").iterdir())
    assert (inner / "in").exists()


@SANDBOXES
def test_writable_binds_in_a_read_only_one(opened: Open, tmp_path: Path) -> None:
    """Below a read-only bind that has their mount points, others are writable, and nothing else."""
    home = tmp_path / ".cloudops"
    skeleton = home / "nodes" / "n1" / "tree"
    job, shared = home / "root" / "workitems" / "j" / "job-1", home / "root" / "shared" / "p"
    box = home / "nodes" / "n1" / "box"
    for directory in (job, shared, box, *(skeleton / name for name in (
        "workitems/j/job-1", "shared", "volatile/box", "startup/wd", "fsmounts"
    ))):  # fmt: skip
        directory.mkdir(parents=True)
    (skeleton / "launcher.sh").write_text("echo launched\n")
    tasks = "/mnt/batch/tasks"
    node = opened(
        f"cd {tasks}; . ./launcher.sh; for d in workitems/j/job-1 shared volatile/box; do "
        "echo x >$d/file || echo $d; done; "
        "for d in . workitems workitems/j startup startup/wd fsmounts volatile; do "
        "touch $d/new && echo $d; done; echo x >launcher.sh; rm -f launcher.sh; "
        "mv workitems w; rmdir shared volatile/box; ls -A volatile; ls -A fsmounts",
        Bind(source=str(box), target=f"{tasks}/volatile/box"),
        Bind(source=str(job), target=f"{tasks}/workitems/j/job-1"),
        Bind(source=str(skeleton), target=tasks, read_only=True),
        Bind(source=str(shared), target=f"{tasks}/shared"),
        home=str(home),
    )
    assert read_to(node, None) == b"launched\nbox\n"
    for directory in (job, shared, box):
        assert (directory / "file").read_text() == "x\n"
    assert (skeleton / "launcher.sh").read_text() == "echo launched\n"
    assert sum(path.is_file() for path in home.rglob("*")) == 4


@only_sandbox
def test_target_behind_a_link(opened: Open, tmp_path: Path) -> None:
    """A target whose parent is a symbolic link of the host is found through it."""
    real = tmp_path / "real"
    real.mkdir()
    (tmp_path / "link").symlink_to(real)
    (tmp_path / "in").write_text("text")
    node = opened(
        f"cat {tmp_path}/link/x/in {real}/x/in",
        Bind(source=str(tmp_path), target=f"{tmp_path}/link/x"),
    )
    assert read_to(node, None) == b"texttext"


@only_sandbox
def test_host_is_as_it_is(opened: Open) -> None:
    """User, network and what symbolic links at the top lead to are the host's; processes are not."""
    node = opened(
        "id -u; test -c /dev/null && readlink /proc/self/ns/net; echo $$; ls -d /proc/[0-9]* | wc -l"
    )
    lines = read_to(node, None).decode().split()
    assert lines[:3] == [str(os.geteuid()), os.readlink("/proc/self/ns/net"), "1"]
    assert int(lines[3]) < 6
    links = [entry.name for entry in os.scandir("/") if entry.is_symlink() and entry.is_dir()]
    node = opened(f"stat -L -c %d:%i {' '.join(f'/{name}' for name in links)}", node_id="n2")
    found = [f"{status.st_dev}:{status.st_ino}" for status in (os.stat(f"/{n}") for n in links)]
    assert read_to(node, None).decode().split() == found


@only_sandbox
@pytest.mark.parametrize("target", ["/", "data", "/a/../b", ""])
def test_bad_target(opened: Open, tmp_path: Path, target: str) -> None:
    """A target that is not a path below the root is refused."""
    with pytest.raises(NodeError, match="cannot be shown"):
        opened("true", Bind(source=str(tmp_path), target=target))


@only_sandbox
def test_missing_source(opened: Open) -> None:
    """A source that does not exist is a NodeError with bubblewrap's words."""
    with pytest.raises(NodeError, match="/no/such/source"):
        opened("true", Bind(source="/no/such/source", target="/data"))


def test_too_many_entries(tmp_path: Path) -> None:
    """A directory with very many entries is not shown entry by entry; the hint says what to do."""
    root = tmp_path / "root"
    (root / "full").mkdir(parents=True)
    for number in range(501):
        (root / "full" / str(number)).touch()
    with pytest.raises(NodeError, match=r"501 entries.*Mount at the top level"):
        sandbox.arguments([Bind(source="/", target="/full/new")], "/", View(), root)


def mounted(binds: list[Bind], view: View, root: Path) -> list[str]:
    """The arguments that show something, for an ordinary user, without those that always come last."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "geteuid", lambda: 1000)
        found = sandbox.arguments(binds, "/wd", view, root)
    last = ["--remount-ro", "/dev", "--chdir", "/wd"]
    assert found[-len(last) :] == last
    return found[found.index("--new-session") + 1 : -len(last)]


def test_plan(tmp_path: Path) -> None:
    """The root's entries come first, then places, binds and overlays, parents before children."""
    for name in ("usr", "mnt/disk", "data", "run", "dev", "opt/project/.cloudops", "tmp"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "file").touch()
    (tmp_path / "bin").symlink_to("usr/bin")
    binds = [
        Bind(source="/s3", target="/mnt/batch/tasks/x"),
        Bind(source="/s2", target="/mnt/batch/tasks", read_only=True),
        Bind(source="/s1", target="/data"),
    ]
    places = {
        "/dev": Access.HIDDEN,
        "/opt": Access.READ_ONLY,
        "/opt/project": Access.WRITABLE,
        "/opt/project/.cloudops": Access.HIDDEN,
        "/run": Access.HIDDEN,
        "/tmp": Access.PRIVATE,
        "/usr": Access.READ_ONLY,
    }
    assert mounted(binds, View(places=places), tmp_path) == [
        *("--symlink", "usr/bin", "/bin"),
        *("--ro-bind", f"{tmp_path}/file", "/file"),
        *("--ro-bind", f"{tmp_path}/opt", "/opt"),
        *("--ro-bind", f"{tmp_path}/usr", "/usr"),
        *("--proc", "/proc", "--dev", "/dev", "--tmpfs", "/dev/shm"),
        *("--tmpfs", "/tmp"),
        *("--bind", "/s1", "/data"),
        *("--tmpfs", "/mnt", "--bind", f"{tmp_path}/mnt/disk", "/mnt/disk"),
        *("--bind", f"{tmp_path}/opt/project", "/opt/project"),
        *("--tmpfs", "/opt/project/.cloudops"),
        *("--ro-bind", "/s2", "/mnt/batch/tasks"),
        *("--bind", "/s3", "/mnt/batch/tasks/x"),
        *("--remount-ro", "/opt/project/.cloudops"),
    ]


def test_plan_where_little_is_shown(tmp_path: Path) -> None:
    """What is hidden takes mount points without an overlay; what is shown in it comes before binds."""
    for name in ("usr", "home/me/python", "mnt/disk", "var/tmp", "var/me", "var/socket"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "var/socket").rmdir()
    (tmp_path / "var/socket").touch()
    places = {
        "/home/me/python": Access.READ_ONLY,
        "/home/task": Access.PRIVATE,
        "/usr": Access.READ_ONLY,
        "/usr/bin": Access.READ_ONLY,
        "/var": Access.READ_ONLY,
        "/var/me": Access.HIDDEN,
        "/var/socket": Access.HIDDEN,
        "/var/missing": Access.PRIVATE,
        "/var/tmp": Access.PRIVATE,
    }
    binds = [Bind(source="/s", target="/mnt/batch"), Bind(source="/s", target="/var/me/deep/x")]
    assert mounted(binds, View(places=places, others=Access.HIDDEN), tmp_path) == [
        *("--ro-bind", f"{tmp_path}/usr", "/usr"),
        *("--ro-bind", f"{tmp_path}/var", "/var"),
        *("--proc", "/proc", "--dev", "/dev", "--tmpfs", "/dev/shm"),
        *("--tmpfs", "/home/task"),
        *("--tmpfs", "/var/me"),
        *("--ro-bind", "/dev/null", "/var/socket"),
        *("--tmpfs", "/var/tmp"),
        *("--bind", "/s", "/mnt/batch"),
        *("--ro-bind", f"{tmp_path}/home/me/python", "/home/me/python"),
        *("--bind", "/s", "/var/me/deep/x"),
        *("--remount-ro", "/var/me"),
    ]


def test_plan_with_the_workspace_in_a_bind(tmp_path: Path) -> None:
    """A bind of a directory above the workspace hides that, and covers what the view says there."""
    home = tmp_path / "project" / ".cloudops"
    home.mkdir(parents=True)
    view = View(places={"/data/x": Access.HIDDEN}, workspace=(str(home),))
    binds = [
        Bind(source=str(tmp_path), target="/data"),
        Bind(source=str(home), target="/own"),
        Bind(source=str(tmp_path), target="/data/project/.cloudops/deep/x"),
    ]
    (tmp_path / "root").mkdir()
    assert mounted(binds, view, tmp_path / "root") == [
        *("--proc", "/proc", "--dev", "/dev", "--tmpfs", "/dev/shm"),
        *("--bind", str(tmp_path), "/data"),
        *("--bind", str(home), "/own"),
        *("--tmpfs", "/data/project/.cloudops"),
        *("--bind", str(tmp_path), "/data/project/.cloudops/deep/x"),
        *("--tmpfs", "/data/project/.cloudops/deep/x/project/.cloudops"),
        *("--remount-ro", "/data/project/.cloudops"),
        *("--remount-ro", "/data/project/.cloudops/deep/x/project/.cloudops"),
    ]


def test_plan_of_a_mount_point_in_the_system(tmp_path: Path) -> None:
    """A directory of the system that has to take a mount point stays read-only with its entries."""
    (tmp_path / "opt" / "tool").mkdir(parents=True)
    view = View(places={"/opt": Access.READ_ONLY})
    assert mounted([Bind(source="/s", target="/opt/new")], view, tmp_path) == [
        *("--proc", "/proc", "--dev", "/dev", "--tmpfs", "/dev/shm"),
        *("--tmpfs", "/opt", "--ro-bind", f"{tmp_path}/opt/tool", "/opt/tool"),
        *("--bind", "/s", "/opt/new"),
        *("--remount-ro", "/opt"),
    ]


def test_root_gives_up_its_rights(tmp_path: Path) -> None:
    """Root keeps two capabilities, and the kernel's settings are read-only; others have neither."""
    runner = sandbox.Runner(uid=0, groups=frozenset())
    found = " ".join(sandbox.arguments([], "/", View(), tmp_path, runner=runner))
    assert "--cap-drop ALL --cap-add CAP_DAC_OVERRIDE --cap-add CAP_FOWNER" in found
    assert "--proc /proc --ro-bind-try" in found
    assert "--ro-bind-try /proc/sys /proc/sys" in found
    assert "--cap" not in " ".join(mounted([], View(), tmp_path))


# --- what is shown of the host

HOME = {"HOME": "/home/nobody-here"}
MOUNTS = Mounts.parse(
    b"""\
20 1 8:1 / / rw - ext4 /dev/sda1 rw
21 20 8:2 / /data rw,relatime shared:1 master:2 - xfs /dev/sdb rw
22 20 8:2 /home /home rw - xfs /dev/sdb rw
23 20 8:2 /home/me/a\\040b/.cloudops/root /srv/root rw - xfs /dev/sdb rw
24 20 8:1 / /old rw - ext4 /dev/sda1 rw
25 20 0:5 / /proc rw - proc proc rw
26 20 0:9 / /srv/jail/proc rw - proc proc rw
27 21 8:3 / /data/home rw - ext4 /dev/sdc rw
"""
)


@pytest.mark.parametrize(
    ("path", "pieces", "others"),
    [
        ("/home/me/a b/.cloudops", True, ["/srv/root"]),
        ("/home/me/a b/.cloudops", False, []),
        ("/home/me/a b/.cloudops/root/x", False, ["/srv/root/x"]),
        ("/srv/root/x", False, ["/home/me/a b/.cloudops/root/x"]),
        ("/data/x", False, []),
        ("/usr", False, ["/old/usr"]),
        ("/old/usr/lib", False, ["/usr/lib"]),
        ("/proc/1", True, []),
    ],
)
def test_other_ways_to_a_directory(path: str, pieces: bool, others: list[str]) -> None:
    """Mounts of one file system show its directories twice, unless another one covers them."""
    assert MOUNTS.elsewhere(path, pieces=pieces) == others


H, P, R, W = Access.HIDDEN, Access.PRIVATE, Access.READ_ONLY, Access.WRITABLE


@pytest.mark.parametrize(
    ("path", "usual", "strict"),
    [
        ("/usr/lib/x", R, R),
        ("/etc/passwd", R, R),
        ("/opt/tool", R, R),
        ("/var/lib", R, R),
        ("/var/tmp/x", W, P),
        ("/tmp/x", W, P),
        ("/sys/kernel", R, R),
        ("/dev/sda", H, H),
        ("/run/docker.sock", H, H),
        ("/run/user/1000/bus", H, H),
        ("/home/nobody-here/x", W, H),
        ("/home/task", W, P),
        ("/root", W, H),
        ("/scratch/x", W, H),
    ],
)
def test_usual_and_strict_view(path: str, usual: Access, strict: Access) -> None:
    """What tasks may do with a path."""
    for expected, is_strict in ((usual, False), (strict, True)):
        view = compute("", HOME, (), Mounts(()), strict=is_strict)
        assert view.access(path) is expected


def test_project_below_the_system(tmp_path: Path) -> None:
    """A project, a home and a temporary directory there are writable, or hidden; workspaces hidden."""
    places = ("project/.cloudops", "home", "tmp")
    for name in places:
        (tmp_path / name).mkdir(parents=True)
    system = {**HOME, "HOME": f"{tmp_path}/home", "TMPDIR": f"{tmp_path}/tmp"}
    top = f"/{tmp_path.parts[1]}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cloudops_subprocess.view.SYSTEM", (top[1:],))
        patch.setattr("cloudops_subprocess.view._PEOPLE", ())
        patch.setattr("cloudops_subprocess.view._PRIVATE", ())
        home = f"{tmp_path}/project/.cloudops"
        usual = compute(home, system, (), Mounts(()), strict=False)
        strict = compute(home, system, (), Mounts(()), strict=True)
    assert [usual.access(f"{tmp_path}/{name}") for name in ("x", "project", *places)] == [
        *(R, W),
        *(H, W, W),
    ]
    assert [strict.access(f"{tmp_path}/{name}") for name in ("x", "project", *places)] == [
        *(R, H),
        *(H, H, H),
    ]


def test_programs_in_hidden_places(tmp_path: Path) -> None:
    """The strict view shows Python and the entries of PATH, but never people's own directories."""
    for name in ("me/bin", "me/env/bin", "me/py/lib", "me/p/.cloudops/bin", "me/p/.venv/bin"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "me/env/pyvenv.cfg").touch()
    (tmp_path / "link").symlink_to("me/py")
    path = [f"{tmp_path}/me/{name}" for name in ("bin", "env/bin", "", "p", "p/.cloudops/bin")]
    environment = {"HOME": f"{tmp_path}/me", "PATH": ":".join([*path, "relative", "/", "/usr/bin"])}
    home = f"{tmp_path}/me/p/.cloudops"
    prefixes = (f"{tmp_path}/me/p/.venv", f"{tmp_path}/link")
    view = compute(home, environment, prefixes, Mounts(()), strict=True)
    shown = {place for place, access in view.places.items() if place.startswith(str(tmp_path))}
    assert {place[len(str(tmp_path)) :] for place in shown if view.places[place] is R} == {
        *("/me/bin", "/me/env", "/me/py", "/link", "/me/p/.venv")
    }
    assert view.access("/") is H
    assert view.access(f"{tmp_path}/me") is P  # as all of the temporary directory
    assert view.access(f"{home}/bin") is H


def test_sockets_of_engines(tmp_path: Path) -> None:
    """The socket that the environment names for an engine is hidden, and a second /proc."""
    (tmp_path / "docker.sock").touch()
    environment = {
        **HOME,
        "DOCKER_HOST": f"unix://{tmp_path}/docker.sock",
        "CONTAINER_HOST": "tcp:x",
    }
    jail = tmp_path / "proc"
    jail.mkdir()
    mounts = Mounts.parse(f"1 0 0:9 / / rw - ext4 a rw\n2 1 0:5 / {jail} rw - proc p rw".encode())
    view = compute("", environment, (), mounts, strict=False)
    assert view.access(f"{tmp_path}/docker.sock") is H
    assert view.access(str(jail)) is H
    assert view.access(str(tmp_path)) is W


@pytest.mark.root
@pytest.mark.parametrize(
    "mode", ["off", *(pytest.param(mode, marks=needs_bwrap) for mode in ("required", "strict"))]
)
def test_root_runs_a_node_as_the_caller(opened: Open, mode: str, tmp_path: Path) -> None:
    """What a node of root's executor writes belongs to the caller in the spec."""
    for directory in (tmp_path, *tmp_path.parents):
        if directory.name.startswith(("test_", "pytest-", "popen-")):  # pytest closes them
            directory.chmod(0o755)
    shared = tmp_path / "shared"
    shared.mkdir()
    os.chown(shared, 1234, 1235)
    place = "/data" if mode == "strict" else shared  # nothing in /tmp is shown there
    node = opened(
        f"id -u; id -g; id -G; echo x >{place}/file",
        Bind(source=str(shared), target="/data"),
        caller_uid=1234,
        caller_gid=1235,
    )
    assert read_to(node, None).split() == [b"1234", b"1235", b"1235"]
    status = (shared / "file").stat()
    assert (status.st_uid, status.st_gid) == (1234, 1235)


# --- settings


def test_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment variable and the option choose; the option wins."""
    monkeypatch.setenv("CLOUDOPS_SUBPROCESS_SANDBOX", "off")
    found = SubprocessExecutor().probe()
    assert (found.private_paths, found.images, found.enforces_memory) == (False, False, False)
    assert found.version == "plain processes"
    assert "switched off" in found.notes[0]
    with pytest.raises(SettingError, match=r"'on'.*auto, off, required or strict"):
        SubprocessExecutor({"sandbox": "on"}).probe()


@needs_bwrap
def test_notes_say_which_sandbox() -> None:
    """The notes tell what is hidden, and how more is."""
    usual = SubprocessExecutor({"sandbox": "required"}).probe()
    assert "hides the workspace and shows the system read-only" in usual.notes[0]
    assert "CLOUDOPS_SUBPROCESS_SANDBOX=strict" in usual.notes[0]
    strict = SubprocessExecutor({"sandbox": "strict"}).probe()
    assert strict.private_paths
    assert "strict" in strict.notes[0]
    assert "HOME" in strict.notes[0]


def test_without_bubblewrap(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without bubblewrap there are no private paths and a note says how to get them."""
    monkeypatch.setenv("PATH", str(tmp_path))
    found = SubprocessExecutor({"sandbox": "auto"}).probe()
    assert not found.private_paths
    assert "Install bubblewrap" in found.notes[0]
    for wanted in ("required", "strict"):
        with pytest.raises(BackendNotInstalledError, match="Install bubblewrap"):
            SubprocessExecutor({"sandbox": wanted}).probe()


def test_bubblewrap_that_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Bubblewrap that does not work here is as good as none; its own words are passed on."""
    fake = tmp_path / "bwrap"
    fake.write_text("#!/bin/sh\necho 'bwrap: No permissions to do it.' >&2\nexit 1\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    found = SubprocessExecutor({"sandbox": "auto"}).probe()
    assert not found.private_paths
    assert "(No permissions to do it)" in found.notes[0]
    with pytest.raises(BackendUnavailableError, match="No permissions"):
        SubprocessExecutor({"sandbox": "required"}).probe()


def test_reused_pid_is_spared() -> None:
    """A process that took over a pid is not killed for the one that had it."""
    with subprocess.Popen(["sleep", "60"]) as process:
        found = processes.find(process.pid)
        assert found is not None
        earlier = processes.Process(pid=found.pid, start=found.start - 1, parent=0, session=0)
        assert processes._kill(earlier) is None
        assert process.poll() is None
        process.kill()
