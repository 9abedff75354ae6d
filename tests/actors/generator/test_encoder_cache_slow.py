"""Embeddings and latents are computed once and change no pixel, with the real pipeline class."""

import asyncio

import numpy as np
import pytest
import torch
from PIL import Image

from actors.config import GeneratorConfig
from actors.generator.encoder_cache import EncoderCache
from actors.generator.generator import Generator
from actors.generator.kind import resolve
from actors.generator.pipeline import Pipeline
from actors.store.store import Store
from rollout.types import EditRequest
from tests.support import tiny_generator

pytestmark = pytest.mark.slow  # imports torch and diffusers, and runs real pipelines

SIZE = tiny_generator.SIZE
PROMPTS = ["a red box", "a hat", "a red box", "zzz"]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(tiny_generator.build(tmp_path_factory.mktemp("model")))


def pipeline(model, cache_gib):
    given = GeneratorConfig(model=model, height=SIZE, width=SIZE, call=tiny_generator.CALL, cache_gib=cache_gib)
    return Pipeline(resolve(given))


def noise(seed):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (SIZE, SIZE, 3), dtype=np.uint8))


def test_what_is_kept_changes_no_pixel(model):
    cached, plain = pipeline(model, 0.5), pipeline(model, 0)
    batches = [
        ([noise(0)], PROMPTS),
        ([noise(0)], PROMPTS[::-1]),
        ([noise(0), noise(1)], PROMPTS[:1]),
        ([], PROMPTS[1:]),
    ]
    for images, prompts in batches:
        requests = [EditRequest("x", prompt, seed) for seed, prompt in enumerate(prompts)]
        for one, other in zip(cached.draw(images, None, requests), plain.draw(images, None, requests), strict=True):
            assert one.tobytes() == other.tobytes()
    assert cached.counts() == {"prompt_hits": 1 + 4 + 1 + 3, "latent_hits": 2}
    assert plain.counts() == {}


def test_an_embedding_does_not_depend_on_its_batch(model):
    theirs = pipeline(model, 0)._pipeline
    together, _ = theirs.encode_prompt(["a", "zzzzzzzzzz"], max_sequence_length=16, text_encoder_out_layers=(1, 2))
    alone, _ = theirs.encode_prompt(["a"], max_sequence_length=16, text_encoder_out_layers=(1, 2))
    assert torch.equal(together[:1], alone)


def test_latents_that_are_drawn_are_drawn_each_time():
    class Sampling:
        def _encode_vae_image(self, image, generator):
            return image + torch.randn(image.shape, generator=generator)

    sampling, image = Sampling(), torch.zeros(3)
    cache = EncoderCache(sampling, 1000, pads_prompts=False)
    seeds = [torch.Generator().manual_seed(0), torch.Generator().manual_seed(1)]
    assert not torch.equal(*(sampling._encode_vae_image(image=image, generator=seed) for seed in seeds))
    assert not cache.counts


def test_a_runs_counts_tell_how_often(model, tmp_path):
    before = Store(tmp_path).put_image(noise(0))
    config = GeneratorConfig(
        model=model, num_replicas=0, height=SIZE, width=SIZE, call=tiny_generator.CALL, batch_invariant=True
    )

    async def scenario():
        generator = await Generator.start(config, tmp_path)
        for seed in range(3):
            await generator.edit(EditRequest(before, "a hat", seed))
        return await generator.stats()

    stats = asyncio.run(scenario())
    assert (stats["generator/prompt_hits"], stats["generator/latent_hits"]) == (2, 2)
