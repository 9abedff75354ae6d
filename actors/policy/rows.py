"""Rows -> the input of verl's engine: packed sequences, 3D rotary positions and preprocessed images."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch
from tensordict import TensorDict
from verl.utils import tensordict_utils as tu
from verl.utils.seqlen_balancing import get_seqlen_balanced_partitions

from actors.store.store import Store, load_images
from rollout.types import ImageRef, SftExample, TrainingRow

MaybeRow = TrainingRow | None
"""None is a padding row: one prompt and one response token that count in no loss and no denominator."""
MaybeExample = SftExample | None

_IMAGE_CACHE = 256
T = TypeVar("T", TrainingRow, SftExample)


@dataclass(frozen=True)
class MiniBatch(Generic[T]):
    """One rank's share of the rows of one optimizer step."""

    rows: tuple[T | None, ...]
    num_rows: int
    """Real rows of this optimizer step on all ranks: the denominator of a sequence-mean loss."""


def split_rows(
    rows: Sequence[TrainingRow | SftExample], num_mini_batches: int, num_ranks: int
) -> list[list[list[int | None]]]:
    """Distribute rows: `split[mini_batch][rank]` is a list of row indices, None for a padding row.

    Mini-batches are contiguous, so that the rows of a group stay together; their sizes differ by at most one.
    Within a mini-batch every rank gets the same number of rows and about the same number of tokens.

    >>> rows = [TrainingRow((), (1,) * size, (2,), (0.0,), (0.0,)) for size in (9, 5, 4)]
    >>> split_rows(rows, 1, 2)
    [[[0, None], [1, 2]]]
    """
    num_mini_batches = min(num_mini_batches, len(rows))
    base, extra = divmod(len(rows), num_mini_batches)
    split, start = [], 0
    for position in range(num_mini_batches):
        stop = start + base + (position < extra)
        indices: list[int | None] = list(range(start, stop))
        indices += [None] * (-len(indices) % num_ranks)
        lengths = [2 if index is None else num_tokens(rows[index]) for index in indices]
        parts = get_seqlen_balanced_partitions(lengths, num_ranks, equal_size=True)
        split.append([[indices[place] for place in sorted(part)] for part in parts])
        start = stop
    return split


def num_tokens(row: TrainingRow | SftExample) -> int:
    """Return the number of prompt and response tokens together."""
    return len(row.prompt_token_ids) + len(row.token_ids)


class RowTensors:
    """Builds a rank's tensors; images are loaded and preprocessed once for each distinct tuple."""

    def __init__(self, processor: Any, store: Store, pad_token_id: int):
        self._processor = processor
        self._store = store
        self._padding = TrainingRow((), (pad_token_id,), (pad_token_id,), (0.0,), (0.0,))
        self._padding_example = SftExample((), (pad_token_id,), (pad_token_id,), (False,))
        self._images: OrderedDict[tuple[ImageRef | None, ...], dict[str, torch.Tensor]] = OrderedDict()

    def build(self, rows: Sequence[MaybeRow], temperature: float) -> TensorDict:
        """Return verl's no-padding TensorDict: jagged (row, token) tensors, positions (row, 4, token).

        Raises ValueError if a prompt's image placeholders do not match its images.
        """
        filled = [self._padding if row is None else row for row in rows]
        images = [self._load(row.images) for row in filled]
        masks = [[given is not None] * len(row.token_ids) for row, given in zip(filled, rows, strict=True)]
        batch = self._sequences(filled, images, masks)
        batch["advantages"] = _jagged([torch.tensor(row.advantages) for row in filled])
        batch["rollout_log_probs"] = _jagged([torch.tensor(row.rollout_logprobs) for row in filled])
        tu.assign_non_tensor(batch, temperature=temperature)
        return batch

    def build_examples(self, examples: Sequence[MaybeExample]) -> TensorDict:
        """Return the same for SFT examples, masked by `loss_mask`. Images occur once per epoch: none is cached."""
        filled = [self._padding_example if example is None else example for example in examples]
        images = [self._preprocess(example.images) for example in filled]
        batch = self._sequences(filled, images, [example.loss_mask for example in filled])
        tu.assign_non_tensor(batch, temperature=1.0)
        return batch

    def _sequences(
        self,
        rows: Sequence[TrainingRow | SftExample],
        images: list[dict[str, torch.Tensor]],
        masks: Sequence[Sequence[bool]],
    ) -> TensorDict:
        """Return tokens, positions and images; `masks` say for each response token whether it is in the loss."""
        ids = [torch.tensor(row.prompt_token_ids + row.token_ids) for row in rows]
        mask = [torch.tensor(values, dtype=torch.float32) for values in masks]
        tensors = {
            "input_ids": _jagged(ids),
            "position_ids": _jagged([self._positions(*pair) for pair in zip(ids, images, strict=True)]),
            "prompts": _jagged([torch.tensor(row.prompt_token_ids) for row in rows]),
            "responses": _jagged([torch.tensor(row.token_ids) for row in rows]),
            "response_mask": _jagged(mask),
            "loss_mask": _jagged(mask),
        }
        batch = TensorDict(tensors, batch_size=[len(rows)])
        tu.assign_non_tensor(batch, multi_modal_inputs=images)
        return batch

    def _load(self, refs: tuple[ImageRef | None, ...]) -> dict[str, torch.Tensor]:
        """Return the result of `_preprocess`, cached for the next rows of the same task."""
        if not refs:
            return {}
        if refs not in self._images:
            self._images[refs] = self._preprocess(refs)
            if len(self._images) > _IMAGE_CACHE:
                self._images.popitem(last=False)
        self._images.move_to_end(refs)
        return self._images[refs]

    def _preprocess(self, refs: tuple[ImageRef | None, ...]) -> dict[str, torch.Tensor]:
        """Return `pixel_values` (patches, features) and `image_grid_thw` (images, 3); empty without images."""
        if not refs:
            return {}
        output = self._processor.image_processor(images=load_images(self._store, refs), return_tensors="pt")
        return {key: output[key] for key in ("pixel_values", "image_grid_thw")}

    def _positions(self, ids: torch.Tensor, images: dict[str, torch.Tensor]) -> torch.Tensor:
        """Return (4, token): the plain position, then verl's (time, height, width) for the model's M-RoPE."""
        text = torch.arange(len(ids)).unsqueeze(0)
        if not images:
            return text.expand(4, -1).contiguous()
        grid = images["image_grid_thw"]
        expected = int(grid.prod(dim=-1).sum()) // self._processor.image_processor.merge_size**2
        found = int((ids == self._processor.image_token_id).sum())
        if found != expected:
            raise ValueError(f"a row has {found} image tokens, but its images make {expected}")
        rope = _rope_index(self._processor)(
            self._processor, input_ids=ids, image_grid_thw=grid, attention_mask=torch.ones_like(ids)
        )
        return torch.cat([text, rope])


def _rope_index(processor: Any) -> Any:
    """Return the function that verl's rollout uses: Qwen3-VL has its own, its predecessors share one."""
    if "Qwen3VL" in type(processor).__name__:
        from verl.models.transformers.qwen3_vl import get_rope_index
    else:
        from verl.models.transformers.qwen2_vl import get_rope_index
    return get_rope_index


def _jagged(tensors: list[torch.Tensor]) -> torch.Tensor:
    return tu.nested_tensor_from_tensor_list(tensors)
