"""The behaviour table: docs/reference/behaviour.md, made from the promises that tests carry.

    python tests/behaviour.py           # writes the page
    python tests/behaviour.py --check   # says whether it is out of date, and writes nothing

A test that proves a promise carries it as a marker, one for each promise:

    @pytest.mark.promise(
        "create_job",                           # one of SUBJECTS
        "A job of this name that exists is an error.",
        local="`JobExistsError`, a `RuntimeError`",
        cloud="the SDK's error",                # left out: the same
        difference="the type of the error",     # what a script may notice; left out: none
    )

The tests are read, not imported and not run.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from attrs import frozen

TESTS = Path(__file__).parent
PAGE = TESTS.parent / "docs" / "reference" / "behaviour.md"

#: Headings of the page, each with what its promises are about, in order.
SUBJECTS = {
    "Client": (
        "CloudClient", "check_credentials", "get_kv_secret", "get_vm_name", "get_all_vm_quotas",
        "get_vm_series_quotas", "close",
    ),
    "Pools": ("create_pool", "delete_pool", "list_pools"),
    "Images": (
        "package_and_upload_dockerfile", "upload_docker_image", "list_acr_tags",
        "list_available_images",
    ),
    "Jobs": (
        "create_job", "check_job_status", "monitor_job", "download_job_stats", "download_after_job",
        "delete_job", "list_jobs",
    ),
    "Tasks": (
        "add_task", "add_task_collection", "add_tasks_from_yaml", "get_task_status", "list_tasks",
        "read_task_output", "run_dag", "generate_dag", "Task", "run_experiment", "run_tasks",
    ),
    "Schedules": (
        "create_job_schedule", "suspend_job_schedule", "resume_job_schedule", "delete_job_schedule",
    ),
    "Blobs": (
        "create_blob_container", "upload_files", "upload_folders", "async_upload_folder",
        "update_blob_protection", "list_blob_files", "download_file", "download_folder",
        "async_download_folder", "delete_blob_file", "delete_blob_folder",
    ),
    "Workflows": tuple(
        f"examples/{path.name}" for path in sorted((TESTS.parent / "examples").iterdir())
        if path.is_dir()
    ),
}  # fmt: skip

HEAD = """\
# Promises and their tests

This page is for maintainers. For users, [What differs from the
cloud](../explanation/differences.md) has what matters.

Each row is a promise: what it is, what happens here, what happens on Azure, the known difference (—
for none), and the test that proves it. Rows about methods of `CloudClient` hold for every backend,
unless they say otherwise. Each workflow is a directory of `examples/`; its test runs it on every
backend.

"On the cloud" means Azure Batch and Azure Storage as they are documented, used through version
0.8.0 of the cloud's client as it is documented. If that version cannot do what it documents, the
row says so.

`python tests/behaviour.py` writes this page from the markers of the tests. Edit the markers.
"""


class PromiseError(ValueError):
    """A marker that makes no row; the message begins with its file and line."""


@frozen(kw_only=True)
class Promise:
    """A row.

    Attributes:
        subject: what it is about, one of `SUBJECTS`.
        text: the promise, a sentence.
        local, cloud: what happens here and on the cloud.
        difference: what is known to differ; '' for nothing.
        test: the test's id, from the root of the repository.
    """

    subject: str
    text: str
    local: str
    cloud: str
    difference: str
    test: str


def collect(tests: Path = TESTS) -> list[Promise]:
    """The promises of all test modules below a directory, in the order of files and lines.

    Raises:
        PromiseError: a marker is not complete, or stands where pytest finds no test.
    """
    found: list[Promise] = []
    for path in sorted(tests.rglob("*.py")):
        text = path.read_text()
        if "mark.promise" in text and path.resolve() != Path(__file__).resolve():
            name = path.relative_to(tests.parent).as_posix()
            found += _of_module(ast.parse(text), name)
    return found


def _of_module(module: ast.Module, name: str) -> Iterator[Promise]:
    tests = set()
    holders: list[ast.Module | ast.ClassDef] = [module]
    holders += [node for node in module.body if isinstance(node, ast.ClassDef)]
    for holder in holders:
        for node in holder.body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.decorator_list:
                place = [name, node.name]
                if isinstance(holder, ast.ClassDef):
                    place.insert(1, holder.name)
                for marker in filter(_is_marker, node.decorator_list):
                    _check_place(place, marker)
                    tests.add(id(marker))
                    yield _promise(marker, "::".join(place))
    for call in ast.walk(module):
        if isinstance(call, ast.Call) and _is_marker(call) and id(call) not in tests:
            raise PromiseError(f"{name}:{call.lineno}: a promise that decorates no test.")


def _is_marker(node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.promise"


def _check_place(place: list[str], node: ast.expr) -> None:
    """Whether pytest would collect a test at this place."""
    *classes, function = place[1:]
    module = Path(place[0]).name.startswith("test_")
    if not (module and function.startswith("test") and all(c.startswith("Test") for c in classes)):
        raise PromiseError(f"{place[0]}:{node.lineno}: {function} is not a test.")


def _promise(node: Any, test: str) -> Promise:
    where = f"{test.partition('::')[0]}:{node.lineno}"
    try:
        positional = [ast.literal_eval(one) for one in node.args]
        named = {str(one.arg): ast.literal_eval(one.value) for one in node.keywords}
    except ValueError as error:
        raise PromiseError(f"{where}: a promise is made of plain texts.") from error
    if len(positional) != 2 or not {"local"} <= named.keys() <= {"local", "cloud", "difference"}:
        raise PromiseError(f"{where}: a promise is (subject, text, local=, cloud=, difference=).")
    subject, text = positional
    if not any(subject in group for group in SUBJECTS.values()):
        raise PromiseError(f"{where}: {subject!r} is none of SUBJECTS.")
    return Promise(
        subject=subject,
        text=text,
        local=named["local"],
        cloud=named.get("cloud", "the same"),
        difference=named.get("difference", ""),
        test=test,
    )


def page(promises: Iterable[Promise]) -> str:
    """The page."""
    rows: dict[str, list[Promise]] = {}
    for promise in promises:
        rows.setdefault(promise.subject, []).append(promise)
    lines = [HEAD]
    for group, subjects in SUBJECTS.items():
        lines.append(f"## {group}\n")
        for subject in subjects:
            if subject in rows:
                lines += [f"### `{subject}`\n", *_table(rows[subject]), ""]
    return "\n".join(lines).rstrip("\n") + "\n"


def _table(promises: list[Promise]) -> Iterator[str]:
    yield "| | Promise | Here | On the cloud | Known difference | Test |"
    yield "|---|---|---|---|---|---|"
    for number, one in enumerate(promises, 1):
        cells = (one.text, one.local, one.cloud, one.difference or "—", f"`{one.test}`")
        yield f"| {number} | {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def main(arguments: list[str]) -> int:
    """Write the page, or check it; the exit status."""
    text = page(collect())
    if arguments == ["--check"]:
        if PAGE.exists() and PAGE.read_text() == text:
            return 0
        print(f"{PAGE} is out of date: python tests/behaviour.py writes it.")
        return 1
    if arguments:
        print(__doc__)
        return 2
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
