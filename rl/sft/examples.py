"""Records -> the examples of each step, chosen by seed and step alone and tokenized one step ahead."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar

import numpy as np
from PIL import Image

from actors.policy.conversation_tokenizer import BadImage
from actors.store.store import Store
from data.errors import RecordError
from data.records.sft import Canvas, SftRecord
from rollout.text.messages import message_parts
from rollout.text.seeds import seed_of
from rollout.types import ImageRef, SftExample

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Conversation:
    """A record in the form that a model's chat template takes."""

    id: str
    messages: tuple[dict[str, Any], ...]
    """The assistant's contents are plain texts; the others have `{"type": "image"}` parts."""
    images: tuple[ImageRef | None, ...]
    record: SftRecord


def conversation_of(record: SftRecord, store: Store) -> Conversation:
    """Return a record's conversation; a canvas with a declared size becomes an image in the store."""
    messages = tuple(
        {"role": turn.role, "content": turn.content if turn.role == "assistant" else message_parts(turn.content)}
        for turn in record.messages
    )
    return Conversation(record.id, messages, tuple(_ref(image, store) for image in record.images), record)


class Order:
    """Which records a step learns from. Each epoch is a new shuffle; a batch may span two epochs."""

    def __init__(self, num_records: int, batch_size: int, seed: int):
        self._num_records = num_records
        self._batch_size = batch_size
        self._seed = seed
        self._epoch = lru_cache(maxsize=2)(self._shuffle)

    def at(self, step: int) -> list[int]:
        """Return the indices of a step's records; steps count from 1.

        >>> order = Order(num_records=5, batch_size=3, seed=0)
        >>> first_epoch = (order.at(1) + order.at(2) + order.at(3))[:5]
        >>> sorted(first_epoch), order.at(2) == Order(5, 3, seed=0).at(2)
        ([0, 1, 2, 3, 4], True)
        """
        start = (step - 1) * self._batch_size
        places = range(start, start + self._batch_size)
        return [int(self._epoch(place // self._num_records)[place % self._num_records]) for place in places]

    def _shuffle(self, epoch: int) -> np.ndarray:
        return np.random.default_rng(seed_of(self._seed, "epoch", epoch)).permutation(self._num_records)


class UnusableRecord(RecordError):
    """A record cannot be learned from; the message names it and its location."""


class ExampleStream:
    """Yields (step, examples, why some were left out). The next step is tokenized while this one is learned."""

    def __init__(
        self,
        records: Sequence[SftRecord],
        make: Callable[[SftRecord], SftExample],
        order: Order,
        *,
        steps: range,
        max_tokens: int,
        is_skipping: bool = False,
    ):
        """`max_tokens` bounds an example; with `is_skipping`, records that cannot be learned from are left out."""
        self._records = records
        self._make = make
        self._order = order
        self._steps = steps
        self._max_tokens = max_tokens
        self._is_skipping = is_skipping

    async def __aiter__(self) -> AsyncIterator[tuple[int, list[SftExample], list[str]]]:
        ahead: asyncio.Task[tuple[list[SftExample], list[str]]] | None = None
        try:
            for step in self._steps:
                examples, left_out = await (ahead or self._start(step))
                ahead = self._start(step + 1) if step + 1 in self._steps else None
                yield step, examples, left_out
        finally:
            if ahead is not None:
                ahead.cancel()

    def _start(self, step: int) -> asyncio.Task[tuple[list[SftExample], list[str]]]:
        return asyncio.create_task(asyncio.to_thread(self.examples_at, step))

    def examples_at(self, step: int) -> tuple[list[SftExample], list[str]]:
        """Return a step's examples, and why others were left out. Raises `UnusableRecord` unless it skips."""
        examples: list[SftExample] = []
        left_out: list[str] = []
        for place in self._order.at(step):
            try:
                examples.append(example_of(self._records[place], self._make, self._max_tokens))
            except UnusableRecord as error:
                if not self._is_skipping:
                    raise
                left_out.append(str(error))
        return examples, left_out


def example_of(record: SftRecord, make: Callable[[SftRecord], SftExample], max_tokens: int) -> SftExample:
    """Return a record's example. Raises `UnusableRecord` if it is too long or its images do not fit or decode."""
    example = usable(record, make)
    length = len(example.prompt_token_ids) + len(example.token_ids)
    if length > max_tokens:
        text = (
            f"record {record.id} has {length} tokens; raise policy.max_tokens_per_micro_batch from {max_tokens}, "
            "or set data.on_bad=skip"
        )
        raise UnusableRecord("too_many_tokens", text, where=record.where)
    return example


def usable(record: SftRecord, make: Callable[[SftRecord], T]) -> T:
    """Return `make(record)`. Raises `UnusableRecord` that names the location and, for an image, the field."""
    try:
        return make(record)
    except BadImage as error:
        kind, text = "image_broken", f"field images[{error.place}]: {error}"
    except ValueError as error:
        kind, text = "unfit", str(error)
    raise UnusableRecord(kind, f"record {record.id}: {text}", where=record.where)


def _ref(image: str | Canvas, store: Store) -> ImageRef | None:
    if isinstance(image, str):
        return image
    return None if image.size is None else store.put_image(Image.new("RGB", image.size, "white"))
