"""What generators can be named, and what each says to a request that it cannot carry out."""

from typing import Any

import pytest

from actors.config import GeneratorConfig
from actors.generator.image_sizes import Sizes
from actors.generator.kind import check_generator, resolve, spec_of
from actors.generator.pipeline import spec_of_parameters
from actors.generator.registry import REGISTRY, Mode, mode_of
from actors.metered.config import EndpointConfig
from rollout.roles import Unsupported
from rollout.types import EditRequest

OURS = {
    "qwen-image",
    "qwen-image-lightning",
    "flux1-krea-dev",
    "qwen-image-edit",
    "qwen-image-edit-lightning",
    "flux1-kontext-dev",
    "flux1-fill-dev",
    "longcat-image-edit",
    "omnigen2",
    "qwen-image-edit-plus",
    "flux2-klein",
}


def test_every_generator_that_the_public_system_names_has_an_entry():
    assert set(REGISTRY) >= OURS | {"nano-banana-pro", "gpt-image", "service"}


@pytest.mark.parametrize("name", sorted(OURS))
def test_an_entry_says_all_that_loading_needs(name):
    config = resolve(GeneratorConfig(name=name, trust_remote_code=True))
    assert config.pipeline
    assert "/" in config.model
    assert config.call["num_inference_steps"] > 0
    assert bool(config.lora) == bool(config.lora_weights) == ("lightning" in name)


def test_what_a_recipe_says_goes_over_the_entry():
    config = resolve(GeneratorConfig(name="qwen-image-lightning", model="./mine", lora="none", call={"x": 1}))
    assert (config.model, config.lora, config.max_batch_size) == ("./mine", "", 8)
    assert config.call == {"num_inference_steps": 8, "true_cfg_scale": 1.0, "x": 1}
    assert (
        "num_inference_steps"
        not in resolve(GeneratorConfig(name="qwen-image", call={"num_inference_steps": None})).call
    )


def test_a_recipe_without_a_name_is_as_it_was():
    config = resolve(GeneratorConfig(model="m", height=64, width=64))
    assert (config.pipeline, config.max_batch_size, config.call) == ("Flux2KleinPipeline", 8, {})
    assert spec_of(config).modes == REGISTRY["flux2-klein"].modes
    assert spec_of(config).options == {}


@pytest.mark.parametrize(
    ("name", "hint"), [("flux2-kline", "flux2-klein"), ("Qwen-Image-Edti", "qwen-image-edit"), ("zzz", "known are")]
)
def test_an_unknown_name_is_told_the_nearest(name, hint):
    with pytest.raises(ValueError, match=hint):
        GeneratorConfig(name=name)


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ({}, "generator.model is not set"),
        ({"name": "openai-images"}, "generator.model is not set"),
        ({"name": "omnigen2"}, "trust_remote_code=true"),
        ({"name": "flux2-klein", "custom_pipeline": "./mine.py"}, "trust_remote_code=true"),
        ({"name": "service"}, "base_url is empty"),
        (
            {"name": "service", "base_url": "http://host", "call": {"num_inference_steps": 8}},
            "the service's own affair",
        ),
        ({"name": "flux2-klein", "pipeline": "FluxPipeline"}, "is a Flux2KleinPipeline, but generator.pipeline is"),
        ({"name": "gpt-image", "height": 64, "width": 64}, "makes 1024x1024, 1536x1024, 1024x1536, not 64x64"),
        ({"name": "gpt-image", "budget_usd": 1, "num_replicas": 0}, "one owner"),
        ({"name": "gpt-image", "budget_usd": 1}, "budget_usd=1 needs a price: set generator.usd_per_image"),
        (
            {"name": "flux2-klein", "call": {"num_inference_steps": -3}},
            r"call\.num_inference_steps is -3; expected a whole",
        ),
        ({"name": "gpt-image", "budget_usd": 1, "endpoints": [EndpointConfig("http://host")]}, "needs a price"),
        ({"name": "flux2-klein", "budget_calls": 1}, "costs nothing"),
    ],
)
def test_what_cannot_work_is_refused_before_it_is_loaded(config, why):
    with pytest.raises(ValueError, match=why):
        resolve(GeneratorConfig(**config))


@pytest.mark.parametrize("changes", [{"height": 8}, {"max_replicas": 1, "num_replicas": 2}, {"usd_per_image": -1}])
def test_settings_that_contradict_each_other_are_refused(changes):
    with pytest.raises(ValueError, match=r"generator(: |\.)"):
        GeneratorConfig(**changes)


def test_tasks_that_a_generator_cannot_do_are_told_at_the_start():
    with pytest.raises(ValueError, match="qwen-image does no edit; it does text-to-image"):
        check_generator(GeneratorConfig(name="qwen-image"), [None, "an image"])
    with pytest.raises(ValueError, match="qwen-image-edit does no text-to-image"):
        check_generator(GeneratorConfig(name="qwen-image-edit"), [None])
    check_generator(GeneratorConfig(name="flux2-klein"), [None, "an image"])
    check_generator(GeneratorConfig(name="service", endpoints=[EndpointConfig("http://host", "")]), [None])


def request(**changes):
    given: dict[str, Any] = {"image": "one.png", "prompt": "p", "seed": 1}
    return EditRequest(**given | changes)


@pytest.mark.parametrize(
    ("changes", "mode"),
    [
        ({"image": None}, Mode.TEXT),
        ({}, Mode.EDIT),
        ({"image": None, "references": ("two.png",)}, Mode.EDIT),
        ({"references": ("two.png",)}, Mode.REFERENCES),
        ({"mask": "mask.png"}, Mode.INPAINT),
    ],
)
def test_what_a_request_asks_for(changes, mode):
    assert mode_of(request(**changes)) is mode


@pytest.mark.parametrize(
    ("name", "changes", "why"),
    [
        ("qwen-image", {}, "does no edit; it does text-to-image"),
        ("qwen-image-edit", {"image": None}, "does no text-to-image; it does edit"),
        ("qwen-image-edit", {"references": ("two.png",)}, "does no several images"),
        ("flux1-kontext-dev", {"mask": "mask.png"}, "does no inpainting with a mask; it does text-to-image, edit"),
        ("flux1-fill-dev", {}, "does no edit; it does inpainting with a mask"),
        ("qwen-image-edit-plus", {"references": ("2", "3", "4")}, "takes 3 images at most, not 4"),
        ("flux2-klein", {"size": (1000, 1024)}, "multiples of 16, not 1000x1024; 992x1024 is the nearest"),
        ("flux2-klein", {"size": (8192, 8192)}, "pixels, not the 67,108,864"),
        ("flux2-klein", {"size": (4096, 512)}, "ratio up to 4"),
        ("longcat-image-edit", {"size": (512, 512)}, "picks the size itself"),
        ("gpt-image", {"size": (512, 512)}, "makes 1024x1024, 1536x1024, 1024x1536"),
        ("flux2-klein", {"options": (("num_inference_steps", 50),)}, "takes no settings in a request"),
        ("flux1-krea-dev", {"image": None, "options": (("negative_prompt", "x"),)}, "takes guidance_scale, num_inf"),
    ],
)
def test_what_a_generator_cannot_do_it_says(name, changes, why):
    with pytest.raises(Unsupported, match=why):
        REGISTRY[name].check(request(**changes))


def test_what_it_can_do_passes():
    REGISTRY["flux2-klein"].check(request(references=("a", "b", "c"), size=(512, 768)))
    REGISTRY["flux1-fill-dev"].check(request(mask="m"))
    REGISTRY["qwen-image-edit"].check(request(options=(("negative_prompt", "blurry"), ("guidance_scale", 2.0))))


@pytest.mark.parametrize("size", [(640, 480), (3000, 2000), (1, 1), (33, 100), (10_000, 10), (1024, 1024), (257, 255)])
def test_an_images_size_is_kept_as_far_as_it_can_be(size):
    sizes = Sizes()
    width, height = sizes.fit(size)
    assert sizes.reject_reason((width, height)) is None
    aspect = min(max(size[0] / size[1], 0.25), 4)
    assert width / height == pytest.approx(aspect, rel=0.1)
    if size == (640, 480):
        assert (width, height) == size


def test_a_foreign_pipeline_can_do_what_its_call_takes():
    spec = spec_of_parameters("mine.Painter", frozenset({"prompt", "image", "height", "width"}))
    assert (spec.name, spec.modes) == ("Painter", {Mode.TEXT, Mode.EDIT})
    assert spec_of_parameters("Painter", frozenset({"prompt"})).modes == {Mode.TEXT}
    assert spec_of_parameters("Painter", frozenset({"prompt"})).sizes.is_own
    assert spec_of_parameters("Filler", frozenset({"image", "mask_image"})).modes == {Mode.INPAINT}
