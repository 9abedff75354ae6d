"""Who waits for whom in a run's steps, as far as its recipe says it."""

from __future__ import annotations

from dataclasses import dataclass

from actors.generator.config import GeneratorConfig
from actors.generator.kind import kind_of, resolve
from actors.judge.config import JudgeConfig
from actors.judge.registry import traits_of
from rl.recipe.config import Recipe


@dataclass(frozen=True)
class Rules:
    """What bounds the samples in flight. All places are taken in the order of arrival."""

    groups_per_step: int
    n: int
    """Responses of one group."""
    max_staleness: int = 0
    """Consumed steps that the rollouts may run ahead of the policy."""
    groups_in_flight: int = 2**31
    """Groups that the rollout workers carry at a time."""
    sampler_places: int = 2**31
    """Responses that the samplers draw at a time."""
    generator_places: int = 1
    """Generators, each with one batch at a time."""
    batch_size: int = 1
    """Most edits of one group that share a batch. A batch takes the times of its images added up."""
    judge_places: int = 2**31
    """Calls of the judge in flight."""
    judge_calls: int = 1
    """Calls for one edit, made at once."""
    is_serial: bool = False
    """As the released system: no edit begins before the last response of its step is there."""


def rules_of(recipe: Recipe) -> Rules:
    """Return what bounds a recipe's run. Only the judge's own calls count, not further evidence."""
    workers, samplers = recipe.workers, recipe.samplers
    generator = resolve(recipe.generator)
    has_batches = kind_of(generator).has_pipeline
    return Rules(
        groups_per_step=recipe.rollout.groups_per_step,
        n=recipe.rollout.n,
        max_staleness=recipe.max_staleness,
        groups_in_flight=workers.num_workers * workers.groups_per_worker,
        sampler_places=samplers.num_samplers * samplers.max_num_seqs,
        generator_places=generator.most_replicas if has_batches else _calls_at_once(generator),
        batch_size=max(1, generator.max_batch_size) if has_batches else 1,
        judge_places=_judge_places(recipe.judge),
        judge_calls=_judge_calls(recipe.judge),
    )


def _calls_at_once(generator: GeneratorConfig) -> int:
    """Return the edits that endpoints, servers of the run's own or replicas of a user's class take at a time."""
    is_elsewhere = kind_of(generator).has_prices and not generator.server.command
    num_places = max(1, len(generator.endpoints)) if is_elsewhere else generator.most_replicas
    return num_places * generator.max_concurrency


def _judge_places(judge: JudgeConfig) -> int:
    if judge.member_configs:
        return sum(map(_judge_places, judge.member_configs))
    servers = len(judge.endpoints) if judge.endpoints else max(1, judge.num_replicas)
    return servers * judge.max_concurrency


def _judge_calls(judge: JudgeConfig) -> int:
    """Return the calls that one look takes: the rubric asks for semantics and quality apart."""
    if judge.member_configs:
        return sum(map(_judge_calls, judge.member_configs))
    is_pair = traits_of(judge.kind).is_asked and judge.rubric == "scores"
    return judge.repeats * (2 if is_pair else 1)
