"""Sampler, policy and generator of the training scene: fakes whose parts are in processes that can be killed.

The actors import this module, not the scene: what a loop needs takes seconds to import.
"""

import asyncio
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from actors.metered.shared_calls import SharedCalls
from benchmarks.chaos.scene import is_actor
from rollout.types import EditRequest, ImageRef, Response, SampleRequest
from tests.support.fakes import FakePolicy, FakeSampler


@dataclass
class PublishedSampler:
    """A sampler in any process: its weights are a file. Where it samples, it leaves the process's number."""

    weights: Path

    async def sample(self, request: SampleRequest) -> Response:
        (self.weights.parent / "workers" / str(os.getpid())).touch()
        sampler = FakeSampler()
        sampler.version, *sampler.probabilities = json.loads(self.weights.read_text())
        await asyncio.sleep(0.02)
        return await sampler.sample(request)

    async def stats(self) -> dict[str, float]:
        return {}


def newest_worker(folder: Path) -> int | None:
    """Return the process that sampled last of those that are alive."""
    notes = sorted((folder / "workers").iterdir(), key=lambda note: note.stat().st_mtime, reverse=True)
    return next((int(note.name) for note in notes if is_actor(int(note.name))), None)


class PublishingPolicy(FakePolicy):
    """Hands its weights to samplers in other processes."""

    async def publish(self, samplers: Any) -> dict[str, float]:
        new = samplers.weights.with_suffix(".new")
        new.write_text(json.dumps([self.version, *self.probabilities()]))
        os.replace(new, samplers.weights)
        return {}


@dataclass
class PaidGenerator:
    """A generator whose every edit is paid for once, through the owner."""

    owner: SharedCalls

    async def edit(self, request: EditRequest) -> ImageRef:
        edit = {"prompt": request.prompt, "seed": request.seed}
        return (await self.owner.get(edit, edit))["image"]

    async def stats(self) -> dict[str, float]:
        return await self.owner.stats()


async def paint(payments: Path, edit: dict[str, Any]) -> dict[str, Any]:
    """Note a payment and return its image."""
    await asyncio.sleep(0.1)
    with payments.open("ab", buffering=0) as file:
        file.write(f"{edit['seed']}/{edit['prompt']}\n".encode())
    return {"image": f"image of {edit['prompt']}"}
