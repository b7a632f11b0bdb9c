"""What a task finds in its node, and who owns what it leaves."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import socket
import time
from pathlib import Path

import pytest
from tests.conftest import loaded

from cfa.cloudops.testing import images

ROOT = "/mnt/batch/tasks"


def environment(bench, client, task="j--1"):
    """The AZ_BATCH variables that a task printed with `env`."""
    lines = bench.output(client, task).splitlines()
    return dict(line.split("=", 1) for line in lines if line.startswith("AZ_BATCH_"))


@pytest.mark.promise(
    "add_task",
    "A task sees `AZ_BATCH_TASK_ID` and the others.",
    local="the service's names",
    difference="values that name machines and directories",
)
def test_variables(bench):
    """A task sees the service's variables with the cloud's names and forms."""
    client = bench.ready(max_parallel=1)
    client.add_task("true")
    client.add_task("env", name_suffix="s")
    task = bench.finished(client)["j-s-2"]
    found = environment(bench, client, "j-s-2")
    private = bench.backend.capabilities.private_paths
    root = ROOT if private else str(bench.place / ".cloudops" / "root")
    place = f"{root}/workitems/j/job-1/j-s-2"
    assert found.pop("AZ_BATCH_ACCOUNT_NAME")
    assert found.pop("AZ_BATCH_ACCOUNT_URL").startswith("https://")
    assert found == {
        "AZ_BATCH_POOL_ID": "p",
        "AZ_BATCH_NODE_ID": task.node_id,
        "AZ_BATCH_NODE_IS_DEDICATED": "true",
        "AZ_BATCH_JOB_ID": "j",
        "AZ_BATCH_TASK_ID": "j-s-2",
        "AZ_BATCH_NODE_ROOT_DIR": root,
        "AZ_BATCH_NODE_SHARED_DIR": f"{root}/shared" if private else f"{root}/shared/p",
        "AZ_BATCH_NODE_STARTUP_DIR": f"{root}/startup",
        "AZ_BATCH_NODE_STARTUP_WORKING_DIR": f"{root}/startup/wd",
        "AZ_BATCH_NODE_MOUNTS_DIR": f"{root}/fsmounts",
        "AZ_BATCH_TASK_DIR": place,
        "AZ_BATCH_TASK_WORKING_DIR": f"{place}/wd",
        "AZ_BATCH_CERTIFICATES_DIR": f"{place}/certs",
        "AZ_BATCH_TASK_RESERVED_EPHEMERAL_DISK_SPACE_BYTES": "1000000",
    }
    assert "OLDPWD=" not in bench.output(client, "j-s-2")  # a trace of the task before


@pytest.mark.promise(
    "add_task",
    "Directories of a task are where the variables say; the streams lie beside `wd`.",
    local="below the workspace",
    cloud="below `/mnt/batch/tasks`",
    difference="the root of the directories",
)
def test_directories(bench):
    """The node's directories are where the variables say; streams lie beside `wd`."""
    (bench.place / "d").mkdir()
    (bench.place / "d" / "file").write_text("seen\n")
    client = bench.ready(mounts=[("d", "data")])
    script = (
        "for name in NODE_ROOT NODE_SHARED NODE_STARTUP NODE_MOUNTS TASK; do "
        "eval test -d \\$AZ_BATCH_${name}_DIR || echo no $name; done; "
        "echo made >$AZ_BATCH_TASK_WORKING_DIR/made; "
        "echo shared >$AZ_BATCH_NODE_SHARED_DIR/left; "
        "cat $AZ_BATCH_NODE_MOUNTS_DIR/data/file /data/file; ls $AZ_BATCH_TASK_DIR"
    )
    client.add_task(f"sh -c '{script}'")
    client.add_task("sh -c 'cat $AZ_BATCH_NODE_SHARED_DIR/left'", depends_on="j--1")
    assert {task.result for task in bench.finished(client).values()} == {"success"}
    assert bench.output(client, "j--1").split() == [
        "seen", "seen", "stderr.txt", "stdout.txt", "wd"
    ]  # fmt: skip
    place = Path(client._batch.get_task("j", "j--1").directory)
    assert place == bench.place / ".cloudops/root/workitems/j/job-1/j--1"
    assert (place / "wd" / "made").read_text() == "made\n"
    assert bench.output(client, "j--2") == "shared\n"


def test_start_directory(bench):
    """A task starts in the image's WORKDIR; where there is none, in its own `wd`."""
    client = bench.ready()
    client.add_task("sh -c 'pwd; echo $AZ_BATCH_TASK_WORKING_DIR'")
    bench.finished(client)
    here, own = bench.output(client, "j--1").split()
    assert here == own


@pytest.mark.promise(
    "add_task",
    "A task starts in the image's WORKDIR.",
    local="else in its own `wd`; always there on `subprocess`",
)
def test_workdir_of_the_image(bench, request):
    """An image's WORKDIR is where its tasks start."""
    if not bench.containers:
        pytest.skip("no images here")
    image = derived(bench, "WORKDIR", request)
    client = bench.ready(container_image_name=image)
    client.add_task("pwd")
    client.add_task("sh -c 'cd $AZ_BATCH_TASK_WORKING_DIR && pwd'")
    assert {task.result for task in bench.finished(client).values()} == {"success"}
    assert bench.output(client, "j--1") == "/home\n"
    assert bench.output(client, "j--2").endswith("/j--2/wd\n")


def derived(bench, what, request):
    """An image made from the small one with another setting, removed after the test."""
    engine = bench.backend.engine
    name = f"cloudops-test/derived-{what.lower()}:1"
    made = engine.run("create", bench.image, "true", timeout_s=60)
    assert made.returncode == 0, made.stderr
    container = made.stdout.strip()
    request.addfinalizer(lambda: engine.run("rmi", "--force", name, timeout_s=60))
    done = engine.run("commit", "--change", f"{what} /home", container, name, timeout_s=60)
    engine.run("rm", "--force", container, timeout_s=60)
    assert done.returncode == 0, done.stderr
    return name


@pytest.mark.promise(
    "add_task",
    "What an ENTRYPOINT of the image does with a command.",
    local="nothing: the command is run as it is",
    cloud="the command becomes the arguments of the ENTRYPOINT",
    difference="use images without an ENTRYPOINT",
)
def test_entrypoint_of_the_image(bench):
    """An image's ENTRYPOINT does not stand before tasks."""
    client = bench.ready(container_image_name=loaded(bench.backend, images.ENTRYPOINT))
    client.add_task("echo ran")
    bench.finished(client)
    assert bench.output(client, "j--1") == "ran\n"


@pytest.mark.promise(
    "add_task",
    "Files that tasks write can be used by who started them.",
    local="they belong to the caller, whatever user the image has",
    cloud="they are blobs",
    difference="files, not blobs",
)
@pytest.mark.parametrize("isolation", ["job", "task"])
def test_files_are_the_callers(bench, isolation):
    """Whatever user an image has, what its tasks write belongs to the caller."""
    (bench.place / "d").mkdir()
    client = bench.ready(
        container_image_name=loaded(bench.backend, images.NONROOT),
        mounts=["d"],
        isolation=isolation,
    )
    client.add_task("sh -c 'mkdir -p /d/sub && echo x >/d/sub/file && echo y >here; id'")
    task = bench.finished(client)["j--1"]
    assert task.result == "success", bench.output(client, "j--1", name="stderr")
    place = Path(task.directory)
    found = [place, *place.rglob("*"), *(bench.place / "d").rglob("*")]
    names = {path.name for path in found}
    assert names >= {"file", "sub", "stdout.txt", "stderr.txt", "wd"}
    owners = {(path.stat().st_uid, path.stat().st_gid) for path in found}
    assert owners == {(os.getuid(), os.getgid())}
    shutil.rmtree(bench.place / "d" / "sub")


@pytest.mark.promise(
    "add_task",
    "A task may have its own image.",
    local="in a node of its own; `subprocess` ignores images",
)
def test_image_of_a_task(bench):
    """A task may have its own image, in a node of its own."""
    if not bench.containers:
        pytest.skip("no images here")
    other = loaded(bench.backend, images.ENTRYPOINT)
    client = bench.ready()
    client.add_task("true")
    client.add_task("true", container_image_name=other)
    client.add_task("true")
    tasks = bench.finished(client)
    assert {task.result for task in tasks.values()} == {"success"}
    nodes = [task.node_id for task in tasks.values()]
    assert nodes[0] == nodes[2] != nodes[1]


@pytest.mark.promise(
    "add_task",
    "`mount_pairs` replace the pool's mounts for one task.",
    local="targets may be nested paths",
)
def test_mounts_of_a_task(bench):
    """`mount_pairs` replace the pool's mounts for one task; they may name those by their targets."""
    for name in ("a", "b"):
        (bench.place / name).mkdir()
        (bench.place / name / "name").write_text(f"{name}\n")
    client = bench.ready(mounts=[("a", "x")])
    client.add_task("cat /x/name")
    client.add_task("cat /x/name", mount_pairs=[{"source": "b", "target": "x"}])
    client.add_task("cat /y/z/name", mount_pairs=[{"source": "b", "target": "/y/z"}])
    client.add_task("cat /z/name", mount_pairs=[{"source": "x", "target": "z"}])
    client.add_task("cat /x/name", mount_pairs=[])
    tasks = bench.finished(client)
    assert [bench.output(client, task) for task in tasks] == ["a\n", "b\n", "b\n", "a\n", ""]
    assert [str(task.result) for task in tasks.values()] == ["success"] * 4 + ["failure"]


@pytest.mark.promise(
    "create_pool",
    (
        "Mounts may be names, mappings, pairs, and a mixture: container *source* at "
        "`/<target>`, to read and write."
    ),
    local="all forms mean the same",
    cloud="pairs are dropped silently; the form of the first one decides for all",
    difference="write names or mappings to be sure",
)
@pytest.mark.parametrize(
    "mounts",
    [["d"], ["/d/"], [("d", "d")], [["d", "/d"]], [{"source": "d", "target": "d"}]],
)
def test_forms_of_mounts(bench, mounts):
    """Every form of a mount that scripts use means the same."""
    client = bench.client()
    client.create_blob_container("d")
    client.create_pool("p", mounts=mounts, container_image_name=bench.image)
    client.create_job("j", "p")
    client.add_task("sh -c 'echo x >/d/file'")
    bench.finished(client)
    assert (bench.place / "d" / "file").read_text() == "x\n"


@pytest.mark.promise(
    "add_task",
    "What a task leaves outside of mounts.",
    local='is there for other tasks of the job (`isolation="job"`)',
    cloud="is gone with the task's container",
    difference="`CLOUDOPS_ISOLATION=task`, or a rehearsal, is as on the cloud",
)
def test_job_isolation_shares_a_node(bench):
    """Tasks of a job run in one node: what one leaves in it another finds."""
    client = bench.ready()
    client.add_task("sh -c 'echo left >/tmp/cloudops-left-$AZ_BATCH_NODE_ID'")
    client.add_task(
        "sh -c 'cat /tmp/cloudops-left-$AZ_BATCH_NODE_ID; rm /tmp/cloudops-left-*'",
        depends_on="j--1",
    )
    tasks = bench.finished(client)
    assert len({task.node_id for task in tasks.values()}) == 1
    assert bench.output(client, "j--2") == "left\n"


@pytest.mark.promise(
    "add_task",
    "With isolation `task` each task has a fresh container; only mounts are shared.",
    local="at the cost of a container's start",
    cloud="always so",
    difference="the cloud has no other isolation",
)
def test_task_isolation_shares_nothing_but_mounts(bench):
    """With isolation `task` each task has a fresh node; only mounts and `shared` are common."""
    (bench.place / "d").mkdir()
    client = bench.ready(isolation="task", mounts=["d"])
    own = "/left" if bench.backend.capabilities.private_paths else "left"
    client.add_task(f"sh -c 'echo left >/d/left; echo x >{own}'")
    client.add_task(f"sh -c 'cat /d/left; ls {own}'", depends_on="j--1")
    client.add_task("sh -c 'sleep 600 & true'", run_dependent_tasks_on_fail=True)
    tasks = bench.finished(client)
    assert len({task.node_id for task in tasks.values()}) == 3
    assert bench.output(client, "j--2") == "left\n"
    bench.until(
        client, lambda: not client._batch._store.rows("SELECT 1 FROM node WHERE ended IS NULL")
    )
    if bench.containers:
        assert bench.container_names() == []


# Where the task is in the network, and from when to when: seconds since the machine started.
WHERE = "sh -c 'ls -l /proc/self/ns/net; cat /proc/uptime; sleep 0.2; cat /proc/uptime'"


@pytest.mark.promise(
    "add_task",
    "With isolation `task` no two tasks that run at the same time share a network.",
    local="`podman` as root: of one after another; `subprocess` uses the host's",
    cloud="each container has its own",
    difference="none that a task sees but its address",
)
def test_task_isolation_and_networks(bench):
    """Tasks that run at the same time have networks of their own, which others use after them."""
    if not bench.containers:
        pytest.skip("no networks here")
    client = bench.ready(isolation="task", max_parallel=2, task_slots_per_node=2)
    client.add_task_collection("j", [{"command_line": WHERE}] * 24)
    tasks = bench.finished(client)
    assert {task.result for task in tasks.values()} == {"success"}
    found = []
    for name in tasks:
        network, begin, end = bench.output(client, name).splitlines()
        found.append((network.split()[-1], float(begin.split()[0]), float(end.split()[0])))
    networks = {network for network, _, _ in found}
    if bench.backend.capabilities.shares_network:
        assert len(networks) < 20  # some are opened before a network is kept
    for network in networks:
        times = sorted((begin, end) for one, begin, end in found if one == network)
        for (_, end), (begin, _) in itertools.pairwise(times):
            assert begin >= end


# What a task could find of one before it in its network: names, what was written into their files,
# and the port of a connection that the server's side closed.
NEIGHBOUR = """\
import os, socket
name = socket.gethostname()
hosts, resolver = open("/etc/hosts").read(), open("/etc/resolv.conf").read()
print(name, name in hosts.split(), hosts.count("left"), resolver.count("left"))
print(socket.gethostbyname(name) != "")
for path in ("/etc/hosts", "/etc/resolv.conf"):
    with open(path, "a") as file:
        file.write("# left\\n")
server = socket.create_server(("127.0.0.1", 7777), reuse_port=False)
server.close()
server = socket.socket()
server.bind(("127.0.0.1", 7778))
server.listen()
client = socket.create_connection(("127.0.0.1", 7778))
accepted, _ = server.accept()
accepted.close()
client.recv(1)
client.close()
"""


@pytest.mark.promise(
    "add_task",
    "With isolation `task` a task finds nothing of others in its network.",
    local="host name, `/etc/hosts`, `/etc/resolv.conf` and free ports are its own",
)
def test_task_isolation_and_neighbours(bench, python_image):
    """A task has its own names, and can bind a port on which one before it closed a connection."""
    if not bench.backend.capabilities.shares_network:
        pytest.skip("no networks are shared here")
    (bench.place / "d").mkdir()
    (bench.place / "d" / "task.py").write_text(NEIGHBOUR)
    client = bench.ready(
        isolation="task", max_parallel=1, mounts=["d"], container_image_name=python_image
    )
    client.add_task_collection("j", [{"command_line": "python3 /d/task.py"}] * 12)
    tasks = bench.finished(client)
    names = set()
    for name, task in tasks.items():
        assert task.result == "success", bench.output(client, name, name="stderr")
        first, second = bench.output(client, name).splitlines()
        host, *seen = first.split()
        names.add(host)
        assert (seen, second) == (["True", "0", "0"], "True")
    assert len(names) == 12


# Fills a connection whose other end does not read, and goes: the system sends the rest without it.
UNREAD = """\
import socket, struct, sys
for line in open("/proc/net/route"):
    words = line.split()
    if words[1] == "00000000":
        gateway = socket.inet_ntoa(struct.pack("<I", int(words[2], 16)))
tables = [open(f"/proc/net/{name}").read() for name in ("tcp", "udp")]
print(sum(table.count("\\n") - 1 for table in tables))
if sys.argv[1:]:
    try:
        line = socket.create_connection((gateway, int(sys.argv[1])), timeout=5)
    except OSError:
        sys.exit("no way to this machine")
    line.setblocking(False)
    try:
        while True:
            line.send(b"x" * 65536)
    except BlockingIOError:
        pass
"""


def test_network_in_which_something_is_left(bench, python_image):
    """A network with a connection that outlives its task is not used again."""
    if not bench.backend.capabilities.shares_network:
        pytest.skip("no networks are shared here")
    (bench.place / "d").mkdir()
    (bench.place / "d" / "task.py").write_text(UNREAD)
    client = bench.ready(
        isolation="task", max_parallel=1, mounts=["d"], container_image_name=python_image
    )
    with socket.create_server(("", 0)) as server:
        port = server.getsockname()[1]
        commands = ["python3 /d/task.py"] * 20
        commands[8] = commands[12] = f"python3 /d/task.py {port}"
        client.add_task_collection("j", [{"command_line": command} for command in commands])
        tasks = bench.finished(client)
    if any("no way" in bench.output(client, name, name="stderr") for name in ("j--9", "j--13")):
        pytest.skip("containers do not reach this machine here")
    assert {task.result for task in tasks.values()} == {"success"}
    assert {bench.output(client, name) for name in tasks} == {"0\n"}


def lodger(bench, client):
    """A task that prints its interfaces before and after it waits for a file, in a kept network.

    Returns:
        The task's id, the file, the task's container and the one whose network it uses.
    """
    for attempt in range(20):
        # Whether the last of some tasks comes upon a kept network is a matter of moments.
        gate = bench.place / f"d/gate{attempt}"
        client.add_task_collection("j", [{"command_line": "true"}] * 8)
        name = client.add_task(
            "sh -c 'ls /sys/class/net; "
            f"until [ -e /d/{gate.name} ]; do sleep 0.05; done; ls /sys/class/net'"
        )
        bench.running(client, name)
        own = container_of(bench, client, name)
        network = bench.network(own)
        keepers = [other for other in bench.container_names() if other != own]
        keepers = [other for other in keepers if bench.network(other) == network]
        if keepers:
            return name, gate, own, *keepers
        gate.touch()
        bench.finished(client)
    pytest.fail(f"no task was in a kept network:\n{bench.describe(client)}")


def container_of(bench, client, task):
    """The container that a task runs in."""
    node = client._batch.get_task("j", task).node_id
    [name] = [name for name in bench.container_names() if name.endswith(node)]
    return name


def test_kept_network_outlives_the_agent(bench):
    """A task in the network of another node has it to its end when the agent is killed."""
    if not bench.backend.capabilities.shares_network:
        pytest.skip("no networks are shared here")
    (bench.place / "d").mkdir()
    client = bench.ready(isolation="task", max_parallel=1, mounts=["d"])
    name, gate, *containers = lodger(bench, client)
    first = bench.until(client, bench.agent_pid)
    os.kill(first, signal.SIGKILL)
    bench.until(client, lambda: bench.agent_pid() not in (None, first))
    # The next agent looks for nodes again and again, and must leave alone what is still in use:
    # nothing may happen, so there is nothing to wait for.
    time.sleep(2)
    assert set(containers) <= set(bench.container_names())
    gate.touch()
    assert bench.finished(client)[name].requeue_count == 0
    interfaces = bench.output(client, name).split()
    half = len(interfaces) // 2
    assert interfaces[:half] == interfaces[half:] != []
    bench.until(client, lambda: bench.container_names() == [])


def test_network_that_goes(bench):
    """When the container that keeps a network is removed, what runs in that runs again elsewhere."""
    if not bench.backend.capabilities.shares_network:
        pytest.skip("no networks are shared here")
    (bench.place / "d").mkdir()
    client = bench.ready(isolation="task", max_parallel=1, mounts=["d"])
    name, gate, _own, keeper = lodger(bench, client)
    bench.backend.engine.run("kill", keeper, timeout_s=60)
    bench.until(client, lambda: client._batch.get_task("j", name).requeue_count)
    gate.touch()
    tasks = bench.finished(client)
    assert {task.result for task in tasks.values()} == {"success"}
    bench.until(client, lambda: bench.container_names() == [])


@pytest.mark.promise(
    "add_task",
    "Output of any size is kept complete.",
    local="both streams",
)
def test_large_output(bench):
    """Megabytes on both streams arrive complete."""
    client = bench.ready()
    client.add_task("sh -c 'head -c 3000000 /dev/zero; head -c 2000000 /dev/zero >&2; exit 2'")
    task = bench.finished(client)["j--1"]
    assert task.exit_code == 2
    assert (Path(task.directory) / "stdout.txt").stat().st_size == 3_000_000
    assert (Path(task.directory) / "stderr.txt").stat().st_size == 2_000_000


def test_text_in_any_language(bench):
    """Words beyond ASCII pass to programs and back unharmed."""
    client = bench.ready()
    client.add_task("echo 'Zoë 数 \U0001d11e'")
    bench.finished(client)
    assert bench.output(client, "j--1") == "Zoë 数 \U0001d11e\n"


def test_deep_workspace(bench, monkeypatch):
    """A workspace deeper than a socket's name may be long, with blanks in it, works."""
    deep = bench.place / ("deep er " * 5) / ("x" * 80)
    deep.mkdir(parents=True)
    monkeypatch.chdir(deep)
    (deep / "d").mkdir()
    client = bench.ready(mounts=["d"])
    client.add_task("sh -c 'echo $0 >/d/file' \"it's\"")
    assert bench.finished(client)["j--1"].result == "success"
    assert (deep / "d" / "file").read_text() == "it's\n"
