"""A recipe's reward, tried before anything starts, and the evidence that it needs.

Every term is tried on the built-in samples: what raises or gives no number is said. What the samples lack is no fault
of a function. One that fails on a sample is asked again with a task of the run's own data in its place: it may read
that data's images, or know its instructions alone. Evidence that only a function of the user's could gather is not made
up: a term that declares to need it is tried on samples without an image.

Of a recipe's evidence no more is gathered than the reward's terms need, as it costs time and money.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice

from actors.config import EvidenceConfig
from actors.observer import check_evidence
from actors.user_functions.process import RewardProcess
from actors.user_functions.runner import RewardRunner
from rewards.compose import RewardError, TermConfig, WeightedSum, import_function
from rewards.functions.import_path import FunctionError
from rewards.functions.sample_cases import LACKING, Case, PartialEvidence, sample_cases
from rewards.signature import RewardSignature, signature_of
from rl.recipe.config import Recipe
from rollout.concurrency import all_of
from rollout.text.limits import nearest
from rollout.types import Evidence, Scores, Task

_SEEN_BY_A_JUDGE = Scores(7.0, 8.0, "as a second judge might say")
_NUM_TASKS = 100
"""Of the run's own, to look for one that suits."""


@dataclass(frozen=True)
class _Started:
    """A term's function where it runs: a built-in one in this process, a user's in a process of its own."""

    term: TermConfig
    traits: RewardSignature
    ask: Callable[[Evidence], Awaitable[float]]


def check_reward(recipe: Recipe, reward: RewardRunner, tasks: Sequence[Task]) -> dict[str, EvidenceConfig]:
    """Return what a reward needs beside the judge's scores. Blocks; raises ValueError for what is amiss."""
    if not recipe.reward.probe:
        return needed_evidence(recipe, reward.check())
    return asyncio.run(try_reward(reward.terms, partial(needed_evidence, recipe), tasks))


def needed_evidence(
    recipe: Recipe,
    traits: Mapping[str, RewardSignature],
    check: Callable[[str, EvidenceConfig], None] = check_evidence,
) -> dict[str, EvidenceConfig]:
    """Return what has to be gathered, checked. Raises ValueError for a need that the recipe does not meet.

    `traits` are those of the reward's functions, by the terms' names.
    """
    needed: dict[str, EvidenceConfig] = {}
    for term in recipe.reward.terms:
        for name in traits[term.key].needs:
            if name not in recipe.evidence:
                raise ValueError(
                    f"reward term {term.fn} needs the evidence {name!r}, which the recipe does not gather"
                    f"{nearest(name, recipe.evidence)}; add `evidence: {{{name}: {{fn: ...}}}}`"
                )
            needed[name] = recipe.evidence[name]
    for name, config in needed.items():
        check(name, config)
    return needed


def idle_evidence(recipe: Recipe, needed: Mapping[str, EvidenceConfig]) -> str:
    """Return the evidence that the recipe configures and no term needs, as a sentence; empty if there is none."""
    idle = sorted(set(recipe.evidence) - set(needed))
    if not idle:
        return ""
    return (
        f"evidence {', '.join(idle)} is not gathered: no term of the reward needs it "
        f"(declare it on the function: @needs({idle[0]!r}))"
    )


async def try_reward(
    terms: Sequence[TermConfig],
    needed: Callable[[Mapping[str, RewardSignature]], dict[str, EvidenceConfig]],
    tasks: Sequence[Task],
) -> dict[str, EvidenceConfig]:
    """Import every term's function and try it on samples; return the evidence that they need (`needed`).

    Raises ValueError for a function that is not there or can be no reward, and with a line for each that fails on a
    sample: its name, the sample and the error.
    """
    processes = {term.key: RewardProcess(term) for term in terms if not term.is_builtin}
    try:
        started = await all_of(_start(term, processes.get(term.key)) for term in terms)
        evidence = needed({one.term.key: one.traits for one in started})
        wrong = await asyncio.gather(*(_why_unfit(one, evidence, tasks) for one in started))
    finally:
        for process in processes.values():
            process.close()
    if lines := [line for line in wrong if line]:
        raise ValueError("\n".join(lines))
    return evidence


async def _start(term: TermConfig, process: RewardProcess | None) -> _Started:
    if process is not None:
        return _Started(term, await process.start(), process)
    try:
        traits, function = signature_of(import_function(term.fn)), WeightedSum([term])
    except FunctionError as error:
        raise RewardError("import", term.fn, str(error)) from error

    async def ask(evidence: Evidence) -> float:
        return function(evidence).terms[term.key]

    return _Started(term, traits, ask)


async def _why_unfit(one: _Started, evidence: Mapping[str, EvidenceConfig], tasks: Sequence[Task]) -> str:
    """Return a line about the first sample that a function fails on; empty where there is none."""
    for case in _cases(evidence, one.traits):
        if (error := await _why_failed(one, case.evidence, tasks)) is not None:
            return (
                f"reward term {one.term.fn} fails on the built-in sample {case.name!r}: {error.detail} "
                "(`interleave reward test` shows all samples; reward.probe=false starts without trying them)"
            )
    return ""


def _cases(evidence: Mapping[str, EvidenceConfig], traits: RewardSignature) -> list[Case]:
    """Return the samples that a run with this evidence could bring, as far as they can be made up."""
    seen = {name: _SEEN_BY_A_JUDGE for name, config in evidence.items() if config.judge is not None}
    unseen = tuple(evidence.keys() - seen.keys())
    cases = sample_cases(PartialEvidence(seen, unseen) if unseen else seen)
    if not evidence:
        return cases
    has_all = set(unseen).isdisjoint(traits.needs)
    return [case for case in cases if case.evidence.image is None or (has_all and case.evidence.extra)]


async def _why_failed(one: _Started, evidence: Evidence, tasks: Sequence[Task]) -> RewardError | None:
    """Return why a function gives no number for a sample, as it is and with a task of the run's own."""
    try:
        await one.ask(evidence)
        return None
    except RewardError as error:
        if error.kind in ("hung", "died"):
            return error
        failed = error
    if LACKING in failed.detail:
        return None
    suits = (task for task in islice(tasks, _NUM_TASKS) if task.is_success == evidence.task.is_success)
    if (task := next(suits, None)) is None:
        return failed
    try:
        await one.ask(replace(evidence, task=task, image=evidence.image and task.after))
    except RewardError as error:
        return None if LACKING in error.detail else error
    return None
