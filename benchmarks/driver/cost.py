"""Steps of training, what they cost their driver, and what they may cost it."""

from collections.abc import Sequence
from dataclasses import dataclass

MOST_GROWTH, MOST_MS, MOST_KB = 1.2, 1.0, 20.0


@dataclass(frozen=True)
class Case:
    """Some steps of one size."""

    samples: int
    """A step."""
    generators: int
    steps: int


@dataclass(frozen=True)
class Cost:
    """What a case cost, a sample."""

    samples: int
    generators: int
    driver_ms: float
    """CPU time of all threads of the driver's process."""
    loop_ms: float
    """Of it, what the driver's event loop computed."""
    looking_ms: float
    """Of it, what the measurement's own thread computed, which looks at the memory."""
    driver_kb: float
    """Growth of the driver's own memory to its peak."""
    store_kb: float
    """Growth of what it has mapped of Ray's object store: what it sent to ranks. The store bounds it, not the step."""
    workers_ms: float
    """CPU time of the rollout workers' processes, added up."""
    samples_per_s: float
    """How fast the steps were, here."""
    longest_callback_ms: float


@dataclass(frozen=True)
class Bar:
    """A figure, and what it may be at most."""

    name: str
    value: float
    most: float

    @property
    def is_met(self) -> bool:
        return self.value <= self.most


def bars_of(sizes: Sequence[Cost]) -> list[Bar]:
    """Return what the largest step is held to, beside the smallest."""
    smallest, largest = sizes[0], sizes[-1]
    at = f"at {largest.samples:,}"
    return [
        Bar(
            f"CPU a sample {at}, times that at {smallest.samples:,}",
            largest.driver_ms / smallest.driver_ms,
            MOST_GROWTH,
        ),
        Bar(f"ms of the driver's CPU a sample {at}", largest.driver_ms, MOST_MS),
        Bar(f"kB of the driver's memory a sample {at}", largest.driver_kb, MOST_KB),
    ]
