"""One real stack for the slow tests: Ray, three policies and a sampler around a random tiny critic."""

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from actors.config import LoraConfig
from actors.store.store import Store, load_images
from rollout.types import Response, SampleRequest, SamplingParams, TrainingRow

LR = 1e-3
MAX_PIXELS = 32 * 32
"""A quarter of each image: policy, samplers and transformers have to scale them down alike."""
LORA_LR = 1e-2
LORA = LoraConfig(rank=4, alpha=8)


@dataclass
class Stack:
    """The started actors, and what they were started from."""

    model: Path
    start: Path
    """A checkpoint of `policy` before its first update."""
    careful_start: Path
    """One of `careful`."""
    adapted_start: Path
    """One of `adapted`."""
    store: Store
    images: list[str]
    policy: Any
    """Two ranks, packed, one optimizer step an update."""
    careful: Any
    """One rank, padded; two mini-batches, a KL to the reference, an entropy bonus, a frozen vision tower, offloaded."""
    adapted: Any
    """Two ranks; LoRA, a KL to the model without it, a frozen vision tower."""
    samplers: Any
    processor: Any
    runner: asyncio.Runner

    def run(self, coroutine: Coroutine) -> Any:
        return self.runner.run(coroutine)

    def request(self, number: int, temperature: float = 1.0, max_tokens: int = 24) -> SampleRequest:
        """Return a request about two images; prompts differ in length."""
        text = "compare the two images" + " and say why" * (number % 4)
        message = {"role": "user", "content": [{"type": "image"}, {"type": "image"}, {"type": "text", "text": text}]}
        pair = (self.images[number % 4], self.images[(number + 1) % 4])
        return SampleRequest((message,), pair, SamplingParams(temperature, max_tokens), seed=number)

    def rows(self, count: int) -> list[TrainingRow]:
        """Return rows with random responses of different lengths and an advantage each."""
        return [self._row(number) for number in range(count)]

    def _row(self, number: int) -> TrainingRow:
        request, dice = self.request(number), np.random.RandomState(number)
        tokens = tuple(int(token) for token in dice.randint(10, 300, size=5 + 3 * number))
        advantage = float(dice.randn())
        return TrainingRow(
            request.images,
            tuple(self.inputs(request)["input_ids"][0].tolist()),
            tokens,
            (advantage,) * len(tokens),
            (-3.0,) * len(tokens),
        )

    def inputs(self, request: SampleRequest) -> dict[str, Any]:
        """Return what transformers makes of a request."""
        text = self.processor.apply_chat_template(list(request.messages), tokenize=False, add_generation_prompt=True)
        return self.processor(text=[text], images=load_images(self.store, request.images), return_tensors="pt")


def learn_from(request: SampleRequest, response: Response, advantage: float) -> TrainingRow:
    """Return the row that a response becomes."""
    size = len(response.token_ids)
    return TrainingRow(
        request.images, response.prompt_token_ids, response.token_ids, (advantage,) * size, response.logprobs
    )


@contextmanager
def started_stack(folder: Path) -> Iterator[Stack]:
    """Start everything at once, since each process spends most of its start on imports; stop it on exit."""
    from actors.cluster import ray_cluster
    from actors.image_limit import load_processor
    from tests.support.tiny_models import build_tiny_critic

    model, store = build_tiny_critic(folder / "critic"), Store(folder / "store")
    dice = np.random.RandomState(0)
    pictures = [Image.fromarray(dice.randint(0, 255, (64, 64, 3)).astype(np.uint8)) for _ in range(4)]
    images = [store.put_image(picture) for picture in pictures]
    with asyncio.Runner() as runner:
        cluster = ray_cluster("", 8)
        runner.run(cluster.__aenter__())
        try:
            starts = folder / "start", folder / "careful_start", folder / "adapted_start"
            policy, careful, adapted, samplers = runner.run(_start_actors(model, store.root))
            for started, start in zip((policy, careful, adapted), starts, strict=True):
                runner.run(started.save(start))
            processor = load_processor(str(model), MAX_PIXELS)
            yield Stack(model, *starts, store, images, policy, careful, adapted, samplers, processor, runner)
        finally:
            runner.run(cluster.__aexit__(None, None, None))


async def _start_actors(model: Path, store_root: Path) -> tuple[Any, Any, Any, Any]:
    from actors.config import LossConfig, PolicyConfig, SamplerConfig
    from actors.policy.policy import Policy
    from actors.sampler.sampler import Samplers
    from tests.support.faulty_engine import FaultyEngine

    config = PolicyConfig(model=str(model), num_ranks=2, lr=LR, max_tokens_per_micro_batch=300)
    careful = replace(
        config, num_ranks=1, is_packed=False, freeze_vision=True, gradient_checkpointing=True, offload=True
    )
    adapted = replace(config, freeze_vision=True, gradient_checkpointing=True, lr=LORA_LR, lora=LORA)
    loss = LossConfig(num_mini_batches=2, kl_coef=0.1, entropy_coef=0.01, rollout_correction="token")
    settings: dict[str, Any] = {
        "store_root": store_root,
        "total_steps": 10,
        "temperature": 1.0,
        "max_pixels": MAX_PIXELS,
    }
    sampler = SamplerConfig(max_model_len=512, kv_cache_gib=0.25, bucket_mib=1)
    return await asyncio.gather(
        Policy.start(config, LossConfig(), **settings),
        Policy.start(careful, loss, **settings),
        Policy.start(adapted, LossConfig(kl_coef=0.1), **settings),
        Samplers.start(sampler, str(model), store_root=store_root, max_pixels=MAX_PIXELS, engine_class=FaultyEngine),
    )
