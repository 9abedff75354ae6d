"""An update at full size on one device, in this process, without Ray or vLLM: each way to do it, one after the other.

Groups in the released shapes (2,120 + 400 tokens, two images), random weights made on the device. Every figure is
written when it is known, so that a run that is cut off has lost nothing.
"""

import os
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

from benchmarks.gpu.models import new_critic  # first: it adapts a CPU torch

import numpy as np  # isort: skip
import torch
from PIL import Image

from actors.config import LossConfig, PolicyConfig
from actors.policy.groups import deal_to_ranks
from actors.policy.rows import Share
from actors.store.store import Store
from benchmarks.gpu.results import Results, device_name, free, peak_gib, print_versions, wait
from rollout.types import TrainingRow

GROUP, PROMPT, RESPONSE, SIDE = 8, 2120, 400, 1024
WAYS = {
    "shared": {},
    "shared, half of the layers keep activations": {"kept_activations": 0.5},
    "shared, all activations kept": {"gradient_checkpointing": False},
    "shared, compiled": {"compile_layers": True},
    "rows by themselves": {"shared_prefix": False},
}
"""Settings of the policy; the last one is the plain way: packed rows, logits of every token, images once a row."""


@dataclass(frozen=True)
class Shapes:
    """What one update is made of."""

    critic: str
    groups: int
    response: int
    side: int
    """Pixels of an image."""

    @property
    def image_tokens(self) -> int:
        return (self.side // 32) ** 2


def measure_updates(shapes: Shapes, file: Path, seconds: float, *, has_gpu: bool) -> int:
    """Measure each way while there is time; return 0, or 1 where not even the first was reached."""
    start = time.monotonic()
    results = Results(file, torch=torch.__version__, device=device_name(), **asdict(shapes))
    results.note("peak of matrix products", tflops=_peak_tflops() if has_gpu else 0.0)
    with tempfile.TemporaryDirectory(prefix="gpu-update-") as folder, _one_rank():
        model, processor = new_critic(shapes.critic, "cuda" if has_gpu else "cpu")
        processor.save_pretrained(folder)
        model.config.architectures = [type(model).__name__]
        model.config.save_pretrained(folder)
        flops = useful_flops(model.config, shapes)
        store = Store(Path(folder) / "store")
        rows = released_rows(store, model.config, shapes)
        del model
        for name, settings in WAYS.items():
            if time.monotonic() - start > seconds:
                results.note(name, skipped="no time left")
                continue
            try:
                results.note(name, **_measure(shapes, folder, settings, rows, flops, has_gpu))
            except (RuntimeError, ImportError) as error:  # too little memory, or a kernel that is not there
                results.note(name, skipped=f"{type(error).__name__}: {str(error).splitlines()[0][:200]}")
            free()
    return int("seconds" not in results.found["shared"])


def _measure(
    shapes: Shapes, folder: str, settings: dict[str, Any], rows: list[TrainingRow], flops: float, has_gpu: bool
) -> dict[str, object]:
    from actors.policy import verl_cpu

    verl_cpu.install()
    from actors.policy.setup import PolicySetup
    from actors.policy.worker import PolicyWorker

    config = PolicyConfig(
        model=folder,
        num_ranks=1,
        gpus_per_rank=int(has_gpu),
        dtype="bfloat16" if has_gpu else "float32",
        attn_implementation="flash_attention_2" if has_gpu else "sdpa",
        max_tokens_per_micro_batch=16384,
        gradient_checkpointing=True,
        lr=1e-6,
    )
    config, loss = replace(config, **settings), LossConfig()
    started = time.monotonic()
    with _random_weights(shapes.critic, "cuda" if has_gpu else "cpu"):
        worker = PolicyWorker(PolicySetup(config, loss, str(Path(folder) / "store"), 100))
    ready = time.monotonic() - started
    batches = [Share(tuple(rows[i] for i in share[0]), len(rows)) for share in deal_to_ranks(config, rows)]
    stages = Stages(worker)
    worker.update(batches, 1.0)  # warms up
    if has_gpu:
        torch.cuda.reset_peak_memory_stats()
    stages.seconds.clear()
    started = time.monotonic()
    metrics = worker.update(batches, 1.0)
    wait()
    images = metrics["policy/image_seconds"]
    seconds = time.monotonic() - started - images  # in a run they are made while responses are drawn
    tokens = sum(len(row.prompt_token_ids) + len(row.token_ids) for row in rows)
    return {
        "seconds": round(seconds, 3),
        "image_seconds": round(images, 3),
        "row_tokens_per_second": round(tokens / seconds),
        "row_tflops": round(flops / seconds / 1e12, 1),
        "peak_gib": peak_gib(),
        "ready_after": round(ready, 1),
        **{name: round(value, 3) for name, value in stages.seconds.items()},
    }


class Stages:
    """Seconds of a worker's stages: building tensors, forward and backward, and the optimizer's step."""

    def __init__(self, worker: Any):
        self.seconds: dict[str, float] = {}
        worker._rows.build = self._timed("tensors_seconds", worker._rows.build)
        worker.engine.forward_backward_batch = self._timed(
            "forward_backward_seconds", worker.engine.forward_backward_batch
        )
        worker.engine.optimizer_step = self._timed("optimizer_seconds", worker.engine.optimizer_step)

    def _timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any, **options: Any) -> Any:
            wait()
            start = time.monotonic()
            answer = function(*arguments, **options)
            wait()
            self.seconds[name] = self.seconds.get(name, 0.0) + time.monotonic() - start
            return answer

        return timed


def released_rows(store: Store, config: Any, shapes: Shapes) -> list[TrainingRow]:
    """Return groups about two images each; a prompt is as much shorter as images are smaller."""
    image = (config.vision_start_token_id, *[config.image_token_id] * shapes.image_tokens, config.vision_end_token_id)
    num_words = PROMPT - 2 * (1024 + 2)
    rows = []
    for group in range(shapes.groups):
        dice = np.random.RandomState(group)
        pair = tuple(store.put_image(_picture(dice, shapes.side)) for _ in range(2))
        prompt = (*image, *image, *_words(dice, num_words))
        for _ in range(GROUP):
            size = shapes.response
            advantages = (float(dice.randn()),) * size
            rows.append(TrainingRow(pair, prompt, _words(dice, size), advantages, (-11.0,) * size))
    return rows


def _words(dice: np.random.RandomState, size: int) -> tuple[int, ...]:
    """Return tokens that stand for nothing else: the small tokenizer's own are below 1,000."""
    return tuple(dice.randint(2_000, 150_000, size=size).tolist())


def _picture(dice: np.random.RandomState, side: int) -> Image.Image:
    coarse = Image.fromarray(dice.randint(0, 255, (16, 16, 3)).astype(np.uint8))
    return coarse.resize((side, side), Image.Resampling.BICUBIC)


def useful_flops(config: Any, shapes: Shapes) -> float:
    """Return the operations of one update whose rows are computed by themselves: nothing twice, all of it trained."""
    text, vision = config.text_config, config.vision_config
    heads, key_heads = (number * text.head_dim for number in (text.num_attention_heads, text.num_key_value_heads))
    layer = text.hidden_size * (2 * heads + 2 * key_heads) + 3 * text.hidden_size * text.intermediate_size
    length = PROMPT - 2 * (1024 - shapes.image_tokens) + shapes.response
    rows = shapes.groups * GROUP
    linear = 6 * text.num_hidden_layers * layer * length * rows
    attention = 6 * length**2 * heads * text.num_hidden_layers * rows  # causal: half of 12
    head = 6 * text.hidden_size * text.vocab_size * shapes.response * rows
    patches = 4 * shapes.image_tokens
    block = 4 * vision.hidden_size**2 + 2 * vision.hidden_size * vision.intermediate_size
    tower = 3 * 2 * rows * (2 * patches * vision.depth * block + 4 * patches**2 * vision.hidden_size * vision.depth)
    return float(linear + attention + head + tower)


def _peak_tflops() -> float:
    """Return what the device does in large products of bfloat16 matrices."""
    size = 8192
    one, other = (torch.randn(size, size, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    for _ in range(3):
        one @ other
    torch.cuda.synchronize()
    start = time.monotonic()
    for _ in range(20):
        one @ other
    torch.cuda.synchronize()
    return round(20 * 2 * size**3 / (time.monotonic() - start) / 1e12, 1)


@contextmanager
def _random_weights(critic: str, device: str) -> Iterator[None]:
    """Make verl load random weights, on the device: reading as many from a disk would take minutes."""
    from transformers import AutoModelForImageTextToText

    def made(*_: object, torch_dtype: torch.dtype, **__: object) -> Any:
        return new_critic(critic, device)[0].to(torch_dtype)

    with patch.object(AutoModelForImageTextToText, "from_pretrained", made):
        yield


@contextmanager
def _one_rank() -> Iterator[None]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    one = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1", "RAY_LOCAL_WORLD_SIZE": "1"}
    with patch.dict(os.environ, one | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}):
        try:
            yield
        finally:
            if torch.distributed.is_initialized():
                torch.distributed.destroy_process_group()


def main(critic: str, groups: int, response: int, side: int, file: Path, seconds: float) -> int:
    """Say what is measured with what, and measure it."""
    print_versions("torch", "transformers", "verl", "flash_attn")
    shapes = Shapes(critic, groups, response, side)
    return measure_updates(shapes, file, seconds, has_gpu=torch.cuda.is_available())
