"""What vLLM is told, without vLLM."""

import pytest

from actors.config import SamplerConfig
from actors.sampler.arguments import engine_arguments

GPU: dict = {"gpus_per_sampler": 1}


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (GPU, (True, False)),
        (GPU | {"async_scheduling": False, "enforce_eager": True}, (False, True)),
        ({}, (None, True)),
    ],
)
def test_gpus_schedule_asynchronously_and_have_graphs(settings, expected):
    """vLLM itself schedules synchronously on CPUs, and is not asked to do so."""
    arguments = engine_arguments(SamplerConfig(**settings), "model")
    assert (arguments.get("async_scheduling"), arguments["enforce_eager"]) == expected


def test_memory_that_can_be_freed_is_asked_for_on_gpus_alone():
    """vLLM refuses it on CPUs, where nothing has to be asked for."""
    config: dict = {"enable_sleep_mode": True}
    assert engine_arguments(SamplerConfig(**GPU, **config), "model")["enable_sleep_mode"] is True
    assert "enable_sleep_mode" not in engine_arguments(SamplerConfig(**config), "model")


def test_a_prompt_is_read_at_once_on_cpus_alone():
    assert engine_arguments(SamplerConfig(), "model")["enable_chunked_prefill"] is False
    assert "enable_chunked_prefill" not in engine_arguments(SamplerConfig(**GPU), "model")
