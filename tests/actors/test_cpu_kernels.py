"""Actors on CPUs compute with the same kernels on every x86 processor, unless somebody says otherwise."""

import tomllib

import numpy as np
import pytest
import torch

from actors.config import SamplerConfig
from actors.cpu_kernels import (
    VARIABLES,
    are_portable,
    asked_of_cpus,
    portable_kernels,
    round_square_roots,
    vllm_platform,
)
from actors.pool import replica_options
from actors.sampler.sampler import environment_of
from rl.recipe.config import REPO


@pytest.fixture(autouse=True)
def nothing_chosen(monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def rounding():
    registration = round_square_roots()
    yield
    registration._destroy()
    round_square_roots.cache_clear()


def environment_of_replica(num_gpus):
    runtime_env = replica_options(1, num_gpus, 1)["runtime_env"]
    assert isinstance(runtime_env, dict)
    return runtime_env["env_vars"]


def test_actors_on_cpus_are_told():
    assert environment_of_replica(0).items() >= VARIABLES.items()
    assert environment_of(SamplerConfig(gpus_per_sampler=0)).items() >= VARIABLES.items()


def test_actors_on_gpus_are_left_alone():
    assert not VARIABLES.keys() & environment_of_replica(1).keys()
    assert not VARIABLES.keys() & environment_of(SamplerConfig(gpus_per_sampler=1)).keys()


@pytest.mark.parametrize("name", VARIABLES)
def test_whoever_sets_one_of_them_chooses_all(monkeypatch, name):
    monkeypatch.setenv(name, "AUTO")
    assert portable_kernels() == {}
    assert asked_of_cpus() == {name: "AUTO"}
    assert not are_portable()


@pytest.mark.slow
def test_vllm_takes_the_platform_where_kernels_are_portable_and_its_own_elsewhere(monkeypatch):
    """Slow: it imports vLLM."""
    assert vllm_platform() is None
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)
    assert vllm_platform() == "actors.sampler.portable_cpu.PortableCpu"


def test_vllm_is_told_of_the_platform():
    entry_points = tomllib.loads((REPO / "pyproject.toml").read_text())["project"]["entry-points"]
    assert entry_points["vllm.platform_plugins"] == {"interleave_portable_cpu": "actors.cpu_kernels:vllm_platform"}


def exact(values: torch.Tensor) -> torch.Tensor:
    return torch.from_numpy(np.sqrt(values.double().numpy())).to(values.dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_square_roots_are_rounded_correctly(rounding, dtype):
    values = torch.rand(1_000, generator=torch.Generator().manual_seed(0)).to(dtype)
    assert torch.equal(values.sqrt(), exact(values))
    assert torch.equal(values.view(10, 100).t().sqrt(), exact(values).view(10, 100).t())


def test_square_roots_take_what_torch_takes(rounding):
    assert torch.tensor(4).sqrt().item() == 2.0
    assert torch.tensor(-1.0).sqrt().isnan()
    assert torch.sqrt(torch.tensor([-4.0 + 0j])).tolist() == [2j]
    value = torch.tensor([4.0], requires_grad=True)
    value.sqrt().sum().backward()
    assert value.grad.tolist() == [0.25]
