"""A real sampler that sleeps between publishes: its memory, its requests, and what it draws with new weights."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from actors.sampler.sampler import Samplers
from actors.weights.publish import publish
from benchmarks.sleep_cycles import (
    Found,
    ask,
    differences,
    put_images,
    report,
    requests_of,
    sleep_often,
)
from rollout.types import Response, SampleRequest, SamplingParams
from tests.support.engines import Engines
from tests.support.tensor_source import TensorSource

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

GIB = 1 << 30
NUM_CYCLES = 5
"""Of sleep and publish; `python -m benchmarks.sleep_cycles` makes 100."""


class Bench:
    """A sampler that sleeps, and one that is fresh for each of two versions of the weights."""

    def __init__(self, runner: asyncio.Runner, sleeper: Samplers, fresh: Sequence[Samplers], images: tuple[str, ...]):
        self.runner, self.sleeper, self.fresh, self.images = runner, sleeper, fresh, images

    def requests(self, number: int) -> list[SampleRequest]:
        return requests_of(self.images, number)

    async def begin(self, samplers: Samplers, requests: Sequence[SampleRequest]) -> "asyncio.Task[list[Response]]":
        """Ask, and return once tokens are drawn."""
        num_tokens = (await samplers.stats())["samplers/tokens"]
        answers = asyncio.create_task(ask(samplers, requests))
        while (await samplers.stats())["samplers/tokens"] == num_tokens:
            await asyncio.sleep(0.01)
        return answers

    def call(self, method: str):
        [answer] = self.runner.run(self.sleeper.each(method))
        return answer


@pytest.fixture(scope="module")
def models(engines: Engines) -> list[Path]:
    return engines.models


@pytest.fixture(scope="module")
def bench(engines: Engines) -> Bench:
    return Bench(engines.runner, engines.sleeper, engines.fresh, put_images(engines.store))


def test_a_cache_of_a_gib_is_free_while_the_engine_sleeps(bench: Bench, models: list[Path]):
    """Slow: it needs vLLM. The next publish brings all weights, and the engine goes on."""
    assert bench.call("fill_cache") > 0.95 * GIB
    before = bench.call("resident")
    bench.call("sleep")
    share = (before - bench.call("resident")) / GIB
    print(f"freed {share:.1%} of 1 GiB")
    assert share > 0.9
    metrics = bench.runner.run(publish(TensorSource(models[0]), bench.sleeper))
    assert metrics["publish/live_coverage"] == 1.0
    assert metrics["publish/is_delta"] == 0.0


def test_each_cycle_leaves_an_engine_like_a_fresh_one(bench: Bench, models: list[Path]):
    """Slow: it needs vLLM. Weights of two versions come in turn; those before them would show."""
    cycles = sleep_often(bench.sleeper, bench.fresh, models, bench.requests, num_cycles=NUM_CYCLES)
    found = bench.runner.run(cycles)
    assert found.faults == []
    assert found.num_cycles == NUM_CYCLES


def test_an_answer_of_the_other_version_would_be_seen(bench: Bench):
    """Slow: it needs vLLM. The benchmark says what differs, and ends with 1."""
    first, second = (bench.runner.run(ask(fresh, bench.requests(0))) for fresh in bench.fresh)
    assert differences(first, first, 0) == []
    assert differences(second, first, 0) == ["other tokens than a fresh engine's"]
    drifted = [replace(answer, logprobs=answer.logprobs + 2e-5) for answer in first]
    assert differences(drifted, first, 3) == [
        "other log-probabilities than a fresh engine's",
        "drawn by versions [0]",
    ]
    assert report(Found(10), 1.0) == 0
    assert report(Found(10, ["cycle 3: other tokens than a fresh engine's"]), 1.0) == 1


def test_requests_wait_while_the_engine_sleeps(bench: Bench, models: list[Path]):
    """Slow: it needs vLLM. Those that arrive are answered by the new weights, and so are those that had begun."""
    source = TensorSource(models[1])
    source.version = 1000
    requests = bench.requests(11)
    bench.runner.run(bench.sleeper.each("step_slowly", 0.05))

    async def through_a_sleep() -> tuple[list[Response], list[Response]]:
        [engine] = bench.sleeper.engines
        begun = await bench.begin(bench.sleeper, bench.requests(10))
        await engine.sleep.remote()
        arriving = asyncio.create_task(ask(bench.sleeper, requests))
        while await engine.num_unfinished.remote() < 8:
            await asyncio.sleep(0.01)
        assert (await asyncio.wait([begun, arriving], timeout=0.5))[0] == set()
        await publish(source, bench.sleeper)
        return await begun, await arriving

    begun, arrived = bench.runner.run(through_a_sleep())
    fresh = bench.runner.run(ask(bench.fresh[1], requests))
    assert [answer.token_ids.tolist() for answer in arrived] == [answer.token_ids.tolist() for answer in fresh]
    assert {answer.policy_version for answer in arrived} == {1000}
    assert len(begun) == 4


@pytest.mark.parametrize(("turn", "version"), [(0, 0), (1, 2000)], ids=["wait", "abort"])
def test_what_has_begun_is_finished_first_or_drawn_again(bench: Bench, models: list[Path], turn: int, version: int):
    """Slow: it needs vLLM. The same weights are published, so that the same tokens are drawn of the same seed."""
    samplers, source = bench.fresh[turn], TensorSource(models[turn])
    requests = [replace(request, params=SamplingParams(1.0, 300)) for request in bench.requests(20)]
    expected = [answer.token_ids.tolist() for answer in bench.runner.run(ask(samplers, requests))]
    source.version = 2000
    bench.runner.run(samplers.each("step_slowly", 0.02))

    async def publish_meanwhile() -> list[Response]:
        begun = await bench.begin(samplers, requests)
        await publish(source, samplers)
        return await begun

    answers = bench.runner.run(publish_meanwhile())
    assert [answer.token_ids.tolist() for answer in answers] == expected
    assert version in {answer.policy_version for answer in answers} <= {0, 2000}
