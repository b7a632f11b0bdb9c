"""What tasks or strangers may change is opened by descriptors: nothing opens it by a path."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
#: Code that deals with places where tasks, or users of a storage root, write.
CODE = ("src/cfa/cloudops/service", "src/cfa/cloudops/cli", "src/cfa/cloudops/client",
        "backends/cloudops_fsspec")  # fmt: skip

#: Functions of `os`, `os.path` and `shutil` that take a path, but for those given a descriptor.
FUNCTIONS = {
    "open", "mkdir", "makedirs", "unlink", "remove", "removedirs", "rename", "renames", "replace",
    "rmdir", "stat", "lstat", "symlink", "link", "scandir", "walk", "fwalk", "listdir", "chmod",
    "chown", "lchown", "readlink", "truncate", "utime", "mkfifo", "mknod", "exists", "lexists",
    "isdir", "isfile", "islink", "realpath", "getsize", "rmtree", "copyfile", "copy", "copy2",
    "copytree", "move", "disk_usage",
}  # fmt: skip
#: Methods of `Path` that touch the file system.
METHODS = {
    "read_text", "read_bytes", "write_text", "write_bytes", "mkdir", "rmdir", "touch", "iterdir",
    "glob", "rglob", "stat", "lstat", "is_dir", "is_file", "is_symlink", "is_fifo", "is_socket",
    "resolve", "chmod", "symlink_to", "hardlink_to", "readlink", "samefile", "unlink", "rename",
    "exists",
}  # fmt: skip
MODULES = {"os", "os.path", "shutil"}

OWN = "of the workspace's own files, in a directory that is its owner's alone"
CALLER = "of the caller's own files, by the path that the caller gave"
SYSTEM = "of the system's files"
PLACE = "a method of `Place` or of a remote file system, not of `Path`"
ROOT_OF_CONTAINERS = "of the storage root, in which only its owner makes containers"

#: Function -> why it may take a path.
ALLOWED: dict[str, str] = {
    **dict.fromkeys(
        (
            "service/agent:Agent._listen",
            "service/agent:Agent._stop_listening",
            "service/agent:_identity",
            "service/disks:disk_errors",
            "service/disks:unfit",
            "service/link:Link._last_words",
            "service/link:short_path",
            "service/link:spawn",
            "service/networks:Lent.own_names",
            "service/networks:keeps",
            "service/networks:make_fifo",
            "service/networks:share_fifo",
            "service/nodes:_holds",
            "service/nodes:_keep_apart",
            "service/owner:_close_to_others",
            "service/owner:_fault",
            "service/owner:_is_expected",
            "service/owner:_is_trusted",
            "service/owner:_place",
            "service/owner:claim",
            "service/owner:lock",
            "service/owner:replace_lock",
            "service/disks:no_space",
            "service/reserve:_allocate_open",
            "service/reserve:_lend",
            "service/reserve:_private",
            "service/reserve:keep",
            "service/workspace:Commands.write",
            "service/workspace:Workspace.close_box",
            "service/workspace:Workspace.create",
            "service/workspace:Workspace.exists",
            "service/workspace:Workspace.kept_url",
            "service/workspace:Workspace.key",
            "service/workspace:Workspace.prepare_node",
            "service/workspace:Workspace.storage_url",
            "cli/agent:agent_state",
            "cli/agent:serve",
            "cli/app:sweep",
            "client/farewell:_stay_for_workers",
            "cli/context:find_workspace",
            "client/pools:is_same_storage",
            "cli/doctor:_has_store",
            "cli/sweep:_owner",
            "cli/sweep:_sweep_nodes",
        ),
        OWN,
    ),
    **dict.fromkeys(
        (
            "cli/autoscale:_text",
            "cli/doctor:_existing",
            "cli/doctor:_write_directory",
            "cli/programs:_runs_by_itself",
            "cli/programs:argv",
            "cli/run:run",
            "cli/samples:generate_sample_env",
            "client/images:_dockerfile",
            "client/logs:_File._open",
            "client/progress:size_of",
            "client/results:ResultMixin._save_output",
            "client/results:ResultMixin.download_after_job",
            "client/results:_replacing",
            "client/selection:_identity",
            "client/selection:_is_file",
            "client/selection:check_files",
            "client/selection:check_folder",
            "client/selection:walk",
            "client/rerun:begin_of_script",
            "backends/cloudops_fsspec/_files:open_source",
            "backends/cloudops_fsspec/_files:open_target_folder",
            "backends/cloudops_fsspec/_files:source_status",
            "backends/cloudops_fsspec/_files:split_target",
            "backends/cloudops_fsspec/_remote:RemoteBlobs._download",
        ),
        CALLER,
    ),
    **dict.fromkeys(
        (
            "cli/__init__:_for_reading",
            "cli/__init__:_open_streams",
            "service/link:Link._look_for_stopped",
            "service/owner:_machine",
            "service/scaling:CpuMeter.percent",
            "cli/__init__:_flush",
            "cli/agent:agent_may_live",
            "cli/run:_in_foreground",
            "cli/sweep:is_here",
            "client/farewell:Farewell._leave",
            "client/forks:_Notes.of",
            "backends/cloudops_fsspec/_resume:_boot",
        ),
        SYSTEM,
    ),
    **dict.fromkeys(
        (
            "service/nodes:_show",
            "service/workspace:Workspace.former_outcome",
            "service/recovery:Recovery._is_deaf",
            "service/workspace:_clear",
            "backends/cloudops_fsspec/_directory:DirectoryBlobs.delete",
            "backends/cloudops_fsspec/_records:DirectoryRecords._rename",
            "backends/cloudops_fsspec/_records:DirectoryRecords.remove",
            "backends/cloudops_fsspec/_records:RemoteRecords.remove",
            "backends/cloudops_fsspec/_records:_replace",
            "backends/cloudops_fsspec/_remote:RemoteBlobs.create_container",
            "backends/cloudops_fsspec/_resume:open_part",
            "backends/cloudops_fsspec/_resume:prune",
            "backends/cloudops_fsspec/_stage:Stage._merge",
            "backends/cloudops_fsspec/_stage:Stage.publish",
        ),
        PLACE,
    ),
    **dict.fromkeys(
        (
            "backends/cloudops_fsspec/_directory:DirectoryBlobs.create_container",
            "backends/cloudops_fsspec/_directory:DirectoryBlobs.list_containers",
            "backends/cloudops_fsspec/_folders:contents",
            "backends/cloudops_fsspec/_folders:path",
        ),
        ROOT_OF_CONTAINERS,
    ),
}


def calls(path: Path) -> Iterator[str]:
    """Functions of a module that touch the file system by a path, each as `module:qualified.name`."""
    tree = ast.parse(path.read_text())
    name = str(path.relative_to(ROOT)).removeprefix("src/cfa/cloudops/").removesuffix(".py")

    def visit(node: ast.AST, inside: str) -> Iterator[str]:
        for child in ast.iter_child_nodes(node):
            below = inside
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                below = f"{inside}.{child.name}" if inside else child.name
            if isinstance(child, ast.Call) and touches(child):
                yield f"{name}:{inside or '<module>'}"
            yield from visit(child, below)

    yield from visit(tree, "")


def touches(call: ast.Call) -> bool:
    """Whether a call reaches a file by a path."""
    if isinstance(call.func, ast.Name):
        return call.func.id == "open" and not _is_descriptor(call)
    if not isinstance(call.func, ast.Attribute):
        return False
    owner = ast.unparse(call.func.value)
    if owner in MODULES:
        return call.func.attr in FUNCTIONS and not _is_descriptor(call)
    return call.func.attr in METHODS


def _is_descriptor(call: ast.Call) -> bool:
    """Whether it is given an open directory, or an open file in place of a path."""
    if any(word.arg in ("dir_fd", "src_dir_fd") for word in call.keywords):
        return True
    first = ast.unparse(call.args[0]) if call.args else ""
    return first.endswith((".fileno()", "descriptor", "fd")) or first.startswith("f'/proc/self/fd/")


def test_paths_are_opened_where_that_is_allowed():
    """A function that touches files by a path is in the table, with the reason; the table is no longer
    than it must be."""
    found = {
        call
        for place in CODE
        for path in sorted((ROOT / place).rglob("*.py"))
        for call in calls(path)
    }
    missing = dict.fromkeys(sorted(found - ALLOWED.keys()), "")
    assert not missing, missing
    assert not ALLOWED.keys() - found, "not needed any more"


def test_the_look_sees(tmp_path):
    """Each kind of access is seen."""
    for line in ("open(path)", "os.open(path, 0)", "shutil.rmtree(path)", "os.path.exists(path)",
                 "path.read_text()", "path.unlink()", "os.stat(path)"):  # fmt: skip
        assert touches(ast.parse(line).body[0].value), line
    for line in ("os.open(name, 0, dir_fd=here)", "os.fstat(fd)", "open(descriptor, 'wb')",
                 "os.listdir(place.fileno())", "place.read('x', 1)"):  # fmt: skip
        assert not touches(ast.parse(line).body[0].value), line
