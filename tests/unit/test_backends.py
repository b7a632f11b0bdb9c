"""The registry, with plugins that are installed for the test: dist-info directories on the path."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from cfa.cloudops import backends, settings
from cfa.cloudops.errors import (
    BackendConflictError,
    BackendError,
    BackendNotInstalledError,
    BackendUnavailableError,
    UnknownBackendError,
)
from cfa.cloudops.model.values import PoolSpec
from cfa.cloudops.service.local import LocalBatch

MODULE = """\
from cfa.cloudops.provider.executor import Capabilities, Executor
from cfa.cloudops.errors import BackendUnavailableError

class Good(Executor):
    name = "good"
    def probe(self):
        return Capabilities(version="9", endpoint="nowhere", images=False)
    def open_node(self, spec): ...
    def list_nodes(self, workspace): return []
    def remove_node(self, workspace, node_id): ...

class Old(Good):
    api = 0

class Silent(Good):
    def probe(self):
        raise BackendUnavailableError("The engine sleeps.", "Wake it.")

class Rude(Good):
    def probe(self):
        raise KeyError("rude")

class Leaves(Good):
    def probe(self):
        raise SystemExit(3)

class LeavesEarly(Good):
    def __init__(self, options=None):
        raise SystemExit(3)

class LeavesLate(Good):
    def close(self):
        raise SystemExit(3)

class Crashes(Good):
    def __init__(self, options=None):
        raise ZeroDivisionError("on making")

class Lacks(Good):
    def __init__(self, options=None):
        import a_library_that_is_not_there

class Vague(Good):
    def probe(self):
        return None

class Interrupted(Good):
    def probe(self):
        raise KeyboardInterrupt
"""

#: Executors that fail in a way of their own, and what is said of each.
FAULTY = {
    "exits": ("stub_exit:X", "fails when imported: SystemExit: 3"),
    "leaves": ("stub_plugin:Leaves", "fails when asked what it can do: SystemExit: 3"),
    "leaves-early": ("stub_plugin:LeavesEarly", "fails when made: SystemExit: 3"),
    "leaves-late": ("stub_plugin:LeavesLate", "fails when closed: SystemExit: 3"),
    "crashes": ("stub_plugin:Crashes", "fails when made: ZeroDivisionError: on making"),
    "rude": ("stub_plugin:Rude", "fails when asked what it can do: KeyError: 'rude'"),
    "vague": ("stub_plugin:Vague", "asked what it can do and returned NoneType"),
    "no-plugin": ("???", "fails when imported: AttributeError"),
}


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Install a distribution that registers executors: `install(name, {entry: target}, module)`."""

    def install(name: str, executors: dict[str, str], modules: dict[str, str]) -> None:
        site = tmp_path / name
        info = site / f"{name}-1.2.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n")
        lines = [f"{entry} = {target}" for entry, target in executors.items()]
        (info / "entry_points.txt").write_text(f"[{backends.EXECUTORS}]\n" + "\n".join(lines))
        for module, text in modules.items():
            Path(site, f"{module}.py").write_text(text)
            monkeypatch.delitem(sys.modules, module, raising=False)
        monkeypatch.syspath_prepend(str(site))

    return install


@pytest.fixture
def plugins(install):
    """A distribution with good and bad executors."""
    targets = {
        "good": "stub_plugin:Good",
        "old": "stub_plugin:Old",
        "silent": "stub_plugin:Silent",
        "rude": "stub_plugin:Rude",
        "absent": "stub_plugin_that_is_not_there:X",
        "crashing": "stub_crash:X",
    }
    modules = {"stub_plugin": MODULE, "stub_crash": "raise ZeroDivisionError('on import')"}
    install("stub-plugins", targets, modules)


def test_unknown(plugins):
    """A name that nobody offers is an error of its own, which lists what there is."""
    with pytest.raises(
        UnknownBackendError, match=r"'nonsense'.*docker.*good.*subprocess"
    ) as caught:
        backends.choose("nonsense")
    assert "CLOUDOPS_BACKEND" in caught.value.hint
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize("name", sorted(backends.KNOWN))
def test_known_but_not_installed(name):
    """A backend that exists elsewhere is "not installed", and the message says what to set."""
    with pytest.raises(BackendNotInstalledError, match="CLOUDOPS_BACKEND=auto"):
        backends.choose(name)


def test_not_importable(plugins):
    """A plugin whose module is missing is "not installed", and names its distribution."""
    with pytest.raises(BackendNotInstalledError, match=r"stub-plugins 1\.2.*pip install"):
        backends.load_executor("absent")


def test_not_answering(plugins):
    """An engine that does not answer is an error of its own, with the plugin's own words."""
    with pytest.raises(BackendUnavailableError, match=r"sleeps.*Wake it"):
        backends.load_executor("silent").probe()


def test_crashing_module(plugins):
    """A plugin that raises anything when loaded becomes one of our errors, naming whom to tell."""
    with pytest.raises(
        BackendError, match=r"ZeroDivisionError: on import.*authors of stub-plugins"
    ):
        backends.load_executor("crashing")


@pytest.fixture
def faulty(install):
    """A distribution of faulty executors, and a good one."""
    targets = {name: target for name, (target, _) in FAULTY.items()}
    modules = {"stub_plugin": MODULE, "stub_exit": "import sys; sys.exit(3)"}
    install("faulty-plugins", {**targets, "good": "stub_plugin:Good"}, modules)


@pytest.mark.parametrize("name", sorted(FAULTY))
def test_faulty(name, faulty):
    """Whatever a plugin does when it is used, also `sys.exit`, is an error that names its authors."""
    said = FAULTY[name][1]
    with pytest.raises(BackendError, match=r"faulty-plugins 1\.2") as caught:
        backends.ask(name)
    assert said in caught.value.message
    assert "authors of faulty-plugins" in caught.value.hint


def test_faulty_plugins_do_not_hide_others(faulty):
    """Faulty plugins are listed as broken with the reason, and nothing ends the program."""
    found = {info.name: info for info in backends.overview() if info.group == "executors"}
    for name, (_, said) in FAULTY.items():
        assert found[name].state == "broken"
        assert said in found[name].why
    assert found["good"].state == found["subprocess"].state == "ready"


def test_constructor_that_lacks_a_library(install):
    """A library that is missing later than on import is "not installed" as well."""
    install("stub-plugins", {"lacks": "stub_plugin:Lacks"}, {"stub_plugin": MODULE})
    with pytest.raises(BackendNotInstalledError, match=r"a_library.*reinstall stub-plugins"):
        backends.load_executor("lacks")


def test_interrupted_plugin(install):
    """Ctrl-C while a plugin is asked is not taken for its fault."""
    install("stub-plugins", {"slow": "stub_plugin:Interrupted"}, {"stub_plugin": MODULE})
    with pytest.raises(KeyboardInterrupt):
        backends.overview()


@pytest.mark.parametrize("name", ["exits", "crashes", "vague"])
def test_pool_on_a_faulty_backend(name, faulty, workdir):
    """A pool on a faulty backend is refused with the same error, not with the plugin's own."""
    service = LocalBatch(settings.load(default_backend="auto"))
    try:
        with pytest.raises(BackendError, match=r"faulty-plugins 1\.2"):
            service.create_pool(PoolSpec(id="pool", backend=name, nodes=1))
        assert not service.list_pools()
    finally:
        service.close()


@pytest.mark.parametrize("metadata", [None, "Metadata-Version: 2.1\n"])
def test_distribution_without_metadata(metadata, tmp_path, install):
    """Where metadata name no distribution the message names the module."""
    install("weird", {"weird": "stub_crash:X"}, {"stub_crash": "1 / 0"})
    path = tmp_path / "weird" / "weird-1.2.dist-info" / "METADATA"
    path.unlink() if metadata is None else path.write_text(metadata)
    with pytest.raises(BackendError, match="authors of the module stub_crash") as caught:
        backends.load_executor("weird")
    assert "The weird backend (the module stub_crash) fails" in caught.value.message
    (info,) = [info for info in backends.overview() if info.name == "weird"]
    assert (info.distribution, info.version, info.state) == ("unknown", "", "broken")


def test_other_interface(plugins):
    """A plugin built for another version of the interface is refused with a sentence."""
    with pytest.raises(
        BackendError, match=r"version 0 of the provider interface; this is version 2"
    ):
        backends.load_executor("old")


def test_duplicates(plugins, install):
    """Two distributions with one name are both named, also when another lies between them."""
    install("between", {"other": "stub_plugin:Good"}, {})
    install("second", {"good": "elsewhere:Good"}, {})
    with pytest.raises(BackendConflictError, match=r"second 1\.2 and stub-plugins 1\.2.*Uninstall"):
        backends.load_executor("good")
    assert backends.load_executor("other").probe().version == "9"


def test_the_same_twice(plugins, install):
    """One distribution that is seen twice on the path is no conflict."""
    again = {"good": "stub_plugin:Good"}
    install("stub-plugins/again", again, {})
    assert backends.load_executor("good").probe().version == "9"


def test_broken_plugins_do_not_hide_others(plugins):
    """The overview has a line for every backend: what is ready, and why the others are not."""
    found = {info.name: info for info in backends.overview() if info.group == "executors"}
    states = {
        "good": "ready",
        "old": "broken",
        "silent": "not answering",
        "rude": "broken",
        "absent": "not installed",
        "crashing": "broken",
        "subprocess": "ready",
    }
    assert {name: found[name].state for name in states} == states
    assert all(info.why for info in found.values() if info.state != "ready")
    assert found["good"].distribution == "stub-plugins"
    assert found["good"].version == "1.2"


def test_auto_takes_the_first_that_answers(plugins, monkeypatch):
    """`auto` passes over what does not answer, and says what it chose and why."""
    monkeypatch.setattr(backends, "AUTO_ORDER", ("silent", "absent", "good", "subprocess"))
    name, why = backends.choose("auto")
    assert name == "good"
    assert why == "silent does not answer; absent does not answer; good 9 answers"


def test_auto_passes_over_a_plugin_that_crashes(plugins, monkeypatch, caplog):
    """A plugin that raises anything does not stop `auto`; the log names it."""
    monkeypatch.setattr(backends, "AUTO_ORDER", ("rude", "good"))
    assert backends.choose("auto") == ("good", "rude is broken; good 9 answers")
    assert "rude is broken: The rude backend (stub-plugins 1.2) fails" in caplog.text


def test_auto_tells_of_a_conflict(plugins, install, monkeypatch):
    """`auto` does not say of a backend that two distributions offer that it does not answer."""
    install("second", {"silent": "elsewhere:Silent"}, {})
    monkeypatch.setattr(backends, "AUTO_ORDER", ("silent", "good"))
    name, why = backends.choose("auto")
    assert name == "good"
    assert "more than once: by second 1.2 and stub-plugins 1.2; good 9 answers" in why


def test_auto_without_any(plugins, monkeypatch):
    """When nothing answers, `auto` says so and what shows the reasons."""
    monkeypatch.setattr(backends, "AUTO_ORDER", ("silent",))
    with pytest.raises(BackendUnavailableError, match=r"silent does not answer.*cloudops doctor"):
        backends.choose("auto")
