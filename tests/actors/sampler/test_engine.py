"""A sampler's actor without vLLM: what a restarted one may do."""

import asyncio
import sys
import threading
from types import SimpleNamespace
from unittest.mock import MagicMock

import pytest

from actors.config import SamplerConfig
from actors.sampler import engine
from rollout.roles import SamplerUnavailable
from rollout.types import SampleRequest, SamplingParams
from tests.support.fake_engine import FakeEngine


@pytest.fixture
def restarted(tmp_path, monkeypatch):
    """Return what makes an actor that Ray had to start again."""
    monkeypatch.setitem(sys.modules, "transformers", MagicMock())
    monkeypatch.setattr(engine, "banned_tokens", lambda config: [])
    monkeypatch.setattr(engine, "build_engine", lambda config, model, size, worker_class: FakeEngine())
    monkeypatch.setattr(engine.Engine, "_params", lambda self, params, seed: None)
    context = SimpleNamespace(was_current_actor_reconstructed=True)
    monkeypatch.setattr("ray.get_runtime_context", lambda: context)
    return lambda is_published: engine.Engine(SamplerConfig(), "model", str(tmp_path), 1, is_published)


def sample(actor):
    return asyncio.run(actor.sample(SampleRequest((), (), SamplingParams(), 0)))


def test_a_restarted_sampler_of_a_run_waits_for_the_next_publish(restarted):
    with pytest.raises(SamplerUnavailable, match="waits for the next publish"):
        sample(restarted(is_published=True))


def test_a_restarted_sampler_goes_on_where_nobody_publishes(restarted):
    assert sample(restarted(is_published=False)).token_ids.tolist() == [1, 2]


def test_nobody_waits_for_an_engine_that_loads(restarted, monkeypatch):
    go = threading.Event()

    def build(config, model, size, worker_class):
        assert go.wait(10)
        return FakeEngine()

    monkeypatch.setattr(engine, "build_engine", build)

    async def scenario():
        actor = restarted(is_published=True)
        assert (await actor.is_up(), await actor.stats()) == (False, {})
        go.set()
        await actor.ready()
        assert await actor.is_up()
        assert (await actor.stats())["tokens"] == 0.0

    asyncio.run(scenario())


def test_an_engine_that_died_says_so_and_is_restarted(restarted, monkeypatch):
    exits = []
    monkeypatch.setattr(engine, "_EXIT_S", 0.0)
    monkeypatch.setattr("os._exit", exits.append)

    def build(config, model, size, worker_class):
        raise MemoryError("no room for the cache")

    monkeypatch.setattr(engine, "build_engine", build)

    async def scenario():
        actor = restarted(is_published=True)
        with pytest.raises(SamplerUnavailable):
            await actor.ready()
        with pytest.raises(SamplerUnavailable, match="the vLLM engine died: MemoryError: no room for the cache"):
            await actor.is_up()
        await asyncio.sleep(0.01)

    asyncio.run(scenario())
    assert exits == [1]
