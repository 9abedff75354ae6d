"""What sender and receivers tell each other about a publish, beside the weights themselves."""

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import torch

from actors.weights.checksum import Checksum
from actors.weights.live import Part

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Place:
    """Where a process holds its weights, for the choice of a transport."""

    node: str
    """Ray's id of the node."""
    host: str
    """An address of the node that the others reach."""
    gpu: str = ""
    """The GPU's UUID; empty: a CPU."""


def gpu_of(device: torch.device) -> str:
    """Return a GPU's UUID, which is the same to every process; '' for a CPU."""
    return str(torch.cuda.get_device_properties(device).uuid) if device.type == "cuda" else ""


@dataclass(frozen=True)
class WorkerState:
    """One worker of a sampler before a publish."""

    process: str
    """A name that no other worker has, not even the same one after a restart."""
    place: Place
    parts: Mapping[str, Part | None]
    """What it holds of each tensor; None: it cannot tell."""
    version: int | None
    """The version of the weights that were verified here last; None: none since the start or a failure."""


@dataclass(frozen=True)
class BaseTensor:
    """A tensor as it was before training."""

    shape: tuple[int, ...]
    checksums: Mapping[Part, Checksum]
    """By the parts that workers hold."""
    is_trained: bool
    """It is trained, so it differs by now."""


@dataclass(frozen=True)
class Order:
    """What rank 0 is to send."""

    version: int
    dtype: str
    block_bytes: int
    transport: str
    """That of `samplers.transport`."""
    states: tuple[tuple[WorkerState, ...], ...]
    """Of each sampler's workers."""
    shapes: Shapes
    skipped: frozenset[str] = frozenset()
    """Not to be sent."""
    keeps_copy: bool = False
    """Keep a copy of what is sent, so that the next publish can be a delta."""
    as_adapters: bool = False
    """Send the model as it was before training, which does not change, and its adapters; else both merged."""

    @property
    def has_gpus(self) -> bool:
        """Whether a worker's weights are on a GPU."""
        return any(state.place.gpu for states in self.states for state in states)

    def parts_of(self, name: str) -> frozenset[Part]:
        """Return the parts that have to be compared: what workers hold; all of it where one cannot tell."""
        held = {state.parts.get(name) for states in self.states for state in states} or {None}
        return frozenset(Part() if part is None else part for part in held)


class ReceivingEnd(Protocol):
    """The receiver's end of a transport, on its way there."""

    def open(self) -> Generator[torch.Tensor, None, None]:
        """Yield blocks up to the last one, in the receiver's process; each is good until the next one is asked for."""
        ...

    def give_up(self) -> None:
        """Take no more, so that the sender does not wait."""
        ...


@dataclass(frozen=True)
class Ticket:
    """What a sampler's worker needs to receive."""

    end: ReceivingEnd
    """Of a transport."""
    dtype: str
    shapes: Shapes
    base_version: int | None
    """Of what changes are sent; None: tensors are sent whole."""


@dataclass(frozen=True)
class Manifest:
    """What was sent."""

    version: int = 0
    checksums: Mapping[str, Mapping[Part, Checksum]] = field(default_factory=dict)
    whole: frozenset[str] = frozenset()
    """Tensors that were sent whole; of the others changes alone."""
    num_bytes: int = 0
    already_loaded: Mapping[str, BaseTensor] = field(default_factory=dict)
    """What the samplers had already."""
    metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Verdict:
    """What a worker holds after a publish."""

    problems: tuple[str, ...]
    """Empty: every tensor has the policy's bits."""
    coverage: float
    """Share of the tensors that were compared in the live model."""
    seconds: float
    """That the comparison took."""
