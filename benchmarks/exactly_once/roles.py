"""Stand-ins for the policy, the samplers and the workers of a run, and a tracker: they tell the trap where they are."""

import asyncio
import json
import random
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image

from actors.generator.config import GeneratorConfig
from actors.generator.generator import Generator
from actors.generator.registry import GeneratorSpec, Mode
from actors.judge.embedded import EmbeddedJudge
from actors.metered.metered_calls import MeteredCalls
from actors.metered.retry import RetryPolicy
from actors.metered.service import Pooled
from actors.metered.shared_calls import SharedCalls
from actors.metered.usage_ledger import UsageLedger
from actors.store.ledger import Ledger
from actors.store.store import Store
from benchmarks.exactly_once import service
from benchmarks.exactly_once.trap import PHASE, Trap
from rl.tracking.metrics_file import read_metrics
from rollout.single_step import SingleStep
from rollout.text.critique import format_critique
from rollout.types import (
    Batch,
    Critique,
    EditRequest,
    Group,
    GroupRequest,
    Response,
    SampleRequest,
    ScoreRequest,
)
from tests.support.fakes import PHRASINGS, FakePolicy, FakeSampler

NUM_PLACES = 6
"""Calls of the generator, and of the judge, under way at a time."""
LEARNED = "learned.json"
_PATIENCE_S = 600.0
_PAUSE_S = 0.01
trap = Trap()
"""That of this process."""


class Learner(FakePolicy):
    """A policy whose checkpoints say what its weights have learned from: the images of each update's tasks."""

    def __init__(self) -> None:
        super().__init__(lr=0.5)
        self.learned: list[list[str]] = []

    async def check_folder(self, folder: Path) -> None:
        """Every process of this run is in its folder's machine."""

    async def update(self, batch: Batch) -> dict[str, float]:
        trap.at("update")
        await asyncio.sleep(_PAUSE_S)
        trap.at("update")
        await super().update(batch)
        self.batches.clear()
        self.learned.append(sorted({str(row.images[1]) for row in batch.rows}))
        trap.at("update")
        loss = sum(float(row.advantages[0]) * float(row.rollout_logprobs[0]) for row in batch.rows)
        return {"policy/loss": loss / len(batch.rows), "policy/rows": float(len(batch.rows))}

    async def publish(self, samplers: Any) -> dict[str, float]:
        trap.at("publish")
        await asyncio.sleep(_PAUSE_S)
        trap.at("publish")
        told = await super().publish(samplers)
        trap.at("publish")
        return told

    async def begin_save(self, folder: Path) -> Awaitable[None]:
        trap.at("save")
        staged = {"version": self.version, "logits": list(self.logits), LEARNED: list(self.learned)}
        return self._write_slowly(folder, staged)

    async def _write_slowly(self, folder: Path, staged: Mapping[str, Any]) -> None:
        folder.mkdir(parents=True)
        for name, content in staged.items():
            trap.at("save")
            await asyncio.sleep(_PAUSE_S)
            (folder / name).write_text(json.dumps(content))
        trap.at("save")

    async def load(self, folder: Path) -> None:
        self.version, self.logits, self.learned = (
            json.loads((folder / name).read_text()) for name in ("version", "logits", LEARNED)
        )

    async def export(self, folder: Path) -> None:
        trap.at("end")
        await super().export(folder)
        trap.at("end")
        (folder / "config.json").write_text("{}")


class Sampler(FakeSampler):
    """Draws a phrasing by the policy's weights, and says it in words of its own: few prompts are alike."""

    async def sample(self, request: SampleRequest) -> Response:
        trap.at_call()
        dice = random.Random(request.seed)
        drawn = await super().sample(request)
        await asyncio.sleep(dice.random() * _PAUSE_S)
        words = f"{PHRASINGS[drawn.token_ids[0]]} {dice.randrange(10**9)}"
        self.requests.clear()
        text = format_critique(Critique(False, words, "looks wrong"))
        return Response((1, 2), drawn.token_ids, text, drawn.logprobs, drawn.policy_version)


@dataclass(frozen=True)
class Workers:
    """Rollout workers in the driver's process: a group is on disk before it is handed over."""

    journey: SingleStep
    ledger: Ledger

    async def roll_out(self, request: GroupRequest) -> Group:
        PHASE.set(request.phase)
        group = await self.journey.roll_out(request)
        await self.ledger.record(request, group)
        trap.at_call()
        return group


class Chart:
    """A tracker that begins anew with the kept rows when a run is resumed, as W&B's does."""

    def __init__(self, recipe: Any, first_step: int, kept: Sequence[Mapping[str, Any]]):
        folder = Path(recipe.run_dir) / "charts"
        folder.mkdir(exist_ok=True)
        number = len(list(folder.iterdir()))
        self._folder = folder / f"{number:04d}"
        self._folder.mkdir()
        for row in kept:
            self._append(dict(row))

    def log(self, row: Mapping[str, Any], step: int) -> None:
        trap.at("tracker")
        self._append({"step": step, **row})
        trap.at("tracker")

    def images(self, key: str, pictures: Iterable[tuple[Image.Image, str]], step: int) -> None:
        trap.at("tracker")

    def alert(self, title: str, text: str, step: int) -> None:
        """There is nobody to tell."""

    def close(self) -> None:
        """Each row is written as it comes."""

    def _append(self, row: Mapping[str, Any]) -> None:
        with (self._folder / "metrics.jsonl").open("ab") as file:
            file.write(json.dumps(row).encode() + b"\n")


def charted(run_dir: Path) -> list[dict[str, Any]]:
    """Return the rows of the chart that is the newest."""
    folders = sorted((run_dir / "charts").glob("*"))
    return read_metrics(folders[-1]) if folders else []


def generator(socket: str, store: str, ledger: Path) -> Generator:
    """Return the real generator's handle on the service."""

    async def edit(request: EditRequest) -> dict[str, Any]:
        return await _call(socket, {"who": "generator", "prompt": request.prompt, "seed": request.seed})

    spec = GeneratorSpec("stand-in", frozenset(Mode))
    owner = SharedCalls(partial(_paid, "generator", edit, store, ledger))
    return Generator(GeneratorConfig(num_replicas=0), store, owner, "stand-in", spec)


def judge(socket: str, store: str, ledger: Path) -> EmbeddedJudge:
    """Return the real judge's handle on the service."""

    async def score(request: ScoreRequest) -> dict[str, Any]:
        return await _call(socket, {"who": "judge", "image": request.after})

    return EmbeddedJudge("stand-in", store, SharedCalls(partial(_paid, "judge", score, store, ledger)))


async def _call(socket: str, request: Mapping[str, Any]) -> dict[str, Any]:
    asking = asyncio.ensure_future(service.ask(socket, request))
    with suppress(TimeoutError):  # it is on its way
        await asyncio.wait_for(asyncio.shield(asking), _PAUSE_S / 5)
    trap.at_call()
    answer = await asking
    trap.at_call()
    return answer


def _paid(name: str, call: Any, store: str, ledger: Path, is_continued: bool) -> MeteredCalls:
    """Return the calls of the only process that pays: unlike other local ones they go on with the run's bill."""
    retries = RetryPolicy(_PATIENCE_S, 4, first_wait_s=0.05)
    return MeteredCalls(Store(store), retries, Pooled(call, NUM_PLACES), UsageLedger(name, ledger))
