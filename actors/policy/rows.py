"""Rows -> the input of verl's engine: packed sequences, 3D rotary positions and preprocessed images."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch
from tensordict import TensorDict
from verl.utils import tensordict_utils as tu

from actors.policy.groups import groups_of
from actors.store.store import Store, load_images
from rollout.types import ImageRef, SftExample, TrainingRow

_IMAGE_CACHE = 256
T = TypeVar("T", TrainingRow, SftExample)


@dataclass(frozen=True)
class MiniBatch(Generic[T]):
    """One rank's share of the rows of one optimizer step."""

    rows: tuple[T, ...]
    num_rows: int
    """Real rows of this optimizer step on all ranks: the denominator of a sequence-mean loss."""


def num_tokens(row: TrainingRow | SftExample) -> int:
    """Return the number of prompt and response tokens together."""
    return len(row.prompt_token_ids) + len(row.token_ids)


class RowTensors:
    """Builds a rank's tensors; images are loaded and preprocessed once for each distinct tuple.

    Behind the rows comes a padding row: one prompt and one response token that are in no loss and no denominator.
    """

    def __init__(self, processor: Any, store: Store, pad_token_id: int, *, shared_prefix: bool):
        self._processor = processor
        self._store = store
        self._shared_prefix = shared_prefix
        self._padding = TrainingRow((), (pad_token_id,), (pad_token_id,), (0.0,), (0.0,))
        self._padding_example = SftExample((), (pad_token_id,), (pad_token_id,), (False,))
        self._images: OrderedDict[tuple[ImageRef | None, ...], dict[str, torch.Tensor]] = OrderedDict()

    def build(self, rows: Sequence[TrainingRow], temperature: float) -> TensorDict:
        """Return verl's no-padding TensorDict: jagged (row, token) tensors, positions (row, 4, token).

        Raises ValueError if a prompt's image placeholders do not match its images.
        """
        padded = [*rows, self._padding]
        images = [self._load(row.images) for row in padded]
        batch = self._sequences(padded, images, [[True] * len(row.token_ids) for row in rows] + [[False]])
        batch["advantages"] = _jagged([torch.tensor(row.advantages) for row in padded])
        batch["rollout_log_probs"] = _jagged([torch.tensor(row.rollout_logprobs) for row in padded])
        tu.assign_non_tensor(batch, temperature=temperature)
        return batch

    def build_examples(self, examples: Sequence[SftExample]) -> TensorDict:
        """Return the same for SFT examples, masked by `loss_mask`. Their images come once an epoch: none is kept."""
        padded = [*examples, self._padding_example]
        images = [self._preprocess(example.images) for example in padded]
        batch = self._sequences(padded, images, [example.loss_mask for example in padded])
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
            "group": torch.empty(len(rows), dtype=torch.long),
        }
        for number, group in enumerate(groups_of(rows, range(len(rows)), shared=self._shared_prefix)):
            tensors["group"][list(group.rows)] = number
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
