"""Where the actors of every job are started and stopped: training, SFT, stories, services and data builds."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from actors.cluster import ray_cluster, without_ray
from actors.config import EvidenceConfig, GeneratorConfig, JudgeConfig
from actors.generator.generator import Generator
from actors.judge.judge import start_judge
from actors.observer import start_observers
from actors.resources import needs_ray
from actors.store.server import managed_store
from rl.recipe.config import JobRecipe
from rl.run_dir.start import placed_generator
from rollout.concurrency import all_settled
from rollout.roles import EvidenceProvider, Judge
from rollout.seeds import seed_of


@dataclass(frozen=True)
class Launch:
    """A job whose store and Ray are up: what its actors are started with."""

    store_root: str
    ledger: Path | None
    """Folder of the bills; None: none are kept."""
    run_id: str
    """Ends the names of the pools: jobs on one cluster may share a store, but never their pools."""

    async def start(self, *starting: Coroutine[Any, Any, Any]) -> list[Any]:
        """Start all at once and return them in their order.

        Settled: else the others would go on starting while Ray is shut down for the error of one.
        """
        return await all_settled(starting)

    async def generator(self, config: GeneratorConfig, name: str = "generator") -> Generator:
        return await Generator.start(placed_generator(config), self.store_root, f"{name}-{self.run_id}", self.ledger)

    async def judge(self, config: JudgeConfig) -> Judge:
        return await start_judge(config, self.store_root, f"judge-{self.run_id}", self.ledger)

    async def observers(self, evidence: Mapping[str, EvidenceConfig]) -> dict[str, EvidenceProvider]:
        return await start_observers(evidence, self.store_root, f"evidence-{self.run_id}", self.ledger)


@asynccontextmanager
async def launch(recipe: JobRecipe, *, run_start: float | None = None) -> AsyncIterator[Launch]:
    """Open a job's store, and Ray where one of its roles needs it; stop all that was started on exit.

    What was used since `run_start` (seconds since 1970; by default now) belongs to the job and is never evicted.
    """
    store_root, folder = str(Path(recipe.store).resolve()), recipe.folder
    has_ray = needs_ray(recipe.roles) or not recipe.store_is_shared
    async with AsyncExitStack() as opened:
        await opened.enter_async_context(ray_cluster(recipe.ray_address, recipe.num_cpus) if has_ray else without_ray())
        await opened.enter_async_context(
            managed_store(
                store_root,
                is_shared=recipe.store_is_shared,
                limit_gib=recipe.store_limit_gib,
                run_start=time.time() if run_start is None else run_start,
            )
        )
        # By its folder where there is one: a job that was killed finds the pools that it left, and replaces them.
        run_id = f"{seed_of(folder.resolve()):08x}" if folder else uuid.uuid4().hex[:8]
        yield Launch(store_root, folder and folder / "ledger", run_id)
