"""Times that `python -m benchmarks.gpu` measured on one GPU, in place of documented defaults."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rl.plan.adapters import published_values
from rl.plan.cards import Card, card_of
from rl.plan.default_times import DefaultTimes
from rl.plan.engine import engine_times
from rl.plan.models import model_size
from rl.plan.stage_times import Spread, Work
from rl.plan.stages import Stages
from rl.plan.workload import Workload
from rl.recipe.config import Recipe
from rollout.text.limits import is_own

_GROUP, _PROMPT, _RESPONSE, _PIXELS = 8, 2120, 400, 1024 * 1024
"""Rows of a group, tokens and pixels that benchmarks.gpu measures with, unless its file says otherwise."""
Json = Mapping[str, Any]


@dataclass(frozen=True)
class GpuFigures:
    """What files of benchmarks.gpu say; None: nothing of it."""

    row_tokens_per_s: float | None = None
    """Of one rank's update: tokens of rows, prompts of a group counted once a row."""
    row_critic: str = ""
    sampled_tokens_per_s: float | None = None
    sampled_groups: int = 16
    sampled_critic: str = ""
    images_per_s: float | None = None
    publish_s_per_gb: float | None = None
    cards: Mapping[str, Card] = field(default_factory=dict)
    """What a stage was measured on, where that is known."""
    files: Mapping[str, str] = field(default_factory=dict)
    """Where a stage's figures are from."""

    def card_of_stage(self, stage: str, card: Card | None) -> Card | None:
        """Return the card that a stage was measured on; else the one that is planned for."""
        return self.cards.get(stage, card)


def read_gpu_figures(file: Path, known: GpuFigures | None = None) -> GpuFigures:
    """Add what a JSON file of benchmarks.gpu says. Raises ValueError for a file that is none of its parts'."""
    try:
        said = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"--times {file}: it is not JSON ({error})") from None
    known = known or GpuFigures()
    for stage, changes in _found(said if isinstance(said, dict) else {}):
        known = replace(known, **changes, files={**known.files, stage: str(file)})
        with suppress(ValueError):  # a card that is not known is taken for the one that is planned for
            known = replace(known, cards={**known.cards, stage: card_of(str(said.get("device", "")))})
    if str(file) not in known.files.values():
        raise ValueError(
            f"--times {file}: it has no figures of benchmarks.gpu; expected a run's folder, or the JSON of "
            "`python -m benchmarks.gpu --part update`, sampler, generator or weights"
        )
    return known


def _found(said: Json) -> Iterator[tuple[str, dict[str, Any]]]:
    ways = {name: figures for name, figures in said.items() if isinstance(figures, dict)}
    if speed := _best(ways, "row_tokens_per_second"):
        yield "policy", {"row_tokens_per_s": speed, "row_critic": str(said.get("critic", ""))}
    if (speed := _best(ways, "tokens_per_second")) is not None:
        changes: dict[str, object] = {"sampled_tokens_per_s": speed, "sampled_critic": str(said.get("critic", ""))}
        yield "samplers", changes | {"sampled_groups": int(said.get("groups", 16))}
    if (speed := _best(ways, "images_per_second", first="eager")) is not None:
        scale = float(said.get("side", 1024)) ** 2 / _PIXELS
        yield "generator", {"images_per_s": speed * scale}
    if (seconds := ways.get("cuda_ipc", {}).get("seconds_per_gb")) is not None:
        yield "publish", {"publish_s_per_gb": float(seconds)}


def _best(ways: Json, name: str, first: str = "") -> float | None:
    """Return a figure of the way that a recipe has unless it says otherwise: `first`, or the first that has it."""
    names = [way for way in (first, *ways) if name in ways.get(way, {})]
    return float(ways[names[0]][name]) if names else None


@dataclass(frozen=True)
class GpuTimes:
    """Default times, with what was measured on a card of this kind in their place."""

    defaults: DefaultTimes
    figures: GpuFigures

    def workload(self, recipe: Recipe) -> Workload:
        """Return what a step is made of."""
        return self.defaults.step

    def stages(self, recipe: Recipe) -> Stages:
        """Return the times of a recipe's stages."""
        base, found = self.defaults.stages(recipe), self.figures
        spreads, work, sources = dict(base.spreads), self.defaults.step, dict(base.sources)
        if found.row_tokens_per_s and recipe.policy.gpus_per_rank:
            spreads[Work.UPDATE] = Spread(base.spreads[Work.UPDATE].mean * self._slower_update(recipe, work))
        if found.sampled_tokens_per_s and recipe.samplers.gpus_per_sampler:
            spread = base.spreads[Work.SAMPLE]
            spreads[Work.SAMPLE] = Spread.of_mean(spread.mean * self._slower_sampling(recipe), spread.sigma)
        files, is_users = dict(found.files), is_own(recipe.generator.kind)
        if is_users:  # a pipeline was measured
            files.pop("generator", None)
        if found.images_per_s and recipe.generator.gpus_of_each and not is_users:
            measured_on = found.card_of_stage("generator", self.defaults.card)
            faster = self.defaults.card.tflops / measured_on.tflops if self.defaults.card and measured_on else 1.0
            spreads[Work.GENERATE] = Spread(work.image_pixels / _PIXELS / found.images_per_s / faster)
        if found.publish_s_per_gb and recipe.policy.gpus_per_rank:
            size = 4 if recipe.samplers.dtype == "float32" else 2
            sent = published_values(recipe, self.defaults.model)
            spreads[Work.PUBLISH] = Spread(sent * size / 1e9 * found.publish_s_per_gb)
        sources |= files
        return replace(base, spreads=spreads, sources=sources)

    def _slower_update(self, recipe: Recipe, work: Workload) -> float:
        """Return how much longer the measured update took than the default says, on one rank."""
        assert self.figures.row_tokens_per_s is not None
        model = model_size(self.figures.row_critic) or self.defaults.model
        groups = 4
        measured = Workload(groups, _GROUP, _PROMPT, _RESPONSE, _PIXELS, 1.0)
        seconds = groups * _GROUP * (_PROMPT + _RESPONSE) / self.figures.row_tokens_per_s
        one_rank = replace(recipe, policy=replace(recipe.policy, num_ranks=1, shard_ranks=0, sequence_parallel=1))
        card = self.figures.card_of_stage("policy", self.defaults.card)
        there = replace(self.defaults, model=model, step=measured, card=card)
        default = there.stages(one_rank).spreads[Work.UPDATE].mean
        return seconds / default

    def _slower_sampling(self, recipe: Recipe) -> float:
        """Return how much longer the measured responses took than the default says, on one engine."""
        assert self.figures.sampled_tokens_per_s is not None
        model = model_size(self.figures.sampled_critic) or self.defaults.model
        groups = self.figures.sampled_groups
        measured = Workload(groups, _GROUP, _PROMPT, _RESPONSE, _PIXELS, 1.0)
        seconds = measured.response_sum / self.figures.sampled_tokens_per_s  # all lengths are equal there
        engine = replace(recipe.samplers, num_samplers=1, max_num_seqs=max(recipe.samplers.max_num_seqs, 128))
        default = engine_times(engine, model, self.figures.card_of_stage("samplers", self.defaults.card), measured)
        return seconds / default.response_s(_RESPONSE)
