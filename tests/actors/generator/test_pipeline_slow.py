"""The named generators with tiny random models of their real pipeline classes, as a recipe asks for them."""

import asyncio
import base64
from dataclasses import replace

import httpx
import numpy as np
import pytest
import torch
from PIL import Image

from actors.config import GeneratorConfig
from actors.generator.generator import Generator
from actors.generator.kind import resolve
from actors.generator.pipeline import Pipeline
from actors.generator.registry import REGISTRY, Mode
from actors.store.store import Store
from actors.web.config import ServiceConfig
from actors.web.image_service import ImageService
from actors.web.service import build_app
from rollout.roles import GeneratorError, Unsupported
from rollout.types import EditRequest
from tests.support import tiny_pipelines

pytestmark = pytest.mark.slow  # imports torch and diffusers, and runs real pipelines

NAMES = [name for name, spec in REGISTRY.items() if spec.kind in ("diffusers", "custom")]
WIDE, OUT = (128, 64), (368, 192)  # what 2:1 becomes within the entries' bounds


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    """Return the folder of each pipeline class, built once; and of LoRA weights."""
    root = tmp_path_factory.mktemp("models")
    built = {spec.pipeline: root / spec.pipeline for spec in REGISTRY.values() if spec.pipeline}
    for pipeline, folder in built.items():
        tiny_pipelines.build(pipeline, folder)
    tiny_pipelines.write_lora(root / "lora")
    return {**built, "lora": root / "lora"}


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    tiny_pipelines.scale_less(monkeypatch)


SMALL = {name: {"width": 128, "height": 64} for name in ("flux2-klein", "flux2-klein-kv")}
"""Their tiny autoencoder makes four times as many tokens as the others'."""


def size_of(name):
    small = SMALL.get(name)
    return (small["width"], small["height"]) if small else OUT


def settings(models, name, **changes):
    spec = REGISTRY[name]
    lora = {"lora": str(models["lora"]), "lora_weights": "lora.safetensors"} if spec.lora else {}
    has_code = {"trust_remote_code": True} if spec.kind == "custom" else {}
    return GeneratorConfig(
        **{
            "name": name,
            "model": str(models[spec.pipeline]),
            "num_replicas": 0,
            "num_attempts": 1,
            "call": tiny_pipelines.CALLS[spec.pipeline],
            **SMALL.get(name, {}),
            **lora,
            **has_code,
            **changes,
        }
    )


def noise(size, seed=0):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8))


def pixels(image):
    return np.asarray(image.convert("RGB"), dtype=int)


def requests_of(spec, store):
    """Return a request for each thing that an spec can do, by its mode; the edited image is twice as wide as high."""
    wide, other = (store.put_image(noise(WIDE, seed)) for seed in (0, 1))
    mask = Image.new("L", WIDE, 0)
    mask.paste(255, (0, 0, 64, 64))
    size = None if spec.sizes.is_own or spec.name in SMALL else OUT
    asked = {
        Mode.TEXT: EditRequest(None, "a red box", 7, size=size),
        Mode.EDIT: EditRequest(wide, "a red box", 7),
        Mode.REFERENCES: EditRequest(wide, "a red box", 7, references=(other,)),
        Mode.INPAINT: EditRequest(wide, "a red box", 7, mask=store.put_image(mask)),
    }
    return {mode: request for mode, request in asked.items() if mode in spec.modes}


async def _over_http(generator, request):
    """Ask the service for the same."""
    store = Store(generator.store_root)
    images = [ref for ref in (request.image, *request.references) if ref is not None]
    sent = [base64.b64encode(store.png_bytes(ref)).decode() for ref in images]
    fields = {
        "prompt": request.prompt,
        "seed": request.seed,
        "image": sent[0] if sent else None,
        "references": sent[1:],
    }
    if request.mask is not None:
        fields["mask"] = base64.b64encode(store.png_bytes(request.mask)).decode()
    if request.size is not None:
        fields |= {"width": request.size[0], "height": request.size[1]}
    transport = httpx.ASGITransport(build_app(ImageService(generator, ServiceConfig()), None))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        return (await client.post("/edit", json=fields)).json()


@pytest.mark.parametrize("name", NAMES)
def test_a_named_generator_does_all_that_its_entry_says(models, name, tmp_path, monkeypatch):
    store, spec = Store(tmp_path), REGISTRY[name]
    monkeypatch.setattr(Pipeline, "warm_up", lambda self: None)  # at the default size, which takes a minute here

    async def scenario():
        generator = await Generator.start(settings(models, name), tmp_path)
        asked = requests_of(spec, store)
        made = {mode: await generator.edit(request) for mode, request in asked.items()}
        first = next(iter(asked.values()))
        other = EditRequest(first.image, "a zebra in the snow", 7, first.references, first.mask, first.size)
        reseeded = EditRequest(first.image, first.prompt, 8, first.references, first.mask, first.size)
        further = [await generator.edit(other), await generator.edit(reseeded)]
        with pytest.raises(Unsupported, match="unsupported"):
            await generator.edit(EditRequest("no/such/file.png", "x", 1, references=("a",) * spec.max_images))
        over_http = [await _over_http(generator, replace(request, seed=9)) for request in asked.values()]
        return made, further, over_http

    made, further, over_http = asyncio.run(scenario())
    assert [(answer["success"], answer["seed"]) for answer in over_http] == [(True, 9)] * len(made)
    images = {mode: store.get_image(ref) for mode, ref in made.items()}
    for image in images.values():
        assert image.width / image.height == pytest.approx(2, rel=0.1)
        assert image.size == size_of(name) or spec.sizes.is_own
    # Each means something: it depends on the prompt, on the seed, and on what it was given to see.
    first = pixels(next(iter(images.values())))
    assert all(np.abs(pixels(store.get_image(ref)) - first).max() > 3 for ref in further)
    assert len({image.tobytes() for image in images.values()}) == len(images)


@pytest.mark.parametrize("name", ["qwen-image", "flux1-krea-dev", "flux1-kontext-dev", *SMALL])
def test_noise_is_equal_and_pixels_nearly_so_whatever_the_batch(models, name, tmp_path, monkeypatch):
    pipeline, store = Pipeline(resolve(settings(models, name))), Store(tmp_path)
    drawn = []
    whole = torch.randn
    monkeypatch.setattr(torch, "randn", lambda *args, **named: drawn.append(whole(*args, **named)) or drawn[-1])
    prompts = ["a", "zzzzzzzzzzzz", "red box on a hill"]
    for asked in requests_of(pipeline.spec, store).values():
        refs = [ref for ref in (asked.image, *asked.references) if ref is not None]
        images = [store.get_image(ref) for ref in refs]
        batch = [
            EditRequest(asked.image, prompt, seed, asked.references, size=size_of(name))
            for seed, prompt in enumerate(prompts)
        ]
        drawn.clear()
        together, noise_together = pipeline.draw(images, None, batch), list(drawn)
        drawn.clear()
        alone = [pipeline.draw(images, None, [one])[0] for one in batch]
        assert len(noise_together) == len(drawn) == len(batch)
        assert all(torch.equal(one, other) for one, other in zip(noise_together, drawn, strict=True))
        gaps = [np.abs(pixels(one) - pixels(other)).max() for one, other in zip(together, alone, strict=True)]
        assert max(gaps) <= 1


def test_code_that_comes_with_a_model_is_run_only_where_the_recipe_allows_it(models, tmp_path):
    asked = settings(models, "omnigen2", trust_remote_code=False)
    with pytest.raises(ValueError, match="to run it"):
        asyncio.run(Generator.start(asked, tmp_path))


def test_code_beside_the_model_is_found_by_its_path(models, tmp_path):
    folder = models["DiffusionPipeline"]
    asked = settings(models, "omnigen2", custom_pipeline=str(folder / "pipeline.py"))
    pipeline = Pipeline(resolve(asked))
    assert type(pipeline._pipeline).__name__ == "OmniGen2Pipeline"
    assert pipeline.spec.max_images == 5


def test_lora_weights_change_the_image_and_the_models_name(models, tmp_path):
    with_lora, without = (
        Pipeline(resolve(settings(models, "qwen-image-lightning", **changes))) for changes in ({}, {"lora": "none"})
    )
    assert with_lora.model.startswith(without.model + "+")
    pool = asyncio.run(Generator.start(settings(models, "qwen-image-lightning", lora="none"), tmp_path))
    assert pool.model == without.model
    asked = [EditRequest(None, "a red box", 7, size=OUT)]
    one, other = (pipeline.draw([], None, asked)[0] for pipeline in (with_lora, without))
    assert np.abs(pixels(one) - pixels(other)).max() > 3
    assert with_lora._pipeline.scheduler.config.base_shift == pytest.approx(1.0986, abs=1e-4)


def test_a_foreign_class_and_a_recipes_size(models, tmp_path):
    config = GeneratorConfig(
        pipeline="diffusers.FluxPipeline",
        model=str(models["FluxPipeline"]),
        num_replicas=0,
        height=64,
        width=128,
        call=tiny_pipelines.CALLS["FluxPipeline"],
    )

    async def scenario():
        generator = await Generator.start(config, tmp_path)
        with pytest.raises(GeneratorError, match="does no edit"):
            await generator.edit(EditRequest("x.png", "p", 1))
        return generator, await generator.edit(EditRequest(None, "a box", 1))

    generator, ref = asyncio.run(scenario())
    assert generator.spec.name == "FluxPipeline"
    assert Store(tmp_path).get_image(ref).size == (128, 64)
