"""An engine after each of many sleeps is like a fresh one: `python -m benchmarks.sleep_cycles [--cycles 100]`.

A sampler of the shapes world sleeps, wakes to a publish and answers, again and again, with two versions of the weights
in turn; beside it two samplers that never slept hold one version each. The same requests must get the same tokens and
log-probabilities. Prints counts; exit code 1 on any difference, and where the two versions answer alike, since then
old weights would not show.
"""

import argparse
import asyncio
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image
from safetensors.torch import save_file

from actors.cluster import ray_cluster
from actors.config import SamplerConfig
from actors.sampler.sampler import Samplers
from actors.store.store import Store
from actors.weights.publish import publish
from benchmarks.ending import run_main
from rollout.types import Response, SampleRequest, SamplingParams
from tests.support.source_tree import REPO
from tests.support.tensor_source import TensorSource

CRITIC = REPO / "recipes/shapes/weights/critic"
LOGPROB_TOLERANCE = 1e-5
Requests = Callable[[int], list[SampleRequest]]
"""What is asked in a cycle, by its number."""


@dataclass
class Found:
    """What cycles came to."""

    num_cycles: int = 0
    faults: list[str] = field(default_factory=list)


def other_weights(model: Path, folder: Path) -> Path:
    """Write a model whose weights all differ a little."""
    shutil.copytree(model, folder)
    source = TensorSource(folder)
    source.change("all")
    save_file(source.weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def requests_of(images: tuple[str, ...], number: int) -> list[SampleRequest]:
    """Return four requests about two images, whose prompt has a number."""
    parts = [{"type": "image"}, {"type": "image"}, {"type": "text", "text": f"{number}. What changed?"}]
    message = {"role": "user", "content": parts}
    return [SampleRequest((message,), images, SamplingParams(1.0, 40), seed) for seed in range(4)]


def put_images(store: Store) -> tuple[str, ...]:
    """Store two images of noise."""
    dice = np.random.RandomState(0)
    pictures = [Image.fromarray(dice.randint(0, 255, (64, 64, 3)).astype(np.uint8)) for _ in range(2)]
    return tuple(map(store.put_image, pictures))


async def ask(samplers: Samplers, requests: Sequence[SampleRequest]) -> list[Response]:
    """Ask all at once."""
    return list(await asyncio.gather(*map(samplers.sample, requests)))


async def sleep_often(
    sleeper: Samplers, fresh: Sequence[Samplers], models: Sequence[Path], requests: Requests, *, num_cycles: int
) -> Found:
    """Send the sleeper to sleep and wake it with the weights of `models` in turn; compare with `fresh`, one each."""
    sources, found = [TensorSource(model) for model in models], Found()
    for number in range(num_cycles):
        asked, turn = requests(number % 5), number % len(models)
        sources[turn].version = number
        await sleeper.each("sleep")
        await publish(sources[turn], sleeper)
        mine, expected = await ask(sleeper, asked), await ask(fresh[turn], asked)
        found.faults += [f"cycle {number}: {what}" for what in differences(mine, expected, number)]
        found.num_cycles += 1
    others = await ask(fresh[1 - turn], asked)
    if tokens(others) == tokens(mine):
        found.faults.append("the two versions answer alike")
    return found


def differences(mine: Sequence[Response], expected: Sequence[Response], version: int) -> list[str]:
    """Return what is wrong with answers that should be as expected, and of a version."""
    wrong = []
    if tokens(mine) != tokens(expected):
        wrong.append("other tokens than a fresh engine's")
    elif not all(_agree(one, other) for one, other in zip(mine, expected, strict=True)):
        wrong.append("other log-probabilities than a fresh engine's")
    if (versions := {answer.policy_version for answer in mine}) != {version}:
        wrong.append(f"drawn by versions {sorted(versions)}")
    return wrong


def tokens(answers: Sequence[Response]) -> list[list[int]]:
    return [answer.token_ids.tolist() for answer in answers]


def _agree(one: Response, other: Response) -> bool:
    return bool((np.abs(one.logprobs - other.logprobs) <= LOGPROB_TOLERANCE).all())


async def _measure(folder: Path, num_cycles: int) -> Found:
    models, store = [CRITIC, other_weights(CRITIC, folder / "other")], Store(folder / "store")
    images, config = put_images(store), SamplerConfig(max_model_len=512, kv_cache_gib=0.25)
    async with ray_cluster("", 3):
        sleeper, *fresh = await asyncio.gather(
            *[Samplers.start(config, str(model), store_root=store.root) for model in (models[0], *models)]
        )
        return await sleep_often(
            sleeper, fresh, models, lambda number: requests_of(images, number), num_cycles=num_cycles
        )


def main(arguments: list[str] | None = None) -> int:
    """Print the counts; return 1 where something is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cycles", type=int, default=100)
    chosen = parser.parse_args(arguments)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="sleeps-") as folder:
        found = asyncio.run(_measure(Path(folder), chosen.cycles))
    return report(found, time.monotonic() - began)


def report(found: Found, seconds: float) -> int:
    """Print what was found; return 1 where something is missed."""
    print(f"{found.num_cycles} sleeps and publishes in {seconds:.0f} s, the start of three engines included")
    print("\n".join(f"missed: {fault}" for fault in found.faults) or "each left an engine like a fresh one")
    return int(bool(found.faults))


if __name__ == "__main__":
    run_main(main)
