"""Ranks of a policy without Ray: processes of their own over gloo, and what they compute."""

from __future__ import annotations

import multiprocessing
import os
import socket
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
import torch.multiprocessing

from actors.config import LossConfig, PolicyConfig
from actors.policy.groups import deal_to_ranks
from rollout.types import TrainingRow

if TYPE_CHECKING:
    from actors.policy.rows import Share

T = TypeVar("T")


@dataclass(frozen=True)
class Computed:
    """What all ranks make of some rows."""

    gradients: dict[str, torch.Tensor]
    """Of one update, before clipping, by name; of the last mini-batch where there are several."""
    logprobs: list[list[float]]
    """Before the update."""
    metrics: dict[str, float]
    num_patches: int
    """Patches of images that went through the vision towers of policy and reference during the update."""


def on_ranks(function: Callable[..., T], num_ranks: int, *arguments: object) -> T:
    """Return what a function of a module makes on rank 0: called as function(rank, *arguments) in each process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "answer.pt"
        # Forked from one process that has imported verl: each would spend longer on that than on what it computes.
        multiprocessing.set_forkserver_preload(["tests.support.rank_imports"])
        torch.multiprocessing.start_processes(
            _rank, (function, num_ranks, port, file, *arguments), nprocs=num_ranks, start_method="forkserver"
        )
        answer: T = torch.load(file, weights_only=False)
        return answer


def _rank(
    rank: int, function: Callable[..., object], num_ranks: int, port: int, file: Path, *arguments: object
) -> None:
    world = str(num_ranks)
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": world, "LOCAL_RANK": str(rank), "LOCAL_WORLD_SIZE": world}
    os.environ |= {"RAY_LOCAL_WORLD_SIZE": world, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    import tests.support.rank_imports  # noqa: F401  a second time, but for who was not forked

    answer = function(rank, *arguments)
    if rank == 0:
        torch.save(answer, file)
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


Case = tuple[PolicyConfig, LossConfig, list[TrainingRow]]
"""One update: by whom, of what loss, of what rows."""


def compute(cases: Sequence[Case], *, store: Path, temperature: float = 0.9) -> list[Computed]:
    """Let the ranks of each case do one update, all from the same start; the cases want equally many ranks."""
    [num_ranks] = {config.num_ranks for config, _, _ in cases}
    return on_ranks(_compute_all, num_ranks, cases, str(store), temperature)


def _compute_all(rank: int, cases: Sequence[Case], store: str, temperature: float) -> list[Computed]:
    return [_computed(rank, config, loss, rows, store, temperature) for config, loss, rows in cases]


def _computed(
    rank: int, config: PolicyConfig, loss: LossConfig, rows: list[TrainingRow], store: str, temperature: float
) -> Computed:
    from actors.policy.setup import PolicySetup
    from actors.policy.worker import PolicyWorker

    worker = PolicyWorker(PolicySetup(config, loss, store, 100))
    kept: dict[str, torch.Tensor] = {}
    step = worker.engine.optimizer_step

    def keep_gradients() -> Any:
        for name, parameter in worker.engine.module.named_parameters():
            if (grad := parameter.grad) is not None:
                kept[name] = (grad.full_tensor() if hasattr(grad, "full_tensor") else grad).detach().clone()
        return step()

    worker.engine.optimizer_step = keep_gradients
    [shares] = deal_to_ranks(config, rows)
    from actors.policy.rows import Share

    own = worker.logprobs(Share(tuple(rows[index] for index in shares[rank]), len(rows)), temperature)
    patches: list[int] = []
    for engine in filter(None, (worker.engine, worker._reference)):
        visual = getattr(engine.module, "get_base_model", lambda module=engine.module: module)().model.visual
        visual.patch_embed.register_forward_pre_hook(lambda _, given: patches.append(len(given[0])))
    metrics = worker.update(share_of(rank, config, loss, rows), temperature)
    gathered: list[Any] = [None] * config.num_ranks
    torch.distributed.all_gather_object(gathered, (shares[rank], own, sum(patches)))
    by_row = {index: values for share, answers, _ in gathered for index, values in zip(share, answers, strict=True)}
    num_patches = sum(number for *_, number in gathered)
    return Computed(kept, [by_row[row] for row in range(len(rows))], metrics, num_patches)


def share_of(rank: int, config: PolicyConfig, loss: LossConfig, rows: list[TrainingRow]) -> list[Share[TrainingRow]]:
    """Return what a rank is dealt for one update."""
    from actors.policy.rows import Share

    dealt = deal_to_ranks(config, rows, loss.num_mini_batches)
    num_copies = config.sequence_parallel
    return [Share(tuple(rows[index] for index in ranks[rank]), sum(map(len, ranks)) // num_copies) for ranks in dealt]
