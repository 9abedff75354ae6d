"""A real sampler: what is rendered outside its thread, kept over a publish, refused, and drained before a load."""

import asyncio
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import ray
from PIL import Image

from actors.sampler.sampler import Samplers
from rollout.roles import SamplerError
from rollout.types import Response, SampleRequest, SamplingParams
from tests.support.engines import Engines

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


class Bench:
    """A sampler and the images of its requests."""

    def __init__(self, samplers: Samplers, images: list[str], runner: asyncio.Runner):
        self.samplers, self.images, self.runner = samplers, images, runner

    def request(self, seed: int, text: str = "compare", pair: int = 0, max_tokens: int = 40) -> SampleRequest:
        parts = [{"type": "image"}, {"type": "image"}, {"type": "text", "text": text}]
        images = tuple(self.images[2 * pair : 2 * pair + 2])
        return SampleRequest(({"role": "user", "content": parts},), images, SamplingParams(1.0, max_tokens), seed)

    def ask(self, *requests: SampleRequest) -> list[Response]:
        async def all_at_once():
            return await asyncio.gather(*map(self.samplers.sample, requests))

        return self.runner.run(all_at_once())

    def call(self, method: str, *arguments: object):
        [answer] = self.runner.run(self.samplers.each(method, *arguments))
        return answer


@pytest.fixture(scope="module")
def bench(engines: Engines) -> Bench:
    dice = np.random.RandomState(0)
    pictures = [Image.fromarray(dice.randint(0, 255, (64, 64, 3)).astype(np.uint8)) for _ in range(8)]
    [samplers, _] = engines.fresh
    engines.runner.run(samplers.each("step_slowly", 0.0))  # as fast as it can, whatever other tests have asked for
    return Bench(samplers, [engines.store.put_image(picture) for picture in pictures], engines.runner)


def test_the_engine_computes_with_the_same_kernels_on_every_processor(bench: Bench):
    """Slow: it needs vLLM, which asks our plug-in for its platform."""
    engine = bench.samplers.engines[0]
    assert ray.get(engine.__ray_call__.remote(platform_here)) == "PortableCpu"


def platform_here(engine: object) -> str:
    from vllm.platforms import current_platform

    return type(current_platform).__name__


def test_processed_images_survive_a_publish_and_nothing_else_does(bench: Bench):
    """Slow: it needs vLLM. The same weights draw the same tokens after it, of images that are not processed again."""
    group = [bench.request(seed) for seed in range(8)]
    before = bench.ask(*group)
    hits = bench.call("image_hits")
    bench.call("drop_what_weights_computed", 1)
    [other] = bench.ask(bench.request(0, text="look again"))
    assert bench.call("image_hits") >= hits + 2
    after = bench.ask(*reversed(group))[::-1]
    assert [answer.token_ids.tolist() for answer in after] == [answer.token_ids.tolist() for answer in before]
    for old, new in zip(before, after, strict=True):
        assert new.logprobs == pytest.approx(old.logprobs, abs=1e-5)
    assert {answer.policy_version for answer in (other, *after)} == {1}


def test_a_prompt_with_smaller_images_has_fewer_tokens(bench: Bench):
    """Slow: it needs vLLM, whose processor scales and counts. Processed images of both sizes are kept apart."""
    whole = bench.request(5, pair=3)
    [before], [smaller], [after] = (bench.ask(one) for one in (whole, replace(whole, max_pixels=32 * 32), whole))
    num_image_tokens = [max(Counter(answer.prompt_token_ids.tolist()).values()) for answer in (before, smaller, after)]
    assert num_image_tokens[0] == num_image_tokens[2] == 4 * num_image_tokens[1]
    assert after.token_ids.tolist() == before.token_ids.tolist()


def test_a_refused_request_leaves_the_engine_as_it_was(bench: Bench):
    """Slow: it needs vLLM. The images of a prompt that is too long are asked about again in a good one."""
    good = bench.request(3, pair=1)
    with pytest.raises(SamplerError, match=r"^vLLM refused the request: .*maximum.*512"):
        bench.ask(bench.request(3, text="why " * 600, pair=1))
    first = bench.ask(good)
    with pytest.raises(SamplerError, match=r"a prompt has 3 images; raise samplers\.max_images"):
        bench.ask(SampleRequest(good.messages, tuple(bench.images[:3]), good.params, 0))
    bench.call("drop_what_weights_computed", 2)
    assert bench.ask(good)[0].token_ids.tolist() == first[0].token_ids.tolist()


def test_a_step_in_flight_is_drained_before_a_load(bench: Bench):
    """Slow: it needs vLLM, whose own batch queue is what is drained. What was running goes on with the same tokens."""
    group = [bench.request(seed, pair=2, max_tokens=100) for seed in range(8)]
    expected = [answer.token_ids.tolist() for answer in bench.ask(*group)]
    bench.call("queue_steps")

    async def publish_meanwhile():
        tasks = [asyncio.create_task(bench.samplers.sample(request)) for request in group]
        while await bench.samplers.each("num_begun") != [len(group)]:
            await asyncio.sleep(0.01)
        in_flight = await bench.samplers.each("drop_what_weights_computed", 3)
        return in_flight, await asyncio.gather(*tasks)

    in_flight, answers = bench.runner.run(publish_meanwhile())
    assert in_flight == [0]
    assert [answer.token_ids.tolist() for answer in answers] == expected
    assert {answer.policy_version for answer in answers} == {2}
    assert bench.ask(bench.request(0))[0].policy_version == 3
