"""Tasks that try to become somebody else, or to leave something of somebody else's, in containers."""

from __future__ import annotations

import os
import stat
import subprocess
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.conftest import PODMAN, Backend, lacking, loaded, probe

from cfa.cloudops.backends import load_executor
from cfa.cloudops.provider.executor import Bind, Executor, NodeSpec
from cfa.cloudops.testing import images
from cfa.cloudops.testing.executor import read_all

#: Who opens nodes: the user of these tests and, where that is root, an ordinary one.
CALLERS = [(os.getuid(), os.getgid()), *([(4321, 8765)] if os.getuid() == 0 else [])]
#: Runs a command, and says as whom and whether it worked.
Run = Callable[..., str]


@pytest.fixture(scope="module", params=["docker", PODMAN])
def backend(request: pytest.FixtureRequest) -> Backend:
    """Each engine in turn."""
    found = probe(request.param)
    if isinstance(found, str):
        lacking(request.param, found)
    assert isinstance(found, Backend)
    return found


@pytest.fixture(scope="module")
def executor(backend: Backend) -> Iterator[Executor]:
    executor = load_executor(backend.executor)
    yield executor
    executor.close()


@pytest.fixture(params=CALLERS, ids=lambda caller: f"as {caller[0]}")
def caller(request: pytest.FixtureRequest) -> tuple[int, int]:
    found: tuple[int, int] = request.param
    return found


@pytest.fixture
def mount(tmp_path: Path, caller: tuple[int, int]) -> Path:
    """A directory of the caller's that nodes see as `/mount`, and that everybody may write."""
    mount = tmp_path / "mount"
    mount.mkdir()
    mount.chmod(0o777)
    if os.getuid() == 0:
        os.chown(mount, *caller)
        for parent in (tmp_path, tmp_path.parent, tmp_path.parent.parent):
            parent.chmod(parent.stat().st_mode | 0o055)
    return mount


@pytest.fixture
def run(backend: Backend, mount: Path, caller: tuple[int, int]) -> Run:
    """Runs a program of Python in a node and returns what it prints."""

    def run(code: str, image: str, program: str = "python3", **options: str) -> str:
        name = f"security-{os.getpid()}-{uuid.uuid4().hex[:12]}"
        executor = load_executor(backend.executor, options)
        try:
            node = executor.open_node(
                NodeSpec(
                    workspace=name,
                    node_id="n1",
                    name=name,
                    image=image,
                    argv=(program, "-c", code),
                    binds=(Bind(source=str(mount), target="/mount"),),
                    working_directory="/mount",
                    caller_uid=caller[0],
                    caller_gid=caller[1],
                )
            )
            try:
                return read_all(node).decode()
            finally:
                node.close(0)
        finally:
            executor.close()

    return run


def owners(mount: Path) -> set[tuple[int, int]]:
    """Who owns what is in a directory."""
    return {(status.st_uid, status.st_gid) for status in map(os.lstat, mount.iterdir())}


# --- programs of an image

#: A Python of root's, and one of another user's, that everybody runs as its owner.
PROGRAMS = {"become-root": "0:0", "become-other": "5:6"}


@pytest.fixture(scope="module")
def set_user_id_image(
    backend: Backend, executor: Executor, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """An image with set-user-id programs."""
    base = loaded(backend, images.PYTHON)
    place = tmp_path_factory.mktemp("image")
    lines = [f"FROM docker.io/{base}"]
    for name, owner in PROGRAMS.items():
        copy = f"cp /usr/bin/python3 /bin/{name} && chown {owner} /bin/{name}"
        lines.append(f"RUN {copy} && chmod 6755 /bin/{name}")
    (place / "Dockerfile").write_text("\n".join(lines))
    tag = f"localhost/cloudops-test/set-user-id:{uuid.uuid4().hex[:12]}"
    executor.build_image(str(place / "Dockerfile"), str(place), tag)
    yield tag
    images.engine(backend.executor).run("rmi", "--force", tag, timeout_s=120)


WHO = "import os; print(os.geteuid(), os.getegid()); open(f'by-{os.geteuid()}', 'w')"


@pytest.mark.promise(
    "add_task",
    "A task in a container can neither become another user nor leave somebody else's files in a mount.",
    local="few capabilities, no new privileges; `CLOUDOPS_DOCKER_CAP_ADD` and others give back",
    cloud="root in a container of Docker's usual kind",
    difference="`chown`, `su` and `sudo` may be refused",
)
@pytest.mark.parametrize("program", PROGRAMS)
def test_set_user_id_program(
    run: Run,
    set_user_id_image: str,
    program: str,
    mount: Path,
    caller: tuple[int, int],
    backend: Backend,
) -> None:
    """A set-user-id program of an image stays who it is, and leaves nothing of its owner's."""
    own = (0, 0) if backend.capabilities.rootless else caller
    assert run(WHO, set_user_id_image, f"/bin/{program}") == f"{own[0]} {own[1]}\n"
    assert owners(mount) == {caller}


def test_set_user_id_program_when_allowed(
    run: Run, set_user_id_image: str, mount: Path, caller: tuple[int, int]
) -> None:
    """With new privileges the same program is its owner: what the setting is for, and costs."""
    allowed = run(WHO, set_user_id_image, "/bin/become-other", no_new_privileges="off")
    assert allowed == "5 6\n"
    assert owners(mount) != {caller}


# --- what a task tries by itself

ATTACKS = r"""
import ctypes, os, socket, stat, subprocess, sys

libc = ctypes.CDLL(None, use_errno=True)

def attempt(name, action):
    # In a child: what worked must not help the next.
    child = os.fork()
    if not child:
        try:
            action()
        except OSError:
            os._exit(0)
        print("worked:", name, flush=True)
        os._exit(0)
    os.waitpid(child, 0)

def must(result):
    if result < 0:
        raise OSError(ctypes.get_errno(), "refused")

def own(name):
    open(name, "w").close()
    return name

attempt("chown", lambda: os.chown(own("chown"), 12345, -1))
attempt("chgrp", lambda: os.chown(own("chgrp"), -1, 12345))
attempt("lchown", lambda: (os.symlink("x", "lchown"), os.lchown("lchown", 12345, 12345)))
attempt("setuid", lambda: (os.setuid(12345), own("setuid")))
attempt("setgid", lambda: (os.setgid(12345), own("setgid")))
attempt("setgroups", lambda: (os.setgroups([12345]), os.chown(own("setgroups"), -1, 12345)))
attempt("setfsuid", lambda: (libc.setfsuid(12345), os.stat(own("fs")).st_uid == 12345 or must(-1)))
attempt("device", lambda: os.mknod("device", stat.S_IFCHR | 0o666, os.makedev(1, 3)))
attempt("disk", lambda: os.mknod("disk", stat.S_IFBLK | 0o666, os.makedev(7, 0)))
attempt("chroot", lambda: os.chroot("/"))
attempt("raw", lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1))
attempt("packet", lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0))
attempt("name", lambda: socket.sethostname("another"))
attempt("remount", lambda: must(libc.mount(b"none", b"/", None, 32 | 4096, None)))
# CAP_CHOWN, permitted and effective, for whoever runs it
attempt("capable", lambda: os.setxattr(own("capable"), "security.capability",
    bytes.fromhex("0100000201000000000000000000000000000000")))

def namespace():
    must(libc.unshare(0x10000000))  # CLONE_NEWUSER
    uid = os.getuid()
    open("/proc/self/uid_map", "w").write(f"0 {uid} 1")
    os.chown(own("mapped"), 12345, -1)

attempt("namespace", namespace)

def map_more():
    must(libc.unshare(0x10000000))
    open("/proc/self/uid_map", "w").write("0 0 65536")
    os.setuid(12345)
    own("more")

attempt("map more", map_more)

def regain():
    # PR_CAP_AMBIENT_RAISE CAP_CHOWN; then capset of everything
    must(libc.prctl(47, 2, 0, 0, 0))

attempt("ambient", regain)

def capset():
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    everything = (ctypes.c_uint32 * 6)(*[0xFFFFFFFF] * 6)
    must(libc.capset(header, everything))

attempt("capset", capset)
print(open("/proc/self/status").read().split("NoNewPrivs:")[1].split()[0])
"""


def test_attacks(run: Run, backend: Backend, mount: Path, caller: tuple[int, int]) -> None:
    """No call of the kernel makes a task another user, or a file another's; nothing is a device."""
    assert run(ATTACKS, loaded(backend, images.PYTHON)) == "1\n"
    assert owners(mount) == {caller}
    for path in mount.iterdir():
        assert not stat.S_ISCHR(path.lstat().st_mode)
        assert not stat.S_ISBLK(path.lstat().st_mode)
        if not path.is_symlink():
            assert os.listxattr(path, follow_symlinks=False) in ([], ["security.selinux"])


def test_attacks_when_allowed(
    run: Run, backend: Backend, mount: Path, caller: tuple[int, int]
) -> None:
    """The same with capabilities given back by name: the attacks are real, and so is the setting."""
    added = "CHOWN,SETUID,SETGID,MKNOD,SYS_CHROOT"
    worked = run(ATTACKS, loaded(backend, images.PYTHON), cap_add=added).split("\n")
    expected = {"worked: chown", "worked: setuid", "worked: setgid", "worked: chroot"}
    if caller[0] != 0 and backend.executor == "docker" and not backend.capabilities.rootless:
        expected = set()  # Docker gives an ordinary user nothing
    assert expected <= set(worked)
    assert bool(expected) == (owners(mount) != {caller})


# --- what is outside

SIGHT = """
import os, stat

pids = [name for name in os.listdir("/proc") if name.isdigit()]
words = b"".join(open(f"/proc/{pid}/cmdline", "rb").read() for pid in pids)
disks = [name for name in os.listdir("/dev") if stat.S_ISBLK(os.lstat(f"/dev/{name}").st_mode)]
names = ["/proc/sys/kernel/core_pattern", "/proc/sysrq-trigger", "/sys/kernel/uevent_helper",
         "/sys/fs/cgroup/release_agent", "/sys/fs/cgroup/devices/devices.allow"]

def opens(path):
    try:
        os.close(os.open(path, os.O_WRONLY))
    except OSError:
        return False
    return True

sockets = ("/var/run/docker.sock", "/run/docker.sock", "/run/podman/podman.sock")
print([len(pids) < 8, MARK in words, disks, list(filter(opens, names)),
       list(filter(os.path.exists, (*sockets, SECRET)))])
"""


def test_host_is_out_of_sight(run: Run, backend: Backend, tmp_path: Path) -> None:
    """A container shows no process, disk, engine or file of the host, and no setting to write."""
    secret = tmp_path / "secret"
    secret.write_text("x")
    mark = f"{os.getpid()}.5"
    # Backwards, because the program itself stands in /proc as well.
    given = f"MARK, SECRET = {mark[::-1].encode()!r}[::-1], {str(secret)!r}\n"
    with subprocess.Popen(["sleep", mark]) as outside:
        try:
            seen = run(given + SIGHT, loaded(backend, images.PYTHON), program="python3")
            assert outside.poll() is None
        finally:
            outside.kill()
    assert seen == "[True, False, [], [], []]\n"


STATUS = """
import re
text = open("/proc/self/status").read()
print(*[re.search(name + r":\\s*(\\w+)", text)[1] for name in ("CapPrm", "CapEff", "CapBnd", "CapAmb")])
"""


def test_capabilities(run: Run, backend: Backend, caller: tuple[int, int]) -> None:
    """Root in a container has three capabilities, anybody else none; there are no others to gain."""
    root = backend.capabilities.rootless or caller[0] == 0
    mask = 1 << 1 | 1 << 5 | 1 << 10 if root else 0  # DAC_OVERRIDE, KILL, NET_BIND_SERVICE
    found = [int(text, 16) for text in run(STATUS, loaded(backend, images.PYTHON)).split()]
    assert found == [mask, mask, mask, 0]


BOMB = """
import os, time
count = 0
try:
    while count < 400:
        if not os.fork():
            time.sleep(60)
            os._exit(0)
        count += 1
except BlockingIOError:
    print("refused", count)
"""


def test_fork_bomb(run: Run, backend: Backend) -> None:
    """A fork bomb is refused at the limit, and the node goes with all of it."""
    if not backend.capabilities.enforces_pids:
        assert any("processes" in note for note in backend.capabilities.notes)
        pytest.skip("reported: processes are not limited here")
    words, count = run(BOMB, loaded(backend, images.PYTHON), pids_limit="100").split()
    assert words == "refused"
    assert 90 <= int(count) < 100


def test_processes_by_default(run: Run, backend: Backend) -> None:
    """Without a setting, a node has the limit that is documented."""
    if not backend.capabilities.enforces_pids:
        pytest.skip("reported: processes are not limited here")
    code = (
        "import pathlib; places = ('pids.max', 'pids/pids.max'); root = pathlib.Path('/sys/fs/cgroup');"
        "print(*[(root / p).read_text().strip() for p in places if (root / p).exists()])"
    )
    assert run(code, loaded(backend, images.PYTHON)) == "8192\n"


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("touch f; chown 5 f", "CAP_ADD=CHOWN"),
        ("touch f; chgrp 5 f", "CAP_ADD=CHOWN"),
        ("setpriv --reuid 5 id", "CAP_ADD=SETUID,SETGID"),
        ("mknod d c 1 3", "CAP_ADD=MKNOD"),
        ("chroot / id", "CAP_ADD=SYS_CHROOT"),
    ],
)
def test_advice(
    run: Run,
    backend: Backend,
    executor: Executor,
    command: str,
    expected: str,
) -> None:
    """What real programs say when they are refused is told apart, and which setting gives it back."""
    code = f"import subprocess; subprocess.run({command!r}, shell=True, stderr=1)"
    said = run(code, loaded(backend, images.PYTHON))
    assert "not permitted" in said
    assert f"CLOUDOPS_{backend.executor.upper()}_{expected}" in executor.advise(said)
