"""A real sampler that sleeps between publishes: its memory, its requests, and what it draws with new weights."""

import asyncio
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image
from safetensors.torch import save_file

from actors.cluster import ray_cluster
from actors.config import SamplerConfig
from actors.sampler.engine import Engine
from actors.sampler.sampler import Samplers
from actors.store.store import Store
from actors.weights.publish import publish
from rollout.types import Response, SampleRequest, SamplingParams
from tests.support.source_tree import REPO
from tests.support.tensor_source import TensorSource

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

GIB = 1 << 30


class OpenEngine(Engine):
    """Lets tests look inside."""

    async def fill_cache(self) -> int:
        """Write to every page of the key-value cache; return its bytes."""

        def fill(engine) -> int:
            caches = engine.model_executor.driver_worker.model_runner.kv_caches
            for cache in caches:
                cache.fill_(0.5)
            return sum(cache.untyped_storage().nbytes() for cache in caches)

        return await asyncio.wrap_future(self._loop.run(fill))

    async def resident(self) -> int:
        """Return the bytes of memory that the process has."""
        return psutil.Process().memory_info().rss

    async def num_unfinished(self) -> int:
        return await asyncio.wrap_future(self._loop.run(lambda engine: engine.get_num_unfinished_requests()))

    async def step_slowly(self, wait_s: float) -> None:
        """Wait before each step, so that requests still run when a busy machine gets to what is to happen meanwhile."""

        def slow(engine) -> None:
            step = type(engine).step
            engine.step = lambda: (time.sleep(wait_s), step(engine))[1]

        await asyncio.wrap_future(self._loop.run(slow))


class Bench:
    """A sampler that sleeps, and one that is fresh for each of two versions of the weights."""

    def __init__(self, runner: asyncio.Runner, sleeper: Samplers, fresh: Sequence[Samplers], images: tuple[str, ...]):
        self.runner, self.sleeper, self.fresh, self.images = runner, sleeper, fresh, images

    def requests(self, number: int) -> list[SampleRequest]:
        parts = [{"type": "image"}, {"type": "image"}, {"type": "text", "text": f"{number}. What changed?"}]
        message = {"role": "user", "content": parts}
        return [SampleRequest((message,), self.images, SamplingParams(1.0, 40), seed) for seed in range(4)]

    async def begin(self, samplers: Samplers, requests: Sequence[SampleRequest]) -> "asyncio.Task[list[Response]]":
        """Ask, and return once tokens are drawn."""
        num_tokens = (await samplers.stats())["samplers/tokens"]
        answers = asyncio.create_task(self.ask(samplers, requests))
        while (await samplers.stats())["samplers/tokens"] == num_tokens:
            await asyncio.sleep(0.01)
        return answers

    async def ask(self, samplers: Samplers, requests: Sequence[SampleRequest]) -> list[Response]:
        return list(await asyncio.gather(*map(samplers.sample, requests)))

    def call(self, method: str):
        [answer] = self.runner.run(self.sleeper.each(method))
        return answer


def other_weights(model: Path, folder: Path) -> Path:
    """Write a model whose weights all differ a little."""
    shutil.copytree(model, folder)
    source = TensorSource(folder)
    source.change("all")
    save_file(source.weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    model = REPO / "recipes/shapes/weights/critic"
    return [model, other_weights(model, tmp_path_factory.mktemp("models") / "other")]


@pytest.fixture(scope="module")
def bench(models: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    store = Store(tmp_path_factory.mktemp("store"))
    dice = np.random.RandomState(0)
    pictures = [Image.fromarray(dice.randint(0, 255, (64, 64, 3)).astype(np.uint8)) for _ in range(2)]
    small, large = (SamplerConfig(max_model_len=512, kv_cache_gib=size) for size in (0.25, 1.0))
    waits, aborts = (replace(small, in_flight=mode) for mode in ("wait", "abort"))

    async def start() -> list[Samplers]:
        settings = [(large, models[0]), (waits, models[0]), (aborts, models[1])]
        return await asyncio.gather(
            *[
                Samplers.start(config, str(model), store_root=store.root, engine_class=OpenEngine)
                for config, model in settings
            ]
        )

    with asyncio.Runner() as runner:
        cluster = ray_cluster("", 4)
        runner.run(cluster.__aenter__())
        try:
            sleeper, *fresh = runner.run(start())
            yield Bench(runner, sleeper, fresh, tuple(map(store.put_image, pictures)))
        finally:
            runner.run(cluster.__aexit__(None, None, None))


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


def test_each_of_a_hundred_cycles_leaves_an_engine_like_a_fresh_one(bench: Bench, models: list[Path]):
    """Slow: it needs vLLM. Weights of two versions come in turn; those before them would show."""
    sources = [TensorSource(model) for model in models]
    for number in range(100):
        requests, turn = bench.requests(number % 5), number % 2
        sources[turn].version = number
        bench.call("sleep")
        bench.runner.run(publish(sources[turn], bench.sleeper))
        mine = bench.runner.run(bench.ask(bench.sleeper, requests))
        fresh = bench.runner.run(bench.ask(bench.fresh[turn], requests))
        assert [answer.token_ids.tolist() for answer in mine] == [answer.token_ids.tolist() for answer in fresh], (
            f"cycle {number}"
        )
        for one, other in zip(mine, fresh, strict=True):
            assert one.logprobs.tolist() == pytest.approx(other.logprobs.tolist(), abs=1e-5)
        assert {answer.policy_version for answer in mine} == {number}
    others = bench.runner.run(bench.ask(bench.fresh[1 - turn], requests))
    assert [answer.token_ids.tolist() for answer in others] != [answer.token_ids.tolist() for answer in mine], (
        "the two versions answer differently"
    )


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
        arriving = asyncio.create_task(bench.ask(bench.sleeper, requests))
        while await engine.num_unfinished.remote() < 8:
            await asyncio.sleep(0.01)
        assert (await asyncio.wait([begun, arriving], timeout=0.5))[0] == set()
        await publish(source, bench.sleeper)
        return await begun, await arriving

    begun, arrived = bench.runner.run(through_a_sleep())
    fresh = bench.runner.run(bench.ask(bench.fresh[1], requests))
    assert [answer.token_ids.tolist() for answer in arrived] == [answer.token_ids.tolist() for answer in fresh]
    assert {answer.policy_version for answer in arrived} == {1000}
    assert len(begun) == 4


@pytest.mark.parametrize(("turn", "version"), [(0, 0), (1, 2000)], ids=["wait", "abort"])
def test_what_has_begun_is_finished_first_or_drawn_again(bench: Bench, models: list[Path], turn: int, version: int):
    """Slow: it needs vLLM. The same weights are published, so that the same tokens are drawn of the same seed."""
    samplers, source = bench.fresh[turn], TensorSource(models[turn])
    requests = [replace(request, params=SamplingParams(1.0, 300)) for request in bench.requests(20)]
    expected = [answer.token_ids.tolist() for answer in bench.runner.run(bench.ask(samplers, requests))]
    source.version = 2000
    bench.runner.run(samplers.each("step_slowly", 0.02))

    async def publish_meanwhile() -> list[Response]:
        begun = await bench.begin(samplers, requests)
        await publish(source, samplers)
        return await begun

    answers = bench.runner.run(publish_meanwhile())
    assert [answer.token_ids.tolist() for answer in answers] == expected
    assert version in {answer.policy_version for answer in answers} <= {0, 2000}
