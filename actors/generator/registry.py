"""The generators that a recipe can name: one spec each, what it is and what it can do; and the kinds of them."""

import difflib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from actors.generator.image_sizes import Size, Sizes
from rollout.roles import Unsupported
from rollout.types import EditRequest

KINDS = {
    "diffusers": "actors.generator.kinds.diffusers:KIND",
    "custom": "actors.generator.kinds.custom:KIND",
    "images": "actors.generator.kinds.images:KIND",
    "chat": "actors.generator.kinds.chat:KIND",
    "service": "actors.generator.kinds.service:KIND",
}
"""What can be behind one: each a line here and a file with its `KIND`, imported when asked for."""
OWN_KIND = "actors.generator.kinds.user_class:KIND"
"""That of classes of the user's own."""


class Mode(StrEnum):
    """What a generator may be asked for."""

    TEXT = "text-to-image"
    EDIT = "edit"
    REFERENCES = "several images"
    INPAINT = "inpainting with a mask"


@dataclass(frozen=True)
class GeneratorSpec:
    """One generator: where it comes from, what it takes, how it is called. A recipe may say otherwise."""

    name: str
    modes: frozenset[Mode]
    pipeline: str = ""
    """Pipeline class in diffusers."""
    model: str = ""
    """Hub id, or the model's name at an endpoint."""
    kind: str = "diffusers"
    """diffusers, custom (the pipeline's code comes with the model), images or chat (OpenAI-compatible), service."""
    call: Mapping[str, object] = field(default_factory=dict)
    """Arguments of every call."""
    options: Mapping[str, str] = field(default_factory=dict)
    """What a request may override, and the pipeline's name for it. A distilled model's steps cannot be changed."""
    sizes: Sizes = field(default_factory=Sizes)
    max_images: int = 1
    """Most images of one request."""
    min_image_side: int = 1
    """Pixels of an image's shorter side."""
    max_image_aspect: float = 0.0
    """An image's longer side over its shorter one; 0: any."""
    image_argument: str = "image"
    pads_prompts: bool = False
    """The pipeline pads every prompt to one length: prompts are encoded, and kept, one by one."""
    has_reference_cache: bool = False
    """The pipeline keeps keys and values of the before-images over its steps, and can over its calls."""
    is_image_list: bool = False
    """The pipeline wants a list even of one image."""
    max_batch_size: int = 8
    """1: the pipeline does not take several prompts for one image, or they would share their noise."""
    lora: str = ""
    """Hub id of LoRA weights that belong to it, ..."""
    lora_weights: str = ""
    """... and their file there."""
    scheduler: Mapping[str, object] = field(default_factory=dict)
    """Settings that the scheduler's own are replaced by."""
    base_url: str | None = None
    api_key_env: str = ""

    def check(self, request: EditRequest) -> None:
        """Raise `Unsupported` for a request that this generator cannot carry out."""
        mode = mode_of(request)
        if mode not in self.modes:
            raise Unsupported(f"unsupported: {self.name} does no {mode}; it does {self.abilities}")
        num_images = (request.image is not None) + len(request.references)
        if num_images > self.max_images:
            raise Unsupported(f"unsupported: {self.name} takes {self.max_images} images at most, not {num_images}")
        if request.size is not None and (why := self.sizes.reject_reason(request.size)):
            raise Unsupported(f"unsupported: {self.name} {why}")
        for name, _ in request.options:
            if name not in self.options:
                known = ", ".join(sorted(self.options)) or "no settings in a request"
                raise Unsupported(f"unsupported: {self.name} takes no {name} in a request; it takes {known}")

    def check_images(self, sizes: Iterable[Size]) -> None:
        """Raise `Unsupported` for images of sizes that this generator does not look at."""
        for width, height in sizes:
            short, long = sorted((width, height))
            if short < self.min_image_side:
                raise Unsupported(
                    f"unsupported: {self.name} takes images of {self.min_image_side} pixels a side at least, "
                    f"not {width}x{height}"
                )
            if self.max_image_aspect and long > self.max_image_aspect * short:
                raise Unsupported(
                    f"unsupported: {self.name} takes images whose sides are of a ratio up to "
                    f"{self.max_image_aspect:g}, not {width}x{height}"
                )

    @property
    def abilities(self) -> str:
        return ", ".join(mode for mode in Mode if mode in self.modes)


def mode_of(request: EditRequest) -> Mode:
    """Return what a request asks for."""
    if request.mask is not None:
        return Mode.INPAINT
    num_images = (request.image is not None) + len(request.references)
    return (Mode.TEXT, Mode.EDIT)[num_images] if num_images < 2 else Mode.REFERENCES


_STEPS = {"num_inference_steps": "num_inference_steps"}
_FLUX = {**_STEPS, "guidance_scale": "guidance_scale"}
_QWEN = {**_STEPS, "guidance_scale": "true_cfg_scale", "negative_prompt": "negative_prompt"}
_QWEN_CALL = {"num_inference_steps": 50, "true_cfg_scale": 4.0, "negative_prompt": " "}
_LIGHTNING_CALL = {"num_inference_steps": 8, "true_cfg_scale": 1.0}
_LIGHTNING = "lightx2v/Qwen-Image-Lightning"
# The distillation was done with the timestep shift fixed to 3 (its model card).
_LIGHTNING_SCHEDULER = {
    "base_shift": math.log(3),
    "max_shift": math.log(3),
    "shift": 1.0,
    "shift_terminal": None,
    "time_shift_type": "exponential",
    "use_dynamic_shifting": True,
}
_TEXT = frozenset({Mode.TEXT})
_EDIT = frozenset({Mode.EDIT})
_SEVERAL = frozenset({Mode.EDIT, Mode.REFERENCES})
_MEGAPIXEL = 1024 * 1024
_KLEIN = GeneratorSpec(
    "flux2-klein",
    _TEXT | _SEVERAL,
    "Flux2KleinPipeline",
    "black-forest-labs/FLUX.2-klein-9B",
    call={"num_inference_steps": 4, "guidance_scale": 1.0},
    sizes=Sizes(max_pixels=4 * _MEGAPIXEL),
    max_images=4,
    min_image_side=64,
    max_image_aspect=8.0,
    pads_prompts=True,
)

_ENTRIES = (
    GeneratorSpec(
        "qwen-image",
        _TEXT,
        "QwenImagePipeline",
        "Qwen/Qwen-Image",
        call=_QWEN_CALL,
        options=_QWEN,
        sizes=Sizes(default=(1328, 1328), max_pixels=2 * _MEGAPIXEL),
    ),
    GeneratorSpec(
        "qwen-image-lightning",
        _TEXT,
        "QwenImagePipeline",
        "Qwen/Qwen-Image",
        call=_LIGHTNING_CALL,
        sizes=Sizes(default=(1328, 1328), max_pixels=2 * _MEGAPIXEL),
        lora=_LIGHTNING,
        lora_weights="Qwen-Image-Lightning-8steps-V2.0.safetensors",
        scheduler=_LIGHTNING_SCHEDULER,
    ),
    GeneratorSpec(
        "flux1-krea-dev",
        _TEXT,
        "FluxPipeline",
        "black-forest-labs/FLUX.1-Krea-dev",
        call={"num_inference_steps": 28, "guidance_scale": 4.5},
        options=_FLUX,
        sizes=Sizes(max_pixels=2 * _MEGAPIXEL),
    ),
    GeneratorSpec(
        "qwen-image-edit",
        _EDIT,
        "QwenImageEditPipeline",
        "Qwen/Qwen-Image-Edit",
        call=_QWEN_CALL,
        options=_QWEN,
        max_batch_size=1,
    ),
    GeneratorSpec(
        "qwen-image-edit-lightning",
        _EDIT,
        "QwenImageEditPipeline",
        "Qwen/Qwen-Image-Edit",
        call=_LIGHTNING_CALL,
        max_batch_size=1,
        lora=_LIGHTNING,
        lora_weights="Qwen-Image-Edit-Lightning-8steps-V1.0.safetensors",
        scheduler=_LIGHTNING_SCHEDULER,
    ),
    GeneratorSpec(
        "flux1-kontext-dev",
        _TEXT | _EDIT,
        "FluxKontextPipeline",
        "black-forest-labs/FLUX.1-Kontext-dev",
        call={"num_inference_steps": 28, "guidance_scale": 2.5},
        options=_FLUX,
    ),
    GeneratorSpec(
        "flux1-fill-dev",
        frozenset({Mode.INPAINT}),
        "FluxFillPipeline",
        "black-forest-labs/FLUX.1-Fill-dev",
        call={"num_inference_steps": 50, "guidance_scale": 30.0},
        options=_FLUX,
        sizes=Sizes(max_pixels=2 * _MEGAPIXEL),
        max_batch_size=1,
    ),
    GeneratorSpec(
        "longcat-image-edit",
        _EDIT,
        "LongCatImageEditPipeline",
        "meituan-longcat/LongCat-Image-Edit",
        call={"num_inference_steps": 50, "guidance_scale": 4.5},
        options={**_FLUX, "negative_prompt": "negative_prompt"},
        sizes=Sizes(is_own=True),
        max_batch_size=1,
    ),
    GeneratorSpec(
        "omnigen2",
        _TEXT | _SEVERAL,
        "DiffusionPipeline",
        "OmniGen2/OmniGen2",
        kind="custom",
        call={"num_inference_steps": 50, "text_guidance_scale": 5.0, "image_guidance_scale": 2.0},
        options={**_STEPS, "guidance_scale": "text_guidance_scale", "negative_prompt": "negative_prompt"},
        max_images=5,
        image_argument="input_images",
        is_image_list=True,
        max_batch_size=1,
    ),
    GeneratorSpec(
        "qwen-image-edit-plus",
        _SEVERAL,
        "QwenImageEditPlusPipeline",
        "Qwen/Qwen-Image-Edit-2509",
        call={**_QWEN_CALL, "num_inference_steps": 40},
        options=_QWEN,
        max_images=3,
        max_batch_size=1,
    ),
    _KLEIN,
    replace(
        _KLEIN,
        name="flux2-klein-kv",
        pipeline="Flux2KleinKVPipeline",
        model="black-forest-labs/FLUX.2-klein-9b-kv",
        call={"num_inference_steps": 4},
        has_reference_cache=True,
    ),
    GeneratorSpec(
        "nano-banana-pro",
        _TEXT | _SEVERAL,
        model="gemini-3-pro-image-preview",
        kind="chat",
        sizes=Sizes(is_own=True),
        max_images=14,
        base_url="https://generativelanguage.googleapis.com/v1beta/openai/",
        api_key_env="GEMINI_API_KEY",
    ),
    GeneratorSpec(
        "gpt-image",
        _TEXT | _SEVERAL | {Mode.INPAINT},
        model="gpt-image-1",
        kind="images",
        sizes=Sizes(choices=((1024, 1024), (1536, 1024), (1024, 1536))),
        max_images=16,
        api_key_env="OPENAI_API_KEY",
    ),
    GeneratorSpec("openai-images", _TEXT | _SEVERAL | {Mode.INPAINT}, kind="images", max_images=16),
    GeneratorSpec("openai-chat", _TEXT | _SEVERAL, kind="chat", sizes=Sizes(is_own=True), max_images=16),
    GeneratorSpec("service", frozenset(Mode), kind="service", max_images=16, options={name: name for name in _QWEN}),
)
REGISTRY: Mapping[str, GeneratorSpec] = {spec.name: spec for spec in _ENTRIES}


def unknown_name(name: str) -> str:
    """Say that a name is no generator's, and which ones are near."""
    near = difflib.get_close_matches(name.lower(), REGISTRY, n=3, cutoff=0.4)
    known = f"did you mean {' or '.join(near)}?" if near else f"known are {', '.join(REGISTRY)}"
    return f"generator.name is {name!r}, which is not a registered generator; {known}"


def spec_of_class(pipeline: str) -> GeneratorSpec | None:
    """Return what is known of a pipeline class that a recipe names by itself; its calls are the recipe's own."""
    for spec in _ENTRIES:
        if pipeline and spec.pipeline == pipeline and spec.kind == "diffusers":
            return spec
    return None
