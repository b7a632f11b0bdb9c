"""A task in a sandbox of the subprocess backend tries to get out.

Everything runs inside a node that `SubprocessExecutor` opened, as the user who runs the tests: for
root the sandbox has more to keep. The host is as before even when a test fails: files that must not
be writable are opened for writing, and closed; what could be made is removed.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import json
import os
import selectors
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import textwrap
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from attrs import frozen

from cfa.cloudops.provider.executor import Bind, NodeSpec
from cloudops_subprocess import SubprocessExecutor, executor
from cloudops_subprocess.view import SYSTEM

pytestmark = [
    pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap is not installed"),
    pytest.mark.parametrize("mode", ["required", "strict"]),
]
only_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may do that outside")
ROOT = os.geteuid() == 0

#: What every program below begins with.
PRELUDE = """
import ctypes, errno, json, os, signal, socket, stat, sys

libc = ctypes.CDLL(None, use_errno=True)
BIND, REC, REMOUNT, RDONLY, MOVE, DETACH = 4096, 16384, 32, 1, 8192, 2
NEWNS, NEWUSER, NEWNET, NEWPID, NEWCGROUP = 0x20000, 0x10000000, 0x40000000, 0x20000000, 0x2000000

def call(name, *arguments):
    "A function of the C library: '' or why not."
    arguments = [os.fsencode(a) if isinstance(a, str) else a for a in arguments]
    return errno.errorcode[ctypes.get_errno()] if getattr(libc, name)(*arguments) < 0 else ""

def mount(source, target, kind=None, flags=0, data=None):
    return call("mount", source, target, kind, ctypes.c_ulong(flags), data)

def tried(function, *arguments):
    "'' or why not."
    try:
        function(*arguments)
    except OSError as error:
        return errno.errorcode[error.errno]
    return ""

def for_writing(path):
    return tried(lambda: os.close(os.open(path, os.O_WRONLY)))

def within(flags, function):
    "What a function returns in a child with namespaces of its own; None where there are none."
    read, write = os.pipe()
    if os.fork() == 0:
        why = call("unshare", flags)
        if flags & NEWPID and not why and (child := os.fork()):
            os._exit(os.waitpid(child, 0)[1])
        os.write(write, json.dumps(None if why else function()).encode())
        os._exit(0)
    os.close(write)
    os.wait()
    with os.fdopen(read) as stream:
        return json.load(stream)

def answer(value):
    print(json.dumps(value), flush=True)
"""


@frozen
class Project:
    """A project with a workspace that has what an agent puts there."""

    mode: str
    directory: Path

    @property
    def home(self) -> Path:
        return self.directory / ".cloudops"

    def make(self) -> Project:
        job = self.home / "root" / "workitems" / "job" / "job-1"
        for path in (job, self.home / "nodes" / "mine", self.home / "nodes" / "other"):
            path.mkdir(parents=True)
        (self.home / "store.db").write_text("secret")
        (self.directory / "script.py").write_text("secret")
        return self

    def run(
        self,
        program: str,
        *binds: Bind,
        argv: tuple[str, ...] = (),
        environment: Mapping[str, str] | None = None,
    ) -> object:
        """What a program prints in a node: one value. The workspace is `home` in it."""
        executor = SubprocessExecutor({"sandbox": self.mode})
        text = f"{PRELUDE}\nhome = {str(self.home)!r}\n{textwrap.dedent(program)}"
        job = self.home / "root" / "workitems" / "job" / "job-1"
        with tempfile.NamedTemporaryFile(dir=job, suffix=".py", mode="w") as file:
            file.write(text)
            file.flush()
            tasks = "/mnt/batch/tasks/workitems/job/job-1"
            command = ("sh", "-c", f"exec {sys.executable} {tasks}/{Path(file.name).name} 2>&1")
            node = executor.open_node(
                NodeSpec(
                    workspace=f"attack.{uuid.uuid4().hex[:12]}",
                    node_id="mine",
                    name="mine",
                    image=None,
                    argv=argv or command,
                    binds=(Bind(source=str(job), target=tasks), *binds),
                    home=str(self.home),
                    environment=environment or {},
                )
            )
            try:
                found = b""
                with selectors.DefaultSelector() as selector:
                    selector.register(node.fileno(), selectors.EVENT_READ)
                    while (data := node.read()) != b"":
                        found += data or b""
                        assert selector.select(30), found
            finally:
                node.close(0)
        try:
            return json.loads(found)
        except ValueError:
            raise AssertionError(found.decode(errors="replace")) from None


@pytest.fixture
def project(mode: str, tmp_path: Path) -> Project:
    """A project in the temporary directory."""
    return Project(mode, tmp_path / "project").make()


# --- the workspace


def test_workspace_is_hidden(project: Project, mode: str) -> None:
    """The workspace is an empty directory that nobody can write, or not there at all."""
    found = project.run("""
        answer([os.listdir(home) if os.path.exists(home) else None,
                tried(open, home + "/store.db"), tried(open, home + "/store.db", "w"),
                tried(os.mkdir, home + "/nodes"), tried(os.rmdir, home),
                tried(os.rename, home, home + "2")])
    """)
    if mode == "strict":
        assert found == [None, *["ENOENT"] * 5]
    else:
        assert found == [[], "ENOENT", "EROFS", "EROFS", "EBUSY", "EBUSY"]
    assert (project.home / "store.db").read_text() == "secret"
    assert not (project.home.parent / ".cloudops2").exists()


def test_workspace_by_other_names(project: Project, tmp_path: Path) -> None:
    """Neither a link, nor `/proc`, nor a directory that is open somewhere, leads to it."""
    (tmp_path / "link").symlink_to(project.home)
    found = project.run(f"""
        ways = [{str(tmp_path / "link")!r}, "/mnt/batch/tasks/workitems/job/job-1/../../../..",
                "/mnt/batch/tasks/workitems/job/job-1/../../../../nodes"]
        for pid in os.listdir("/proc"):
            if pid.isdigit():
                for name in ("root", "cwd", "fd/0", "fd/1", "fd/2"):
                    ways += [f"/proc/{{pid}}/{{name}}{{rest}}" for rest in ("", home, "/..", "/../..")]
        seen = []
        for way in ways:
            for name in ("store.db", "nodes/other", "other"):
                if os.path.lexists(way + "/" + name):
                    seen.append(way + "/" + name)
        answer([len(ways) > 10, seen])
    """)
    assert found == [True, []]


def test_workspace_that_is_mounted_twice(project: Project, mode: str, tmp_path: Path) -> None:
    """Bind mounts of the host, of a directory above the workspace or below it, do not show it."""
    above, below = tmp_path / "above", tmp_path / "below"
    above.mkdir()
    below.mkdir()
    program = f"""
        ways = [{str(above)!r} + "/project/.cloudops", {str(below)!r}]
        answer([os.listdir(way) if os.path.exists(way) else [] for way in ways])
    """
    script = textwrap.dedent(f"""
        import importlib.util, subprocess, sys
        spec = importlib.util.spec_from_file_location("attack", {__file__!r})
        attack = importlib.util.module_from_spec(spec)
        sys.modules["attack"] = attack
        spec.loader.exec_module(attack)
        for source, target in (({str(tmp_path)!r}, {str(above)!r}),
                               ({str(project.home / "nodes")!r}, {str(below)!r})):
            subprocess.run(["mount", "--bind", source, target], check=True)
        assert attack.os.listdir({str(below)!r})
        project = attack.Project({mode!r}, attack.Path({str(project.directory)!r}))
        print(attack.json.dumps(project.run({program!r})))
    """)
    own = ["unshare", "--mount", *([] if ROOT else ["--map-root-user"])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [*own, sys.executable, "-c", script],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [[], []]


def test_workspace_below_a_bind(project: Project) -> None:
    """A mount of the project's directory shows the project without its workspace."""
    found = project.run(
        """
        answer([sorted(os.listdir("/data/project")), os.listdir("/data/project/.cloudops"),
                tried(open, "/data/project/.cloudops/x", "w"), tried(open, "/data/project/new", "w")])
        """,
        Bind(source=str(project.directory.parent), target="/data"),
    )
    assert found == [[".cloudops", "script.py"], [], "EROFS", ""]
    assert (project.directory / "new").exists()
    assert not (project.home / "x").exists()


def test_agent_cannot_be_reached(
    project: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """No path leads to the agent's socket, nor to that of an engine that the environment names."""
    paths = [project.home / "agent.sock", tmp_path / "docker.sock"]
    with socket.socket(socket.AF_UNIX) as agent, socket.socket(socket.AF_UNIX) as engine:
        for listener, path in zip((agent, engine), paths, strict=True):
            monkeypatch.chdir(path.parent)  # its path may be too long for a socket
            listener.bind(path.name)
            listener.listen()
        monkeypatch.setenv("DOCKER_HOST", f"unix://{paths[1]}")
        found = project.run(f"""
            result = []
            for path in {[str(path) for path in paths]!r}:
                line = socket.socket(socket.AF_UNIX)
                directory, name = os.path.split(path)
                result.append(tried(os.chdir, directory) or tried(line.connect, name))
            answer(result)
        """)
    assert isinstance(found, list)
    assert all(why in ("ENOENT", "ECONNREFUSED") for why in found), found


# --- the system


def test_system_is_read_only(project: Project) -> None:
    """No directory of the system can be written, whoever runs this, nor what is mounted in it."""
    found = project.run("""
        names = ["bin", "boot", "etc", "lib", "lib64", "opt", "sbin", "sys", "usr", "var"]
        names = ["/" + name for name in names if os.path.isdir("/" + name)]
        open_ones = [name for name in names if not os.statvfs(name).f_flag & os.ST_RDONLY]
        with open("/proc/self/mountinfo") as table:
            for line in table:
                point, options = line.split()[4:6]
                below = any((point + "/").startswith(name + "/") for name in names)
                # Bubblewrap leaves out a mount that this user cannot reach.
                if below and "ro" not in options.split(",") and os.path.exists(point):
                    open_ones += [point] if point != "/var/tmp" else []
        places = ("/usr/cloudops-attack", "/var/tmp/cloudops-attack")
        made = [tried(os.mkdir, place) for place in places]
        answer([len(names) > 5, open_ones, *made])
        for place, why in zip(places, made):
            why or os.rmdir(place)
    """)
    assert found == [True, [], "EROFS", ""]


def test_mounts_cannot_be_changed(project: Project, mode: str) -> None:
    """Neither the user, nor who became root in a user namespace of its own, undoes a mount."""
    found = project.run("""
        def attempts():
            seen = []
            def note(what, why):
                if not why:
                    seen.append(what)
            above = os.path.dirname(home)
            note("remount", mount(None, "/usr", None, REMOUNT | BIND))
            note("remount all", mount(None, "/", None, REMOUNT))
            note("umount", call("umount2", "/usr", DETACH))
            note("umount proc", call("umount2", "/proc/sys", DETACH))
            note("block device", mount("/dev/vda", "/tmp", "ext4"))
            note("devtmpfs", mount("dev", "/tmp", "devtmpfs"))
            if os.path.exists(home):
                note("umount home", call("umount2", home, DETACH))
                note("remount home", mount(None, home, None, REMOUNT | BIND))
                note("move home", mount(home, "/tmp", None, MOVE))
            for flags in (BIND, BIND | REC):
                if os.path.exists(above) and not mount(above, "/var/tmp", None, flags):
                    if os.path.exists("/var/tmp/.cloudops/store.db"):
                        seen.append(f"bind {flags}")
                    call("umount2", "/var/tmp", DETACH)
            if not mount("/usr", "/var/tmp", None, BIND):
                note("write to a bind", tried(os.mkdir, "/var/tmp/cloudops-attack"))
            return seen
        answer([attempts(), within(NEWUSER | NEWNS, attempts)])
    """)
    assert found in ([[], []], [[], None])


def test_settings_of_the_kernel(project: Project) -> None:
    """What would run a program outside, or change the host, cannot be opened for writing."""
    found = project.run("""
        names = ["/proc/sys/kernel/core_pattern", "/proc/sys/kernel/modprobe", "/proc/sysrq-trigger",
                 "/proc/sys/vm/drop_caches", "/proc/irq/0/smp_affinity",
                 "/sys/kernel/uevent_helper", "/sys/power/state", "/sys/fs/cgroup/release_agent",
                 "/sys/fs/cgroup/cgroup.procs", "/sys/fs/cgroup/memory/cgroup.procs",
                 "/sys/fs/cgroup/devices/devices.allow", "/proc/kcore", "/proc/kmsg"]
        def attempts():
            return [name for name in names if not for_writing(name)]
        def fresh():
            "With /proc, /sys and control groups that were mounted anew."
            seen = []
            for kind, place in (("proc", "/proc"), ("sysfs", "/sys")):
                seen += attempts() if not mount(kind, place, kind) else []
            for name in ("cpu", "freezer", "pids"):
                if not mount("cgroup", "/var/tmp", "cgroup", 0, name):
                    # A program that the kernel starts outside; it keeps its value.
                    def keep():
                        agent = os.open("/var/tmp/release_agent", os.O_RDWR)
                        os.write(agent, os.read(agent, 4096) or b"\\n")
                    seen += [] if tried(keep) else [name]
                    call("umount2", "/var/tmp", DETACH)
            return seen
        answer([attempts(), within(NEWUSER | NEWNS | NEWPID | NEWNET | NEWCGROUP, fresh)])
    """)
    assert found in ([[], []], [[], None])


def test_rights_of_the_node(project: Project) -> None:
    """Nothing gives more rights, an ordinary user has none, and root those of writing to files."""
    found = project.run("""
        status = dict(line.split(":", 1) for line in open("/proc/self/status"))
        answer([int(status["CapEff"], 16), int(status["CapPrm"], 16), int(status["NoNewPrivs"])])
    """)
    rights = (1 << 1 | 1 << 3) if ROOT else 0  # CAP_DAC_OVERRIDE, CAP_FOWNER
    assert found == [rights, rights, 1]


@only_root
def test_root_writes_what_others_own(project: Project, tmp_path: Path) -> None:
    """Root's tasks work in directories of others, but give nothing away and become nobody else."""
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    (data / "file").write_text("x")
    (data / "file").chmod(0o600)
    for path in (data / "file", data):
        os.chown(path, 1234, 1235)
    found = project.run(
        """
        os.chdir("/data")
        open("new", "w").close()
        open("file", "a").write("y")
        os.chmod("file", 0o640)
        os.utime("file", (1, 1))
        answer([tried(os.chown, "new", 1234, 1235), tried(os.setuid, 1234), tried(os.chroot, "/usr")])
        """,
        Bind(source=str(data), target="/data"),
    )
    assert found == ["EPERM", "EPERM", "EPERM"]
    assert (data / "file").read_text() == "xy"
    assert stat.S_IMODE((data / "file").stat().st_mode) == 0o640
    assert (data / "new").stat().st_uid == 0


# --- other processes


def test_processes_of_the_host(project: Project) -> None:
    """A process of the same user outside cannot be seen, signalled, traced or read."""
    with subprocess.Popen(["sleep", "61.7"]) as outside:
        found = project.run(f"""
            pid = {outside.pid}
            names = [name for name in os.listdir("/proc") if name.isdigit()]
            commands = [open(f"/proc/{{name}}/cmdline").read() for name in names]
            answer([len(names) < 8, any("61.7" in c or "bwrap" in c for c in commands),
                    pid > 100 and tried(os.kill, pid, signal.SIGKILL),
                    pid > 100 and call("ptrace", 16, pid, None, None),
                    pid > 100 and tried(os.pidfd_open, pid)])
        """)
        alive = outside.poll() is None
        outside.kill()
    assert alive
    assert found == [True, False, "ESRCH", "ESRCH", "ESRCH"]


def test_nothing_dies_by_signalling_everything(project: Project) -> None:
    """`kill -9 -1` in a node reaches its own processes only."""
    with subprocess.Popen(["sleep", "61.8"]) as outside:
        kill = "kill -9 -1; echo [1]"
        assert project.run("", argv=("sh", "-c", kill)) == [1]
        alive = outside.poll() is None
        outside.kill()
    assert alive


def test_descriptors(project: Project) -> None:
    """A node has its three streams, and nothing that its opener had open."""
    read, write = os.pipe()
    directory = os.open(project.home, os.O_RDONLY)
    try:
        for descriptor in (read, write, directory):
            os.set_inheritable(descriptor, True)
        found = project.run("""
            files = [os.readlink(f"/proc/self/fd/{n}").partition(":")[0] for n in (0, 1, 2)]
            answer([[n for n in range(3, 1024) if not tried(os.fstat, n)], files])
        """)
    finally:
        for descriptor in (read, write, directory):
            os.close(descriptor)
    assert found == [[], ["pipe"] * 3]


def test_shared_memory_of_the_host(project: Project, mode: str) -> None:
    """System V shared memory of the same user stays outside; `/dev/shm` is the node's own, and works."""
    libc = ctypes.CDLL(ctypes.util.find_library("c"), use_errno=True)
    key = 0x10000000 | int(uuid.uuid4().hex[:6], 16)
    segment = libc.shmget(key, 4096, 0o1600)
    assert segment >= 0
    try:
        with tempfile.NamedTemporaryFile(dir="/dev/shm", prefix="cloudops-attack-") as file:
            found = project.run(f"""
                from multiprocessing import Lock
                from multiprocessing.shared_memory import SharedMemory
                memory = SharedMemory(create=True, size=4096)
                memory.close()
                memory.unlink()
                with Lock():
                    answer([call("shmget", {key}, 4096, 0o600), os.path.exists({file.name!r})])
            """)
    finally:
        libc.shmctl(segment, 0, None)
    assert found == ["ENOENT", False]


# --- devices


def test_devices(project: Project) -> None:
    """There is no disk in `/dev`, and none can be made or opened elsewhere."""
    found = project.run("""
        disks = []
        for top, _, names in os.walk("/dev"):
            disks += [n for n in names if stat.S_ISBLK(os.lstat(top + "/" + n).st_mode)]
        with open("/dev/null", "wb") as null, open("/dev/urandom", "rb") as random:
            null.write(random.read(16))
        made = []
        for place in ("/var/tmp", "/dev"):
            for kind, number in ((stat.S_IFBLK, os.makedev(7, 0)), (stat.S_IFCHR, os.makedev(1, 3))):
                made.append(tried(os.mknod, place + "/cloudops-attack", 0o600 | kind, number))
                made[-1] or os.unlink(place + "/cloudops-attack")
        answer([disks, [name for name in ("mem", "kmsg", "vda") if os.path.exists("/dev/" + name)],
                os.listdir("/dev/pts"), made])
    """)
    assert found == [[], [], ["ptmx"], ["EPERM", "EPERM", "EROFS", "EROFS"]]


def test_nothing_is_exchanged(project: Project) -> None:
    """A task exchanges neither devices nor links of the system for the tasks after it in its node."""
    found = project.run("""
        os.symlink("/nowhere", "/dev/shm/link")
        answer([tried(os.unlink, "/dev/null"), tried(os.rename, "/dev/shm/link", "/dev/null"),
                tried(os.rename, "/bin", "/former"), tried(os.mkdir, "/new"),
                tried(os.rename, "/dev", "/former"), tried(os.rmdir, "/dev/shm")])
    """)
    assert found == ["EROFS", "EXDEV", "EBUSY", "", "EBUSY", "EROFS"]


@only_root
def test_devices_that_are_there_already(project: Project, tmp_path: Path) -> None:
    """A device in a directory that is shown, made by root before, cannot be opened."""
    data = tmp_path / "data"
    data.mkdir()
    os.mknod(data / "null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    found = project.run('answer(tried(open, "/data/null"))', Bind(source=str(data), target="/data"))
    assert found == "EACCES"


def test_permissions_of_devices(project: Project) -> None:
    """A task cannot change the permissions of the host's devices; those that they have are tried."""
    found = project.run("""
        answer([tried(os.chmod, path, os.stat(path).st_mode & 0o777) != ""
                for path in ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/tty")])
    """)
    assert found == [True] * 5


#: A `/dev` of its own, with a graphics processor.
GRAPHICS = """
mkdir "$0/dev" && mount -t tmpfs tmpfs "$0/dev" && mkdir "$0/dev/dri" "$0/dev/pts"
for name in null zero full random urandom tty; do
    touch "$0/dev/$name"
    mount --bind "/dev/$name" "$0/dev/$name"
done
mknod "$0/dev/dri/card0" c 1 3
mknod "$0/dev/nvidia0" c 1 3
mount --rbind "$0/dev" /dev
"$@"
stat -c %a /dev/dri/card0 /dev/nvidia0
ls /dev/dri
"""


@only_root
def test_graphics_processors(mode: str, tmp_path: Path) -> None:
    """A task can use them, but neither change their permissions, nor remove nor add one."""
    if mode != "strict":
        pytest.skip("They are shown alike.")
    task = (
        "chmod 600 /dev/nvidia0 /dev/dri/card0; rm /dev/dri/card0; touch /dev/dri/new\n"
        "echo use >/dev/nvidia0 && echo use >/dev/dri/card0 && echo used"
    )
    shown = ["--ro-bind", "/", "/", "--dev", "/dev"]
    for name in ("dri", "nvidia0"):
        shown += ["--dev-bind", f"/dev/{name}", f"/dev/{name}"]
    run = [*executor._GUARD, "bwrap", *shown, "sh", "-c", task]
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-ec", GRAPHICS, tmp_path, *run],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["used", "644", "644", "card0"]


@only_root
def test_files_by_handle(project: Project, tmp_path: Path) -> None:
    """Files of a file system cannot be opened by their numbers, past all mounts."""
    (tmp_path / "data").mkdir()
    found = project.run(
        """
        directory = os.open("/data", os.O_RDONLY)
        # The root directory of ext4: a handle of 8 bytes, inode 2.
        handle = (ctypes.c_uint * 4)(8, 1, 2, 0)
        answer(call("open_by_handle_at", directory, handle, 0))
        """,
        Bind(source=str(tmp_path / "data"), target="/data"),
    )
    assert found == "EPERM"


def test_run_has_no_sockets_of_services(project: Project, mode: str) -> None:
    """Of `/run` only what names of hosts and users need is there."""
    found = project.run("""
        seen = []
        for top, _, names in os.walk("/run"):
            seen += [f"{top}/{name}" for name in names]
        answer(seen)
    """)
    assert isinstance(found, list)
    allowed = ("/run/systemd/resolve/", "/run/resolvconf/", "/run/nscd/", "/run/nslcd/")
    files = ("/run/NetworkManager/resolv.conf", "/run/connman/resolv.conf")
    media = "/run/media/" if mode == "required" else "none"
    assert not [
        path for path in found if path not in files and not path.startswith((*allowed, media))
    ]


# --- what strict hides, and where a project may lie


def test_home_and_temporary_files(
    project: Project, mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The strict sandbox has a HOME and a /tmp of its own, empty and writable; the usual one has not."""
    home = tmp_path / "me"
    (home / "bin").mkdir(parents=True)
    (home / "secret").write_text("x")
    (home / "bin" / "mine").write_text("#!/bin/sh\necho it works\n")
    (home / "bin" / "mine").chmod(0o755)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("PATH", f"{home}/bin:{os.environ['PATH']}")
    found = project.run(f"""
        import pathlib, pwd, subprocess, tempfile
        own = os.path.expanduser("~")
        temporary = tempfile.mkdtemp()
        os.rmdir(temporary)
        paths = [{str(home)!r} + "/secret", {str(project.directory)!r} + "/script.py",
                 pwd.getpwuid(os.getuid()).pw_dir]
        answer([own, os.listdir(own) if own != paths[0][:-7] else None, os.path.dirname(temporary),
                [os.path.exists(path) for path in paths[:2]],
                os.path.isdir(paths[2]) and len(os.listdir(paths[2])),
                tried(open, own + "/new", "w"), tried(open, {str(home)!r} + "/bin/new", "w"),
                subprocess.run(["mine"], capture_output=True, text=True).stdout])
    """)
    assert isinstance(found, list)
    new_in_bin = home / "bin" / "new"
    if mode == "strict":
        assert found[:4] == ["/home/task", [], "/tmp", [False, False]]
        assert found[5:] == ["", "EROFS", "it works\n"]
        assert not (home / "new").exists()
        assert not new_in_bin.exists()
    else:
        assert found[0] == str(home)
        assert found[3] == [True, True]
        assert found[5:] == ["", "", "it works\n"]
        assert (home / "new").exists()


def test_little_is_at_the_top(project: Project, mode: str) -> None:
    """The strict sandbox shows of the root directory what belongs to the system, and what binds need."""
    found = project.run('answer(sorted(n for n in os.listdir("/") if not os.path.islink("/" + n)))')
    assert isinstance(found, list)
    if mode == "strict":
        system = {"dev", "home", "mnt", "proc", "run", "tmp", *SYSTEM}
        shown = {Path(path).parts[1] for path in (sys.prefix, sys.base_prefix)}
        shown |= {Path(p).parts[1] for p in os.environ["PATH"].split(":") if p.count("/") > 1}
        assert not set(found) - system - shown
    else:
        hidden = {"dev", "proc", "run"}
        assert {
            n.name for n in os.scandir("/") if n.is_dir() and not n.is_symlink()
        } - hidden <= set(found)


@pytest.fixture(params=["/dev/shm", "/var/tmp", pytest.param("/opt", marks=only_root)])
def elsewhere(request: pytest.FixtureRequest) -> Iterator[Path]:
    """A directory below one of the system's."""
    directory = Path(tempfile.mkdtemp(prefix="cloudops-attack-", dir=request.param))
    yield directory
    shutil.rmtree(directory)


def test_project_below_a_system_directory(elsewhere: Path, mode: str) -> None:
    """A project there works: its binds can be written, and it is there unless the sandbox is strict."""
    project = Project(mode, elsewhere / "project").make()
    found = project.run(
        f"""
        script = {str(project.directory)!r} + "/script.py"
        answer([os.path.exists(script) and tried(open, script, "a"), os.path.exists(home + "/store.db"),
                tried(open, "/data/new", "w"), tried(open, "new", "w")])
        """,
        Bind(source=str(project.directory), target="/data"),
    )
    assert isinstance(found, list)
    assert found[:3] == [False if mode == "strict" else "", False, ""]
    assert (project.directory / "new").exists()
