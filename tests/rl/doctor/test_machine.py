"""What a machine has, held against what a run needs."""

import resource
from collections import namedtuple
from importlib.metadata import version

import pytest

from rl.doctor import machine
from rl.plan.cards import card_of
from rl.plan.devices import Devices

Usage = namedtuple("Usage", "total used free")


def findings(tmp_path, devices=None):
    """What is found, but for the packages: to look at all that are installed takes a fifth of a second."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(machine, "lock_file", lambda: tmp_path / "no.lock")
        found = list(machine.look_at_machine(tmp_path, devices or Devices(1, 0, None, 2)))
    return {one.what: one for one in found}


def test_the_versions_here_are_the_locked_ones():
    found = machine.packages(machine.lock_file())
    assert found.is_good, found
    assert int(found.text.split()[0]) > 50


def test_another_version_is_named_with_the_locked_one(tmp_path):
    lock = tmp_path / "requirements.lock"
    lock.write_text("numpy==0.0.1\npandas==" + version("pandas") + "\n")
    found = machine.packages(lock)
    assert found.text == f"numpy {version('numpy')} (locked: 0.0.1)"
    assert "make setup" in found.mend


def test_a_local_version_is_the_same_version(tmp_path, monkeypatch):
    lock = tmp_path / "requirements.lock"
    lock.write_text("torch==9.9.9\n")
    monkeypatch.setattr(machine, "version", lambda name: "9.9.9+cpu")
    assert machine.packages(lock).is_good


def test_without_a_lock_nothing_is_held_against_it(tmp_path):
    assert machine.packages(tmp_path / "requirements.lock").is_good


def test_a_build_for_cpus_beside_gpus_is_wrong(tmp_path, monkeypatch):
    gpus = Devices(1, 8, card_of("H100"), 64)
    monkeypatch.setattr(machine, "version", lambda name: "2.13.0+cpu")
    assert "make setup" in findings(tmp_path, gpus)["devices"].mend
    assert findings(tmp_path)["devices"].is_good
    monkeypatch.setattr(machine, "version", lambda name: "2.13.0")
    assert findings(tmp_path, gpus)["devices"].is_good


@pytest.mark.parametrize(("gib", "is_good"), [(1, False), (100, True)])
def test_room_on_disk_and_in_shared_memory(tmp_path, monkeypatch, gib, is_good):
    monkeypatch.setattr("shutil.disk_usage", lambda folder: Usage(gib * 2**30, 0, gib * 2**30))
    found = findings(tmp_path / "runs" / "not" / "yet" / "there")
    assert found["disk"].is_good is found["shared memory"].is_good is is_good


def test_the_folder_of_runs_is_looked_at_where_it_will_be(tmp_path):
    found = list(machine.look_at_machine(tmp_path / "not" / "there"))
    assert any(str(tmp_path) in one.text for one in found if one.what == "disk")
    assert any("requirements.lock" in one.text for one in found if one.what == "packages")


@pytest.mark.parametrize(("most", "is_good"), [(1024, False), (65_536, True), (resource.RLIM_INFINITY, True)])
def test_open_files(tmp_path, monkeypatch, most, is_good):
    monkeypatch.setattr("resource.getrlimit", lambda which: (1024, most))
    assert findings(tmp_path)["open files"].is_good is is_good


def test_another_python_is_wrong():
    assert "3.11" in machine._interpreter((3, 12, 1)).mend


def test_what_weights_and_biases_would_refuse(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "sometimes")
    assert "WANDB_MODE is 'sometimes'" in findings(tmp_path)["W&B"].text
    assert not findings(tmp_path)["W&B"].is_good


def test_what_a_wheel_installed_is_mended_from_the_lock_that_came_with_it(tmp_path, monkeypatch):
    lock = tmp_path / "rl" / "requirements.lock"
    lock.parent.mkdir()
    lock.write_text("numpy==0.0.1\n")
    monkeypatch.setattr(machine, "REPO", tmp_path)
    assert machine.lock_file() == lock
    assert machine.packages(lock).mend == f"pip install -c {lock} numpy"
