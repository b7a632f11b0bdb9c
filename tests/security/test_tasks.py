"""Tasks that try to reach out of their place, on every backend."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cfa.cloudops.errors import FileAccessError, NotFoundError

SECRET = "the secret of the host\n"


@pytest.fixture
def victim(tmp_path: Path) -> Iterator[Path]:
    """A directory of the host that no task is shown, and that must stay as it is."""
    place = tmp_path / "victim"
    for name in ("job-1", "j--1", "j--2", "wd", "sub"):
        (place / name).mkdir(parents=True)
        (place / name / "file").write_text(SECRET)
    (place / "file").write_text(SECRET)
    before = picture(place)
    yield place
    assert picture(place) == before


def picture(place: Path) -> dict[str, str]:
    """Every name below a directory with what it holds."""
    return {
        str(path.relative_to(place)): path.read_text() if path.is_file() else ""
        for path in sorted(place.rglob("*"))
    }


def again(bench, client):
    """Let the agent leave and another one come, which tidies up."""
    pid = bench.agent_pid()
    client.close()
    bench.until_gone(pid)
    fresh = bench.client()
    fresh._batch.wait_for_change(0)
    return fresh


def isolated(bench) -> bool:
    """Whether tasks are kept from the rest of this machine at all."""
    return bool(bench.backend.capabilities.private_paths)


#: Replaces whatever a task can name by a link to $1.
LINKS = r"""
cd "$AZ_BATCH_NODE_ROOT_DIR" || exit 9
for name in volatile startup fsmounts shared workitems; do
    mv "$name" "$name.old" 2>/dev/null && ln -sn "$1" "$name"
done
cd "$AZ_BATCH_TASK_DIR" || exit 9
for name in stdout.txt stderr.txt cmd exit wd; do
    mv "$name" "old.$name" 2>/dev/null
    ln -sn "$1/file" "$name"
done
cd .. || exit 9
mv "$AZ_BATCH_TASK_ID" kept
ln -sn "$1" "$AZ_BATCH_TASK_ID"
for next in 2 3 4; do ln -sn "$1" "j--$next"; done
cd .. 2>/dev/null && mv job-1 old-1 2>/dev/null && ln -sn "$1" job-1
exit 1
"""


def test_links_lead_nowhere(bench, victim):
    """Links in the place of everything a task can name: nothing of the host is read, written or removed,
    whether by tries that follow, by other tasks, the next agent, a sweep or the removal of the job."""
    (bench.place / "d").mkdir()
    (bench.place / "saved").mkdir()
    (bench.place / "d" / "links.sh").write_text(LINKS)
    client = bench.ready(mounts=["d"], task_retries=1, save_logs_to_blob="saved")
    client.add_task(f"sh /d/links.sh {victim}")
    first = bench.finished(client)["j--1"]
    assert first.result == "failure"
    for _ in range(3):
        client.add_task("sh -c 'echo on; echo made >made'")
    tasks = bench.finished(client)
    if isolated(bench):
        assert [tasks[f"j--{n}"].result for n in (2, 3, 4)] == ["success"] * 3
        assert bench.output(client, "j--3") == "on\n"
    assert SECRET not in bench.output(client, "j--1") + bench.output(client, "j--1", name="stderr")
    client.download_job_stats("j")
    client = again(bench, client)
    bench.completed(client)
    try:
        client.delete_job("j")
    except FileAccessError:  # where a task may put a link in the place of `workitems`
        assert not isolated(bench)
    assert not any(SECRET in text for text in picture(bench.place / "saved").values())


def test_pipes_and_devices_keep_nobody_waiting(bench):
    """A pipe, a directory or a device where a file is expected costs the task that made it, no other."""
    script = (
        'cd "$AZ_BATCH_TASK_DIR" && rm -f stdout.txt stderr.txt && '
        "mkfifo stdout.txt && mkdir stderr.txt && mkfifo exit cmd; "
        "kill -9 $PPID; rm -rf wd; mkfifo wd; exit 1"
    )
    client = bench.ready(task_retries=1, max_parallel=2)
    client.add_task(f"sh -c '{script}'")
    client.add_task("sh -c 'echo fine'")
    tasks = bench.finished(client)
    assert tasks["j--1"].result == "failure"
    assert (tasks["j--2"].result, bench.output(client, "j--2")) == ("success", "fine\n")
    began = time.monotonic()
    assert bench.output(client, "j--1") == ""
    assert bench.output(client, "j--1", name="stderr") == ""
    client.download_job_stats("j")
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    "spoil",
    [
        "rm -rf $D; echo x >$D",
        "rm -rf $D; mkfifo $D",
        "rm -rf $D; ln -s / $D",
        "rm -rf $D/wd; echo x >$D/wd",
        "rm -rf $D",
        "chmod 0 $D",
        "chmod 0 $D/..",
        "rm -f $D/stdout.txt; mkdir -p $D/stdout.txt/deep; chmod 0 $D/stdout.txt",
        "cd $D/..; for n in 2 3; do mkdir j--$n; echo x >j--$n/wd; chmod 0 j--$n; done",
        "cd $D/..; for n in 2 3; do mkfifo j--$n; done",
    ],
)
def test_spoiled_directories(bench, spoil):
    """What one task does to directories is at most its own failure; the agent is the same to the end."""
    client = bench.ready(task_retries=1, max_parallel=1)
    client.add_task(f"sh -c 'D=$AZ_BATCH_TASK_DIR; {spoil}; exit 1'")
    bench.finished(client)
    pid = bench.agent_pid()
    for _ in range(2):
        client.add_task("sh -c 'echo on'")
    tasks = bench.finished(client)
    assert tasks["j--1"].result == "failure"
    assert [tasks[name].result for name in ("j--2", "j--3")] == ["success"] * 2
    assert [bench.output(client, name) for name in ("j--2", "j--3")] == ["on\n"] * 2
    assert bench.agent_pid() == pid


#: Says to everybody who may listen that the attempts 1 to 9 have ended well.
FORGERY = r"""
n=1
while [ $n -lt 10 ]; do
    for said in "exited $n.1 0" "exited $n.1 $n 0" "lost $n" "lost $n alone" "vanished $n.1"; do
        for stream in /proc/[0-9]*/fd/[0-9]*; do
            if [ -p "$stream" ] || [ -S "$stream" ]; then
                echo "$said" 1<>"$stream"
                printf "no end" 1<>"$stream"
            fi
        done 2>/dev/null
    done
    n=$((n + 1))
done
find "$AZ_BATCH_NODE_ROOT_DIR" -type p >pipes 2>/dev/null
cat pipes
echo done
"""


def test_results_cannot_be_forged(bench):
    """A task that writes reports into every stream it can open changes no result; no pipe has a name."""
    if not isolated(bench):
        pytest.skip("without a sandbox the streams would be those of all processes of this machine")
    (bench.place / "d").mkdir()
    (bench.place / "d" / "forge.sh").write_text(FORGERY)
    client = bench.ready(mounts=["d"], max_parallel=2)
    gate = bench.place / "d" / "gate"
    first = client.add_task("sh -c 'until [ -e /d/gate ]; do sleep 0.05; done; exit 7'")
    client.add_task("echo dependent", depends_on=first)
    forger = client.add_task("sh /d/forge.sh")
    bench.until(client, lambda: client._batch.get_task("j", forger).state == "completed")
    assert bench.output(client, forger).split() == ["done"]
    assert client._batch.get_task("j", first).state == "running"
    gate.touch()
    tasks = bench.finished(client)
    assert (tasks[first].result, tasks[first].exit_code) == ("failure", 7)
    assert tasks["j--2"].failure.code == "DependencyFailed"
    assert tasks[first].requeue_count == 0


def test_stolen_reports(bench):
    """A task that reads what the launcher of its node says changes no result: the journal has it.

    Podman's monitor may wait for what was read before it, and passes on nothing then: no task that is
    given to the node begins, and another node gets it.
    """
    if not isolated(bench):
        pytest.skip("without a sandbox the streams would be those of all processes of this machine")
    (bench.place / "d").mkdir()
    client = bench.ready(max_parallel=2, mounts=["d"])
    steal = (
        "for n in 1 2 3 4; do cat /proc/1/fd/1 & done; sleep 9; kill $(jobs -p) 2>/dev/null; true"
    )
    thief = client.add_task(f"sh -c '{steal}'")
    bench.until(client, lambda: client._batch.get_task("j", thief).state == "running")
    others = [
        client.add_task(f"sh -c 'echo {code} >>/d/record; sleep 1; exit {code}'") for code in (0, 3)
    ]
    tasks = bench.finished(client)
    assert [tasks[name].exit_code for name in others] == [0, 3]
    assert sorted((bench.place / "d" / "record").read_text().split()) == ["0", "3"]
    if any(tasks[name].requeue_count for name in others):
        assert bench.backend.executor == "podman"
        assert "does not answer any more" in (bench.place / ".cloudops" / "agent.log").read_text()


#: Leaves the beginning of a line, or a line without end, wherever the launcher of its node may speak.
RUBBISH = r"""
n=0
while [ $n -lt 30 ]; do
    for stream in /proc/[0-9]*/fd/1; do
        if [ -p "$stream" ] || [ -S "$stream" ]; then printf rubbish 1<>"$stream"; fi
    done 2>/dev/null
    n=$((n + 1))
    [ $n != 10 ] || : >/d/gate
    sleep 0.05
done
"""


def test_rubbish_hides_no_report(bench):
    """What a task writes into the launcher's stream does not hide the end of another, nor its own."""
    if not isolated(bench):
        pytest.skip("without a sandbox the streams would be those of all processes of this machine")
    (bench.place / "d").mkdir()
    (bench.place / "d" / "rubbish.sh").write_text(RUBBISH)
    client = bench.ready(mounts=["d"], max_parallel=2, task_slots_per_node=2)
    client.add_task("sh -c 'until [ -e /d/gate ]; do sleep 0.01; done; exit 7'")
    client.add_task("sh /d/rubbish.sh", timeout=0.5)
    tasks = bench.finished(client)
    assert tasks["j--1"].exit_code == 7
    assert tasks["j--2"].result == "success"


def test_shared_directory_is_given_back(bench):
    """A task that closes what its pool shares keeps no task of another job from running."""
    client = bench.ready()
    client.create_job("other", "p")
    client.add_task("j", "sh -c 'chmod 0 $AZ_BATCH_NODE_SHARED_DIR'")
    bench.finished(client)
    client.add_task("other", "sh -c 'echo on >$AZ_BATCH_NODE_SHARED_DIR/file'")
    assert bench.finished(client, "other")["other--1"].result == "success"
    (shared,) = (bench.place / ".cloudops" / "root" / "shared").iterdir()
    assert shared.stat().st_mode & 0o700 == 0o700


@pytest.mark.parametrize(
    "theft", ["rm -f /dev/null", "rm -f /dev/null; mkfifo /dev/null", "chmod 0 /dev"]
)
def test_null_device_that_is_taken_away(bench, theft):
    """A task that takes the null device from its node, where it can, does not keep the next from
    running: what a shell cannot do without it, a new node can."""
    if not isolated(bench):
        pytest.skip("without a sandbox the device would be the one of this machine")
    client = bench.ready(max_parallel=2, task_slots_per_node=2)
    client.add_task("j", f"sh -c '{theft}; true'")
    bench.finished(client)
    later = [client.add_task("j", "sh -c 'cat; echo on; exit 7'") for _ in range(5)]
    tasks = bench.finished(client)
    assert [tasks[name].exit_code for name in later] == [7] * 5
    client.add_task("j", "sh -c 'kill -KILL $PPID; sleep 5'")  # which is noticed all the same
    bench.finished(client)


@pytest.mark.parametrize("way", ["..", "../..", "."])
def test_closed_directory_of_a_job(bench, way):
    """A task that closes the directory of its job, or its own, keeps no later one of it from running."""
    client = bench.ready(max_parallel=1)
    client.add_task("j", f"sh -c 'cd $AZ_BATCH_TASK_WORKING_DIR && chmod 0 {way}'")
    later = [client.add_task("j", "sh -c 'echo on; exit 7'") for _ in range(3)]
    tasks = bench.finished(client)
    assert [tasks[name].exit_code for name in later] == [7, 7, 7]


def test_a_node_sees_its_own(bench):
    """A task sees its job and what its pool shares, not other jobs, pools, nodes or the store."""
    if not isolated(bench):
        pytest.skip("nothing is hidden without a sandbox")
    client = bench.ready(max_parallel=2)
    client.create_pool("q", container_image_name=bench.image)
    client.create_job("other", "q")
    client.create_job("third", "p")
    client.add_task("other", "sh -c 'echo secret >here; echo q >$AZ_BATCH_NODE_SHARED_DIR/q'")
    bench.finished(client, "other")
    client.add_task("third", "sh -c 'echo secret >here; echo p >$AZ_BATCH_NODE_SHARED_DIR/p'")
    bench.finished(client, "third")
    root = "$AZ_BATCH_NODE_ROOT_DIR"
    client.add_task(
        "j",
        f"sh -c 'cd {root}; ls workitems; ls shared; find . -name here; find . -name store.db; "
        f"cd {root} && touch volatile/x startup/x workitems/x workitems/j/x x; echo end'",
    )
    bench.finished(client)
    assert bench.output(client, "j--1").split() == ["j", "p", "end"]
    assert bench.output(client, "j--1", name="stderr").count("\n") == 5
    if bench.containers:
        return
    host = bench.place / ".cloudops"
    client.add_task("j", f"sh -c 'ls {host}; cat {host}/store.db {host}/key'")
    bench.finished(client)
    assert bench.output(client, "j--2") == ""


def test_removed_root(bench):
    """When `root` is removed while tasks run, they go back to the queue and run again."""
    (bench.place / "d").mkdir()
    client = bench.ready(max_parallel=2, mounts=["d"])
    for _ in range(6):
        client.add_task("sh -c 'echo up; until [ -e /d/gate ]; do sleep 0.05; done; echo on'")
    bench.running(client, "j--1")
    os.rename(bench.place / ".cloudops" / "root", bench.place / "removed")
    (bench.place / "d" / "gate").touch()
    tasks = bench.finished(client)
    assert {task.result for task in tasks.values()} == {"success"}
    assert bench.output(client, "j--6") == "up\non\n"


def test_hostile_names_of_other_jobs(bench):
    """A file that a task asks for by a way out of its directory is not read."""
    client = bench.ready()
    client.add_task(
        "sh -c 'ln -s / up; ln -s /etc/passwd passwd; ln -s wd/own ../own; echo x >own'"
    )
    bench.finished(client)
    for name in ("wd/passwd", "wd/up/etc/passwd"):
        try:
            assert client._batch.read_task_file("j", "j--1", name) == b""
        except (NotFoundError, OSError):
            pass
    assert client._batch.read_task_file("j", "j--1", "own") == b"x\n"


def test_set_user_id_files_are_disarmed(bench):
    """What a task marks set-user-id in a mount is an ordinary file when the job's nodes are gone."""
    (bench.place / "d").mkdir()
    (bench.place / "d" / "before").write_text("")
    (bench.place / "d" / "before").chmod(0o4755)
    client = bench.ready(mounts=["d"])
    script = "cp /bin/sh d; mkdir -p sub; cp d sub/x; chmod 4755 d; chmod 2755 sub/x; ls -l d"
    client.add_task(f"sh -c 'cd /d && {script}'")
    task = bench.finished(client)["j--1"]
    assert task.result == "success", bench.output(client, "j--1", name="stderr")
    client.delete_job("j")
    files = [bench.place / "d" / name for name in ("d", "sub/x")]
    deadline = time.monotonic() + 20
    while any(path.stat().st_mode & 0o6000 for path in files):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert {path.stat().st_mode & 0o777 for path in files} == {0o755}
    assert all(path.stat().st_uid == os.getuid() for path in files)


def test_failure_that_looks_like_a_missing_capability(bench):
    """A task that may not change an owner learns which setting would let it."""
    if not bench.containers:
        pytest.skip("only containers have capabilities to be given back")
    if os.getuid() and not bench.backend.capabilities.rootless:
        pytest.skip("an ordinary user cannot be given any")
    client = bench.ready()
    client.add_task("sh -c 'echo x >f; chown 5:5 f'")
    failure = bench.finished(client)["j--1"].failure
    assert "CAP_ADD" in failure.message, failure
    assert "CHOWN" in failure.message


def test_delete_job_tells_the_truth(bench):
    """Files that cannot be removed are named, and the job stays until they can be."""
    client = bench.ready()
    client.add_task("sh -c 'echo x >f'")
    task = bench.finished(client)["j--1"]
    place = Path(task.directory) / "wd"
    if os.getuid() == 0:
        immutable(place, True)
    else:
        pytest.skip("an ordinary user can make nothing that it cannot remove")
    try:
        with pytest.raises(OSError, match="could not be deleted"):
            client.delete_job("j")
        assert (place / "f").exists()
        assert client._batch.get_job("j").state == "completed"
    finally:
        immutable(place, False)
    client.delete_job("j")
    assert not place.exists()


def test_delete_task_tells_the_truth(bench):
    """So does the deletion of a task: it stays, with its result, until its files can be removed."""
    if os.getuid() != 0:
        pytest.skip("an ordinary user can make nothing that it cannot remove")
    client = bench.ready(mark_complete_after_tasks_run=False)
    client.add_task("sh -c 'echo x >f'")
    client.add_task("true")
    place = Path(bench.finished(client)["j--1"].directory) / "wd"
    immutable(place, True)
    try:
        with pytest.raises(FileAccessError, match="task 'j--1' could be removed"):
            client._batch.delete_task("j", "j--1")
        client._batch.delete_task("j", "j--2")
        assert (place / "f").exists()
        assert [task.result for task in client._batch.list_tasks("j")] == ["success"]
    finally:
        immutable(place, False)
    client._batch.delete_task("j", "j--1")
    assert not place.parent.exists()
    assert client._batch.task_counts("j").total == 0


def test_directory_filled_beforehand(bench):
    """A later task, and a further try, find none of what was put into their places, and it goes."""
    client = bench.ready(task_retries=1, max_parallel=1)
    fill = "mkdir -p $D/a/b; for n in 1 2 3; do echo x >$D/a/b/$n; done"
    stream = "rm -f stdout.txt; D=$PWD/stdout.txt"
    client.add_task(
        f"sh -c 'cd ..; {stream}; {fill}; chmod 0 $D; cd ..; D=$PWD/j--2; {fill}; chmod 0 $D; exit 1'"
    )
    bench.finished(client)
    client.add_task("sh -c 'ls -A .. ; ls -A'")
    task = bench.finished(client)["j--2"]
    assert sorted(bench.output(client, "j--2").split()) == ["stderr.txt", "stdout.txt", "wd"]
    job = Path(task.directory).parent
    bench.until(client, lambda: sorted(os.listdir(job)) == ["j--1", "j--2"])


def immutable(path: Path, on: bool) -> None:
    """Let nobody, root included, change a directory; or let them again."""
    done = subprocess.run(
        ["chattr", "+i" if on else "-i", path], capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip(f"no immutable files here: {done.stderr}")


#: Finds the secret of its attempt in the memory of its slot's shell, as one user's processes may, and
#: says and writes what no launcher would.
MALFORMED = r"""
import os, re, sys
shell = os.getppid()
attempt, secret = os.environ["CLOUDOPS_ATTEMPT"].split("@")[0].encode(), None
words = re.compile(rb"__secret=([0-9a-f]{16})")
for line in open(f"/proc/{shell}/maps"):
    span, rights = line.split()[:2]
    if "rw" in rights and "[v" not in line:
        low, high = (int(one, 16) for one in span.split("-"))
        with open(f"/proc/{shell}/mem", "rb", 0) as memory:
            memory.seek(low)
            try:
                found = words.search(memory.read(high - low))
            except OSError:
                continue
        secret = secret or (found and found[1])
print("found" if secret else "not found", flush=True)
for code in (b"--5", b"\xff", b"9" * 40, b"5" * 5000):
    for fd in os.listdir(f"/proc/{shell}/fd"):
        try:
            with open(f"/proc/{shell}/fd/{fd}", "ab", 0) as stream:
                stream.write(b"\n= %s %s %s 12 1\n" % (attempt, secret or b"", code))
                stream.write(b"\nexited %s %s %s\n" % (attempt, secret or b"", code))
        except OSError:
            pass
sys.exit(5)
"""


def test_malformed_reports(bench):
    """A task that knows its secret and says what no launcher would ends nobody but itself."""
    if bench.containers or not isolated(bench):
        pytest.skip("the small image has no Python; the launcher is the same")
    (bench.place / "d").mkdir()
    (bench.place / "d" / "say.py").write_text(MALFORMED)
    client = bench.ready(mounts=["d"], max_parallel=1)
    client.add_task("python3 /d/say.py")
    bench.finished(client)
    pid = bench.agent_pid()
    client.add_task("sh -c 'exit 3'")
    tasks = bench.finished(client)
    assert client._batch.read_task_file("j", "j--1", "stdout.txt").startswith(b"found\n")
    assert (tasks["j--1"].exit_code, tasks["j--2"].exit_code) == (5, 3)
    assert bench.agent_pid() == pid
    client.download_job_stats("j")
    client.delete_job("j")


@pytest.mark.parametrize("which", ["above", "same", "inside"])
def test_mounts_that_would_show_the_workspace(bench, monkeypatch, which):
    """A mount that holds the workspace, is it or lies in it is refused, and the task does not run."""
    storage, mount = {
        "above": (bench.place.parent, bench.place.name),
        "same": (bench.place, "place"),
        "inside": (bench.place / "place", "nodes"),
    }[which]
    if which != "above":
        monkeypatch.setenv("CLOUDOPS_HOME", str(bench.place / "place"))
    monkeypatch.setenv("CLOUDOPS_STORAGE", str(storage))
    client = bench.client()
    client.create_pool("p", container_image_name=bench.image, mounts=[(mount, "m")])
    client.create_job("j", "p")
    client.add_task("ls -a /m")
    task = bench.finished(client)["j--1"]
    assert task.result == "failure"
    assert "would show tasks the workspace" in task.failure.message
    assert task.exit_code is None


def test_log_of_holes(bench):
    """A log that is mostly holes does not fill the storage."""
    (bench.place / "logs").mkdir()
    client = bench.ready(save_logs_to_blob="logs")
    client.add_task("sh -c 'echo x; truncate -s 10G $AZ_BATCH_TASK_DIR/stdout.txt'")
    task = bench.finished(client)["j--1"]
    assert task.result == "success", bench.output(client, "j--1", name="stderr")
    bench.until(client, lambda: not client._batch.get_job("j").logs_owed)
    used = sum(path.stat().st_blocks * 512 for path in (bench.place / "logs").rglob("*"))
    assert used < 1 << 20
