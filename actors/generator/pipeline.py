"""A diffusers pipeline of any class: loaded by a recipe's settings, called for requests that share a batch."""

import importlib
import inspect
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from actors.cpu_kernels import are_portable, round_square_roots
from actors.generator.acceleration import accelerate
from actors.generator.config import GeneratorConfig
from actors.generator.encoder_cache import EncoderCache
from actors.generator.image_sizes import Size, Sizes
from actors.generator.kind import kind_of, spec_of
from actors.generator.registry import GeneratorSpec, Mode, spec_of_class
from actors.generator.shared_reference import SharedReference
from actors.model_digest import file_digest, model_digest
from rollout.types import EditRequest

CUSTOM_FILE = "pipeline.py"
"""Where diffusers looks for the code of a pipeline in a folder."""


class Pipeline:
    """One loaded pipeline."""

    def __init__(self, config: GeneratorConfig):
        """Load what resolved settings say. Raises whatever the pipeline itself raises."""
        import torch

        if not config.gpus_per_replica and are_portable():
            round_square_roots()
        self._config = config
        self._pinned = (config.width, config.height) if config.height else None
        folder = _local_folder(config)
        self._pipeline = _load(config, folder, getattr(torch, config.dtype))
        self._parameters = frozenset(inspect.signature(type(self._pipeline).__call__).parameters)
        self.spec = spec_of(config) or spec_of_parameters(config.pipeline, self._parameters)
        self.model = model_digest(folder)
        if config.lora:
            self.model += f"+{self._add_lora()}"
        if self.spec.scheduler:
            scheduler = self._pipeline.scheduler
            self._pipeline.scheduler = type(scheduler).from_config(scheduler.config, **self.spec.scheduler)
        self._pipeline = self._pipeline.to("cuda" if config.gpus_per_replica else "cpu")
        self._pipeline.set_progress_bar_config(disable=True)
        accelerate(config, self._pipeline.components)
        self._encoders = self._reference = None
        if spec_of_class(config.pipeline) and not config.custom_pipeline:
            num_bytes = int(config.cache_gib * 2**30)
            self._encoders = EncoderCache(self._pipeline, num_bytes, pads_prompts=self.spec.pads_prompts)
        if self.spec.has_reference_cache:
            self._reference = SharedReference(self._pipeline.transformer)

    def draw(
        self, images: Sequence[Image.Image], mask: Image.Image | None, requests: Sequence[EditRequest]
    ) -> list[Image.Image]:
        """Call the pipeline once; every request has its own noise, so its image does not depend on its batch.

        `images` and `mask` are those of every request.
        """
        arguments = self.arguments(images, mask, requests)
        made: list[Image.Image] = self._pipeline(**arguments).images
        if len(made) != len(requests):
            raise RuntimeError(
                f"{self._config.pipeline} made {len(made)} images of {len(requests)} prompts: set max_batch_size=1"
            )
        return made

    def arguments(
        self, images: Sequence[Image.Image], mask: Image.Image | None, requests: Sequence[EditRequest]
    ) -> dict[str, object]:
        """Return what the pipeline is called with."""
        import torch

        first = requests[0]
        arguments: dict[str, object] = {
            "prompt": [request.prompt for request in requests],
            "generator": [torch.Generator("cpu").manual_seed(request.seed) for request in requests],
        }
        if "height" in self._parameters:
            width, height = self.size_of(images, first)
            arguments |= {"height": height, "width": width}
            if "max_area" in self._parameters:
                arguments["max_area"] = width * height  # else Kontext makes a megapixel of any size
        arguments |= self._config.call
        arguments |= {self.spec.options[name]: value for name, value in first.options}
        if isinstance(arguments.get("negative_prompt"), str):
            arguments["negative_prompt"] = [arguments["negative_prompt"]] * len(requests)
        if images:
            is_one = len(images) == 1 and not self.spec.is_image_list
            arguments[self.spec.image_argument] = images[0] if is_one else list(images)
        if mask is not None:
            arguments["mask_image"] = mask
        return arguments

    def size_of(self, images: Sequence[Image.Image], request: EditRequest) -> Size:
        """Return the size to make: the recipe's, else the request's, else that of the first image."""
        return self._pinned or request.size or self.spec.sizes.fit(images[0].size if images else None)

    def counts(self) -> Counter[str]:
        """Return what was computed once instead of again, since the start: hits of encoders, references computed."""
        counts = Counter(self._encoders.counts if self._encoders else {})
        if self._reference:
            counts["references"] = self._reference.num_computed
        return counts

    def warm_up(self) -> None:
        """Make one image of the kind that the pipeline makes; and a batch, for which blocks are compiled once more."""
        canvas = Image.new("RGB", self._pinned or self.spec.sizes.default, "white")
        has_image = not self.spec.modes & {Mode.TEXT} or Mode.EDIT in self.spec.modes
        mask = canvas if self.spec.modes <= {Mode.INPAINT} else None
        is_batched = self._config.compile and self._config.max_batch_size > 1
        for size in (1, 2) if is_batched else (1,):
            self.draw(
                [canvas] if has_image else [], mask, [EditRequest(None, "a red box", seed) for seed in range(size)]
            )

    def _add_lora(self) -> str:
        """Merge the LoRA weights into the model; return their digest."""
        config = self._config
        path = Path(config.lora) / config.lora_weights
        if not path.is_file():
            from huggingface_hub import hf_hub_download

            path = Path(hf_hub_download(config.lora, config.lora_weights))
        self._pipeline.load_lora_weights(str(path.parent), weight_name=path.name)
        self._pipeline.fuse_lora()
        self._pipeline.unload_lora_weights()
        return file_digest(path).hex()


def spec_of_parameters(pipeline: str, parameters: frozenset[str]) -> GeneratorSpec:
    """Return what a pipeline of a class that is not ours can do, by what its call takes."""
    takes_image = "image" in parameters
    modes = {Mode.TEXT, Mode.EDIT} if takes_image else {Mode.TEXT}
    if "mask_image" in parameters:
        modes = {Mode.INPAINT}
    sizes = Sizes(min_pixels=1, max_pixels=4096 * 4096, multiple_of=8, is_own="height" not in parameters)
    return GeneratorSpec(pipeline.rpartition(".")[2], frozenset(modes), pipeline, sizes=sizes)


def _load(config: GeneratorConfig, folder: str, dtype: object) -> Any:
    arguments: dict[str, object] = {"dtype": dtype}
    if config.trust_remote_code:
        arguments["trust_remote_code"] = True
    own_code = Path(folder) / CUSTOM_FILE
    if config.custom_pipeline:
        arguments["custom_pipeline"] = config.custom_pipeline
    elif kind_of(config).has_code and own_code.is_file():
        arguments["custom_pipeline"] = folder
    return _class_of(config.pipeline).from_pretrained(folder, **arguments)


def _class_of(name: str) -> Any:
    """Return a pipeline class of diffusers, or of the user's own by its import path."""
    module, _, attribute = name.rpartition(".")
    try:
        return getattr(importlib.import_module(module or "diffusers"), attribute)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"generator.pipeline is {name}: {error}") from error


def _local_folder(config: GeneratorConfig) -> str:
    """Return the folder of a model, downloading a hub id once."""
    if Path(config.model).is_dir():
        return str(Path(config.model).absolute())
    from diffusers import DiffusionPipeline

    arguments: Mapping[str, object] = {"trust_remote_code": True} if config.trust_remote_code else {}
    return str(DiffusionPipeline.download(config.model, **arguments))
