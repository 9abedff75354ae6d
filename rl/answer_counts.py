"""How a checkpoint answers: by the contract, only as the reader `public` reads, or as nobody reads."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from rollout.text.counted import counted
from rollout.text.critique import CritiqueError
from rollout.text.loose_json import Leniency
from rollout.text.readers import READERS, told
from rollout.types import Critique, Group, Task

OF_CRITIQUES = tuple(name for name in Leniency if name not in (Leniency.NO_STEP_NAME, Leniency.NONE_TEXT))
"""The leniencies that a critique may need."""


@dataclass
class AnswerCounts:
    """Counts critiques as they are read."""

    num: int = 0
    num_strict: int = 0
    leniencies: Counter[str] = field(default_factory=Counter)
    """How often each was used, of the answers that only `public` reads."""
    refused: Counter[str] = field(default_factory=Counter)
    """Answers that nobody reads, by the kind of the error."""

    @property
    def num_lenient(self) -> int:
        """Answers that only `public` reads."""
        return self.num - self.num_strict - self.refused.total()

    @property
    def strict_share(self) -> float:
        return self.num_strict / self.num if self.num else 0.0

    def read(self, text: str, task: Task) -> Critique | None:
        """Count an answer to a task; return what it says, None where nobody reads it."""
        self.num += 1
        try:
            reading = READERS["public"].critique(text, task.prompt or task.instruction)
        except CritiqueError as error:
            self.refused[error.kind] += 1
            return None
        self.num_strict += not reading.leniencies
        self.leniencies.update(name.value for name in reading.leniencies)
        return reading.what

    def __str__(self) -> str:
        parts = [f"{counted(self.num, 'answer')}: {self.num_strict:,} in the contract's form"]
        if self.num_lenient:
            parts.append(f"{self.num_lenient:,} that only answers=public reads ({told(self.leniencies)})")
        if self.refused:
            parts.append(f"{self.refused.total():,} that nobody reads ({told(self.refused)})")
        return ", ".join(parts)


def answer_metrics(groups: Iterable[Group]) -> dict[str, float]:
    """Return the share of answers that only `public` reads, and how often each leniency was used, as `answers/...`.

    Such an answer earned what an unparsable one earns. All leniencies are there: a chart needs a 0.
    """
    counts = AnswerCounts()
    samples = [(group.task, sample) for group in groups for sample in group.valid]
    for task, sample in samples:
        if sample.evidence is not None and sample.evidence.critique is None:
            counts.read(sample.evidence.response.text, task)
    metrics = {f"answers/lenient_{name}": float(counts.leniencies[name]) for name in OF_CRITIQUES}
    return metrics | ({"answers/lenient_share": counts.num_lenient / len(samples)} if samples else {})
