"""Our sampler against vLLM itself: `python -m benchmarks.sampler_speed [--repeats 3] [--groups 32]`.

32 groups of 8 requests, two images of 448 x 448 pixels a group, 64 tokens forced, the same sampling parameters on all
sides; no image was seen before, and rendering is inside all times. Ours is `Samplers.sample` with its Ray actor, vLLM's
is `LLM.generate` in its own process and in the caller's, with our adaptations to CPUs and without, each in a child
process that has the machine to itself. Ends with exit code 1 where a bar is missed.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import numpy as np
from PIL import Image

from actors.config import SamplerConfig
from actors.sampler.engine import Engine
from actors.sampler.sampler import Samplers, environment_of
from actors.store.store import Store
from rollout.types import SampleRequest, SamplingParams

GROUP, TOKENS, SIDE, PATCH = 8, 64, 448, 16
SPEED_BAR, IDLE_BAR = 0.95, 0.05
CONFIG = SamplerConfig(max_model_len=1024)
VLLM_SIDES = {
    "vLLM in-process": (False, False),
    "vLLM in-process, adapted": (False, True),
    "vLLM with its own process": (True, False),
    "vLLM with its own process, adapted": (True, True),
}
"""Whether the engine has its own process, and our adaptations to CPUs."""
_QUESTION = "compare the two images and say whether the step succeeded, and why"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sampler_speed", description=__doc__)
    parser.add_argument("--repeats", type=int, default=3, help="default: 3, the median of which counts")
    parser.add_argument("--groups", type=int, default=32, help="of 8 requests; default: 32")
    parser.add_argument("--side", choices=["ours", *VLLM_SIDES], help="measure one side alone, in this process")
    parser.add_argument("--folder", type=Path, help="where --side finds the model")
    chosen = parser.parse_args(arguments)
    if chosen.side:
        print(json.dumps(_measure(chosen.side, chosen.folder, chosen.repeats, chosen.groups)), flush=True)
        return 0
    with tempfile.TemporaryDirectory(prefix="sampler-speed-") as folder:
        write_critic(Path(folder))
        found = {side: _in_child(side, folder, chosen.repeats, chosen.groups) for side in ("ours", *VLLM_SIDES)}
    return report(found)


def report(found: dict[str, dict[str, list[float]]]) -> int:
    """Print each side's tokens/s, and the bars; return 1 where one is missed."""
    speeds = {side: median(figures["speeds"]) for side, figures in found.items()}
    for side, figures in found.items():
        print(
            f"{side:36} median {speeds[side]:6.0f} tokens/s   ({', '.join(f'{one:.0f}' for one in figures['speeds'])})"
        )
    fastest = max(VLLM_SIDES, key=lambda side: speeds[side])
    share, idle = speeds["ours"] / speeds[fastest], median(found["ours"]["idle"])
    print(f"ours is {share:.3f} of {fastest}; bar: at least {SPEED_BAR:g}")
    print(f"our engine's thread idles {idle:.1%} of the time; bar: at most {IDLE_BAR:.0%}")
    return int(share < SPEED_BAR or idle > IDLE_BAR)


def write_critic(folder: Path) -> None:
    """Write the tests' tiny critic, with the patches of the published one: 196 tokens an image."""
    from tests.support.tiny_models import build_tiny_critic

    build_tiny_critic(folder, largest_side=SIDE, patch=PATCH)


def _in_child(side: str, folder: str, repeats: int, groups: int) -> dict[str, list[float]]:
    is_own_process, _ = VLLM_SIDES.get(side, (False, False))
    command = [sys.executable, "-m", "benchmarks.sampler_speed", "--side", side, "--folder", folder]
    command += ["--repeats", str(repeats), "--groups", str(groups)]
    environment = os.environ | environment_of(CONFIG) | {"VLLM_ENABLE_V1_MULTIPROCESSING": str(int(is_own_process))}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    figures: dict[str, list[float]] = json.loads(done.stdout.splitlines()[-1])
    return figures


def _measure(side: str, folder: Path, repeats: int, groups: int) -> dict[str, list[float]]:
    if side == "ours":
        return asyncio.run(measure_ours(folder, repeats, groups))
    return measure_vllm(folder, repeats, groups, *VLLM_SIDES[side])


def pictures(turn: int, group: int) -> list[Image.Image]:
    """Return two images that no other group or turn has."""
    dice = np.random.RandomState(1000 * turn + group)
    return [Image.fromarray(dice.randint(0, 255, (SIDE, SIDE, 3), dtype=np.uint8)) for _ in range(2)]


def messages() -> tuple[dict[str, object], ...]:
    parts = [{"type": "image"}, {"type": "image"}, {"type": "text", "text": _QUESTION}]
    return ({"role": "user", "content": parts},)


class TimedEngine(Engine):
    """Draws all its tokens, and knows how long its thread had nothing to do."""

    def __init__(self, *arguments: object):
        super().__init__(*arguments)
        self._waits: list[tuple[float, float]] = []
        get = self._loop._commands.get

        class Timed:
            put, empty = self._loop._commands.put, self._loop._commands.empty

            def get(_, block: bool = True):
                start = time.monotonic()
                try:
                    return get(block=block)
                finally:
                    if block:
                        self._waits.append((start, time.monotonic()))

        self._loop._commands = Timed()

    def _params(self, params: SamplingParams, seed: int) -> object:
        forced = super()._params(params, seed)
        forced.ignore_eos = True
        return forced

    async def waits(self) -> list[tuple[float, float]]:
        """Return since when and until when (`time.monotonic`) the thread waited for something to do; then forget."""
        found, self._waits = self._waits, []
        return found


async def measure_ours(model: Path, repeats: int, groups: int) -> dict[str, list[float]]:
    """Return tokens/s, and the share of time without work for the engine's thread, of each repeat."""
    from actors.cluster import ray_cluster

    found: dict[str, list[float]] = {"speeds": [], "idle": []}
    async with ray_cluster("", 4):
        with tempfile.TemporaryDirectory() as folder:
            store = Store(Path(folder))
            samplers = await Samplers.start(
                CONFIG, str(model), store_root=folder, is_published=False, engine_class=TimedEngine
            )
            for turn in range(repeats + 1):
                requests = _requests(store, turn, groups if turn else 2)
                await samplers.each("waits")
                start = time.monotonic()
                answers = await asyncio.gather(*map(samplers.sample, requests))
                end = time.monotonic()
                [waits] = await samplers.each("waits")
                assert {len(answer.token_ids) for answer in answers} == {TOKENS}
                if turn:
                    first = min(until for since, until in waits if until > start)
                    idle = sum(min(until, end) - since for since, until in waits if first < since < end)
                    found["speeds"].append(len(requests) * TOKENS / (end - start))
                    found["idle"].append(idle / (end - first))
    return found


def _requests(store: Store, turn: int, groups: int) -> list[SampleRequest]:
    requests = []
    for group in range(groups):
        pair = tuple(store.put_image(picture) for picture in pictures(turn, group))
        for number in range(GROUP):
            requests.append(SampleRequest(messages(), pair, SamplingParams(1.0, TOKENS), seed=GROUP * group + number))
    return requests


def measure_vllm(
    model: Path, repeats: int, groups: int, is_own_process: bool, is_adapted: bool
) -> dict[str, list[float]]:
    """Return tokens/s of each repeat."""
    from transformers import AutoConfig, AutoProcessor
    from vllm import LLM
    from vllm import SamplingParams as VllmParams

    from actors.banned_tokens import BANNED_LOGIT, banned_tokens
    from actors.sampler.vllm_engine import adapt_to_cpu, engine_arguments

    arguments = engine_arguments(CONFIG, str(model))
    if is_adapted and not is_own_process:
        adapt_to_cpu()
    if is_adapted and is_own_process:
        arguments["worker_extension_cls"] = "actors.sampler.cpu_worker.WeightWorker"
    llm = LLM(**arguments)
    processor = AutoProcessor.from_pretrained(model)
    banned = dict.fromkeys(banned_tokens(AutoConfig.from_pretrained(model)), BANNED_LOGIT)
    shared = {"temperature": 1.0, "max_tokens": TOKENS, "ignore_eos": True, "logit_bias": banned, "logprobs": 0}
    speeds = []
    for turn in range(repeats + 1):
        shown = [pictures(turn, group) for group in range(groups if turn else 2)]
        start = time.monotonic()
        prompts = []
        for pair in shown:
            for _ in range(GROUP):
                text = processor.apply_chat_template(list(messages()), tokenize=False, add_generation_prompt=True)
                prompts.append({"prompt": text, "multi_modal_data": {"image": pair}})
        params = [VllmParams(**shared, seed=seed, detokenize=False) for seed in range(len(prompts))]
        outputs = llm.generate(prompts, params, use_tqdm=False)
        seconds = time.monotonic() - start
        assert {len(output.outputs[0].token_ids) for output in outputs} == {TOKENS}
        if turn:
            speeds.append(len(prompts) * TOKENS / seconds)
    return {"speeds": speeds}


if __name__ == "__main__":
    sys.exit(main())
