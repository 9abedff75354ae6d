"""A checkpoint that ranks write while they learn on is the one that verl writes at once, file by file."""

import asyncio
import json
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from actors.config import LoraConfig, LossConfig, PolicyConfig
from actors.policy.checkpoint_reading import tensors_alone
from benchmarks.killed_save.held_run import HeldWorker
from benchmarks.killed_save.hold import hold
from rollout.roles import CheckpointError
from rollout.types import Batch, TrainingRow
from tests.support.policy_ranks import on_ranks, share_of
from tests.support.tiny_models import build_tiny_critic

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

_LEARNED = PolicyConfig(num_ranks=2, max_tokens_per_micro_batch=400, lr=1e-2)
CONFIGS = {
    "whole": _LEARNED,
    "adapters": replace(_LEARNED, lora=LoraConfig(rank=4, alpha=8), freeze_vision=True),
    "offloaded": replace(_LEARNED, num_ranks=1, offload=True, freeze_vision=True),
}


def rows() -> list[TrainingRow]:
    dice = np.random.RandomState(0)
    sizes = (5, 8, 11, 6)
    tokens = [tuple(dice.randint(10, 300, size=size).tolist()) for size in sizes]
    return [TrainingRow((), (11, 12, 13), ids, (float(dice.randn()),) * len(ids), (-3.0,) * len(ids)) for ids in tokens]


def stage_and_learn_on(rank: int, config: PolicyConfig, folder: Path) -> list[str]:
    """Save a policy that has learned, by verl at once and by us with updates before the files are written."""
    from actors.policy.setup import PolicySetup
    from actors.policy.worker import PolicyWorker

    is_written_on = threading.Event()

    class Worker(PolicyWorker):
        has_no_memory = False

        def _has_room(self) -> bool:
            return super()._has_room() and not self.has_no_memory

        def write_file(self, path: str, content: object) -> None:
            is_written_on.wait()
            super().write_file(path, content)

    loss = LossConfig()
    worker = Worker(PolicySetup(config, loss, str(folder / "store"), 100))
    share = share_of(rank, config, loss, rows())
    worker.update(share, 1.0)
    worker.engine.save_checkpoint(str(folder / "at_once"))
    worker.stage_checkpoint(str(folder / "staged"), 1)
    noted = [str(worker.ended_writing())]
    worker.update(share, 1.0)
    worker.engine.save_checkpoint(str(folder / "later"))
    with pytest.raises(RuntimeError, match="written already"):
        worker._writer.check_ended(0.1)
    noted.append(str(worker.ended_writing()))
    is_written_on.set()
    worker._writer.join()
    worker.has_no_memory = True
    worker.stage_checkpoint(str(folder / "without_room"), 2)
    worker._writer.join()
    files = (folder / "staged").glob(f"[mo]*_rank_{rank}.pt")
    staged = sum(num_bytes(torch.load(file, weights_only=False)) for file in files)
    assert staged < 1.05 * worker.bytes_staged() < 3 * staged  # not all that is trained has got gradients
    torch.distributed.barrier()
    return [*noted, str(worker.ended_writing())]


def num_bytes(content) -> int:
    """Return the bytes of a file's tensors, of sharded ones those of this rank."""
    if isinstance(content, torch.Tensor):
        return (content.to_local() if isinstance(content, torch.distributed.tensor.DTensor) else content).nbytes
    parts = content.values() if isinstance(content, dict) else content if isinstance(content, list) else ()
    return sum(map(num_bytes, parts))


def differences(first: Path, second: Path) -> list[str]:
    """Return the names of files that are not the same in two folders: in what they hold, if torch has written them."""
    names = {path.relative_to(folder) for folder in (first, second) for path in folder.rglob("*") if path.is_file()}
    return sorted(str(name) for name in names if not _is_same(first / name, second / name))


def _is_same(first: Path, second: Path) -> bool:
    if not (first.exists() and second.exists()):
        return False
    if first.suffix != ".pt":
        return first.read_bytes() == second.read_bytes()
    with tensors_alone():  # as a run that goes on reads them
        return _equal(*(torch.load(path) for path in (first, second)))


def _equal(first, second):
    if type(first) is not type(second):
        return False
    if isinstance(first, torch.distributed.tensor.DTensor):
        specs_are_same = first._spec == second._spec and first.device == second.device
        return specs_are_same and torch.equal(first.to_local(), second.to_local())
    if isinstance(first, torch.Tensor):
        return first.dtype == second.dtype and torch.equal(first, second)
    if isinstance(first, np.ndarray):
        return np.array_equal(first, second)
    if isinstance(first, dict):
        return list(first) == list(second) and all(_equal(first[key], second[key]) for key in first)
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(map(_equal, first, second))
    return first == second


def compare(rank, config, folder):
    noted = stage_and_learn_on(rank, config, folder)
    pairs = [("staged", "at_once"), ("staged", "later"), ("without_room", "later")]
    found = [differences(*(folder / name for name in pair)) for pair in pairs]
    torch.distributed.barrier()
    return noted, *found, sorted(path.name for path in (folder / "staged").glob("*.pt"))


@pytest.mark.parametrize("which", CONFIGS)
def test_a_staged_checkpoint_is_the_one_of_its_moment(which: str, tmp_path: Path):
    """Slow: it needs verl's ranks, which load their own shards' files alone."""
    config = replace(CONFIGS[which], model=str(build_tiny_critic(tmp_path / "critic")))
    noted, from_at_once, from_later, without_room, files = on_ranks(compare, config.num_ranks, config, tmp_path)
    assert noted == ["None", "None", ""]
    notes = [f".rank_{rank}.ended" for rank in range(config.num_ranks)]
    assert from_at_once == without_room == notes
    kinds = ("extra_state", "model", "optim")
    assert files == [
        f"{kind}_world_size_{config.num_ranks}_rank_{rank}.pt" for kind in kinds for rank in range(config.num_ranks)
    ]
    learned = [name for name in files if not name.startswith("extra")]
    assert set(learned) <= set(from_later)


def test_updates_go_on_meanwhile_and_a_rank_that_is_lost_ends_the_wait(tmp_path: Path, monkeypatch):
    """Slow: it needs Ray, and a rank of verl's that is killed."""
    import ray

    from actors.cluster import ray_cluster
    from actors.policy import worker
    from actors.policy.policy import Policy

    monkeypatch.setattr(worker, "PolicyWorker", HeldWorker)
    config = replace(CONFIGS["offloaded"], model=str(build_tiny_critic(tmp_path / "critic")))
    run_dir = tmp_path / "run"

    async def begin(policy: Policy, step: int) -> asyncio.Future[None]:
        hold(run_dir, step).touch()
        folder = run_dir / "checkpoints" / f".step_{step:06d}.writing" / "policy"
        return asyncio.ensure_future(await policy.begin_save(folder))

    async def lose_a_rank() -> None:
        async with ray_cluster("", 8):
            policy = await Policy.start(
                config, LossConfig(), store_root=tmp_path / "store", total_steps=10, temperature=1.0
            )
            written = await begin(policy, 1)
            await policy.update(Batch(tuple(rows())))
            assert not written.done()
            hold(run_dir, 1).unlink()
            await asyncio.wait_for(written, 60)
            saved = run_dir / "checkpoints" / ".step_000001.writing" / "policy"
            assert json.loads((saved / "policy.json").read_text())["version"] == 0
            assert not list(saved.glob(".*"))
            written = await begin(policy, 2)
            ray.kill(policy._group.workers[0])
            with pytest.raises(CheckpointError, match="a rank of the policy was lost while it wrote: ActorDiedError"):
                await asyncio.wait_for(written, 60)

    asyncio.run(lose_a_rank())
