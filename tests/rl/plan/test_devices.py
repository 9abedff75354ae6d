"""Devices as they are said, and those of this machine."""

import subprocess

import pytest

from rl.plan.cards import card_of
from rl.plan.devices import devices_here, num_cores, simulated


def nvidia_smi(monkeypatch, output):
    def run(command, **options):
        if output is None:
            raise FileNotFoundError(command[0])
        return subprocess.CompletedProcess(command, 0, stdout=output)

    monkeypatch.setattr(subprocess, "run", run)


def test_simulated_devices_are_what_was_said():
    found = simulated(4, 8, "h200")
    assert (found.num_gpus, found.card) == (32, card_of("H200"))
    assert str(found) == "4 nodes of 8 x H200 (simulated)"
    with pytest.raises(ValueError, match=r"--gpu is 'H10'; known are H100, .*did you mean"):
        simulated(1, 8, "H10")


def test_gpus_of_this_machine_are_those_that_a_run_would_see(monkeypatch):
    nvidia_smi(monkeypatch, "NVIDIA A100-SXM4-40GB\n" * 4)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert (devices_here().num_gpus, devices_here().card) == (4, card_of("A100-40GB"))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,2")
    assert devices_here().num_gpus == 2
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert devices_here().num_gpus == 0


def test_a_card_that_is_not_known_is_there_nevertheless(monkeypatch):
    nvidia_smi(monkeypatch, "NVIDIA Quadro\n")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert (devices_here().num_gpus, devices_here().card) == (1, None)


def test_without_nvidia_smi_there_are_cores_alone(monkeypatch):
    nvidia_smi(monkeypatch, None)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert str(devices_here()) == f"no GPU, {num_cores()} CPU cores (this machine)"
