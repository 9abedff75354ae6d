"""Rendering outside the engine's thread, with a fake renderer: once a group, and who learns of what goes wrong."""

import asyncio
from concurrent.futures import Future
from dataclasses import replace
from types import SimpleNamespace

import pytest

from actors.sampler.engine_loop import EngineLoop
from actors.sampler.rendering import Rendering
from rollout.roles import SamplerError, SamplerUnavailable
from rollout.types import SampleRequest, SamplingParams
from tests.support.fake_engine import FakeEngine, FakeRenderer


def request(text: str, seed: int = 0, images: tuple[str, ...] = ()) -> SampleRequest:
    return SampleRequest(({"role": "user", "content": text},), images, SamplingParams(), seed)


@pytest.fixture
def renderer() -> FakeRenderer:
    return FakeRenderer()


@pytest.fixture
def rendering(renderer: FakeRenderer) -> Rendering:
    ready: Future = Future()
    ready.set_result(renderer)
    return make(ready)


def make(ready: Future) -> Rendering:
    template = SimpleNamespace(apply_chat_template=lambda messages, **_: messages[0]["content"])
    return Rendering(ready, template, lambda refs: [], max_images=1)


def test_a_group_is_rendered_once(rendering: Rendering, renderer: FakeRenderer):
    async def both_groups():
        return await asyncio.gather(*(rendering.render(request(text, seed)) for text in "ab" for seed in range(8)))

    assert asyncio.run(both_groups()) == [{"tokens": 2}] * 16
    assert renderer.rendered == ["a", "b"]


def test_a_prompt_may_ask_for_smaller_images_than_the_engines_own(renderer: FakeRenderer):
    ready: Future = Future()
    ready.set_result(renderer)
    template = SimpleNamespace(apply_chat_template=lambda messages, **_: messages[0]["content"])
    size = {"shortest_edge": 100, "longest_edge": 400}
    asked = [replace(request("a", images=("one",)), max_pixels=pixels) for pixels in (None, 300, 60, 900)]

    def sizes(size: dict[str, int] | None) -> list[object]:
        made = Rendering(ready, template, lambda refs: [], 1, size)
        return [made._prompt(one).get("mm_processor_kwargs") for one in asked]

    smaller = [{"shortest_edge": 100, "longest_edge": 300}, {"shortest_edge": 60, "longest_edge": 60}, size]
    assert sizes(size) == [None, *({"size": one} for one in smaller)]
    assert sizes(None) == [None] * 4, "a processor that has no size to limit"

    async def both():
        made = Rendering(ready, template, lambda refs: [], 1, size)
        return await asyncio.gather(*(made.render(one) for one in asked[:2]))

    asyncio.run(both())
    assert renderer.rendered == ["a", "a"], "not one prompt for both"


def test_too_many_images(rendering: Rendering):
    with pytest.raises(SamplerError, match=r"a prompt has 2 images; raise samplers\.max_images"):
        asyncio.run(rendering.render(request("a", images=("one", "two"))))


def test_a_refused_prompt_says_why_to_its_group_and_is_not_kept(rendering: Rendering, renderer: FakeRenderer):
    async def group():
        return await asyncio.gather(*(rendering.render(request("a", seed)) for seed in (1, 2)), return_exceptions=True)

    renderer.refused = {"a"}
    assert [str(error) for error in asyncio.run(group())] == ["vLLM refused the request: prompt too long"] * 2
    renderer.refused = set()
    assert asyncio.run(group()) == [{"tokens": 2}] * 2


def test_whoever_is_cancelled_leaves_the_prompt_to_the_others(rendering: Rendering, renderer: FakeRenderer):
    async def cancel_one():
        renderer.go.clear()
        gone, staying = (asyncio.create_task(rendering.render(request("a", seed))) for seed in (1, 2))
        while not renderer.rendered:
            await asyncio.sleep(0)
        gone.cancel()
        renderer.go.set()
        assert await staying == {"tokens": 2}
        with pytest.raises(asyncio.CancelledError):
            await gone

    asyncio.run(cancel_one())


def test_an_engine_that_dies_while_a_prompt_is_rendered_is_told(renderer: FakeRenderer):
    """Before it is up, and after."""

    def build():
        raise OSError("no such model")

    with pytest.raises(SamplerUnavailable, match="no such model"):
        asyncio.run(make(EngineLoop(build).ready).render(request("a")))
    engine = FakeEngine()
    engine.renderer = renderer
    loop = EngineLoop(lambda: engine)

    async def die_meanwhile():
        renderer.go.clear()
        prompt = asyncio.create_task(make(loop.ready).render(request("a")))
        while not renderer.rendered:
            await asyncio.sleep(0)
        with pytest.raises(SamplerUnavailable):
            await asyncio.wrap_future(loop.generate({"tokens": 13}, None)[1])
        renderer.go.set()
        await asyncio.wrap_future(loop.generate(await prompt, None)[1])

    with pytest.raises(SamplerUnavailable, match="out of memory"):
        asyncio.run(die_meanwhile())
