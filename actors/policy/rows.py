"""Rows -> the input of verl's engine: packed sequences, 3D rotary positions and preprocessed images."""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import torch
from tensordict import TensorDict
from verl.utils import tensordict_utils as tu
from verl.utils.device import get_device_id

from actors.image_limit import Processor
from actors.policy.groups import groups_of
from actors.policy.image_tensors import Images, ImageTensors, Preprocessor, Reference, read
from rollout.types import SftExample, TrainingRow
from rollout.types.arrays import TokenIds

T = TypeVar("T", TrainingRow, SftExample)


@dataclass(frozen=True)
class Share(Generic[T]):
    """One rank's rows of a call; of an update, those of one mini-batch."""

    rows: tuple[T, ...]
    num_rows: int
    """Rows of all ranks: the denominator of a sequence-mean loss."""
    images: Mapping[Images, Reference] = field(default_factory=dict)
    """Where to read what the rows' images became (`actors/policy/image_tensors.py`)."""


def num_tokens(row: TrainingRow | SftExample) -> int:
    """Return the number of prompt and response tokens together."""
    return len(row.prompt_token_ids) + len(row.token_ids)


class RowTensors:
    """Builds a rank's tensors.

    Behind the rows comes a padding row: one prompt and one response token that are in no loss and no denominator.
    """

    def __init__(self, processor: Processor, preprocessor: Preprocessor, dtype: str, *, shared_prefix: bool):
        """Take the model's processor, what makes images that nobody has prepared, and the dtype of all of them."""
        pad_token_id = processor.tokenizer.pad_token_id
        self._processor = processor
        self._preprocessor = preprocessor
        self._dtype = dtype
        self._shared_prefix = shared_prefix
        self._padding = TrainingRow((), (pad_token_id,), (pad_token_id,), (0.0,), (0.0,))
        self._padding_example = SftExample((), (pad_token_id,), (pad_token_id,), (False,))
        self.image_seconds = 0.0
        """How long this rank has waited for images since that was last asked."""

    def build(self, share: Share[TrainingRow], temperature: float) -> TensorDict:
        """Return verl's no-padding TensorDict: jagged (row, token) tensors, positions (row, 4, token).

        Raises ValueError if a prompt's image placeholders do not match its images.
        """
        padded = [*share.rows, self._padding]
        masks = [[True] * len(row.token_ids) for row in share.rows] + [[False]]
        # On the device at once: an update may compute them several times.
        images = self._images(padded, share.images, device=get_device_id())
        batch = self._sequences(padded, images, masks)
        batch["advantages"] = _jagged([torch.tensor(row.advantages) for row in padded])
        batch["rollout_log_probs"] = _jagged([torch.tensor(row.rollout_logprobs) for row in padded])
        tu.assign_non_tensor(batch, temperature=temperature)
        return batch

    def build_examples(self, share: Share[SftExample]) -> TensorDict:
        """Return the same for SFT examples, masked by `loss_mask`."""
        padded = [*share.rows, self._padding_example]
        batch = self._sequences(padded, self._images(padded, share.images), [example.loss_mask for example in padded])
        tu.assign_non_tensor(batch, temperature=1.0)
        return batch

    def _sequences(
        self,
        rows: Sequence[TrainingRow | SftExample],
        images: list[ImageTensors],
        masks: Sequence[Sequence[bool]],
    ) -> TensorDict:
        """Return tokens, positions and images; `masks` say for each response token whether it is in the loss."""
        prompts, responses = _tensors(row.prompt_token_ids for row in rows), _tensors(row.token_ids for row in rows)
        ids = [torch.cat(pair) for pair in zip(prompts, responses, strict=True)]
        mask = [torch.tensor(values, dtype=torch.float32) for values in masks]
        tensors = {
            "input_ids": _jagged(ids),
            "position_ids": _jagged([self._positions(*pair) for pair in zip(ids, images, strict=True)]),
            "prompts": _jagged(prompts),
            "responses": _jagged(responses),
            "response_mask": _jagged(mask),
            "loss_mask": _jagged(mask),
            "group": torch.empty(len(rows), dtype=torch.long),
        }
        for number, group in enumerate(groups_of(rows, range(len(rows)), shared=self._shared_prefix)):
            tensors["group"][list(group.rows)] = number
        batch = TensorDict(tensors, batch_size=[len(rows)])
        tu.assign_non_tensor(batch, multi_modal_inputs=images)
        return batch

    def _images(
        self, rows: Sequence[TrainingRow | SftExample], prepared: Mapping[Images, Reference], device: int | str = "cpu"
    ) -> list[ImageTensors]:
        """Return the images of each row; rows of one prompt share theirs."""
        started = time.monotonic()
        found: dict[Images, ImageTensors] = {}
        for images in dict.fromkeys(row.images for row in rows):
            made = read(prepared[images], self._dtype) if images in prepared else None
            made = self._preprocessor.make(images) if made is None else made
            found[images] = {name: tensor.to(device) for name, tensor in made.items()}
        self.image_seconds += time.monotonic() - started
        return [found[row.images] for row in rows]

    def _positions(self, ids: torch.Tensor, images: ImageTensors) -> torch.Tensor:
        """Return (4, token): the plain position, then verl's (time, height, width) for the model's M-RoPE."""
        text = torch.arange(len(ids)).unsqueeze(0)
        if not images:
            return text.expand(4, -1).contiguous()
        grid = images["image_grid_thw"].cpu()
        expected = int(grid.prod(dim=-1).sum()) // self._processor.image_processor.merge_size**2
        found = int((ids == self._processor.image_token_id).sum())
        if found != expected:
            raise ValueError(f"a row has {found} image tokens, but its images make {expected}")
        rope = _rope_index(self._processor)(
            self._processor, input_ids=ids, image_grid_thw=grid, attention_mask=torch.ones_like(ids)
        )
        return torch.cat([text, rope])


def _rope_index(processor: Processor) -> Any:
    """Return the function that verl's rollout uses: Qwen3-VL has its own, its predecessors share one."""
    if "Qwen3VL" in type(processor).__name__:
        from verl.models.transformers.qwen3_vl import get_rope_index
    else:
        from verl.models.transformers.qwen2_vl import get_rope_index
    return get_rope_index


def _tensors(token_ids: Iterable[TokenIds]) -> list[torch.Tensor]:
    return [torch.tensor(ids, dtype=torch.long) for ids in token_ids]


def _jagged(tensors: list[torch.Tensor]) -> torch.Tensor:
    return tu.nested_tensor_from_tensor_list(tensors)
