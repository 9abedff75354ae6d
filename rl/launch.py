"""Where the actors of every job are started and stopped: training, SFT, stories, services and data builds."""

import asyncio
import re
import time
import traceback
import uuid
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from actors.cluster import StartFailed, check_cluster, cluster_room, ray_cluster, without_ray
from actors.losses.ray_parts import detection
from actors.notice import notify
from actors.resources import Role, check_room, needs_ray, num_gpus_here
from actors.shipping.shipper import shipping
from actors.store.bucket import check_bucket
from actors.store.place import folder_of, is_bucket, placed
from actors.store.server import managed_store
from rl.progress import telling_every
from rl.recipe.jobs import JobRecipe, TrainingRecipe
from rl.run_dir.resume import saved_in
from rl.writable import check_store
from rollout.concurrency import all_settled
from rollout.roles import BudgetSpent, RunStopped
from rollout.text.foreign import error_text
from rollout.text.seeds import seed_of

_KEYS = {
    "generator": "generator.pipeline, generator.model and generator.call",
    "policy": "policy.model, policy.dtype and policy.attn_implementation",
    "samplers": "policy.model and the section samplers",
    "evidence": "the functions and judges of the section evidence",
}
"""What to look at where a role did not start."""
TOLD_EVERY_S = 60.0
"""How often it is told who is still starting."""
_FRAME = re.compile(r'\s+File "')
_ERROR_LINE = re.compile(r"[\w.]*(Error|Exception|Interrupt|Exit|Unsupported|Warning)\b(: .*|$)")


@dataclass(frozen=True)
class Launch:
    """A job whose store and Ray are up: what its actors are started with."""

    store_root: str
    ledger: Path | None
    """Folder of the bills; None: none are kept."""
    run_id: str
    """Ends the names of the pools: jobs on one cluster may share a store, but never their pools."""

    logs: Path
    """Where it is kept why something did not start."""

    async def start(self, **starting: Coroutine[object, object, object] | None) -> list[Any]:
        """Start all at once, each by its section of the recipe, and return them in their order; None stays None.

        Settled: else the others would go on starting while Ray is shut down for the error of one. Who takes long is
        told. Raises `StartFailed` with the cause in one line.
        """
        clock = asyncio.get_running_loop().time
        began = clock()
        settled_after: dict[str, float] = {}

        async def one(role: str, coming: Coroutine[object, object, object] | None) -> object:
            try:
                return await self._one(role, coming)
            finally:
                if coming is not None:
                    settled_after[role] = clock() - began

        def how_far() -> str:
            late = ", ".join(role for role, coming in starting.items() if coming and role not in settled_after)
            up = ", ".join(f"{role} ({seconds:.0f} s)" for role, seconds in settled_after.items())
            return f"after {clock() - began:.0f} s still starting: {late}" + (f"; up: {up}" if up else "")

        async with telling_every(TOLD_EVERY_S, notify, how_far):
            return await all_settled(one(role, coming) for role, coming in starting.items())

    async def _one(self, role: str, coming: Coroutine[object, object, object] | None) -> object:
        try:
            return None if coming is None else await coming
        except (RunStopped, BudgetSpent):
            raise
        except Exception as error:
            await asyncio.to_thread(self._keep, role, error)
            raise StartFailed(
                f"{role} cannot start: {_cause(error)}; check {_KEYS.get(role, f'the section {role}')} "
                f"(all that is known is in {self.logs})"
            ) from error

    def _keep(self, role: str, error: Exception) -> None:
        self.logs.mkdir(parents=True, exist_ok=True)
        (self.logs / f"{role}.txt").write_text(
            "".join(traceback.format_exception(error)), encoding="utf-8", errors="backslashreplace"
        )


@asynccontextmanager
async def launch(recipe: JobRecipe, *, run_start: float | None = None) -> AsyncIterator[Launch]:
    """Open a job's store, and Ray where one of its roles needs it; stop all that was started on exit.

    What was used since `run_start` (seconds since 1970) belongs to the job and is never evicted: by default since its
    first start, by its folder, as what an earlier start wrote or used belongs to it, too.
    """
    store_root, store_folder, has_bucket = placed(recipe.store), folder_of(recipe.store), is_bucket(recipe.store)
    folder, roles, colocated = recipe.folder, recipe.roles, recipe.colocated
    if run_start is None:
        explained = folder and folder / "versions-0.json"
        run_start = explained.stat().st_mtime if explained and explained.exists() else time.time()
    has_ray = needs_ray(roles) or not recipe.store_is_shared
    logs = (folder or store_folder.parent / recipe.name) / "failed_logs"
    async with AsyncExitStack() as opened:
        if has_bucket:  # around all that writes rows: they are shipped to the last one
            await opened.enter_async_context(shipping(store_root, folder, recipe.ledger))
        saved = partial(_saved, recipe)
        cluster = ray_cluster(recipe.ray_address, recipe.num_cpus, logs=logs, saved=saved) if has_ray else without_ray()
        await opened.enter_async_context(cluster)
        if recipe.ray_address:
            notify(detection(recipe.ray_address))
            check_room(roles, **cluster_room(), colocated=colocated)
        await opened.enter_async_context(
            managed_store(
                store_folder,
                is_shared=recipe.store_is_shared,
                limit_gib=recipe.store_limit_gib,
                run_start=run_start,
            )
        )
        # By its folder where there is one: a job that was killed finds the pools that it left, and replaces them.
        run_id = f"{seed_of(folder.resolve()):08x}" if folder else uuid.uuid4().hex[:8]
        yield Launch(store_root, folder and folder / "ledger", run_id, logs)


def _saved(recipe: JobRecipe) -> str:
    """Return the end of the line for a job that lost a part of it: what is saved, and how to go on."""
    if not isinstance(recipe, TrainingRecipe):
        return ""
    return f"; {saved_in(recipe.folder)}: the same command and --resume go on"


def check_launch(recipe: JobRecipe, more: Mapping[str, Role] | None = None) -> None:
    """Raise ValueError where a job's store or Ray cannot be used, or has not what the roles, and `more`, ask it for."""
    check_store(recipe.store)
    if is_bucket(recipe.store):
        check_bucket(recipe.store)
    roles, colocated = {**recipe.roles, **(more or {})}, recipe.colocated
    if not needs_ray(roles) and recipe.store_is_shared:
        return
    if not recipe.ray_address:
        check_room(
            roles,
            cpus=recipe.num_cpus,
            gpus=num_gpus_here(),
            where="this machine",
            cpus_key="num_cpus",
            colocated=colocated,
        )
    check_cluster(recipe.ray_address)


def _cause(error: BaseException) -> str:
    """Return the last error that a traceback tells, however many processes it came through, in one line."""
    lines = error_text(error).splitlines()
    behind = lines[1 + max((n for n, line in enumerate(lines) if _FRAME.match(line)), default=-1) :]
    told = [line.strip() for line in behind if _ERROR_LINE.match(line.strip())]
    if not told and len(behind) < len(lines):  # of a class that is not called an error
        told = [line for line in behind if line[:1].strip(" ^~")][:1]
    return (told[-1] if told else f"{type(error).__name__}: {' '.join(error_text(error).split())}")[:500]
