"""The actors of a run, started together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from actors.adapters import with_room
from actors.config import EvidenceConfig
from actors.generator.generator import Generator
from actors.judge.judge import start_judge
from actors.judge.question import Asker
from actors.losses.silent_actors import silent_actors_killed
from actors.metered import shared_calls
from actors.metered.silent_services import silence_told
from actors.observer import start_observers
from actors.rollout_worker import RolloutWorkers
from actors.run_context import RunContext
from actors.sampler.sampler import Samplers
from actors.shared_devices import Devices, reserve_devices
from actors.store.ledger import Ledger
from actors.store.ledger_writer import RemoteAppender, start_ledger
from actors.store.store import Store
from rl.launch import Launch, launch
from rl.official.during import Part
from rl.official.judging import start_asker
from rl.plan.judges import judges_asked
from rl.prepare import PreparedRun
from rl.recipe.config import Recipe
from rollout.single_step import Baseline, Regenerate, SingleStep
from rollout.types import SamplingParams

if TYPE_CHECKING:
    from actors.policy.policy import Policy


@dataclass(frozen=True)
class Stack:
    """Every actor of a run, started."""

    policy: Policy
    samplers: Samplers
    journey: SingleStep
    workers: RolloutWorkers
    ledger: Ledger
    benchmark_judge: Asker | None = None
    """Where a public benchmark is run beside training."""
    has_counts_in_workers: bool = False
    """A service is made in each worker (num_replicas: 0), and counted there."""

    def watched(self) -> dict[str, Any]:
        """Return the actors that are killed where they no longer answer: others do their work, or Ray restarts them."""
        appender = self.ledger.appender
        writer = {"the ledger's writer": appender.actor} if isinstance(appender, RemoteAppender) else {}
        return self.samplers.actors() | self.workers.actors() | shared_calls.owners() | writer

    def asking(self) -> dict[str, Any]:
        """Return the actors that make paid calls."""
        return shared_calls.owners() | (self.workers.actors() if self.has_counts_in_workers else {})

    async def stats(self) -> dict[str, float]:
        """Return what the services have counted since the start, keyed `service/name`."""
        counts = await self.workers.stats() if self.has_counts_in_workers else self.workers.own_stats()
        # An owner counts for all workers: added up over them, its counts would be there once for each.
        return counts | await self.samplers.stats() | await self.journey.stats()


@asynccontextmanager
async def start_stack(plan: PreparedRun) -> AsyncIterator[Stack]:
    """Start every actor of a recipe, all at once; stop them on exit."""
    recipe, ledger_folder = plan.recipe, Path(plan.recipe.run_dir) / "ledger"
    has_counts_in_workers = has_local_service(recipe, plan.evidence)
    is_colocated = recipe.is_colocated
    async with launch(recipe) as job:
        # First of all: ranks have to be together, and the others find room around them.
        [devices] = await job.start(policy=reserve_devices(recipe.policy, is_shared=is_colocated))
        policy_is_up = asyncio.Event()
        policy, samplers, generator, judge, observers, benchmark_judge = await job.start(
            policy=_start_policy(plan, job, devices, policy_is_up, is_colocated=is_colocated),
            samplers=_start_samplers(plan, job, policy_is_up, shared=devices if is_colocated else None),
            generator=Generator.start(plan.generator, job.store_root, f"generator-{job.run_id}", job.ledger),
            judge=start_judge(recipe.judge, job.store_root, f"judge-{job.run_id}", job.ledger),
            evidence=start_observers(plan.evidence, job.store_root, f"evidence-{job.run_id}", job.ledger)
            if plan.evidence
            else None,
            benchmark=_start_benchmark_judge(plan.benchmark, job) if plan.benchmark else None,
        )
        journey = SingleStep(
            sampler=samplers,
            generator=generator,
            judge=judge,
            reward=plan.reward,
            template=plan.template,
            params=SamplingParams(recipe.rollout.temperature, recipe.rollout.max_tokens),
            regenerate=Regenerate(recipe.rollout.regenerate),
            baseline=Baseline(recipe.rollout.baseline),
            observers=observers or {},
        )
        if is_colocated:
            policy.take_turns_with(samplers)
        ledger = start_ledger(ledger_folder, store=Store(job.store_root))
        workers = await RolloutWorkers.start(recipe.workers, journey, ledger)
        stack = Stack(policy, samplers, journey, workers, ledger, benchmark_judge, has_counts_in_workers)
        async with silent_actors_killed(stack.watched), silence_told(stack.asking):
            yield stack


async def _start_policy(
    plan: PreparedRun, job: Launch, devices: Devices, is_done: asyncio.Event, *, is_colocated: bool
) -> Policy:
    """Start the policy where its devices are, and say so when it `is_done`, be it in vain."""
    # verl takes seconds to import: only where a policy starts
    from actors.policy.colocated import ColocatedPolicy
    from actors.policy.policy import Policy

    recipe = plan.recipe
    config = replace(recipe.policy, model=plan.model)
    if is_colocated and config.gpus_per_rank:
        config = replace(config, offload=True)
    try:
        return await (ColocatedPolicy if is_colocated else Policy).start(
            config,
            recipe.algorithm.loss,
            store_root=job.store_root,
            total_steps=recipe.num_steps,
            temperature=recipe.rollout.temperature,
            max_pixels=recipe.max_pixels,
            devices=devices,
        )
    finally:
        is_done.set()


async def _start_samplers(
    plan: PreparedRun, job: Launch, policy_is_up: asyncio.Event, *, shared: Devices | None
) -> Samplers:
    """Start the samplers; on GPUs `shared` with the policy once it left them: vLLM counts the memory that is free."""
    recipe = plan.recipe
    config = with_room(recipe.policy, recipe.samplers)
    if shared and config.gpus_per_sampler:
        config = replace(config, enable_sleep_mode=True)
        await policy_is_up.wait()
    return await Samplers.start(
        config,
        plan.model,
        store_root=job.store_root,
        max_pixels=recipe.max_pixels,
        devices=shared,
    )


async def _start_benchmark_judge(part: Part, job: Launch) -> Asker:
    """Start the judge of a benchmark beside training, with a bill of its own."""
    context = RunContext(job.store_root, f"benchmark-{job.run_id}", job.ledger, "benchmark")
    return await start_asker(part.config.judge, context)


def has_local_service(recipe: Recipe, evidence: Mapping[str, EvidenceConfig]) -> bool:
    """Return whether a service runs inside its callers, without one process that owns it for the run."""
    asked = [judge.num_replicas for _, judge in judges_asked(replace(recipe, evidence=dict(evidence)))]
    functions = [config.num_replicas for config in evidence.values() if config.judge is None]
    return 0 in [recipe.generator.num_replicas, *asked, *functions]
