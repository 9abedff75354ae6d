"""Our sampler against vLLM itself: `python -m benchmarks.sampler_speed [--repeats 3] [--groups 32]`.

32 groups of 8 requests, two images of 448 x 448 pixels a group, 64 tokens forced, the same sampling parameters on all
sides; no image was seen before, and rendering is inside all times. Ours is `Samplers.sample` with its Ray actor; vLLM's
is `LLM.generate`, in the caller's process and in its own ones, with our adaptations to CPUs and without. Each side is a
child process. They take turns, so that a machine that others use too is as fast for one as for the other; who has not
its turn stands still. Ends with exit code 1 where a bar is missed.
"""

import argparse
import asyncio
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median

import numpy as np
from PIL import Image

from actors.config import SamplerConfig
from actors.cpu_kernels import FASTEST
from actors.sampler.engine import Engine
from actors.sampler.sampler import Samplers, environment_of
from actors.store.store import Store
from benchmarks.ending import run_main
from rollout.types import SampleRequest, SamplingParams

GROUP, TOKENS, SIDE, PATCH = 8, 64, 448, 16
SPEED_BAR, IDLE_BAR = 0.95, 0.05
CONFIG = SamplerConfig(max_model_len=1024)
OURS = "ours"
VLLM_SIDES = {
    "vLLM in-process": (False, False),
    "vLLM in-process, adapted": (False, True),
    "vLLM with its own processes": (True, False),
    "vLLM with its own processes, adapted": (True, True),
}
"""Whether the engine has its own processes, and our adaptations to CPUs."""
_QUESTION = "compare the two images and say whether the step succeeded, and why"
_MESSAGES = ({"role": "user", "content": [{"type": "image"}, {"type": "image"}, {"type": "text", "text": _QUESTION}]},)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sampler_speed", description=__doc__)
    parser.add_argument("--repeats", type=int, default=3, help="default: 3, the median of which counts")
    parser.add_argument("--groups", type=int, default=32, help="of 8 requests; default: 32")
    parser.add_argument("--side", choices=[OURS, *VLLM_SIDES], help="be one of the children")
    parser.add_argument("--model", type=Path, help="of a child")
    chosen = parser.parse_args(arguments)
    if chosen.side == OURS:
        asyncio.run(serve_ours(chosen.model))
    elif chosen.side:
        serve_vllm(chosen.model, *VLLM_SIDES[chosen.side])
    else:
        os.environ.update(FASTEST)  # on all sides
        return report(measure(chosen.repeats, chosen.groups))
    return 0


def measure(repeats: int, groups: int) -> dict[str, list[dict[str, float]]]:
    """Return the figures of each turn of each side."""
    from tests.support.tiny_models import build_tiny_critic

    found: dict[str, list[dict[str, float]]] = {side: [] for side in (OURS, *VLLM_SIDES)}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sampler-speed-")))
        # With the patches of the published critic: 196 tokens an image.
        model = build_tiny_critic(folder / "critic", largest_side=SIDE, patch=PATCH)
        children = {side: stack.enter_context(_child(side, model)) for side in found}
        for turn in range(repeats):
            for side, child in children.items():
                found[side].append(_take_turn(child, side, turn, groups))
    return found


def report(found: dict[str, list[dict[str, float]]]) -> int:
    """Print each side's tokens/s, and the bars; return 1 where one is missed."""
    speeds = {side: [figures["speed"] for figures in turns] for side, turns in found.items()}
    for side, turns in speeds.items():
        print(f"{side:36} median {median(turns):6.0f} tokens/s   ({', '.join(f'{speed:.0f}' for speed in turns)})")
    fastest = max(VLLM_SIDES, key=lambda side: median(speeds[side]))
    share = median(speeds[OURS]) / median(speeds[fastest])
    idle = median(figures["idle"] for figures in found[OURS])
    print(f"ours is {share:.3f} of {fastest}; bar: at least {SPEED_BAR:g}")
    print(f"from the first rendered request to the last token our engine idles {idle:.1%}; bar: at most {IDLE_BAR:.0%}")
    return int(share < SPEED_BAR or idle > IDLE_BAR)


@contextmanager
def _child(side: str, model: Path) -> Iterator[subprocess.Popen[str]]:
    """Start a side, warm it up with two groups, and end it at last."""
    command = [sys.executable, "-m", "benchmarks.sampler_speed", "--side", side, "--model", str(model)]
    has_processes, _ = VLLM_SIDES.get(side, (False, False))
    environment = os.environ | environment_of(CONFIG) | {"VLLM_ENABLE_V1_MULTIPROCESSING": str(int(has_processes))}
    pipe = subprocess.PIPE
    child = subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, text=True, start_new_session=True)
    try:
        _take_turn(child, side, -1, 2)
        yield child
    finally:
        os.killpg(child.pid, signal.SIGCONT)
        child.stdin.close()
        child.wait()


def _take_turn(child: subprocess.Popen[str], side: str, turn: int, groups: int) -> dict[str, float]:
    os.killpg(child.pid, signal.SIGCONT)
    child.stdin.write(f"{turn} {groups}\n")
    child.stdin.flush()
    for line in child.stdout:
        if line.startswith("{"):
            break
    else:
        raise RuntimeError(f"{side!r} ended with exit code {child.wait()}")
    if side != OURS:  # Ray's processes take it ill
        os.killpg(child.pid, signal.SIGSTOP)
    return json.loads(line)


def _turns() -> Iterator[tuple[int, int]]:
    """Yield the number of each turn that the parent grants, and its number of groups."""
    for line in sys.stdin:
        turn, groups = map(int, line.split())
        yield turn, groups


def _pictures(turn: int, group: int) -> list[Image.Image]:
    """Return two images that no other group or turn has."""
    dice = np.random.RandomState(1000 * (turn + 1) + group)
    return [Image.fromarray(dice.randint(0, 255, (SIDE, SIDE, 3), dtype=np.uint8)) for _ in range(2)]


def _forced(params):
    params.ignore_eos = True
    return params


class TimedQueue(queue.SimpleQueue):
    """Remembers from when to when somebody waited for it (`time.monotonic`)."""

    def __init__(self):
        self.waits: list[tuple[float, float]] = []

    def get(self, block: bool = True):
        start = time.monotonic()
        item = super().get(block)
        if block:
            self.waits.append((start, time.monotonic()))
        return item


class TimedEngine(Engine):
    """Draws all its tokens, and knows when its thread had nothing to do."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self._loop._commands = self._timed = TimedQueue()

    def _params(self, params: SamplingParams, seed: int):
        return _forced(super()._params(params, seed))

    async def waits(self) -> list[tuple[float, float]]:
        """Return from when to when the thread waited since the last call."""
        found, self._timed.waits = self._timed.waits, []
        return found


async def serve_ours(model: Path) -> None:
    """Print tokens/s and the engine's idle share of each turn."""
    from actors.cluster import ray_cluster

    with tempfile.TemporaryDirectory() as folder:
        store = Store(folder)
        async with ray_cluster("", 2):
            options = {"store_root": folder, "is_published": False, "engine_class": TimedEngine}
            samplers = await Samplers.start(CONFIG, str(model), **options)
            for turn, groups in _turns():
                pairs = [tuple(map(store.put_image, _pictures(turn, group))) for group in range(groups)]
                requests = [
                    SampleRequest(_MESSAGES, pair, SamplingParams(1.0, TOKENS), seed)
                    for seed, pair in enumerate(pair for pair in pairs for _ in range(GROUP))
                ]
                await samplers.each("waits")
                start = time.monotonic()
                answers = await asyncio.gather(*map(samplers.sample, requests))
                end = time.monotonic()
                [waits] = await samplers.each("waits")
                assert {len(answer.token_ids) for answer in answers} == {TOKENS}
                # All requests are outstanding from the start, but the first has to be rendered before there is work.
                first = min(until for _, until in waits if until > start)
                idle = sum(until - since for since, until in waits if first < until < end)
                figures = {"speed": len(requests) * TOKENS / (end - start), "idle": idle / (end - first)}
                print(json.dumps(figures), flush=True)


def serve_vllm(model: Path, has_processes: bool, is_adapted: bool) -> None:
    """Print tokens/s of each turn."""
    from transformers import AutoConfig, AutoProcessor
    from vllm import LLM

    from actors.banned_tokens import BANNED_LOGIT, banned_tokens
    from actors.sampler.arguments import engine_arguments
    from actors.sampler.vllm_engine import adapt_to_cpu, sampling_params

    arguments = engine_arguments(CONFIG, str(model))
    if is_adapted and has_processes:
        arguments["worker_extension_cls"] = "actors.sampler.cpu_worker.WeightWorker"
    elif is_adapted:
        adapt_to_cpu()
    llm, processor = LLM(**arguments), AutoProcessor.from_pretrained(model)
    banned = dict.fromkeys(banned_tokens(AutoConfig.from_pretrained(model)), BANNED_LOGIT)
    for turn, groups in _turns():
        pairs = [_pictures(turn, group) for group in range(groups)]
        start = time.monotonic()
        prompts = [
            {
                "prompt": processor.apply_chat_template(list(_MESSAGES), tokenize=False, add_generation_prompt=True),
                "multi_modal_data": {"image": pair},
            }
            for pair in pairs
            for _ in range(GROUP)
        ]
        drawn = SamplingParams(1.0, TOKENS)
        params = [_forced(sampling_params(drawn, seed, banned)) for seed in range(len(prompts))]
        outputs = llm.generate(prompts, params, use_tqdm=False)
        seconds = time.monotonic() - start
        assert {len(output.outputs[0].token_ids) for output in outputs} == {TOKENS}
        print(json.dumps({"speed": len(prompts) * TOKENS / seconds}), flush=True)


if __name__ == "__main__":
    run_main(main)
