"""The policy as the training loop sees it: one object, whose ranks run elsewhere."""

from __future__ import annotations

import asyncio
import json
import math
import shutil
import threading
import uuid
from collections.abc import Awaitable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Self, TypeVar

import ray
from ray.exceptions import RayError, RayTaskError
from verl.single_controller.ray import RayWorkerGroup

from actors.config import LossConfig, PolicyConfig
from actors.image_limit import MODEL_PIXELS
from actors.policy.checkpoint_ending import one_line, until_written
from actors.policy.export import check_room
from actors.policy.groups import deal_to_ranks, in_order, pick
from actors.policy.hung_ranks import HungRanks
from actors.policy.image_tensors import ImagePreparer, Images
from actors.policy.not_finite import culprit
from actors.policy.rows import Share, num_tokens
from actors.policy.setup import PolicySetup
from actors.shared_devices import Devices
from actors.store.place import placed
from actors.weights.publish import WeightReceivers, publish
from actors.weights.wire import BaseTensor, Manifest, Order, Shapes
from rewards.functions.import_path import anchored
from rollout.roles import CheckpointError, Sampler
from rollout.types import Batch, SftExample, TrainingRow

_STATE = "policy.json"
_Row = TypeVar("_Row", TrainingRow, SftExample)


class Policy:
    """Satisfies `rollout.roles.Policy`. One call at a time: the ranks answer in order."""

    version: int

    def __init__(self, group: RayWorkerGroup, images: ImagePreparer, setup: PolicySetup, temperature: float):
        self._group = group
        self._hung = HungRanks(group.workers)
        self._images = images
        self._setup = setup
        self._temperature = temperature
        # Two calls that reach the ranks in different orders would wait forever for each other's collectives.
        self._lock = threading.Lock()
        self.version = 0

    @classmethod
    async def start(
        cls,
        config: PolicyConfig,
        loss: LossConfig,
        *,
        store_root: Path | str,
        total_steps: int,
        temperature: float,
        max_pixels: int = MODEL_PIXELS,
        devices: Devices | None = None,
    ) -> Self:
        """Start the ranks and load the model; Ray must be initialized.

        `total_steps` counts updates, for the learning-rate schedule; `temperature` is the default of `logprobs`;
        images are scaled down to `max_pixels`; `devices` are those that are reserved already.
        """
        # It takes seconds. Not in the thread: of two that import fastapi at once, one may find half of it.
        from actors.policy.ranks import start_ranks

        root = placed(store_root)
        loss = replace(loss, policy_loss=anchored(loss.policy_loss, Path.cwd()))  # ranks run in another folder
        setup = PolicySetup(config, loss, root, total_steps, max_pixels)
        group = await asyncio.to_thread(start_ranks, setup, devices)
        nodes = await asyncio.to_thread(group.ray_node)
        images = ImagePreparer.start(config.model, root, max_pixels, dtype=config.dtype, nodes=nodes)
        return cls(group, images, setup, temperature)

    def prepare(self, images: Images) -> None:
        """Begin to decode and preprocess images that rows or examples of a coming call will have. Thread-safe."""
        self._images.prepare(images)

    async def update(self, batch: Batch) -> dict[str, float]:
        """Do the optimizer steps for one batch and return metrics keyed `policy/...`.

        A gradient that is not finite is left out, and `policy/not_finite_row` is the row that brought it; -1: none does
        by itself.
        """
        if not batch.rows:
            raise ValueError("an update needs at least one row")
        work = await asyncio.to_thread(self._work, batch.rows)
        metrics: dict[str, float] = (await self._call("update", work, [batch.temperature] * len(work)))[0]
        self.version += 1
        metrics["policy/tokens"] = float(batch.num_tokens)
        if not math.isfinite(metrics["policy/grad_norm"]):  # verl did not learn from it
            row = await culprit(lambda rows: self._gradient_norm(rows, batch.temperature), batch.rows)
            metrics["policy/not_finite_row"] = -1.0 if row is None else float(row)
        return metrics

    async def _gradient_norm(self, rows: Sequence[TrainingRow], temperature: float) -> float:
        [shares] = self._shares(rows, deal_to_ranks(self._setup.config, rows))
        return float((await self._call("gradient_norm", shares, [temperature] * len(shares)))[0])

    async def fit(self, examples: Sequence[SftExample]) -> dict[str, float]:
        """Do one optimizer step of SFT: the loss is the mean over the target tokens of all examples."""
        if not any(example.num_target_tokens for example in examples):
            raise ValueError("SFT needs at least one example with an answer")
        self._check_length(examples)
        [work] = self._shares(examples, deal_to_ranks(self._setup.config, examples))
        metrics: dict[str, float] = (await self._call("fit", work))[0]
        self.version += 1
        metrics["sft/tokens"] = float(sum(example.num_target_tokens for example in examples))
        return metrics

    async def losses(self, examples: Sequence[SftExample]) -> list[float]:
        """Return, for each example, the negative log-likelihood of its answers (nats, summed over tokens)."""
        if not examples:
            return []
        self._check_length(examples)
        [dealt] = deal_to_ranks(self._setup.config, examples)
        # Ranks make the images: there may be more than fit in shared memory.
        shares = [Share(tuple(pick(examples, share)), len(examples)) for share in dealt]
        return in_order(dealt, await self._call("losses", shares), len(examples))

    async def logprobs(self, rows: Sequence[TrainingRow], temperature: float | None = None) -> list[list[float]]:
        """Return, for each row, one log-probability per response token under the current weights."""
        if not rows:
            return []
        self._check(rows)
        [dealt] = deal_to_ranks(self._setup.config, rows)
        [shares] = self._shares(rows, [dealt])
        temperatures = [self._temperature if temperature is None else temperature] * len(shares)
        return in_order(dealt, await self._call("logprobs", shares, temperatures), len(rows))

    async def publish(self, samplers: Sampler) -> dict[str, float]:
        """Send the weights to the samplers and verify them. Raises `PublishError`; returns `publish/...` metrics."""
        assert isinstance(samplers, WeightReceivers), "weights can only be handed to engines"
        return await publish(self, samplers)

    async def tensor_shapes(self, *, as_adapters: bool = False) -> Shapes:
        """Return the shapes of the tensors that are published (`WeightSource.tensor_shapes`)."""
        shapes: Shapes = (await self._call("tensor_shapes", as_adapters))[0]
        return shapes

    async def base_tensors(self, order: Order) -> Mapping[str, BaseTensor]:
        """Describe the tensors of the model before training (`WeightSource.base_tensors`); none without LoRA."""
        return (await self._call("base_tensors", order))[0] if self._setup.config.lora.rank else {}

    async def push_weights(self, receivers: Sequence[object], order: Order) -> Manifest:
        """Send what is ordered to sampler actors and return what was sent."""
        manifest: Manifest = (await self._call("push_weights", list(receivers), order))[0]
        return manifest

    async def check_folder(self, folder: Path) -> None:
        """Raise `CheckpointError` if what is saved in a run's folder would be lost, or could not be written."""
        mark = Path(folder).resolve() / f".seen-{uuid.uuid4().hex}"
        trial = mark.with_name(".export-trial")
        try:
            mark.touch()
            seen = await self._call("file_exists", str(mark))
            blind = ", ".join(str(rank) for rank, sees in enumerate(seen) if not sees)
            if blind:
                raise CheckpointError(
                    f"{folder}: rank {blind} of the policy does not see it; set run_dir to a folder on a file system "
                    "that the driver's node and those of all ranks share"
                )
            needed = (await self._call("try_export", str(trial)))[0]
        except (OSError, RayTaskError) as error:
            model = self._setup.config.model
            raise CheckpointError(
                f"{folder}: no export of {model} could be written at the end: {one_line(error)}"
            ) from error
        finally:
            mark.unlink(missing_ok=True)
            shutil.rmtree(trial, ignore_errors=True)
        check_room(folder, needed)

    async def save(self, folder: Path) -> None:
        """Write a checkpoint: every rank's shards (with LoRA only the adapters), optimizer, schedule, random state."""
        await (await self.begin_save(folder))

    async def begin_save(self, folder: Path) -> Awaitable[None]:
        """Copy a checkpoint to the ranks' host memory; what is returned, and to be awaited, ends when it is written.

        The ranks write it beside other calls, one checkpoint at a time. Raises `CheckpointError` then if one cannot.
        """
        state = {"version": self.version, "num_ranks": self._setup.config.num_ranks, "base": await self._base()}
        await self._call("stage_checkpoint", str(Path(folder).resolve()), self.version)
        return self._written(Path(folder), state)

    async def _written(self, folder: Path, state: Mapping[str, object]) -> None:
        async with self._hung.ended_in("saving"):
            try:
                await until_written(folder, [rank.ended_writing.remote for rank in self._group.workers])
            except RayError as error:
                raise CheckpointError(f"a rank of the policy was lost while it wrote: {one_line(error)}") from error
        (folder / _STATE).write_text(json.dumps(state))

    async def load(self, folder: Path) -> None:
        """Resume from a checkpoint. Raises ValueError if another number of ranks wrote it, or it has other adapters.

        Raises `CheckpointError` for files that are broken, or contain anything but tensors and plain values.
        """
        state = json.loads((Path(folder) / _STATE).read_text())
        num_ranks = self._setup.config.num_ranks
        if state["num_ranks"] != num_ranks:
            raise ValueError(f"{folder} was saved by {state['num_ranks']} ranks; set policy.num_ranks from {num_ranks}")
        if state.get("base", "") != await self._base():
            raise ValueError(
                f"{folder} was saved with other adapters, or on another model; set policy.lora and policy.model from "
                f"{self._setup.config.lora} and {self._setup.config.model}, whose files have to be the same"
            )
        try:
            await self._call("load_checkpoint", str(Path(folder).resolve()))
        except RayTaskError as error:
            raise CheckpointError(f"{folder} cannot be loaded: {one_line(error)}") from error
        self.version = state["version"]

    async def _base(self) -> str:
        """Return a digest of the model that adapters belong to and a checkpoint does not contain; '' without LoRA."""
        return str((await self._call("base_digest"))[0]) if self._setup.config.lora.rank else ""

    async def export(self, folder: Path) -> None:
        """Write a Hugging Face checkpoint that transformers and vLLM load directly, merged if there is LoRA.

        The adapter itself is in its subfolder `adapter`, in peft's format.
        """
        folder = Path(folder)
        partial, old = (folder.with_name(f"{folder.name}.{state}") for state in ("partial", "old"))
        for rest in (partial, old):
            shutil.rmtree(rest, ignore_errors=True)
        partial.mkdir(parents=True)
        await self._call("export", str(partial.resolve()))
        with suppress(FileNotFoundError):
            folder.rename(old)  # so that at any time one of the two exports is complete
        partial.rename(folder)
        if old.is_symlink():
            old.unlink()
        shutil.rmtree(old, ignore_errors=True)

    async def shutdown(self) -> None:
        """End the ranks and free their resources."""
        self._images.shutdown()
        for worker in self._group.workers:
            ray.kill(worker)
        for placement in self._group.resource_pool.pgs or []:
            ray.util.remove_placement_group(placement)

    async def _call(self, method: str, *args: object, **kwargs: object) -> list[Any]:
        """Run a method on all ranks, in a thread, and return their answers by rank."""

        def run() -> list[object]:
            with self._lock:
                return list(getattr(self._group, method)(*args, **kwargs))

        async with self._hung.ended_in(method):
            return await asyncio.to_thread(run)

    def _work(self, rows: Sequence[TrainingRow]) -> list[list[Share[TrainingRow]]]:
        """Return each rank's shares of an update's mini-batches."""
        self._check(rows)
        mini_batches = self._shares(rows, deal_to_ranks(self._setup.config, rows, self._setup.loss.num_mini_batches))
        return [[shares[rank] for shares in mini_batches] for rank in range(self._setup.config.num_ranks)]

    def _shares(self, rows: Sequence[_Row], dealt: Sequence[Sequence[Sequence[int]]]) -> list[list[Share[_Row]]]:
        """Return what is sent to each rank for each mini-batch, with references of its images."""
        images = self._images.take(row.images for row in rows)
        return [
            [
                Share(
                    tuple(pick(rows, share)),
                    sum(map(len, mini_batch)) // self._setup.config.sequence_parallel,
                    {rows[index].images: images[rows[index].images] for index in share if rows[index].images},
                )
                for share in mini_batch
            ]
            for mini_batch in dealt
        ]

    def _check(self, rows: Sequence[TrainingRow]) -> None:
        for index, row in enumerate(rows):
            sizes = len(row.token_ids), len(row.advantages), len(row.rollout_logprobs)
            if not sizes[0] or len(set(sizes)) > 1:
                raise ValueError(
                    f"row {index} has {sizes} tokens, advantages, log-probabilities: expected equal counts"
                )
        self._check_length(rows)

    def _check_length(self, rows: Sequence[TrainingRow | SftExample]) -> None:
        config = self._setup.config
        limit = config.max_tokens_per_micro_batch * config.sequence_parallel
        if (longest := max(num_tokens(row) for row in rows)) > limit:
            raise ValueError(f"a row has {longest} tokens; raise policy.max_tokens_per_micro_batch from {limit}")
