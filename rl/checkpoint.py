"""Checkpoints: staged, written beside the steps that follow, then committed: a kill at any instant leaves a whole one.

Written under a temporary name; then a rename, then `latest`.
"""

import asyncio
import json
import os
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractContextManager, asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from actors import ending
from actors.losses.lost import ComponentLost
from actors.policy.checkpoint_ending import one_line
from rl import kept_checkpoints
from rl.atomic_write import atomic_write
from rl.preemption import EXIT_CODE, Preempted
from rl.recipe.jobs import TrainingRecipe
from rl.whole_files import check_newest, last_step, newest_name
from rollout.roles import CheckpointError, Policy
from rollout.text.foreign import error_text


class SavingLog(Protocol):
    """What is told of checkpoints, to the log of a run of any kind (`rl.tracking.step_log`)."""

    def metrics(self, metrics: Mapping[str, float]) -> None: ...

    def warn(self, text: str) -> None: ...

    def timed(self, name: str) -> AbstractContextManager[None]: ...


class Checkpoints:
    """The checkpoints of a run, of which one at a time is written beside the steps that follow it.

    As a context of the training loop: when the loop ends, by an error too, the last one is waited for, so that what it
    holds is not lost. A run that is cancelled does not wait, and leaves the one before.
    """

    def __init__(self, recipe: TrainingRecipe, policy: Policy, log: SavingLog):
        self._recipe, self._policy, self._log = recipe, policy, log
        self._saving: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None:
            with self._log.timed("saving"):
                await self.finish()
        elif isinstance(error, Exception):
            try:
                await self.finish()
            except Exception as failure:
                self._log.warn(error_text(failure))
        elif self._saving is not None:
            self._saving.cancel()

    async def begin(self, step: int, after: Callable[[], Awaitable[object]] | None = None) -> None:
        """Stage the checkpoint of a consumed step; it is written, and committed once `after` has ended, meanwhile.

        Waits for the one before. Raises its error, or `CheckpointError` if this one cannot be staged. One whose
        `after` fails is dropped, and that error is raised in its place; it is dropped silently if that is cancelled.
        """
        await self.finish()
        if self._recipe.keep_exports:
            await export(self._recipe, self._policy, step, Path(self._recipe.run_dir) / "exports" / f"step_{step:06d}")
        save = _Save(self._recipe, step)
        written = asyncio.ensure_future(await save.stage(self._policy))
        self._log.metrics({"saving/staging_seconds": save.staged - save.began})
        self._saving = asyncio.create_task(self._complete(save, written, after))

    def check(self) -> None:
        """Raise the error of a save that has failed meanwhile: a run should not go on long without checkpoints."""
        if self._saving is not None and self._saving.done():
            saving, self._saving = self._saving, None
            saving.result()

    async def finish(self) -> None:
        """Wait until no save is under way. Raises `CheckpointError`, once, if it failed."""
        saving, self._saving = self._saving, None
        if saving is not None:
            await saving

    async def _complete(
        self, save: "_Save", written: Awaitable[None], after: Callable[[], Awaitable[object]] | None
    ) -> None:
        await save.write(written)
        if after is not None:
            awaited = asyncio.ensure_future(after())
            await asyncio.wait([awaited])  # unlike an await of itself this leaves it alone when the run is cancelled
            if awaited.cancelled() or awaited.exception() is not None:
                await save.drop()
            if awaited.cancelled():
                return
            awaited.result()
        await save.commit()
        self._log.metrics({"saving/seconds": time.time() - save.began})


class _Save:
    """One checkpoint on its way. Times are in seconds since 1970, like those of rows in metrics.jsonl."""

    def __init__(self, recipe: TrainingRecipe, step: int):
        root = folder_of(recipe)
        self._recipe, self._step = recipe, step
        self._final, self._temporary = root / f"step_{step:06d}", root / f".step_{step:06d}.writing"
        self.began = time.time()
        self.staged = 0.0

    async def stage(self, policy: Policy) -> Awaitable[None]:
        """Return what ends when the policy is written."""
        async with self._dropped_on_error():
            await asyncio.to_thread(_clear_unfinished, self._temporary.parent)
            await asyncio.to_thread(self._temporary.mkdir, parents=True)
            written = await policy.begin_save(self._temporary / "policy")
        self.staged = time.time()
        return written

    async def write(self, written: Awaitable[None]) -> None:
        """Wait until everything is in the temporary folder."""
        async with self._dropped_on_error():
            await written
            await asyncio.to_thread(self._write_state)

    async def commit(self) -> None:
        """Give the folder its name, and let `latest` name it."""
        async with self._dropped_on_error():
            await asyncio.to_thread(self._commit)

    def _commit(self) -> None:
        _clear(self._final)
        os.replace(self._temporary, self._final)
        atomic_write(self._final.parent / "latest", self._final.name)
        kept_checkpoints.clear_others(self._recipe, self._step)

    async def drop(self) -> None:
        """Remove what is written so far: where the disk is full, others need the room."""
        await asyncio.to_thread(shutil.rmtree, self._temporary, ignore_errors=True)

    def _write_state(self) -> None:
        """Write the step, and when it was saved.

        What a step rolls out depends on the recipe's seed and the step alone, so the step number is all the stream's
        state there is; groups in flight ahead of it are rolled out again.
        """
        state = {"step": self._step, "began": self.began, "staged": self.staged, "written": time.time()}
        (self._temporary / "state.json").write_text(json.dumps(state))

    @asynccontextmanager
    async def _dropped_on_error(self) -> AsyncIterator[None]:
        """Raise `CheckpointError` for what goes wrong inside; a part that is lost has a line of its own."""
        try:
            yield
        except ComponentLost:
            await self.drop()
            raise
        except Exception as error:
            await self.drop()
            raise CheckpointError(
                f"the checkpoint of step {self._step} could not be written: {_told(error)}; fix it, then rerun "
                "the same command with --resume: it goes on from the newest whole checkpoint"
            ) from error


def folder_of(recipe: TrainingRecipe) -> Path:
    return kept_checkpoints.folder_of(Path(recipe.run_dir))


async def save(recipe: TrainingRecipe, policy: Policy, step: int) -> Path:
    """Write the checkpoint of a consumed step and return its folder. Raises `CheckpointError`."""
    save = _Save(recipe, step)
    await save.write(await save.stage(policy))
    await save.commit()
    return folder_of(recipe) / f"step_{step:06d}"


async def save_once(recipe: TrainingRecipe, policy: Policy, step: int) -> None:
    """Write the checkpoint of the last consumed step, unless it is there or nothing was learned yet."""
    if step > 0 and not (folder_of(recipe) / f"step_{step:06d}" / "state.json").exists():
        await save(recipe, policy, step)


async def save_and_leave(recipe: TrainingRecipe, policy: Policy, preempted: Preempted) -> None:
    """Write the checkpoint of the last step that was learned; from then on the process has seconds to end."""
    await save_once(recipe, policy, preempted.step)
    ending.begin(EXIT_CODE)


async def resume(recipe: TrainingRecipe, policy: Policy) -> int:
    """Load the newest checkpoint into the policy and return its step; 0 when there is none.

    Raises ValueError for one that is damaged, which `rl.run_dir.resume.check_run_dir` has found before.
    """
    await asyncio.to_thread(_clear_unfinished, folder_of(recipe))
    run_dir = Path(recipe.run_dir)
    await asyncio.to_thread(check_newest, run_dir)
    if done := last_step(run_dir):
        await policy.load(folder_of(recipe) / newest_name(run_dir) / "policy")
    return done


async def export(recipe: TrainingRecipe, policy: Policy, step: int, folder: Path) -> None:
    """Export what was learned up to a step. Raises `CheckpointError` that says how to do it again.

    By then there is a checkpoint of that step, so that nothing is lost with an export.
    """
    try:
        await policy.export(folder)
    except Exception as error:
        await save_once(recipe, policy, step)
        raise CheckpointError(
            f"the export to {folder} failed: {_told(error)}; the checkpoint of step {step} is whole: fix "
            "it, then rerun the same command with --resume to export it"
        ) from error


def _told(error: Exception) -> str:
    return error_text(error) if isinstance(error, CheckpointError) else one_line(error)


def _clear_unfinished(root: Path) -> None:
    """Remove what runs that were killed had begun to save; all of it before anything of this run is there."""
    for rest in root.glob(".step_*.writing"):
        _clear(rest)


def _clear(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)
