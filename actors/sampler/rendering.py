"""Prompts as vLLM's engine takes them, made outside its thread: tokens, and images cut into patches."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

from PIL import Image

from actors.sampler.engine_loop import refusal
from actors.sampler.stepped_engine import Renderer
from rollout.roles import SamplerError
from rollout.types import ImageRef, SampleRequest

_NUM_PROMPTS = 64
"""Rendered prompts that are kept: those of the groups that arrive together."""


class ChatTemplate(Protocol):
    """A processor of transformers."""

    def apply_chat_template(
        self, conversation: list[Mapping[str, object]], *, tokenize: bool, add_generation_prompt: bool
    ) -> str: ...


LoadImages = Callable[[tuple[ImageRef | None, ...]], list[Image.Image]]


class Rendering:
    """Renders each prompt once for all requests of its group."""

    def __init__(
        self,
        renderer: Future[Renderer],
        processor: ChatTemplate,
        load: LoadImages,
        max_images: int,
        size: Mapping[str, int] | None = None,
    ):
        """`renderer` is there once the engine is; `load` reads images by their references.

        `size` is what the engine scales images by (`limit_pixels`); a prompt may ask for smaller ones.
        """
        self._renderer = renderer
        self._processor = processor
        self._load = load
        self._max_images = max_images
        self._size = size or {}
        # One after the other, so that the first prompt is soon there and the engine's thread keeps its core.
        self._loader = ThreadPoolExecutor(1, "prompts")
        self._prompts: OrderedDict[str, asyncio.Task[dict[str, object]]] = OrderedDict()

    async def render(self, request: SampleRequest) -> Mapping[str, object]:
        """Return a request's prompt, which other requests may share. Raises `SamplerError` if it is at fault."""
        key = repr((request.messages, request.images, request.max_pixels))
        task = self._prompts.get(key)
        if task is None:
            task = self._prompts[key] = asyncio.create_task(self._make(request))
            task.add_done_callback(lambda done: self._forget_failed(key, done))
            if len(self._prompts) > _NUM_PROMPTS:
                self._prompts.popitem(last=False)
        self._prompts.move_to_end(key)
        return await asyncio.shield(task)  # others may wait for it when this request is cancelled

    async def _make(self, request: SampleRequest) -> dict[str, object]:
        if len(request.images) > self._max_images:
            raise SamplerError(f"a prompt has {len(request.images)} images; raise samplers.max_images")
        prompt = await asyncio.get_running_loop().run_in_executor(self._loader, self._prompt, request)
        renderer = await asyncio.wrap_future(self._renderer)
        try:
            [rendered] = await renderer.render_cmpl_async([prompt])
        except Exception as error:
            raise refusal(error) from error
        return rendered

    def _prompt(self, request: SampleRequest) -> dict[str, object]:
        text = self._processor.apply_chat_template(list(request.messages), tokenize=False, add_generation_prompt=True)
        if not request.images:
            return {"prompt": text}
        prompt: dict[str, object] = {"prompt": text, "multi_modal_data": {"image": self._load(request.images)}}
        if request.max_pixels is not None and self._size:
            # The engine's own processor scales, once, and counts the tokens of what it made.
            smaller = {edge: min(pixels, request.max_pixels) for edge, pixels in self._size.items()}
            prompt["mm_processor_kwargs"] = {"size": smaller}
        return prompt

    def _forget_failed(self, key: str, done: "asyncio.Task[dict[str, object]]") -> None:
        if (done.cancelled() or done.exception() is not None) and self._prompts.get(key) is done:
            del self._prompts[key]
