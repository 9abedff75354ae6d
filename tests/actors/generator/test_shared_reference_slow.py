"""FLUX.2-klein KV: a group's before-image is computed once, and its edits are those of the pipeline's own call."""

import asyncio
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import Flux2KleinKVPipeline
from PIL import Image

from actors.config import GeneratorConfig
from actors.generator.generator import Generator
from actors.generator.kind import resolve
from actors.generator.pipeline import Pipeline
from actors.store.store import Store
from rollout.types import EditRequest
from tests.support import tiny_generator

pytestmark = pytest.mark.slow  # imports torch and diffusers, and runs real pipelines

SIZE = tiny_generator.SIZE
STEPS = 4
CALL = tiny_generator.KV_CALL | {"num_inference_steps": STEPS}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(tiny_generator.build(tmp_path_factory.mktemp("model"), pipeline="Flux2KleinKVPipeline"))


def settings(model, **changes):
    given = {"model": model, "num_replicas": 0, "height": SIZE, "width": SIZE, "call": CALL} | changes
    return GeneratorConfig("flux2-klein-kv", **given)


def noise(seed):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (SIZE, SIZE, 3), dtype=np.uint8))


def pixels(images):
    return np.stack([np.asarray(image, dtype=int) for image in images])


def requests(num, first=0):
    return [EditRequest("x", f"prompt {number}", number) for number in range(first, first + num)]


@pytest.mark.parametrize("images", [[], [noise(0)], [noise(0), noise(1)]], ids=["text", "edit", "references"])
def test_the_images_are_those_of_the_pipelines_own_call(model, images):
    """Bit for bit when made alone. In a batch sums are rounded as the shapes of the products have it: 1 of 255."""
    ours, theirs = Pipeline(resolve(settings(model))), Flux2KleinKVPipeline.from_pretrained(model)
    for batch in (requests(1), requests(5, 3)):
        drawn = pixels(ours.draw(images, None, batch))
        gaps = np.abs(drawn - pixels(theirs(**ours.arguments(images, None, batch)).images))
        assert gaps.max() <= (0 if len(batch) == 1 else 1)
        assert (gaps > 0).mean() < 0.001
        # The comparison means something: an image depends on its prompt and noise.
        assert len(batch) == 1 or np.abs(drawn[1:] - drawn[0]).max(axis=(1, 2, 3)).min() > 10
    assert ours.counts()["references"] == bool(images)


def test_a_reference_is_computed_once_for_all_edits_of_a_group(model, tmp_path, monkeypatch):
    """Counted by the tokens that the transformer is given, over batches one after the other."""
    store = Store(tmp_path)
    groups = [store.put_image(noise(seed)) for seed in range(3)]
    num_tokens = (SIZE // 4) ** 2
    seen = []

    async def scenario():
        generator = await Generator.start(settings(model, max_batch_size=3), tmp_path)
        replica = await generator.pool._replica()
        linear = replica._pipeline._pipeline.transformer.x_embedder
        linear.register_forward_hook(lambda module, given, made: seen.append(tuple(given[0].shape[:2])))
        for before in groups:  # a group's edits come together: three batches of 3, 3 and 2
            edits = (EditRequest(before, f"prompt {number}", number) for number in range(8))
            await asyncio.gather(*map(generator.edit, edits))
        return await generator.stats()

    stats = asyncio.run(scenario())
    assert stats["generator/references"] == len(groups)
    assert len(seen) == len(groups) * (1 + 3 * STEPS)
    assert sum(batch * tokens for batch, tokens in seen) == len(groups) * num_tokens * (1 + 8 * STEPS)


def test_the_reference_depends_neither_on_prompt_nor_on_noise_nor_on_the_timestep(model):
    pipeline = Pipeline(resolve(settings(model)))
    shared: Any = pipeline._reference
    kept = []
    for first, steps in ((0, 4), (9, 2)):
        shared._kept = None
        pipeline._pipeline(**pipeline.arguments([noise(0)], None, requests(2, first)) | {"num_inference_steps": steps})
        _, _, cache = shared._kept
        kept.append(
            [part for layer in (*cache.double_block_caches, *cache.single_block_caches) for part in layer.get()]
        )
    assert len(kept[0]) == 2 * 4
    assert all(torch.equal(one, other) for one, other in zip(*kept, strict=True))


def test_its_blocks_compile_as_whole_graphs(model, monkeypatch):
    whole = torch.nn.Module.compile
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self, **given: whole(self, backend="eager", **given))
    plain, compiled = (Pipeline(resolve(settings(model, compile=on))) for on in (False, True))
    for images, num in (([noise(0)], 1), ([noise(1)], 3), ([], 2), ([noise(1)], 3), ([noise(0), noise(1)], 2)):
        drawn = [pixels(one.draw(images, None, requests(num))) for one in (plain, compiled)]
        assert np.abs(drawn[0] - drawn[1]).max() <= 1
