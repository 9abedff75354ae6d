"""What a public benchmark is to the command that runs it: one class in one file, and one line of `registry.py`.

    data ─▶ read ─▶ items ─▶ (an agent) ─▶ outputs ─┬─▶ hand_in: files in the benchmark's own layout
                                                    └─▶ questions ─▶ (a judge) ─▶ read_answer ─┬─▶ score: ours
                                                                                               └─▶ official: theirs

Nothing here calls a model. The agent and the judge are the run's (`rl/official/`); a part says what they are given and
what their answers mean.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from actors.store.store import Store
from rollout.types import ImageRef


class Form(StrEnum):
    """What an item asks an agent for."""

    IMAGE = "image"
    """One image from words: the last one of the agent's story."""
    EDIT = "edit"
    """One image made from the item's images: the last one of the story."""
    STORY = "story"
    """Texts and images in turn: the whole story."""


@dataclass(frozen=True, slots=True)
class Item:
    """One row of a benchmark."""

    id: str
    """Its own within the benchmark."""
    group: str
    """The category, task or type that figures are broken down by."""
    request: str
    """What the agent is asked."""
    images: tuple[ImageRef, ...] = ()
    """What the agent is shown."""
    row: Mapping[str, Any] = field(default_factory=dict)
    """What else judge and aggregate need, in the benchmark's own words."""


@dataclass(frozen=True, slots=True)
class Picture:
    """An image of an answer or of a question to the judge."""

    ref: ImageRef
    as_large_as: ImageRef | None = None
    """Shown to the judge resized to the size of this image; None: as it is."""
    max_side: int = 0
    """Shown to the judge with at most so many pixels a side; 0: any."""


Part = str | Picture


@dataclass(frozen=True, slots=True)
class Output:
    """What an agent made of an item: texts and images in turn."""

    parts: tuple[Part, ...] = ()
    error: str | None = None
    """Why something is missing; None: nothing is."""
    leniencies: Mapping[str, int] = field(default_factory=dict)
    """How many of the agent's answers differ from the contract in which way, and were read all the same."""

    @property
    def text(self) -> str:
        """All texts, a blank line between them."""
        return "\n\n".join(part for part in self.parts if isinstance(part, str))

    @property
    def images(self) -> tuple[ImageRef, ...]:
        return tuple(part.ref for part in self.parts if isinstance(part, Picture))


@dataclass(frozen=True, slots=True)
class Question:
    """One question to the judge about one output."""

    key: str
    """Its own within the item."""
    parts: tuple[Part, ...]
    """Texts and images in the order in which the judge sees them."""
    system: str = ""


@dataclass(frozen=True, slots=True)
class Reading:
    """What a judge's answer says."""

    values: tuple[float, ...]
    note: str = ""
    """What is counted beside the figures: an answer like "not sure"."""


class Unreadable(ValueError):
    """A judge's answer does not say what was asked; it is asked again, at most `Benchmark.num_asks` times in all."""


@dataclass(frozen=True)
class Judged:
    """An item with its output and the judge's answers."""

    item: Item
    output: Output
    readings: Mapping[str, Reading | None]
    """By the questions' keys, in their order; None: no answer, or none that could be read."""
    faults: Mapping[str, str] = field(default_factory=dict)
    """By key: why there is none."""

    @property
    def values(self) -> dict[str, tuple[float, ...] | None]:
        return {key: None if reading is None else reading.values for key, reading in self.readings.items()}


@dataclass(frozen=True, slots=True)
class Figure:
    """A number of the benchmark's own script, or one that mends what the script gets wrong."""

    name: str
    value: float | None
    why: str = ""
    """Why there is none, like KeyError, or what is mended."""
    is_mended: bool = False


class Benchmark(ABC):
    """One public benchmark."""

    name: str
    """Of the command."""
    title: str
    """Of figures; tells editions of one name apart."""
    repository: str
    """Where judge prompts are, as owner/name@commit."""
    form: Form
    num_asks: int = 3
    """How often a question is asked until its answer can be read."""
    overall: str
    """What `score` comes to over all items, in a few words."""

    @abstractmethod
    def read(self, data: Path, store: Store) -> list[Item]:
        """Return all items in the data's order. Raises ValueError that says what is not there, and where to get it."""

    @abstractmethod
    def hand_in(self, outputs: Sequence[tuple[Item, Output]], folder: Path, store: Store) -> Path:
        """Write what the benchmark's own script reads, also for outputs that lack something; return where."""

    @abstractmethod
    def prompts(self, checkout: Path) -> Mapping[str, str]:
        """Read the judge's prompts from a checkout of the benchmark. Raises ValueError that says what is missing."""

    @abstractmethod
    def questions(self, item: Item, output: Output, prompts: Mapping[str, str]) -> list[Question]:
        """Return what the judge is asked about an output; nothing where the benchmark's script would skip it."""

    def num_questions(self, item: Item) -> int:
        """Return how many questions an item comes to, before there is an output."""
        return 1

    @abstractmethod
    def read_answer(self, question: Question, text: str) -> Reading:
        """Read a judge's answer as the benchmark's script does. Raises `Unreadable`."""

    @abstractmethod
    def score(self, judged: Judged) -> float | None:
        """Return an item's score, in the unit of the overall figure; None where an answer is missing."""

    @abstractmethod
    def weights(self, items: Sequence[Item]) -> Mapping[str, float]:
        """Return each group's share of the overall figure, the sum of which need not be 1."""

    @abstractmethod
    def official(self, judged: Sequence[Judged], num_items: int) -> list[Figure]:
        """Return the numbers of the benchmark's own script, its traps included; the first is the headline.

        `judged` are the items of this run, `num_items` is how many the benchmark has.
        """
