"""Settings: constructor arguments, then the environment, then `.env`, then defaults.

Each value knows where it came from, so that `cloudops doctor` and error messages can say it.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, TypeAlias, cast, get_args

from attrs import frozen

from cfa.cloudops.errors import InvalidNameError, SettingError
from cfa.cloudops.model.values import Isolation

_log = logging.getLogger(__name__)

#: Every variable of ours, with what it means.
VARIABLES = {
    "CLOUDOPS_BACKEND": "where tasks run: docker, podman, subprocess, a plugin's name, or auto",
    "CLOUDOPS_STORAGE": "folder or fsspec URL of the blob containers; default: the current directory",
    "CLOUDOPS_HOME": "workspace directory; default: ./.cloudops",
    "CLOUDOPS_ISOLATION": "job (the tasks of a job share a container) or task (each gets a fresh one)",
    "CLOUDOPS_MAX_PARALLEL": "most tasks that run at once on this machine; default: number of cores",
    "CLOUDOPS_REGISTRY": "registry to push images to, or none; default: one that you are logged in to",
    "CLOUDOPS_AUTOSCALE_INTERVAL_S": "seconds between evaluations of an autoscale formula; default: 5",
    "CLOUDOPS_AT_EXIT": "wait (show unfinished tasks when a script ends) or detach",
    "CLOUDOPS_EXISTING_JOB": (
        "what create_job does if the job exists: error (the default), resume (continue with it), "
        "replace (delete it with its results if it existed before the run, unless its tasks run), "
        "force-replace (also while they run)"
    ),
    "CLOUDOPS_ON_FAILURE": (
        "show (failed tasks are shown, the default) or exit (the script also ends with status 1, unless "
        "its own is not 0)"
    ),
    "CLOUDOPS_STRICT": "1: a rehearsal that refuses or reports what the cloud would refuse",
}

#: What `create_job` may do when the job exists.
ExistingJob: TypeAlias = Literal["error", "resume", "replace", "force-replace"]
EXISTING_JOB: tuple[ExistingJob, ...] = get_args(ExistingJob)
#: Whether a script that ends stays with its tasks.
AtExit: TypeAlias = Literal["wait", "detach"]
#: What failed tasks do to the exit status of a script.
OnFailure: TypeAlias = Literal["show", "exit"]

#: Seconds without work after which the agent exits. Only an agent that starts reads it.
AGENT_IDLE = "CLOUDOPS_AGENT_IDLE_S"
IDLE_S = 60.0

#: Workspaces of others that the user trusts, or `*`. Only the real environment counts: a dotenv file may
#: be in the foreign directory itself.
TRUST = "CLOUDOPS_TRUST"


@frozen(kw_only=True)
class Setting:
    """A value and its origin: `argument`, `environment`, a file's path, `default`, or `FRESH`."""

    value: str
    origin: str


@frozen(kw_only=True)
class Settings:
    """All settings, checked. `backend` may still be `auto`; `registry` is a server, `none` or ''.
    `storage_moves`: its path was given relative to the current directory, or not at all."""

    backend: str
    storage: str
    storage_moves: bool = False
    home: Path
    isolation: Isolation
    max_parallel: int
    autoscale_interval_s: float
    at_exit: AtExit
    existing_job: ExistingJob
    on_failure: OnFailure
    registry: str
    strict: bool
    origins: Mapping[str, str]
    #: What to say of variables that may be misspelt settings: each a sentence, and what to do.
    remarks: Sequence[tuple[str, str]] = ()

    @property
    def fresh(self) -> bool:
        """Whether a person typed `cloudops run --fresh`, which wins over what the script says."""
        return self.origins["CLOUDOPS_EXISTING_JOB"] == FRESH


#: Of a whole number: Python reads no endless ones, and nothing here counts that far.
_MOST_DIGITS = 9


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def load(
    *,
    default_backend: str,
    dotenv_path: str | Path | None = None,
    arguments: Mapping[str, str | None] | None = None,
    environment: Mapping[str, str] | None = None,
    dotenv: Mapping[str, str] | None = None,
) -> Settings:
    """Resolve all settings.

    Args:
        default_backend: `azure` for the cloud package, `auto` for `local`.
        dotenv_path: a file of `NAME=value` lines; `.env` in the current directory when None and
            present. Its `CLOUDOPS_*` entries are read here; nothing is put into the environment.
        arguments: values given in code, by variable name; None means not given.
        environment: stands for `os.environ`.
        dotenv: the entries of that file, where it has been read.

    Raises:
        SettingError: a value cannot be used; the message says where it came from.
    """
    env = os.environ if environment is None else environment
    dotenv = read_dotenv(dotenv_path) if dotenv is None else dotenv
    dotenv_origin = str(dotenv_path or ".env")

    def get(name: str, default: str) -> Setting:
        given = (arguments or {}).get(name)
        if given is not None:
            return Setting(value=given, origin="argument")
        if env.get(name):
            return Setting(value=env[name], origin="environment")
        if dotenv.get(name):
            return Setting(value=dotenv[name], origin=dotenv_origin)
        return Setting(value=default, origin="default")

    found = {
        "CLOUDOPS_BACKEND": get("CLOUDOPS_BACKEND", default_backend),
        "CLOUDOPS_STORAGE": get("CLOUDOPS_STORAGE", "file:"),
        "CLOUDOPS_HOME": get("CLOUDOPS_HOME", ".cloudops"),
        "CLOUDOPS_ISOLATION": get("CLOUDOPS_ISOLATION", Isolation.JOB),
        "CLOUDOPS_MAX_PARALLEL": get("CLOUDOPS_MAX_PARALLEL", str(cores())),
        "CLOUDOPS_REGISTRY": get("CLOUDOPS_REGISTRY", ""),
        "CLOUDOPS_AUTOSCALE_INTERVAL_S": get("CLOUDOPS_AUTOSCALE_INTERVAL_S", "5"),
        "CLOUDOPS_AT_EXIT": get("CLOUDOPS_AT_EXIT", "wait"),
        "CLOUDOPS_EXISTING_JOB": get("CLOUDOPS_EXISTING_JOB", "error"),
        "CLOUDOPS_ON_FAILURE": get("CLOUDOPS_ON_FAILURE", "show"),
        "CLOUDOPS_STRICT": get("CLOUDOPS_STRICT", "0"),
    }
    if fresh := _typed_fresh(env, found["CLOUDOPS_EXISTING_JOB"]):
        found["CLOUDOPS_EXISTING_JOB"] = fresh
    _idle_s(get(AGENT_IDLE, str(IDLE_S)))  # an agent will read it
    strict = _switch(found, "CLOUDOPS_STRICT")
    if strict and found["CLOUDOPS_ISOLATION"].origin == "default":
        # As on the cloud: a script must not come to rely on what tasks share.
        found["CLOUDOPS_ISOLATION"] = Setting(value=Isolation.TASK, origin="CLOUDOPS_STRICT")
    backend = _choice(found, "CLOUDOPS_BACKEND", None)
    return Settings(
        backend=backend,
        storage=_storage_root(found["CLOUDOPS_STORAGE"]),
        storage_moves=not _storage_path(found["CLOUDOPS_STORAGE"]).startswith(("/", "~")),
        home=_path("CLOUDOPS_HOME", found["CLOUDOPS_HOME"]),
        isolation=Isolation(_choice(found, "CLOUDOPS_ISOLATION", tuple(Isolation))),
        max_parallel=_positive(found, "CLOUDOPS_MAX_PARALLEL"),
        autoscale_interval_s=_seconds(found, "CLOUDOPS_AUTOSCALE_INTERVAL_S"),
        at_exit=cast("AtExit", _choice(found, "CLOUDOPS_AT_EXIT", get_args(AtExit))),
        existing_job=cast("ExistingJob", _choice(found, "CLOUDOPS_EXISTING_JOB", EXISTING_JOB)),
        on_failure=cast("OnFailure", _choice(found, "CLOUDOPS_ON_FAILURE", get_args(OnFailure))),
        registry=_registry(found),
        strict=strict,
        origins={name: setting.origin for name, setting in found.items()},
        remarks=_remarks(env, dotenv, dotenv_origin, backend),
    )


def _remarks(
    env: Mapping[str, str], dotenv: Mapping[str, str], origin: str, backend: str
) -> Sequence[tuple[str, str]]:
    if all(name in VARIABLES for name in (*env, *dotenv) if name.startswith("CLOUDOPS_")):
        return ()
    from cfa.cloudops import variables  # few scripts have others

    return variables.remarks(env, dotenv, origin=origin, settings=VARIABLES, backend=backend)


def agent_idle_s() -> float:
    """Seconds without work after which an agent exits, in its own environment. Raises: SettingError."""
    return _idle_s(Setting(value=os.environ.get(AGENT_IDLE) or str(IDLE_S), origin="environment"))


def _idle_s(setting: Setting) -> float:
    try:
        seconds = float(setting.value)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise SettingError(
            f"{AGENT_IDLE}={setting.value!r} (from {setting.origin}) is not a number of seconds.",
            f"Set {AGENT_IDLE} to 0 or more.",
        )
    return seconds


def read_dotenv(path: str | Path | None, *, required: bool = True) -> dict[str, str]:
    """Entries of a dotenv file; `{}` when `path` is None and there is no `.env` here.

    Args:
        path: the file.
        required: as the command line has it, whose `--dotenv` names the file. False: a file that does
            not exist has no entries, as for the cloud's client, and the log says so.

    Raises:
        SettingError: a file that was named does not exist, is not an ordinary file, or cannot be read.
    """
    file = Path(path) if path is not None else Path(".env")
    if not file.is_file():
        if os.path.lexists(file):
            said = f"The dotenv file {str(file)!r} is not an ordinary file"
            if path is not None and required:
                raise SettingError(f"{said}.", "Correct --dotenv, or leave it out.")
            _log.warning("%s: no settings come from it.", said)
        elif path is not None and required:
            raise SettingError(
                f"The dotenv file {str(path)!r} does not exist.",
                "Correct --dotenv, or leave it out.",
            )
        elif path is not None:
            _log.info("The dotenv file %r does not exist: no settings come from it.", str(path))
        return {}
    from dotenv import dotenv_values  # a file that is absent costs no import

    try:
        return {name: value for name, value in dotenv_values(file).items() if value is not None}
    except (OSError, UnicodeDecodeError) as error:
        raise SettingError(f"The dotenv file {str(file)!r} cannot be read: {error}.") from None


#: What entries of dotenv files took the place of in the environment: by name, the value before (None:
#: there was none) and that of the file.
_replaced: dict[str, tuple[str | None, str]] = {}


#: How the variables begin that `cloudops run` gives to a program, and to nobody that it starts for long.
OF_A_RUN = "CLOUDOPS_RUN_"
#: The directory of the cloud's scripts, which is on the program's `PATH`.
SCRIPTS_VARIABLE = f"{OF_A_RUN}SCRIPTS"
#: A file that `cloudops run` made, into which each client of the script writes, in a line of JSON,
#: how the tasks that it added ended. The variable may outlive the file.
REPORT_VARIABLE = f"{OF_A_RUN}REPORT"
#: What its option `--fresh` stands for: `replace`, or `force-replace` with `--force`.
FRESH_VARIABLE = f"{OF_A_RUN}FRESH"
#: The origin of that setting.
FRESH = "cloudops run --fresh"


def _typed_fresh(env: Mapping[str, str], script: Setting) -> Setting | None:
    """The setting of a living `cloudops run --fresh`. A script that asks for more gets it."""
    fresh = env.get(FRESH_VARIABLE)
    if not fresh:
        return None
    from cfa.cloudops import report  # for `cloudops run` alone

    if not report.is_there(env.get(REPORT_VARIABLE, "")):
        return None
    most = script.value.strip().lower() == "force-replace"
    return Setting(value="force-replace" if most else fresh, origin=FRESH)


def export_dotenv(entries: Mapping[str, str]) -> None:
    """Put entries of a dotenv file into the environment, as the cloud's client does.

    Not the one that says what is trusted.
    """
    own = own_environment(settings=False)
    for name, value in entries.items():
        if name != TRUST:
            _replaced[name] = (own.get(name), value)
            os.environ[name] = value


def own_environment(*, settings: bool = True) -> dict[str, str]:
    """The environment without what dotenv files and `cloudops run` put into it: what a process of ours
    starts with.

    A dotenv file is found in the directory where one works, and that may be a stranger's: it must not
    say which libraries and programs an agent loads.

    Args:
        settings: keep the `CLOUDOPS_*` entries of dotenv files.
    """
    found = {name: value for name, value in os.environ.items() if not name.startswith(OF_A_RUN)}
    if scripts := os.environ.get(SCRIPTS_VARIABLE):
        path = found.get("PATH", os.defpath).split(os.pathsep)
        found["PATH"] = os.pathsep.join(place for place in path if place != scripts)
    for name, (before, value) in _replaced.items():
        if found.get(name) != value or (settings and name.startswith("CLOUDOPS_")):
            continue  # a script has set it since
        if before is None:
            del found[name]
        else:
            found[name] = before
    return found


def take_back_dotenv() -> None:
    """Take out of the environment what dotenv files put into it."""
    own = own_environment(settings=False)
    for name in _replaced:
        if name in own:
            os.environ[name] = own[name]
        else:
            os.environ.pop(name, None)
    _replaced.clear()


def _choice(found: Mapping[str, Setting], name: str, choices: tuple[str, ...] | None) -> str:
    setting = found[name]
    value = setting.value.strip().lower()
    if choices is not None and value not in choices:
        raise SettingError(
            f"{name}={setting.value!r} (from {setting.origin}) is not one of {', '.join(choices)}.",
            f"Set {name} to one of them, or leave it out.",
        )
    return value


def _switch(found: Mapping[str, Setting], name: str) -> bool:
    word = _choice(found, name, ("1", "true", "yes", "on", "0", "false", "no", "off"))
    return word in ("1", "true", "yes", "on")


def _positive(found: Mapping[str, Setting], name: str) -> int:
    setting = found[name]
    digits = setting.value.strip()
    if not digits.isdecimal() or len(digits) > _MOST_DIGITS or int(digits) < 1:
        raise SettingError(
            f"{name}={setting.value!r} (from {setting.origin}) is not a whole number above 0.",
            f"Set {name} to the number of tasks to run at once.",
        )
    return int(digits)


def _registry(found: Mapping[str, Setting]) -> str:
    """The server of the registry that images are pushed to, `none`, or '' when it is not set."""
    setting = found["CLOUDOPS_REGISTRY"]
    value = setting.value.strip()
    if value.lower() in ("", "none"):
        return value.lower()
    from cfa.cloudops.model import references  # few scripts set it

    try:
        return references.server(value)
    except InvalidNameError:
        raise SettingError(
            f"CLOUDOPS_REGISTRY={setting.value!r} (from {setting.origin}) cannot be a registry.",
            "Set it to a server such as myacr.azurecr.io or localhost:5000, or to none.",
        ) from None


def _seconds(found: Mapping[str, Setting], name: str) -> float:
    setting = found[name]
    try:
        seconds = float(setting.value)
    except ValueError:
        seconds = 0.0
    if not 0.05 <= seconds <= 86400:
        raise SettingError(
            f"{name}={setting.value!r} (from {setting.origin}) is not a number of seconds between "
            "0.05 and 86400.",
            f"Set {name} to one, or leave it out.",
        )
    return seconds


def _path(name: str, setting: Setting, part: str | None = None) -> Path:
    """An absolute path, so that a later change of directory does not move what is there.

    Args:
        name: the variable.
        setting: its value.
        part: the path in it, where it is more than that.
    """
    path = setting.value if part is None else part
    try:
        return Path(path).expanduser().absolute()
    except RuntimeError:
        raise SettingError(
            f"{name}={setting.value!r} (from {setting.origin}) names the home directory of a user "
            "who does not exist on this machine.",
            f"Write out the path, or ./{path} for a directory of that name.",
        ) from None
    except OSError as error:  # the current directory is gone
        raise SettingError(
            f"{name}={setting.value!r} (from {setting.origin}) is relative, and the current "
            f"directory cannot be determined: {error.strerror}.",
            "Change to a directory that exists.",
        ) from None


def _storage_root(setting: Setting) -> str:
    """An absolute URL."""
    path = _storage_path(setting)
    return f"file://{_path('CLOUDOPS_STORAGE', setting, path)}" if path else setting.value


def _storage_path(setting: Setting) -> str:
    """The path, as it was given; empty for a URL that is none of files."""
    scheme, colon, rest = setting.value.partition(":")
    if not colon or "/" in scheme:  # a plain path
        return setting.value or "."
    if scheme.lower() != "file":
        return ""
    path = rest.removeprefix("//")
    if path.lower().startswith("localhost/"):  # RFC 8089
        path = path[len("localhost") :]
    return path or "."
