"""A sampler's actor without vLLM: what a restarted one may do."""

import asyncio
import sys
import threading
from types import SimpleNamespace
from unittest.mock import MagicMock

import pytest

from actors.config import SamplerConfig
from actors.sampler import engine
from actors.weights.wire import Manifest, Verdict
from rollout.roles import SamplerUnavailable
from rollout.types import SampleRequest, SamplingParams
from tests.support.fake_engine import FakeEngine


class SleepyEngine(FakeEngine):
    """Notes what is done to its memory, and to its worker."""

    def __init__(self):
        super().__init__()
        self.asleep: set[str] = set()
        self.calls: list[str] = []

    def sleep(self):
        self.calls.append("sleep")
        self.asleep = {"weights", "kv_cache"}

    def is_sleeping(self):
        return bool(self.asleep)

    def wake_up(self, tags):
        self.calls += tags
        self.asleep -= {*tags}

    def collective_rpc(self, method, args):
        self.calls.append(method)
        assert method not in ("receive_weights", "verify_weights") or "weights" not in self.asleep
        return [Verdict((), 1.0, 0.0)] if method == "verify_weights" else []

    def reset_prefix_cache(self, reset_running_requests):
        assert not self.asleep
        return reset_running_requests

    def reset_encoder_cache(self):
        pass


@pytest.fixture
def actor(tmp_path, monkeypatch):
    """Return what makes an actor: one that Ray had to start again, unless said otherwise."""
    monkeypatch.setitem(sys.modules, "transformers", MagicMock())
    monkeypatch.setattr(engine, "banned_tokens", lambda config: [])
    monkeypatch.setattr(engine.Engine, "_params", lambda self, params, seed: None)

    def make(is_published: bool, *, inner=None, build=None, is_restarted: bool = True):
        monkeypatch.setattr(engine, "build_engine", build or (lambda *arguments: inner or FakeEngine()))
        context = SimpleNamespace(was_current_actor_reconstructed=is_restarted, get_node_id=lambda: "node")
        monkeypatch.setattr("ray.get_runtime_context", lambda: context)
        monkeypatch.setattr("ray.util.get_node_ip_address", lambda: "host")
        return engine.Engine(SamplerConfig(), "model", str(tmp_path), 1, is_published)

    return make


REQUEST = SampleRequest((), (), SamplingParams(), 0)


def sample(actor):
    return asyncio.run(actor.sample(REQUEST))


def test_a_restarted_sampler_of_a_run_waits_for_the_next_publish(actor):
    with pytest.raises(SamplerUnavailable, match="waits for the next publish"):
        sample(actor(is_published=True))


def test_a_restarted_sampler_of_a_run_has_weights_once_they_are_published(actor):
    async def publish(sampler):
        assert not await sampler.has_weights()
        await sampler.begin_publish({})
        await sampler.finish_publish(Manifest(version=1))
        assert await sampler.has_weights()

    asyncio.run(publish(actor(is_published=True, inner=SleepyEngine())))
    assert asyncio.run(actor(is_published=False).has_weights())


def test_a_restarted_sampler_goes_on_where_nobody_publishes(actor):
    assert sample(actor(is_published=False)).token_ids.tolist() == [1, 2]


def test_requests_wait_while_the_engine_sleeps_and_a_publish_wakes_it(actor):
    """Weights get their memory back before they come, the cache when they are there, and nobody is answered before."""
    inner = SleepyEngine()
    sampler = actor(is_published=True, inner=inner, is_restarted=False)

    async def through_a_sleep():
        await sampler.sleep()
        waiting = asyncio.create_task(sampler.sample(REQUEST))
        await sampler.begin_publish({})
        await sampler.finish_publish(Manifest(version=3))
        return await waiting

    assert asyncio.run(through_a_sleep()).policy_version == 3
    assert inner.calls == ["distrust_weights", "sleep", "weights", "weight_state", "verify_weights", "kv_cache"]


def test_an_engine_that_is_awake_is_not_woken(actor):
    inner = SleepyEngine()
    sampler = actor(is_published=True, inner=inner, is_restarted=False)

    async def publish():
        await sampler.begin_publish({})
        await sampler.finish_publish(Manifest(version=1))

    asyncio.run(publish())
    assert inner.calls == ["weight_state", "verify_weights"]


def test_nobody_waits_for_an_engine_that_loads(actor, monkeypatch):
    go = threading.Event()

    def build(config, model, size, worker_class):
        assert go.wait(10)
        return FakeEngine()

    async def scenario():
        sampler = actor(is_published=True, build=build)
        assert (await sampler.is_up(), await sampler.stats()) == (False, {})
        go.set()
        await sampler.ready()
        assert await sampler.is_up()
        assert (await sampler.stats())["tokens"] == 0.0

    asyncio.run(scenario())


@pytest.mark.parametrize("question", ["is_up", "has_weights"])
def test_an_engine_that_died_says_so_and_is_restarted(actor, monkeypatch, question):
    exits = []
    monkeypatch.setattr(engine, "_EXIT_S", 0.0)
    monkeypatch.setattr("os._exit", exits.append)

    def build(config, model, size, worker_class):
        raise MemoryError("no room for the cache")

    async def scenario():
        sampler = actor(is_published=True, build=build)
        with pytest.raises(SamplerUnavailable):
            await sampler.ready()
        with pytest.raises(SamplerUnavailable, match="the vLLM engine died: MemoryError: no room for the cache"):
            await getattr(sampler, question)()
        await asyncio.sleep(0.01)

    asyncio.run(scenario())
    assert exits == [1]
