"""What one update computes: `python -m benchmarks.update_work [--groups 16]`.

Counts, on every rank, the tokens that enter the text layers, the images that go through the vision tower and the rows
that go through the output layer in forward passes, of one step in the released shapes: 16 groups of 8, prompts of
2,120 tokens with two images of 1,024 tokens, responses of 400. Widths and patches are tiny, the code is a run's: two
ranks, nothing stale, the tower trained. What is computed again in the backward pass is counted apart. Beside it the
plain way, in the same run: each row by itself, padded. Ends with exit code 1 where a bar is missed.
"""

import argparse
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table

from actors.config import LossConfig, PolicyConfig
from actors.store.store import Store
from benchmarks.ending import run_main
from rollout.types import TrainingRow
from tests.support.policy_ranks import on_ranks, share_of
from tests.support.tiny_models import build_tiny_critic

NUM_RANKS, GROUP = 2, 8
PROMPT, RESPONSE = 2120, 400
SIDE = 256
"""Pixels: of 8 pixels a side a token is made here, of 32 in the released model."""
TOKENS, IMAGES, ROWS = "tokens through the text layers", "images through the tower", "rows through the head"
BARS = {TOKENS: 90_000, IMAGES: 32, ROWS: 51_200}
"""Of 16 groups in forward passes, padding included."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.update_work", description=__doc__)
    parser.add_argument("--groups", type=int, default=16, help="groups of 8 rows; the bars are those of 16")
    chosen = parser.parse_args(arguments)
    from transformers import AutoProcessor

    with tempfile.TemporaryDirectory(prefix="update-work-") as folder:
        store = Store(Path(folder) / "store")
        model = build_tiny_critic(Path(folder) / "critic", largest_side=SIDE)
        processor = AutoProcessor.from_pretrained(model)
        rows = released_rows(store, processor, chosen.groups)
        ours = PolicyConfig(model=str(model), num_ranks=NUM_RANKS)
        plain = replace(ours, shared_prefix=False, is_packed=False)
        counts = {
            name: on_ranks(count_update, NUM_RANKS, config, rows, str(store.root))
            for name, config in {"a group's prompt once": ours, "the plain way": plain}.items()
        }
    return report(counts, scale=chosen.groups / 16)


def released_rows(store: Store, processor: Any, num_groups: int) -> list[TrainingRow]:
    """Return groups in the released shapes."""
    start, image, end = processor.tokenizer.convert_tokens_to_ids(
        ["<|vision_start|>", "<|image_pad|>", "<|vision_end|>"]
    )
    image_tokens = [start, *[image] * (SIDE // 8) ** 2, end]
    rows = []
    for group in range(num_groups):
        dice = np.random.RandomState(group)
        pair = tuple(store.put_image(_picture(dice)) for _ in range(2))
        words = dice.randint(10, 300, size=PROMPT - 2 * len(image_tokens)).tolist()
        for _ in range(GROUP):
            response = tuple(dice.randint(10, 300, size=RESPONSE).tolist())
            rows.append(
                TrainingRow(
                    pair,
                    (*image_tokens, *image_tokens, *words),
                    response,
                    (float(dice.randn()),) * RESPONSE,
                    (-6.0,) * RESPONSE,
                )
            )
    return rows


def _picture(dice: np.random.RandomState) -> Image.Image:
    coarse = Image.fromarray(dice.randint(0, 255, (16, 16, 3)).astype(np.uint8))
    return coarse.resize((SIDE, SIDE), Image.Resampling.BICUBIC)


def count_update(rank: int, config: PolicyConfig, rows: list[TrainingRow], store: str) -> Counter[str]:
    """Do one update on a rank; return what all ranks computed, with `again: ` before what the backward pass did."""
    from actors.policy.setup import PolicySetup
    from actors.policy.worker import PolicyWorker

    loss = LossConfig()
    worker = PolicyWorker(PolicySetup(config, loss, store, 100))
    counts: Counter[str] = Counter()

    def count(name: str, number: int) -> None:
        is_again = torch._C._current_graph_task_id() != -1  # in a backward pass
        counts[f"again: {name}" if is_again else name] += number

    def tokens(_: torch.nn.Module, given: tuple[torch.Tensor, ...], named: dict[str, Any]) -> None:
        hidden = given[0] if given else named["hidden_states"]
        count(TOKENS, hidden.shape[:-1].numel())

    def images(_: torch.nn.Module, __: object, named: dict[str, Any]) -> None:
        count(IMAGES, len(named["grid_thw"]))

    def head(_: torch.nn.Module, given: tuple[torch.Tensor, ...]) -> None:
        count(ROWS, given[0].shape[:-1].numel())

    model = worker.engine.module
    model.model.language_model.layers[0].register_forward_pre_hook(tokens, with_kwargs=True)
    model.model.visual.register_forward_pre_hook(images, with_kwargs=True)
    model.lm_head.register_forward_pre_hook(head)
    worker.update(share_of(rank, config, loss, rows), 1.0)
    gathered: list[Counter[str]] = [Counter()] * config.num_ranks
    torch.distributed.all_gather_object(gathered, counts)
    return sum(gathered, Counter())


def report(counts: dict[str, Counter[str]], scale: float) -> int:
    """Print what was counted beside the bars; return 1 where one is missed."""
    table = Table(title=f"one update of {16 * scale:g} groups of {GROUP}, two ranks", title_justify="left")
    for column in ("forward passes", *counts, "bar"):
        table.add_column(column, justify="left" if column == "forward passes" else "right")
    [ours, _] = counts.values()
    missed = []
    for name, bar in BARS.items():
        limit = int(bar * scale)
        if ours[name] > limit:
            missed.append(name)
        table.add_row(name, *(f"{one[name]:,}" for one in counts.values()), f"{limit:,}")
        table.add_row("  again in the backward pass", *(f"{one[f'again: {name}']:,}" for one in counts.values()), "")
    Console(soft_wrap=True).print(table)
    print(f"missed: {', '.join(missed)}" if missed else "all bars met")
    return bool(missed)


if __name__ == "__main__":
    run_main(main)
