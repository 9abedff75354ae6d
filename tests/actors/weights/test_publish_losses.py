"""A publish goes on with the samplers that live; engines and policy are stand-ins."""

import asyncio
from types import SimpleNamespace

import pytest
from ray.exceptions import ActorDiedError

from actors.config import SamplerConfig
from actors.weights.publish import publish
from actors.weights.wire import Manifest, Place, Verdict, WorkerState
from rollout.roles import PublishError
from rollout.types import Response, SampleRequest, SamplingParams


class Engine:
    """Takes any weights; one that is to be lost is so at its first call of a method."""

    def __init__(self, lost_at: str = ""):
        self.lost_at = lost_at
        self.version = 0
        self.calls: list[str] = []

    @property
    def is_lost(self) -> bool:
        return self.lost_at in self.calls

    def __getattr__(self, name):
        async def call(*arguments):
            self.calls.append(name)
            if self.is_lost:
                raise ActorDiedError
            return getattr(self, f"_{name}")(*arguments)

        return SimpleNamespace(remote=call)

    def _begin_publish(self, shapes):
        return [WorkerState("process", Place("node", "host"), {}, None)]

    def _finish_publish(self, manifest):
        self.version = manifest.version
        return [Verdict((), 1.0, 0.0)]

    def _current_version(self):
        return self.version

    def _distrust(self):
        self.version = -1

    def _probe(self):
        response = Response((1,), (2, 3), "", (-1.0, -2.0), self.version)
        return [(SampleRequest((), (), SamplingParams(), 0), response)]


class Samplers:
    """Knows of each engine whether it lives."""

    config = SamplerConfig(num_samplers=3)

    def __init__(self, *engines):
        self.engines = engines

    async def living(self):
        return {number: engine for number, engine in enumerate(self.engines) if not engine.is_lost}


class Source:
    """A policy whose weights nobody looks at; its log-probs are the engines', but for a gap."""

    version = 5

    def __init__(self, gap: float = 0.0):
        self.gap = gap
        self.receivers: list[list[Engine]] = []

    async def tensor_shapes(self, *, as_adapters=False):
        return {"w": (2, 2)}

    async def base_tensors(self, order):
        return {}

    async def push_weights(self, receivers, order):
        self.receivers.append(list(receivers))
        assert len(order.states) == len(receivers)
        return Manifest(self.version)

    async def logprobs(self, rows, temperature=None):
        return [[logprob + self.gap for logprob in row.rollout_logprobs] for row in rows]


def gone() -> Engine:
    engine = Engine(lost_at="is_up")
    engine.calls.append("is_up")
    return engine


def test_a_lost_sampler_is_left_out_and_counted():
    dead, living, source = gone(), Engine(), Source()
    assert asyncio.run(publish(source, Samplers(dead, living)))["publish/lost_samplers"] == 1.0
    assert source.receivers == [[living]]
    assert living.version == source.version
    assert asyncio.run(publish(Source(), Samplers(living)))["publish/lost_samplers"] == 0.0


@pytest.mark.parametrize("lost_at", ["begin_publish", "finish_publish", "current_version", "probe"])
def test_one_that_is_lost_in_the_middle_is_left_out_of_a_second_try(lost_at):
    first, second, third, source = Engine(lost_at), Engine(), Engine(lost_at), Source()
    assert asyncio.run(publish(source, Samplers(first, second, third)))["publish/lost_samplers"] == 2.0
    assert source.receivers[-1] == [second]
    assert second.version == source.version


def test_each_sampler_may_be_lost_at_another_time():
    engines = Engine("begin_publish"), Engine("finish_publish"), Engine("probe"), Engine()
    assert asyncio.run(publish(Source(), Samplers(*engines)))["publish/lost_samplers"] == 3.0


def test_a_sampler_at_fault_is_named_by_its_number_among_all():
    with pytest.raises(PublishError, match="sampler 1 holds the weights of version 5"):
        asyncio.run(publish(Source(gap=1.0), Samplers(gone(), Engine())))
