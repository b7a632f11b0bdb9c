"""The registry, with plugins that are installed for the test: dist-info directories on the path."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from cfa.cloudops import backends
from cfa.cloudops.errors import (
    BackendConflictError,
    BackendError,
    BackendNotInstalledError,
    BackendUnavailableError,
    UnknownBackendError,
)

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
"""


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


def test_other_interface(plugins):
    """A plugin built for another version of the interface is refused with a sentence."""
    with pytest.raises(
        BackendError, match=r"version 0 of the provider interface; this is version 1"
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
    assert "rude is broken: KeyError" in caplog.text


def test_auto_without_any(plugins, monkeypatch):
    """When nothing answers, `auto` says so and what shows the reasons."""
    monkeypatch.setattr(backends, "AUTO_ORDER", ("silent",))
    with pytest.raises(BackendUnavailableError, match=r"silent does not answer.*cloudops doctor"):
        backends.choose("auto")
