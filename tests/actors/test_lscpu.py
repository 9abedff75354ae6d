"""Machines without `lscpu`, which vLLM takes for granted on CPUs."""

import sys
from types import ModuleType, SimpleNamespace

import pytest

from actors.lscpu import replace_missing_lscpu


@pytest.fixture
def resources(monkeypatch):
    """Stand in for vLLM's module, which takes seconds to import."""
    module = SimpleNamespace(_get_cpu_list=lambda: "asked", _synthesize_cpu_list=lambda: "counted")
    utils = ModuleType("vllm.utils")
    utils.cpu_resource_utils = module
    monkeypatch.setitem(sys.modules, "vllm", ModuleType("vllm"))
    monkeypatch.setitem(sys.modules, "vllm.utils", utils)
    return module


def test_cores_are_counted_where_there_is_no_lscpu(resources, monkeypatch):
    monkeypatch.setenv("PATH", "")
    replace_missing_lscpu()
    assert resources._get_cpu_list() == "counted"


def test_lscpu_is_asked_where_it_is(resources, monkeypatch, tmp_path):
    program = tmp_path / "lscpu"
    program.touch(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    replace_missing_lscpu()
    assert resources._get_cpu_list() == "asked"


@pytest.mark.slow
def test_the_names_are_those_that_vllm_has():
    """Slow: vLLM is imported."""
    from vllm.utils import cpu_resource_utils

    assert cpu_resource_utils.get_allowed_cpu_list.__globals__ is vars(cpu_resource_utils)
    assert callable(cpu_resource_utils._get_cpu_list)
    assert cpu_resource_utils._synthesize_cpu_list()
