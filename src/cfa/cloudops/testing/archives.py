"""Makes the archives of `images`: layers packed in plain Python, in the form of `docker save`."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import io
import json
import os
import platform
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from attrs import frozen

from cfa.cloudops.errors import UnsupportedError

#: Label by which an image of this module is known again; its value changes with the contents.
LABEL = "cfa.cloudops.testing"

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}
_CREATED = "2024-01-01T00:00:00Z"
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_PASSWD = b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"
_GROUP = b"root:x:0:\nnogroup:x:65534:\n"
#: What an image does not need, and device nodes, which a rootless engine cannot make.
_LEFT_OUT = ("dev", "proc", "sys", "run", "tmp", "var/cache", "var/lib/apt/lists", "var/log")
_LEFT_OUT_SHARE = ("doc", "info", "locale", "man", "lintian", "zoneinfo")


# --- busybox and its kin ------------------------------------------------------------------------


def busybox() -> Path:
    """A static busybox of this machine.

    Raises:
        UnsupportedError: there is none, or it needs shared libraries.
    """
    for place in (shutil.which("busybox"), "/usr/bin/busybox", "/bin/busybox", "/sbin/busybox"):
        if place and Path(place).is_file() and _is_static(Path(place)):
            return Path(place).resolve()
    raise UnsupportedError(
        "There is no static busybox on this machine to make a test image from.",
        "Install it, on Debian with: apt-get install busybox-static",
    )


def busybox_archive(
    tag: str, target: Path, config: Mapping[str, Any], *, shell: bool = True
) -> Path:
    """Write an archive with a busybox image to `target`; takes about a second.

    Args:
        tag: the image's full name.
        target: the file to write.
        config: the image's settings, such as `Cmd`, `User`, `Entrypoint`.
        shell: without it there are only `/bin/true` and `/bin/sleep`.

    Raises:
        UnsupportedError: no static busybox here. OSError: `target` cannot be written.
    """
    with tempfile.TemporaryDirectory(prefix="cloudops-image-") as made:
        layer = Path(made) / "layer.tar"
        _busybox_layer(layer, shell=shell)
        _write_archive(target, layer, tag, config)
    return target


def _busybox_layer(target: Path, *, shell: bool) -> None:
    program = busybox()
    with tarfile.open(target, "w", format=tarfile.GNU_FORMAT) as layer:
        add = _Adder(layer)
        for directory in ("bin", "etc", "root", "usr", "usr/bin", "var", "dev", "proc", "sys"):
            add.directory(directory)
        add.directory("tmp", 0o1777)
        add.directory("var/tmp", 0o1777)
        add.file("etc/passwd", _PASSWD)
        add.file("etc/group", _GROUP)
        if not shell:
            add.file("bin/true", program.read_bytes(), 0o755)
            add.link("bin/sleep", "true")
            return
        add.file("bin/busybox", program.read_bytes(), 0o755)
        for applet in _applets(program):
            add.link(f"bin/{applet}", "busybox")
        add.link("usr/bin/env", "../../bin/busybox")


def _applets(program: Path) -> list[str]:
    listed = subprocess.run(
        [str(program), "--list"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
        timeout=20,
    )
    applets = sorted(set(listed.stdout.split()) - {"busybox"})
    lacking = {"sh", "mkfifo", "setsid", "id", "sleep", "true"} - set(applets)
    if lacking:
        raise UnsupportedError(
            f"The busybox {program} lacks {', '.join(sorted(lacking))}.",
            "Install a fuller one, on Debian with: apt-get install busybox-static",
        )
    return applets


def _is_static(program: Path) -> bool:
    """Whether an ELF program names no interpreter (PT_INTERP) among its program headers."""
    with program.open("rb") as file:
        head = file.read(64)
        if head[:4] != b"\x7fELF":
            return False
        order = "little" if head[5] == 1 else "big"

        def number(data: bytes, offset: int, size: int) -> int:
            return int.from_bytes(data[offset : offset + size], order)  # type: ignore[arg-type]

        wide = head[4] == 2
        start = number(head, 32, 8) if wide else number(head, 28, 4)
        size, count = (number(head, 54 if wide else 42, 2), number(head, 56 if wide else 44, 2))
        file.seek(start)
        headers = file.read(size * count)
    return all(number(headers, index * size, 4) != 3 for index in range(count))


# --- Python ---------------------------------------------------------------------------------------


def python_archive(tag: str) -> Path:
    """The archive with the Python image, named `tag`; made once, in about a minute, and kept.

    Looks in `$CLOUDOPS_TEST_CACHE` when set, else in `/var/cache/cloudops-test`, else in the user's
    cache directory. Several processes may call at once; one makes it.

    Raises:
        UnsupportedError: it is in no cache and cannot be made here; says what is missing.
    """
    file_name = f"python-{_architecture()}.tar"
    for directory in _caches():
        if (directory / file_name).is_file():
            return directory / file_name
    directory = _writable_cache()
    final = directory / file_name
    with _locked(directory / f"{file_name}.lock"):
        if final.is_file():
            return final
        _require_debootstrap()
        with tempfile.TemporaryDirectory(dir=directory, prefix="making-") as made:
            root = Path(made) / "root"
            _debootstrap(root)
            layer = Path(made) / "layer.tar"
            _pack_tree(root, layer)
            archive = Path(made) / "image.tar"
            _write_archive(archive, layer, tag, {"Cmd": ["python3"]})
            archive.chmod(0o644)
            archive.replace(final)
    return final


def _caches() -> list[Path]:
    named = os.environ.get("CLOUDOPS_TEST_CACHE")
    if named:
        return [Path(named)]
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return [Path("/var/cache/cloudops-test"), home / "cloudops-test"]


def _writable_cache() -> Path:
    for directory in _caches():
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(directory, os.W_OK):
            return directory
    raise UnsupportedError(
        "No cache directory for test images can be written.",
        "Set CLOUDOPS_TEST_CACHE to a directory of yours.",
    )


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # at most as long as another process makes the image
        yield


def _require_debootstrap() -> None:
    what = "The Python test image is in no cache and cannot be made here: "
    if os.geteuid() != 0:
        raise UnsupportedError(
            what + "debootstrap works as root only.",
            "Run once as root: python -m cfa.cloudops.testing.images -",
        )
    if shutil.which("debootstrap", path=_PATH) is None:
        raise UnsupportedError(
            what + "debootstrap is not installed.", "Install it: apt-get install debootstrap"
        )


def _debootstrap(root: Path) -> None:
    suite, mirror = _debian()
    argv = ["debootstrap", "--variant=minbase", "--include=python3", suite, str(root)]
    done = subprocess.run(
        argv + ([mirror] if mirror else []),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
        timeout=1200,
        env={**os.environ, "PATH": _PATH},
    )
    if done.returncode != 0:
        raise UnsupportedError(
            f"debootstrap failed with status {done.returncode}: {done.stdout[-600:].strip()}",
            "See whether Debian's packages can be fetched from here.",
        )


def _debian() -> tuple[str, str]:
    """Suite and mirror of this machine, so that what apt can reach is what debootstrap asks."""
    release: dict[str, str] = {}
    with contextlib.suppress(OSError):  # a machine that does not say: debootstrap's own defaults
        release = platform.freedesktop_os_release()
    if release.get("ID") != "debian":
        return "stable", ""
    suite = release.get("VERSION_CODENAME", "stable")
    try:
        listed = subprocess.run(
            ["apt-get", "indextargets", "--format", "$(CODENAME) $(COMPONENT) $(REPO_URI)"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return suite, ""
    for line in listed.splitlines():
        codename, component, uri = [*line.split(maxsplit=2), "", "", ""][:3]
        if codename == suite and component == "main" and uri.rstrip("/").endswith("/debian"):
            return suite, uri
    return suite, ""


def _pack_tree(root: Path, target: Path) -> None:
    left_out = {*_LEFT_OUT, *(f"usr/share/{name}" for name in _LEFT_OUT_SHARE)}

    def keep(info: tarfile.TarInfo) -> tarfile.TarInfo | None:
        if info.name in left_out or info.ischr() or info.isblk():
            return None
        info.uname = info.gname = ""
        return info

    with tarfile.open(target, "w", format=tarfile.GNU_FORMAT) as layer:
        for entry in sorted(os.listdir(root)):
            layer.add(root / entry, arcname=entry, filter=keep)
        add = _Adder(layer)
        for directory in ("dev", "proc", "sys", "run", "var/cache", "var/log"):
            add.directory(directory)
        add.directory("tmp", 0o1777)
        add.link("usr/local/bin/python", "/usr/bin/python3")


# --- archives -------------------------------------------------------------------------------------


@frozen
class _Adder:
    """Adds entries owned by root and with no time of their own, so that equal input gives equal
    archives."""

    archive: tarfile.TarFile

    def file(self, name: str, data: bytes, mode: int = 0o644) -> None:
        info = tarfile.TarInfo(name)
        info.size, info.mode = len(data), mode
        self.archive.addfile(info, io.BytesIO(data))

    def copy(self, name: str, source: Path) -> None:
        info = tarfile.TarInfo(name)
        with source.open("rb") as file:
            info.size = os.fstat(file.fileno()).st_size
            self.archive.addfile(info, file)

    def directory(self, name: str, mode: int = 0o755) -> None:
        info = tarfile.TarInfo(name)
        info.type, info.mode = tarfile.DIRTYPE, mode
        self.archive.addfile(info)

    def link(self, name: str, target: str) -> None:
        info = tarfile.TarInfo(name)
        info.type, info.mode, info.linkname = tarfile.SYMTYPE, 0o777, target
        self.archive.addfile(info)


def _write_archive(target: Path, layer: Path, tag: str, config: Mapping[str, Any]) -> None:
    digest = hashlib.sha256()
    with layer.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    image = _image_config(digest.hexdigest(), config)
    image_name = hashlib.sha256(image).hexdigest() + ".json"
    layer_name = digest.hexdigest() + "/layer.tar"
    manifest = [{"Config": image_name, "RepoTags": [tag], "Layers": [layer_name]}]
    with tarfile.open(target, "w", format=tarfile.GNU_FORMAT) as archive:
        add = _Adder(archive)
        add.file("manifest.json", json.dumps(manifest).encode())
        add.file(image_name, image)
        add.copy(layer_name, layer)


def _image_config(diff_id: str, config: Mapping[str, Any]) -> bytes:
    settings = {"Env": [f"PATH={_PATH}"], **config}
    stamp = hashlib.sha256(json.dumps([settings, diff_id]).encode()).hexdigest()
    return json.dumps(
        {
            "architecture": _architecture(),
            "os": "linux",
            "created": _CREATED,
            "config": {**settings, "Labels": {LABEL: stamp}},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{diff_id}"]},
            "history": [{"created": _CREATED, "created_by": __name__}],
        }
    ).encode()


def label_of(archive: Path) -> str:
    """The value of `LABEL` that the archive's image carries."""
    with tarfile.open(archive) as file:
        manifest = json.load(file.extractfile("manifest.json") or io.BytesIO())
        image = json.load(file.extractfile(manifest[0]["Config"]) or io.BytesIO())
    return str(image["config"]["Labels"][LABEL])


def _architecture() -> str:
    machine = platform.machine()
    return _ARCHITECTURES.get(machine, machine)
